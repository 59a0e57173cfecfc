// TransactLoop: attempts of one transaction until it is settled, whoever runs the closure (a
// coroutine or the caller's thread).
//
//   READ_CONFLICT, LOCK_CONFLICT, ABORTED  another attempt, which first locks what this one wrote
//                                          and only then takes its timestamp; priority is kept
//   SNAPSHOT_TOO_OLD, TIMESTAMP_EXHAUSTED, OVERLOADED  another attempt
//   unknown                                never another: it might be done twice
//   anything else                          the result
//
// A pause that grows lies between attempts. When the deadline or the number of attempts ends it,
// the result is the last attempt's error, or the conflict that had cost it its time: nothing was
// committed. Of a named transaction it is told only once the name is closed, so that no other
// sending commits either; else it is unknown, or marked as this call's only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "client/attempt.h"
#include "client/database.h"

namespace quorate::client {

// Whether an error under which nothing was committed is worth another attempt.
bool WorthAnotherAttempt(Code code);
// Of those: whether the next attempt should lock first.
bool IsContention(Code code);

CommitResult ToCommitResult(Settled settled, TxnHandle handle, int attempts);
// Of a call that is ended before its time: CANCELLED, and nothing was committed; or
// UNKNOWN_OUTCOME.
CommitResult CancelledResult(const Attempt* attempt, int attempts);

// `result` of a transaction of that name, which writes `key`. If it is an error that says
// "nothing", others of the name may be under way, or have committed long ago: the answer is to be
// one for all of them, so the name is closed first. What was found instead is the result. An error
// that speaks of this call only leaves the name open, and says so.
Task<CommitResult> SettleName(Core* core, CommitResult result, GivenName name, std::string key,
                              Instant deadline);
// How much of the time that is left should be kept for it.
Duration NameReserve(Duration left);

class TransactLoop {
 public:
  TransactLoop(Core* core, TransactOptions options, bool read_only);

  // True: run the closure on attempt() and come back with what it returned. False: result() holds.
  // The first call's status is ignored.
  Task<bool> Advance(Status closure_status);
  Attempt& attempt() { return *attempt_; }
  CommitResult TakeResult() { return std::move(result_); }
  // Of a loop that is gone on with no more; what it was doing has been destroyed.
  CommitResult CancelledResult() const;

 private:
  // What is only read could as well happen twice.
  bool named() const { return options_.name.given() && !read_only_; }
  // Before anything was done.
  bool Refuse(Status status);
  // True: settled for good.
  Task<bool> Finish(Status closure_status);
  Task<bool> BeginAttempt();
  Task<void> SettleName();
  void NoteConflict();

  Core* core_;
  const TransactOptions options_;
  const bool read_only_;
  Instant deadline_;
  Instant work_deadline_;  // for attempts
  Backoff pause_;
  std::unique_ptr<Attempt> attempt_;
  TxnPriority priority_;
  std::vector<std::string> lock_first_;
  Status conflict_;              // of the last attempt that ended in one
  bool closure_failed_ = false;  // in the last attempt
  int number_ = 0;
  Duration retry_after_{0};
  CommitResult result_;
};

}  // namespace quorate::client
