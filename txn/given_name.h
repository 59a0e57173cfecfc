// GivenName: what a caller calls a transaction, so that it may send it as often as it likes and ask
// about it later (docs/transactions.md, section 8). 16 bytes that carry a time, as UUIDv7 lays them
// out: 48 bits of Unix milliseconds, version 7, variant 10, 74 free bits. The time says when
// nothing can be said about the name any more, whoever is asked.
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

namespace quorate {

class GivenName {
 public:
  static constexpr size_t kBytes = 16;
  GivenName() = default;  // none

  static GivenName Make(uint64_t unix_ms, Random& random) {
    GivenName name;
    const uint64_t words[2] = {random.Next(), random.Next()};
    std::memcpy(name.bytes_.data(), words, kBytes);
    for (int i = 0; i < 6; ++i) name.bytes_[i] = static_cast<char>(unix_ms >> (40 - 8 * i));
    name.bytes_[6] = static_cast<char>((name.bytes_[6] & 0x0f) | 0x70);
    name.bytes_[8] = static_cast<char>((name.bytes_[8] & 0x3f) | 0x80);
    return name;
  }
  // nullopt unless it is laid out as above.
  static std::optional<GivenName> FromBytes(std::string_view bytes) {
    if (bytes.size() != kBytes || (bytes[6] & 0xf0) != 0x70 ||
        (static_cast<unsigned char>(bytes[8]) & 0xc0) != 0x80) {
      return std::nullopt;
    }
    GivenName name;
    std::memcpy(name.bytes_.data(), bytes.data(), kBytes);
    return name;
  }

  // Empty for none: that is how the wire and the records leave it out.
  std::string_view bytes() const {
    return given() ? std::string_view(bytes_.data(), kBytes) : std::string_view();
  }
  bool given() const { return bytes_[6] != 0; }
  uint64_t unix_ms() const {
    uint64_t ms = 0;
    for (int i = 0; i < 6; ++i) ms = ms << 8 | static_cast<unsigned char>(bytes_[i]);
    return ms;
  }
  std::string ToString() const { return ToHex(bytes()); }

  // In the order of their times.
  friend std::strong_ordering operator<=>(const GivenName& a, const GivenName& b) {
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), kBytes) <=> 0;
  }
  friend bool operator==(const GivenName& a, const GivenName& b) {
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), kBytes) == 0;
  }

 private:
  std::array<char, kBytes> bytes_{};
};

}  // namespace quorate

template <>
struct fmt::formatter<quorate::GivenName> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const quorate::GivenName& name, Context& ctx) const {
    return fmt::formatter<std::string>::format(name.ToString(), ctx);
  }
};
