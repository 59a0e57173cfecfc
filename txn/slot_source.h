// SlotSource: where a component gets timestamp slots. Filled in by client/route/slots, which
// fetches them from the oracle in batches.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/status.h"
#include "base/task.h"
#include "txn/timestamp.h"

namespace quorate {

class SlotSource {
 public:
  virtual ~SlotSource() = default;
  // A slot whose fetch was sent after this call (T1: one fetch serves only those that asked before
  // it was sent). DEADLINE_EXCEEDED or UNAVAILABLE: no slot.
  virtual Task<Result<Timestamp>> Fetch(Duration timeout) = 0;
  // The newest slot seen so far; zero if none. Good as a bound, never as a start timestamp of
  // something that must see what was acknowledged before.
  virtual Timestamp newest() const = 0;
  // Not below the oracle's time now, as far as this node's clock goes as fast as the oracle's: by a
  // slot and the time since it was asked for. nullopt: none was fetched yet.
  virtual std::optional<uint64_t> UnixMillisAtMost() const = 0;
};

}  // namespace quorate
