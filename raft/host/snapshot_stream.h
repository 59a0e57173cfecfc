// Snapshot streams: a pinned state in checksummed chunks on the bulk lane.
//
//   sender                                   receiver
//   chunk 0 .. kWindow-1  ───────────────►   checks, queues; stores while there is room
//                         ◄───────────────   ack {next_sequence}: what is below is in the store
//   ...                   ───────────────►   last: installs, makes it durable
//                         ◄───────────────   ack {installed} or {refused}
//
// Both sides hold at most a window of chunks. A lost chunk or a broken connection resumes at
// next_sequence; for a receiver that restarted, which says 0, the sender reads from the beginning.
// All streams of a node share one rate, a chunk each in turn. A sender gives up a receiver that was
// sent the same chunk kStreamTries times within kStreamTimeout or longer, and said nothing; while
// it waits for its turn with a chunk that was not sent yet, nobody is silent, and a receiver that
// is still deleting what the state replaces, or waits for room in its store, answers with what it
// has. Nor does a receiver give up what it has while it gets on, however slowly; it does when it
// did not for kReceiverTimeout. A stream outlives an election that its sender wins: it goes on in
// the new term.
// Both are owned by their group; the rules of when to start and install are group.h's.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "base/env.h"
#include "raft/host/snapshot_chunks.h"
#include "raft/host/state_machine.h"
#include "raft/host/transport.h"

namespace quorate::raft {

inline constexpr uint64_t kStreamWindow = 8;     // chunks under way per stream
inline constexpr Duration kStreamRetry = 500ms;  // without an ack: resend from the last one
inline constexpr Duration kStreamTimeout = 10s;  // without progress: failed,
inline constexpr int kStreamTries = 3;           // but not before so many sendings
// A receiver forgets what it has of a stream without progress for so long. The sender waits for its
// turn meanwhile.
inline constexpr Duration kReceiverTimeout = 60s;
// A receiver that answers all the time and takes nothing: it must not keep the pin for ever.
inline constexpr Duration kStreamStalledMax = 10min;

// The rate of a node's streams. Who waits gets it in the order of asking and for one chunk: nobody,
// and least of all a stream whose receiver is gone, has more than its turn.
class RateLimiter {
 public:
  // Returns how many bytes were sent. May ask again, and leave.
  using Turn = absl::AnyInvocable<size_t()>;

  RateLimiter(Env& env, uint64_t bytes_per_second) : env_(env), rate_(bytes_per_second) {}
  RateLimiter(const RateLimiter&) = delete;
  ~RateLimiter() { env_.executor.Cancel(timer_); }

  // `turn` runs once, never inside this call, unless it leaves before.
  uint64_t Ask(Turn turn);
  // Nothing if it had its turn.
  void Leave(uint64_t ticket);

 private:
  void Arm();
  void Serve();

  Env& env_;
  const uint64_t rate_;
  Instant free_at_{};
  uint64_t last_ticket_ = 0;
  std::map<uint64_t, Turn> waiting_;
  TimerId timer_ = 0;
};

class SnapshotSender {
 public:
  struct Route {
    GroupId group;
    ReplicaId from;
    ReplicaId to;
    Term term;
    uint64_t stream_id = 0;
  };
  enum class Outcome : uint8_t { kInstalled, kRefused, kSilent, kUnreadable };
  // `done` runs at most once, in a turn of its own; destroying the sender cancels it.
  using Done = absl::AnyInvocable<void(Outcome)>;

  SnapshotSender(Env& env, Transport& transport, RateLimiter& limiter, Route route,
                 std::shared_ptr<const SnapshotSource> source, size_t chunk_bytes, Done done);
  SnapshotSender(const SnapshotSender&) = delete;
  ~SnapshotSender();

  void OnAck(const SnapshotAck& ack);
  // Its group's leadership was won anew.
  void Continue(Term term) { route_.term = term; }
  // From now on its chunks count for a quarter of what they did towards the node's rate.
  void Hurry() { hurry_ *= 4; }
  bool hurries() const { return hurry_ > 1; }
  const Route& route() const { return route_; }
  const SnapshotMeta& meta() const { return source_->meta; }

 private:
  // The chunk that the receiver waits for.
  uint64_t First() const { return end_ ? std::min(acked_, *end_ - 1) : acked_; }
  bool MaySend() const;
  void Restart();
  void ReadAhead();
  void OnRead(Result<ChunkReader::Chunk> chunk);
  void DropAcked();
  void Pump();
  size_t SendOne();
  void Arm(Duration delay);
  void Finish(Outcome outcome);

  Env& env_;
  Transport& transport_;
  RateLimiter& limiter_;
  Route route_;
  const std::shared_ptr<const SnapshotSource> source_;
  const size_t chunk_bytes_;
  Done done_;
  std::unique_ptr<ChunkReader> reader_;
  bool reading_ = false;
  std::deque<std::string> window_;  // read, from first_ on
  uint64_t first_ = 0;
  std::optional<uint64_t> end_;  // number of chunks, once the last one was read
  uint64_t acked_ = 0;           // the receiver has everything below
  uint64_t next_ = 0;            // to be sent
  uint64_t sent_ = 0;            // everything below was, at least once
  int tries_ = 0;                // sendings of First() without an answer,
  Instant silent_since_;         // since the first of them
  Instant progress_at_;
  Instant sent_at_;
  size_t hurry_ = 1;
  uint64_t ticket_ = 0;  // 0: waits for no turn
  TimerId timer_ = 0;
  std::optional<Outcome> outcome_;
};

// What has arrived of one stream and was not taken yet: at most a window.
class SnapshotReceiver {
 public:
  // `machine`, which judges the pairs, outlives it.
  SnapshotReceiver(const SnapshotChunk& first, const StateMachine& machine);

  // False: malformed. Chunks may come in any order: those of the window that begins with the first
  // one that was not taken are kept. Repeated ones, and later ones, change nothing.
  bool Add(const SnapshotChunk& chunk);
  // The next part of the state, in order.
  bool HasPart() const { return !parts_.empty(); }
  storage::WriteBatch TakePart();
  // How many were taken; all of them.
  uint64_t taken() const { return taken_; }
  bool complete() const { return complete_ && parts_.empty(); }

  // Whether the chunk is of this stream, in whatever term.
  bool Matches(const SnapshotChunk& chunk) const;
  ReplicaId from() const { return from_; }
  Term term() const { return term_; }
  uint64_t stream_id() const { return stream_id_; }
  uint64_t next_sequence() const { return taken_ + parts_.size(); }
  const SnapshotMeta& meta() const { return meta_; }
  const Spans& spans() const { return load_.spans(); }  // of the first chunk

 private:
  const StateMachine& machine_;
  const ReplicaId from_;
  Term term_;  // of the newest chunk
  const uint64_t stream_id_;
  const SnapshotMeta meta_;
  uint64_t taken_ = 0;
  bool complete_ = false;                    // the last one has arrived, and all before it
  std::map<uint64_t, SnapshotChunk> early_;  // by sequence: one before them has not arrived
  std::deque<storage::WriteBatch> parts_;
  SnapshotLoad load_;
};

}  // namespace quorate::raft
