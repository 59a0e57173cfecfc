#include "client/session.h"

#include "client/retry.h"

namespace quorate::client {

SessionImpl::~SessionImpl() {
  (void)gate_->Post([slot = slot_] { slot->reset(); });
}

Task<CommitResult> SessionImpl::Commit(Duration timeout) {
  CommitResult result;
  if (ended_.exchange(true)) {
    result.status = Status(Code::kFailedPrecondition,
                           "the transaction was committed or rolled back before; this did nothing");
    co_return result;
  }
  Attempt& attempt = **slot_;
  const Result<Instant> deadline = core_->DeadlineFor(timeout);
  if (!deadline.ok()) {
    attempt.End();
    result.status = deadline.status();
    co_return result;
  }
  const GivenName name = attempt.name();
  const Duration left = *deadline - core_->env().Now();
  attempt.set_deadline(name.given() ? *deadline - NameReserve(left) : *deadline);
  Settled settled = co_await attempt.Commit();
  if (settled.state == Settled::State::kUnknown) core_->counters().unknown.Add();
  if (settled.commit_ts) core_->counters().commits.Add();
  attempt.End();
  result = ToCommitResult(std::move(settled), attempt.handle(), 1);
  if (!name.given() || attempt.writes().empty()) co_return result;
  const Code code = result.status.code();
  const bool unreached = code == Code::kUnavailable || code == Code::kDeadlineExceeded;
  if (unreached && !result.unknown) {
    // Nothing was sent, and asking would only wait.
    result.this_call_only = true;
  } else {
    // Others may send the same under the session's name.
    std::string key = attempt.WrittenKeys().front();
    result = co_await SettleName(core_, std::move(result), name, std::move(key), *deadline);
  }
  co_return result;
}

void SessionImpl::Rollback() {
  if (ended_.exchange(true)) return;
  (void)gate_->Post([slot = slot_] {
    if (*slot != nullptr) (*slot)->End();
  });
}

}  // namespace quorate::client
