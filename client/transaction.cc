#include "client/transaction.h"

#include <charconv>

#include "base/bytes.h"

namespace quorate::client {

TxnHandle TxnHandle::OfName(const GivenName& name, std::string key) {
  return {TxnId::FromBytes(name.bytes()).value_or(TxnId()), Timestamp(), std::move(key)};
}

std::string TxnHandle::ToString() const {
  return fmt::format("{}:{}:{}", txn_id.ToString(), start_ts.bits(), ToHex(anchor_key));
}

std::optional<TxnHandle> TxnHandle::Parse(std::string_view text) {
  const size_t first = text.find(':');
  if (first == std::string_view::npos) return std::nullopt;
  const size_t second = text.find(':', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  std::string id_bytes;
  if (!FromHex(text.substr(0, first), &id_bytes)) return std::nullopt;
  const auto id = TxnId::FromBytes(id_bytes);
  const std::string_view number = text.substr(first + 1, second - first - 1);
  uint64_t bits = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bits);
  if (!id.has_value() || error != std::errc() || end != number.data() + number.size()) {
    return std::nullopt;
  }
  TxnHandle handle{*id, Timestamp(bits), {}};
  if (!FromHex(text.substr(second + 1), &handle.anchor_key)) return std::nullopt;
  if (handle.anchor_key.empty()) return std::nullopt;
  return handle;
}

}  // namespace quorate::client
