// Prepares: waiting for locks, evaluating, proposing; and what recovery asks of participants.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "shard/command.h"
#include "shard/lock_wait.h"
#include "shard/records.h"
#include "shard/rep.h"

namespace quorate::shard {
namespace {

Owner OwnerOf(const v1::Resolution& resolution) {
  return {*TxnId::FromBytes(resolution.txn_id()), Digest(resolution.digest()),
          resolution.marker_key()};
}

// A name may be ahead of the oracle by what callers' clocks may be; one further ahead would be
// remembered for too long.
Timestamp EarliestFor(const GivenName& name) {
  return Timestamp::FromParts(std::min(name.unix_ms(), Timestamp::kPhysicalMax), 0)
      .MinusMillis(static_cast<uint64_t>(ToMillis(limits::kNameAheadMax)));
}

// Before its deadline a request that still waits for locks is told for whom.
constexpr Duration kExplainMax = 500ms;
// So long large entries wait for another at most: its group has no majority, or the disk is slow.
constexpr Duration kLogPatience = 500ms;

AnchorEvaluation RefusedWith(Status status) {
  AnchorEvaluation evaluation;
  evaluation.status = std::move(status);
  return evaluation;
}

}  // namespace

Status Shard::Rep::Admit(const v1::PrepareRequest& request) const {
  if (deps.store.OverBound()) {
    return Status(Code::kOverloaded, "the node's store cannot keep up with writes");
  }
  if (!deps.check_room) return Status::Ok();
  const bool grows = std::any_of(request.writes().begin(), request.writes().end(),
                                 [](const v1::Write& write) { return !write.deletion(); });
  // Deletions go on: they are the way out.
  return deps.check_room(grows ? raft::Growth::kGrows : raft::Growth::kShrinks);
}

namespace {

PreparedLock LockOf(const PrepareAsk& ask, Instant now) {
  PreparedLock lock;
  lock.owner = ask.owner;
  lock.priority = ask.priority;
  lock.start_ts = ask.start_ts;
  lock.prepare_ts = kUndecided;
  lock.anchor_key = ask.anchor_key;
  lock.writes.assign(ask.writes.begin(), ask.writes.end());
  if (!MUTANT("txn-guards-not-locked")) lock.guards = ask.guards;
  lock.one_phase = ask.kind == PrepareKind::kOnePhase;
  lock.since = now;
  return lock;
}

// What the log holds of a prepare; takes the values out of the request.
v1::ShardCommand CommandOf(const PrepareAsk& ask, Timestamp prepare_ts,
                           Judged<v1::PrepareRequest> judged,
                           const std::vector<StagingPart>& participants) {
  v1::PrepareRequest taken = std::move(judged).Take();
  v1::PrepareRequest* request = &taken;
  v1::ShardCommand command;
  if (ask.kind == PrepareKind::kOnePhase) {
    v1::CommitOnePhase* commit = command.mutable_commit_one_phase();
    commit->set_txn_id(std::move(*request->mutable_txn_id()));
    commit->set_start_ts(request->start_ts());
    commit->set_commit_ts(prepare_ts.bits());
    commit->set_anchor_key(std::move(*request->mutable_anchor_key()));
    commit->mutable_writes()->Swap(request->mutable_writes());
    commit->set_name(std::move(*request->mutable_name()));
    return command;
  }
  v1::PrepareCommand* prepare = command.mutable_prepare();
  prepare->set_txn_id(std::move(*request->mutable_txn_id()));
  prepare->set_digest(request->digest());
  prepare->set_marker_key(std::move(*request->mutable_marker_key()));
  prepare->set_start_ts(request->start_ts());
  prepare->set_prepare_ts(prepare_ts.bits());
  prepare->mutable_priority()->Swap(request->mutable_priority());
  prepare->set_anchor_key(std::move(*request->mutable_anchor_key()));
  prepare->mutable_writes()->Swap(request->mutable_writes());
  if (!MUTANT("txn-guards-not-logged")) {
    prepare->mutable_guards()->Swap(request->mutable_guards());
  }
  prepare->set_stage(ask.kind == PrepareKind::kStage);
  prepare->set_name(std::move(*request->mutable_name()));
  for (const StagingPart& part : participants) {
    v1::Participant* participant = prepare->add_participants();
    participant->set_marker_key(part.marker_key);
    participant->set_digest(part.digest.value());
  }
  return command;
}

}  // namespace

// The locks of a prepare from their taking until it is proposed: they go with this object, unless
// the proposal has them.
class Shard::Rep::Taken {
 public:
  Taken(std::shared_ptr<Leadership> under, PreparedLock lock)
      : under_(std::move(under)), owner_(lock.owner) {
    under_->locks().Add(std::move(lock));
    under_->Wake();
  }
  Taken(const Taken&) = delete;
  ~Taken() {
    if (under_ != nullptr) under_->OnNotApplied(owner_);
  }
  void Propose(Timestamp prepare_ts) {
    std::exchange(under_, nullptr)->locks().MarkEvaluated(owner_, prepare_ts);
  }

