// AdvisoryLocks: the locks that an attempt holds while it runs. They decide who goes first, never
// what is right: failing to get one, or losing one, costs nothing but progress.
//
// Held locks are renewed until the attempt ends; those that nobody renews run out at the leaders.
#pragma once

#include <absl/container/btree_set.h>

#include <optional>
#include <string>
#include <vector>

#include "client/core.h"

namespace quorate::client {

class AdvisoryLocks {
 public:
  // `core` outlives it.
  AdvisoryLocks(Core* core, TxnId txn_id);

  bool Holds(const std::string& key) const { return held_.contains(key); }
  // Waits for older holders. `priority` is that of the transaction.
  Task<void> Lock(std::vector<std::string> keys, TxnPriority priority, Instant deadline);
  // Renewals end here; the deadline of the last Lock unless told otherwise.
  void RenewUntil(Instant deadline) { renew_until_ = deadline; }
  // While nobody asks its transaction for anything; after a few seconds of that, those that others
  // wait for are lost.
  void SetIdle(bool idle);
  // Gives them up, in the background.
  void Release();

 private:
  Task<void> LockGroups(std::shared_ptr<const std::vector<std::string>> keys,
                        std::vector<std::vector<size_t>> groups, Instant deadline);
  Task<Status> LockGroup(std::vector<std::string> keys, Instant deadline);
  Task<void> Renew();

  Core* core_;
  const TxnId txn_id_;
  TxnPriority priority_;
  Instant renew_until_;
  absl::btree_set<std::string> asked_;  // may be held: renewed, and given up at the end
  absl::btree_set<std::string> held_;   // were granted
  bool renewing_ = false;
  std::optional<Instant> idle_since_;
  TaskScope scope_;
};

}  // namespace quorate::client
