#include "server/node/node.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/features.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "base/timer_guard.h"
#include "base/version.h"
#include "client/database.h"
#include "quorate/v1/client.pb.h"
#include "quorate/v1/node.pb.h"
#include "server/node/cluster_view.h"
#include "server/node/handlers.h"
#include "server/node/local_channel.h"
#include "server/node/member.h"
#include "server/node/membership.h"
#include "server/node/request_kind.h"
#include "storage/incarnation_file.h"
#include "storage/low_space.h"
#include "storage/node_identity.h"
#include "storage/ordered_store.h"
#include "storage/wal.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::server {

namespace {

constexpr Duration kPoll = 10ms;

std::string_view RoleName(raft::Role role) {
  switch (role) {
    case raft::Role::kFollower:
      return "follower";
    case raft::Role::kPreCandidate:
    case raft::Role::kCandidate:
      return "candidate";
    case raft::Role::kLeader:
      return "leader";
    case raft::Role::kLearner:
      return "learner";
  }
  return "follower";
}

v1::NodeResponse Refusal(Code code, std::string message) {
  v1::NodeResponse response;
  StatusToError(quorate::Status(code, std::move(message)), response.mutable_error());
  return response;
}

v1::NodeInfo SelfInfo(const NodeOptions& options) {
  v1::NodeInfo self;
  self.set_address(options.address);
  self.set_http_address(options.http_address);
  self.set_version(std::string(Version()));
  self.set_feature_level(kFeatureLevel);
  for (const auto& [key, value] : options.locality) (*self.mutable_locality())[key] = value;
  return self;
}

}  // namespace

struct Node::Rep {
  Rep(World w, NodeOptions o)
      : world(w),
        env(w.env),
        options(std::move(o)),
        wrong_cluster(env.metrics.GetCounter("quorate_requests_refused_total",
                                             "Requests refused before any handler.",
                                             "why=\"wrong_cluster\"")),
        wrong_node(
            env.metrics.GetCounter("quorate_requests_refused_total", "", "why=\"wrong_node\"")),
        malformed(
            env.metrics.GetCounter("quorate_requests_refused_total", "", "why=\"malformed\"")),
        overloaded(
            env.metrics.GetCounter("quorate_requests_refused_total", "", "why=\"overloaded\"")),
        store_bytes(env.metrics.GetGauge("quorate_store_bytes", "bytes of the store's file")),
        reusable_bytes(env.metrics.GetGauge("quorate_store_reusable_bytes",
                                            "of them, those that later commits use first")),
        snapshot_bytes(env.metrics.GetCounter("quorate_raft_snapshot_bytes_received_total",
                                              "Bytes of snapshots that arrived on this node")),
        serving(env.executor),
        channel(env, world.channel, options.address, serving,
                [this](v1::NodeRequest request) { return Serve(std::move(request)); }) {}

  quorate::Status Open();
  quorate::Status BecomeMember();
  void Fail(const quorate::Status& status);
  uint64_t BytesToBeWritten() const;
  void TellSpace();

  // Runs a request that was let in.
  Task<v1::NodeResponse> Serve(v1::NodeRequest request);
  // Why a request of another process is not let in; nullopt: it is.
  std::optional<v1::NodeResponse> Refuse(const std::string& cluster_id, uint64_t to_node,
                                         const v1::NodeRequest& request);
  Task<bool> Flush(Instant deadline);
  v1::StatusResponse Status() const;
  void FillReplica(GroupId group, const raft::GroupHandle& handle, v1::ReplicaStatus* out) const;

  World world;
  Env& env;
  const NodeOptions options;
  Counter& wrong_cluster;
  Counter& wrong_node;
  Counter& malformed;
  Counter& overloaded;
  Gauge& store_bytes;
  Gauge& reusable_bytes;
  Counter& snapshot_bytes;  // the raft host's

  // In the order in which they need each other; destroyed from the end.
  std::unique_ptr<storage::DataDirectory> directory;
  std::unique_ptr<storage::LowSpace> low_space;
  std::unique_ptr<storage::IncarnationFile> incarnations;
  std::unique_ptr<storage::Wal> wal;
  std::unique_ptr<storage::KvStore> kv;
  std::unique_ptr<storage::OrderedStore> store;
  ClusterView view;
  std::unique_ptr<Member> member;
  std::unique_ptr<Membership> membership;
  std::unique_ptr<Handlers> handlers;
  TaskScope serving;  // requests of this node to itself
  LocalChannel channel;
  std::unique_ptr<client::Database> database;

  bool started = false;
  bool stopping = false;  // begins nothing new
  bool closed = false;    // serves nothing to others
  bool failed = false;
  size_t in_flight = 0;
  std::function<void(quorate::Status)> on_fatal;
};

// ---- opening ------------------------------------------------------------------------------------