 private:
  std::shared_ptr<Leadership> under_;
  const Owner owner_;
};

Task<AnchorEvaluation> Shard::Rep::Evaluate(v1::PrepareRequest unjudged, PrepareKind kind,
                                            std::vector<StagingPart> participants,
                                            Instant deadline) {
  Result<Judged<v1::PrepareRequest>> request = Judge(std::move(unjudged));
  if (!request.ok()) co_return RefusedWith(request.status());
  const PrepareAsk ask = AskOf(*request, kind);
  if (Status admitted = Admit(**request); !admitted.ok())
    co_return RefusedWith(std::move(admitted));
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return RefusedWith(serving.status());
  const std::shared_ptr<Leadership>& under = *serving;
  under->load.Count(Now(), ask.marker_key);
  const Timestamp named = std::max({ask.start_ts, ask.min_ts, EarliestFor(ask.name)});
  // Earlier clients begin at a commit_ts that they were told, which is below a slot by then. One
  // above all slots would leave those who come next no sub bits.
  const bool between = !named.is_slot() && named > deps.slots.newest();
  if (between || needs_check(named)) {
    if (Status s = co_await CheckNamed(under, named, deadline); !s.ok()) co_return RefusedWith(s);
  }

  // At the anchor nothing holds the transaction yet: while its client still waits for an answer,
  // who is in the way is a better one than silence.
  const Duration margin = std::min(kExplainMax, (deadline - Now()) / 8);
  const Instant explain_at = kind == PrepareKind::kParticipant ? deadline : deadline - margin;
  const bool ranges = std::any_of(ask.guards.begin(), ask.guards.end(),
                                  [](const Span& guard) { return !guard.single(); });
  LockWait wait(*this, under, deadline);
  for (;;) {
    if (!under->serving()) co_return RefusedWith(NotLeader());
    if (InTheWay(ask)) {
      PROBE("shard: a prepare waited for a split");
      wait.Leave();
      if (Status s = co_await WaitForCut(deadline); !s.ok()) co_return RefusedWith(std::move(s));
      continue;
    }
    PrepareVerdict verdict = EvaluatePrepare(ask, table, under->locks(), Now(), wait.id());
    Status waits;
    switch (verdict.kind) {
      case PrepareVerdict::Kind::kRefuse:
        if (verdict.status.code() == Code::kLockConflict) lock_conflicts.Add();
        co_return RefusedWith(std::move(verdict.status));
      case PrepareVerdict::Kind::kExisting: {
        AnchorEvaluation evaluation;
        evaluation.existing = std::move(verdict.existing);
        co_return evaluation;
      }
      case PrepareVerdict::Kind::kGo:
        if (ranges && !deps.store.PrepareScan()) {
          co_await NextTurn();
          continue;
        }
        wait.Leave();
        if (ranges) waits = CheckRangeRoom(under->locks(), ask.guards);
        if (!waits.ok()) co_return RefusedWith(std::move(waits));
        co_return co_await ValidateAndPropose(under, ask, *std::move(request),
                                              std::move(participants), deadline);
      case PrepareVerdict::Kind::kJoin:
        waits = wait.Observe(ask.owner);
        break;
      case PrepareVerdict::Kind::kWait:
        prepare_waits.Add();
        waits = wait.Queue(LocksOf(ask));
        if (!waits.ok() || kind == PrepareKind::kParticipant) break;
        if (Now() >= explain_at) {
          lock_conflicts.Add();
          waits = Status(Code::kLockConflict, under->locks().Explain(LocksOf(ask), Now()));
        }
        verdict.lock.recheck = std::min(verdict.lock.recheck.value_or(explain_at), explain_at);
        break;
    }
    if (waits.ok()) waits = co_await wait.Wait(verdict.lock.blocker, verdict.lock.recheck);
    if (!waits.ok()) co_return RefusedWith(std::move(waits));
  }
}

Task<void> Shard::Rep::HoldTurn(Turn turn, Future<bool> ended) {
  const Instant since = Now();
  (void)co_await std::move(ended);
  co_await Sleep(deps.env.executor, Now() - since);
}

Status Shard::Rep::StillValid(const Leadership& under, uint64_t version, const PrepareAsk& ask,
                              Instant deadline) const {
  if (!under.serving()) return NotLeader();
  if (table.version() != version) return StaleEpoch(table);
  // Collection may have taken the versions that it would have to see.
  if (ask.start_ts < table.horizon()) return TooOld(ask.start_ts, table);
  if (Now() >= deadline) return DeadlineExceeded("it was evaluated, and not proposed yet");
  return Status::Ok();
}

// `ask` is in the frame of the caller, which awaits this.
Task<AnchorEvaluation> Shard::Rep::ValidateAndPropose(std::shared_ptr<Leadership> under,
                                                      const PrepareAsk& ask,
                                                      Judged<v1::PrepareRequest> request,
                                                      std::vector<StagingPart> participants,
                                                      Instant deadline) {
  const uint64_t version = table.version();
  Validation validation(ask);
  using State = Validation::State;
  State state = validation.Step(table, under->locks(), settings.step_versions);
  std::optional<Taken> taken;
  if (state == State::kMore && !MUTANT("txn-range-validated-unguarded")) {
    taken.emplace(under, LockOf(ask, Now()));
  }
  while (state == State::kMore) {
    PROBE("shard: what was read was validated in parts");
    co_await NextTurn();
    if (Status s = StillValid(*under, version, ask, deadline); !s.ok()) co_return RefusedWith(s);
    state = validation.Step(table, under->locks(), settings.step_versions);
  }
  if (state == State::kConflict) {
    read_conflicts.Add();
    co_return RefusedWith(
        Status(Code::kReadConflict, "something read was overwritten since start_ts"));
  }
  // Only what has its locks waits for the log, so that nobody in the log's way waits for locks.
  if (!taken.has_value()) taken.emplace(under, LockOf(ask, Now()));
  std::optional<Promise<bool>> ended;
  Turn turn;
  const size_t bytes = request->ByteSizeLong();
  if (deps.parts_logged != nullptr && !ByteTurns::NeedsNone(bytes)) {
    turn = co_await deps.parts_logged->TakeExactly(std::string(ask.owner.txn_id.bytes()), bytes,
                                                   kLogPatience);
    if (Status s = StillValid(*under, version, ask, deadline); !s.ok()) co_return RefusedWith(s);
    ended.emplace(deps.env.executor);
  }
  const auto prepare_ts = PrepareTimestamp(ask, validation.newest(), under->read_high());
  if (!prepare_ts.ok()) co_return RefusedWith(prepare_ts.status());
  taken->Propose(*prepare_ts);
  prepares.Add();
  ++served.prepares;
  AnchorEvaluation evaluation;
  evaluation.prepare_ts = *prepare_ts;
  evaluation.applied = Propose(under, CommandOf(ask, *prepare_ts, std::move(request), participants),
                               ask.owner, std::nullopt, ended);
  if (ended) scope.Spawn(HoldTurn(std::move(turn), ended->future()));
  co_return evaluation;
}

Task<Status> Shard::Rep::QueryPrepare(Judged<v1::QueryPrepareRequest> judged, Instant deadline,
                                      v1::QueryPrepareResponse* response) {
  v1::QueryPrepareRequest request = std::move(judged).Take();
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  // What is refused is remembered until the horizon has passed its start_ts.
  if (const Timestamp named(request.start_ts()); needs_check(named)) {
    CO_RETURN_IF_ERROR(co_await CheckNamed(*serving, named, deadline));
    if (!(*serving)->serving()) co_return NotLeader();
  }
  if (!table.span().Contains(request.marker_key())) co_return StaleEpoch(table);

  const Owner owner{*TxnId::FromBytes(request.txn_id()), Digest(request.digest()),
                    request.marker_key()};
  Applied stands;
  if (const auto record = table.Participant(owner)) {
    stands = StandingOf(*record);
  } else if (Timestamp(request.start_ts()) < table.horizon() || MUTANT("txn-refusal-not-logged")) {
    PROBE("shard: a query below the horizon was answered ABORTED");
    stands.state = TxnState::kAborted;
  } else {
    PROBE("shard: a query logged a refusal");
    v1::ShardCommand command;
    v1::Refuse* refuse = command.mutable_refuse();
    refuse->set_txn_id(std::move(*request.mutable_txn_id()));
    refuse->set_digest(request.digest());
    refuse->set_marker_key(std::move(*request.mutable_marker_key()));
    refuse->set_start_ts(request.start_ts());
    stands = co_await Propose(*serving, std::move(command), std::nullopt, deadline);
  }
  if (!stands.status.ok()) co_return stands.status;
  response->set_state(static_cast<v1::TxnState>(stands.state));
  response->set_prepare_ts(stands.prepare_ts.bits());
  response->set_commit_ts(stands.commit_ts.bits());
  co_return Status::Ok();
}

// ---- names --------------------------------------------------------------------------------------

NameStanding Shard::Rep::LookUp(const GivenName& name) {
  NameStanding standing;
  const Names::Entry* entry = table.names().Find(name);
  if (Names::TooOld(name, table.names_horizon()) &&
      !(entry == nullptr && MUTANT("name-too-old-after-records"))) {
    standing.state = NameStanding::State::kTooOld;
  } else if (entry != nullptr && entry->state == NameRecord::State::kCommitted) {
    standing.state = NameStanding::State::kCommitted;
    standing.commit_ts = entry->commit_ts;
  } else if (const auto prepared = table.names().Prepared(name); !prepared.empty()) {
    // Closed or not: it may have been so on the other side of a merge only.
    standing.state = NameStanding::State::kPrepared;
    if (!serving()) return standing;
    for (const Owner& owner : prepared) StartPush(lead, owner);
  } else if (entry != nullptr) {
    standing.state = NameStanding::State::kClosed;
  }
  return standing;
}

Task<Applied> Shard::Rep::CloseName(GivenName name, std::string key, Instant deadline) {
  Applied refused;
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) {
    refused.status = serving.status();
    co_return refused;
  }
  const std::shared_ptr<Leadership>& under = *serving;
  if (const Timestamp named = EarliestFor(name); needs_check(named)) {
    refused.status = co_await CheckNamed(under, named, deadline);
    if (!refused.status.ok()) co_return refused;
  }
  if (!under->serving()) {
    refused.status = NotLeader();
  } else if (!table.span().Contains(key)) {
    refused.status = StaleEpoch(table);
  } else {
    refused.status = table.names().CheckRoom();
  }
  if (!refused.status.ok()) co_return refused;
  PROBE("shard: a name was asked to be closed");
  v1::ShardCommand command;
  command.mutable_close_name()->set_name(std::string(name.bytes()));
  command.mutable_close_name()->set_key(std::move(key));
  co_return co_await Propose(under, std::move(command), std::nullopt, deadline);
}

