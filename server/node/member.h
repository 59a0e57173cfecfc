// Member: the parts of a node that belongs to a cluster: raft host, replicas, placement, routing,
// coordinator. Built when the identity is known, at Open or when the node becomes a member.
//
//   RouteCache ─ Caller ─ Slots                      over the node's own channel
//   Host ─┬─ Shard (one per replica) ◄─ Slots, Recovery (pusher, observer)
//         └─ Placement (on its voters)
//   Coordinator, Recovery ◄─ Participants, Resolver, Registry ◄─ Caller, this directory of shards
//
// Threads: executor's thread only. Destroying it is how a crash looks from inside.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/byte_turns.h"
#include "base/env.h"
#include "base/limits.h"
#include "client/route/caller.h"
#include "client/route/route_cache.h"
#include "client/route/slots.h"
#include "coordinator/coordinator.h"
#include "placement/service.h"
#include "quorate/v1/node.pb.h"
#include "raft/host/host.h"
#include "server/node/cluster_view.h"
#include "server/node/incarnations.h"
#include "server/node/merges.h"
#include "server/node/peers.h"
#include "server/node/replicas.h"
#include "server/node/shard_reports.h"
#include "shard/shard.h"
#include "storage/low_space.h"
#include "storage/ordered_store.h"
#include "storage/wal.h"

namespace quorate::server {

class Member {
 public:
  struct Deps {
    Env& env;
    storage::Wal& wal;
    storage::OrderedStore& store;
    storage::LowSpace& low_space;
    storage::IncarnationFile& incarnations;
    storage::FileSystem& files;
    raft::Transport& transport;
    client::Channel& channel;
    ClusterView& view;
  };
  struct Options {
    std::string cluster_id;
    v1::NodeInfo self;
    std::string data_dir;
    std::vector<std::string> join;  // where other nodes may be
    shard::Settings shard;
    raft::Host::Options raft;  // but for `self`
    size_t part_bytes_max = limits::kPartBytesMax;
    std::function<void(Status)> on_stale;  // as Incarnations
  };
  Member(Deps deps, Options options);
  ~Member();

  // Starts the replicas that the bootstrap message gives this node (nullptr: none) and those that
  // the log and the store know. May be called again when the message comes later.
  Status StartReplicas(const v1::BootstrapRequest* bootstrap);
  // Starts ticking and reporting.
  void Start();

  shard::Shard* FindByKey(std::string_view key) { return replicas_.FindByKey(key); }
  shard::Shard* Find(ShardId shard) { return replicas_.Find(shard); }
  client::Slots& slots() { return slots_; }
  raft::Host& host() { return host_; }
  const raft::Host& host() const { return host_; }
  placement::Placement* placement() const { return replicas_.placement(); }
  client::Caller& caller() { return caller_; }
  Peers& peers() { return peers_; }
  Incarnations& incarnations() { return incarnations_; }
  coordinator::Coordinator& coordinator() { return *coordinator_; }
  const coordinator::Coordinator& coordinator() const { return *coordinator_; }
  const std::map<ShardId, std::unique_ptr<shard::Shard>>& shards() const {
    return replicas_.shards();
  }
  const std::map<GroupId, raft::GroupHandle*>& groups() const { return replicas_.groups(); }
  bool awaits_child() const { return replicas_.awaits_child(); }
  raft::GroupHandle* FindGroup(GroupId group) const { return replicas_.FindGroup(group); }
  Merges& merges() { return merges_; }
  NodeId self() const { return self_; }
  // Now, by the oracle's clock; by this machine's until knows_time().
  uint64_t UnixMillis() const { return slots_.UnixMillis(); }
  bool knows_time() const { return static_cast<bool>(slots_.newest()); }

  // Every local replica knows a leader, and the placement group can be reached.
  bool ready() const;
  // Why this node is none of the cluster any more, and never will be, as placement said last;
  // empty: it is, as far as known.
  const std::string& excluded() const { return excluded_; }

 private:
  std::unique_ptr<shard::Shard> MakeShard(const v1::ShardDescriptor& descriptor,
                                          Replicas::Told told);
  Task<void> AskToClose(ShardId shard, Duration max_age);
  NodeId LocalLeader(GroupId group) const;
  void LearnNodes();
  Task<void> ReportLoop();
  Task<void> Report();
  // Whether this is a node of the cluster, by what placement answered.
  void LearnStanding(const Status& status, const v1::HeartbeatResponse& heartbeat);
  // Of replicas here that wait for one to send them their state.
  void CallForLeaders();
  v1::HeartbeatRequest MakeHeartbeat();
  // nullopt: the shard is not served from here.
  std::optional<v1::ShardReport> ReportOf(ShardId shard) const;
  // What placement has shards do that this node leads; refusals go with the next heartbeat.
  void CarryOut(const v1::HeartbeatResponse& response);
  Status CarryOut(const v1::ShardOrder& order);
  Task<void> Split(v1::ShardOrder order);
  Task<void> Merge(v1::ShardOrder order);
  void Refuse(uint64_t operator_id, const Status& why);
  // What operators look for in the log, each change once.
  void LogPlacement(const Status& heartbeat);
  void LogNodes(const v1::RoutesResponse& map);
  void LookAtActive();
  void LogLeaders();

  const Deps deps_;
  const Options options_;
  const NodeId self_;
  // Destroyed from the end: whoever waits goes before what it waits for. The host comes after the
  // replicas that propose to it, and calls them no more when it ends.
  client::RouteCache routes_;
  client::Caller caller_;
  client::Slots slots_;
  ByteTurns parts_logged_;
  Incarnations incarnations_;
  Peers peers_;
  raft::Host host_;
  Replicas replicas_;
  std::unique_ptr<coordinator::Coordinator> coordinator_;
  Merges merges_;
  std::map<NodeId, std::string> addresses_;  // as told to the transport
  std::vector<v1::OrderRefusal> refusals_;
  ShardReports reports_;
  v1::MapPosition map_position_;  // of what view_ and routes_ were told
  std::set<ShardId> splitting_;
  std::string excluded_;           // from the cluster for good, and why, says placement
  bool ordered_ = false;           // something is under way: placement wants to know soon
  bool reported_ = false;          // the placement leader has answered a heartbeat since the start
  bool doubted_ = false;           // excluded, or this start is not taken for the node for now
  bool reporting_ = false;         // a heartbeat is under way,
  std::set<uint64_t> begun_told_;  // and tells of these
  // As logged last.
  std::map<NodeId, v1::NodeState> node_states_;
  std::set<GroupId> unreported_;  // something happened there since the newest heartbeat
  std::set<GroupId> unlogged_;    // perhaps with another leader than leaders_ says
  std::map<GroupId, NodeId> leaders_;
  Instant leaders_logged_;
  Instant placement_lost_ = Instant::max();    // since then no heartbeat was answered
  Instant placement_logged_ = Instant::max();  // when that was said
  TaskScope scope_;
};

}  // namespace quorate::server
