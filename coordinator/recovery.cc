#include "coordinator/recovery.h"

#include <utility>

#include "base/backoff.h"
#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/steps.h"
#include "coordinator/commit_steps.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::coordinator {
namespace {

constexpr Duration kQueryAttempt = 2s;
constexpr Duration kPauseInitial = 10ms;
constexpr Duration kPauseMax = 500ms;
constexpr Duration kSlotTimeout = 2s;
// Unfinished records looked after at once by a new leader.
constexpr size_t kTakeOverMax = 256;
constexpr Duration kTakeOverPause = 10ms;

TxnState ToState(v1::TxnState state) {
  switch (state) {
    case v1::PREPARED:
      return TxnState::kPrepared;
    case v1::STAGED:
      return TxnState::kStaged;
    case v1::COMMITTED:
      return TxnState::kCommitted;
    case v1::ABORTED_STATE:
      return TxnState::kAborted;
    default:
      return TxnState::kNone;
  }
}

StagedParts ToParts(const v1::TxnRecord& record) {
  auto parts = std::make_shared<std::vector<shard::StagedParticipant>>();
  for (const v1::Participant& part : record.participants()) {
    parts->push_back({part.marker_key(), Digest(part.digest())});
  }
  return parts;
}

RecoveryMachine::Record ToRecord(const v1::TxnRecord& record) {
  return {.state = ToState(record.state()),
          .commit_ts = Timestamp(record.commit_ts()),
          .participants = static_cast<size_t>(record.participants_size()),
          .done = record.done()};
}

// True if the finding answers the push.
bool FillPushed(const Finding& finding, const v1::TxnRef& ref, v1::PushResponse* response) {
  const auto fail = [&](Status status) {
    StatusToError(status, response->mutable_error());
    *response->mutable_error()->mutable_txn() = ref;
    return true;
  };
  switch (finding.kind) {
    case Finding::Kind::kCommitted:
      response->set_state(v1::COMMITTED);
      response->set_commit_ts(finding.commit_ts.bits());
      if (finding.participants == nullptr) return true;
      for (const shard::StagedParticipant& part : *finding.participants) {
        v1::Participant* named = response->add_participants();
        named->set_marker_key(part.marker_key);
        named->set_digest(part.digest.value());
      }
      return true;
    case Finding::Kind::kAborted:
      response->set_state(v1::ABORTED_STATE);
      return true;
    case Finding::Kind::kTooOld:
      return fail(Status(Code::kTooOld, "older than the horizon, and no record is left"));
    case Finding::Kind::kTimeout:
      return fail(DeadlineExceeded("the transaction is still being committed"));
    case Finding::Kind::kLookAgain:
      return false;
  }
  CHECK(false, "finding {}", static_cast<int>(finding.kind));
}

}  // namespace

// One recovery. Held by its coroutines and by the resolver's callbacks.
struct Recovery::Run {
  RecoveryMachine machine;
  std::unique_ptr<Registration> registration;
  std::optional<Finding> told;
  bool recorded = false;  // a transaction record was found
  ShardId shard;
  raft::Term term;
  shard::TxnName txn;
  StagedParts participants = std::make_shared<std::vector<shard::StagedParticipant>>();
  Backoff pause{kPauseInitial, kPauseMax};

  DecidedTxn Decided() const {
    return {txn.txn_id, txn.start_ts, txn.anchor_key, shard, term, participants};
  }
};

Recovery::Recovery(Deps deps)
    : env_(deps.env),
      caller_(deps.caller),
      directory_(deps.directory),
      slots_(deps.slots),
      registry_(deps.registry),
      participants_(deps.participants),
      resolver_(deps.resolver),
      recoveries_(deps.env.metrics.GetCounter("quorate_txn_recoveries_total",
                                              "Transactions finished without their coordinator.")),
      scope_(deps.env.executor) {}

// ---- asking -------------------------------------------------------------------------------------

