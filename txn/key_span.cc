#include "txn/key_span.h"

#include <algorithm>

namespace quorate {

std::optional<Span> Span::Behind(std::string_view key, bool reverse) const {
  Span rest = reverse ? Span{from, std::string(key)} : Span{OfKey(key).to, to};
  // Nothing is below the empty key, and an empty `to` would mean the end.
  if (rest.empty() || (reverse && key.empty())) return std::nullopt;
  return rest;
}

Span Span::Join(const Span& other) const {
  Span joined;
  joined.from = std::min(from, other.from);
  if (!to.empty() && !other.to.empty()) joined.to = std::max(to, other.to);
  return joined;
}

Span Span::Clip(const Span& other) const {
  Span part;
  part.from = std::max(from, other.from);
  if (to.empty() || other.to.empty()) {
    part.to = to.empty() ? other.to : to;
  } else {
    part.to = std::min(to, other.to);
  }
  // A clip without a common key must not look like "to the end of the key space".
  if (!Overlaps(other)) part.to = part.from.empty() ? std::string(1, '\0') : part.from;
  return part;
}

}  // namespace quorate
