// Group commit into one segment after the other.
//
//   Add ──► batch that is being filled ──► batch in flight (one write + sync) ──► durable callbacks
//
// One batch is in flight at a time and everything that is added meanwhile goes into the next, so
// the number of syncs does not depend on the number of records. A record is encoded once, in the
// place from which it is written. A batch lies in one segment; where that is full, the next one
// begins.
//
// The next segment is made ready when the current one is half full: a segment that is not needed
// any more is renamed and gets a new header, or a new file is filled with zeros in small steps;
// less so where little of the disk is left. Names, directories and files that go are the file
// system's background work, so that neither the executor nor a batch waits for them; what waits is
// only a batch for a segment that is not ready yet. Until its first record is written a segment
// holds nothing, and a crash in between leaves a file that recovery reuses.
//
// A batch that finds no space is kept and written again every kSpaceRetry, as is the file of the
// next segment.
//
// If nothing follows a batch for kAckMarkDelay, a note is written behind it: evidence that
// everything before it was acknowledged, so that later damage is not taken for a torn tail (ST4).
//
// Digests (wal_format.h) come with each segment's first note, with the note behind what was
// acknowledged, and now and then in between, as far as they are small against what was written.
#pragma once

#include <absl/functional/function_ref.h>

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/limits.h"
#include "storage/wal_format.h"

namespace quorate::storage {

inline constexpr Duration kAckMarkDelay = 1s;
inline constexpr Duration kSpaceRetry = 100ms;
// What one write is at most: a batch beyond kWalBatchBytes does not grow any more, so that its
// first callers do not wait for its last, and the record that filled it may be of the largest.
inline constexpr uint64_t kWalBatchBytes = 4 << 20;
inline constexpr uint64_t kWalBatchBytesMax =
    kWalBatchBytes + limits::kWalRecordBytesMax + (4 << 20);
// Files kept for reuse besides the prepared one. Segments come free several at a time, when the one
// group that held the oldest is copied forward.
inline constexpr size_t kFreeFilesMax = 3;

class WalWriter {
 public:
  struct Config {
    std::string directory;
    uint64_t segment_bytes = 0;
    uint64_t log_id = 0;
    // Where to go on, and the files (names) that may be reused.
    uint64_t segment = 0;
    uint64_t offset = 0;
    std::unique_ptr<File> file;
    uint64_t previous_end = 0;  // as in Note
    std::vector<std::string> free_files;
    bool lost = false;
    // Fills in the digest of a note, which covers what was added so far.
    std::function<void(Note::Digest digest, Note* note)> digest;
    // The next segment is written to: all below it are in their files.
    std::function<void()> segment_begun;
    uint64_t oldest = 0;
  };
  WalWriter(Env& env, FileSystem& files, Config config);
  ~WalWriter();

  // Queues a record whose body `encode` appends to the string. Returns where it will lie.
  using EncodeFn = absl::FunctionRef<void(std::string* out)>;
  Place Add(GroupId group, uint32_t seq, EncodeFn encode, Wal::Durable durable);
  // Queues a note that segments below `oldest` are not needed.
  void AddNote(uint64_t oldest, Wal::Durable durable);
  // Queues a digest if enough was written since the one before. For callers that have brought their
  // books up to date with what they added.
  void MaybeDigest();
  // The file of `segment` may be reused: the note that says so is durable.
  void Free(uint64_t segment);
  void OnFailure(std::function<void(Status)> callback) { on_failure_ = std::move(callback); }

  uint64_t segment() const { return segment_; }
  // A batch waits for room in its file, or for the file.
  bool waits_for_space() const;
  // The segment that is written to; what was added may be for later ones.
  uint64_t file_segment() const { return file_segment_; }
  bool failed() const { return failed_; }

 private:
  struct Batch {
    uint64_t segment = 0;
    uint64_t offset = 0;
    uint64_t records = 0;
    std::string bytes;
    std::vector<Wal::Durable> durable;
  };

  Batch& OpenBatch();
  void Roll();
  void Open(uint64_t previous_end);
  void Wake();
  void Write();
  void WriteInFlight();
  enum class Starved : uint8_t { kBatch, kNextFile };
  void WaitForSpace(const Status& status, Starved what);
  void RetrySpace();
  void Written(Status status, uint64_t size, Instant begun);
  void ArmAckMark();
  void AddDigest();
  void PrepareNext();
  std::string TakeFree(const std::string& name);
  void FillNext(uint64_t offset);
  void NextReady();
  void Fail(Status status);
  std::string Path(const std::string& name) const { return config_.directory + "/" + name; }
  // Wraps `fn` so that it does nothing once this writer is gone.
  template <class F>
  auto Alive(F fn);

  Env& env_;
  FileSystem& files_;
  Config config_;
  std::function<void(Status)> on_failure_;
  bool failed_ = false;

  // Where the next record goes: behind everything queued.
  uint64_t segment_;
  uint64_t offset_;
  uint32_t seed_;
  // Records in segment_, as far as it matters: one (its opening note) or more.
  uint64_t segment_records_ = 2;
  std::set<uint64_t> oversized_;  // not worth recycling
  // Since the newest digest in segment_, and the size of that.
  uint64_t undigested_bytes_ = 0;
  uint64_t digest_bytes_ = 0;
  std::deque<Batch> queue_;
  Batch in_flight_;
  File::Bytes in_flight_bytes_;  // kept until they are durable
  bool writing_ = false;
  bool woken_ = false;
  TimerId ack_mark_timer_ = 0;
  bool ack_marked_ = false;
  bool batch_starved_ = false;
  bool next_starved_ = false;
  bool retry_batch_ = false;  // when space_timer_ fires
  bool retry_next_ = false;
  TimerId space_timer_ = 0;

  uint64_t file_segment_;  // what is written to now
  uint64_t file_end_;      // behind all that was begun to be written to it
  std::shared_ptr<File> file_;
  enum class Next : uint8_t { kNone, kPreparing, kReady } next_ = Next::kNone;
  std::shared_ptr<File> next_file_;  // shared with what runs in the background

  Counter& no_space_;
  Counter& syncs_;
  Counter& bytes_;
  Counter& records_;
  Histogram& sync_us_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::storage
