// Oracle: the timestamp oracle (TSO) as a pure machine. It issues slots: strictly increasing
// (physical, logical) pairs with sub = 0, out of memory, always below a ceiling that was logged
// through the placement group before.
//
//   T2  slots strictly increase over all nodes and elections. A term begins above the ceiling that
//       was logged before it, and every slot of an earlier term is below that ceiling. That no
//       earlier leader issues anything once a term has begun is the caller's part: it hands a slot
//       out only if its lease held, or its leadership was confirmed, after the slot was taken
//       (PL2).
//   T1  follows: a commit timestamp is in a slot that was issued before, plus sub bits.
//
// Two readings of time go in, and neither is trusted: the wall clock may jump, and what comes back
// from WallGuard only ever moves slots forward. One 64-bit word is the whole state (PL3).
//
// A wall clock that is behind the slots (it went back, or the slots were led by one that is ahead)
// does not make them stand still: their physical part goes on at a quarter of the boot clock's pace
// until the wall clock has caught up. Horizons and retentions are measured in slots, and a commit
// above all slots is told once they have passed it; counting alone would hold all that up for as
// long as the clock was set back by.
//
// Ceiling: max(now + 3 s, last slot + 250 ms), renewed when less than half of the 3 s is left. It
// is not last + 3 s, because each new term starts at the ceiling, and quick failovers would drive
// the slots ahead of the wall clock by 3 s each, past the horizon (DX11).
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/limits.h"
#include "txn/timestamp.h"

namespace quorate::placement {

// Decides how far a wall clock is followed. The wall clock is compared with the boot clock: going
// back is harmless (slots keep counting up); jumping ahead by more than kTsoJumpMax is refused, and
// the time goes on by the boot clock (`refused` counts, for a metric and a log line).
class WallGuard {
 public:
  // Milliseconds to use as now.
  int64_t Read(int64_t wall_ms, Instant boot);
  uint64_t refused() const { return refused_; }
  // A jump that others confirm is adopted: after a suspend of the whole cluster.
  void Adopt(int64_t wall_ms, Instant boot);

 private:
  bool started_ = false;
  int64_t base_wall_ms_ = 0;
  Instant base_boot_;
  uint64_t refused_ = 0;
};

class Oracle {
 public:
  // Starts issuing, above `ceiling`: the newest that is logged, all earlier terms' entries applied.
  // Nothing is issued before the first ceiling of this term is applied too.
  void BeginTerm(Timestamp ceiling);
  void EndTerm();
  bool active() const { return active_; }

  // A ceiling was applied; it never goes down.
  void RaiseCeiling(Timestamp ceiling);
  // The next slot at wall time `now_ms` and boot time `boot`; nullopt: not active, or the ceiling
  // must be raised first.
  std::optional<Timestamp> Next(int64_t now_ms, Instant boot);
  // The ceiling to log now, if it is time to.
  std::optional<Timestamp> WantCeiling(int64_t now_ms, Instant boot) const;

  // Where it stands: the newest slot, or the ceiling that the term began at.
  Timestamp last() const { return last_; }
  // The newest slot that Next gave, in any term; zero: none.
  Timestamp issued() const { return issued_; }
  Timestamp ceiling() const { return ceiling_; }

 private:
  // The slot that Next would give, ceiling aside.
  Timestamp Candidate(int64_t now_ms, Instant boot) const;

  // Where the slots stood when the wall clock was first seen not to be ahead of them.
  struct Ahead {
    uint64_t physical_ms;
    Instant since;
  };

  bool active_ = false;
  std::optional<Ahead> ahead_;
  Timestamp last_;
  Timestamp issued_;
  Timestamp ceiling_;  // slots stay below
};

}  // namespace quorate::placement
