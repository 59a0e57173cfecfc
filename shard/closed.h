// What a replica knows by itself, whoever leads (docs/transactions.md, section 11). Pure.
#pragma once

#include "shard/evaluate_read.h"
#include "shard/table.h"
#include "txn/timestamp.h"

namespace quorate::shard {

// The highest slot at which all that `ask` asks for is known here, and will never change: nothing
// that could be a version at or below it is unresolved or still to come; or a lower one, if many
// scans meet many parts that are prepared at or below what is closed. Zero: there is none.
Timestamp NewestServable(const ReadAsk& ask, const Table& table);

// What a leader that knows the slot `newest` closes: `lag` below, so that who has begun since keeps
// the timestamp that it would get.
Timestamp ToClose(Timestamp newest, Duration lag);

}  // namespace quorate::shard
