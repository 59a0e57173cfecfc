// Commits over several shards: CommitMachine's actions, each performed by a short coroutine.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/backoff.h"
#include "base/probe.h"
#include "base/steps.h"
#include "coordinator/commit_steps.h"
#include "coordinator/coordinator.h"
#include "quorate/v1/shard.pb.h"
#include "txn/errors.h"

namespace quorate::coordinator {
namespace {

constexpr Duration kPrepareAttempt = 2s;
constexpr Duration kSlotTimeout = 2s;
constexpr Duration kPauseInitial = 10ms;
constexpr Duration kPauseMax = 500ms;
// How long a coordinator without rights waits for facts that are on their way.
constexpr Duration kDeposedGrace = 300ms;

using Action = CommitMachine::Action;

}  // namespace

// One transaction over several shards. Held by its coroutines and the resolver's callbacks.
struct Coordinator::Live {
  Live(Coordinator* c, const Anchor& a, shard::TxnName n)
      : coordinator(*c),
        anchor(a),
        name(std::move(n)),
        ticket(c->admission_),
        answer(c->env_.executor) {}
  ~Live() { coordinator.env_.executor.Cancel(timer); }

  DecidedTxn Decided() const {
    return {name.txn_id, name.start_ts, name.anchor_key, anchor.shard, anchor.term, staged};
  }

