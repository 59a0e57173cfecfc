// Frontend: validates what is asked of the placement group and proposes it. An answer is given
// after the entry was applied, with Apply's result.
#pragma once

#include <vector>

#include "base/status.h"
#include "base/task.h"
#include "placement/state_machine.h"
#include "quorate/v1/placement.pb.h"
#include "raft/host/host.h"

namespace quorate::placement {

class Frontend {
 public:
  // `group` outlives the frontend's tasks.
  void Attach(raft::GroupHandle* group) { group_ = group; }

  // NOT_LEADER: nothing happened. OVERLOADED: nothing happened.
  using Applied = Result<v1::PlacementApplyResult>;
  Task<Applied> Start(raft::Term term);
  Task<Applied> RaiseCeiling(raft::Term term, Timestamp ceiling);
  // INVALID_ARGUMENT names the field; NOT_FOUND, WRONG_NODE as NodeTable::Put.
  Task<Applied> PutNode(v1::NodeInfo node);
  // FAILED_PRECONDITION, NOT_FOUND.
  Task<Applied> SetDraining(NodeId node, bool draining);
  Task<Applied> RemoveNode(NodeId node);
  Task<Applied> PutSetting(std::string name, std::string value);
  // An id that no shard has had.
  Task<Applied> AllocateShardId();
  // FAILED_PRECONDITION: a member does not have it.
  Task<Applied> RaiseClusterVersion(uint32_t version);
  // INVALID_ARGUMENT: as RuleSet::Put. Precondition: every member knows rules.
  Task<Applied> PutRule(v1::PlacementRule rule);
  // NOT_FOUND.
  Task<Applied> DeleteRule(std::string from);
  // FAILED_PRECONDITION: another change came first. Precondition: schema::Catalog::Check, and every
  // member knows tables.
  Task<Applied> ChangeCatalog(v1::CatalogChange change);
  Task<Applied> PutShards(std::vector<v1::ShardDescriptor> shards);

  static Status Validate(const v1::ShardDescriptor& shard);

 private:
  Task<Applied> Propose(v1::PlacementCommand command, raft::Term term);

  raft::GroupHandle* group_ = nullptr;
};

}  // namespace quorate::placement
