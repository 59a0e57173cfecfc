#include "placement/node_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

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

}  // namespace

Result<NodeId> NodeTable::Put(const v1::NodeInfo& node, IdAllocator* ids) {
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

bool NodeTable::Differs(const v1::NodeInfo& node) const {
  const v1::NodeInfo* known = Find(NodeId(node.node_id()));
  return known == nullptr || known->address() != node.address() ||
         known->http_address() != node.http_address() || known->version() != node.version() ||
         known->storage_id() != node.storage_id() || !SameLocality(*known, node);
}

}  // namespace quorate::placement
