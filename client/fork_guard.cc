#include "client/fork_guard.h"

#include <pthread.h>

#include <atomic>

namespace quorate::client {
namespace {

std::atomic<uint64_t> generation{0};  // forks between the first process and this one
std::atomic<int64_t> guards{0};
std::atomic<bool> under_guard{false};

void InChild() {
  generation.fetch_add(1);
  if (guards.load() > 0) under_guard.store(true);
}

uint64_t Registered() {
  static const int registered = pthread_atfork(nullptr, nullptr, &InChild);
  (void)registered;
  return generation.load();
}

}  // namespace

ForkGuard::ForkGuard() : generation_(Registered()) { guards.fetch_add(1); }
ForkGuard::~ForkGuard() { guards.fetch_sub(1); }

bool ForkGuard::in_child() const {
  return generation.load(std::memory_order_relaxed) != generation_;
}
bool ForkGuard::forked_under_guard() { return under_guard.load(); }

}  // namespace quorate::client
