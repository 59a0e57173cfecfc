// TxnSize: what a transaction counts for against its limits. The client, the coordinator and the
// participants all count with it: what one lets pass, none refuses.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "txn/key_span.h"

namespace quorate {

class TxnSize {
 public:
  // Bytes that a key with its value (empty for a deletion) counts for, and a range that was read,
  // both its ends as they are sent. A single key is such a range.
  static size_t OfWrite(std::string_view key, std::string_view value) {
    return key.size() + value.size();
  }
  static size_t OfRead(std::string_view from, std::string_view to) {
    return from.size() + to.size();
  }

  void AddWrite(std::string_view key, std::string_view value) { Add(OfWrite(key, value)); }
  void AddRead(std::string_view from, std::string_view to) {
    Add(OfRead(from, to));
    ranges_ += IsSingleKey(from, to) ? 0 : 1;
  }
  // INVALID_ARGUMENT that names the limit, or OK.
  Status Check() const;

 private:
  void Add(size_t bytes) {
    bytes_ += bytes;
    ++keys_;
  }
  size_t bytes_ = 0;
  size_t keys_ = 0;
  size_t ranges_ = 0;
};

}  // namespace quorate