// Only facts count: an outcome that is recorded, or a horizon below which nothing is prepared any
// more. That there is no record is none, for this may be a leader that does not know yet that it
// was deposed.
std::vector<v1::Resolution> Shard::Rep::Unresolved(std::vector<v1::Resolution> resolutions) const {
  std::erase_if(resolutions, [&](const v1::Resolution& resolution) {
    const Owner owner = OwnerOf(resolution);
    if (table.FindPrepared(owner) != nullptr) return false;
    if (table.Participant(owner)) return true;
    return resolution.outcome() != v1::COMMITTED &&
           Timestamp(resolution.start_ts()) < table.horizon();
  });
  return resolutions;
}

Task<Status> Shard::Rep::Resolve(Judged<v1::ResolveRequest> judged) {
  v1::ResolveRequest request = std::move(judged).Take();
  std::vector<v1::Resolution> resolutions(
      std::make_move_iterator(request.mutable_resolutions()->begin()),
      std::make_move_iterator(request.mutable_resolutions()->end()));
  Timestamp named;
  for (const v1::Resolution& resolution : resolutions) {
    named = std::max({named, Timestamp(resolution.start_ts()), Timestamp(resolution.commit_ts())});
  }
  if (!serving()) co_return NotLeader();
  const std::shared_ptr<Leadership> under = lead;
  if (needs_check(named)) CO_RETURN_IF_ERROR(co_await CheckNamed(under, named, Now() + 5s));
  if (!under->serving()) co_return NotLeader();
  for (const v1::Resolution& resolution : resolutions) {
    if (!table.span().Contains(resolution.marker_key())) co_return StaleEpoch(table);
    const Owner owner = OwnerOf(resolution);
    const ParticipantRecord* prepared = table.FindPrepared(owner);
    if (prepared != nullptr && resolution.outcome() == v1::COMMITTED &&
        Timestamp(resolution.commit_ts()) < prepared->prepare_ts) {
      co_return InvalidArgument("a commit_ts below a prepare_ts");
    }
  }
  resolutions = Unresolved(std::move(resolutions));
  if (resolutions.empty()) co_return Status::Ok();

  // From an applied Decide: COMMITTED is a fact. Once the entry is proposed, whatever is evaluated
  // next is applied behind it.
  std::vector<Owner> freed;
  v1::ShardCommand command;
  for (v1::Resolution& resolution : resolutions) {
    const Owner owner = OwnerOf(resolution);
    if (resolution.outcome() == v1::COMMITTED) {
      under->Commit(owner, Timestamp(resolution.commit_ts()));
      const PreparedLock* lock = under->locks().Find(owner);
      if (lock != nullptr && lock->committed && !lock->resolve_proposed) freed.push_back(owner);
    }
    *command.mutable_resolve()->add_resolutions() = std::move(resolution);
  }
  Future<Applied> applied = Propose(under, std::move(command), std::nullopt, std::nullopt);
  for (const Owner& owner : freed) under->locks().MarkResolveProposed(owner, true);
  under->Wake();
  const Applied result = co_await std::move(applied);
  if (!result.status.ok() && under->active()) {
    PROBE("shard: a resolution was not applied");
    for (const Owner& owner : freed) {
      if (under->locks().Find(owner)) under->locks().MarkResolveProposed(owner, false);
    }
  }
  co_return result.status;
}

}  // namespace quorate::shard
