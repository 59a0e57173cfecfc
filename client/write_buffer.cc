#include "client/write_buffer.h"

#include <algorithm>
#include <iterator>
#include <utility>

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

void WriteBuffer::TakeValues(absl::FunctionRef<void(const std::string& key, Value value)> take) {
  for (auto& [key, value] : writes_) take(key, std::exchange(value, std::nullopt));
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

ReadSet::Union ReadSet::UnionWith(const Span& span) const {
  Union all{ends_.upper_bound(span.from), {}, span, {}};
  if (all.first != ends_.begin()) {
    const auto& [from, to] = *std::prev(all.first);
    if (AreOne({from, to}, span)) --all.first;
  }
  Size gone;
  for (all.last = all.first; all.last != ends_.end(); ++all.last) {
    const Span met{all.last->first, all.last->second};
    if (!AreOne(met, span)) break;
    all.joined = all.joined.Join(met);
    Count(met, &gone);
  }
  all.size = size_;
  Count(all.joined, &all.size);
  all.size = {all.size.bytes - gone.bytes, all.size.spans - gone.spans,
              all.size.ranges - gone.ranges};
  return all;
}

bool ReadSet::Has(const Span& span) const {
  const auto behind = ends_.upper_bound(span.from);
  if (behind == ends_.begin()) return false;
  const auto& [from, to] = *std::prev(behind);
  return Span{from, to}.Contains(span);
}

ReadSet::Size ReadSet::SizeWith(const Span& span) const {
  return Has(span) ? size_ : UnionWith(span).size;
}

void ReadSet::Add(const Span& span) {
  if (Has(span)) return;
  Union all = UnionWith(span);
  size_ = all.size;
  ends_.erase(all.first, all.last);
  ends_.emplace(std::move(all.joined.from), std::move(all.joined.to));
}

std::vector<Span> ReadSet::spans() const {
  std::vector<Span> spans;
  spans.reserve(ends_.size());
  for (const auto& [from, to] : ends_) spans.push_back({from, to});
  return spans;
}

}  // namespace quorate::client
