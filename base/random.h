// A seeded random generator (xoshiro256**), splittable by name so that one more draw in one stream
// does not shift another. Not for secrets.
#pragma once

#include <cstdint>
#include <string_view>

namespace quorate {

class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t Next();
  // Uniform in [0, n); n > 0.
  uint64_t Below(uint64_t n);
  // Uniform in [low, high], both included.
  int64_t Between(int64_t low, int64_t high);
  double Unit();  // [0, 1)
  bool Chance(double probability) { return Unit() < probability; }
  // An independent stream; equal (generator state, name) give equal streams. Does not advance this.
  Random Fork(std::string_view name) const;

  // UniformRandomBitGenerator, for std::shuffle.
  using result_type = uint64_t;
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~0ull; }
  uint64_t operator()() { return Next(); }

 private:
  uint64_t state_[4];
};

}  // namespace quorate
