// Key ranges: half-open [from, to); an empty `to` means the end of the key space.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quorate {

// Whether [from, to) is exactly one key.
inline bool IsSingleKey(std::string_view from, std::string_view to) {
  return to.size() == from.size() + 1 && to.back() == '\0' && to.substr(0, from.size()) == from;
}

struct Span {
  std::string from;
  std::string to;

  static Span OfKey(std::string_view key) {
    Span span{std::string(key), std::string(key)};
    span.to.push_back('\0');
    return span;
  }
  static Span All() { return {}; }

  bool Contains(std::string_view key) const { return key >= from && (to.empty() || key < to); }
  bool Contains(const Span& other) const {
    return other.from >= from && (to.empty() || (!other.to.empty() && other.to <= to));
  }
  bool Overlaps(const Span& other) const {
    return (to.empty() || other.from < to) && (other.to.empty() || from < other.to);
  }
  bool empty() const { return !to.empty() && from >= to; }
  // Whether this is exactly one key, OfKey(from).
  bool single() const { return IsSingleKey(from, to); }
  // What is left of this span behind `key`, which is in it: above it, or below it if `reverse`;
  // nullopt if there is nothing.
  std::optional<Span> Behind(std::string_view key, bool reverse) const;
  // The smallest span that contains both.
  Span Join(const Span& other) const;
  // The part of this span inside `other`; empty() if there is none.
  Span Clip(const Span& other) const;

  friend bool operator==(const Span&, const Span&) = default;
  friend auto operator<=>(const Span&, const Span&) = default;
};

}  // namespace quorate
