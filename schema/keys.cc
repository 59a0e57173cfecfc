#include "schema/keys.h"

#include <bit>

#include "base/bytes.h"

namespace quorate::schema {
namespace {

constexpr size_t kIdBytesMax = sizeof(uint32_t);

void PutId(std::string* out, uint32_t id) {
  const size_t size = (static_cast<size_t>(std::bit_width(id)) + 7) / 8;
  out->push_back(static_cast<char>(size));
  for (size_t i = size; i-- > 0;) out->push_back(static_cast<char>(id >> (8 * i)));
}

bool GetId(std::string_view* input, uint32_t* id) {
  if (input->empty()) return false;
  const auto size = static_cast<size_t>(static_cast<uint8_t>(input->front()));
  if (size > kIdBytesMax || input->size() < 1 + size) return false;
  if (size > 0 && (*input)[1] == '\0') return false;  // fewer bytes would do
  *id = 0;
  for (size_t i = 1; i <= size; ++i) *id = *id << 8 | static_cast<uint8_t>((*input)[i]);
  input->remove_prefix(1 + size);
  return true;
}

Span SpanOfPrefix(std::string prefix) {
  std::string end = PrefixEnd(prefix);
  return {std::move(prefix), std::move(end)};
}

}  // namespace

Span TablesSpan() { return SpanOfPrefix(std::string(kTablePrefix)); }

std::string TablePrefix(uint32_t table_id) {
  std::string prefix(kTablePrefix);
  PutId(&prefix, table_id);
  return prefix;
}

std::string IndexPrefix(uint32_t table_id, uint32_t index_id) {
  std::string prefix = TablePrefix(table_id);
  PutId(&prefix, index_id);
  return prefix;
}

Span TableSpan(uint32_t table_id) { return SpanOfPrefix(TablePrefix(table_id)); }
Span IndexSpan(uint32_t table_id, uint32_t index_id) {
  return SpanOfPrefix(IndexPrefix(table_id, index_id));
}

bool ParseTableKey(std::string_view key, TableKey* parsed) {
  if (!IsTableKey(key)) return false;
  key.remove_prefix(kTablePrefix.size());
  if (!GetId(&key, &parsed->table_id) || !GetId(&key, &parsed->index_id)) return false;
  parsed->tuple = key;
  return true;
}

}  // namespace quorate::schema
