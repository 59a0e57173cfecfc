// WeakDatabase: a small database in memory that is right, or wrong in one chosen way, so that tests
// can show that a workload notices.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/database.h"
#include "tests/sim/world.h"

namespace quorate::sim {

enum class Weakness : uint8_t {
  kNone,            // strictly serializable
  kNoValidation,    // commits whatever happened to what was read: lost updates, skew, phantoms
  kTorn,            // a commit becomes visible in two steps
  kForgets,         // some acknowledged commits never happen
  kStale,           // snapshots from the past
  kTwoSides,        // odd clients see some keys late, even clients others
  kBlindToOwn,      // a transaction does not see its own writes
  kMovingSnapshot,  // each read sees the newest
  kLies,            // answers the opposite about outcomes
  kNoLimits,        // accepts any key and value
};

// What all clients share.
class WeakStore {
 public:
  WeakStore(World& world, Weakness weakness)
      : weakness(weakness), random_(world.Fork("weak")), world_(world) {}

  using Value = std::optional<std::string>;
  using Writes = std::map<std::string, Value>;

  Timestamp Tick() { return Timestamp::FromParts(1'000 + ++clock_, 0); }
  Timestamp Now() const { return Timestamp::FromParts(1'000 + clock_, 0); }
  Timestamp Back(uint64_t ticks) const {
    return Timestamp::FromParts(1'000 + clock_ - std::min(ticks, clock_), 0);
  }
  Value At(const std::string& key, Timestamp ts) const;
  bool ChangedSince(const std::string& from, const std::string& to, Timestamp ts) const;
  std::map<std::string, Value> Range(const std::string& from, const std::string& to,
                                     Timestamp ts) const;
  void Apply(const Writes& writes, Timestamp ts);

  const Weakness weakness;
  std::map<TxnId, bool> outcomes;  // committed?
  Random& random() { return random_; }
  World& world() { return world_; }

 private:
  Random random_;
  World& world_;
  uint64_t clock_ = 0;
  std::map<std::string, std::map<Timestamp, Value>> keys_;
};

std::unique_ptr<client::Database> MakeWeakDatabase(WeakStore& store, Executor& executor,
                                                   int client);

}  // namespace quorate::sim