Task<Result<shard::PushOutcome>> Recovery::Push(shard::TxnName txn, Instant deadline) {
  v1::TxnRef ref;
  ref.set_txn_id(std::string(txn.txn_id.bytes()));
  ref.set_start_ts(txn.start_ts.bits());
  ref.set_anchor_key(txn.anchor_key);
  Backoff pause(kPauseInitial, kPauseMax);
  while (true) {
    v1::PushResponse response;
    if (directory_.FindServing(txn.anchor_key) != nullptr) {
      v1::PushRequest request;
      *request.mutable_txn() = ref;
      response = co_await HandlePush(std::move(request), deadline);
    } else {
      auto fill = [ref](const client::Route& route) {
        v1::NodeRequest request;
        client::SetRoute(route, request.mutable_push()->mutable_route());
        *request.mutable_push()->mutable_txn() = ref;
        return request;
      };
      auto answer = co_await caller_.CallShard(txn.anchor_key, fill, deadline);
      if (!answer.ok()) co_return answer.status();
      response = std::move(*answer->mutable_push());
      if (response.error().code() == v1::OK && response.state() == v1::TXN_STATE_NONE) {
        *response.mutable_error() = client::ErrorOf(*answer);
      }
    }
    shard::PushOutcome outcome;
    if (response.state() == v1::COMMITTED) {
      outcome.state = shard::PushOutcome::State::kCommitted;
      outcome.commit_ts = Timestamp(response.commit_ts());
      for (const v1::Participant& part : response.participants()) {
        outcome.participants.push_back({part.marker_key(), Digest(part.digest())});
      }
      co_return outcome;
    }
    if (response.state() == v1::ABORTED_STATE) co_return outcome;
    if (response.error().code() == v1::TOO_OLD) {
      outcome.state = shard::PushOutcome::State::kTooOld;
      co_return outcome;
    }
    Status status = StatusFromError(response.error());
    if (status.ok()) status = Internal("a push was answered without an outcome");
    const bool elsewhere = RetryClassOf(status.code()) == RetryClass::kRedirect;
    if (!elsewhere || env_.Now() >= deadline) co_return status;
    co_await Sleep(env_.executor, pause.Next(env_.random));
  }
}

// ---- answering ----------------------------------------------------------------------------------

Task<v1::PushResponse> Recovery::HandlePush(v1::PushRequest request, Instant deadline) {
  v1::PushResponse response;
  if (const Status valid = Check(request); !valid.ok()) {
    StatusToError(valid, response.mutable_error());
    co_return response;
  }
  if (const auto name = GivenName::FromBytes(request.name())) {
    co_return co_await AskName(*name, std::move(*request.mutable_key()), deadline);
  }
  const v1::TxnRef& ref = request.txn();
  const shard::TxnName txn{*TxnId::FromBytes(ref.txn_id()), Timestamp(ref.start_ts()),
                           ref.anchor_key()};
  MarkStep(env_.executor, CommitStep::kPushed, txn.txn_id.bytes());
  if (NeedsFreshSlot(txn.start_ts, slots_.newest())) {
    // A record with a wild start_ts would outlive every horizon.
    const auto slot = co_await slots_.Fetch(kSlotTimeout);
    if (slot.ok() && txn.start_ts > *slot) {
      StatusToError(InvalidArgument("start_ts is above every slot issued"),
                    response.mutable_error());
      co_return response;
    }
    if (!slot.ok()) {
      StatusToError(Unavailable("no slot to check start_ts against"), response.mutable_error());
      co_return response;
    }
  }
  Backoff pause(kPauseInitial, kPauseMax);
  bool again = false;
  while (true) {
    shard::Shard* shard = directory_.FindServing(txn.anchor_key);
    if (shard == nullptr) {
      FillNotServing(directory_, txn.anchor_key, response.mutable_error());
      co_return response;
    }
    const Finding finding =
        co_await Find(shard->id(), shard->serving_term(), txn, JoinUntil::kEnd, deadline);
    if (FillPushed(finding, ref, &response)) co_return response;
    if (env_.Now() >= deadline) {
      StatusToError(DeadlineExceeded("the anchor's leader changes too often"),
                    response.mutable_error());
      co_return response;
    }
    // The first time it is the end of what was waited for, and the record tells.
    if (again) co_await Sleep(env_.executor, pause.Next(env_.random));
    again = true;
  }
}

