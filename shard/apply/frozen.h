// What a frozen shard keeps, as Shard::Contents makes it and another shard absorbs it. It comes
// with a message, and then with an entry of a log: wherever it came from, a shard that absorbed
// what no shard can have would be lost, with all of its replicas.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "txn/timestamp.h"

namespace quorate::v1 {
class FrozenShard;
}  // namespace quorate::v1

namespace quorate::shard {

// INVALID_ARGUMENT: no shard has this. Everything that it keeps is at its keys, once, decodes, and
// makes a state that a replica could go on from.
Status CheckFrozen(const v1::FrozenShard& frozen);
// The highest timestamp in it: above all slots, no shard has it either. Precondition: CheckFrozen.
Timestamp NewestNamed(const v1::FrozenShard& frozen);
// Of all of it.
uint64_t HashOf(const v1::FrozenShard& frozen, uint64_t seed);

}  // namespace quorate::shard
