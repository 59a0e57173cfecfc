// ShardDirectory: the shards that live on this node. Implemented by server/node.
#pragma once

#include <string_view>

#include "base/strong_type.h"
#include "shard/shard.h"

namespace quorate::v1 {
class Error;
}

namespace quorate::coordinator {

class ShardDirectory {
 public:
  virtual ~ShardDirectory() = default;
  // The local replica whose range contains `key`, or with this id; serving or not. nullptr: none.
  // Valid until the next suspension.
  virtual shard::Shard* FindByKey(std::string_view key) = 0;
  virtual shard::Shard* Find(ShardId shard) = 0;

  // The same, if it serves (in `term`).
  shard::Shard* FindServing(std::string_view key) {
    shard::Shard* found = FindByKey(key);
    return found != nullptr && found->serving() ? found : nullptr;
  }
  shard::Shard* FindServing(ShardId id, raft::Term term) {
    shard::Shard* found = Find(id);
    return found != nullptr && found->serving() && found->serving_term() == term ? found : nullptr;
  }
};

// Why FindServing(key) found nothing, with a hint where to ask: NOT_LEADER or STALE_EPOCH.
void FillNotServing(ShardDirectory& directory, std::string_view key, v1::Error* error);

}  // namespace quorate::coordinator
