// Named probes: a rare branch carries a name; simulation reports which were reached, and which
// never were. Counting is process-wide and has no effect on behaviour.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace quorate {

class Probe {
 public:
  constexpr explicit Probe(const char* name) : name_(name) {}
  void Hit() { hits_.fetch_add(1, std::memory_order_relaxed); }

  // Hits of every probe that is linked into this binary, by name; those never reached have 0.
  static std::map<std::string, uint64_t> Report();

 private:
  const char* name_;
  std::atomic<uint64_t> hits_{0};
};

}  // namespace quorate

// All lie in one section, so that they are known without being reached.
#define PROBE(name)                                              \
  do {                                                           \
    static constinit ::quorate::Probe probe_here                 \
        __attribute__((section("quorate_probes"), used)) (name); \
    probe_here.Hit();                                            \
  } while (false)
