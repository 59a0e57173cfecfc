// What a scan of LMDB has to verify before the cursor gets there (lmdb_check.h): LMDB looks into
// the next leaf when it leaves one, whichever way it goes.
#pragma once

#include <absl/functional/function_ref.h>

#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/status_macros.h"
#include "storage/kv_store.h"

namespace quorate::storage {

// Forwards: the leaf behind the current one is always verified as well.
class Ahead {
 public:
  // LmdbCheck::VerifyLeaf.
  using VerifyFn = absl::FunctionRef<Status(std::string_view key, std::string* end)>;

  Status Begin(std::string_view from, VerifyFn verify) {
    RETURN_IF_ERROR(verify(from, &current_));
    next_ = current_;
    return current_.empty() ? Status::Ok() : verify(current_, &next_);
  }
  Status At(std::string_view key, VerifyFn verify) {
    while (!current_.empty() && CompareKeys(key, current_) >= 0) {
      current_ = next_;
      if (!current_.empty()) RETURN_IF_ERROR(verify(current_, &next_));
    }
    return Status::Ok();
  }

 private:
  std::string current_;  // where the keys of the current leaf end; empty: it is the last
  std::string next_;     // likewise, of the one behind it
};

// Backwards: a parent's leaves at a time, and one before them.
class Behind {
 public:
  // LmdbCheck::VerifyAround, with the leaves beside.
  using VerifyFn = absl::FunctionRef<Status(std::string_view key, std::string* from)>;

  Status Begin(std::string_view to, VerifyFn verify) {
    // Above every key, for a scan from the end.
    const std::string last = MakeKey(std::string(limits::kLmdbKeyBytesMax - 2, '\xff'));
    return verify(to.empty() ? last : to, &from_);
  }
  Status At(std::string_view key, VerifyFn verify) {
    if (from_.empty() || CompareKeys(key, from_) >= 0) return Status::Ok();
    return verify(key, &from_);
  }

 private:
  std::string from_;  // where the keys under the parent begin; empty: it is the first
};

}  // namespace quorate::storage
