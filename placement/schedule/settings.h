// Settings of the schedulers: each has a name, a range and a sentence. They are adjusted at run
// time
// (`quorate settings`), one at a time, as text: "placement.down_after" = "60s".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace quorate::placement {

enum class Scheduler : uint8_t {
  kRepair,
  kRules,
  kDrain,
  kSplit,
  kMerge,
  kBalanceReplicas,
  kBalanceLeaders
};
inline constexpr size_t kSchedulers = 7;
std::string_view SchedulerName(Scheduler scheduler);  // "repair", "balance-replicas"

struct Settings {
  uint32_t replication_factor = 3;
  Duration down_after = std::chrono::seconds(60);
  uint64_t split_bytes = 96 << 20;
  uint64_t split_requests = 2000;  // per second
  // Neighbours that have less together are merged; never more than a quarter of split_bytes.
  uint64_t merge_bytes = 1 << 20;
  uint32_t shards_min = 64;                             // so many shards are not merged any further
  uint32_t operators = 2048;                            // under way at once, in all
  uint32_t operators_per_node = 32;                     // that a node has a part in
  uint32_t snapshots_per_node = 4;                      // that a node receives, and that it sends
  Duration learner_timeout = std::chrono::minutes(10);  // to catch up; then another node is chosen
  Duration step_timeout = std::chrono::seconds(60);     // of any other step
  uint32_t balance_tolerance_percent = 5;  // of the mean; what is within it stays where it is
  uint32_t paused = 0;                     // bit of each Scheduler
  bool merges_open = true;                 // the cluster version allows them; nobody sets it

  bool Paused(Scheduler scheduler) const {
    const bool closed = scheduler == Scheduler::kMerge && !merges_open;
    return closed || ((paused >> static_cast<int>(scheduler)) & 1);
  }

  // INVALID_ARGUMENT names the setting, what was given and the range; nothing is changed then.
  Status Set(std::string_view name, std::string_view value);
  // "NAME=VALUE".
  Status Set(std::string_view assignment);
  // As Set takes it; INVALID_ARGUMENT lists the names there are.
  Result<std::string> Get(std::string_view name) const;

  friend bool operator==(const Settings&, const Settings&) = default;
};

struct SettingInfo {
  std::string name;
  std::string value;
  std::string default_value;
  std::string range;  // "1 to 7"
  std::string help;   // one sentence
};
// All, in the order of their names.
std::vector<SettingInfo> Describe(const Settings& settings);

}  // namespace quorate::placement
