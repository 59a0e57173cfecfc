// Footprint: what a commit touches, divided among the shards that own it. Each shard's part is a
// participant: it is named by its marker key (the first key of the part) and by a digest of marker,
// keys and guards, so that two groupings of one Commit (made under different shard maps) are never
// taken for each other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "txn/id.h"
#include "txn/key_span.h"

namespace quorate {

struct FootprintPart {
  size_t shard = 0;            // index into the shard spans given
  std::string marker_key;      // the smallest of the written keys and the guards' starts
  Digest digest;               // never 0
  std::vector<size_t> writes;  // indexes into the written keys given
  std::vector<Span> guards;    // sorted; overlapping ones are one
};

// `writes`: sorted, without duplicates. `shards`: sorted and disjoint. A read span is clipped to
// each shard it reaches. Parts come in the order of their shards. nullopt if a key, or a piece of
// a read span, belongs to none of the shards.
std::optional<std::vector<FootprintPart>> DivideByShard(const std::vector<std::string_view>& writes,
                                                        const std::vector<Span>& reads,
                                                        const std::vector<Span>& shards);

// Over explicit fields: equal on every node and version.
Digest DigestOf(std::string_view marker_key, const std::vector<std::string_view>& writes,
                const std::vector<Span>& guards);

// Sorts, drops empty spans and unites those that overlap.
std::vector<Span> NormalizeSpans(std::vector<Span> spans);

}  // namespace quorate