quorate::Status Node::Rep::Open() {
  env.metrics
      .GetGauge("quorate_build_info", "1, with this build's version.",
                fmt::format("version=\"{}\"", Version()))
      .Set(1);
  ASSIGN_OR_RETURN(directory, storage::DataDirectory::Open(env, world.files, options.data_dir));
  low_space = std::make_unique<storage::LowSpace>(
      env, world.files,
      storage::LowSpace::Options{.directory = options.data_dir,
                                 .min_free_bytes = options.min_free_bytes,
                                 .reserve_bytes = options.reserve_bytes,
                                 .owed = [this] { return BytesToBeWritten(); },
                                 .starved =
                                     [this] {
                                       return (wal != nullptr && wal->waits_for_space()) ||
                                              (kv != nullptr && kv->waits_for_space());
                                     }});
  low_space->OnLook([this] { TellSpace(); });
  // Whoever was a member once had a log: its votes are in it.
  bool is_member = !directory->identity().cluster_id.empty();
  if (!is_member) {
    ASSIGN_OR_RETURN(is_member, Membership::Founded(world.files, options.data_dir));
  }
  // Opening writes little: what recovery puts right, the first segment of a new log.
  const auto with_reserve = [this](const auto& open) {
    auto opened = open();
    if (opened.ok() || opened.status().code() != Code::kNoSpace) return opened;
    low_space->GiveUpReserve();
    return open();
  };
  ASSIGN_OR_RETURN(incarnations, with_reserve([&] {
                     return storage::IncarnationFile::Open(env, world.files, options.data_dir);
                   }));
  ASSIGN_OR_RETURN(wal, with_reserve([&] {
                     return storage::Wal::Open(env, world.files,
                                               {.directory = options.data_dir + "/wal",
                                                .segment_bytes = options.wal_segment_bytes,
                                                .copy_step_bytes = options.wal_copy_step_bytes,
                                                .expected = is_member,
                                                .doubted = incarnations->doubted()});
                   }));
  if (incarnations->doubted()) RETURN_IF_ERROR(incarnations->Settle());
  ASSIGN_OR_RETURN(kv, with_reserve([&] { return world.open_store(options.data_dir + "/store"); }));
  store = std::make_unique<storage::OrderedStore>(env, *kv, options.store);
  ASSIGN_OR_RETURN(membership,
                   Membership::Open(env, world.files, *directory, channel,
                                    {SelfInfo(options), incarnations.get(), options.join}));
  membership->OnMember([this] {
    const quorate::Status status = BecomeMember();
    if (!status.ok()) Fail(status);
  });
  handlers = std::make_unique<Handlers>(
      Handlers::Deps{env, *membership, view, member, [this] { return Status(); }});
  client::Options client_options;
  client_options.cluster = {options.address};
  // Its transactions are those of the public service.
  client_options.read_bytes_max = limits::kAnswerBytesMax;
  database = client::Database::Create(env, channel, client_options);
  if (membership->member()) RETURN_IF_ERROR(BecomeMember());
  return quorate::Status::Ok();
}

// A commit of the store copies a path of pages for each key, and uses free pages first.
uint64_t Node::Rep::BytesToBeWritten() const {
  if (store == nullptr) return 0;
  const uint64_t checkpoint = 2 * store->OverlayBytes();
  const uint64_t reusable = kv->ReusableBytes();
  const uint64_t segment =
      options.wal_segment_bytes == 0 ? limits::kWalSegmentBytes : options.wal_segment_bytes;
  return segment + (checkpoint > reusable ? checkpoint - reusable : 0);
}

void Node::Rep::TellSpace() {
  if (kv != nullptr) {
    store_bytes.Set(static_cast<int64_t>(kv->SizeBytes()));
    reusable_bytes.Set(static_cast<int64_t>(kv->ReusableBytes()));
  }
  if (member != nullptr) member->host().SetSpace({low_space->low(), low_space->full()});
}

quorate::Status Node::Rep::BecomeMember() {
  const bool first = member == nullptr;
  if (first) {
    world.channel.SetClusterId(directory->identity().cluster_id);
    member = std::make_unique<Member>(
        Member::Deps{env, *wal, *store, *low_space, *incarnations, world.files, world.transport,
                     channel, view},
        Member::Options{directory->identity().cluster_id, membership->self(), options.data_dir,
                        options.join, options.shard, options.raft, options.part_bytes_max,
                        [this](quorate::Status status) { Fail(status); }});
    member->host().OnFatal([this](quorate::Status status) { Fail(status); });
    TellSpace();
  }
  RETURN_IF_ERROR(member->StartReplicas(membership->bootstrap()));
  if (first && started) member->Start();
  return quorate::Status::Ok();
}

