// A log per group in the plainest form: what wal.h promises, without segments.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "storage/wal.h"

namespace quorate::storage {

class WalModel {
 public:
  struct Group {
    uint64_t incarnation = 0;
    WalHardState hard_state;
    WalMark mark;
    std::map<uint64_t, WalEntry> entries;
  };

  void Apply(const WalRecord& record) {
    if (record.destroy) {
      groups_.erase(record.group);
      return;
    }
    Group& group = groups_[record.group];
    if (record.incarnation > group.incarnation) group = Group{.incarnation = record.incarnation};
    if (record.hard_state) group.hard_state = *record.hard_state;
    if (record.reset) {
      group.entries.clear();
      group.mark = *record.mark;
    }
    if (!record.entries.empty()) {
      group.entries.erase(group.entries.lower_bound(record.entries.front().index),
                          group.entries.end());
      for (const WalEntry& entry : record.entries) group.entries[entry.index] = entry;
    }
    if (record.mark && record.mark->index >= group.mark.index) group.mark = *record.mark;
    group.entries.erase(group.entries.begin(), group.entries.upper_bound(group.mark.index));
  }

  // Something that a Raft group could write next.
  WalRecord Draw(Random& random, uint64_t group_count, size_t payload_max) const {
    WalRecord record;
    record.group = GroupId(1 + random.Below(group_count));
    const auto it = groups_.find(record.group);
    Group group = it == groups_.end() ? Group{} : it->second;
    record.incarnation = group.incarnation;
    if (it == groups_.end()) record.incarnation = 1 + random.Below(3);
    if (it != groups_.end() && random.Chance(0.01)) {
      record.destroy = true;
      return record;
    }
    if (it != groups_.end() && random.Chance(0.01)) {
      ++record.incarnation;
      group = Group{};
    }
    uint64_t last = group.entries.empty() ? group.mark.index : group.entries.rbegin()->first;
    if (random.Chance(0.4)) {
      record.hard_state = {group.hard_state.term + random.Below(2), random.Below(4), last};
    }
    if (random.Chance(0.03)) {
      record.reset = true;
      record.mark = {last + random.Below(20), group.hard_state.term};
      last = record.mark->index;
      group.mark = *record.mark;
    } else if (random.Chance(0.3)) {
      record.mark = {group.mark.index + random.Below(last - group.mark.index + 1), 7};
    }
    if (random.Chance(0.8)) {
      // Now and then a new leader's entries take the place of a few.
      const uint64_t back = random.Chance(0.1) ? random.Below(last - group.mark.index + 1) : 0;
      uint64_t index = last + 1 - back;
      if (record.mark) index = std::max(index, record.mark->index + 1);
      for (uint64_t n = 1 + random.Below(3); n > 0; --n, ++index) {
        record.entries.push_back(
            {index, group.hard_state.term, static_cast<uint8_t>(n),
             std::string(random.Below(payload_max + 1), static_cast<char>(random.Below(256)))});
      }
    }
    return record;
  }

  const std::map<GroupId, Group>& groups() const { return groups_; }

  static bool Same(const Group& a, const WalGroup& b) {
    if (a.incarnation != b.incarnation || a.hard_state != b.hard_state || a.mark != b.mark ||
        a.entries.size() != b.entries.size()) {
      return false;
    }
    size_t i = 0;
    for (const auto& [index, entry] : a.entries) {
      if (entry != b.entries[i++]) return false;
    }
    return true;
  }
  bool Same(const std::map<GroupId, WalGroup>& recovered) const {
    if (recovered.size() != groups_.size()) return false;
    for (const auto& [id, group] : groups_) {
      const auto it = recovered.find(id);
      if (it == recovered.end() || !Same(group, it->second)) return false;
    }
    return true;
  }

 private:
  std::map<GroupId, Group> groups_;
};

}  // namespace quorate::storage
