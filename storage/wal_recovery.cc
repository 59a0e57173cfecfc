#include "storage/wal_recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/wal_reader.h"
#include "storage/wal_writer.h"

namespace quorate::storage {
namespace {

constexpr uint64_t kFillBytes = 1 << 20;
// A first note is shorter: a digest of a million groups.
constexpr uint64_t kFirstNoteBytesMax = 16 << 20;

// Where the valid part of the newest segment ends: at the first place in its last batch that is not
// a valid record. The last item has a valid frame by construction of the scan.
uint64_t TailCut(const std::vector<ScanItem>& items) {
  if (MUTANT("wal-torn-tail-kept")) return items.back().end;
  const uint64_t last_batch = items.back().frame.batch;
  for (const ScanItem& item : items) {
    if (item.kind != ScanItem::Kind::kRecord && item.end > last_batch) {
      PROBE("wal: torn tail cut");
      return std::max(item.begin, last_batch);
    }
  }
  return items.back().end;
}

// Whether a note that lies at `place` can say this: it knows of nothing that came after it.
bool MakesSense(const Note& note, Place place) {
  return note.oldest <= place.segment &&
         std::all_of(note.last_records.begin(), note.last_records.end(),
                     [&](const Note::Last& last) { return last.place < place; });
}

class Recovery {
 public:
  Recovery(Env& env, FileSystem& files, const Wal::Options& options)
      : env_(env), files_(files), options_(options) {}

  Result<WalRecovery> Run();

 private:
  struct Segment {
    uint64_t number = 0;
    std::string bytes;
    std::vector<ScanItem> items;
  };

  std::string Path(uint64_t number) const { return options_.directory + "/" + SegmentName(number); }
  Result<bool> FindFiles();
  Result<Segment> Load(uint64_t number);
  Status FindRange();
  Status Create();
  Status ReplayAll();
  void Replay(const Segment& segment, bool last);
  void ReplayNote(const ScanItem& item, uint64_t segment);
  void ReplayDigest(const Note& note, uint64_t segment);
  void ReplayRecord(const ScanItem& item, uint64_t segment);
  void Compare(const Note::Last& last);
  void BadBody(const ScanItem& item, uint64_t segment, std::string_view why);
  void Damaged(GroupId group);
  void Forget(GroupId group, Place place);
  void Gap(uint64_t segment, uint64_t begin, uint64_t end);
  Status CutTail(const Segment& last);
  Status Abandon();
  Status NoteLoss();
  void Verdicts();
  Status CollectFree();