void Node::Rep::Fail(const quorate::Status& status) {
  if (failed) return;
  failed = true;
  env.log.Error("node: stops serving: {}", status.ToString());
  if (on_fatal) on_fatal(status);
}

// ---- serving ------------------------------------------------------------------------------------

std::optional<v1::NodeResponse> Node::Rep::Refuse(const std::string& cluster_id, uint64_t to_node,
                                                  const v1::NodeRequest& request) {
  if (failed)
    return Refusal(Code::kUnavailable, "this node's storage failed; it must be restarted");
  if (closed || (stopping && KindOf(request).begins)) {
    return Refusal(Code::kNotLeader, "this node is stopping; ask another one");
  }
  const storage::NodeIdentity& identity = directory->identity();
  if (!identity.cluster_id.empty()) {
    if (cluster_id != identity.cluster_id && !(cluster_id.empty() && KindOf(request).strangers)) {
      wrong_cluster.Add();
      return Refusal(
          Code::kWrongCluster,
          fmt::format("'{}' belongs to cluster {}, the request is for {}", options.address,
                      identity.cluster_id, cluster_id.empty() ? "none" : cluster_id));
    }
    if (to_node != 0 && to_node != identity.node_id.value()) {
      wrong_node.Add();
      return Refusal(Code::kWrongNode, fmt::format("'{}' is node {}, the request is for node {}",
                                                   options.address, identity.node_id, to_node));
    }
  }
  if (member != nullptr && !member->excluded().empty() && KindOf(request).begins) {
    return Refusal(Code::kNotLeader, member->excluded());
  }
  if (const quorate::Status valid = Check(request); !valid.ok()) {
    malformed.Add();
    return Refusal(valid.code(), valid.message());
  }
  if (in_flight >= limits::kCallsInFlightMax) {
    overloaded.Add();
    return Refusal(Code::kOverloaded, fmt::format("{} requests in flight on this node", in_flight));
  }
  return std::nullopt;
}

namespace {

class Counted {
 public:
  explicit Counted(size_t* count) : count_(count) { ++*count_; }
  Counted(const Counted&) = delete;
  ~Counted() { --*count_; }

 private:
  size_t* count_;
};

}  // namespace

Task<v1::NodeResponse> Node::Rep::Serve(v1::NodeRequest request) {
  const Counted counted(&in_flight);
  const Duration asked = request.timeout_ms() == 0
                             ? limits::kRequestTimeoutDefault
                             : Duration(std::chrono::milliseconds(request.timeout_ms()));
  const Instant deadline = env.Now() + std::min(asked, limits::kRequestTimeoutMax);
  co_return co_await handlers->Dispatch(std::move(request), deadline);
}

Task<v1::NodeResponse> Node::Handle(std::string cluster_id, uint64_t to_node,
                                    v1::NodeRequest request) {
  if (auto refusal = rep_->Refuse(cluster_id, to_node, request)) co_return std::move(*refusal);
  co_return co_await rep_->Serve(std::move(request));
}

// ---- stopping -----------------------------------------------------------------------------------

Task<bool> Node::Rep::Flush(Instant deadline) {
  Promise<bool> flushed(env.executor);
  store->Flush([flushed](quorate::Status status) { flushed.Set(status.ok()); });
  const TimerGuard timer(env.executor, std::max(deadline - env.Now(), Duration(0)),
                         [flushed] { flushed.Set(false); });
  co_return co_await flushed.future();
}

Task<void> Node::Stop(Duration timeout) {
  Rep* rep = rep_.get();
  Env& env = rep->env;
  const Instant deadline = env.Now() + timeout;
  rep->stopping = true;
  rep->membership->Stop();
  // Participants of others' transactions are served until their shards are led elsewhere.
  if (rep->member != nullptr && !rep->failed) {
    rep->member->host().RefuseLeaderships();
    co_await rep->member->host().HandOver(timeout / 2);
  }
  env.log.Info("node: leaderships handed over, {} requests in flight", rep->in_flight);
  rep->closed = true;
  while (rep->in_flight > 0 && env.Now() < deadline) co_await Sleep(env.executor, kPoll);
  if (rep->in_flight > 0) {
    env.log.Warn(
        "node: {} requests were still running at the stop: their outcome is unknown to "
        "their callers",
        rep->in_flight);
  }
  const bool flushed = !rep->failed && co_await rep->Flush(deadline);
  if (!flushed) co_return;
  const quorate::Status status = rep->directory->MarkCleanStop();
  if (status.ok()) {
    env.log.Info("node: everything is on disk, the stop is marked clean");
  } else {
    env.log.Warn("node: clean stop not marked: {}", status.ToString());
  }
}

// ---- status -------------------------------------------------------------------------------------

