#include "shard/shard.h"

#include <google/protobuf/arena.h>

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/command.h"
#include "shard/records.h"
#include "shard/rep.h"
#include "shard/state_machine.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::shard {
namespace {

// A request that meets a leader that has not begun to serve waits for it this long: a slot and one
// round. Without it, every request after a failover would bounce until its backoff ends.
constexpr Duration kServingWaitMax = 2s;
constexpr Duration kSlotTimeout = 2s;

}  // namespace

Shard::Rep::Rep(Deps d, Settings s, const v1::ShardDescriptor& descriptor)
    : deps(std::move(d)),
      settings(s),
      table(deps.store, descriptor, settings.names),
      random(deps.env.random.Fork(fmt::format("shard/{}", descriptor.shard_id()))),
      reads(deps.env.metrics.GetCounter("quorate_shard_reads_total", "reads served")),
      stale_reads(deps.env.metrics.GetCounter("quorate_shard_stale_reads_total",
                                              "stale reads that this replica served by itself")),
      stale_refused(
          deps.env.metrics.GetCounter("quorate_shard_stale_reads_refused_total",
                                      "stale reads that this replica sent to the leader")),
      read_waits(deps.env.metrics.GetCounter("quorate_shard_read_waits_total",
                                             "waits of readers for the outcome of a transaction")),
      prepares(deps.env.metrics.GetCounter("quorate_shard_prepares_total",
                                           "prepares and one-phase commits proposed")),
      prepare_waits(deps.env.metrics.GetCounter("quorate_shard_prepare_waits_total",
                                                "waits of prepares and lock requests for locks")),
      lock_conflicts(deps.env.metrics.GetCounter("quorate_shard_lock_conflicts_total",
                                                 "prepares refused for an older transaction")),
      read_conflicts(deps.env.metrics.GetCounter("quorate_shard_read_conflicts_total",
                                                 "prepares refused for an overwritten read")),
      pushes(deps.env.metrics.GetCounter("quorate_shard_pushes_total",
                                         "outcomes of other transactions asked for")),
      wild_timestamps(
          deps.env.metrics.GetCounter("quorate_shard_wild_timestamps_total",
                                      "requests refused for a timestamp above every slot issued")),
      void_entries(deps.env.metrics.GetCounter(
          "quorate_shard_void_entries_total",
          "logged commands without effect, since this version would not have logged them")),
      scope(deps.env.executor) {}

Shard::Rep::~Rep() { scope.Clear(); }

Shard::Shard(Deps deps, Settings settings, const v1::ShardDescriptor& descriptor)
    : rep_(std::make_unique<Rep>(std::move(deps), settings, descriptor)) {}
Shard::~Shard() = default;

void Shard::Attach(raft::GroupHandle* group) { rep_->group = group; }
ShardId Shard::id() const { return rep_->table.id(); }
const v1::ShardDescriptor& Shard::descriptor() const { return rep_->table.descriptor(); }
Span Shard::span() const { return rep_->table.span(); }
Timestamp Shard::horizon() const { return rep_->table.horizon(); }
Timestamp Shard::closed() const { return rep_->table.closed(); }
bool Shard::serving() const { return rep_->serving(); }
raft::Term Shard::serving_term() const { return serving() ? rep_->lead->term() : raft::Term(); }
NodeId Shard::leader() const { return rep_->soft.leader; }
size_t Shard::prepared_count() const { return rep_->table.prepared().size(); }
Shard::InMemory Shard::in_memory() const {
  if (rep_->lead == nullptr) return {};
  const LockTable& locks = rep_->lead->locks();
  const auto is_foreign = [this](const auto& held) {
    return held.second->applied && !span().Contains(held.first.key);
  };
  const auto foreign = static_cast<size_t>(
      std::count_if(locks.prepared().begin(), locks.prepared().end(), is_foreign));
  return {locks.prepared().size(), foreign, locks.waiting(), rep_->lead->pushes};
}
Shard::Served Shard::served() const { return rep_->served; }
uint64_t Shard::bytes() const { return serving() ? rep_->lead->meter.bytes() : 0; }
Shard::Load Shard::load() const {
  if (!serving()) return {};
  LoadMeter& meter = rep_->lead->load;
  const uint64_t per_second = meter.PerSecond(rep_->Now());
  if (per_second == 0) return {};
  LoadMeter::Spread spread = meter.Look();
  return {per_second, std::move(spread.middle), spread.busiest_percent};
}
uint64_t Shard::StateDigest() const { return DigestOf(rep_->table); }

