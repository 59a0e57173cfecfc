#include "client/retry.h"

#include <algorithm>

#include "base/mutant.h"
#include "base/probe.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

constexpr Duration kPauseInitial = 1ms;
constexpr Duration kPauseMax = 100ms;
// Another attempt with less time than this would probably end unknown, which is worse than failed.
constexpr Duration kAttemptMin = 100ms;
// A transaction that wrote more than this is not locked before it is tried again: the locks would
// cost more than the conflict.
constexpr size_t kLockFirstMax = 1000;

// What is left of a named transaction's time for settling the name when the attempts have failed.
constexpr Duration kNameReserveMax = 1s;
constexpr int kNameReserveShare = 5;

// Whether an error can be the name's outcome, and not only that of one call: OVERLOADED and the
// like ask to be sent again, and who ended a call because its client was gone is to be sent again,
// too.
bool SpeaksForName(Code code) {
  switch (code) {
    case Code::kOverloaded:
    case Code::kNoSpace:
    case Code::kUninitialized:
    case Code::kWrongCluster:
    case Code::kWrongNode:
    case Code::kCancelled:
      return false;
    default:
      return true;
  }
}

}  // namespace

Duration NameReserve(Duration left) { return std::min(kNameReserveMax, left / kNameReserveShare); }

Task<CommitResult> SettleName(Core* core, CommitResult result, GivenName name, std::string key,
                              Instant deadline) {
  const Code code = result.status.code();
  if (result.ok() || result.unknown) co_return result;
  if (!SpeaksForName(code)) {
    result.this_call_only = true;
    co_return result;
  }
  TxnHandle handle = TxnHandle::OfName(name, std::move(key));
  Settled settled;
  settled.status = result.status;
  // Where nobody answered just now, asking would only wait.
  if (code != Code::kUnavailable && code != Code::kDeadlineExceeded) {
    PROBE("client: name is settled");
    settled = co_await AskOutcome(core, handle, deadline);
  }
  switch (settled.state) {
    case Settled::State::kCommitted:
      settled.earlier = true;
      co_return ToCommitResult(std::move(settled), std::move(handle), result.attempts);
    case Settled::State::kAborted:
      if (code == Code::kAlreadyExists)
        result.status = Status(Code::kAborted, "the name is closed");
      co_return result;
    case Settled::State::kUnknown:
      core->counters().unknown.Add();
      co_return ToCommitResult(std::move(settled), std::move(handle), result.attempts);
  }
  co_return result;
}

bool WorthAnotherAttempt(Code code) {
  const RetryClass retry = RetryClassOf(code);
  return retry == RetryClass::kNewAttempt || retry == RetryClass::kNewSlot ||
         retry == RetryClass::kLater;
}

bool IsContention(Code code) {
  return code == Code::kReadConflict || code == Code::kLockConflict || code == Code::kAborted;
}

CommitResult ToCommitResult(Settled settled, TxnHandle handle, int attempts) {
  CommitResult result;
  result.attempts = attempts;
  result.shards = settled.shards;
  result.commit_ts = settled.commit_ts;
  result.earlier = settled.earlier;
  result.status = std::move(settled.status);
  if (settled.state == Settled::State::kUnknown) {
    const bool too_old = handle.named() && result.status.code() == Code::kTooOld;
    if (!too_old) {
      result.status =
          Status(Code::kUnknownOutcome,
                 fmt::format("transaction {} may have committed; ask for its outcome (last: {})",
                             handle.ToString(), result.status.ToString()));
    }
    result.unknown = std::move(handle);
  }
  return result;
}

CommitResult CancelledResult(const Attempt* attempt, int attempts) {
  Settled settled{Settled::State::kAborted,
                  Cancelled("the call was ended before it had committed")};
  TxnHandle handle;
  if (attempt != nullptr && attempt->in_doubt()) {
    settled = {Settled::State::kUnknown, Cancelled("the call was ended while it committed")};
    handle = attempt->handle();
  }
  return ToCommitResult(std::move(settled), std::move(handle), attempts);
}

TransactLoop::TransactLoop(Core* core, TransactOptions options, bool read_only)
    : core_(core), options_(options), read_only_(read_only), pause_(kPauseInitial, kPauseMax) {}

