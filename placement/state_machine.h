// StateMachine: the replicated state of the placement group and what its entries do to it.
//
//   entry (PlacementCommand) ─► Apply ─► tables in memory + the same change in the store's batch
//
// Commands are the cases of PlacementCommand; their numbers are frozen. An entry whose term is not
// its log entry's is void. One that this version does not know, or a state in the store that it
// cannot read, breaks the machine: it is stuck (raft/host/state_machine.h) until a snapshot comes.
// The tables are a cache of the store under one tag:
//
//   P r              PlacementState: cluster id, ceiling, next ids, placement nodes
//   P n <node id>    NodeInfo
//   P s <first key>  a piece of the shard map
//   P u <first key>  PlacementRule; none before Feature::kRules
//   P t <table id>   TableDescriptor; none before Feature::kTables
//
// First state: all members are created from the same bootstrap message, so they agree on it without
// an entry. It enters the store with the first entry applied, of whatever kind; until then it is
// made again from the message, which is durable before the group exists (server/node/membership.h).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/features.h"
#include "placement/id_allocator.h"
#include "placement/node_table.h"
#include "placement/schedule/rule.h"
#include "placement/shard_map.h"
#include "quorate/v1/placement.pb.h"
#include "raft/host/state_machine.h"
#include "schema/catalog.h"
#include "storage/ordered_store.h"
#include "txn/timestamp.h"

namespace quorate::placement {

class StateMachine final : public raft::StateMachine {
 public:
  // Hears of applied entries and leadership, in order. Must not call back.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnLeadership(const raft::SoftState& state) = 0;
    // The first entry of a leader's term: everything logged in earlier terms is applied.
    virtual void OnStarted(raft::Term term) = 0;
    virtual void OnCeiling(Timestamp ceiling) = 0;
    // Nodes, pieces, settings or rules changed.
    virtual void OnMapChanged() = 0;
    // What begins at `from` is another piece now.
    virtual void OnPiece(const std::string& from) = 0;
    // None begins there any more.
    virtual void OnPieceGone(const std::string& from) = 0;
  };

  // `seed`: the bootstrap message; used while the store holds no state. Without it (a member that
  // is added later) the state is empty until a snapshot arrives.
  StateMachine(storage::OrderedStore& store, const v1::BootstrapRequest* seed);
  void SetObserver(Observer* observer) { observer_ = observer; }

  const NodeTable& nodes() const { return nodes_; }
  const ShardMap& map() const { return map_; }
  const RuleSet& rules() const { return rules_; }
  const schema::Catalog& catalog() const { return catalog_; }
  // Ids below were given to shards, or to splits that may not have come about.
  uint64_t next_shard_id() const { return shard_ids_.next(); }
  Timestamp ceiling() const { return Timestamp(root_.ceiling()); }
  const std::string& cluster_id() const { return root_.cluster_id(); }
  const v1::PlacementState& root() const { return root_; }
  // Whether every member understands it.
  bool Allows(Feature feature) const { return quorate::Allows(root_.cluster_version(), feature); }
  // What every member's version has. Above the cluster version: that can be raised.
  uint32_t CommonFeatureLevel() const;

  raft::ApplyResult Apply(raft::LogIndex index, raft::Term term, std::string_view payload,
                          storage::WriteBatch* batch) override;
  void ApplyMembers(raft::LogIndex index, const raft::Configuration& members,
                    storage::WriteBatch* batch) override;
  void StoreFirstState(storage::WriteBatch* batch) override;
  void OnSoftState(const raft::SoftState& state) override;
  std::vector<std::pair<std::string, std::string>> Spans() const override;
  bool HasState() const override;
  bool Understands(std::string_view key, std::string_view value) const override;
  void OnSnapshotInstalled(raft::LogIndex index) override;

  // Whether RemoveNode would do it now. NOT_FOUND; FAILED_PRECONDITION: it is of placement's group.
  Status CheckRemoval(NodeId node) const;
  // Whether the node was a member of the cluster, and is none any more.
  bool WasRemoved(NodeId node) const {
    return node && node.value() < node_ids_.next() && nodes_.Find(node) == nullptr;
  }

  // Digest of the replicated state over explicit fields, to compare replicas at equal index.
  uint64_t StateDigest() const;

 private:
  void Load();
  // False: not a pair of this version.
  bool LoadPair(std::string_view key, std::string_view value);
  void Break(std::string why);
  void Seed(const v1::BootstrapRequest& seed);
  void WriteAll(storage::WriteBatch* batch) const;
  void WriteRoot(storage::WriteBatch* batch) const;
  raft::ApplyResult ApplyCeiling(const v1::RaiseCeiling& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyNode(const v1::PutNode& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyDraining(const v1::SetDraining& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyRemoval(const v1::RemoveNode& command, storage::WriteBatch* batch);
  void PutSetting(const std::string& name, const std::string& value);
  raft::ApplyResult ApplySetting(const v1::PutSetting& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyClusterVersion(const v1::RaiseClusterVersion& command,
                                        storage::WriteBatch* batch);
  raft::ApplyResult ApplyShards(const v1::PutShards& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyRule(const v1::PutRule& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyRuleDeletion(const v1::DeleteRule& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyCatalog(const v1::CatalogChange& command, storage::WriteBatch* batch);
  raft::ApplyResult ApplyAllocation(storage::WriteBatch* batch);

  storage::OrderedStore& store_;
  Observer* observer_ = nullptr;
  std::string broken_;   // why nothing can be applied; empty: it can
  bool stored_ = false;  // the store holds the whole state, not only what was changed
  v1::PlacementState root_;
  NodeTable nodes_;
  IdAllocator node_ids_;
  IdAllocator shard_ids_;
  ShardMap map_;
  RuleSet rules_;
  schema::Catalog catalog_;
};

}  // namespace quorate::placement
