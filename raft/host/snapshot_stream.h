// Snapshot streams: an image in checksummed chunks on the bulk lane.
//
//   sender                                   receiver
//   chunk 0 .. kWindow-1  ───────────────►   checks, buffers, loads
//                         ◄───────────────   ack {next_sequence}
//   ...                   ───────────────►   last: installs, makes it durable
//                         ◄───────────────   ack {installed} or {refused}
//
// A lost chunk or a broken connection resumes at next_sequence; a receiver that restarted says 0.
// All streams of a node share one rate, a chunk each in turn. A sender gives up a receiver that was
// sent the same chunk kStreamTries times within kStreamTimeout or longer, and said nothing; while
// it waits for its turn with a chunk that was not sent yet, nobody is silent. Nor does a receiver
// give up what it has while chunks arrive, however slowly; it forgets it when none did for
// kReceiverTimeout, or when the log was faster. A stream outlives an election that its sender wins:
// it goes on in the new term.
// Both are owned by their group; the rules of when to start and install are group.h's.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "base/env.h"
#include "raft/host/snapshot_image.h"
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
  // `done` runs at most once, in a turn of its own; destroying the sender cancels it.
  using Done = absl::AnyInvocable<void(bool installed)>;

  SnapshotSender(Env& env, Transport& transport, RateLimiter& limiter, Route route,
                 std::shared_ptr<const SnapshotImage> image, Done done);
  SnapshotSender(const SnapshotSender&) = delete;
  ~SnapshotSender();

  void OnAck(const SnapshotAck& ack);
  // Its group's leadership was won anew.
  void Continue(Term term) { route_.term = term; }
  const Route& route() const { return route_; }
  const SnapshotMeta& meta() const { return image_->meta; }

 private:
  // The chunk that the receiver waits for.
  uint64_t First() const { return std::min<uint64_t>(acked_, image_->chunks.size() - 1); }
  bool MaySend() const;
  void Pump();
  size_t SendOne();
  void Arm(Duration delay);
  void Finish(bool installed);

  Env& env_;
  Transport& transport_;
  RateLimiter& limiter_;
  Route route_;
  const std::shared_ptr<const SnapshotImage> image_;
  Done done_;
  uint64_t acked_ = 0;    // the receiver has everything below
  uint64_t next_ = 0;     // to be sent
  int tries_ = 0;         // sendings of First() without progress,
  Instant silent_since_;  // since the first of them
  Instant sent_at_;
  uint64_t ticket_ = 0;  // 0: waits for no turn
  TimerId timer_ = 0;
  std::optional<bool> outcome_;
};

// What has arrived of one stream.
class SnapshotReceiver {
 public:
  // `machine`, which judges the pairs, outlives it.
  SnapshotReceiver(const SnapshotChunk& first, const StateMachine& machine);

  enum class Verdict : uint8_t { kMore, kComplete, kMalformed };
  // Repeated and too early chunks change nothing.
  Verdict Add(const SnapshotChunk& chunk);

  // Whether the chunk is of this stream, in whatever term.
  bool Matches(const SnapshotChunk& chunk) const;
  ReplicaId from() const { return from_; }
  Term term() const { return term_; }
  uint64_t stream_id() const { return stream_id_; }
  uint64_t next_sequence() const { return next_; }
  const SnapshotMeta& meta() const { return meta_; }
  SnapshotLoad& load() { return load_; }

 private:
  const StateMachine& machine_;
  const ReplicaId from_;
  Term term_;  // of the newest chunk
  const uint64_t stream_id_;
  const SnapshotMeta meta_;
  uint64_t next_ = 0;
  SnapshotLoad load_;
};

}  // namespace quorate::raft
