// Contention: who waits, who is wounded, who dies (docs/transactions.md, section 6). Pure functions
// of kinds and priorities; the lock table asks them for each holder and waiter in the way.
//
// No cycle: who holds prepared locks waits only for younger prepared ones and for ending ones, who
// holds none waits for prepared ones or for older ones; ending ones wait for nobody. The oldest
// never dies of a lock and is never passed.
#pragma once

#include <cstdint>

#include "txn/id.h"

namespace quorate {

enum class Asker : uint8_t {
  kAdvisory,         // get_for_update, or a retry that locks first
  kPrepareAtAnchor,  // its transaction holds no prepared lock yet
  kPrepareElsewhere,
};

enum class Holder : uint8_t {
  kAdvisory,
  kPrepared,  // evaluated or applied, its outcome may depend on others
  // Prepared, and its end depends on this shard's log alone: a one-phase commit in flight, or one
  // whose COMMITTED is known here. Waiting for it can close no cycle, so nobody dies of it.
  kEnding,
};

// In the order of their weight: of several conflicts the last one stands.
enum class Contention : uint8_t { kWound, kWait, kDie };

// An equal priority is an earlier attempt of the same transaction: one waits for what it prepared,
// and takes over its advisory locks, which nobody will use any more.
Contention AgainstHolder(Asker asker, const TxnPriority& priority, Holder holder,
                         const TxnPriority& holder_priority);
// Precondition: the waiter is older (nobody yields to a younger one).
Contention AgainstOlderWaiter(Asker asker);

}  // namespace quorate
