#include "txn/table_key.h"

#include <fmt/format.h>

#include <bit>

#include "base/bytes.h"

namespace quorate {
namespace {

constexpr size_t kIdBytesMax = sizeof(uint32_t);

}  // namespace

void PutTableId(std::string* out, uint32_t id) {
  const size_t size = (static_cast<size_t>(std::bit_width(id)) + 7) / 8;
  out->push_back(static_cast<char>(size));
  for (size_t i = size; i-- > 0;) out->push_back(static_cast<char>(id >> (8 * i)));
}

bool GetTableId(std::string_view* input, uint32_t* id) {
  if (input->empty()) return false;
  const auto size = static_cast<size_t>(static_cast<uint8_t>(input->front()));
  if (size > kIdBytesMax || input->size() < 1 + size) return false;
  if (size > 0 && (*input)[1] == '\0') return false;  // fewer bytes would do
  *id = 0;
  for (size_t i = 1; i <= size; ++i) *id = *id << 8 | static_cast<uint8_t>((*input)[i]);
  input->remove_prefix(1 + size);
  return true;
}

Status CheckRawWrite(std::string_view key, WriteKind kind) {
  if (!IsTableKey(key)) return Status::Ok();
  if (kind == WriteKind::kDeletion && !TableIdOf(key)) return Status::Ok();
  return InvalidArgument(
      fmt::format("key \"{}\" is of a table: rows are written through it (quorate table, "
                  "client/table.h); keys of others must not begin with the bytes ff 74 62 6c",
                  Printable(key)));
}

std::optional<uint32_t> TableIdOf(std::string_view key) {
  if (!IsTableKey(key)) return std::nullopt;
  key.remove_prefix(kTablePrefix.size());
  uint32_t id = 0;
  if (!GetTableId(&key, &id) || id == 0) return std::nullopt;
  return id;
}

}  // namespace quorate
