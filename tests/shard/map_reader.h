// A store that is a map: for tests of what only reads and batches.
#pragma once

#include <map>
#include <string>

#include "storage/kv_store.h"

namespace quorate::testing {

class MapReader final : public storage::KvReader {
 public:
  Result<std::optional<std::string>> Get(std::string_view key) const override {
    const auto it = pairs_.find(key);
    if (it == pairs_.end()) return std::optional<std::string>();
    return std::optional<std::string>(it->second);
  }
  Status Scan(std::string_view from, std::string_view to,
              storage::ScanVisitor visit) const override {
    for (auto it = pairs_.lower_bound(from); it != pairs_.end(); ++it) {
      if (!to.empty() && !storage::KeyLess()(it->first, to)) break;
      if (!visit(it->first, it->second)) break;
    }
    return Status::Ok();
  }
  Status ScanBack(std::string_view from, std::string_view to,
                  storage::ScanVisitor visit) const override {
    auto it = to.empty() ? pairs_.end() : pairs_.lower_bound(to);
    while (it != pairs_.begin()) {
      --it;
      if (!from.empty() && storage::KeyLess()(it->first, from)) break;
      if (!visit(it->first, it->second)) break;
    }
    return Status::Ok();
  }
  void Apply(storage::WriteBatch batch) {
    for (auto& op : batch.ops) {
      if (op.value) {
        pairs_[op.key] = *std::move(op.value);
      } else {
        pairs_.erase(op.key);
      }
    }
  }
  const std::map<std::string, std::string, storage::KeyLess>& pairs() const { return pairs_; }

 private:
  std::map<std::string, std::string, storage::KeyLess> pairs_;
};

}  // namespace quorate::testing