// Where a name's transaction writes the key, this is right whatever key was chosen: a committed one
// left a record or a PREPARED part in this shard, and once the name is closed none can come.
Task<v1::PushResponse> Recovery::AskName(GivenName name, std::string key, Instant deadline) {
  using State = shard::NameStanding::State;
  v1::PushResponse response;
  Backoff pause(kPauseInitial, kPauseMax);
  while (true) {
    shard::Shard* shard = directory_.FindServing(key);
    if (shard == nullptr) {
      FillNotServing(directory_, key, response.mutable_error());
      co_return response;
    }
    const shard::NameStanding standing = shard->LookUp(name);
    Status status;
    switch (standing.state) {
      case State::kCommitted:
        response.set_state(v1::COMMITTED);
        response.set_commit_ts(standing.commit_ts.bits());
        co_return response;
      case State::kClosed:
        response.set_state(v1::ABORTED_STATE);
        co_return response;
      case State::kTooOld:
        status =
            Status(Code::kTooOld, fmt::format("name {} is further back than names are kept", name));
        break;
      case State::kPrepared:
        PROBE("recovery: name is prepared");
        status = Status(Code::kLockConflict, "a part is prepared");
        break;
      case State::kUnknown: {
        const shard::Applied applied = co_await shard->CloseName(name, key, deadline);
        if (applied.state == TxnState::kCommitted || applied.state == TxnState::kAborted) {
          response.set_state(static_cast<v1::TxnState>(applied.state));
          response.set_commit_ts(applied.commit_ts.bits());
          co_return response;
        }
        status = applied.status;
      }
    }
    // What is prepared is being pushed: its outcome comes through this shard's log.
    if (status.code() == Code::kLockConflict && env_.Now() < deadline) {
      co_await Sleep(env_.executor, pause.Next(env_.random));
      continue;
    }
    if (status.code() == Code::kLockConflict) {
      status = DeadlineExceeded("a transaction of this name is still being committed");
    }
    StatusToError(status, response.mutable_error());
    co_return response;
  }
}

Task<Finding> Recovery::Find(ShardId shard, raft::Term term, shard::TxnName txn, JoinUntil until,
                             Instant deadline) {
  if (!registry_.Has(txn.txn_id, shard, term)) {
    shard::Shard* here = directory_.FindServing(shard, term);
    if (here == nullptr) co_return Finding{};
    const auto record = here->FindTxnRecord(txn.txn_id, txn.anchor_key);
    if (record.has_value() && record->state() == v1::COMMITTED) {
      co_return Finding{.kind = Finding::Kind::kCommitted,
                        .commit_ts = Timestamp(record->commit_ts()),
                        .participants = ToParts(*record)};
    }
    if (record.has_value() && record->state() == v1::ABORTED_STATE) {
      co_return Finding{.kind = Finding::Kind::kAborted};
    }
    const RunPtr run = Start(shard, term, txn);
    // Below the horizon there is nothing to wait for.
    if (run->told.has_value()) co_return *run->told;
  } else {
    PROBE("recovery: push waits for the decide");
  }
  co_return co_await registry_.Join(txn.txn_id, shard, term, until, deadline);
}

// ---- recovering ---------------------------------------------------------------------------------

Recovery::RunPtr Recovery::MakeRun(ShardId shard, raft::Term term, shard::TxnName txn) {
  auto run = std::make_shared<Run>();
  run->shard = shard;
  run->term = term;
  run->txn = std::move(txn);
  run->registration =
      std::make_unique<Registration>(registry_, run->txn.txn_id, shard, term, run->txn.anchor_key,
                                     [this, weak = std::weak_ptr<Run>(run)] {
                                       const RunPtr alive = weak.lock();
                                       if (alive == nullptr) return;
                                       alive->machine.RightsEnded();
                                       Perform(alive);
                                     });
  return run;
}

Recovery::RunPtr Recovery::Start(ShardId shard, raft::Term term, shard::TxnName txn) {
  const RunPtr run = MakeRun(shard, term, std::move(txn));
  recoveries_.Add();
  run->machine.Start(Look(run.get()));
  Perform(run);
  return run;
}

RecoveryMachine::Record Recovery::Look(Run* run) {
  shard::Shard* here = directory_.FindServing(run->shard, run->term);
  CHECK(here != nullptr, "a recovery starts on the serving leader");
  const auto record = here->FindTxnRecord(run->txn.txn_id, run->txn.anchor_key);
  run->recorded = record.has_value();
  if (!run->recorded) return {.below_horizon = run->txn.start_ts < here->horizon()};
  run->participants = ToParts(*record);
  run->txn.start_ts = Timestamp(record->start_ts());
  return ToRecord(*record);
}

void Recovery::Perform(const RunPtr& run) {
  while (const auto action = run->machine.Next()) PerformOne(run, *action);
  if (run->machine.settled()) run->registration->End();
}

void Recovery::Tell(const RunPtr& run, Finding finding) {
  run->told = finding;
  run->registration->Tell(std::move(finding));
}

