#include "storage/wal_live.h"

#include <algorithm>

#include "base/check.h"

namespace quorate::storage {
namespace {

// About what an entry and a group's fixed part take in a record.
constexpr uint64_t kEntryOverhead = 16;
constexpr uint64_t kGroupOverhead = 64;

uint64_t Cost(const WalEntry& entry) { return entry.payload.size() + kEntryOverhead; }

}  // namespace

void WalLive::Move(uint64_t* place, uint64_t segment) {
  if (*place == segment) return;
  if (*place != 0) --segments_.at(*place);
  if (segment != 0) ++segments_.at(segment);
  *place = segment;
}

void WalLive::DropBehind(Group* group, uint64_t first_dropped) {
  std::vector<WalEntry>& entries = group->log.entries;
  while (!entries.empty() && entries.back().index >= first_dropped) {
    live_bytes_ -= Cost(entries.back());
    entries.pop_back();
  }
  while (!group->runs.empty() && group->runs.back().first_index >= first_dropped) {
    --segments_.at(group->runs.back().segment);
    group->runs.pop_back();
  }
}

void WalLive::DropThrough(Group* group, uint64_t last_dropped) {
  std::vector<WalEntry>& entries = group->log.entries;
  auto keep = entries.begin();
  for (; keep != entries.end() && keep->index <= last_dropped; ++keep) live_bytes_ -= Cost(*keep);
  entries.erase(entries.begin(), keep);
  if (entries.empty()) entries.shrink_to_fit();  // an idle group costs next to nothing

  auto& runs = group->runs;
  size_t dead = 0;
  while (dead < runs.size() &&
         (entries.empty() ||
          (dead + 1 < runs.size() && runs[dead + 1].first_index <= entries.front().index))) {
    --segments_.at(runs[dead++].segment);
  }
  runs.erase(runs.begin(), runs.begin() + static_cast<ptrdiff_t>(dead));
  if (!runs.empty()) runs.front().first_index = entries.front().index;
}

void WalLive::Clear(Group* group) {
  DropBehind(group, 0);
  Move(&group->hard_state_segment, 0);
  Move(&group->mark_segment, 0);
  group->log = WalGroup{};
}

void WalLive::Apply(WalRecord record, bool damaged, uint32_t seq, uint64_t segment) {
  if (record.destroy) {
    const auto it = groups_.find(record.group);
    if (it == groups_.end()) return;
    Clear(&it->second);
    live_bytes_ -= kGroupOverhead;
    groups_.erase(it);
    return;
  }
  const auto [it, fresh] = groups_.try_emplace(record.group);
  Group& group = it->second;
  if (fresh) live_bytes_ += kGroupOverhead;
  if (record.incarnation > group.log.incarnation) Clear(&group);
  group.log.incarnation = record.incarnation;
  group.seq = seq;
  if (IsBase(record)) group.log.damaged = false;
  if (damaged) group.log.damaged = true;

  if (record.hard_state) group.log.hard_state = *record.hard_state;
  // A group that has nothing yet is kept, too: that it exists.
  if (record.hard_state || group.hard_state_segment == 0) {
    Move(&group.hard_state_segment, segment);
  }
  if (record.reset) {
    CHECK(record.mark.has_value());
    DropBehind(&group, 0);
    group.log.mark = *record.mark;
    Move(&group.mark_segment, segment);
  }
  if (!record.entries.empty()) {
    const uint64_t first = record.entries.front().index;
    DropBehind(&group, Connects(group, first) ? first : 0);
    if (group.runs.empty() || group.runs.back().segment != segment) {
      group.runs.push_back({first, segment});
      ++segments_.at(segment);
    }
    for (WalEntry& entry : record.entries) {
      live_bytes_ += Cost(entry);
      group.log.entries.push_back(std::move(entry));
    }
  }
  if (record.mark && record.mark->index >= group.log.mark.index) {
    group.log.mark = *record.mark;
    Move(&group.mark_segment, segment);
  }
  DropThrough(&group, group.log.mark.index);
}

void WalLive::DropUnconnected(GroupId id) {
  Group& group = groups_.at(id);
  if (!Contiguous(group)) DropBehind(&group, 0);
}

WalRecord WalLive::Base(GroupId id) const {
  const WalGroup& log = groups_.at(id).log;
  WalRecord record;
  record.group = id;
  record.incarnation = log.incarnation;
  record.hard_state = log.hard_state;
  record.mark = log.mark;
  record.reset = true;
  record.entries = log.entries;
  return record;
}

WalLive::Group* WalLive::Find(GroupId group) {
  const auto it = groups_.find(group);
  return it == groups_.end() ? nullptr : &it->second;
}

void WalLive::RemoveSegmentsBelow(uint64_t segment) {
  const auto end = segments_.lower_bound(segment);
  for (auto it = segments_.begin(); it != end; ++it) {
    CHECK(it->second == 0, "WAL segment {} is still needed", it->first);
  }
  segments_.erase(segments_.begin(), end);
}

std::vector<GroupId> WalLive::GroupsIn(uint64_t segment) const {
  std::vector<GroupId> in;
  for (const auto& [id, group] : groups_) {
    if (group.hard_state_segment == segment || group.mark_segment == segment ||
        std::any_of(group.runs.begin(), group.runs.end(),
                    [&](const Group::Run& run) { return run.segment == segment; })) {
      in.push_back(id);
    }
  }
  return in;
}

}  // namespace quorate::storage
