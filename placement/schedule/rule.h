// Rule: how replicas of the keys in one range are to stand: how many, on which nodes, and where
// their leaders are rather. Made by operators (`quorate rules`), logged by the placement group.
//
// Ranges of rules do not overlap. What no rule says is as the settings say
// (placement.replication_factor) and as far apart as nodes allow. A shard is under the rule of its
// first key; one that goes on behind the end of a rule, or into the next, is divided there
// (docs/decisions/0026), so that a rule holds for exactly its keys.
//
// Pure. Keys of ranges are at most limits::kKeyBytesMax bytes; labels are printable ASCII.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace quorate::placement {

// Of a node: zone, rack, host, or whatever it was started with (--locality).
using Locality = std::map<std::string, std::string>;
// Names and values, ascending, none twice. A node fits if it has, for each name that is here, one
// of the values that are here for it: zone=a,zone=b,disk=ssd is (zone a or zone b) and disk ssd.
// None: every node fits.
using Labels = std::vector<std::pair<std::string, std::string>>;
bool Fits(const Labels& labels, const Locality& locality);
std::string ToString(const Labels& labels);  // "zone=a,zone=b"

struct Rule {
  static constexpr size_t kLabelsMax = 16;       // of each kind
  static constexpr size_t kLabelBytesMax = 512;  // of each kind: names and values together
  std::string from;                              // first key
  std::string to;         // the first one that is not in the range any more; empty: to the last key
  uint32_t replicas = 0;  // 0: as the settings say; else odd, at most kReplicationFactorMax
  Labels require;         // replicas are nowhere else
  Labels prefer;          // replicas are elsewhere only where these are too few
  Labels leaders;         // leaders are elsewhere only while no replica of theirs is there

  bool says_nothing() const {
    return replicas == 0 && require.empty() && prefer.empty() && leaders.empty();
  }
  friend bool operator==(const Rule&, const Rule&) = default;
};
// INVALID_ARGUMENT names the field, what was given and the bound.
Status CheckRule(const Rule& rule);
// "keys from 'a' to 'm'", "all keys".
std::string RangeOf(const Rule& rule);
// "5 replicas, only on zone=eu, leaders rather on zone=eu1".
std::string ToString(const Rule& rule);

class RuleSet {
 public:
  static constexpr size_t kRulesMax = 256;

  // Adds it, or puts it in place of the one that begins at the same key. INVALID_ARGUMENT: as
  // CheckRule, or it overlaps another, or there are kRulesMax; nothing is changed then.
  Status Put(Rule rule);
  Status CheckPut(const Rule& rule) const;
  // False: none begins there.
  bool Remove(std::string_view from);
  void Clear() { rules_.clear(); }

  // In the order of keys.
  const std::map<std::string, Rule, std::less<>>& rules() const { return rules_; }
  const Rule* Find(std::string_view from) const;
  // The number, from 1 on, of the one that `key` is under; 0: none.
  uint32_t NumberOf(std::string_view key) const;
  // The first key in (from, to) where a rule begins or ends; empty: none. `to` empty: to the last.
  std::string BorderIn(std::string_view from, std::string_view to) const;

  friend bool operator==(const RuleSet&, const RuleSet&) = default;

 private:
  std::map<std::string, Rule, std::less<>> rules_;
};

}  // namespace quorate::placement
