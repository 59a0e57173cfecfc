// Snapshot streams: an image in checksummed chunks on the bulk lane.
//
//   sender                                   receiver
//   chunk 0 .. kWindow-1  ───────────────►   checks, buffers, loads
//                         ◄───────────────   ack {next_sequence}
//   ...                   ───────────────►   last: installs, makes it durable
//                         ◄───────────────   ack {installed} or {refused}
//
// A lost chunk or a broken connection resumes at next_sequence; a receiver that restarted says 0.
// All streams of a node share one rate. A sender without progress for kStreamTimeout gives up; the
// time in which it may not send, since others have the rate, does not count. Nor does a receiver
// give up what it has while chunks arrive, however slowly; a follower forgets it when none did for
// kReceiverTimeout, or when the log was faster.
// Both are owned by their group; the rules of when to start and install are group.h's.
#pragma once

#include <memory>
#include <optional>

#include "base/env.h"
#include "raft/host/snapshot_image.h"
#include "raft/host/state_machine.h"
#include "raft/host/transport.h"

namespace quorate::raft {

inline constexpr uint64_t kStreamWindow = 8;     // chunks under way per stream
inline constexpr Duration kStreamRetry = 500ms;  // without an ack: resend from the last one
inline constexpr Duration kStreamTimeout = 10s;  // without progress: failed
// A follower that receives forgets what it has of a stream without progress for so long. A sender
// waits its turn for the rate meanwhile, but not a minute.
inline constexpr Duration kReceiverTimeout = 60s;

// A token bucket of one burst: bytes per second over all streams of a node.
class RateLimiter {
 public:
  explicit RateLimiter(uint64_t bytes_per_second) : rate_(bytes_per_second) {}
  // Zero: `bytes` may be sent now and are accounted for. Else: ask again after that long.
  Duration Reserve(Instant now, size_t bytes);

 private:
  uint64_t rate_;
  Instant free_at_{};
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
  const Route& route() const { return route_; }
  const SnapshotMeta& meta() const { return image_->meta; }

 private:
  void Pump();
  void SendOne();
  void Arm(Duration delay);
  void Finish(bool installed);

  Env& env_;
  Transport& transport_;
  RateLimiter& limiter_;
  const Route route_;
  const std::shared_ptr<const SnapshotImage> image_;
  Done done_;
  uint64_t acked_ = 0;  // the receiver has everything below
  uint64_t next_ = 0;   // to be sent
  Instant progress_at_;
  Instant sent_at_;
  std::optional<Instant> held_since_;  // by the rate
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
  const Term term_;
  const uint64_t stream_id_;
  const SnapshotMeta meta_;
  uint64_t next_ = 0;
  SnapshotLoad load_;
};

}  // namespace quorate::raft
