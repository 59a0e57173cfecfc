#include "coordinator/shard_directory.h"

#include "base/bytes.h"
#include "quorate/v1/txn.pb.h"

namespace quorate::coordinator {

void FillNotServing(ShardDirectory& directory, std::string_view key, v1::Error* error) {
  shard::Shard* found = directory.FindByKey(key);
  if (found == nullptr) {
    error->set_code(v1::STALE_EPOCH);
    error->set_message(
        fmt::format("no replica of the shard of key \"{}\" is here", Printable(key)));
    return;
  }
  error->set_code(v1::NOT_LEADER);
  error->set_message(fmt::format("shard {} is not led from here", found->id()));
  for (const v1::Replica& replica : found->descriptor().replicas()) {
    if (NodeId(replica.node_id()) == found->leader()) *error->mutable_leader() = replica;
  }
}

}  // namespace quorate::coordinator