  Env& env_;
  FileSystem& files_;
  const Wal::Options& options_;
  WalRecovery out_;
  std::vector<uint64_t> numbers_;  // of the files present, ascending
  // With something else in their header than a crash leaves there.
  std::set<uint64_t> headless_;
  uint64_t last_ = 0;          // the newest segment with a valid frame; 0: none
  uint64_t expected_end_ = 0;  // of the segment that was replayed last
  bool loss_noted_ = false;    // in that segment
  bool tail_lost_ = false;     // found now, in files that go before the verdicts are durable
  // Unattributed damage met so far, and how much of it each group was checked against.
  uint64_t gaps_ = 0;
  std::map<GroupId, uint64_t> checked_;
  // Gaps that the first note of the segment at hand has judged; nullopt: it has no digest.
  std::optional<uint64_t> judged_at_opening_;
  // Groups that a digest names and of which no record was found yet.
  std::map<GroupId, Note::Last> named_;
};

Result<bool> Recovery::FindFiles() {
  RETURN_IF_ERROR(files_.CreateDirectory(options_.directory));
  ASSIGN_OR_RETURN(const auto names, files_.List(options_.directory));
  std::optional<uint64_t> log_id;
  for (const std::string& name : names) {
    uint64_t number = 0;
    if (!ParseSegmentName(name, &number)) continue;
    numbers_.push_back(number);
    ASSIGN_OR_RETURN(const auto file, files_.Open(Path(number), OpenMode::kMustExist));
    ASSIGN_OR_RETURN(const std::string bytes, file->Read(0, kSegmentHeaderBytes));
    SegmentHeader header;
    switch (DecodeSegmentHeader(bytes, &header)) {
      case HeaderState::kValid:
        if (log_id && *log_id != header.log_id) {
          return Corruption(fmt::format("{}: {} belongs to another log than the segments before it",
                                        options_.directory, name));
        }
        log_id = header.log_id;
        break;
      case HeaderState::kNewerVersion:
        return Status(Code::kFailedPrecondition,
                      fmt::format("{}/{} was written by a newer version of quorate",
                                  options_.directory, name));
      case HeaderState::kInvalid:
        if (bytes.find_first_not_of('\0') != std::string::npos) headless_.insert(number);
        // Records do not depend on it as long as something gives the log's id.
        if (!log_id && !MUTANT("wal-header-damage-is-a-new-log")) {
          ASSIGN_OR_RETURN(const std::string more, file->Read(0, kFirstNoteBytesMax));
          log_id = LogIdOfFirstNote(more, number);
          if (log_id) PROBE("wal: id found in a first note");
        }
        break;
    }
  }
  if (numbers_.empty()) return false;
  if (log_id) {
    out_.log_id = *log_id;
    return true;
  }
  // The first segment's header and opening note are synced before anything else is written.
  ASSIGN_OR_RETURN(const auto file, files_.Open(Path(numbers_.front()), OpenMode::kMustExist));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  ASSIGN_OR_RETURN(const std::string bytes, file->Read(0, size));
  const std::string_view rest =
      std::string_view(bytes).substr(std::min<size_t>(size, 2 * kSegmentHeaderBytes));
  const bool unborn = numbers_ == std::vector<uint64_t>{1} &&
                      rest.find_first_not_of('\0') == std::string_view::npos;
  if (unborn) return false;
  if (options_.expected) {
    RETURN_IF_ERROR(Abandon());
    return false;
  }
  return Corruption(fmt::format(
      "{}: no segment of the write-ahead log has a readable header, and this node is no "
      "member of a cluster that could have written them: they are another node's; give "
      "this one an empty directory",
      options_.directory));
}

// Nothing of the segments can be read. Newest first: what is left by a crash in between is found in
// the same state, and the new log is made only when they are gone.
Status Recovery::Abandon() {
  PROBE("wal: abandoned");
  env_.log.Error("wal: {}: no segment has a readable header, the log is lost", options_.directory);
  for (auto it = numbers_.rbegin(); it != numbers_.rend(); ++it) {
    RETURN_IF_ERROR(files_.Remove(Path(*it)));
  }
  return files_.SyncDirectory(options_.directory);
}

Result<Recovery::Segment> Recovery::Load(uint64_t number) {
  Segment segment;
  segment.number = number;
  ASSIGN_OR_RETURN(const auto file, files_.Open(Path(number), OpenMode::kMustExist));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  Result<std::string> bytes = file->Read(0, size);
  if (!bytes.ok() && MUTANT("wal-read-error-is-damage")) bytes = std::string(size, '\0');
  ASSIGN_OR_RETURN(segment.bytes, std::move(bytes));
  if (segment.bytes.size() != size) {
    return IoError(
        fmt::format("read {}: {} of {} bytes", Path(number), segment.bytes.size(), size));
  }
  segment.items = ScanSegment(segment.bytes, SegmentSeed(out_.log_id, number));
  return segment;
}

// The newest segment in use, and the oldest by the newest note. A note behind the cut does not
// count: what it rests on may be missing.
Status Recovery::FindRange() {
  for (auto it = numbers_.rbegin(); it != numbers_.rend() && out_.oldest == 0; ++it) {
    ASSIGN_OR_RETURN(const Segment segment, Load(*it));
    if (segment.items.empty()) continue;
    const uint64_t end = last_ == 0 ? TailCut(segment.items) : UINT64_MAX;
    if (last_ == 0) last_ = *it;
    for (const ScanItem& item : segment.items) {
      Note note;
      if (item.end <= end && item.kind == ScanItem::Kind::kRecord &&
          item.frame.group == kNoteGroup && DecodeNote(item.body, &note) && note.oldest <= *it) {
        out_.oldest = std::max(out_.oldest, note.oldest);
      }
    }
  }
  // Without any note the evidence about what should be there is gone, too.
  if (out_.oldest == 0) out_.oldest = 1;
  return Status::Ok();
}

Status Recovery::Create() {
  out_.log_id = env_.random.Next() | 1;  // 0: not said
  out_.segment = 1;
  out_.oldest = 1;
  ASSIGN_OR_RETURN(out_.file, files_.Open(Path(1), OpenMode::kCreate));
  std::string bytes = EncodeSegmentHeader({1, out_.log_id});
  const size_t at = bytes.size();
  bytes.resize(at + kFrameBytes);
  out_.lost = options_.expected && !MUTANT("wal-header-damage-is-a-new-log");
  if (out_.lost) env_.log.Error("wal: {} is empty, the log is lost", options_.directory);
  EncodeNote(
      {.oldest = 1, .lost = out_.lost, .log_id = out_.log_id, .digest = Note::Digest::kOfLog},
      &bytes);
  SealRecord(&bytes, at, SegmentSeed(out_.log_id, 1),
             {.offset = kSegmentHeaderBytes, .batch = kSegmentHeaderBytes, .group = kNoteGroup});
  out_.offset = bytes.size();
  const std::string zeros(std::min<uint64_t>(kFillBytes, options_.segment_bytes), '\0');
  for (uint64_t done = 0; done < options_.segment_bytes; done += zeros.size()) {
    const uint64_t size = std::min<uint64_t>(zeros.size(), options_.segment_bytes - done);
    RETURN_IF_ERROR(out_.file->Write(done, std::string_view(zeros).substr(0, size)));
  }
  RETURN_IF_ERROR(out_.file->Write(0, bytes));
  RETURN_IF_ERROR(out_.file->Sync());
  RETURN_IF_ERROR(files_.SyncDirectory(options_.directory));
  out_.live.AddSegment(1);
  return Status::Ok();
}

Status Recovery::ReplayAll() {
  if (last_ == 0) {
    // Every segment begins with a synced note; there must have been records.
    Gap(numbers_.front(), kSegmentHeaderBytes, kSegmentHeaderBytes);
    last_ = numbers_.back();
    out_.oldest = last_;
  }
  Segment newest;
  for (uint64_t number = out_.oldest; number <= last_; ++number) {
    if (!std::binary_search(numbers_.begin(), numbers_.end(), number)) {
      Gap(number, 0, options_.segment_bytes);
      expected_end_ = 0;
      // A hole of many segments is one loss; jump over it.
      number = *std::lower_bound(numbers_.begin(), numbers_.end(), number) - 1;
      continue;
    }
    out_.live.AddSegment(number);
    ASSIGN_OR_RETURN(newest, Load(number));
    if (number == last_) out_.previous_end = expected_end_;
    Replay(newest, number == last_);
  }
  // A segment is prepared only when the one before it is in use.
  if (numbers_.back() > last_ + 1 &&
      !std::binary_search(numbers_.begin(), numbers_.end(), last_ + 1)) {
    Gap(last_ + 1, 0, options_.segment_bytes);
    tail_lost_ = true;
  }
  if (options_.doubted) {
    PROBE("wal: opened in doubt");
    env_.log.Error("wal: {} was put back to an earlier state: any record may be missing",
                   options_.directory);
    out_.lost = true;
    tail_lost_ = true;
    ++gaps_;
  }
  Verdicts();
  RETURN_IF_ERROR(CutTail(newest));
  if (out_.lost && (!loss_noted_ || tail_lost_)) {
    // The note becomes the last batch. If it were to be found in the page cache without a sync that
    // succeeded behind what CutTail wrote, the next start would not write that again.
    RETURN_IF_ERROR(out_.file->Sync());
    RETURN_IF_ERROR(NoteLoss());
  }
  RETURN_IF_ERROR(out_.file->Sync());
  // The names that were found may not be durable either.
  return files_.SyncDirectory(options_.directory);
}

void Recovery::Replay(const Segment& segment, bool last) {
  loss_noted_ = false;
  judged_at_opening_.reset();
  out_.touched.clear();
  if (segment.items.empty()) {
    if (!last) Gap(segment.number, kSegmentHeaderBytes, segment.bytes.size());
    out_.offset = kSegmentHeaderBytes;
    expected_end_ = 0;
    return;
  }
  out_.offset = last ? TailCut(segment.items) : segment.items.back().end;
  if (headless_.contains(segment.number)) {
    env_.log.Warn("wal: the header of {} is damaged; its records do not depend on it",
                  SegmentName(segment.number));
  }
  for (const ScanItem& item : segment.items) {
    if (item.begin >= out_.offset) break;
    switch (item.kind) {
      case ScanItem::Kind::kRecord:
        if (item.frame.group == kNoteGroup) {
          ReplayNote(item, segment.number);
        } else {
          ReplayRecord(item, segment.number);
        }
        break;
      case ScanItem::Kind::kBadBody:
        BadBody(item, segment.number, "its checksum is wrong");
        break;
      case ScanItem::Kind::kGap:
        Gap(segment.number, item.begin, std::min(item.end, out_.offset));
        break;
    }
  }
  expected_end_ = out_.offset;
}

void Recovery::ReplayNote(const ScanItem& item, uint64_t segment) {
  Note note;
  if (!DecodeNote(item.body, &note) || !MakesSense(note, {segment, item.begin})) {
    PROBE("wal: note makes no sense");
    return Gap(segment, item.begin, item.end);
  }
  out_.lost |= note.lost;
  loss_noted_ |= note.lost;
  // Cleared are the groups whose verdicts were written behind it.
  if (note.tail_lost) Gap(segment, item.end, item.end);
  // The segment before may have lost its end, behind which nothing valid follows in it.
  if (note.previous_end != 0 && expected_end_ != 0 && expected_end_ < note.previous_end) {
    Gap(segment - 1, expected_end_, note.previous_end);
  }
  expected_end_ = 0;
  if (note.digest != Note::Digest::kNone) ReplayDigest(note, segment);
}

// What the digest says lies behind every gap so far. Groups that it does not name have no record in
// what it covers, or are gone.
void Recovery::ReplayDigest(const Note& note, uint64_t segment) {
  const bool of_log = note.digest == Note::Digest::kOfLog;
  const Place here{segment, 0};
  std::set<GroupId> named;
  for (const Note::Last& last : note.last_records) {
    named.insert(last.group);
    if (last.seq == 0) {
      Forget(last.group, here);
    } else {
      Compare(last);
    }
  }
  std::vector<GroupId> gone;
  for (const auto& [id, group] : out_.live.groups()) {
    if (named.contains(id)) continue;
    if (of_log) {
      // Its destruction was lost. If nothing was, the digest is wrong, and proves nothing.
      if (gaps_ > 0 || group.damaged) gone.push_back(id);
    } else if (judged_at_opening_ && checked_[id] >= *judged_at_opening_) {
      checked_[id] = gaps_;
    }
  }
  for (const GroupId id : gone) Forget(id, here);
  if (of_log) judged_at_opening_ = gaps_;
}

void Recovery::Compare(const Note::Last& last) {
  const WalLive::Group* group = out_.live.Find(last.group);
  if (group == nullptr) {
    // Its records may lie in segments since reused, and be copied to later ones.
    const auto [known, first] = named_.try_emplace(last.group, last);
    if (first ? gaps_ == 0 : known->second == last) return;
    named_.erase(known);
  } else if (group->newest == last.place || MUTANT("wal-digest-clears-everyone")) {
    PROBE("wal: group cleared by a digest");
    checked_[last.group] = gaps_;
    return;
  }
  PROBE("wal: group condemned by a digest");
  Damaged(last.group);
  WalLive::Group& lost = out_.live.At(last.group);
  lost.seq = last.seq;
  lost.newest = last.place;
  checked_[last.group] = gaps_;
}

void Recovery::ReplayRecord(const ScanItem& item, uint64_t segment) {
  const GroupId id = item.frame.group;
  WalRecord record;
  record.group = id;
  RecordFlags flags;
  if (!DecodeBody(item.body, &record, &flags)) return BadBody(item, segment, "it makes no sense");
  const WalLive::Group* group = out_.live.Find(id);
  const bool first = item.frame.seq == 1;
  // Numbers start again behind a destruction, which itself may be lost.
  if (group != nullptr && !first && !WalLive::Fits(*group, record)) {
    return BadBody(item, segment, "it is of a replica that is gone");
  }
  const bool starts_anew = first || WalLive::IsBase(record) || record.destroy;
  bool lost = false;
  if (!starts_anew) {
    // A group first seen in undamaged log may have had earlier records in segments since reused.
    const auto named = named_.find(id);
    const bool known = group != nullptr || named != named_.end();
    const uint32_t before = group != nullptr ? group->seq : known ? named->second.seq : 0;
    lost = known ? item.frame.seq != NextSeq(before) : gaps_ != 0;
  }
  named_.erase(id);
  checked_[id] = gaps_;
  out_.touched.insert(id);
  const Place place{segment, item.begin};
  if (first && group != nullptr) Forget(id, place);
  if (starts_anew || flags.damaged) out_.verdicts.erase(id);
  out_.live.Apply(std::move(record), flags, item.frame.seq, place);
  if (!lost) return;
  env_.log.Error("wal: group {} lost records before its record {}", id, item.frame.seq);
  Damaged(id);
  if (flags.damaged) out_.verdicts.erase(id);
}

void Recovery::Damaged(GroupId group) {
  out_.live.At(group).damaged = true;
  out_.verdicts.insert(group);
}

void Recovery::Forget(GroupId group, Place place) {
  out_.touched.insert(group);
  WalRecord gone;
  gone.group = group;
  gone.destroy = true;
  out_.live.Apply(std::move(gone), {}, 0, place);
  named_.erase(group);
  out_.verdicts.erase(group);
}

void Recovery::BadBody(const ScanItem& item, uint64_t segment, std::string_view why) {
  PROBE("wal: damaged body");
  const GroupId id = item.frame.group;
  if (id == kNoteGroup) return;  // states nothing that is not known from elsewhere
  env_.log.Error("wal: record {} of group {} is damaged: {}", item.frame.seq, id, why);
  Damaged(id);
  // What follows it goes on from its number, and clears the group of nothing: the damage stays,
  // also over a new incarnation, which may be what the record began.
  WalLive::Group& group = out_.live.At(id);
  group.seq = std::max<uint32_t>(item.frame.seq, 1);
  group.newest = {segment, item.begin};
  named_.erase(id);
  out_.touched.insert(id);
  checked_[id] = gaps_;
}

void Recovery::Gap(uint64_t segment, uint64_t begin, uint64_t end) {
  PROBE("wal: damaged middle");
  env_.log.Error("wal: {} is damaged from byte {} to {}", SegmentName(segment), begin, end);
  out_.lost = true;
  out_.last_gap = std::max(out_.last_gap, segment);
  ++gaps_;
}

// Writes again what is vouched for and may be in the page cache only: the header, of a log that was
// made by the start before this one, and the last batch. Everything earlier was synced before that
// was begun. Then zeros, as far as a write in flight can have reached: what was read there may be
// zeros of an earlier start's that never got to the disk.
Status Recovery::CutTail(const Segment& last) {
  ASSIGN_OR_RETURN(out_.file, files_.Open(Path(last.number), OpenMode::kMustExist));
  out_.segment = last.number;
  uint64_t batch = out_.offset;
  uint64_t end = std::min<uint64_t>(last.bytes.size(), out_.offset + kWalBatchBytesMax);
  for (const ScanItem& item : last.items) {
    if (item.begin < out_.offset && item.kind != ScanItem::Kind::kGap) batch = item.frame.batch;
    end = std::max(end, std::min<uint64_t>(item.end, last.bytes.size()));
  }
  RETURN_IF_ERROR(out_.file->Write(0, EncodeSegmentHeader({last.number, out_.log_id})));
  if (batch < out_.offset && !MUTANT("wal-cache-vouched-for")) {
    const std::string_view bytes(last.bytes);
    RETURN_IF_ERROR(out_.file->Write(batch, bytes.substr(batch, out_.offset - batch)));
  }
  for (uint64_t at = out_.offset; at < end;) {
    const uint64_t size = std::min<uint64_t>(kFillBytes, end - at);
    RETURN_IF_ERROR(out_.file->Write(at, std::string(size, '\0')));
    at += size;
  }
  return Status::Ok();
}

// The evidence may be among the files that are removed next.
Status Recovery::NoteLoss() {
  const bool first = out_.offset == kSegmentHeaderBytes;
  std::string bytes(kFrameBytes, '\0');
  EncodeNote({.oldest = out_.oldest,
              .previous_end = first ? out_.previous_end : 0,
              .lost = true,
              .tail_lost = tail_lost_,
              .log_id = first ? out_.log_id : 0},
             &bytes);
  SealRecord(&bytes, 0, SegmentSeed(out_.log_id, last_),
             {.offset = static_cast<uint32_t>(out_.offset),
              .batch = static_cast<uint32_t>(out_.offset),
              .group = kNoteGroup});
  RETURN_IF_ERROR(out_.file->Write(out_.offset, bytes));
  out_.offset += bytes.size();
  return Status::Ok();
}

void Recovery::Verdicts() {
  // Named by a digest, and no record of it is left.
  for (const auto& [id, last] : std::exchange(named_, {})) {
    Damaged(id);
    WalLive::Group& group = out_.live.At(id);
    group.seq = last.seq;
    group.newest = last.place;
    checked_[id] = gaps_;
  }
  std::vector<GroupId> broken;
  for (const auto& [id, group] : out_.live.groups()) {
    const bool whole = WalLive::Contiguous(group) && checked_[id] == gaps_;
    if (!whole) broken.push_back(id);
  }
  for (const GroupId id : broken) {
    if (!out_.live.At(id).damaged) Damaged(id);
    out_.live.DropUnconnected(id);
  }
}

// Newest first, so that a crash in between leaves no hole that would look like a loss.
Status Recovery::CollectFree() {
  for (auto it = numbers_.rbegin(); it != numbers_.rend(); ++it) {
    if (*it >= out_.oldest && *it <= last_) continue;
    ASSIGN_OR_RETURN(const auto file, files_.Open(Path(*it), OpenMode::kMustExist));
    ASSIGN_OR_RETURN(const uint64_t size, file->Size());
    const bool keep = size == options_.segment_bytes && *it <= last_ + 1 &&
                      out_.free_files.size() < kFreeFilesMax;
    if (keep) {
      out_.free_files.push_back(SegmentName(*it));
    } else {
      RETURN_IF_ERROR(files_.Remove(Path(*it)));
    }
  }
  return Status::Ok();
}

Result<WalRecovery> Recovery::Run() {
  ASSIGN_OR_RETURN(const bool exists, FindFiles());
  if (!exists) {
    RETURN_IF_ERROR(Create());
    return std::move(out_);
  }
  RETURN_IF_ERROR(FindRange());
  RETURN_IF_ERROR(ReplayAll());
  if (MUTANT("wal-damage-overlooked")) {
    out_.lost = false;
    out_.verdicts.clear();
    for (const auto& [id, group] : out_.live.groups()) out_.live.At(id).damaged = false;
  }
  RETURN_IF_ERROR(CollectFree());
  return std::move(out_);
}

}  // namespace

Result<WalRecovery> RecoverWal(Env& env, FileSystem& files, const Wal::Options& options) {
  return Recovery(env, files, options).Run();
}

}  // namespace quorate::storage