// ---- leadership -------------------------------------------------------------------------------

void Shard::OnSoftState(const raft::SoftState& state) {
  rep_->soft = state;
  const bool leads = state.role == raft::Role::kLeader;
  if (rep_->lead != nullptr && (!leads || rep_->lead->term() != state.term)) rep_->EndLeadership();
  if (leads && rep_->lead == nullptr) rep_->BeginLeadership(state.term);
}

void Shard::Rep::BeginLeadership(raft::Term term) {
  lead = std::make_shared<Leadership>(deps.env, term);
  scope.Spawn(StartServing(lead));
}

void Shard::Rep::EndLeadership() {
  const bool served = lead->serving();
  lead->End();
  lead.reset();
  if (cut != nullptr) EndCut(cut);
  if (served) deps.observer.OnDeposed(table.id());
}

void Shard::Rep::OnServing() {
  lead->Serve(table.floor(), table);
  // In a later turn: the entry that makes this node serve is still being applied.
  struct Announce {
    static Task<void> Run(Rep* rep, std::shared_ptr<Leadership> under) {
      if (under->serving()) rep->deps.observer.OnServing(rep->table.id(), under->term());
      co_return;
    }
  };
  scope.Spawn(Announce::Run(this, lead));
}

Task<void> Shard::Rep::NextTurn() { co_await Sleep(deps.env.executor, Duration(0)); }

Status Shard::Rep::NotLeader() const {
  return Status(Code::kNotLeader, fmt::format("this node does not lead shard {}", table.id()));
}

Task<Result<std::shared_ptr<Leadership>>> Shard::Rep::Serving(Instant deadline) {
  const std::shared_ptr<Leadership> under = lead;
  if (superseded) co_return StaleEpoch(table);
  if (under == nullptr) co_return NotLeader();
  if (!under->serving()) {
    PROBE("shard: a request waited for a new leader to serve");
    co_await Leadership::WaitServing(under, std::min(deadline, Now() + kServingWaitMax));
    if (superseded) co_return StaleEpoch(table);
    if (!under->serving()) co_return NotLeader();
  }
  co_return under;
}

void Shard::Rep::FillError(const Status& status, v1::Error* error) const {
  StatusToError(status, error);
  switch (status.code()) {
    case Code::kNotLeader:
      if (!soft.leader || soft.role == raft::Role::kLeader) return;
      error->mutable_leader()->set_node_id(soft.leader.value());
      for (const v1::Replica& replica : table.descriptor().replicas()) {
        if (replica.node_id() == soft.leader.value()) *error->mutable_leader() = replica;
      }
      return;
    case Code::kStaleEpoch:
      *error->add_descriptors() = table.descriptor();
      for (const v1::ShardDescriptor& child : children) *error->add_descriptors() = child;
      return;
    default:
      return;
  }
}

bool Shard::Rep::needs_check(Timestamp named) const {
  return NeedsFreshSlot(named, deps.slots.newest());
}

Status Shard::Rep::WithoutSlot(const Leadership& under, const Status& why) const {
  return under.serving() ? why : NotLeader();
}

