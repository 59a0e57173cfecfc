#include "client/write_buffer.h"

#include <algorithm>
#include <iterator>

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

// ---- what was read ------------------------------------------------------------------------------

namespace {

void Count(const Span& span, ReadSet::Size* size) {
  size->bytes += TxnSize::OfRead(span.from, span.to);
  size->spans += 1;
  size->ranges += span.single() ? 0 : 1;
}

// Keys that touch stay keys: there may be many of them, and few ranges.
bool AreOne(const Span& a, const Span& b) {
  if (a.Overlaps(b)) return true;
  const bool touch = (!a.to.empty() && a.to == b.from) || (!b.to.empty() && b.to == a.from);
  return touch && !a.single() && !b.single();
}

}  // namespace

std::pair<ReadSet::Ends::const_iterator, ReadSet::Ends::const_iterator> ReadSet::Met(
    const Span& span) const {
  const auto meets = [&span](const auto& entry) {
    return AreOne({entry.first, entry.second}, span);
  };
  auto first = ends_.upper_bound(span.from);
  auto last = first;
  if (first != ends_.begin() && meets(*std::prev(first))) --first;
  while (last != ends_.end() && meets(*last)) ++last;
  return {first, last};
}

bool ReadSet::Has(const Span& span) const {
  const auto behind = ends_.upper_bound(span.from);
  if (behind == ends_.begin()) return false;
  const auto& [from, to] = *std::prev(behind);
  return Span{from, to}.Contains(span);
}

ReadSet::Size ReadSet::SizeWith(const Span& span) const {
  if (Has(span)) return size_;
  Size gone;
  Span joined = span;
  const auto [first, last] = Met(span);
  for (auto it = first; it != last; ++it) {
    const Span met{it->first, it->second};
    joined = joined.Join(met);
    Count(met, &gone);
  }
  Size size = size_;
  Count(joined, &size);
  return {size.bytes - gone.bytes, size.spans - gone.spans, size.ranges - gone.ranges};
}

void ReadSet::Add(Span span) {
  if (Has(span)) return;
  size_ = SizeWith(span);
  const auto [first, last] = Met(span);
  for (auto it = first; it != last; ++it) span = span.Join({it->first, it->second});
  ends_.erase(first, last);
  ends_.insert_or_assign(std::move(span.from), std::move(span.to));
}

std::vector<Span> ReadSet::spans() const {
  std::vector<Span> spans;
  spans.reserve(ends_.size());
  for (const auto& [from, to] : ends_) spans.push_back({from, to});
  return spans;
}

}  // namespace quorate::client
