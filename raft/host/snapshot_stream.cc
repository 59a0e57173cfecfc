#include "raft/host/snapshot_stream.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::raft {

uint64_t RateLimiter::Ask(Turn turn) {
  waiting_.emplace(++last_ticket_, std::move(turn));
  Arm();
  return last_ticket_;
}

void RateLimiter::Leave(uint64_t ticket) { waiting_.erase(ticket); }

void RateLimiter::Arm() {
  env_.executor.Cancel(std::exchange(timer_, 0));
  if (waiting_.empty()) return;
  timer_ = env_.executor.After(std::max(Duration(0), free_at_ - env_.Now()), [this] { Serve(); });
}

void RateLimiter::Serve() {
  timer_ = 0;
  if (waiting_.empty()) return;
  auto first = waiting_.extract(waiting_.begin());
  const double bytes = static_cast<double>(first.mapped()());
  const double rate = static_cast<double>(std::max<uint64_t>(rate_, 1));
  free_at_ = env_.Now() + Duration(static_cast<int64_t>(1e9 * bytes / rate));
  Arm();
}

SnapshotSender::SnapshotSender(Env& env, Transport& transport, RateLimiter& limiter, Route route,
                               std::shared_ptr<const SnapshotImage> image, Done done)
    : env_(env),
      transport_(transport),
      limiter_(limiter),
      route_(route),
      image_(std::move(image)),
      done_(std::move(done)),
      silent_since_(env.Now()),
      sent_at_(env.Now()) {
  Arm(Duration(0));
}

SnapshotSender::~SnapshotSender() {
  limiter_.Leave(ticket_);
  env_.executor.Cancel(timer_);
}

void SnapshotSender::OnAck(const SnapshotAck& ack) {
  if (ack.stream_id != route_.stream_id || ack.from != route_.to || outcome_) return;
  if (ack.installed || ack.refused) return Finish(ack.installed);
  if (ack.next_sequence > image_->chunks.size()) return;
  if (ack.next_sequence > acked_) {
    acked_ = ack.next_sequence;
    next_ = std::max(next_, acked_);
    tries_ = 0;
    silent_since_ = env_.Now();
  } else if (ack.next_sequence == 0 && acked_ > 0) {
    // The receiver forgot everything. A late ack of the first chunks looks the same and only makes
    // us send again what the receiver will skip.
    PROBE("raft host: snapshot stream restarted");
    acked_ = next_ = 0;
  }
  Arm(Duration(0));
}

bool SnapshotSender::MaySend() const {
  return !outcome_ && next_ < image_->chunks.size() && next_ < First() + kStreamWindow;
}

void SnapshotSender::Pump() {
  const Instant now = env_.Now();
  const bool tried = tries_ >= kStreamTries || MUTANT("raft-snapshot-held-counts");
  if (tried && now - silent_since_ >= kStreamTimeout) return Finish(false);
  if (next_ > acked_ && now - sent_at_ >= kStreamRetry) {
    PROBE("raft host: snapshot chunk resent");
    next_ = acked_;
  }
  // All arrived, and no verdict: the last one is sent again until the receiver has installed.
  if (acked_ == image_->chunks.size() && now - sent_at_ >= kStreamRetry) next_ = First();
  if (MaySend() && ticket_ == 0) {
    ticket_ = limiter_.Ask([this] {
      ticket_ = 0;
      const size_t bytes = MaySend() ? SendOne() : 0;  // or it was acknowledged meanwhile
      Arm(Duration(0));
      return bytes;
    });
  }
  Arm(kStreamRetry);
}

size_t SnapshotSender::SendOne() {
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
  sent_at_ = env_.Now();
  if (next_ == First() && tries_++ == 0) silent_since_ = sent_at_;
  ++next_;
  const size_t bytes = chunk.data.size();
  transport_.SendChunk(route_.to, std::move(chunk));
  return bytes;
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
  return chunk.from == from_ && chunk.stream_id == stream_id_ && chunk.meta == meta_;
}

SnapshotReceiver::Verdict SnapshotReceiver::Add(const SnapshotChunk& chunk) {
  term_ = std::max(term_, chunk.term);
  if (chunk.sequence != next_) return Verdict::kMore;
  const auto understood = [this](std::string_view key, std::string_view value) {
    return machine_.Understands(key, value);
  };
  if (Crc32c(chunk.data) != chunk.crc32c || !load_.Add(chunk.data, understood) ||
      load_.bytes() > limits::kSnapshotBytesMax) {
    return Verdict::kMalformed;
  }
  ++next_;
  return chunk.last ? Verdict::kComplete : Verdict::kMore;
}

}  // namespace quorate::raft
