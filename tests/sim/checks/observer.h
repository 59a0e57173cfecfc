// Observer: who watches a run from inside the simulated machines. Told of facts in the moment in
// which they become so; changes nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quorate::sim {

class Observer {
 public:
  virtual ~Observer() = default;
  // A completed sync has made these bytes, at `offset` of one of `node`'s files, durable.
  virtual void OnDurable(const std::string& node, uint64_t offset, std::string_view bytes) = 0;
  // These bytes are still there after a power loss or on another disk, synced or not.
  virtual void OnSurvived(const std::string& node, uint64_t offset, std::string_view bytes) {}
  // `node` comes up with another disk than it had.
  virtual void OnDiskReplaced(const std::string& node) {}
  // A node answers that a transaction is committed.
  virtual void OnCommitted(const std::string& txn_id) = 0;
};

}  // namespace quorate::sim
