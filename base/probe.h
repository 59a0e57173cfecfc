// Named probes: a rare branch carries a name; simulation reports which were reached. Counting is
// process-wide and has no effect on behaviour.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace quorate {

class Probe {
 public:
  explicit Probe(const char* name);
  void Hit() { hits_.fetch_add(1, std::memory_order_relaxed); }
  const char* name() const { return name_; }
  uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }
  // Hits of every probe that was reached at least once in this process, by name.
  static std::map<std::string, uint64_t> Report();

 private:
  const char* name_;
  std::atomic<uint64_t> hits_{0};
  Probe* next_;
};

}  // namespace quorate

#define PROBE(name)                           \
  do {                                        \
    static ::quorate::Probe probe_here(name); \
    probe_here.Hit();                         \
  } while (false)
