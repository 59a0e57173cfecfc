#include "coordinator/coordinator.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/backoff.h"
#include "base/check.h"
#include "base/probe.h"
#include "proto/node.pb.h"
#include "txn/errors.h"

namespace quorate::coordinator {
namespace {

constexpr Duration kPrepareAttempt = 2s;
constexpr Duration kSlotTimeout = 2s;
constexpr Duration kPauseInitial = 10ms;
constexpr Duration kPauseMax = 500ms;
// How long a coordinator without rights waits for facts that are on their way.
constexpr Duration kDeposedGrace = 300ms;
constexpr uint32_t kOverloadedRetryMs = 50;

using Action = CommitMachine::Action;

std::string_view Explain(Code code) {
  switch (code) {
    case Code::kReadConflict:
      return "something read was overwritten since";
    case Code::kLockConflict:
      return "an older transaction holds or waits for a key";
    case Code::kAborted:
      return "aborted, for good";
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

void FillError(Code code, const shard::TxnName& txn, v1::CommitResponse* response) {
  v1::Error* error = response->mutable_error();
  StatusToError(Status(code, std::string(Explain(code))), error);
  if (code == Code::kOverloaded) error->set_retry_after_ms(kOverloadedRetryMs);
  if (EffectOf(code) != Effect::kUnknown) return;
  error->mutable_txn()->set_txn_id(std::string(txn.txn_id.bytes()));
  error->mutable_txn()->set_start_ts(txn.start_ts.bits());
  error->mutable_txn()->set_anchor_key(txn.anchor_key);
}

shard::TxnName NameOf(const v1::CommitRequest& request, const TxnId& id) {
  return {id, Timestamp(request.start_ts()), request.anchor_key()};
}

// True if the finding answers the Commit.
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

void FillAction(const Action& action, const shard::TxnName& txn, size_t shards, int rounds,
                v1::CommitResponse* response) {
  response->set_shards(static_cast<uint32_t>(shards));
  response->set_consensus_rounds(static_cast<uint32_t>(rounds));
  if (action.kind == Action::Kind::kAnswerCommitted) {
    response->set_commit_ts(action.ts.bits());
  } else {
    FillError(action.code, txn, response);
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

// Hands an evaluation to the machine; true if its entry was proposed.
bool FeedEvaluation(const shard::AnchorEvaluation& evaluation, CommitMachine* machine) {
  if (evaluation.existing.state != shard::Applied::State::kNone) {
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
  TimerId timer = 0;
  Backoff pause{kPauseInitial, kPauseMax};
};

Coordinator::Coordinator(Deps deps)
    : env_(deps.env),
      slots_(deps.slots),
      directory_(deps.directory),
      admission_(deps.env.metrics),
      registry_(deps.env),
      participants_(deps.caller, deps.directory),
      resolver_(deps.env, deps.caller, deps.directory),
      recovery_(
          {deps.env, deps.caller, deps.directory, deps.slots, registry_, participants_, resolver_}),
      commits_one_(deps.env.metrics.GetCounter(
          "quorate_txn_commits_total", "Committed transactions, by shards they wrote or read.",
          "shards=\"one\"")),
      commits_many_(deps.env.metrics.GetCounter(
          "quorate_txn_commits_total", "Committed transactions, by shards they wrote or read.",
          "shards=\"many\"")),
      latency_(deps.env.metrics.GetHistogram("quorate_commit_latency_us",
                                             "From a Commit's arrival to its answer.")),
      scope_(deps.env.executor) {}

Coordinator::~Coordinator() = default;

Task<v1::PushResponse> Coordinator::HandlePush(v1::PushRequest request, Instant deadline) {
  return recovery_.HandlePush(std::move(request), deadline);
}

Task<v1::CommitResponse> Coordinator::Commit(v1::CommitRequest request, Instant deadline) {
  const Instant begun = env_.Now();
  v1::CommitResponse response;
  if (const Status valid = CheckCommit(request); !valid.ok()) {
    StatusToError(valid, response.mutable_error());
    co_return response;
  }
  Anchor anchor{.txn = *TxnId::FromBytes(request.txn_id()),
                .deadline = Admission::WorkDeadline(begun, deadline)};
  Backoff pause(kPauseInitial, kPauseMax);
  bool here = false;
  while (true) {
    if (env_.Now() >= anchor.deadline) {
      FillError(Code::kDeadlineExceeded, NameOf(request, anchor.txn), &response);
      co_return response;
    }
    shard::Shard* shard = directory_.FindServing(request.anchor_key());
    if (shard == nullptr) {
      FillNotServing(directory_, request.anchor_key(), response.mutable_error());
      co_return response;
    }
    anchor.shard = shard->id();
    anchor.term = shard->serving_term();
    if (!registry_.Has(anchor.txn, anchor.shard, anchor.term)) {
      here = Participants::Within(request, shard->span());
      break;
    }
    PROBE("commit.copy_joins");
    const Finding finding =
        co_await registry_.Join(anchor.txn, anchor.shard, anchor.term, anchor.deadline);
    if (FillFound(finding, NameOf(request, anchor.txn), &response)) co_return response;
    co_await Sleep(env_.executor, pause.Next(env_.random));
  }
  if (here) {
    response = co_await CommitHere(std::move(request), anchor);
  } else {
    response = co_await CommitAcross(std::move(request), anchor);
  }
  latency_.Record(static_cast<uint64_t>((env_.Now() - begun) / 1us));
  Count(response);
  co_return response;
}

Task<Result<Timestamp>> Coordinator::MinTimestamp(Timestamp start_ts, bool has_reads,
                                                  Instant deadline) {
  // What was read at start_ts makes it a slot taken after the transaction began (T1).
  if (has_reads && !NeedsFreshSlot(start_ts, slots_.newest())) co_return Timestamp();
  auto slot = co_await slots_.Fetch(std::min<Duration>(deadline - env_.Now(), kSlotTimeout));
  if (!slot.ok()) co_return Unavailable("no timestamp slot: " + slot.status().ToString());
  if (start_ts > *slot) co_return InvalidArgument("start_ts is above every slot issued");
  co_return has_reads ? Timestamp() : *slot;
}

Task<Standing> Coordinator::DecideOnce(shard::TxnName txn, Anchor anchor, bool commit,
                                       Timestamp commit_ts) {
  // The right to decide is that of this term's leader alone, whoever leads when this runs.
  shard::Shard* shard = directory_.FindServing(anchor.shard, anchor.term);
  if (shard == nullptr) co_return Standing{.code = Code::kNotLeader};
  co_return ToStanding(co_await shard->Decide(std::move(txn), commit, commit_ts));
}

// ---- one shard ----------------------------------------------------------------------------------

// At most one action is outstanding, so that one frame performs them all.
Task<v1::CommitResponse> Coordinator::CommitHere(v1::CommitRequest request, Anchor anchor) {
  const Admission::Ticket ticket(admission_);
  Registration registration(registry_, anchor.txn, anchor.shard, anchor.term, nullptr);
  v1::CommitResponse response;
  const shard::TxnName name = NameOf(request, anchor.txn);
  if (ticket.verdict() == Admission::Verdict::kDrop) {
    FillError(Code::kUnavailable, name, &response);
    co_return response;
  }
  Timestamp min_ts;
  const bool has_reads = !request.reads().empty();
  if (!has_reads || NeedsFreshSlot(name.start_ts, slots_.newest())) {
    auto slot = co_await MinTimestamp(name.start_ts, has_reads, anchor.deadline);
    if (!slot.ok()) {
      FillError(slot.status().code(), name, &response);
      response.mutable_error()->set_message(slot.status().message());
      co_return response;
    }
    min_ts = *slot;
  }
  const v1::PrepareRequest part = Participants::OnePart(&request);
  Backoff pause(kPauseInitial, kPauseMax);
  CommitMachine machine(1);
  if (ticket.verdict() == Admission::Verdict::kAdmit) {
    machine.Start(min_ts);
  } else {
    machine.Refuse(Code::kOverloaded);
  }
  while (const auto action = machine.Next()) {
    switch (action->kind) {
      case Action::Kind::kEvaluateOwn: {
        shard::Shard* shard = directory_.FindServing(anchor.shard, anchor.term);
        if (shard == nullptr || !registration.live()) {
          machine.OwnRefused(Code::kNotLeader);
          break;
        }
        auto evaluation =
            co_await shard->CommitOnePhase(Routed(part, *shard, action->ts), anchor.deadline);
        if (FeedEvaluation(evaluation, &machine)) {
          machine.OwnApplied(ToStanding(co_await std::move(*evaluation.applied)));
        }
        break;
      }
      case Action::Kind::kFetchSlot: {
        const auto slot = co_await slots_.Fetch(kSlotTimeout);
        slot.ok() ? machine.SlotArrived(*slot) : machine.SlotFailed();
        break;
      }
      case Action::Kind::kLogDecide:
        if (action->again) co_await Sleep(env_.executor, pause.Next(env_.random));
        if (registration.live()) {
          machine.Decided(co_await DecideOnce(name, anchor, action->commit, action->ts));
        } else {
          machine.Decided({.code = Code::kNotLeader});
        }
        break;
      case Action::Kind::kJoinRecovery:
        registration.End();
        if (!FillFound(co_await recovery_.Find(anchor.shard, anchor.term, name, anchor.deadline),
                       name, &response)) {
          FillError(Code::kUnavailable, name, &response);
        }
        break;
      case Action::Kind::kAnswerCommitted:
        registration.Tell({.kind = Finding::Kind::kCommitted,
                           .commit_ts = action->ts,
                           .rounds = machine.rounds()});
        FillAction(*action, name, 1, machine.rounds(), &response);
        break;
      case Action::Kind::kAnswerAborted:
      case Action::Kind::kAnswerUnknown:
        FillAction(*action, name, 1, machine.rounds(), &response);
        break;
      case Action::Kind::kSendPrepare:
      case Action::Kind::kSendEarly:
      case Action::Kind::kResolve:
      case Action::Kind::kLogDone:
        CHECK(false, "one shard has nobody to tell");
    }
  }
  CHECK(machine.finished());
  co_return response;
}

// ---- several shards -----------------------------------------------------------------------------

Task<v1::CommitResponse> Coordinator::CommitAcross(v1::CommitRequest request, Anchor anchor) {
  auto live = std::make_shared<Live>(this, anchor, NameOf(request, anchor.txn));
  live->registration = std::make_unique<Registration>(
      registry_, anchor.txn, anchor.shard, anchor.term, [this, weak = std::weak_ptr<Live>(live)] {
        const LivePtr alive = weak.lock();
        if (alive == nullptr || !alive->machine.has_value()) return;
        alive->machine->RightsEnded();
        Perform(alive);
        if (!alive->machine->settled()) ArmDeadline(alive, kDeposedGrace);
      });
  v1::CommitResponse response;
  const auto verdict = live->ticket.verdict();
  if (verdict == Admission::Verdict::kDrop) {
    FillError(Code::kUnavailable, live->name, &response);
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
      scope_.Spawn(LogDecide(live, action.commit, action.ts, action.again));
      return;
    case Action::Kind::kResolve:
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
  const int rounds = live->machine->rounds();
  v1::CommitResponse response;
  FillAction(action, live->name, live->machine->participants(), rounds, &response);
  if (action.kind == Action::Kind::kAnswerCommitted) {
    live->registration->Tell({.kind = Finding::Kind::kCommitted,
                              .commit_ts = action.ts,
                              .participants = live->staged,
                              .rounds = rounds});
  } else if (action.kind == Action::Kind::kAnswerAborted && rounds > 0) {
    // Without a round nothing was logged: copies find out for themselves.
    live->registration->Tell(
        {.kind = Finding::Kind::kAborted, .code = action.code, .rounds = rounds});
  }
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
  const bool proposed = FeedEvaluation(evaluation, &*live->machine);
  Perform(live);
  if (!proposed) co_return;
  live->machine->OwnApplied(ToStanding(co_await std::move(*evaluation.applied)));
  Perform(live);
}

Task<void> Coordinator::SendPrepare(LivePtr live, size_t participant, Timestamp min_ts,
                                    bool again) {
  if (again) {
    PROBE("commit.prepare_sent_again");
    co_await Sleep(env_.executor, live->pause.Next(env_.random));
  }
  PartAnswer answer;
  if (live->machine->rights() && !live->machine->settled()) {
    const Instant until = std::min(live->anchor.deadline, env_.Now() + kPrepareAttempt);
    answer = co_await participants_.Prepare(live->parts[participant], min_ts, until);
  }
  live->machine->Answered(participant, answer);
  Perform(live);
}

Task<void> Coordinator::FetchSlot(LivePtr live) {
  const auto slot = co_await slots_.Fetch(kSlotTimeout);
  slot.ok() ? live->machine->SlotArrived(*slot) : live->machine->SlotFailed();
  Perform(live);
}

Task<void> Coordinator::LogDecide(LivePtr live, bool commit, Timestamp commit_ts, bool again) {
  if (again) co_await Sleep(env_.executor, live->pause.Next(env_.random));
  Standing stands{.code = Code::kNotLeader};
  if (live->machine->rights()) {
    stands = co_await DecideOnce(live->name, live->anchor, commit, commit_ts);
  }
  live->machine->Decided(stands);
  Perform(live);
}

Task<void> Coordinator::JoinRecovery(LivePtr live) {
  v1::CommitResponse response;
  const Finding finding = co_await recovery_.Find(live->anchor.shard, live->anchor.term, live->name,
                                                  live->anchor.deadline);
  if (!FillFound(finding, live->name, &response)) {
    FillError(Code::kUnavailable, live->name, &response);
  }
  live->answer.Set(std::move(response));
}

// ---- figures ------------------------------------------------------------------------------------

void Coordinator::Count(const v1::CommitResponse& response) {
  const Code code = StatusFromError(response.error()).code();
  if (code == Code::kOk) {
    (response.shards() > 1 ? commits_many_ : commits_one_).Add();
    return;
  }
  Counter*& counter = aborts_[static_cast<size_t>(code)];
  if (counter == nullptr) {
    std::string reason(CodeName(code));
    std::transform(reason.begin(), reason.end(), reason.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    counter = &env_.metrics.GetCounter("quorate_txn_aborts_total",
                                       "Commits answered with an error, by reason.",
                                       fmt::format("reason=\"{}\"", reason));
  }
  counter->Add();
}

}  // namespace quorate::coordinator