void Recovery::PerformOne(const RunPtr& run, const RecoveryMachine::Action& action) {
  using Kind = RecoveryMachine::Action::Kind;
  switch (action.kind) {
    case Kind::kQuery:
      MarkStep(env_.executor, CommitStep::kQueried, run->txn.txn_id.bytes());
      scope_.Spawn(Query(run, action.participant, action.again));
      return;
    case Kind::kLogDecide:
      MarkStep(env_.executor, CommitStep::kRecoveryDecides, run->txn.txn_id.bytes());
      scope_.Spawn(LogDecide(run, action.commit, action.ts, action.again));
      return;
    case Kind::kAnswerCommitted:
      Tell(run, {.kind = Finding::Kind::kCommitted,
                 .commit_ts = action.ts,
                 .participants = run->participants,
                 .rounds = 2});
      return;
    case Kind::kAnswerAborted:
      Tell(run, {.kind = Finding::Kind::kAborted, .rounds = 2});
      return;
    case Kind::kAnswerTooOld:
      Tell(run, {.kind = Finding::Kind::kTooOld});
      return;
    case Kind::kLookAgain:
      Tell(run, {.kind = Finding::Kind::kLookAgain});
      return;
    case Kind::kResolve:
      resolver_.Resolve(run->Decided(), action.commit, action.ts, [this, run] {
        run->machine.Resolved();
        Perform(run);
      });
      return;
    case Kind::kLogDone:
      resolver_.LogDone(run->Decided(), [run] { run->machine.DoneLogged(); });
      return;
  }
}

Task<void> Recovery::Query(RunPtr run, size_t participant, bool again) {
  if (again) co_await Sleep(env_.executor, run->pause.Next(env_.random));
  PartAnswer answer;
  if (run->machine.rights() && !run->machine.settled()) {
    answer = co_await participants_.Query(run->txn, (*run->participants)[participant],
                                          env_.Now() + kQueryAttempt);
  }
  run->machine.Answered(participant, answer);
  Perform(run);
}

Task<void> Recovery::LogDecide(RunPtr run, bool commit, Timestamp commit_ts, bool again) {
  if (again) co_await Sleep(env_.executor, run->pause.Next(env_.random));
  // ABORTED where there is no record keeps away whatever began before now, for as long as it could
  // still be evaluated: the start_ts is what somebody claims, and the Commit may carry another.
  Timestamp keep_ts;
  if (!run->recorded && !MUTANT("txn-abort-kept-by-claimed-start")) {
    const auto slot = co_await slots_.Fetch(kSlotTimeout);
    if (!slot.ok()) {
      run->machine.Decided({.code = Code::kUnavailable});
      co_return Perform(run);
    }
    keep_ts = *slot;
  }
  Standing stands{.code = Code::kNotLeader};
  // The right to decide is that of this term's leader alone, whoever leads when the task runs.
  shard::Shard* here = directory_.FindServing(run->shard, run->term);
  if (here != nullptr && run->machine.rights()) {
    stands = ToStanding(co_await here->Decide(run->txn, commit, commit_ts, keep_ts));
  }
  run->machine.Decided(stands);
  Perform(run);
}

// ---- a new leader -------------------------------------------------------------------------------

void Recovery::OnServing(ShardId shard, raft::Term term) { scope_.Spawn(TakeOver(shard, term)); }

void Recovery::OnDeposed(ShardId shard) { registry_.EndShard(shard, std::nullopt); }

void Recovery::OnSplit(ShardId shard, const Span& left) { registry_.EndShard(shard, left); }

Task<void> Recovery::TakeOver(ShardId shard, raft::Term term) {
  shard::Shard* here = directory_.FindServing(shard, term);
  if (here == nullptr) co_return;
  const std::vector<v1::TxnRecord> records = here->UnfinishedTxnRecords();
  size_t started = 0;
  for (const v1::TxnRecord& record : records) {
    if (++started % kTakeOverMax == 0) co_await Sleep(env_.executor, kTakeOverPause);
    if (directory_.FindServing(shard, term) == nullptr) co_return;
    StartUnfinished(shard, term, record);
  }
}

void Recovery::StartUnfinished(ShardId shard, raft::Term term, const v1::TxnRecord& record) {
  const auto id = TxnId::FromBytes(record.txn_id());
  CHECK(id.has_value(), "a transaction record names its transaction");
  // Somebody who pushed is at it already, or was and has finished it.
  if (registry_.Has(*id, shard, term)) return;
  const RunPtr run = MakeRun(shard, term, {*id, Timestamp(record.start_ts()), record.anchor_key()});
  const RecoveryMachine::Record now = Look(run.get());
  if (now.state == TxnState::kNone) return;
  if (now.state == TxnState::kStaged && MUTANT("txn-restart-over-staged")) return;
  recoveries_.Add();
  run->machine.Start(now);
  Perform(run);
}

}  // namespace quorate::coordinator
