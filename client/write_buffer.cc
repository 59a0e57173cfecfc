#include "client/write_buffer.h"

#include <algorithm>

namespace quorate::client {

void WriteBuffer::Set(std::string key, Value value) {
  const size_t value_bytes = value.has_value() ? value->size() : 0;
  const auto [it, added] = writes_.try_emplace(std::move(key));
  if (added) {
    bytes_ += it->first.size();
  } else {
    bytes_ -= it->second.has_value() ? it->second->size() : 0;
  }
  bytes_ += value_bytes;
  it->second = std::move(value);
}

const WriteBuffer::Value* WriteBuffer::Find(std::string_view key) const {
  if (writes_.empty()) return nullptr;
  const auto it = writes_.find(std::string(key));
  return it == writes_.end() ? nullptr : &it->second;
}

size_t WriteBuffer::GrowthOf(std::string_view key, const Value& value) const {
  const size_t value_bytes = value.has_value() ? value->size() : 0;
  return (Adds(key) ? key.size() : 0) + value_bytes;
}

size_t WriteBuffer::DeletionsIn(const Span& span) const {
  size_t n = 0;
  for (auto it = writes_.lower_bound(span.from); it != writes_.end() && span.Contains(it->first);
       ++it) {
    n += it->second.has_value() ? 0 : 1;
  }
  return n;
}

std::vector<Row> WriteBuffer::Overlay(std::vector<Row> stored, const Span& span,
                                      bool reverse) const {
  const auto first = writes_.lower_bound(span.from);
  if (first == writes_.end() || !span.Contains(first->first)) return stored;
  if (reverse) std::reverse(stored.begin(), stored.end());
  std::vector<Row> seen;
  seen.reserve(stored.size());
  auto write = first;
  const auto take_write = [&] {
    if (write->second.has_value()) seen.push_back({write->first, *write->second});
    ++write;
  };
  for (Row& row : stored) {
    while (write != writes_.end() && write->first < row.key) take_write();
    if (write != writes_.end() && write->first == row.key) {
      take_write();
    } else {
      seen.push_back(std::move(row));
    }
  }
  while (write != writes_.end() && span.Contains(write->first)) take_write();
  if (reverse) std::reverse(seen.begin(), seen.end());
  return seen;
}

void ReadSet::Add(Span span) {
  const size_t bytes = span.from.size() + (span.single() ? 0 : span.to.size());
  if (spans_.insert(std::move(span)).second) bytes_ += bytes;
}

}  // namespace quorate::client
