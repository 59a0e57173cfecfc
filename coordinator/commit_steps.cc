#include "coordinator/commit_steps.h"

#include "base/check.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "txn/errors.h"

namespace quorate::coordinator {
namespace {

std::string_view Explain(Code code) {
  switch (code) {
    case Code::kReadConflict:
      return "something read was overwritten since";
    case Code::kLockConflict:
      return "an older transaction holds or waits for a key";
    case Code::kAborted:
      return "aborted, for good";
    case Code::kAlreadyExists:
      return "no attempt under this name can commit any more";
    case Code::kInvalidArgument:
      return "refused as it is, for good: malformed, or its name is of a time too far ahead";
    case Code::kOverloaded:
      return "too many transactions in flight on this shard or node";
    case Code::kNoSpace:
      return "the disk of a replica is almost full";
    case Code::kNotLeader:
      return "leadership of the anchor key's shard has moved";
    case Code::kTooOld:
      return "start_ts is below the horizon, and no record is left";
    case Code::kDeadlineExceeded:
      return "out of time while it was being committed";
    default:
      return "the coordinator lost its leadership before the outcome was known";
  }
}

}  // namespace

void FillError(Code code, const shard::TxnName& txn, v1::CommitResponse* response) {
  v1::Error* error = response->mutable_error();
  StatusToError(Status(code, std::string(Explain(code))), error);
  if (EffectOf(code) != Effect::kUnknown) return;
  error->mutable_txn()->set_txn_id(std::string(txn.txn_id.bytes()));
  error->mutable_txn()->set_start_ts(txn.start_ts.bits());
  error->mutable_txn()->set_anchor_key(txn.anchor_key);
}

void FillNoRoom(const shard::TxnName& txn, v1::CommitResponse* response) {
  FillError(Code::kUnavailable, txn, response);
  response->mutable_error()->set_message(
      "too many transactions in flight on this node: this sending was not begun, send it again "
      "later");
}

shard::TxnName NameOf(const v1::CommitRequest& request, const TxnId& id) {
  return {id, Timestamp(request.start_ts()), request.anchor_key()};
}

bool FillFound(const Finding& finding, const shard::TxnName& txn, v1::CommitResponse* response) {
  response->set_consensus_rounds(static_cast<uint32_t>(finding.rounds));
  switch (finding.kind) {
    case Finding::Kind::kCommitted:
      response->set_commit_ts(finding.commit_ts.bits());
      response->set_shards(finding.participants == nullptr || finding.participants->empty()
                               ? 1
                               : static_cast<uint32_t>(finding.participants->size()));
      return true;
    case Finding::Kind::kAborted:
      FillError(AbortCode(finding.code), txn, response);
      if (!finding.explained.empty()) response->mutable_error()->set_message(finding.explained);
      return true;
    case Finding::Kind::kTooOld:
      FillError(Code::kTooOld, txn, response);
      return true;
    case Finding::Kind::kTimeout:
      FillError(Code::kDeadlineExceeded, txn, response);
      return true;
    case Finding::Kind::kLookAgain:
      return false;
  }
  CHECK(false, "finding {}", static_cast<int>(finding.kind));
}

bool FillByName(const shard::NameStanding& standing, const shard::TxnName& txn,
                v1::CommitResponse* response) {
  using State = shard::NameStanding::State;
  switch (standing.state) {
    case State::kCommitted:
      PROBE("commit: name was committed");
      response->set_commit_ts(standing.commit_ts.bits());
      response->set_shards(1);
      response->set_earlier(true);
      return true;
    case State::kClosed:
      PROBE("commit: name was closed");
      FillError(Code::kAlreadyExists, txn, response);
      return true;
    case State::kTooOld:
      FillError(Code::kTooOld, txn, response);
      response->mutable_error()->set_message("the name's time is further back than names are kept");
      return true;
    case State::kUnknown:
    case State::kPrepared:  // all attempts write the same keys: this one waits for the other's
                            // locks
      return false;
  }
  CHECK(false, "name standing {}", static_cast<int>(standing.state));
}

std::string Explained(Code code, const Status& why) {
  const bool names_it =
      code == Code::kLockConflict || code == Code::kNoSpace || code == Code::kOverloaded;
  return names_it && code == why.code() ? why.message() : std::string();
}

void TellCopies(const CommitMachine::Action& action, StagedParts staged, int rounds,
                const Status& why, Registration* registration) {
  using Kind = CommitMachine::Action::Kind;
  if (action.kind == Kind::kAnswerCommitted) {
    registration->Tell({.kind = Finding::Kind::kCommitted,
                        .commit_ts = action.ts,
                        .participants = std::move(staged),
                        .rounds = rounds});
  } else if (action.kind == Kind::kAnswerAborted && rounds > 0) {
    // Without a round nothing was logged: copies find out for themselves.
    registration->Tell({.kind = Finding::Kind::kAborted,
                        .code = action.code,
                        .explained = Explained(action.code, why),
                        .rounds = rounds});
  }
}

void FillAction(const CommitMachine::Action& action, const shard::TxnName& txn,
                const CommitMachine& machine, const Status& why, v1::CommitResponse* response) {
  response->set_shards(static_cast<uint32_t>(machine.participants()));
  response->set_consensus_rounds(static_cast<uint32_t>(machine.rounds()));
  if (action.kind == CommitMachine::Action::Kind::kAnswerCommitted) {
    response->set_commit_ts(action.ts.bits());
  } else {
    FillError(action.code, txn, response);
    std::string explained = Explained(action.code, why);
    if (!explained.empty()) response->mutable_error()->set_message(std::move(explained));
  }
}

v1::PrepareRequest Routed(const v1::PrepareRequest& part, const shard::Shard& shard,
                          Timestamp min_ts) {
  v1::PrepareRequest request = part;
  request.set_min_ts(min_ts.bits());
  request.mutable_route()->set_shard_id(shard.id().value());
  request.mutable_route()->set_version(shard.descriptor().version());
  return request;
}

bool FeedEvaluation(const shard::AnchorEvaluation& evaluation, CommitMachine* machine) {
  if (evaluation.existing.state != TxnState::kNone) {
    machine->OwnFound(ToStanding(evaluation.existing));
    return false;
  }
  if (!evaluation.ok()) {
    machine->OwnRefused(evaluation.status.code());
    return false;
  }
  CHECK(evaluation.applied.has_value(), "an evaluation that succeeds is proposed");
  machine->OwnProposed();
  return true;
}

Standing ToStanding(const shard::Applied& applied) {
  return {.state = applied.state,
          .prepare_ts = applied.prepare_ts,
          .commit_ts = applied.commit_ts,
          .code = applied.status.code()};
}

}  // namespace quorate::coordinator
