#include "schema/keys.h"

#include "base/bytes.h"

namespace quorate::schema {
namespace {

Span SpanOfPrefix(std::string prefix) {
  std::string end = PrefixEnd(prefix);
  return {std::move(prefix), std::move(end)};
}

}  // namespace

Span TablesSpan() { return SpanOfPrefix(std::string(kTablePrefix)); }

std::string TablePrefix(uint32_t table_id) {
  std::string prefix(kTablePrefix);
  PutTableId(&prefix, table_id);
  return prefix;
}

std::string IndexPrefix(uint32_t table_id, uint32_t index_id) {
  std::string prefix = TablePrefix(table_id);
  PutTableId(&prefix, index_id);
  return prefix;
}

Span TableSpan(uint32_t table_id) { return SpanOfPrefix(TablePrefix(table_id)); }
Span IndexSpan(uint32_t table_id, uint32_t index_id) {
  return SpanOfPrefix(IndexPrefix(table_id, index_id));
}

bool ParseTableKey(std::string_view key, TableKey* parsed) {
  if (!IsTableKey(key)) return false;
  key.remove_prefix(kTablePrefix.size());
  if (!GetTableId(&key, &parsed->table_id) || !GetTableId(&key, &parsed->index_id)) return false;
  parsed->tuple = key;
  return true;
}

}  // namespace quorate::schema
