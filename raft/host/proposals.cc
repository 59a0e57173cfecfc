#include "raft/host/proposals.h"

#include "base/check.h"
#include "base/probe.h"

namespace quorate::raft {

void Answers::Give(Waiter waiter, Result<Proposed> result) {
  if (auto* promise = std::get_if<Promise<Result<Proposed>>>(&waiter)) {
    promise->Set(std::move(result));
    return;
  }
  if (queue_.empty()) {
    executor_.Post([this, alive = alive_] {
      if (*alive) Run();
    });
  }
  queue_.emplace_back(std::move(std::get<GroupHandle::ProposeDone>(waiter)), std::move(result));
}

void Answers::Run() {
  auto queue = std::exchange(queue_, {});
  const auto alive = alive_;
  for (auto& [done, result] : queue) {
    done(std::move(result));
    if (!*alive) return;  // the answer stopped the node
  }
}

void Proposals::Add(LogIndex index, Term term, Waiter waiter) {
  const bool added = waiters_.emplace(std::pair(index, term), std::move(waiter)).second;
  CHECK(added, "two proposals at index {} in term {}", index, term);
  gather_->Begun();
}

Waiter Proposals::TakeFirst() {
  Waiter waiter = std::move(waiters_.begin()->second);
  waiters_.erase(waiters_.begin());
  gather_->Ended();
  return waiter;
}

void Proposals::Applied(LogIndex index, Term term, ApplyResult result) {
  while (!waiters_.empty() && waiters_.begin()->first.first <= index) {
    const auto [waiter_index, waiter_term] = waiters_.begin()->first;
    CHECK(waiter_index == index, "index {} was applied without its waiter", waiter_index);
    Waiter waiter = TakeFirst();
    if (waiter_term == term) {
      answers_.Give(std::move(waiter), Proposed{index, term, std::move(result)});
    } else {
      PROBE("raft host: proposal replaced");
      answers_.Give(std::move(waiter),
                    Status(Code::kNotLeader, "another leader's entry took its place"));
    }
  }
  if (std::exchange(applied_term_, term) != term) EndOlder(term);
}

void Proposals::EndOlder(Term term) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (it->first.second >= term) {
      ++it;
      continue;
    }
    PROBE("raft host: proposal outlived");
    Waiter waiter = std::move(it->second);
    it = waiters_.erase(it);
    gather_->Ended();
    answers_.Give(std::move(waiter),
                  Status(Code::kNotLeader, "a later term's entry was applied before it"));
  }
}

void Proposals::Covered(LogIndex index) {
  while (!waiters_.empty() && waiters_.begin()->first.first <= index) {
    PROBE("raft host: proposal covered by snapshot");
    Waiter waiter = TakeFirst();
    answers_.Give(std::move(waiter),
                  Unavailable("a snapshot jumped over the entry; it may have been applied"));
  }
}

}  // namespace quorate::raft
