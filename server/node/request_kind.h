// RequestKind: what a node has to know of a request before it is handled, a row for each kind.
#pragma once

#include <cstdint>
#include <string_view>

#include "quorate/v1/rpc.pb.h"

namespace quorate::server {

struct RequestKind {
  // Whose leader can answer.
  enum class Leader : uint8_t { kNobodys, kPlacements, kOwners, kShards };

  bool strangers = false;  // may send it: those who do not know the cluster yet
  bool begins = false;     // something, which a node that stops leaves to others
  bool members = false;    // only can answer it: nodes that belong to a cluster
  Leader leader = Leader::kNobodys;
  std::string_view key;                   // kOwners: of the shard that owns it
  const v1::ShardRoute* route = nullptr;  // to one shard
};

// What it returns points into `request`. Every kind is named in it, and in each switch of
// handlers.cc, so that the compiler tells who forgets a new one.
RequestKind KindOf(const v1::NodeRequest& request);

}  // namespace quorate::server
