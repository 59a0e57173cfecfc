#include "txn/footprint.h"

#include <xxhash.h>

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"

namespace quorate {
namespace {

// The shard that contains `key`, or shards.size().
size_t ShardOf(std::string_view key, const std::vector<Span>& shards) {
  auto after = std::upper_bound(shards.begin(), shards.end(), key,
                                [](std::string_view k, const Span& span) { return k < span.from; });
  if (after == shards.begin()) return shards.size();
  const size_t index = static_cast<size_t>(after - shards.begin()) - 1;
  return shards[index].Contains(key) ? index : shards.size();
}

// Puts the pieces of `read` into the parts; false if a piece of it belongs to no shard.
bool DivideRead(const Span& read, const std::vector<Span>& shards,
                std::vector<FootprintPart>* parts) {
  std::string_view position = read.from;
  for (size_t i = ShardOf(position, shards); i < shards.size(); ++i) {
    if (!shards[i].Contains(position)) return false;
    (*parts)[i].guards.push_back(read.Clip(shards[i]));
    if (shards[i].to.empty() || (!read.to.empty() && read.to <= shards[i].to)) return true;
    position = shards[i].to;
  }
  return false;
}

}  // namespace

std::vector<Span> NormalizeSpans(std::vector<Span> spans) {
  std::erase_if(spans, [](const Span& span) { return span.empty(); });
  std::sort(spans.begin(), spans.end());
  std::vector<Span> united;
  for (Span& span : spans) {
    if (!united.empty() && united.back().Overlaps(span)) {
      std::string& end = united.back().to;
      if (!end.empty() && (span.to.empty() || span.to > end)) end = std::move(span.to);
    } else {
      united.push_back(std::move(span));
    }
  }
  return united;
}

Digest DigestOf(std::string_view marker_key, const std::vector<std::string_view>& writes,
                const std::vector<Span>& guards) {
  std::string fields;
  PutLengthPrefixed(&fields, marker_key);
  PutVarint(&fields, writes.size());
  for (std::string_view key : writes) PutLengthPrefixed(&fields, key);
  PutVarint(&fields, guards.size());
  for (const Span& guard : guards) {
    PutLengthPrefixed(&fields, guard.from);
    PutLengthPrefixed(&fields, guard.to);
  }
  return Digest(std::max<uint64_t>(1, XXH3_64bits(fields.data(), fields.size())));
}

std::optional<std::vector<FootprintPart>> DivideByShard(const std::vector<std::string_view>& writes,
                                                        const std::vector<Span>& reads,
                                                        const std::vector<Span>& shards) {
  std::vector<FootprintPart> parts(shards.size());
  size_t shard = 0;
  for (size_t i = 0; i < writes.size(); ++i) {
    CHECK(i == 0 || writes[i - 1] < writes[i], "written keys are sorted and distinct");
    // Neighbouring keys mostly share a shard.
    if (shard >= shards.size() || !shards[shard].Contains(writes[i])) {
      shard = ShardOf(writes[i], shards);
    }
    if (shard == shards.size()) return std::nullopt;
    parts[shard].writes.push_back(i);
  }
  for (const Span& read : NormalizeSpans(reads)) {
    if (!DivideRead(read, shards, &parts)) return std::nullopt;
  }

  std::vector<FootprintPart> used;
  std::vector<std::string_view> keys;
  for (size_t i = 0; i < parts.size(); ++i) {
    FootprintPart& part = parts[i];
    if (part.writes.empty() && part.guards.empty()) continue;
    part.shard = i;
    keys.clear();
    for (size_t w : part.writes) keys.push_back(writes[w]);
    if (part.guards.empty()) {
      part.marker_key = keys.front();
    } else if (keys.empty()) {
      part.marker_key = part.guards.front().from;
    } else {
      part.marker_key = std::min(keys.front(), std::string_view(part.guards.front().from));
    }
    part.digest = DigestOf(part.marker_key, keys, part.guards);
    used.push_back(std::move(part));
  }
  return used;
}

}  // namespace quorate
