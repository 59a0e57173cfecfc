#include "placement/frontend.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "placement/rules.h"
#include "txn/judge.h"

namespace quorate::placement {

Status Frontend::Validate(const v1::ShardDescriptor& shard) {
  if (shard.shard_id() <= 1) return InvalidArgument("shard ids begin at 2");
  if (shard.from().size() > limits::kKeyBytesMax || shard.to().size() > limits::kKeyBytesMax) {
    return InvalidArgument(
        fmt::format("a shard's bounds are at most {} bytes", limits::kKeyBytesMax));
  }
  if (!shard.to().empty() && shard.from() >= shard.to()) {
    return InvalidArgument(fmt::format("shard {} has an empty range", shard.shard_id()));
  }
  return Status::Ok();
}

Task<Frontend::Applied> Frontend::Propose(v1::PlacementCommand command, raft::Term term) {
  command.set_term(term.value());
  Result<raft::Proposed> proposed =
      co_await group_->Propose(command.SerializeAsString(), std::optional<raft::Term>(term));
  if (!proposed.ok()) co_return proposed.status();
  if (!proposed->result.status.ok()) co_return proposed->result.status;
  v1::PlacementApplyResult result;
  CHECK(result.ParseFromString(proposed->result.payload), "placement: own result does not parse");
  co_return result;
}

Task<Frontend::Applied> Frontend::Start(raft::Term term) {
  v1::PlacementCommand command;
  command.mutable_start();
  co_return co_await Propose(std::move(command), term);
}

Task<Frontend::Applied> Frontend::RaiseCeiling(raft::Term term, Timestamp ceiling) {
  v1::PlacementCommand command;
  command.mutable_raise_ceiling()->set_ceiling(ceiling.bits());
  co_return co_await Propose(std::move(command), term);
}

Task<Frontend::Applied> Frontend::PutNode(v1::NodeInfo node) {
  CO_RETURN_IF_ERROR(CheckNode(node));
  v1::PlacementCommand command;
  *command.mutable_put_node()->mutable_node() = std::move(node);
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::SetDraining(NodeId node, bool draining) {
  v1::PlacementCommand command;
  command.mutable_set_draining()->set_node_id(node.value());
  command.mutable_set_draining()->set_draining(draining);
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::RemoveNode(NodeId node) {
  v1::PlacementCommand command;
  command.mutable_remove_node()->set_node_id(node.value());
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::PutSetting(std::string name, std::string value) {
  v1::PlacementCommand command;
  command.mutable_put_setting()->set_name(std::move(name));
  command.mutable_put_setting()->set_value(std::move(value));
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::AllocateShardId() {
  v1::PlacementCommand command;
  command.mutable_allocate_shard_id();
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::RaiseClusterVersion(uint32_t version) {
  v1::PlacementCommand command;
  command.mutable_raise_cluster_version()->set_version(version);
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::PutRule(v1::PlacementRule rule) {
  CO_RETURN_IF_ERROR(CheckRule(RuleOf(rule)));
  v1::PlacementCommand command;
  *command.mutable_put_rule()->mutable_rule() = std::move(rule);
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::DeleteRule(std::string from) {
  v1::PlacementCommand command;
  command.mutable_delete_rule()->set_from(std::move(from));
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::ChangeCatalog(v1::CatalogChange change) {
  v1::PlacementCommand command;
  *command.mutable_change_catalog() = std::move(change);
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

Task<Frontend::Applied> Frontend::PutShards(std::vector<v1::ShardDescriptor> shards) {
  v1::PlacementCommand command;
  for (v1::ShardDescriptor& shard : shards) {
    CO_RETURN_IF_ERROR(Validate(shard));
    *command.mutable_put_shards()->add_shards() = std::move(shard);
  }
  co_return co_await Propose(std::move(command), group_->soft_state().term);
}

}  // namespace quorate::placement
