#include "storage/wal_live.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace quorate::storage {
namespace {

// About what an entry and a group's fixed part take in a record.
constexpr uint64_t kEntryOverhead = 16;
constexpr uint64_t kGroupOverhead = 64;

uint64_t Cost(const std::vector<WalEntry>& entries) {
  uint64_t cost = 0;
  for (const WalEntry& entry : entries) cost += entry.payload.size() + kEntryOverhead;
  return cost;
}

uint64_t Count(const WalLive::Run& run) { return run.last - run.first + 1; }

// The part of `run` in [first, last], which is not empty. Entries are taken as equally large.
WalLive::Run Part(WalLive::Run* run, uint64_t first, uint64_t last) {
  WalLive::Run part{first, last, run->place, 0, {}};
  const auto share = static_cast<double>(Count(part)) / static_cast<double>(Count(*run));
  part.bytes = static_cast<uint64_t>(static_cast<double>(run->bytes) * share);
  if (!run->entries.empty()) {
    const auto begin = run->entries.begin() + static_cast<ptrdiff_t>(first - run->first);
    part.entries.assign(std::make_move_iterator(begin),
                        std::make_move_iterator(begin + static_cast<ptrdiff_t>(Count(part))));
  }
  return part;
}

}  // namespace

void WalLive::Move(uint64_t* place, uint64_t segment) {
  if (*place == segment) return;
  if (*place != 0) --segments_.at(*place).heads;
  if (segment != 0) ++segments_.at(segment).heads;
  *place = segment;
}

