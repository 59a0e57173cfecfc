#include "shard/closed.h"

#include <algorithm>

#include "base/mutant.h"

namespace quorate::shard {
namespace {

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
  for (const ScanAsk& scan : ask.scans) {
    for (const auto& [owner, record] : table.prepared()) {
      if (Writes(record, scan.span)) stay_below(record);
    }
  }
  return newest.Slot();
}

Timestamp ToClose(Timestamp newest, Duration lag) {
  return newest.MinusMillis(static_cast<uint64_t>(ToMillis(lag)));
}

}  // namespace quorate::shard
