// Gather: lets proposals of all groups of a node wait for each other while it is busy, so that they
// share messages, syncs and wake-ups. A put costs its node far less than the round that carries it.
//
// A proposal enters its log at once while few are under way: a lone client never waits. Otherwise
// everything that is asked within kGatherFor of the last time enters together.
#pragma once

#include <utility>
#include <vector>

#include "base/env.h"

namespace quorate::raft {

inline constexpr size_t kBusyProposals = 4;
inline constexpr Duration kGatherFor = std::chrono::milliseconds(1);

class Gather {
 public:
  explicit Gather(Env& env) : env_(env) {}
  Gather(const Gather&) = delete;
  ~Gather() { env_.executor.Cancel(timer_); }

  // Whether a proposal that is asked now has to wait: then `enter` is given to Add, once for all
  // that are in it.
  bool Waits() const { return timer_ != 0 || under_way_ >= kBusyProposals; }
  void Add(Closure enter) {
    waiting_.push_back(std::move(enter));
    if (timer_ != 0) return;
    const Duration since = env_.Now() - last_;
    timer_ = env_.executor.After(std::max(kGatherFor - since, Duration(0)), [this] { Enter(); });
  }

  // A proposal is in its log; it is answered.
  void Begun() { ++under_way_; }
  void Ended() { --under_way_; }

 private:
  void Enter() {
    timer_ = 0;
    last_ = env_.Now();
    for (Closure& enter : std::exchange(waiting_, {})) enter();
  }

  Env& env_;
  size_t under_way_ = 0;
  TimerId timer_ = 0;
  Instant last_{};
  std::vector<Closure> waiting_;
};

}  // namespace quorate::raft
