// WriteBuffer: what a transaction has written so far, in key order. ReadSet: what it has read.
// Pure; the limits of a transaction are checked before anything is added.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "client/transaction.h"
#include "txn/key_span.h"

namespace quorate::client {

class WriteBuffer {
 public:
  // nullopt: deletion.
  using Value = std::optional<std::string>;
  using Map = absl::btree_map<std::string, Value>;

  void Set(std::string key, Value value);
  // nullptr: not written.
  const Value* Find(std::string_view key) const;
  // What `key` adds to bytes(); 0 if it is not written.
  size_t BytesOf(std::string_view key) const;
  // bytes() after Set.
  size_t BytesWith(std::string_view key, const Value& value) const;
  bool Adds(std::string_view key) const { return Find(key) == nullptr; }
  size_t DeletionsIn(const Span& span) const;
  // `stored`: rows of `span` in key order (descending if `reverse`), as stored. The rows as this
  // transaction sees them, in the same order.
  std::vector<Row> Overlay(std::vector<Row> stored, const Span& span, bool reverse) const;

  const Map& writes() const { return writes_; }
  bool empty() const { return writes_.empty(); }
  size_t keys() const { return writes_.size(); }
  size_t bytes() const { return bytes_; }  // as TxnSize counts them

 private:
  Map writes_;
  size_t bytes_ = 0;
};

class ReadSet {
 public:
  void Add(Span span);
  bool Has(const Span& span) const { return spans_.contains(span); }
  const absl::btree_set<Span>& spans() const { return spans_; }
  bool empty() const { return spans_.empty(); }
  size_t size() const { return spans_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  absl::btree_set<Span> spans_;
  size_t bytes_ = 0;
};

}  // namespace quorate::client
