// Timestamp: 64 bits = physical milliseconds (42) | logical (12) | sub (10).
//
// The oracle issues *slots*: strictly increasing, sub = 0. The sub bits belong to the shards: a
// prepare timestamp is a known timestamp plus a little, in the same slot, so that every commit
// timestamp acknowledged before a slot is issued is below that slot (invariant T1).
#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

namespace quorate {

class Timestamp {
 public:
  static constexpr int kLogicalBits = 12;
  static constexpr int kSubBits = 10;
  static constexpr uint64_t kLogicalMax = (1u << kLogicalBits) - 1;
  static constexpr uint64_t kSubMax = (1u << kSubBits) - 1;
  static constexpr uint64_t kPhysicalMax = (1ull << 42) - 1;

  constexpr Timestamp() = default;
  explicit constexpr Timestamp(uint64_t bits) : bits_(bits) {}
  static constexpr Timestamp FromParts(uint64_t physical_ms, uint64_t logical, uint64_t sub = 0) {
    return Timestamp((physical_ms << (kLogicalBits + kSubBits)) | (logical << kSubBits) | sub);
  }

  constexpr uint64_t bits() const { return bits_; }
  constexpr uint64_t physical_ms() const { return bits_ >> (kLogicalBits + kSubBits); }
  constexpr uint64_t logical() const { return (bits_ >> kSubBits) & kLogicalMax; }
  constexpr uint64_t sub() const { return bits_ & kSubMax; }
  constexpr bool is_slot() const { return sub() == 0; }
  explicit constexpr operator bool() const { return bits_ != 0; }

  // The next timestamp of the same slot; nullopt when its sub bits are used up: a sub count never
  // carries into the next slot.
  constexpr std::optional<Timestamp> NextSub() const {
    if (sub() == kSubMax) return std::nullopt;
    return Timestamp(bits_ + 1);
  }
  // The slot that it is in.
  constexpr Timestamp Slot() const { return Timestamp(bits_ & ~kSubMax); }
  // The next slot, whatever the sub bits are.
  constexpr Timestamp NextSlot() const { return Timestamp(((bits_ >> kSubBits) + 1) << kSubBits); }
  // `ms` milliseconds earlier (logical and sub 0); zero at the least.
  constexpr Timestamp MinusMillis(uint64_t ms) const {
    return physical_ms() > ms ? FromParts(physical_ms() - ms, 0) : Timestamp();
  }

  // "1732370000000.3.1": physical.logical.sub.
  std::string ToString() const { return fmt::format("{}.{}.{}", physical_ms(), logical(), sub()); }

  friend constexpr auto operator<=>(Timestamp, Timestamp) = default;

 private:
  uint64_t bits_ = 0;
};

static_assert(Timestamp::FromParts(5, 3, 1).physical_ms() == 5);
static_assert(Timestamp::FromParts(5, 3, 1).logical() == 3);
static_assert(!Timestamp::FromParts(5, 3, Timestamp::kSubMax).NextSub().has_value());

}  // namespace quorate

template <>
struct fmt::formatter<quorate::Timestamp> : fmt::formatter<std::string> {
  template <class Context>
  auto format(quorate::Timestamp ts, Context& ctx) const {
    return fmt::formatter<std::string>::format(ts.ToString(), ctx);
  }
};
