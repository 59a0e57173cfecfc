#include "base/probe.h"

// The linker gives the bounds of a section whose name is an identifier.
extern "C" {
extern quorate::Probe __start_quorate_probes[] __attribute__((weak));
extern quorate::Probe __stop_quorate_probes[] __attribute__((weak));
}

namespace quorate {

std::map<std::string, uint64_t> Probe::Report() {
  std::map<std::string, uint64_t> report;
  // Several places may share a name.
  for (Probe* probe = __start_quorate_probes; probe != __stop_quorate_probes; ++probe) {
    report[probe->name_] += probe->hits_.load(std::memory_order_relaxed);
  }
  return report;
}

}  // namespace quorate
