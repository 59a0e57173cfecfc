#include "coordinator/coordinator.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/backoff.h"
#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "coordinator/commit_steps.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::coordinator {
namespace {

constexpr Duration kSlotTimeout = 2s;
constexpr Duration kPauseInitial = 10ms;
constexpr Duration kPauseMax = 500ms;
constexpr Duration kDecidePause = 50ms;
using Action = CommitMachine::Action;

Counter& AbortsOf(Metrics& metrics, Code code) {
  std::string reason(CodeName(code));
  std::transform(reason.begin(), reason.end(), reason.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return metrics.GetCounter("quorate_txn_aborts_total",
                            "Commits answered with an error, by reason.",
                            fmt::format("reason=\"{}\"", reason));
}

}  // namespace

Coordinator::Coordinator(Deps deps)
    : env_(deps.env),
      slots_(deps.slots),
      directory_(deps.directory),
      admission_(deps.env.metrics),
      registry_(deps.env),
      participants_(deps.caller, deps.directory, deps.part_bytes_max),
      parts_sent_(deps.env, limits::kPartsSentBytesMax),
      resolver_(deps.env, deps.caller, deps.directory),
      recovery_(
          {deps.env, deps.caller, deps.directory, deps.slots, registry_, participants_, resolver_}),
      commits_one_(deps.env.metrics.GetCounter(
          "quorate_txn_commits_total", "Committed transactions, by shards they wrote or read.",
          "shards=\"one\"")),
      commits_many_(deps.env.metrics.GetCounter(
          "quorate_txn_commits_total", "Committed transactions, by shards they wrote or read.",
          "shards=\"many\"")),
      latency_(deps.env.metrics.GetHistogram("quorate_commit_latency_seconds",
                                             "From a Commit's arrival to its answer.")),
      scope_(deps.env.executor) {
  // What alerts are to watch is shown from the start.
  for (const Code code :
       {Code::kReadConflict, Code::kLockConflict, Code::kTooOld, Code::kAborted, Code::kOverloaded,
        Code::kUnavailable, Code::kDeadlineExceeded, Code::kUnknownOutcome, Code::kNoSpace}) {
    aborts_[static_cast<size_t>(code)] = &AbortsOf(env_.metrics, code);
  }
}

Coordinator::~Coordinator() = default;

Task<v1::PushResponse> Coordinator::HandlePush(v1::PushRequest request, Instant deadline) {
  return recovery_.HandlePush(std::move(request), deadline);
}

Task<v1::CommitResponse> Coordinator::Commit(v1::CommitRequest request, Instant deadline) {
  const Instant begun = env_.Now();
  v1::CommitResponse response;
  if (const Status valid = Check(request); !valid.ok()) {
    StatusToError(valid, response.mutable_error());
    co_return response;
  }
  Anchor anchor{.txn = *TxnId::FromBytes(request.txn_id()),
                .deadline = Admission::WorkDeadline(begun, deadline)};
  const GivenName given = GivenName::FromBytes(request.name()).value_or(GivenName());
  const shard::TxnName name = NameOf(request, anchor.txn);
  Backoff pause(kPauseInitial, kPauseMax);
  bool here = false;
  while (true) {
    if (env_.Now() >= anchor.deadline) {
      FillError(Code::kDeadlineExceeded, name, &response);
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
      if (given.given() && FillByName(shard->LookUp(given), name, &response)) {
        const bool own = shard->FindTxnRecord(anchor.txn, name.anchor_key).has_value();
        // Its own record tells more.
        if (!own) co_return response;
        response.Clear();
      }
      here = Participants::Within(request, shard->span()) && !participants_.TooMuchForOne(request);
      break;
    }
    PROBE("commit: copy joins");
    const Finding finding = co_await registry_.Join(anchor.txn, anchor.shard, anchor.term,
                                                    JoinUntil::kFact, anchor.deadline);
    if (FillFound(finding, name, &response)) {
      co_return co_await AskIfOthers(given, name, std::move(response), deadline);
    }
    co_await Sleep(env_.executor, pause.Next(env_.random));
  }
  if (here) {
    response = co_await CommitHere(std::move(request), anchor);
  } else {
    response = co_await CommitAcross(std::move(request), anchor);
  }
  if (response.error().code() == v1::ABORTED) {
    const Finding* why = registry_.WhyAborted(anchor.txn, anchor.shard);
    if (why != nullptr) FillFound(*why, name, &response);
  }
  response = co_await AskIfOthers(given, name, std::move(response), deadline);
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
  const bool without = has_reads || MUTANT("txn-blind-write-without-slot");
  co_return without ? Timestamp() : *slot;
}

Task<Standing> Coordinator::DecideOnce(shard::TxnName txn, Anchor anchor,
                                       CommitMachine::Action decide) {
  // The right to decide is that of this term's leader alone, whoever leads when this runs.
  shard::Shard* shard = directory_.FindServing(anchor.shard, anchor.term);
  if (MUTANT("txn-coordinator-outlives-term")) shard = directory_.FindServing(txn.anchor_key);
  if (shard == nullptr) co_return Standing{.code = Code::kNotLeader};
  const Timestamp keep_ts = decide.unstaged ? txn.start_ts : Timestamp();
  co_return ToStanding(co_await shard->Decide(std::move(txn), decide.commit, decide.ts, keep_ts));
}

Task<v1::CommitResponse> Coordinator::AskRecovery(shard::TxnName name, Anchor anchor) {
  v1::CommitResponse response;
  const Finding finding =
      co_await recovery_.Find(anchor.shard, anchor.term, name, JoinUntil::kFact, anchor.deadline);
  if (!FillFound(finding, name, &response)) FillError(Code::kUnavailable, name, &response);
  co_return response;
}

// What refused this attempt may be at another participant, so that it is looked up only now.
Task<v1::CommitResponse> Coordinator::AskIfOthers(GivenName given, shard::TxnName name,
                                                  v1::CommitResponse response, Instant deadline) {
  if (!given.given() || response.error().code() != v1::ALREADY_EXISTS) co_return response;
  v1::PushRequest ask;
  ask.set_name(std::string(given.bytes()));
  ask.set_key(name.anchor_key);
  const v1::PushResponse answer = co_await recovery_.HandlePush(std::move(ask), deadline);
  response.Clear();
  if (answer.state() == v1::COMMITTED) {
    FillByName({shard::NameStanding::State::kCommitted, Timestamp(answer.commit_ts())}, name,
               &response);
  } else if (answer.state() == v1::ABORTED_STATE) {
    FillByName({shard::NameStanding::State::kClosed, Timestamp()}, name, &response);
  } else {
    // A refusal of this attempt says nothing about the others.
    const bool too_old = answer.error().code() == v1::TOO_OLD;
    FillError(too_old ? Code::kTooOld : Code::kUnavailable, name, &response);
  }
  co_return response;
}

// ---- one shard ----------------------------------------------------------------------------------

// The steps that are rarely needed. The pointers are into the awaiting frame.
Task<void> Coordinator::StepHere(CommitMachine::Action action, shard::TxnName name, Anchor anchor,
                                 const Registration* registration, CommitMachine* machine) {
  if (action.kind == Action::Kind::kFetchSlot) {
    const auto slot = co_await slots_.Fetch(kSlotTimeout);
    if (env_.Now() >= anchor.deadline) machine->Deadline();
    slot.ok() ? machine->SlotArrived(*slot) : machine->SlotFailed();
    co_return;
  }
  if (action.again) co_await Sleep(env_.executor, kDecidePause);
  Standing stands{.code = Code::kNotLeader};
  if (registration->live()) {
    stands = co_await DecideOnce(std::move(name), anchor, action);
  }
  machine->Decided(stands);
}

// At most one action is outstanding, so that one frame performs them all.
Task<v1::CommitResponse> Coordinator::CommitHere(v1::CommitRequest request, Anchor anchor) {
  const Admission::Ticket ticket(admission_);
  v1::CommitResponse response;
  const shard::TxnName name = NameOf(request, anchor.txn);
  Registration registration(registry_, anchor.txn, anchor.shard, anchor.term, name.anchor_key,
                            nullptr);
  if (ticket.verdict() == Admission::Verdict::kDrop) {
    FillNoRoom(name, &response);
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
  CommitMachine machine(1);
  Status why;
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
        why = evaluation.status;
        if (FeedEvaluation(evaluation, &machine)) {
          machine.OwnApplied(ToStanding(co_await std::move(*evaluation.applied)));
        }
        break;
      }
      case Action::Kind::kFetchSlot:
      case Action::Kind::kLogDecide:
        co_await StepHere(*action, name, anchor, &registration, &machine);
        break;
      case Action::Kind::kJoinRecovery:
        registration.End();
        response = co_await AskRecovery(name, anchor);
        break;
      case Action::Kind::kAnswerCommitted:
      case Action::Kind::kAnswerAborted:
      case Action::Kind::kAnswerUnknown:
        TellCopies(*action, nullptr, machine.rounds(), why, &registration);
        FillAction(*action, name, machine, why, &response);
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

// ---- figures ------------------------------------------------------------------------------------

void Coordinator::Count(const v1::CommitResponse& response) {
  const Code code = StatusFromError(response.error()).code();
  if (code == Code::kOk) {
    (response.shards() > 1 ? commits_many_ : commits_one_).Add();
  } else {
    Counter*& counter = aborts_[static_cast<size_t>(code)];
    if (counter == nullptr) counter = &AbortsOf(env_.metrics, code);
    counter->Add();
  }
}

}  // namespace quorate::coordinator
