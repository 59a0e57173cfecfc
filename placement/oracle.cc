#include "placement/oracle.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"

namespace quorate::placement {

namespace {

constexpr int64_t kAheadMs = limits::kTsoCeilingAhead / 1ms;
constexpr int64_t kRenewBelowMs = kAheadMs / 2;
// Room for a million slots when the oracle runs ahead of the wall clock.
constexpr int64_t kAheadOfLastMs = 250;
// Slots that are ahead of the wall clock advance at 1 / kAheadPace of the boot clock.
constexpr int64_t kAheadPace = 4;
constexpr int64_t kJumpMaxMs = limits::kTsoJumpMax / 1ms;

Timestamp AtMillis(int64_t ms) {
  const uint64_t physical = ms < 0 ? 0 : static_cast<uint64_t>(ms);
  return Timestamp::FromParts(std::min(physical, Timestamp::kPhysicalMax), 0);
}

}  // namespace

int64_t WallGuard::Read(int64_t wall_ms, Instant boot) {
  if (!started_) Adopt(wall_ms, boot);
  const int64_t expected = base_wall_ms_ + ToMillis(boot - base_boot_);
  if (wall_ms > expected + kJumpMaxMs) {
    ++refused_;
    return expected;
  }
  // Going back does not move the base: coming home from it is then not taken for a jump.
  if (wall_ms > expected) Adopt(wall_ms, boot);
  return wall_ms;
}

void WallGuard::Adopt(int64_t wall_ms, Instant boot) {
  started_ = true;
  base_wall_ms_ = wall_ms;
  base_boot_ = boot;
}

void Oracle::BeginTerm(Timestamp ceiling) {
  active_ = true;
  ceiling_ = std::max(ceiling_, ceiling);
  // A slot equal to the logged ceiling was never issued, but neither is it now.
  if (!MUTANT("tso-starts-at-wall-clock")) last_ = std::max(last_, ceiling_);
  ahead_.reset();
}

void Oracle::EndTerm() { active_ = false; }

void Oracle::RaiseCeiling(Timestamp ceiling) { ceiling_ = std::max(ceiling_, ceiling); }

Timestamp Oracle::Candidate(int64_t now_ms, Instant boot) const {
  if (MUTANT("tso-follows-clock-back")) return AtMillis(now_ms);
  int64_t at = now_ms;
  if (ahead_) {
    at = std::max(at, static_cast<int64_t>(ahead_->physical_ms) +
                          ToMillis(boot - ahead_->since) / kAheadPace);
  }
  return std::max(AtMillis(at), last_.NextSlot());
}

std::optional<Timestamp> Oracle::Next(int64_t now_ms, Instant boot) {
  if (!active_) return std::nullopt;
  if (AtMillis(now_ms).physical_ms() > last_.physical_ms()) {
    ahead_.reset();
  } else if (!ahead_) {
    ahead_ = Ahead{last_.physical_ms(), boot};
  }
  const Timestamp slot = Candidate(now_ms, boot);
  if (slot >= ceiling_) return std::nullopt;
  CHECK(slot > last_ && slot.is_slot(), "T2: slot {} after {}", slot, last_);
  last_ = issued_ = slot;
  return slot;
}

std::optional<Timestamp> Oracle::WantCeiling(int64_t now_ms, Instant boot) const {
  if (!active_) return std::nullopt;
  const Timestamp next = Candidate(now_ms, boot);
  // Ahead of the wall clock, a slot's physical part says little about how long the ceiling lasts.
  const bool ahead = next.physical_ms() > AtMillis(now_ms).physical_ms();
  const uint64_t margin = ahead ? kAheadOfLastMs / 2 : kRenewBelowMs;
  if (next.physical_ms() + margin < ceiling_.physical_ms()) return std::nullopt;
  const Timestamp target =
      std::max(AtMillis(now_ms + kAheadMs),
               AtMillis(static_cast<int64_t>(next.physical_ms()) + kAheadOfLastMs));
  if (target <= ceiling_) return std::nullopt;
  return target;
}

}  // namespace quorate::placement