Task<Status> Shard::Rep::CheckNamed(std::shared_ptr<Leadership> under, Timestamp named,
                                    Instant deadline) {
  const Duration left = std::max(Duration(0), deadline - Now());
  const Result<Timestamp> slot = co_await deps.slots.Fetch(std::min(left, kSlotTimeout));
  if (!slot.ok()) co_return WithoutSlot(*under, slot.status());
  // Whatever was issued or acknowledged before is below this slot.
  if (named < *slot || MUTANT("txn-named-above-all-slots")) co_return Status::Ok();
  PROBE("shard: a wild timestamp was refused");
  wild_timestamps.Add();
  co_return InvalidArgument(
      fmt::format("timestamp {} is above every slot issued ({})", named, *slot));
}

// ---- the log ----------------------------------------------------------------------------------

Future<Applied> Shard::Rep::Propose(const std::shared_ptr<Leadership>& under,
                                    v1::ShardCommand unjudged, std::optional<Owner> owner,
                                    std::optional<Instant> deadline,
                                    std::optional<Promise<bool>> ended) {
  Result<JudgedCommand> command = JudgedCommand::Judge(std::move(unjudged));
  if (command.ok()) {
    return Propose(under, *std::move(command), std::move(owner), deadline, std::move(ended));
  }
  PROBE("shard: a command was not fit to be logged");
  if (owner) under->OnNotApplied(*owner);
  if (ended) ended->Set(true);
  const Promise<Applied> promise(deps.env.executor);
  Applied refused;
  refused.status = command.status();
  promise.Set(std::move(refused));
  return promise.future();
}

Future<Applied> Shard::Rep::Propose(const std::shared_ptr<Leadership>& under, JudgedCommand command,
                                    std::optional<Owner> owner, std::optional<Instant> deadline,
                                    std::optional<Promise<bool>> ended) {
  CHECK(under->serving() || (*command).has_leader_start() || (*command).has_thaw(),
        "only a serving leader evaluates");
  CloseWith(*under, &command);
  const Promise<Applied> promise(deps.env.executor);
  TimerId timer = 0;
  if (deadline) {
    timer = deps.env.executor.After(std::max(Duration(0), *deadline - Now()), [promise] {
      Applied late;
      late.status = DeadlineExceeded("the entry was proposed and not applied in time");
      promise.Set(std::move(late));
    });
  }
  const bool cuts = (*command).has_split() || (*command).has_absorb();
  if (cut != nullptr && cut->proposed && !cuts) {
    PROBE("shard: an entry waited for a split");
    cut->deferred.push_back(
        {under, std::move(command), std::move(owner), promise, timer, std::move(ended)});
  } else {
    ProposeNow(under, std::move(command), std::move(owner), promise, timer, std::move(ended));
  }
  return promise.future();
}

void Shard::Rep::ProposeNow(const std::shared_ptr<Leadership>& under, JudgedCommand command,
                            std::optional<Owner> owner, Promise<Applied> promise, TimerId timer,
                            std::optional<Promise<bool>> ended) {
  Executor& executor = deps.env.executor;
  group->Propose(std::move(command).Encode(under->term(), table.version()), under->term(),
                 [promise, under, owner, timer, &executor,
                  ended = std::move(ended)](Result<raft::Proposed> proposed) {
                   executor.Cancel(timer);
                   if (ended) ended->Set(true);
                   if (proposed.ok()) {
                     promise.Set(DecodeApplied(proposed->result));
                     return;
                   }
                   if (owner) under->OnNotApplied(*owner);
                   Applied applied;
                   applied.status = proposed.status();
                   promise.Set(std::move(applied));
                 });
}

