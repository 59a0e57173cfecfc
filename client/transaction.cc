#include "client/transaction.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/bytes.h"
#include "base/coding.h"
#include "base/crc32c.h"

namespace quorate::client {

TxnHandle TxnHandle::OfName(const GivenName& name, std::string key) {
  return {TxnId::FromBytes(name.bytes()).value_or(TxnId()), Timestamp(), std::move(key)};
}

uint32_t TxnHandle::Check() const {
  std::string fields(txn_id.bytes());
  PutFixed64(&fields, start_ts.bits());
  return Crc32c(fields + anchor_key);
}

std::string TxnHandle::ToString() const {
  return fmt::format("{}:{}:{}:{:08x}", txn_id.ToString(), start_ts.bits(), ToHex(anchor_key),
                     Check());
}

Result<TxnHandle> TxnHandle::Parse(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t colon = std::min(text.find(':', at), text.size());
    parts.push_back(text.substr(at, colon - at));
    at = colon + 1;
  }
  const auto malformed = [text] {
    return InvalidArgument(fmt::format(
        "'{}' is not a transaction id as it was printed: four parts with colons between", text));
  };
  if (parts.size() != 4) return malformed();
  std::string id_bytes;
  TxnHandle handle;
  uint64_t start = 0;
  const std::string_view number = parts[1];
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), start);
  const bool whole = FromHex(parts[0], &id_bytes) && FromHex(parts[2], &handle.anchor_key) &&
                     !handle.anchor_key.empty() && error == std::errc() &&
                     end == number.data() + number.size();
  const auto id = TxnId::FromBytes(id_bytes);
  if (!whole || !id) return malformed();
  handle.txn_id = *id;
  handle.start_ts = Timestamp(start);
  if (parts[3] != fmt::format("{:08x}", handle.Check())) {
    return InvalidArgument(
        fmt::format("'{}' is not the transaction id that was printed: its last part, a check over "
                    "the others, does not fit; copy it once more",
                    text));
  }
  return handle;
}

}  // namespace quorate::client
