// Placement: what a node with a replica of the placement group (group 1) can be asked. Its leader
// answers; the others say NOT_LEADER with a hint.
//
//   Slot      ─► oracle: take a slot ─► lease still held? (else: confirm by a ReadIndex round) ─►
//   answer Register, PutNode, PutShards ─► frontend ─► log ─► Apply ─► answer Heartbeat ─►
//   heartbeats (volatile) ─► the map; what changed is proposed on the side
//
// A new leader issues slots once its PlacementStart, and the first ceiling above, are applied. It
// does not wait longer for the lease of its predecessor: nobody is elected before that has ended,
// or was given up (raft/core/lease.h).
//
// Threads: executor's thread only.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "placement/director.h"
#include "placement/frontend.h"
#include "placement/heartbeats.h"
#include "placement/map_feed.h"
#include "placement/oracle.h"
#include "placement/state_machine.h"
#include "raft/host/host.h"

namespace quorate::placement {

inline constexpr GroupId kPlacementGroup{1};

class Placement final : private StateMachine::Observer {
 public:
  // `seed`: as StateMachine. References outlive the object.
  Placement(Env& env, storage::OrderedStore& store, NodeId self, const v1::BootstrapRequest* seed);
  ~Placement() override;

  StateMachine& machine() { return machine_; }
  const StateMachine& machine() const { return machine_; }
  // Before anything else; `group` outlives this.
  void Attach(raft::GroupHandle* group);

  // Answers by `deadline`. A slot is above every slot answered before the call, by any leader.
  Task<v1::SlotResponse> Slot(Instant deadline);
  // Gives a new node its id; a known storage keeps the one it has.
  Task<v1::RegisterNodeResponse> RegisterNode(v1::RegisterNodeRequest request, Instant deadline);
  // What operators ask (director.h).
  Task<v1::PlacementResponse> Ask(v1::PlacementRequest request, Instant deadline);
  // At once.
  v1::HeartbeatResponse Heartbeat(v1::HeartbeatRequest request);
  // The map as the group's state here has it; with node states and leaders if this node leads.
  v1::RoutesResponse Map() const;
  // What changed since `known`, or all of it.
  v1::RoutesResponse MapSince(const v1::MapPosition& known);

  bool leading() const { return static_cast<bool>(leading_); }
  NodeId leader() const;
  // How far the newest slot is ahead of the wall clock; for a metric.
  const Oracle& oracle() const { return oracle_; }

 private:
  void OnLeadership(const raft::SoftState& state) override;
  void OnStarted(raft::Term term) override;
  void OnCeiling(Timestamp ceiling) override;
  void OnMapChanged() override { director_.OnApplied(); }
  void OnPiece(const std::string& from) override { feed_.PieceChanged(from); }
  void OnPieceGone(const std::string& from) override { feed_.PieceGone(from); }

  Task<void> StartTerm(raft::Term term);
  Task<void> DirectLoop(raft::Term term);
  Task<Status> Carry(const v1::PlacementRequest& request, v1::PlacementResponse* response);
  Task<void> RenewCeiling(raft::Term term);
  // Part of a number for as long as it lives.
  using Counted = std::unique_ptr<size_t, void (*)(size_t*)>;
  static Counted Count(size_t* number);
  // WRONG_NODE: it is not this start's turn; `remembered` says whose it is.
  Status Admit(const v1::NodeInfo& node, v1::RememberedNode* remembered) const;
  Task<Frontend::Applied> PutNode(v1::NodeInfo node, Counted counted);
  void FillRoute(const v1::ShardDescriptor& piece, v1::RoutesResponse* map) const;
  void FillNodes(v1::RoutesResponse* map) const;
  void FillGroup(v1::RoutesResponse* map) const;
  Task<void> RecordNode(v1::NodeInfo node);
  Task<void> RaiseClusterVersion();
  Task<void> RecordShards(std::vector<v1::ShardDescriptor> shards);
  // Wakes everyone who waits for the oracle to move on.
  void Wake();
  // False: the deadline came first.
  Task<bool> WaitForChange(Instant deadline);
  int64_t NowMillis();
  void JudgeWall();
  // Once another node's clock says the same.
  void MaybeTrustWall();
  // Of a report. Replicas are made and destroyed by the map: only known ones enter it. The state of
  // a new leader, or of a group that was recovered without a majority (decision 0023), may not have
  // some that there are: who leads their shard is told to replace those that do not come.
  enum class Members : uint8_t { kKnown, kNotAllKnown, kCannotBe };
  Members Judge(const v1::ShardDescriptor& shard, NodeId sender) const;
  // What is not to be used at all; it is to be told again.
  void DropUnfounded(v1::HeartbeatRequest* request, v1::HeartbeatResponse* response);
  bool MayEnterMap(const v1::ShardDescriptor& shard, NodeId sender);
  // Proposes what the reports have and the map has not.
  void RecordNewer(const v1::HeartbeatRequest& request, v1::HeartbeatResponse* response);
  void MaybeRenew(int64_t now_ms);
  bool LeaseHolds() const;
  void NotLeader(v1::Error* error) const;

  Env& env_;
  const NodeId self_;
  StateMachine machine_;
  Frontend frontend_;
  Heartbeats heartbeats_;
  MapFeed feed_;
  Director director_;
  Oracle oracle_;
  WallGuard guard_;
  Counter& slots_;
  Counter& unfounded_;
  Counter& wall_refused_;
  raft::GroupHandle* group_ = nullptr;
  raft::Term leading_;         // 0: not leader
  bool wall_trusted_ = false;  // in this term
  bool renewing_ = false;
  std::set<NodeId> recording_;  // nodes whose changes are being proposed
  bool recording_shards_ = false;
  std::set<ShardId> strangers_;  // shards with a member that is not known, as logged in this term
  bool raising_version_ = false;
  size_t registering_ = 0;  // proposals that may become new nodes
  std::vector<Promise<bool>> waiters_;
  TaskScope scope_;
};

}  // namespace quorate::placement
