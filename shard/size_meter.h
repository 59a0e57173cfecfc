// SizeMeter: how many bytes a shard's leader keeps for users, and the key in the middle of them.
// Nobody counts bytes as they come and go; when much was written since the last time, the range is
// gone through once, some versions a turn. Between two measurements what was logged is added.
//
// Volatile and of one leadership. Executor's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "storage/kv_store.h"
#include "txn/key_span.h"

namespace quorate::shard {

class SizeMeter {
 public:
  // An entry of so many bytes was applied.
  void Wrote(size_t bytes) { written_ += bytes; }
  // So much was written that it is worth measuring.
  bool due() const;
  // Of keys and values of all versions, about; 0: not measured yet.
  uint64_t bytes() const { return measured_ ? *measured_ + written_ : 0; }
  // The key in the middle of the bytes, as of the last measurement: inside the range, behind its
  // first key. nullopt: there is none, or it was not measured yet.
  const std::optional<std::string>& middle() const { return middle_; }

  // Goes on measuring, over about `versions` of them. True: done. `span` is the same each time, or
  // Reset was called.
  bool Step(const storage::KvReader& store, const Span& span, size_t versions);
  // The range is another one.
  void Reset();

 private:
  void Finish(const Span& span);

  std::optional<uint64_t> measured_;
  uint64_t written_ = 0;  // since then, or since the start
  std::optional<std::string> middle_;
  bool hurry_ = false;  // due, whatever was written

  // Of the measurement under way.
  bool under_way_ = false;
  std::string next_;  // store key
  uint64_t sum_ = 0;
  uint64_t stride_ = 0;
  std::vector<std::pair<uint64_t, std::string>> samples_;  // bytes below the key, the key
};

}  // namespace quorate::shard
