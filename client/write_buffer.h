// WriteBuffer: what a transaction has written so far, in key order. ReadSet: what it has read.
// Pure; the limits of a transaction are checked before anything is added.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/functional/function_ref.h>

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
  // Tells each key, in order, with its value, which is handed over; it reads as a deletion then.
  void TakeValues(absl::FunctionRef<void(const std::string& key, Value value)> take);
  bool empty() const { return writes_.empty(); }
  size_t keys() const { return writes_.size(); }
  size_t bytes() const { return bytes_; }  // as TxnSize counts them

 private:
  Map writes_;
  size_t bytes_ = 0;
};

// Disjoint spans: a range takes in what it overlaps, and ranges that touch are one, so that who
// reads on where the last page ended has read one range.
class ReadSet {
 public:
  // As TxnSize counts it.
  struct Size {
    size_t bytes = 0;
    size_t spans = 0;   // keys and ranges
    size_t ranges = 0;  // of them, those that are no single keys
    friend bool operator==(const Size&, const Size&) = default;
  };

  void Add(const Span& span);
  // size() after Add.
  Size SizeWith(const Span& span) const;
  bool Has(const Span& span) const;
  std::vector<Span> spans() const;  // in order
  bool empty() const { return ends_.empty(); }
  const Size& size() const { return size_; }

 private:
  using Ends = absl::btree_map<std::string, std::string>;  // by start
  struct Union {
    Ends::const_iterator first, last;  // what is united with the new span
    Span joined;
    Size size;  // of all
  };
  Union UnionWith(const Span& span) const;

  Ends ends_;
  Size size_;
};

}  // namespace quorate::client
