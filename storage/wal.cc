#include "storage/wal.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/wal_copier.h"
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
        log_id_(recovery.log_id),
        recovered_(recovery.live.Take()),
        live_(std::move(recovery.live)),
        lost_(recovery.lost),
        last_gap_(recovery.last_gap),
        noted_oldest_(recovery.oldest),
        touched_(recovery.touched.begin(), recovery.touched.end()),
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
                 .digest = [this](Note::Digest digest, Note* note) { Digest(digest, note); },
                 .segment_begun = [this] { BoundSegments(); },
                 .oldest = recovery.oldest}),
        copier_(
            env, files, live_, options.copy_step_bytes,
            [this](WalRecord record, RecordFlags flags, Durable durable) {
              Add(std::move(record), flags, std::move(durable));
            },
            [this] {
              Release();
              BoundSegments();
            }) {
    // The verdicts must be durable before anything newer of a damaged group is. Every Append comes
    // behind these in the same or a later batch.
    for (const GroupId id : recovery.verdicts) {
      Add(live_.Head(id), {.damaged = true, .copied = true}, {});
    }
    Release();
    BoundSegments();
  }

  const std::map<GroupId, WalGroup>& recovered() const override { return recovered_; }
  std::map<GroupId, WalGroup> TakeRecovered() override { return std::exchange(recovered_, {}); }
  bool lost_records() const override { return lost_; }

  void Append(WalRecord record, Durable durable) override {
    CHECK(record.group != kNoteGroup);
    if (writer_.failed()) return;
    if (!recovered_.empty()) recovered_.clear();
    Add(std::move(record), {}, std::move(durable));
    Release();
  }

  void OnFailure(std::function<void(Status)> callback) override {
    writer_.OnFailure(std::move(callback));
  }
  bool waits_for_space() const override { return writer_.waits_for_space(); }
  uint64_t SegmentCount() const override { return live_.segments().size(); }
  uint64_t LiveBytes() const override { return live_.live_bytes(); }

 private:
  // What the record says must fit what the group has: a log that does not make sense is worse than
  // a node that stops.
  void CheckFits(const WalLive::Group* group, const WalRecord& record, RecordFlags flags) const {
    CHECK(group == nullptr || WalLive::Fits(*group, record),
          "group {}: a WAL record of a replica that is gone", record.group);
    CHECK(!record.reset || record.mark, "a WAL reset names what replaces the log");
    if (record.entries.empty()) return;
    const uint64_t first = record.entries.front().index;
    CHECK(first > 0, "group {}: a WAL entry without an index", record.group);
    const bool anew = group == nullptr || record.reset || record.incarnation > group->incarnation;
    if (flags.copied) {
      CHECK(!anew && first > group->mark.index &&
                record.entries.back().index <= WalLive::Last(*group),
            "group {}: a copy of entries from {} on that are not live", record.group, first);
      return;
    }
    // Of a damaged group some may be lost.
    CHECK(anew ? first <= (record.mark ? record.mark->index : 0) + 1
               : group->damaged || WalLive::Connects(*group, first),
          "group {}: WAL entries from {} on leave a hole", record.group, first);
  }

  void Add(WalRecord record, RecordFlags flags, Durable durable) {
    if (writer_.failed()) return;
    const WalLive::Group* group = live_.Find(record.group);
    CheckFits(group, record, flags);
    const GroupId id = record.group;
    uint32_t seq = group == nullptr ? 1 : NextSeq(group->seq);
    if (seq > 256 && MUTANT("wal-number-wraps")) seq = 1;
    const Place before = group == nullptr ? Place{} : group->newest;
    const Place place = writer_.Add(
        id, seq, [&](std::string* out) { EncodeBody(record, flags, out); }, std::move(durable));
    CHECK(place > before, "group {}: a WAL record before the one it follows", id);
    if (before.segment != place.segment) touched_.push_back(id);
    live_.AddSegment(place.segment);
    live_.Apply(std::move(record), flags, seq, place);
    writer_.MaybeDigest();
  }

  void Digest(Note::Digest digest, Note* note) {
    note->digest = digest;
    std::vector<Note::Last>& lasts = note->last_records;
    if (digest == Note::Digest::kOfLog) {
      touched_.clear();
      for (const auto& [id, group] : live_.groups()) {
        CHECK(group.seq != 0, "group {} without a record", id);
        lasts.push_back({id, group.seq, group.newest});
      }
      return;
    }
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const GroupId id : touched_) {
      const WalLive::Group* group = live_.Find(id);
      lasts.push_back(group == nullptr ? Note::Last{id}
                                       : Note::Last{id, group->seq, group->newest});
    }
  }

  // Empties the oldest segments if there are too many, one at a time. Where the live bytes alone
  // need more than the target, copying them in circles would gain nothing, so the bound grows with
  // them, and what is there now is copied at most once.
  void BoundSegments() {
    if (!copier_.idle() || writer_.failed()) return;
    const uint64_t capacity = options_.segment_bytes - kSegmentHeaderBytes;
    const uint64_t bound =
        std::max<uint64_t>(options_.segments_target, 2 * live_.live_bytes() / capacity + 2);
    const uint64_t newest = writer_.segment();
    if (noted_oldest_ >= newest || newest + 1 - noted_oldest_ <= bound) return;
    const auto& segments = live_.segments();
    auto it = segments.lower_bound(noted_oldest_);
    // Those wait for the segment of the gap.
    while (it != segments.end() && it->first < last_gap_ && it->second.none()) ++it;
    // Not all of it is in the file yet.
    if (it == segments.end() || it->first >= writer_.file_segment()) return;
    copier_.Start(it->first, options_.directory + "/" + SegmentName(it->first),
                  SegmentSeed(log_id_, it->first));
  }

  // Segments at the front that nobody needs are given back once that is durable, since only then
  // are the records that made them unneeded.
  void Release() {
    uint64_t oldest = noted_oldest_;
    const auto& segments = live_.segments();
    for (auto it = segments.lower_bound(oldest); it != segments.end(); ++it) {
      // Nobody needs what is missing in between: it was lost to damage.
      oldest = std::max(oldest, it->first);
      const bool needed = !it->second.none() && !MUTANT("wal-segment-freed-early");
      if (needed || it->first >= writer_.segment()) break;
      oldest = it->first + 1;
    }
    const bool held = oldest <= last_gap_ && !MUTANT("wal-proof-freed-early");
    if (oldest == noted_oldest_ || held) return;
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
  const uint64_t log_id_;
  std::map<GroupId, WalGroup> recovered_;
  WalLive live_;
  const bool lost_;
  const uint64_t last_gap_;  // segments up to this one go together (wal_recovery.h)
  uint64_t noted_oldest_;    // what the newest note says, durable or not
  // Groups with a record in the segment that is written to, also those that are gone.
  std::vector<GroupId> touched_;
  WalWriter writer_;
  WalCopier copier_;
};

}  // namespace

Result<std::unique_ptr<Wal>> Wal::Open(Env& env, FileSystem& files, Options options) {
  if (options.segment_bytes == 0) options.segment_bytes = limits::kWalSegmentBytes;
  if (options.copy_step_bytes == 0) options.copy_step_bytes = kCopyStepBytes;
  CHECK(options.segment_bytes >= 2 * kSegmentHeaderBytes);
  ASSIGN_OR_RETURN(WalRecovery recovery, RecoverWal(env, files, options));
  return std::unique_ptr<Wal>(std::make_unique<WalImpl>(env, files, options, std::move(recovery)));
}

}  // namespace quorate::storage
