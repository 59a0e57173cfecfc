// Entry: a committed entry of a shard's log: when it is void, and which command it is.
#pragma once

#include <cstdint>
#include <string>

#include "raft/core/types.h"
#include "raft/host/state_machine.h"
#include "shard/apply/apply.h"

namespace quorate::shard {

// Applies one entry. It is void (no effect at all) unless it was evaluated in the term it was
// logged in, under the version that the shard has: otherwise what evaluation saw may no longer be
// so. It is void, too, if it breaks CheckCommand. After it, the table may be broken (table.h): then
// nothing of the batch may be kept.
Applied ApplyEntry(ApplyContext context, raft::Term term, const v1::ShardCommand& command);

// Applied <-> what the host hands to the proposer.
raft::ApplyResult EncodeApplied(const Applied& applied);
Applied DecodeApplied(const raft::ApplyResult& result);

// Whether a pair of the store is one of a shard's: of a table of keys.h, and decodes there.
bool Understands(std::string_view store_key, std::string_view stored);

// Over explicit fields of everything in the store that belongs to the shard.
uint64_t DigestOf(const Table& table);
// [from, to) pairs of store keys that hold the shard's state.
std::vector<std::pair<std::string, std::string>> SpansOf(const Table& table);

}  // namespace quorate::shard
