#include "placement/shard_map.h"

#include <fmt/format.h>

#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "base/bytes.h"

namespace quorate::placement {

namespace {

Span SpanOf(const v1::ShardDescriptor& d) { return {d.from(), d.to()}; }

// Whether `d` takes over keys that `old` owns so far.
bool Supersedes(const v1::ShardDescriptor& d, const v1::ShardDescriptor& old) {
  if (d.shard_id() != old.shard_id()) return d.version() > old.version();
  return std::tuple(d.version(), d.membership_version()) >
         std::tuple(old.version(), old.membership_version());
}

v1::ShardDescriptor Cut(const v1::ShardDescriptor& d, const std::string& from,
                        const std::string& to) {
  v1::ShardDescriptor piece = d;
  piece.set_from(from);
  piece.set_to(to);
  return piece;
}

// The smaller of two ends of ranges, where empty is beyond everything.
const std::string& MinEnd(const std::string& a, const std::string& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return std::min(a, b);
}

}  // namespace

ShardMap::Change ShardMap::Put(const v1::ShardDescriptor& descriptor) {
  const Span span = SpanOf(descriptor);
  if (span.empty()) return {};
  std::map<std::string, v1::ShardDescriptor, std::less<>> next;
  std::set<std::string> gone;
  // Stretches of `span` that `descriptor` owns: superseded pieces, and keys that nobody owned yet.
  std::vector<Span> owned;
  std::string reached = span.from;  // owned, or left to others, up to here
  bool at_end = false;
  const auto own = [&owned](std::string from, std::string to) {
    if (!owned.empty() && owned.back().to == from) {
      owned.back().to = std::move(to);
    } else {
      owned.push_back({std::move(from), std::move(to)});
    }
  };
  auto it = pieces_.upper_bound(span.from);
  if (it != pieces_.begin()) --it;
  for (; it != pieces_.end() && (span.to.empty() || it->first < span.to); ++it) {
    const Span piece = SpanOf(it->second);
    if (!piece.Overlaps(span)) continue;
    if (piece.from > reached) own(reached, piece.from);
    const std::string from = std::max(piece.from, span.from);
    const std::string to = MinEnd(piece.to, span.to);
    if (Supersedes(descriptor, it->second)) {
      gone.insert(piece.from);
      if (piece.from < span.from) next[piece.from] = Cut(it->second, piece.from, span.from);
      if (to != piece.to) next[to] = Cut(it->second, to, piece.to);
      own(from, to);
    }
    reached = to;
    at_end = to.empty();
  }
  if (!at_end && (span.to.empty() || reached < span.to)) own(reached, span.to);
  for (const Span& part : owned) next[part.from] = Cut(descriptor, part.from, part.to);

  Change change;
  for (const std::string& from : gone) {
    pieces_.erase(from);
    if (!next.contains(from)) change.removed.push_back(from);
  }
  for (auto& [from, piece] : next) {
    change.written.push_back(from);
    pieces_[from] = std::move(piece);
  }
  return change;
}

bool ShardMap::Newer(const v1::ShardDescriptor& descriptor) const {
  const Span span = SpanOf(descriptor);
  auto it = pieces_.upper_bound(span.from);
  if (it != pieces_.begin()) --it;
  for (; it != pieces_.end() && (span.to.empty() || it->first < span.to); ++it) {
    if (SpanOf(it->second).Overlaps(span) && Supersedes(descriptor, it->second)) return true;
  }
  return pieces_.empty();
}

bool ShardMap::OlderRightOf(const Span& own, const v1::ShardDescriptor& descriptor) const {
  for (auto it = pieces_.lower_bound(own.to); it != pieces_.end(); ++it) {
    if (it->second.version() >= descriptor.version()) return false;
    if (it->second.to() == descriptor.to()) return true;
  }
  return false;
}

bool ShardMap::Plausible(const v1::ShardDescriptor& descriptor, uint64_t next_id,
                         bool merges) const {
  if (pieces_.empty()) return true;
  const Span span = SpanOf(descriptor);
  std::optional<Span> own;
  for (const auto& [from, piece] : pieces_) {
    if (piece.shard_id() != descriptor.shard_id()) continue;
    own = own ? own->Join(SpanOf(piece)) : SpanOf(piece);
  }
  // What it has more is what was right of it, which is older than the shard is now.
  if (merges && own && !own->Contains(span) && own->from == span.from) {
    return OlderRightOf(*own, descriptor);
  }
  if (own) return own->Contains(span);
  const v1::ShardDescriptor* parent = Find(span.from);
  return descriptor.shard_id() < next_id && parent != nullptr &&
         parent->version() < descriptor.version() && SpanOf(*parent).Contains(span);
}

void ShardMap::Load(v1::ShardDescriptor piece) {
  std::string from = piece.from();
  pieces_[std::move(from)] = std::move(piece);
}

const v1::ShardDescriptor* ShardMap::Find(std::string_view key) const {
  auto it = pieces_.upper_bound(key);
  if (it == pieces_.begin()) return nullptr;
  --it;
  return SpanOf(it->second).Contains(key) ? &it->second : nullptr;
}

std::string ShardMap::TilingError() const {
  std::string reached;
  bool at_end = false;
  for (const auto& [from, piece] : pieces_) {
    if (at_end || from != reached) {
      return fmt::format("shard {} begins at '{}', the one before ends at '{}'", piece.shard_id(),
                         Printable(from), at_end ? "the end" : Printable(reached));
    }
    reached = piece.to();
    at_end = reached.empty();
  }
  return at_end ? std::string() : fmt::format("nobody owns the keys from '{}'", Printable(reached));
}

}  // namespace quorate::placement
