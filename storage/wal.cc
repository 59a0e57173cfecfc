#include "storage/wal.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "storage/wal_format.h"
#include "storage/wal_live.h"
#include "storage/wal_recovery.h"
#include "storage/wal_writer.h"

namespace quorate::storage {
namespace {

class WalImpl final : public Wal {
 public:
  WalImpl(Env& env, FileSystem& files, const Options& options, WalRecovery recovery)
      : options_(options),
        live_(std::move(recovery.live)),
        lost_(recovery.lost),
        noted_oldest_(recovery.oldest),
        writer_(env, files,
                {.directory = options.directory,
                 .segment_bytes = options.segment_bytes,
                 .log_id = recovery.log_id,
                 .segment = recovery.segment,
                 .offset = recovery.offset,
                 .file = std::move(recovery.file),
                 .previous_end = recovery.previous_end,
                 .free_files = std::move(recovery.free_files),
                 .lost = recovery.lost,
                 .oldest = recovery.oldest}) {
    for (const auto& [id, group] : live_.groups()) recovered_.emplace(id, group.log);
    // The verdicts must be durable before anything newer of a damaged group is. Every Append comes
    // behind these in the same or a later batch.
    if (recovery.damaged) {
      for (const GroupId id : recovery.unjudged) {
        if (live_.Find(id) != nullptr) CopyForward(id);
      }
      // With the damage out of the log, the next start does not copy everything once more: a node
      // that dies at every start must not fill its disk.
      const uint64_t before = noted_oldest_;
      Release();
      if (noted_oldest_ == before) writer_.AddNote(noted_oldest_, {});
    }
  }

  const std::map<GroupId, WalGroup>& recovered() const override { return recovered_; }
  bool lost_records() const override { return lost_; }

  void Append(WalRecord record, Durable durable) override {
    CHECK(record.group != kNoteGroup);
    if (!recovered_.empty()) recovered_.clear();
    const uint64_t before = writer_.segment();
    Add(std::move(record), false, std::move(durable));
    if (writer_.segment() != before) BoundSegments();
    Release();
  }

  void OnFailure(std::function<void(Status)> callback) override {
    writer_.OnFailure(std::move(callback));
  }
  bool waits_for_space() const override { return writer_.waits_for_space(); }
  uint64_t SegmentCount() const override { return live_.segments().size(); }
  uint64_t LiveBytes() const override { return live_.live_bytes(); }

 private:
  void Add(WalRecord record, bool damaged, Durable durable) {
    const WalLive::Group* group = live_.Find(record.group);
    CHECK(group == nullptr || record.incarnation >= group->log.incarnation,
          "group {}: a WAL record of a replica that is gone", record.group);
    CHECK(!record.reset || record.mark, "a WAL reset names what replaces the log");
    if (!record.entries.empty()) {
      const uint64_t first = record.entries.front().index;
      const bool anew =
          group == nullptr || record.reset || record.incarnation > group->log.incarnation;
      CHECK(anew ? first <= (record.mark ? record.mark->index : 0) + 1
                 : WalLive::Connects(*group, first),
            "group {}: WAL entries from {} on leave a hole", record.group, first);
    }
    const uint32_t seq = group == nullptr ? 1 : group->seq + 1;
    const uint64_t segment = writer_.Add(
        record.group, seq, [&](std::string* out) { EncodeBody(record, damaged, out); },
        std::move(durable));
    live_.AddSegment(segment);
    live_.Apply(std::move(record), damaged, seq, segment);
  }

  void CopyForward(GroupId group) { Add(live_.Base(group), live_.Find(group)->log.damaged, {}); }

  // Empties the oldest segments if there are too many. Where the live bytes alone need more than
  // the target, copying them in circles would gain nothing, so the bound grows with them, and what
  // is there now is copied at most once.
  void BoundSegments() {
    const uint64_t capacity = options_.segment_bytes - kSegmentHeaderBytes;
    const uint64_t bound =
        std::max<uint64_t>(options_.segments_target, 2 * live_.live_bytes() / capacity + 2);
    const uint64_t newest = writer_.segment();
    while (noted_oldest_ < newest && writer_.segment() + 1 - noted_oldest_ > bound) {
      for (const GroupId group : live_.GroupsIn(noted_oldest_)) {
        PROBE("wal copied forward");
        CopyForward(group);
      }
      const uint64_t before = noted_oldest_;
      Release();
      CHECK(noted_oldest_ > before);
    }
  }

  // Segments at the front that nobody needs are given back once that is durable, since only then
  // are the records that made them unneeded.
  void Release() {
    uint64_t oldest = noted_oldest_;
    const auto& segments = live_.segments();
    for (auto it = segments.lower_bound(oldest); it != segments.end(); ++it) {
      // Nobody needs what is missing in between: it was lost to damage.
      oldest = std::max(oldest, it->first);
      const bool needed = it->second != 0 && !MUTANT("wal-segment-freed-early");
      if (needed || it->first >= writer_.segment()) break;
      oldest = it->first + 1;
    }
    if (oldest == noted_oldest_) return;
    noted_oldest_ = oldest;
    writer_.AddNote(oldest, [this, oldest] {
      const auto& all = live_.segments();
      for (auto it = all.begin(); it != all.end() && it->first < oldest; ++it) {
        writer_.Free(it->first);
      }
      live_.RemoveSegmentsBelow(oldest);
    });
    live_.AddSegment(writer_.segment());
  }

  const Options options_;
  WalLive live_;
  std::map<GroupId, WalGroup> recovered_;
  const bool lost_;
  uint64_t noted_oldest_;  // what the newest note says, durable or not
  WalWriter writer_;
};

}  // namespace

Result<std::unique_ptr<Wal>> Wal::Open(Env& env, FileSystem& files, Options options) {
  if (options.segment_bytes == 0) options.segment_bytes = limits::kWalSegmentBytes;
  CHECK(options.segment_bytes >= 2 * kSegmentHeaderBytes);
  ASSIGN_OR_RETURN(WalRecovery recovery, RecoverWal(env, files, options));
  return std::unique_ptr<Wal>(std::make_unique<WalImpl>(env, files, options, std::move(recovery)));
}

}  // namespace quorate::storage
