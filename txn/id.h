// TxnId: 128 random bits, new for every attempt. Digest: names one grouping of a transaction's keys
// at one participant.
#pragma once

#include <fmt/format.h>

#include <array>
#include <compare>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/random.h"
#include "base/strong_type.h"
#include "txn/timestamp.h"

namespace quorate {

class TxnId {
 public:
  static constexpr size_t kBytes = 16;
  TxnId() = default;
  static TxnId Make(Random& random) {
    TxnId id;
    const uint64_t words[2] = {random.Next(), random.Next()};
    std::memcpy(id.bytes_.data(), words, kBytes);
    return id;
  }
  // nullopt unless exactly 16 bytes.
  static std::optional<TxnId> FromBytes(std::string_view bytes) {
    if (bytes.size() != kBytes) return std::nullopt;
    TxnId id;
    std::memcpy(id.bytes_.data(), bytes.data(), kBytes);
    return id;
  }
  std::string_view bytes() const { return {bytes_.data(), kBytes}; }
  std::string ToString() const { return ToHex(bytes()); }
  bool valid() const { return *this != TxnId(); }

  // memcmp, since ids order the maps of every transaction in flight.
  friend std::strong_ordering operator<=>(const TxnId& a, const TxnId& b) {
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), kBytes) <=> 0;
  }
  friend bool operator==(const TxnId& a, const TxnId& b) {
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), kBytes) == 0;
  }
  template <class H>
  friend H AbslHashValue(H h, const TxnId& id) {
    return H::combine(std::move(h), id.bytes_);
  }

 private:
  std::array<char, kBytes> bytes_{};
};

using Digest = StrongInt<struct DigestTag>;

// Section 6: smaller is older and wins. The first attempt's, kept over retries.
struct TxnPriority {
  Timestamp start_ts;
  TxnId txn_id;
  friend auto operator<=>(const TxnPriority&, const TxnPriority&) = default;
};

}  // namespace quorate

template <>
struct fmt::formatter<quorate::TxnId> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const quorate::TxnId& id, Context& ctx) const {
    return fmt::formatter<std::string>::format(id.ToString(), ctx);
  }
};
