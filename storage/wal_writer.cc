#include "storage/wal_writer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"

namespace quorate::storage {
namespace {

// A new segment is zeroed in writes of this size, each about as long as one batch takes.
constexpr uint64_t kFillBytes = 256 << 10;
// How much is written between two digests within a segment: this share of it, and this many times
// the size of the digest.
constexpr uint64_t kDigestsPerSegment = 16;
constexpr uint64_t kDigestShare = 8;

}  // namespace

template <class F>
auto WalWriter::Alive(F fn) {
  return [alive = std::weak_ptr<bool>(alive_), fn = std::move(fn)](auto&&... args) mutable {
    if (!alive.expired()) fn(std::forward<decltype(args)>(args)...);
  };
}

WalWriter::WalWriter(Env& env, FileSystem& files, Config config)
    : env_(env),
      files_(files),
      config_(std::move(config)),
      segment_(config_.segment),
      offset_(config_.offset),
      seed_(SegmentSeed(config_.log_id, config_.segment)),
      file_segment_(config_.segment),
      file_end_(config_.offset),
      file_(std::move(config_.file)),
      no_space_(env.metrics.GetCounter("quorate_wal_no_space_total",
                                       "WAL writes that found no space and were tried again")),
      syncs_(env.metrics.GetCounter("quorate_wal_syncs_total", "WAL writes with their sync")),
      bytes_(env.metrics.GetCounter("quorate_wal_bytes_total", "bytes written to the WAL")),
      records_(env.metrics.GetCounter("quorate_wal_records_total", "records written to the WAL")),
      sync_us_(
          env.metrics.GetHistogram("quorate_wal_sync_seconds", "Time of a WAL write and sync.")) {
  // Recovery may have cut the last segment's very first write.
  if (offset_ == kSegmentHeaderBytes) Open(config_.previous_end);
}

WalWriter::~WalWriter() {
  env_.executor.Cancel(ack_mark_timer_);
  env_.executor.Cancel(space_timer_);
}

WalWriter::Batch& WalWriter::OpenBatch() {
  if (queue_.empty() || queue_.back().segment != segment_ ||
      queue_.back().bytes.size() >= kWalBatchBytes) {
    queue_.push_back({segment_, offset_, 0, {}, {}});
  }
  return queue_.back();
}

Place WalWriter::Add(GroupId group, uint32_t seq, EncodeFn encode, Wal::Durable durable) {
  if (failed_) return {segment_, offset_};
  Batch* batch = &OpenBatch();
  size_t at = batch->bytes.size();
  batch->bytes.resize(at + kFrameBytes);
  encode(&batch->bytes);
  const uint64_t size = batch->bytes.size() - at;
  // A record that is larger than a segment gets one of its own, which grows.
  if (offset_ + size > config_.segment_bytes && segment_records_ > 1) {
    const std::string record = batch->bytes.substr(at);
    batch->bytes.resize(at);
    if (batch->records == 0) queue_.pop_back();
    Roll();
    batch = &OpenBatch();
    at = batch->bytes.size();
    batch->bytes += record;
  }
  CHECK(offset_ + size <= UINT32_MAX, "a WAL record of {} bytes", size);
  SealRecord(&batch->bytes, at, seed_,
             {.offset = static_cast<uint32_t>(offset_),
              .batch = static_cast<uint32_t>(batch->offset),
              .seq = seq,
              .group = group});
  const Place place{segment_, offset_};
  offset_ += size;
  undigested_bytes_ += size;
  if (offset_ > config_.segment_bytes) oversized_.insert(segment_);
  ++segment_records_;
  ++batch->records;
  if (durable && MUTANT("wal-reply-before-sync")) env_.executor.Post(std::exchange(durable, {}));
  if (durable) batch->durable.push_back(std::move(durable));
  ack_marked_ = false;
  if (offset_ > config_.segment_bytes / 2) PrepareNext();
  Wake();
  return place;
}

void WalWriter::AddNote(uint64_t oldest, Wal::Durable durable) {
  config_.oldest = std::max(config_.oldest, oldest);
  const Note note{.oldest = config_.oldest, .lost = config_.lost};
  Add(
      kNoteGroup, 0, [&](std::string* out) { EncodeNote(note, out); }, std::move(durable));
}

void WalWriter::Roll() {
  const uint64_t previous_end = offset_;
  ++segment_;
  offset_ = kSegmentHeaderBytes;
  seed_ = SegmentSeed(config_.log_id, segment_);
  Open(previous_end);
}

void WalWriter::Open(uint64_t previous_end) {
  segment_records_ = 0;
  Note note{.oldest = config_.oldest,
            .previous_end = previous_end,
            .lost = config_.lost,
            .log_id = config_.log_id};
  config_.digest(Note::Digest::kOfLog, &note);
  Add(kNoteGroup, 0, [&](std::string* out) { EncodeNote(note, out); }, {});
  undigested_bytes_ = digest_bytes_ = 0;
}

void WalWriter::AddDigest() {
  Note note{.oldest = config_.oldest, .lost = config_.lost};
  config_.digest(Note::Digest::kOfSegment, &note);
  std::string body;
  EncodeNote(note, &body);
  digest_bytes_ = body.size();
  Add(kNoteGroup, 0, [&](std::string* out) { *out += body; }, {});
  // What another segment begins with is newer than this one.
  undigested_bytes_ = 0;
}

void WalWriter::MaybeDigest() {
  const uint64_t due =
      std::max(config_.segment_bytes / kDigestsPerSegment, kDigestShare * digest_bytes_);
  if (undigested_bytes_ >= due && !failed_) AddDigest();
}

// Writing begins in a later turn, so that everything this turn adds shares a sync.
void WalWriter::Wake() {
  if (writing_ || woken_) return;
  woken_ = true;
  env_.executor.Post(Alive([this] {
    woken_ = false;
    Write();
  }));
}

void WalWriter::Write() {
  if (writing_ || failed_ || queue_.empty()) return;
  if (queue_.front().segment != file_segment_) {
    PrepareNext();
    if (next_ != Next::kReady) return;  // NextReady comes back here
    file_ = std::move(next_file_);
    ++file_segment_;
    file_end_ = kSegmentHeaderBytes;
    next_ = Next::kNone;
    CHECK(queue_.front().segment == file_segment_);
    if (segment_ != file_segment_) PrepareNext();
    config_.segment_begun();
  }
  writing_ = true;
  in_flight_ = std::move(queue_.front());
  // No hole that would pass for the end of the log, and nothing written over.
  CHECK(in_flight_.offset == file_end_, "a batch at {}, the WAL segment ends at {}",
        in_flight_.offset, file_end_);
  file_end_ += in_flight_.bytes.size();
  queue_.pop_front();
  in_flight_bytes_ = std::make_shared<const std::string>(std::move(in_flight_.bytes));
  WriteInFlight();
}

void WalWriter::WriteInFlight() {
  file_->WriteAndSync(in_flight_.offset, in_flight_bytes_,
                      Alive([this, begun = env_.Now()](Status status) {
                        Written(std::move(status), in_flight_bytes_->size(), begun);
                      }));
}

bool WalWriter::waits_for_space() const {
  const bool waits_for_file = !queue_.empty() && queue_.front().segment != file_segment_;
  return batch_starved_ || (next_starved_ && waits_for_file);
}

// Nothing was synced, so nothing is unknown: the same is done again.
void WalWriter::WaitForSpace(const Status& status, Starved what) {
  if (failed_) return;
  PROBE("wal: waits for space");
  no_space_.Add();
  bool& starved = what == Starved::kBatch ? batch_starved_ : next_starved_;
  (what == Starved::kBatch ? retry_batch_ : retry_next_) = true;
  if (!std::exchange(starved, true)) env_.log.Error("wal: {}; it waits", status.ToString());
  if (space_timer_ != 0) return;
  space_timer_ = env_.executor.After(kSpaceRetry, Alive([this] {
                                       space_timer_ = 0;
                                       RetrySpace();
                                     }));
}

void WalWriter::RetrySpace() {
  if (failed_) return;
  if (std::exchange(retry_next_, false)) {
    next_ = Next::kNone;
    PrepareNext();
  }
  if (std::exchange(retry_batch_, false)) WriteInFlight();
}

void WalWriter::Written(Status status, uint64_t size, Instant begun) {
  if (status.code() == Code::kNoSpace) return WaitForSpace(status, Starved::kBatch);
  writing_ = false;
  if (!status.ok() && !MUTANT("wal-failed-sync-ignored")) return Fail(std::move(status));
  if (std::exchange(batch_starved_, false)) env_.log.Info("wal: there is space again");
  syncs_.Add();
  bytes_.Add(size);
  records_.Add(in_flight_.records);
  sync_us_.Record(static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(env_.Now() - begun).count()));
  // The disk goes on before the callbacks run; they may take a while.
  std::vector<Wal::Durable> durable = std::move(in_flight_.durable);
  in_flight_ = {};
  in_flight_bytes_ = nullptr;
  Write();
  ArmAckMark();
  const std::weak_ptr<bool> alive = alive_;
  for (Wal::Durable& done : durable) {
    if (alive.expired() || failed_) return;
    done();
  }
}

