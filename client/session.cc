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
  attempt.set_deadline(*deadline);
  Settled settled = co_await attempt.Commit();
  if (settled.state == Settled::State::kUnknown) core_->counters().unknown.Add();
  if (settled.commit_ts) core_->counters().commits.Add();
  if (settled.status.code() == Code::kAlreadyExists) {
    settled.status = Status(Code::kAborted, "the transaction's name was closed by asking about it");
  }
  attempt.End();
  co_return ToCommitResult(std::move(settled), attempt.handle(), 1);
}

void SessionImpl::Rollback() {
  if (ended_.exchange(true)) return;
  (void)gate_->Post([slot = slot_] {
    if (*slot != nullptr) (*slot)->End();
  });
}

}  // namespace quorate::client
