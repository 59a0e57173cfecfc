// Nodes of the cluster: id, address, locality, storage id. Applied state, no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/strong_type.h"
#include "placement/id_allocator.h"
#include "quorate/v1/placement.pb.h"

namespace quorate::placement {

class NodeTable {
 public:
  // Registers a node (node_id 0) or changes a known one; the id it has. A storage that is known
  // keeps its id, so a repeated registration is harmless.
  //   WRONG_NODE       the id is known with another storage: a new disk is a new node (RC21)
  //   NOT_FOUND        an id that was never given
  //   INVALID_ARGUMENT no storage id or address
  //   WRONG_NODE       too, if `starts` are told apart: its own does not descend from the newest
  //   one
  // Whether it is draining is not the node's to say, and stays as it is.
  enum class Starts : uint8_t { kAlike, kToldApart };
  Result<NodeId> Put(const v1::NodeInfo& node, IdAllocator* ids,
                     Starts starts = Starts::kToldApart);
  // False: not known.
  bool SetDraining(NodeId id, bool draining);
  bool Remove(NodeId id) { return nodes_.erase(id) != 0; }
  // Loads what was stored.
  void Load(v1::NodeInfo node);
  void Clear() { nodes_.clear(); }

  const v1::NodeInfo* Find(NodeId id) const;
  bool Knows(std::string_view storage_id) const;
  // Whether the start that `node` is of is the newest one known, or descends from it.
  bool Follows(const v1::NodeInfo& node) const;
  // Whether Put(node) would change anything.
  bool Differs(const v1::NodeInfo& node) const;
  const std::map<NodeId, v1::NodeInfo>& nodes() const { return nodes_; }

 private:
  std::map<NodeId, v1::NodeInfo> nodes_;  // state is left NODE_STATE_NONE: it is a view
};

}  // namespace quorate::placement
