#include "storage/wal_writer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::storage {
namespace {

// A new segment is zeroed in writes of this size, each about as long as one batch takes.
constexpr uint64_t kFillBytes = 256 << 10;
// A batch beyond this does not grow any more, so that its first callers do not wait for its last.
constexpr size_t kBatchBytesMax = 4 << 20;

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
      file_(std::move(config_.file)),
      no_space_(env.metrics.GetCounter("quorate_wal_no_space_total",
                                       "WAL writes that found no space and were tried again")),
      syncs_(env.metrics.GetCounter("quorate_wal_syncs_total", "WAL writes with their sync")),
      bytes_(env.metrics.GetCounter("quorate_wal_bytes_total", "bytes written to the WAL")),
      records_(env.metrics.GetCounter("quorate_wal_records_total", "records written to the WAL")),
      sync_us_(env.metrics.GetHistogram("quorate_wal_sync_us", "time of a WAL write and sync")) {
  // Recovery may have cut the last segment's very first write.
  if (offset_ == kSegmentHeaderBytes) Open(config_.previous_end);
}

WalWriter::~WalWriter() {
  env_.executor.Cancel(ack_mark_timer_);
  env_.executor.Cancel(space_timer_);
}

WalWriter::Batch& WalWriter::OpenBatch() {
  if (queue_.empty() || queue_.back().segment != segment_ ||
      queue_.back().bytes.size() >= kBatchBytesMax) {
    queue_.push_back({segment_, offset_, 0, {}, {}});
  }
  return queue_.back();
}

uint64_t WalWriter::Add(GroupId group, uint32_t seq, EncodeFn encode, Wal::Durable durable) {
  if (failed_) return segment_;
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
  offset_ += size;
  if (offset_ > config_.segment_bytes) oversized_.insert(segment_);
  ++segment_records_;
  ++batch->records;
  if (durable && MUTANT("wal-reply-before-sync")) env_.executor.Post(std::exchange(durable, {}));
  if (durable) batch->durable.push_back(std::move(durable));
  ack_marked_ = false;
  if (offset_ > config_.segment_bytes / 2) PrepareNext();
  Wake();
  return segment_;
}

void WalWriter::AddNote(uint64_t oldest, Wal::Durable durable) {
  config_.oldest = std::max(config_.oldest, oldest);
  const Note note{config_.oldest, 0, config_.lost};
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
  const Note note{config_.oldest, previous_end, config_.lost};
  Add(kNoteGroup, 0, [&](std::string* out) { EncodeNote(note, out); }, {});
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
    next_ = Next::kNone;
    CHECK(queue_.front().segment == file_segment_);
    if (segment_ != file_segment_) PrepareNext();
  }
  writing_ = true;
  in_flight_ = std::move(queue_.front());
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
  PROBE("wal waits for space");
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
                                          AddNote(config_.oldest, {});
                                          ack_marked_ = true;
                                        }));
}

void WalWriter::Free(uint64_t segment) {
  const std::string name = SegmentName(segment);
  if (oversized_.erase(segment) == 0 && config_.free_files.size() < kFreeFilesMax) {
    config_.free_files.push_back(name);
    return;
  }
  // Callers free oldest first: what remains is contiguous after a crash (ST25).
  const Status status = files_.Remove(Path(name));
  if (!status.ok()) env_.log.Warn("wal: cannot remove {}: {}", name, status.ToString());
}

void WalWriter::PrepareNext() {
  if (next_ != Next::kNone || failed_) return;
  next_ = Next::kPreparing;
  Status status = BeginNext();
  if (status.code() == Code::kNoSpace) {
    WaitForSpace(status, Starved::kNextFile);
  } else if (!status.ok()) {
    Fail(std::move(status));
  }
}

Status WalWriter::BeginNext() {
  const uint64_t number = file_segment_ + 1;
  const std::string path = Path(SegmentName(number));
  bool reused = false;
  if (!config_.free_files.empty()) {
    // A file that has the name already goes first: it must not be replaced and stay in the list.
    auto it = std::find(config_.free_files.begin(), config_.free_files.end(), SegmentName(number));
    if (it == config_.free_files.end()) --it;
    const std::string name = *it;
    config_.free_files.erase(it);
    RETURN_IF_ERROR(files_.Rename(Path(name), path));
    reused = true;
    PROBE("wal segment recycled");
  }
  ASSIGN_OR_RETURN(next_file_, files_.Open(path, OpenMode::kCreate));
  // The name must be durable before the first record in the file is acknowledged (ST9).
  if (!MUTANT("wal-directory-not-synced")) {
    RETURN_IF_ERROR(files_.SyncDirectory(config_.directory));
  }
  next_file_->WriteAndSync(
      0, std::make_shared<std::string>(EncodeSegmentHeader({number, config_.log_id})),
      Alive([this, reused](Status status) {
        if (status.code() == Code::kNoSpace) {
          return WaitForSpace(status, Starved::kNextFile);
        }
        if (!status.ok()) return Fail(std::move(status));
        if (reused) return NextReady();
        FillNext(kSegmentHeaderBytes);
      }));
  return Status::Ok();
}

void WalWriter::FillNext(uint64_t offset) {
  // Zeros only make later syncs cheaper: if records wait for the segment, they go first, and the
  // last of a disk is for what must be written.
  const bool wanted = !writing_ && !queue_.empty() && queue_.front().segment != file_segment_;
  const Result<uint64_t> free = files_.FreeBytes(config_.directory);
  const bool scarce = free.ok() && *free < 2 * config_.segment_bytes;
  if (offset >= config_.segment_bytes || wanted || scarce) return NextReady();
  const uint64_t size = std::min<uint64_t>(kFillBytes, config_.segment_bytes - offset);
  next_file_->WriteAndSync(offset, std::make_shared<std::string>(size, '\0'),
                           Alive([this, offset, size](Status status) {
                             // Somebody else took the space; the header is durable.
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