void Node::Rep::FillReplica(GroupId group, const raft::GroupHandle& handle,
                            v1::ReplicaStatus* out) const {
  const raft::SoftState state = handle.soft_state();
  out->set_group_id(group.value());
  out->set_role(handle.quarantine().empty() ? std::string(RoleName(state.role)) : "quarantined");
  out->set_term(state.term.value());
  out->set_leader_node_id(state.leader.value());
  out->set_applied_index(handle.applied_index().value());
  shard::Shard* shard = member->Find(ShardId(group.value()));
  if (shard == nullptr) {
    out->set_serving(member->placement() != nullptr && member->placement()->leading());
    return;
  }
  *out->mutable_shard() = shard->descriptor();
  out->set_serving(shard->serving());
  if (shard->serving()) {
    out->set_writes_refused(handle.CheckRoom(raft::Growth::kGrows).message());
  }
  out->set_horizon(shard->horizon().bits());
  out->set_prepared(shard->prepared_count());
  out->set_reads(shard->served().reads);
  out->set_prepares(shard->served().prepares);
}

v1::StatusResponse Node::Rep::Status() const {
  v1::StatusResponse status;
  status.set_cluster_id(directory->identity().cluster_id);
  *status.mutable_node() = membership->self();
  status.mutable_node()->set_state(v1::NODE_UP);
  status.set_wal_segments(wal->SegmentCount());
  status.set_store_bytes(kv->SizeBytes());
  status.set_store_reusable_bytes(kv->ReusableBytes());
  status.set_disk_free_bytes(low_space->free_bytes());
  status.set_disk_reserve_bytes(low_space->reserve_bytes());
  status.set_disk_total_bytes(low_space->total_bytes());
  status.set_low_space_bytes(low_space->watermark_bytes());
  status.set_snapshot_bytes_received(snapshot_bytes.Value());
  status.set_wall_ms(static_cast<uint64_t>(env.clock.WallMillis()));
  status.set_ready(!failed && !stopping && member != nullptr && member->ready());
  if (options.process_status) options.process_status(status.mutable_process());
  status.set_accepts_writes(!low_space->low() && !failed && !stopping);
  if (member == nullptr) return status;
  // The map is of the past then.
  if (!member->excluded().empty()) {
    StatusToError(quorate::Status(Code::kWrongNode, member->excluded()), status.mutable_error());
  }
  for (const auto& [group, handle] : member->groups()) {
    FillReplica(group, *handle, status.add_replicas());
  }
  status.set_live_coordinators(member->coordinator().live());
  *status.mutable_map() = view.Routes(Span::All());
  return status;
}

// ---- the facade ---------------------------------------------------------------------------------

Node::Node(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

Node::~Node() {
  // Requests of the node to itself first: they run inside everything else.
  rep_->database.reset();
  rep_->serving.Clear();
  rep_->membership.reset();
  rep_->member.reset();
}

Result<std::unique_ptr<Node>> Node::Open(World world, NodeOptions options) {
  auto rep = std::make_unique<Rep>(world, std::move(options));
  const quorate::Status status = rep->Open();
  auto node = std::unique_ptr<Node>(new Node(std::move(rep)));
  if (!status.ok()) return status;
  return node;
}

void Node::Start() {
  rep_->started = true;
  rep_->membership->Start();
  if (rep_->member != nullptr) rep_->member->Start();
}

Task<void> Node::HandOver(Duration timeout) {
  if (rep_->member != nullptr && !rep_->failed) co_await rep_->member->host().HandOver(timeout);
}

void Node::OnFatal(std::function<void(quorate::Status)> callback) {
  rep_->on_fatal = std::move(callback);
}

client::Database& Node::database() { return *rep_->database; }

bool Node::ready() const {
  return !rep_->failed && !rep_->stopping && rep_->member != nullptr && rep_->member->ready();
}

bool Node::stopping() const { return rep_->stopping; }

std::string Node::excluded() const {
  return rep_->member == nullptr ? std::string() : rep_->member->excluded();
}

std::string Node::cluster_id() const { return rep_->directory->identity().cluster_id; }
NodeId Node::id() const { return rep_->directory->identity().node_id; }
v1::StatusResponse Node::Status() const { return rep_->Status(); }

const Member* Node::member() const { return rep_->member.get(); }

const storage::IncarnationFile& Node::incarnations() const { return *rep_->incarnations; }

Node::WalUse Node::wal() const {
  const uint64_t segment = rep_->options.wal_segment_bytes == 0 ? limits::kWalSegmentBytes
                                                                : rep_->options.wal_segment_bytes;
  return {rep_->wal->SegmentCount() * segment, rep_->wal->LiveBytes(), segment};
}

std::vector<const shard::Shard*> Node::shards() const {
  std::vector<const shard::Shard*> shards;
  if (rep_->member == nullptr) return shards;
  for (const auto& [id, shard] : rep_->member->shards()) shards.push_back(shard.get());
  return shards;
}

}  // namespace quorate::server