raft::ApplyResult Shard::Apply(raft::LogIndex index, raft::Term term, std::string_view payload,
                               storage::WriteBatch* batch) {
  alignas(16) char block[4 << 10];  // most commands fit
  google::protobuf::ArenaOptions options;
  options.initial_block = block;
  options.initial_block_size = sizeof(block);
  google::protobuf::Arena arena(options);
  auto* command = google::protobuf::Arena::CreateMessage<v1::ShardCommand>(&arena);
  Table& table = rep_->table;
  if (!command->ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    // Nothing that this version logs does not, so it is a later one's.
    table.Break("an entry of the log does not parse");
  }
  if (rep_->absorbed) table.Break("another shard has absorbed it here");
  Applied applied;
  if (table.broken().empty()) {
    applied =
        ApplyEntry({table, batch, &rep_->deps.may_begin, &rep_->deps.make_room}, term, *command);
  }
  if (!applied.waits.empty()) {
    raft::ApplyResult waits;
    waits.waits = std::move(applied.waits);
    return waits;
  }
  if (!table.broken().empty()) {
    raft::ApplyResult stuck;
    stuck.stuck = fmt::format("entry {} of shard {}: {}", index, table.id(), table.broken());
    return stuck;
  }
  if (applied.status.code() == Code::kInvalidArgument) {
    rep_->void_entries.Add();
    rep_->deps.env.log.Error("shard {}: entry {} has no effect: {}", table.id(), index,
                             applied.status.message());
  }
  if (command->has_split() && applied.status.ok()) rep_->OnSplit();
  const bool frozen = command->has_freeze() || command->has_thaw();
  if (frozen && applied.status.ok()) rep_->OnFrozenOrThawed();
  Leadership* lead = frozen ? nullptr : rep_->lead.get();
  if (lead != nullptr && lead->term() == term) {
    if (lead->serving()) {
      lead->OnApplied(*command, applied, rep_->table);
    } else if (command->has_leader_start() && applied.status.ok()) {
      rep_->OnServing();
    }
    lead->meter.Wrote(payload.size());
    if (lead->serving()) rep_->ArmUpkeep();
  }
  if (command->has_absorb() && applied.status.ok()) rep_->OnAbsorbed(command->absorb().frozen());
  return EncodeApplied(applied);
}

void Shard::ApplyMembers(raft::LogIndex index, const raft::Configuration& members,
                         storage::WriteBatch* batch) {
  rep_->table.SetMembers(index, members, batch);
  if (rep_->deps.on_descriptor) rep_->deps.on_descriptor();
}

std::vector<std::pair<std::string, std::string>> Shard::Spans() const {
  return SpansOf(rep_->table);
}

bool Shard::HasState() const { return rep_->table.version() != 0 && !rep_->absorbed; }

bool Shard::Understands(std::string_view key, std::string_view value) const {
  return shard::Understands(key, value);
}

void Shard::StoreFirstState(storage::WriteBatch* batch) {
  if (HasState()) rep_->table.StoreScalars(batch);
}

void Shard::OnSnapshotInstalled(raft::LogIndex) {
  // A leader has every committed entry and installs none.
  CHECK(!rep_->serving(), "shard {}: a snapshot under a serving leader", rep_->table.id());
  rep_->table.Load();
  if (rep_->deps.on_descriptor) rep_->deps.on_descriptor();
}

// ---- facade -----------------------------------------------------------------------------------

Task<v1::ReadResponse> Shard::Read(v1::ReadRequest request, Instant deadline) {
  v1::ReadResponse response;
  Result<Judged<v1::ReadRequest>> judged = Judge(std::move(request));
  const Status status =
      judged.ok() ? co_await rep_->Read(*std::move(judged), deadline, &response) : judged.status();
  if (!status.ok()) {
    response.Clear();
    rep_->FillError(status, response.mutable_error());
  }
  co_return response;
}

Task<v1::LockResponse> Shard::Lock(v1::LockRequest request, Instant deadline) {
  Result<Judged<v1::LockRequest>> judged = Judge(std::move(request));
  const Status status =
      judged.ok() ? co_await rep_->Lock(*std::move(judged), deadline) : judged.status();
  v1::LockResponse response;
  if (!status.ok()) rep_->FillError(status, response.mutable_error());
  co_return response;
}

Task<AnchorEvaluation> Shard::CommitOnePhase(v1::PrepareRequest prepare, Instant deadline) {
  return rep_->Evaluate(std::move(prepare), PrepareKind::kOnePhase, {}, deadline);
}

