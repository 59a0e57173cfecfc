#include "client/write_buffer.h"

#include <algorithm>

#include "txn/txn_size.h"

namespace quorate::client {
namespace {

std::string_view Bytes(const WriteBuffer::Value& value) {
  return value.has_value() ? std::string_view(*value) : std::string_view();
}

}  // namespace

void WriteBuffer::Set(std::string key, Value value) {
  const auto [it, added] = writes_.try_emplace(std::move(key));
  if (!added) bytes_ -= TxnSize::OfWrite(it->first, Bytes(it->second));
  it->second = std::move(value);
  bytes_ += TxnSize::OfWrite(it->first, Bytes(it->second));
}

const WriteBuffer::Value* WriteBuffer::Find(std::string_view key) const {
  if (writes_.empty()) return nullptr;
  const auto it = writes_.find(std::string(key));
  return it == writes_.end() ? nullptr : &it->second;
}

size_t WriteBuffer::BytesOf(std::string_view key) const {
  const Value* value = Find(key);
  return value == nullptr ? 0 : TxnSize::OfWrite(key, Bytes(*value));
}

size_t WriteBuffer::BytesWith(std::string_view key, const Value& value) const {
  return bytes_ - BytesOf(key) + TxnSize::OfWrite(key, Bytes(value));
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
  const size_t bytes = TxnSize::OfRead(span.from, span.to);
  if (spans_.insert(std::move(span)).second) bytes_ += bytes;
}

}  // namespace quorate::client
