// Tagged integers: a Term is not a LogIndex, and mixing them does not compile.
#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <functional>

namespace quorate {

template <class Tag, class Rep = uint64_t>
class StrongInt {
 public:
  using rep = Rep;
  constexpr StrongInt() = default;
  explicit constexpr StrongInt(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }
  explicit constexpr operator bool() const { return value_ != 0; }

  friend constexpr auto operator<=>(StrongInt, StrongInt) = default;
  friend constexpr bool operator==(StrongInt, StrongInt) = default;

  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr StrongInt operator+(StrongInt a, Rep n) { return StrongInt(a.value_ + n); }
  friend constexpr StrongInt operator-(StrongInt a, Rep n) { return StrongInt(a.value_ - n); }
  // Distance between two positions of one kind.
  friend constexpr Rep operator-(StrongInt a, StrongInt b) { return a.value_ - b.value_; }

  template <class H>
  friend H AbslHashValue(H h, StrongInt v) {
    return H::combine(std::move(h), v.value_);
  }

 private:
  Rep value_ = 0;
};

// Ids of the whole system. 0 is never a valid id.
using NodeId = StrongInt<struct NodeIdTag>;
using ShardId = StrongInt<struct ShardIdTag>;  // also the id of the shard's Raft group
using GroupId = StrongInt<struct GroupIdTag>;  // 1 is the placement group; ShardId n is GroupId n

}  // namespace quorate

template <class Tag, class Rep>
struct fmt::formatter<quorate::StrongInt<Tag, Rep>> : fmt::formatter<Rep> {
  template <class Context>
  auto format(quorate::StrongInt<Tag, Rep> v, Context& ctx) const {
    return fmt::formatter<Rep>::format(v.value(), ctx);
  }
};

template <class Tag, class Rep>
struct std::hash<quorate::StrongInt<Tag, Rep>> {
  size_t operator()(quorate::StrongInt<Tag, Rep> v) const { return std::hash<Rep>()(v.value()); }
};