bool WalLive::Cut(Group* group, uint64_t first, uint64_t last) {
  std::vector<Run>& runs = group->runs;
  if (first > last) return false;
  const auto begin = std::partition_point(runs.begin(), runs.end(),
                                          [&](const Run& run) { return run.last < first; });
  auto end = begin;
  while (end != runs.end() && end->first <= last) ++end;
  if (begin == end) return false;
  // What of the first and the last of them lies outside stays.
  std::vector<Run> rest;
  if (begin->first < first) rest.push_back(Part(&*begin, begin->first, first - 1));
  if (Run& back = *std::prev(end); back.last > last)
    rest.push_back(Part(&back, last + 1, back.last));
  for (auto run = begin; run != end; ++run) {
    --segments_.at(run->place.segment).runs;
    live_bytes_ -= run->bytes;
  }
  for (const Run& run : rest) {
    ++segments_.at(run.place.segment).runs;
    live_bytes_ += run.bytes;
  }
  const auto at = runs.erase(begin, end);
  runs.insert(at, std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
  if (runs.empty()) runs.shrink_to_fit();  // an idle group costs next to nothing
  return true;
}

// Nothing of the group's lies in the range of `entries`.
void WalLive::Insert(Group* group, std::vector<WalEntry> entries, Place place, bool new_run) {
  const uint64_t first = entries.front().index;
  const uint64_t last = entries.back().index;
  const uint64_t bytes = Cost(entries);
  live_bytes_ += bytes;
  std::vector<Run>& runs = group->runs;
  const auto next = std::partition_point(runs.begin(), runs.end(),
                                         [&](const Run& run) { return run.last < first; });
  CHECK(next == runs.end() || next->first > last, "entries {} to {} lie over others", first, last);
  if (!new_run && next != runs.begin()) {
    Run& run = *std::prev(next);
    if (run.last + 1 == first && run.place.segment == place.segment) {
      CHECK(run.place < place, "a run that begins behind its end");
      run.last = last;
      run.bytes += bytes;
      if (keep_) {
        run.entries.insert(run.entries.end(), std::make_move_iterator(entries.begin()),
                           std::make_move_iterator(entries.end()));
      }
      return;
    }
  }
  if (!keep_) entries = {};
  runs.insert(next, Run{first, last, place, bytes, std::move(entries)});
  ++segments_.at(place.segment).runs;
}

void WalLive::Clear(Group* group) {
  Cut(group, 0, UINT64_MAX);
  Move(&group->hard_state_segment, 0);
  Move(&group->mark_segment, 0);
  // Damage stays: where the new incarnation began may be part of what was lost.
  *group = Group{.damaged = group->damaged, .seq = group->seq, .newest = group->newest};
}

void WalLive::Apply(WalRecord record, RecordFlags flags, uint32_t seq, Place place) {
  if (record.destroy) {
    const auto it = groups_.find(record.group);
    if (it == groups_.end()) return;
    Clear(&it->second);
    live_bytes_ -= kGroupOverhead;
    groups_.erase(it);
    return;
  }
  Group& group = At(record.group);
  if (record.incarnation > group.incarnation) Clear(&group);
  group.incarnation = record.incarnation;
  group.seq = seq;
  group.newest = place;
  if (IsBase(record)) group.damaged = false;
  if (flags.damaged) group.damaged = true;

  if (record.hard_state) group.hard_state = *record.hard_state;
  // A group that has nothing yet is kept, too: that it exists.
  if (record.hard_state || group.hard_state_segment == 0) {
    Move(&group.hard_state_segment, place.segment);
  }
  if (record.reset) {
    CHECK(record.mark.has_value());
    Cut(&group, 0, UINT64_MAX);
    group.mark = *record.mark;
    Move(&group.mark_segment, place.segment);
  }
  if (!record.entries.empty()) {
    const uint64_t first = record.entries.front().index;
    const bool replaces =
        Cut(&group, first, flags.copied ? record.entries.back().index : UINT64_MAX);
    Insert(&group, std::move(record.entries), place, replaces && !flags.copied);
  }
  if (record.mark && record.mark->index >= group.mark.index) {
    group.mark = *record.mark;
    Move(&group.mark_segment, place.segment);
  }
  Cut(&group, 0, group.mark.index);
}

bool WalLive::Contiguous(const Group& group) {
  uint64_t last = group.mark.index;
  for (const Run& run : group.runs) {
    if (run.first != last + 1) return false;
    last = run.last;
  }
  return true;
}

void WalLive::DropUnconnected(GroupId id) {
  Group& group = groups_.at(id);
  uint64_t last = group.mark.index;
  for (const Run& run : group.runs) {
    if (run.first != last + 1) break;
    last = run.last;
  }
  Cut(&group, last + 1, UINT64_MAX);
}

bool WalLive::ForgetRuns(GroupId id, uint64_t segment) {
  Group& group = groups_.at(id);
  const auto lies_there = [segment](const Run& run) { return run.place.segment == segment; };
  bool any = false;
  for (;;) {
    const auto run = std::find_if(group.runs.begin(), group.runs.end(), lies_there);
    if (run == group.runs.end()) return any;
    any = Cut(&group, run->first, run->last);
  }
}

std::vector<WalLive::Range> WalLive::LiveOf(const Group& group, uint64_t first, uint64_t last,
                                            Place place) {
  std::vector<Range> live;
  auto run = std::partition_point(group.runs.begin(), group.runs.end(),
                                  [&](const Run& each) { return each.last < first; });
  for (; run != group.runs.end() && run->first <= last; ++run) {
    if (run->place.segment != place.segment || run->place.offset > place.offset) continue;
    live.push_back({std::max(first, run->first), std::min(last, run->last)});
  }
  return live;
}

WalRecord WalLive::Head(GroupId id) const {
  const Group& group = groups_.at(id);
  WalRecord record;
  record.group = id;
  record.incarnation = group.incarnation;
  record.hard_state = group.hard_state;
  if (group.mark_segment != 0) record.mark = group.mark;
  return record;
}

std::map<GroupId, WalGroup> WalLive::Take() {
  keep_ = false;
  std::map<GroupId, WalGroup> taken;
  for (auto& [id, group] : groups_) {
    WalGroup& out = taken[id];
    out.incarnation = group.incarnation;
    out.hard_state = group.hard_state;
    out.mark = group.mark;
    out.damaged = group.damaged;
    size_t count = 0;
    for (const Run& run : group.runs) count += run.entries.size();
    out.entries.reserve(count);
    for (Run& run : group.runs) {
      CHECK(run.entries.size() == Count(run), "group {}: a run of {} entries holds {}", id,
            Count(run), run.entries.size());
      out.entries.insert(out.entries.end(), std::make_move_iterator(run.entries.begin()),
                         std::make_move_iterator(run.entries.end()));
      run.entries = {};
    }
  }
  return taken;
}

WalLive::Group& WalLive::At(GroupId group) {
  const auto [it, fresh] = groups_.try_emplace(group);
  if (fresh) live_bytes_ += kGroupOverhead;
  return it->second;
}

WalLive::Group* WalLive::Find(GroupId group) {
  const auto it = groups_.find(group);
  return it == groups_.end() ? nullptr : &it->second;
}

const WalLive::Group* WalLive::Find(GroupId group) const {
  const auto it = groups_.find(group);
  return it == groups_.end() ? nullptr : &it->second;
}

void WalLive::RemoveSegmentsBelow(uint64_t segment) {
  const auto end = segments_.lower_bound(segment);
  for (auto it = segments_.begin(); it != end; ++it) {
    CHECK(it->second.none(), "WAL segment {} is still needed", it->first);
  }
  segments_.erase(segments_.begin(), end);
}

}  // namespace quorate::storage