Task<bool> TransactLoop::Advance(Status closure_status) {
  if (attempt_ == nullptr) {
    const Result<Instant> deadline = core_->DeadlineFor(options_.timeout);
    if (!deadline.ok()) co_return Refuse(deadline.status());
    if (Status stale = CheckStale(options_.stale); !stale.ok()) co_return Refuse(std::move(stale));
    if (options_.stale.wanted() && !read_only_) {
      co_return Refuse(InvalidArgument("stale is of snapshots: what writes reads what is now"));
    }
    if (named()) {
      if (options_.name_key.empty()) {
        co_return Refuse(InvalidArgument("a name needs name_key, a key that every run writes"));
      }
      if (Status key = CheckKey(options_.name_key, "name_key"); !key.ok()) {
        co_return Refuse(std::move(key));
      }
    }
    deadline_ = work_deadline_ = *deadline;
    if (options_.name.given()) work_deadline_ -= NameReserve(*deadline - core_->env().Now());
    co_return co_await BeginAttempt();
  }
  const bool settled = co_await Finish(std::move(closure_status));
  NoteConflict();
  attempt_->End();
  if (settled) {
    co_await SettleName();
    co_return false;
  }
  const Status status = result_.status;
  core_->counters().conflicts.Add();
  const Duration wait =
      std::max(std::exchange(retry_after_, Duration(0)), pause_.Next(core_->env().random));
  const bool out_of_attempts = options_.attempts_max > 0 && number_ >= options_.attempts_max;
  if (out_of_attempts || core_->env().Now() + wait + kAttemptMin >= work_deadline_) {
    result_.status = Status(
        status.code(), fmt::format("{} (given up after {} attempts)", status.message(), number_));
    co_await SettleName();
    co_return false;
  }
  co_await Sleep(core_->env().executor, wait);
  co_return co_await BeginAttempt();
}

bool TransactLoop::Refuse(Status status) {
  result_.status = std::move(status);
  result_.this_call_only = named();
  return false;
}

CommitResult TransactLoop::CancelledResult() const {
  CommitResult result = client::CancelledResult(attempt_.get(), number_);
  result.this_call_only = named() && !result.unknown;
  return result;
}

// An attempt that had no time left to be sent says less than the conflict before it.
void TransactLoop::NoteConflict() {
  const Code code = result_.status.code();
  if (IsContention(code)) conflict_ = result_.status;
  const bool late = code == Code::kUnavailable || code == Code::kDeadlineExceeded;
  const bool out_of_time = core_->env().Now() + kAttemptMin >= work_deadline_;
  if (late && out_of_time && !conflict_.ok()) result_.status = conflict_;
}

Task<bool> TransactLoop::BeginAttempt() {
  Attempt::Spec spec;
  spec.read_only = read_only_;
  spec.txn_id = TxnId::Make(core_->env().random);
  spec.priority = priority_;
  spec.deadline = work_deadline_;
  spec.number = ++number_;
  spec.name = options_.name;
  if (number_ > 1 && spec.name.given() && MUTANT("name-not-kept-over-attempts")) {
    spec.name = GivenName::Make(spec.name.unix_ms(), core_->env().random);
  }
  spec.name_key = options_.name_key;
  spec.stale = options_.stale;
  attempt_ = std::make_unique<Attempt>(core_, std::move(spec));
  if (!lock_first_.empty()) {
    PROBE("client: retry locks first");
    std::vector<std::string> keys = std::exchange(lock_first_, {});
    co_await attempt_->LockAll(std::move(keys));
  }
  co_return true;
}

Task<void> TransactLoop::SettleName() {
  if (!named()) co_return;
  Status own = result_.status;
  result_ = co_await client::SettleName(core_, std::move(result_), options_.name, options_.name_key,
                                        deadline_);
  // What a closure says with ALREADY_EXISTS is not what a shard says of the name.
  if (closure_failed_ && !result_.ok() && !result_.unknown) result_.status = std::move(own);
}

Task<bool> TransactLoop::Finish(Status closure_status) {
  const Status doom = attempt_->doom();
  closure_failed_ = !closure_status.ok();
  if (closure_failed_) {
    result_ = CommitResult{};
    result_.attempts = number_;
    result_.status = std::move(closure_status);
    // The closure's own errors are its decision; those of our reads are ours.
    co_return result_.status.code() != doom.code() || !WorthAnotherAttempt(doom.code());
  }
  Settled settled = co_await attempt_->Commit();
  priority_ = attempt_->priority();
  retry_after_ = settled.retry_after;
  const bool aborted = settled.state == Settled::State::kAborted;
  if (settled.state == Settled::State::kUnknown) core_->counters().unknown.Add();
  if (settled.commit_ts) core_->counters().commits.Add();
  result_ = ToCommitResult(std::move(settled), attempt_->handle(), number_);
  const Code code = result_.status.code();
  if (aborted && code == Code::kSchemaFenced && attempt_->uses_tables()) {
    // It went by a version of a table that is of the past.
    core_->tables().Forget();
    co_return false;
  }
  if (!aborted || !WorthAnotherAttempt(code)) co_return true;
  if (IsContention(code) && attempt_->writes().keys() <= kLockFirstMax) {
    lock_first_ = attempt_->WrittenKeys();
  }
  co_return false;
}

}  // namespace quorate::client
