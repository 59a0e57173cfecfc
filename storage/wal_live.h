// What of the log is live: for each group its newest hard state, its mark and the entries above it,
// and in which segments they lie. Recovery builds it by applying the records in order; the running
// log keeps it up to date, so that it knows which segments nobody needs, and what of an old segment
// is to be copied forward.
//
// It knows where entries lie, not what is in them: the replica that wrote them has them in memory,
// and nobody else needs to. Only recovery keeps them, until they are taken.
//
// Runs. The live entries of a group are a list of runs, ascending and without overlap: entries
// [first, last], all in one segment, none in a record before `place`. An entry of a record at P is
// live if its run lies in P's segment and begins at P or before: where entries were replaced within
// a segment, a new run begins, behind the records whose entries are dead.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "storage/wal.h"
#include "storage/wal_format.h"

namespace quorate::storage {

class WalLive {
 public:
  struct Run {
    uint64_t first = 0;
    uint64_t last = 0;
    Place place;
    uint64_t bytes = 0;             // about what its entries take in the log
    std::vector<WalEntry> entries;  // while recovery keeps them
  };
  struct Group {
    uint64_t incarnation = 0;
    WalHardState hard_state;
    WalMark mark;
    bool damaged = false;
    uint32_t seq = 0;  // of its newest record
    Place newest;      // where that lies
    uint64_t hard_state_segment = 0;
    uint64_t mark_segment = 0;
    std::vector<Run> runs;
  };

  enum class Entries : uint8_t { kKept, kForgotten };
  explicit WalLive(Entries entries = Entries::kForgotten) : keep_(entries == Entries::kKept) {}

  // Applies a record that lies at `place`. Entries may leave a hole behind those that the group
  // has: recovery meets such when records were lost, or were copied to a later segment and the one
  // they came from was reused. Once all is applied, Contiguous tells.
  void Apply(WalRecord record, RecordFlags flags, uint32_t seq, Place place);
  // Whether `record` can follow what the group has, if the log is in order.
  static bool Fits(const Group& group, const WalRecord& record) {
    return record.incarnation >= group.incarnation;
  }
  // Without holes above the mark.
  static bool Contiguous(const Group& group);
  // Entries that do not follow the mark without a hole go.
  void DropUnconnected(GroupId group);
  // The entries that lie in `segment` go; whether there were any.
  bool ForgetRuns(GroupId group, uint64_t segment);
  // Whether entries from `first` on may be appended.
  static bool Connects(const Group& group, uint64_t first) { return first <= Last(group) + 1; }
  static uint64_t Last(const Group& group) {
    return group.runs.empty() ? group.mark.index : group.runs.back().last;
  }
  // Of the entries [first, last] of a record at `place`: those that are live there, as ranges.
  struct Range {
    uint64_t first;
    uint64_t last;
  };
  static std::vector<Range> LiveOf(const Group& group, uint64_t first, uint64_t last, Place place);

  // A record of everything but the entries, to be written as a copy.
  WalRecord Head(GroupId group) const;
  // All groups with their entries, which are not kept from here on.
  std::map<GroupId, WalGroup> Take();

  // Null if unknown.
  Group* Find(GroupId group);
  const Group* Find(GroupId group) const;
  // Made, with nothing, if unknown.
  Group& At(GroupId group);
  const std::map<GroupId, Group>& groups() const { return groups_; }

  // Segments in use, ascending; each with the number of live things in it.
  struct Needs {
    uint64_t heads = 0;  // hard states and marks
    uint64_t runs = 0;
    bool none() const { return heads == 0 && runs == 0; }
  };
  void AddSegment(uint64_t segment) { segments_.try_emplace(segment); }
  void RemoveSegmentsBelow(uint64_t segment);
  const std::map<uint64_t, Needs>& segments() const { return segments_; }

  uint64_t live_bytes() const { return live_bytes_; }

  // Records that make everything earlier of their group void.
  static bool IsBase(const WalRecord& record) { return record.reset && record.hard_state; }

 private:
  void Move(uint64_t* place, uint64_t segment);
  // The entries [first, last] go; whether there were any.
  bool Cut(Group* group, uint64_t first, uint64_t last);
  void Insert(Group* group, std::vector<WalEntry> entries, Place place, bool new_run);
  void Clear(Group* group);

  bool keep_;
  std::map<GroupId, Group> groups_;
  std::map<uint64_t, Needs> segments_;
  uint64_t live_bytes_ = 0;
};

}  // namespace quorate::storage