Task<AnchorEvaluation> Shard::PrepareAndStage(v1::PrepareRequest prepare,
                                              std::vector<StagingPart> participants,
                                              Instant deadline) {
  return rep_->Evaluate(std::move(prepare), PrepareKind::kStage, std::move(participants), deadline);
}

Task<v1::PrepareResponse> Shard::Prepare(v1::PrepareRequest request, Instant deadline) {
  AnchorEvaluation evaluation =
      co_await rep_->Evaluate(std::move(request), PrepareKind::kParticipant, {}, deadline);
  v1::PrepareResponse response;
  Applied stands = evaluation.existing;
  if (evaluation.ok() && evaluation.applied && MUTANT("txn-prepared-before-applied")) {
    stands.state = TxnState::kPrepared;
    stands.prepare_ts = evaluation.prepare_ts;
  } else if (evaluation.ok() && evaluation.applied) {
    stands = co_await *std::move(evaluation.applied);
  }
  const Status& status = evaluation.ok() ? stands.status : evaluation.status;
  if (!status.ok()) {
    rep_->FillError(status, response.mutable_error());
    co_return response;
  }
  response.set_state(static_cast<v1::TxnState>(stands.state));
  response.set_prepare_ts(stands.prepare_ts.bits());
  response.set_commit_ts(stands.commit_ts.bits());
  co_return response;
}

Task<Status> Shard::Split(std::string at, ShardId child, Instant deadline, bool by_hand) {
  return rep_->Split(std::move(at), child, deadline, by_hand);
}

ShardId Shard::frozen_into() const { return rep_->table.frozen_into(); }
bool Shard::leads() const { return rep_->lead != nullptr && !rep_->superseded; }
Result<v1::FrozenShard> Shard::Contents() const { return rep_->Contents(); }
Task<Status> Shard::Freeze(ShardId into, Instant deadline) { return rep_->Freeze(into, deadline); }
Task<Status> Shard::Thaw() { return rep_->Thaw(); }
Task<Status> Shard::Absorb(v1::FrozenShard frozen, uint64_t members, Instant deadline) {
  return rep_->Absorb(std::move(frozen), members, deadline);
}
void Shard::FillError(const Status& status, v1::Error* error) const {
  rep_->FillError(status, error);
}
Task<Status> Shard::Abandon(v1::AbandonMerge merge) { return rep_->Abandon(std::move(merge)); }
ShardId Shard::right() const { return rep_->table.right(); }

bool Shard::HasAbsorbed(ShardId shard) const {
  const auto settled = rep_->table.merges().find(shard);
  return settled != rep_->table.merges().end() && settled->second.absorbed;
}
std::vector<ShardId> Shard::absorbed() const {
  std::vector<ShardId> shards;
  for (const auto& [shard, merge] : rep_->table.merges()) {
    if (merge.absorbed) shards.push_back(shard);
  }
  return shards;
}
void Shard::EndAbsorbed(const v1::ShardDescriptor* by) { rep_->EndAbsorbed(by); }

NameStanding Shard::LookUp(const GivenName& name) { return rep_->LookUp(name); }

Task<Applied> Shard::CloseName(GivenName name, std::string key, Instant deadline) {
  return rep_->CloseName(name, std::move(key), deadline);
}

Task<v1::QueryPrepareResponse> Shard::QueryPrepare(v1::QueryPrepareRequest request,
                                                   Instant deadline) {
  v1::QueryPrepareResponse response;
  Result<Judged<v1::QueryPrepareRequest>> judged = Judge(std::move(request));
  const Status status = judged.ok()
                            ? co_await rep_->QueryPrepare(*std::move(judged), deadline, &response)
                            : judged.status();
  if (!status.ok()) {
    response.Clear();
    rep_->FillError(status, response.mutable_error());
  }
  co_return response;
}

Task<Status> Shard::Resolve(std::vector<v1::Resolution> resolutions) {
  v1::ResolveRequest request;
  for (v1::Resolution& resolution : resolutions) {
    *request.add_resolutions() = std::move(resolution);
  }
  Result<Judged<v1::ResolveRequest>> judged = Judge(std::move(request));
  if (!judged.ok()) co_return judged.status();
  co_return co_await rep_->Resolve(*std::move(judged));
}

