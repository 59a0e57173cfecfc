#include "txn/conflict.h"

#include "base/check.h"

namespace quorate {

Contention AgainstHolder(Asker asker, const TxnPriority& priority, Holder holder,
                         const TxnPriority& holder_priority) {
  const bool holder_older = holder_priority < priority;
  switch (holder) {
    case Holder::kEnding:
      return Contention::kWait;
    case Holder::kAdvisory:
      if (!holder_older) return Contention::kWound;
      break;
    case Holder::kPrepared:
      if (!holder_older) return Contention::kWait;
      break;
  }
  switch (asker) {
    case Asker::kAdvisory:
    case Asker::kPrepareAtAnchor:
      return Contention::kWait;
    case Asker::kPrepareElsewhere:
      return Contention::kDie;
  }
  CHECK(false, "asker {}", static_cast<int>(asker));
}

Contention AgainstOlderWaiter(Asker asker) {
  return asker == Asker::kPrepareElsewhere ? Contention::kDie : Contention::kWait;
}

}  // namespace quorate