  Coordinator& coordinator;
  const Anchor anchor;
  const shard::TxnName name;
  Admission::Ticket ticket;
  std::unique_ptr<Registration> registration;
  std::optional<CommitMachine> machine;  // once the grouping is known
  std::vector<Part> parts;
  StagedParts staged;
  Promise<v1::CommitResponse> answer;
  Status why;  // a part was refused, the first of them
  TimerId timer = 0;
  Backoff pause{kPauseInitial, kPauseMax};
};

Task<v1::CommitResponse> Coordinator::CommitAcross(v1::CommitRequest request, Anchor anchor) {
  auto live = std::make_shared<Live>(this, anchor, NameOf(request, anchor.txn));
  live->registration = std::make_unique<Registration>(
      registry_, anchor.txn, anchor.shard, anchor.term, live->name.anchor_key,
      [this, weak = std::weak_ptr<Live>(live)] {
        const LivePtr alive = weak.lock();
        if (alive == nullptr || !alive->machine.has_value()) return;
        alive->machine->RightsEnded();
        Perform(alive);
        if (!alive->machine->settled()) ArmDeadline(alive, kDeposedGrace);
      });
  v1::CommitResponse response;
  const auto verdict = live->ticket.verdict();
  // A record of a start_ts above every slot would never be collected.
  const bool wild = NeedsFreshSlot(live->name.start_ts, slots_.newest());
  if (verdict == Admission::Verdict::kDrop || (verdict == Admission::Verdict::kAbort && wild)) {
    FillNoRoom(live->name, &response);
    co_return response;
  }
  if (verdict == Admission::Verdict::kAbort) {
    live->machine.emplace(1);
    live->machine->Refuse(Code::kOverloaded);
  } else {
    const bool has_reads = !request.reads().empty();
    const auto min_ts = co_await MinTimestamp(live->name.start_ts, has_reads, anchor.deadline);
    auto parts = co_await participants_.Group(
        std::make_shared<v1::CommitRequest>(std::move(request)), anchor.shard, anchor.deadline);
    const bool ready = min_ts.ok() && parts.ok() && live->registration->live();
    if (!ready) {
      // Nothing was started. A shard map in motion is no verdict on the transaction.
      const bool invalid = min_ts.status().code() == Code::kInvalidArgument;
      FillError(invalid ? Code::kInvalidArgument : Code::kUnavailable, live->name, &response);
      const Status& why = min_ts.ok() ? parts.status() : min_ts.status();
      if (!why.ok()) response.mutable_error()->set_message(why.message());
      co_return response;
    }
    live->parts = std::move(*parts);
    auto staged = std::make_shared<std::vector<shard::StagedParticipant>>();
    for (const Part& part : live->parts) {
      staged->push_back({part->marker_key(), Digest(part->digest())});
    }
    live->staged = std::move(staged);
    live->machine.emplace(live->parts.size());
    live->machine->Start(*min_ts);
  }
  ArmDeadline(live, anchor.deadline - env_.Now());
  Perform(live);
  Future<v1::CommitResponse> answer = live->answer.future();
  live.reset();  // from here it lives by what it does, not by who waits
  co_return co_await std::move(answer);
}

void Coordinator::ArmDeadline(const LivePtr& live, Duration left) {
  env_.executor.Cancel(live->timer);
  live->timer =
      env_.executor.After(std::max(left, Duration(0)), [this, weak = std::weak_ptr<Live>(live)] {
        const LivePtr alive = weak.lock();
        if (alive == nullptr) return;
        alive->timer = 0;
        alive->machine->Deadline();
        Perform(alive);
      });
}

void Coordinator::Perform(const LivePtr& live) {
  while (const auto action = live->machine->Next()) PerformOne(live, *action);
  if (!live->machine->settled()) return;
  live->registration->End();
  live->parts.clear();
  env_.executor.Cancel(std::exchange(live->timer, 0));
}

void Coordinator::PerformOne(const LivePtr& live, const Action& action) {
  switch (action.kind) {
    case Action::Kind::kEvaluateOwn:
      scope_.Spawn(EvaluateOwn(live, action.ts));
      return;
    case Action::Kind::kSendPrepare:
      MarkStep(env_.executor, CommitStep::kPreparesSent, live->name.txn_id.bytes());
      scope_.Spawn(SendPrepare(live, action.participant, action.ts, action.again));
      return;
    case Action::Kind::kFetchSlot:
      scope_.Spawn(FetchSlot(live));
      return;
    case Action::Kind::kJoinRecovery:
      live->registration->End();
      scope_.Spawn(JoinRecovery(live));
      return;
    case Action::Kind::kAnswerCommitted:
    case Action::Kind::kAnswerAborted:
    case Action::Kind::kAnswerUnknown:
      Answer(live, action);
      return;
    case Action::Kind::kSendEarly:
      resolver_.Early(live->Decided(), action.ts);
      return;
    case Action::Kind::kLogDecide:
      MarkStep(env_.executor, CommitStep::kDecideProposed, live->name.txn_id.bytes());
      scope_.Spawn(LogDecide(live, action));
      return;
    case Action::Kind::kResolve:
      MarkStep(env_.executor, CommitStep::kResolveSent, live->name.txn_id.bytes());
      resolver_.Resolve(live->Decided(), action.commit, action.ts, [this, live] {
        live->machine->Resolved();
        Perform(live);
      });
      return;
    case Action::Kind::kLogDone:
      resolver_.LogDone(live->Decided(), [live] { live->machine->DoneLogged(); });
      return;
  }
}

void Coordinator::Answer(const LivePtr& live, const Action& action) {
  v1::CommitResponse response;
  FillAction(action, live->name, *live->machine, live->why, &response);
  if (action.kind == Action::Kind::kAnswerCommitted) {
    MarkStep(env_.executor, CommitStep::kAnswered, live->name.txn_id.bytes());
  }
  TellCopies(action, live->staged, live->machine->rounds(), live->why, live->registration.get());
  live->answer.Set(std::move(response));
}

Task<void> Coordinator::EvaluateOwn(LivePtr live, Timestamp min_ts) {
  shard::Shard* shard = directory_.FindServing(live->anchor.shard, live->anchor.term);
  if (shard == nullptr || !live->machine->rights()) {
    live->machine->OwnRefused(Code::kNotLeader);
    Perform(live);
    co_return;
  }
  v1::PrepareRequest own = Routed(*live->parts.front(), *shard, min_ts);
  std::vector<shard::StagingPart> staging;
  for (const shard::StagedParticipant& part : *live->staged) {
    staging.push_back({part.marker_key, part.digest});
  }
  shard::AnchorEvaluation evaluation;
  if (staging.size() == 1) {
    evaluation = co_await shard->CommitOnePhase(std::move(own), live->anchor.deadline);
  } else {
    evaluation =
        co_await shard->PrepareAndStage(std::move(own), std::move(staging), live->anchor.deadline);
  }
  live->why = evaluation.status;
  const bool proposed = FeedEvaluation(evaluation, &*live->machine);
  if (proposed) MarkStep(env_.executor, CommitStep::kStageProposed, live->name.txn_id.bytes());
  if (proposed && !live->parts.empty()) live->parts.front().reset();  // not evaluated again
  Perform(live);
  if (!proposed) co_return;
  live->machine->OwnApplied(ToStanding(co_await std::move(*evaluation.applied)));
  Perform(live);
}

Task<void> Coordinator::SendPrepare(LivePtr live, size_t participant, Timestamp min_ts,
                                    bool again) {
  if (again) {
    PROBE("commit: prepare sent again");
    co_await Sleep(env_.executor, live->pause.Next(env_.random));
  }
  PartAnswer answer;
  std::unique_ptr<ByteTurns::Turn> turn;
  if (live->machine->rights() && !live->machine->settled()) {
    const size_t bytes = live->parts[participant]->ByteSizeLong();
    turn = co_await parts_sent_.TakeExactly(std::string(live->name.txn_id.bytes()), bytes,
                                            kPrepareAttempt);
  }
  if (live->machine->rights() && !live->machine->settled()) {
    const Instant until = std::min(live->anchor.deadline, env_.Now() + kPrepareAttempt);
    answer = co_await participants_.Prepare(live->parts[participant], min_ts, until);
  }
  turn.reset();
  // It is not sent again.
  const bool prepared = answer.kind == PartAnswer::Kind::kPrepared;
  if (prepared && participant < live->parts.size()) live->parts[participant].reset();
  if (answer.kind == PartAnswer::Kind::kRefused && live->why.ok()) {
    live->why = Status(answer.code, answer.why);
  }
  live->machine->Answered(participant, answer);
  Perform(live);
}

Task<void> Coordinator::FetchSlot(LivePtr live) {
  const auto slot = co_await slots_.Fetch(kSlotTimeout);
  slot.ok() ? live->machine->SlotArrived(*slot) : live->machine->SlotFailed();
  Perform(live);
}

Task<void> Coordinator::LogDecide(LivePtr live, CommitMachine::Action decide) {
  if (decide.again) co_await Sleep(env_.executor, live->pause.Next(env_.random));
  Standing stands{.code = Code::kNotLeader};
  if (live->machine->rights()) {
    stands = co_await DecideOnce(live->name, live->anchor, decide);
  }
  live->machine->Decided(stands);
  Perform(live);
}

Task<void> Coordinator::JoinRecovery(LivePtr live) {
  v1::CommitResponse response = co_await AskRecovery(live->name, live->anchor);
  live->answer.Set(std::move(response));
}

}  // namespace quorate::coordinator