void WalWriter::ArmAckMark() {
  env_.executor.Cancel(std::exchange(ack_mark_timer_, 0));
  if (ack_marked_ || writing_ || !queue_.empty()) return;
  ack_mark_timer_ = env_.executor.After(kAckMarkDelay, Alive([this] {
                                          ack_mark_timer_ = 0;
                                          if (writing_ || !queue_.empty() || failed_) return;
                                          if (undigested_bytes_ >= kDigestShare * digest_bytes_) {
                                            AddDigest();
                                          } else {
                                            AddNote(config_.oldest, {});
                                          }
                                          ack_marked_ = true;
                                        }));
}

void WalWriter::Free(uint64_t segment) {
  const std::string name = SegmentName(segment);
  if (oversized_.erase(segment) == 0 && config_.free_files.size() < kFreeFilesMax) {
    config_.free_files.push_back(name);
    return;
  }
  // Callers free oldest first, and so they go: what remains is contiguous after a crash (ST25).
  files_.Background([&files = files_, path = Path(name)] { return files.Remove(path); },
                    Alive([this, name](const Status& status) {
                      if (status.ok()) return;
                      env_.log.Warn("wal: cannot remove {}: {}", name, status.ToString());
                    }));
}

// A file to be renamed to `name`; empty: there is none. One that has the name already goes first:
// it must not be replaced and stay in the list.
std::string WalWriter::TakeFree(const std::string& name) {
  std::vector<std::string>& free = config_.free_files;
  if (free.empty()) return {};
  auto it = std::find(free.begin(), free.end(), name);
  if (it == free.end()) --it;
  std::string taken = std::move(*it);
  free.erase(it);
  PROBE("wal: segment recycled");
  return taken;
}

