#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"

namespace quorate::shard {

// Its place in the log is what counts: everything before it was evaluated by earlier leaders and is
// applied by now, everything behind it was evaluated above the floor.
Applied ApplyLeaderStart(ApplyContext context, const v1::LeaderStart& command) {
  const Timestamp floor(command.floor());
  context.table.SetFloor(std::max(floor, context.table.floor()), context.batch);
  return {};
}

}  // namespace quorate::shard
