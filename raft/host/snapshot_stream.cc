#include "raft/host/snapshot_stream.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::raft {

Duration RateLimiter::Reserve(Instant now, size_t bytes) {
  if (free_at_ > now) return free_at_ - now;
  free_at_ =
      now + Duration(static_cast<int64_t>(1e9 * static_cast<double>(bytes) /
                                          static_cast<double>(std::max<uint64_t>(rate_, 1))));
  return Duration(0);
}

SnapshotSender::SnapshotSender(Env& env, Transport& transport, RateLimiter& limiter, Route route,
                               std::shared_ptr<const SnapshotImage> image, Done done)
    : env_(env),
      transport_(transport),
      limiter_(limiter),
      route_(route),
      image_(std::move(image)),
      done_(std::move(done)),
      progress_at_(env.Now()),
      sent_at_(env.Now()) {
  Arm(Duration(0));
}

SnapshotSender::~SnapshotSender() { env_.executor.Cancel(timer_); }

void SnapshotSender::OnAck(const SnapshotAck& ack) {
  if (ack.stream_id != route_.stream_id || ack.from != route_.to || outcome_) return;
  if (ack.installed || ack.refused) return Finish(ack.installed);
  if (ack.next_sequence > image_->chunks.size()) return;
  if (ack.next_sequence > acked_) {
    acked_ = ack.next_sequence;
    next_ = std::max(next_, acked_);
    progress_at_ = env_.Now();
    held_since_.reset();
  } else if (ack.next_sequence == 0 && acked_ > 0) {
    // The receiver forgot everything. A late ack of the first chunks looks the same and only makes
    // us send again what the receiver will skip.
    PROBE("raft host: snapshot stream restarted");
    acked_ = next_ = 0;
  }
  Arm(Duration(0));
}

void SnapshotSender::Pump() {
  const Instant now = env_.Now();
  if (held_since_ && !MUTANT("raft-snapshot-held-counts")) progress_at_ += now - *held_since_;
  held_since_.reset();
  if (now - progress_at_ >= kStreamTimeout) return Finish(false);
  const uint64_t count = image_->chunks.size();
  if (next_ > acked_ && now - sent_at_ >= kStreamRetry) {
    PROBE("raft host: snapshot chunk resent");
    next_ = acked_;
  }
  // All arrived, and no verdict: the last one is sent again until the receiver has installed.
  const uint64_t from = std::min(acked_, count - 1);
  if (acked_ == count && now - sent_at_ >= kStreamRetry) next_ = from;
  while (next_ < count && next_ < from + kStreamWindow) {
    const Duration wait = limiter_.Reserve(now, image_->chunks[next_].size());
    if (wait > Duration(0)) {
      held_since_ = now;
      return Arm(wait);
    }
    SendOne();
  }
  Arm(kStreamRetry);
}

void SnapshotSender::SendOne() {
  SnapshotChunk chunk;
  chunk.group = route_.group;
  chunk.from = route_.from;
  chunk.to = route_.to;
  chunk.term = route_.term;
  chunk.meta = image_->meta;
  chunk.stream_id = route_.stream_id;
  chunk.sequence = next_;
  chunk.last = next_ + 1 == image_->chunks.size();
  chunk.data = image_->chunks[next_];
  chunk.crc32c = Crc32c(chunk.data);
  ++next_;
  sent_at_ = env_.Now();
  transport_.SendChunk(route_.to, std::move(chunk));
}

void SnapshotSender::Arm(Duration delay) {
  env_.executor.Cancel(timer_);
  timer_ = env_.executor.After(delay, [this] {
    timer_ = 0;
    if (!outcome_) return Pump();
    auto done = std::move(done_);
    done(*outcome_);  // may destroy this
  });
}

void SnapshotSender::Finish(bool installed) {
  outcome_ = installed;
  Arm(Duration(0));
}

SnapshotReceiver::SnapshotReceiver(const SnapshotChunk& first, const StateMachine& machine)
    : machine_(machine),
      from_(first.from),
      term_(first.term),
      stream_id_(first.stream_id),
      meta_(first.meta) {}

bool SnapshotReceiver::Matches(const SnapshotChunk& chunk) const {
  return chunk.from == from_ && chunk.stream_id == stream_id_ && chunk.term == term_ &&
         chunk.meta == meta_;
}

SnapshotReceiver::Verdict SnapshotReceiver::Add(const SnapshotChunk& chunk) {
  if (chunk.sequence != next_) return Verdict::kMore;
  const auto understood = [this](std::string_view key, std::string_view value) {
    return machine_.Understands(key, value);
  };
  if (Crc32c(chunk.data) != chunk.crc32c || !load_.Add(chunk.data, understood) ||
      load_.bytes() > kSnapshotBytesMax) {
    return Verdict::kMalformed;
  }
  ++next_;
  return chunk.last ? Verdict::kComplete : Verdict::kMore;
}

}  // namespace quorate::raft
