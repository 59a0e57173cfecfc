// Slots: timestamp slots from the oracle, fetched in batches. One fetch is in flight at a time; it
// serves everyone who asked before it was sent, and nobody else (T1).
#pragma once

#include <optional>
#include <vector>

#include "base/env.h"
#include "client/route/caller.h"
#include "txn/slot_source.h"

namespace quorate::client {

class Slots final : public SlotSource {
 public:
  // Both outlive it.
  Slots(Env& env, Caller& caller);
  ~Slots() override;
  Task<Result<Timestamp>> Fetch(Duration timeout) override;
  Timestamp newest() const override { return newest_; }
  std::optional<uint64_t> UnixMillisAtMost() const override;
  // newest(), if it was seen at most `age` ago; a slot is issued before it is seen, by no more than
  // the time its answer took.
  std::optional<Timestamp> NewestWithin(Duration age) const;
  // Now by the oracle's clock, as far as it is known here; by this machine's if it is not at all.
  uint64_t UnixMillis() const;
  // A timestamp seen elsewhere (a commit_ts): raises newest() to its slot, which was issued before
  // anybody was told.
  void Observe(Timestamp ts);

 private:
  struct Waiter {
    Promise<Result<Timestamp>> promise;
    Instant deadline;
  };
  Task<void> FetchLoop();
  Task<Result<Timestamp>> FetchOnce(Instant deadline);

  Env& env_;
  Caller& caller_;
  std::vector<Waiter> waiting_;
  bool fetching_ = false;
  Timestamp newest_;
  Instant newest_at_;
  Timestamp fetched_;  // the last one, and when it was asked for
  Instant asked_at_;
  TaskScope scope_;
};

}  // namespace quorate::client