void Shard::EarlyOutcome(const std::vector<v1::Resolution>& resolutions) {
  if (!rep_->serving()) return;
  for (const v1::Resolution& resolution : resolutions) {
    const auto txn_id = TxnId::FromBytes(resolution.txn_id());
    const Timestamp commit_ts(resolution.commit_ts());
    // Only a hint: what does not look right is left to the Resolve.
    if (resolution.outcome() != v1::COMMITTED || !CheckResolution(resolution).ok() ||
        rep_->needs_check(commit_ts)) {
      continue;
    }
    rep_->lead->Commit({*txn_id, Digest(resolution.digest()), resolution.marker_key()}, commit_ts);
  }
}

Task<Applied> Shard::Decide(TxnName txn, bool commit, Timestamp commit_ts, Timestamp keep_ts) {
  Applied refused;
  if (!rep_->serving()) {
    refused.status = rep_->NotLeader();
    co_return refused;
  }
  if (!rep_->table.span().Contains(txn.anchor_key)) {
    refused.status = StaleEpoch(rep_->table);
    co_return refused;
  }
  v1::ShardCommand command;
  v1::Decide* decide = command.mutable_decide();
  decide->set_txn_id(std::string(txn.txn_id.bytes()));
  decide->set_start_ts(txn.start_ts.bits());
  decide->set_anchor_key(std::move(txn.anchor_key));
  decide->set_outcome(commit ? v1::COMMITTED : v1::ABORTED_STATE);
  decide->set_commit_ts(commit_ts.bits());
  decide->set_keep_ts(keep_ts.bits());
  decide->set_unless_staged(keep_ts != Timestamp());
  co_return co_await rep_->Propose(rep_->lead, std::move(command), std::nullopt, std::nullopt);
}

Task<Status> Shard::Done(std::vector<std::pair<TxnId, std::string>> txns) {
  if (txns.empty()) co_return Status::Ok();
  if (!rep_->serving()) co_return rep_->NotLeader();
  v1::ShardCommand command;
  v1::Done* done = command.mutable_done();
  done->set_txn_id(std::string(txns[0].first.bytes()));
  done->set_anchor_key(std::move(txns[0].second));
  for (size_t i = 1; i < txns.size(); ++i) {
    done->add_more_txn_ids(std::string(txns[i].first.bytes()));
    done->add_more_anchor_keys(std::move(txns[i].second));
  }
  const Applied applied =
      co_await rep_->Propose(rep_->lead, std::move(command), std::nullopt, std::nullopt);
  co_return applied.status;
}

namespace {

v1::TxnRecord ToProto(const TransactionRecord& record) {
  v1::TxnRecord out;
  out.set_state(static_cast<v1::TxnState>(record.state));
  out.set_txn_id(std::string(record.txn_id.bytes()));
  out.set_start_ts(record.start_ts.bits());
  out.set_commit_ts(record.commit_ts.bits());
  out.set_anchor_key(record.anchor_key);
  out.set_done(record.done);
  for (const ParticipantName& participant : record.participants) {
    v1::Participant* p = out.add_participants();
    p->set_marker_key(participant.marker_key);
    p->set_digest(participant.digest.value());
  }
  return out;
}

}  // namespace

std::optional<v1::TxnRecord> Shard::FindTxnRecord(const TxnId& id,
                                                  std::string_view anchor_key) const {
  const auto record = rep_->table.Transaction(anchor_key, id);
  if (!record) return std::nullopt;
  return ToProto(*record);
}

std::vector<v1::TxnRecord> Shard::UnfinishedTxnRecords() const {
  std::vector<v1::TxnRecord> records;
  for (const auto& [owner, record] : rep_->table.unfinished()) records.push_back(ToProto(record));
  return records;
}

}  // namespace quorate::shard
