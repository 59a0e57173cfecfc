// What of the log is live: for each group its newest hard state, its mark and the entries above it,
// and in which segments they lie. Recovery builds it by applying the records in order; the running
// log keeps it up to date, so that it knows which segments nobody needs.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "storage/wal.h"

namespace quorate::storage {

class WalLive {
 public:
  struct Group {
    WalGroup log;
    uint32_t seq = 0;  // of its newest record
    uint64_t hard_state_segment = 0;
    uint64_t mark_segment = 0;
    // Entries from first_index up to the next run's lie in `segment`; ascending in both.
    struct Run {
      uint64_t first_index;
      uint64_t segment;
    };
    std::vector<Run> runs;
  };

  // Applies a record that lies in `segment`. Entries that leave a hole behind those that the group
  // has replace them all: recovery meets such when records before were lost, and when it first sees
  // a group whose older segments were reused; once all is applied, Contiguous tells.
  void Apply(WalRecord record, bool damaged, uint32_t seq, uint64_t segment);
  static bool Contiguous(const Group& group) {
    return group.log.entries.empty() || group.log.entries.front().index == group.log.mark.index + 1;
  }
  // Entries that do not follow the mark go.
  void DropUnconnected(GroupId group);
  // Whether entries from `first` on may be appended.
  static bool Connects(const Group& group, uint64_t first) { return first <= Last(group) + 1; }
  // The whole state of a group as one record, behind which everything earlier is void.
  WalRecord Base(GroupId group) const;

  // Null if unknown.
  Group* Find(GroupId group);
  Group& At(GroupId group) { return groups_[group]; }
  const std::map<GroupId, Group>& groups() const { return groups_; }

  // Segments in use, ascending; each with the number of live things in it.
  void AddSegment(uint64_t segment) { segments_.try_emplace(segment, 0); }
  void RemoveSegmentsBelow(uint64_t segment);
  const std::map<uint64_t, uint64_t>& segments() const { return segments_; }
  // Groups with something live in `segment`.
  std::vector<GroupId> GroupsIn(uint64_t segment) const;

  uint64_t live_bytes() const { return live_bytes_; }

  // Records that make everything earlier of their group void.
  static bool IsBase(const WalRecord& record) { return record.reset && record.hard_state; }

 private:
  static uint64_t Last(const Group& group) {
    return group.log.entries.empty() ? group.log.mark.index : group.log.entries.back().index;
  }
  void Move(uint64_t* place, uint64_t segment);
  void DropBehind(Group* group, uint64_t first_dropped);
  void DropThrough(Group* group, uint64_t last_dropped);
  void Clear(Group* group);

  std::map<GroupId, Group> groups_;
  std::map<uint64_t, uint64_t> segments_;
  uint64_t live_bytes_ = 0;
};

}  // namespace quorate::storage
