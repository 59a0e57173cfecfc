// Slots: timestamp slots from the oracle, fetched in batches. One fetch is in flight at a time; it
// serves everyone who asked before it was sent, and nobody else (T1).
#pragma once

#include <vector>

#include "base/env.h"
#include "client/route/caller.h"
#include "txn/slot_source.h"

namespace quorate::client {

class Slots final : public SlotSource {
 public:
  Slots(Env& env, Caller& caller);
  ~Slots() override;
  Task<Result<Timestamp>> Fetch(Duration timeout) override;
  Timestamp newest() const override { return newest_; }
  // A timestamp seen elsewhere (a commit_ts): raises newest().
  void Observe(Timestamp ts);

 private:
  Task<void> FetchLoop();

  Env& env_;
  Caller& caller_;
  TaskScope scope_;
  struct Waiter {
    Promise<Result<Timestamp>> promise;
    Instant deadline;
  };
  std::vector<Waiter> waiting_;
  bool fetching_ = false;
  Timestamp newest_;
};

}  // namespace quorate::client
