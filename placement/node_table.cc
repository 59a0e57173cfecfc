#include "placement/node_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/mutant.h"

namespace quorate::placement {

namespace {

bool SameLocality(const v1::NodeInfo& a, const v1::NodeInfo& b) {
  if (a.locality().size() != b.locality().size()) return false;
  for (const auto& [key, value] : a.locality()) {
    const auto it = b.locality().find(key);
    if (it == b.locality().end() || it->second != value) return false;
  }
  return true;
}

bool Same(const v1::Incarnation& a, const v1::Incarnation& b) {
  return a.number() == b.number() && a.nonce() == b.nonce();
}

bool DescendsFrom(const v1::NodeInfo& known, const v1::NodeInfo& node) {
  // A version that has none cannot be told apart from itself.
  const bool both = known.incarnation().number() != 0 && node.incarnation().number() != 0;
  return !both || Same(known.incarnation(), node.incarnation()) ||
         Same(known.incarnation(), node.descends_from()) || MUTANT("incarnation-not-checked");
}

}  // namespace

Result<NodeId> NodeTable::Put(const v1::NodeInfo& node, IdAllocator* ids, Starts starts) {
  if (node.storage_id().empty() || node.address().empty()) {
    return InvalidArgument("a node must name its address and its storage id");
  }
  NodeId id(node.node_id());
  if (!id) {
    for (const auto& [known, info] : nodes_) {
      if (info.storage_id() == node.storage_id()) id = known;
    }
    if (!id) id = NodeId(ids->Allocate());
  } else {
    const v1::NodeInfo* known = Find(id);
    if (known == nullptr) return NotFound(fmt::format("node {} was never registered", id));
    if (known->storage_id() != node.storage_id()) {
      return Status(Code::kWrongNode,
                    fmt::format("node {} is known with another data directory: a new directory "
                                "registers as a new node",
                                id));
    }
  }
  v1::NodeInfo stored = node;
  stored.set_node_id(id.value());
  const v1::NodeInfo* before = Find(id);
  if (starts == Starts::kToldApart) {
    if (before != nullptr && !DescendsFrom(*before, node)) {
      return Status(Code::kWrongNode,
                    fmt::format("node {} was started since from a newer state of its data "
                                "directory: this is a copy, or was put back",
                                id));
    }
    stored.clear_descends_from();
    if (before != nullptr && node.incarnation().number() == 0) {
      *stored.mutable_incarnation() = before->incarnation();
    }
  }
  stored.set_draining(before != nullptr && before->draining());
  Load(std::move(stored));
  return id;
}

bool NodeTable::SetDraining(NodeId id, bool draining) {
  const auto it = nodes_.find(id);
  if (it == nodes_.end()) return false;
  it->second.set_draining(draining);
  return true;
}

void NodeTable::Load(v1::NodeInfo node) {
  node.set_state(v1::NODE_STATE_NONE);
  const NodeId id(node.node_id());
  nodes_[id] = std::move(node);
}

const v1::NodeInfo* NodeTable::Find(NodeId id) const {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

bool NodeTable::Knows(std::string_view storage_id) const {
  return std::any_of(nodes_.begin(), nodes_.end(), [storage_id](const auto& entry) {
    return entry.second.storage_id() == storage_id;
  });
}

bool NodeTable::Follows(const v1::NodeInfo& node) const {
  const v1::NodeInfo* known = Find(NodeId(node.node_id()));
  return known == nullptr || DescendsFrom(*known, node);
}

bool NodeTable::Differs(const v1::NodeInfo& node) const {
  const v1::NodeInfo* known = Find(NodeId(node.node_id()));
  return known == nullptr || known->address() != node.address() ||
         known->http_address() != node.http_address() || known->version() != node.version() ||
         known->storage_id() != node.storage_id() ||
         known->feature_level() != node.feature_level() || !SameLocality(*known, node) ||
         (node.incarnation().number() != 0 && !Same(known->incarnation(), node.incarnation()));
}

}  // namespace quorate::placement
