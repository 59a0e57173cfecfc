// Leadership: everything volatile that a shard's leader has in one term: the lock table, read_high,
// and who waits. Shared by the coroutines that use it, so that one that wakes after the term finds
// it ended (`active` false) instead of another leader's state.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "raft/core/types.h"
#include "shard/load_meter.h"
#include "shard/lock_table.h"
#include "shard/size_meter.h"
#include "shard/table.h"

namespace quorate::v1 {
class ShardCommand;
}

namespace quorate::shard {

struct Applied;

class Leadership {
 public:
  Leadership(Env& env, raft::Term term)
      : load(env.Now(), env.random.Fork("load")),
        env_(env),
        term_(term),
        locks_(env.random.Fork("locks")) {}

  raft::Term term() const { return term_; }
  bool active() const { return active_; }
  bool serving() const { return active_ && serving_; }
  LockTable& locks() { return locks_; }
  const LockTable& locks() const { return locks_; }
  // The highest timestamp at which this leader, or one before it, may have served a read.
  Timestamp read_high() const { return read_high_; }
  void RaiseReadHigh(Timestamp ts) { read_high_ = std::max(read_high_, ts); }

  // The LeaderStart of this term is applied: reads were served up to `floor` at most, and the locks
  // are those of the PREPARED records.
  void Serve(Timestamp floor, const Table& table);
  // The term has ended: everyone who waits is woken, and finds it so.
  void End();

  // Follows an entry of this term that was just applied.
  void OnApplied(const v1::ShardCommand& command, const Applied& applied, const Table& table);
  // A proposal ended without being applied, so its lock, if it was one, goes.
  void OnNotApplied(const Owner& owner);
  // COMMITTED is a fact: the lock's intents are versions from now on. Ignored unless it is applied.
  void Commit(const Owner& owner, Timestamp commit_ts);
  // Gives woken waiters their turn. After every change of the lock table.
  void Wake();

  // ---- waiting --------------------------------------------------------------------------------
  // Resumes when waiter `id` of the lock table is woken, the leadership ends, or at `until`.
  static Task<void> Wait(std::shared_ptr<Leadership> lead, WaiterId id, Instant until);
  // Resumes when this leader serves or has ended, or at `until`.
  static Task<void> WaitServing(std::shared_ptr<Leadership> lead, Instant until);

  // Loops of upkeep.cc that run, and pushes under way.
  bool upkeep_running = false;
  bool horizon_running = false;
  bool meter_running = false;
  SizeMeter meter;
  LoadMeter load;
  size_t pushes = 0;

  // The last that this leader has closed, and when (section 11).
  Timestamp closed;
  Instant closed_at{};
  bool closing = false;  // on a reader's demand

 private:
  void Release(const Owner& owner) { locks_.Release(owner); }
  void OnResolved(const v1::ShardCommand& command, const Table& table);
  void OnSplit(const Table& table);
  void OnAbsorbed(const Table& table);
  // Of PREPARED records that have none yet.
  void AddLocks(const Table& table);

  Env& env_;
  raft::Term term_;
  bool active_ = true;
  bool serving_ = false;
  Timestamp read_high_;
  LockTable locks_;
  std::map<WaiterId, Promise<bool>> waiters_;
  std::vector<Promise<bool>> start_waiters_;
};

// A place in the lock table's queues, given up when it goes out of scope.
class QueuePlace {
 public:
  explicit QueuePlace(std::shared_ptr<Leadership> lead) : lead_(std::move(lead)) {}
  QueuePlace(const QueuePlace&) = delete;
  ~QueuePlace() { Leave(); }
  WaiterId id() const { return id_; }
  void Take(WaiterId id) {
    Leave();
    id_ = id;
  }
  void Leave() {
    if (id_ == 0) return;
    lead_->locks().Dequeue(std::exchange(id_, 0));
    lead_->Wake();
  }

 private:
  std::shared_ptr<Leadership> lead_;
  WaiterId id_ = 0;
};

}  // namespace quorate::shard