void WalWriter::PrepareNext() {
  if (next_ != Next::kNone || failed_) return;
  next_ = Next::kPreparing;
  const uint64_t number = file_segment_ + 1;
  const std::string name = SegmentName(number);
  const std::string reused = TakeFree(name);
  const auto file = std::make_shared<std::shared_ptr<File>>();
  if (MUTANT("wal-directory-synced-in-a-turn")) (void)files_.SyncDirectory(config_.directory);
  // The name must be durable before the first record in the file is acknowledged (ST9).
  files_.Background(
      [&files = files_, directory = config_.directory, path = Path(name),
       from = reused.empty() ? reused : Path(reused),
       header = EncodeSegmentHeader({number, config_.log_id}), file]() -> Status {
        if (!from.empty()) RETURN_IF_ERROR(files.Rename(from, path));
        ASSIGN_OR_RETURN(*file, files.Open(path, OpenMode::kCreate));
        if (!MUTANT("wal-directory-not-synced")) RETURN_IF_ERROR(files.SyncDirectory(directory));
        RETURN_IF_ERROR((*file)->Write(0, header));
        return (*file)->Sync();
      },
      Alive([this, file, fill = reused.empty()](Status status) {
        if (status.code() == Code::kNoSpace) return WaitForSpace(status, Starved::kNextFile);
        if (!status.ok()) return Fail(std::move(status));
        next_file_ = std::move(*file);
        if (!fill) return NextReady();
        FillNext(kSegmentHeaderBytes);
      }));
}

void WalWriter::FillNext(uint64_t offset) {
  // Zeros only make later syncs cheaper: if records wait for the segment, they go first, and the
  // last of a disk is for what must be written.
  const bool wanted = !writing_ && !queue_.empty() && queue_.front().segment != file_segment_;
  if (offset >= config_.segment_bytes || wanted) return NextReady();
  const uint64_t size = std::min<uint64_t>(kFillBytes, config_.segment_bytes - offset);
  files_.Background(
      [&files = files_, directory = config_.directory, file = next_file_, offset, size,
       reserve = 2 * config_.segment_bytes]() -> Status {
        const Result<uint64_t> free = files.FreeBytes(directory);
        if (free.ok() && *free < reserve) return {Code::kNoSpace, "little of the disk is left"};
        RETURN_IF_ERROR(file->Write(offset, std::string(size, '\0')));
        return file->Sync();
      },
      Alive([this, offset, size](Status status) {
        // Little is left, or somebody else took it; the header is durable.
        if (status.code() == Code::kNoSpace) return NextReady();
        if (!status.ok()) return Fail(std::move(status));
        FillNext(offset + size);
      }));
}

void WalWriter::NextReady() {
  if (failed_) return;
  next_ = Next::kReady;
  next_starved_ = false;
  Write();
}

void WalWriter::Fail(Status status) {
  if (std::exchange(failed_, true)) return;
  env_.log.Error("wal: {}; nothing is acknowledged any more", status.ToString());
  queue_.clear();
  env_.executor.Cancel(std::exchange(ack_mark_timer_, 0));
  env_.executor.Post(Alive([this, status = std::move(status)]() mutable {
    if (on_failure_) on_failure_(std::move(status));
  }));
}

}  // namespace quorate::storage
