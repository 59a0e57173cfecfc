#include "shard/closed.h"

#include <algorithm>
#include <vector>

#include "base/mutant.h"

namespace quorate::shard {
namespace {

constexpr size_t kLookupsMax = 20'000;  // some milliseconds

Timestamp Below(Timestamp ts) { return Timestamp(std::max<uint64_t>(ts.bits(), 1) - 1); }

// Keys of a record are in order.
bool Writes(const ParticipantRecord& record, const Span& span) {
  const auto first = std::lower_bound(record.writes.begin(), record.writes.end(), span.from);
  return first != record.writes.end() && span.Contains(*first);
}

}  // namespace

Timestamp NewestServable(const ReadAsk& ask, const Table& table) {
  Timestamp newest = table.closed();
  if (table.prepared().empty() || MUTANT("closed-prepared-ignored")) return newest.Slot();
  // Its commit_ts is not below its prepare_ts.
  const auto stay_below = [&newest](const ParticipantRecord& record) {
    if (record.prepare_ts <= newest) newest = Below(record.prepare_ts);
  };
  for (const std::string_view key : ask.keys) {
    const Owner* owner = table.IntentOn(key);
    if (owner != nullptr) stay_below(*table.FindPrepared(*owner));
  }
  if (ask.scans.empty()) return newest.Slot();
  std::vector<const ParticipantRecord*> old;
  for (const auto& [owner, record] : table.prepared()) {
    if (record.prepare_ts <= newest) old.push_back(&record);
  }
  // Which of them matter is looked up only as far as that is little work.
  const bool few = old.size() * ask.scans.size() <= kLookupsMax;
  for (const ParticipantRecord* record : old) {
    const auto writes = [record](const ScanAsk& scan) { return Writes(*record, scan.span); };
    if (!few || std::any_of(ask.scans.begin(), ask.scans.end(), writes)) stay_below(*record);
  }
  return newest.Slot();
}

Timestamp ToClose(Timestamp newest, Duration lag) {
  return newest.MinusMillis(static_cast<uint64_t>(ToMillis(lag)));
}

}  // namespace quorate::shard
