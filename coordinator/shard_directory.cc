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
  found->FillError(
      Status(Code::kNotLeader, fmt::format("shard {} is not led from here", found->id())), error);
}

}  // namespace quorate::coordinator
