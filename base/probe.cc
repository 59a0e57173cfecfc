#include "base/probe.h"

namespace quorate {
namespace {
std::atomic<Probe*> first_probe{nullptr};
}

Probe::Probe(const char* name) : name_(name) {
  next_ = first_probe.load();
  while (!first_probe.compare_exchange_weak(next_, this)) {
  }
}

std::map<std::string, uint64_t> Probe::Report() {
  std::map<std::string, uint64_t> report;
  for (Probe* probe = first_probe.load(); probe != nullptr; probe = probe->next_) {
    report[probe->name()] += probe->hits();
  }
  return report;
}

}  // namespace quorate
