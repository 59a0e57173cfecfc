#include "raft/host/snapshot_stream.h"

#include <algorithm>

#include "base/check.h"
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
                               std::shared_ptr<const SnapshotSource> source, size_t chunk_bytes,
                               Done done)
    : env_(env),
      transport_(transport),
      limiter_(limiter),
      route_(route),
      source_(std::move(source)),
      chunk_bytes_(chunk_bytes),
      done_(std::move(done)),
      reader_(std::make_unique<ChunkReader>(source_, chunk_bytes)),
      silent_since_(env.Now()),
      progress_at_(env.Now()),
      sent_at_(env.Now()) {
  Arm(Duration(0));
}

SnapshotSender::~SnapshotSender() {
  limiter_.Leave(ticket_);
  env_.executor.Cancel(timer_);
}

void SnapshotSender::OnAck(const SnapshotAck& ack) {
  if (ack.stream_id != route_.stream_id || ack.from != route_.to || outcome_) return;
  if (ack.installed) return Finish(Outcome::kInstalled);
  if (ack.refused) return Finish(Outcome::kRefused);
  if (ack.next_sequence > sent_) return;
  tries_ = 0;
  silent_since_ = env_.Now();
  if (ack.next_sequence > acked_) {
    acked_ = ack.next_sequence;
    next_ = std::max(next_, acked_);
    progress_at_ = env_.Now();
    DropAcked();
  } else if (ack.next_sequence == 0 && acked_ > 0) {
    // The receiver forgot everything. A late ack of the first chunks looks the same and only makes
    // us read and send again what the receiver will skip.
    PROBE("raft host: snapshot stream restarted");
    Restart();
  }
  Arm(Duration(0));
}

void SnapshotSender::Restart() {
  acked_ = next_ = 0;
  if (first_ == 0) return;
  first_ = 0;
  window_.clear();
  end_.reset();
  reading_ = false;
  reader_ = std::make_unique<ChunkReader>(source_, chunk_bytes_);
}

// The last one stays: it asks for the verdict.
void SnapshotSender::DropAcked() {
  while (!window_.empty() && first_ < First()) {
    window_.pop_front();
    ++first_;
  }
}

void SnapshotSender::ReadAhead() {
  if (reading_ || end_ || window_.size() >= kStreamWindow) return;
  reading_ = true;
  reader_->Next([this](Result<ChunkReader::Chunk> chunk) { OnRead(std::move(chunk)); });
}

void SnapshotSender::OnRead(Result<ChunkReader::Chunk> chunk) {
  reading_ = false;
  if (outcome_) return;
  if (!chunk.ok()) {
    PROBE("raft host: snapshot not readable");
    env_.log.Warn("raft group {}: the snapshot at {} to node {} is given up: {}", route_.group,
                  source_->meta.index, route_.to, chunk.status().ToString());
    return Finish(Outcome::kUnreadable);
  }
  if (chunk->last) end_ = first_ + window_.size() + 1;
  window_.push_back(std::move(chunk->data));
  DropAcked();
  Arm(Duration(0));
}

bool SnapshotSender::MaySend() const {
  return !outcome_ && next_ >= first_ && next_ < first_ + window_.size() &&
         next_ < First() + kStreamWindow;
}

void SnapshotSender::Pump() {
  const Instant now = env_.Now();
  const bool tried = tries_ >= kStreamTries || MUTANT("raft-snapshot-held-counts");
  if (tried && now - silent_since_ >= kStreamTimeout) return Finish(Outcome::kSilent);
  if (sent_ > 0 && now - progress_at_ >= kStreamStalledMax) {
    return Finish(Outcome::kSilent);
  }
  ReadAhead();
  if (next_ > acked_ && now - sent_at_ >= kStreamRetry) {
    PROBE("raft host: snapshot chunk resent");
    next_ = acked_;
  }
  // All arrived, and no verdict: the last one is sent again until the receiver has installed.
  if (end_ && acked_ == *end_ && now - sent_at_ >= kStreamRetry) next_ = First();
  if (MaySend() && ticket_ == 0) {
    ticket_ = limiter_.Ask([this] {
      ticket_ = 0;
      const size_t bytes = MaySend() ? SendOne() : 0;  // or it was acknowledged meanwhile
      Arm(Duration(0));
      return bytes / hurry_;
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
  chunk.meta = source_->meta;
  chunk.stream_id = route_.stream_id;
  chunk.sequence = next_;
  chunk.last = end_ && next_ + 1 == *end_;
  chunk.data = window_[next_ - first_];
  chunk.crc32c = Crc32c(chunk.data);
  sent_at_ = env_.Now();
  if (next_ == First() && tries_++ == 0) silent_since_ = sent_at_;
  ++next_;
  if (next_ > sent_) progress_at_ = sent_at_;
  sent_ = std::max(sent_, next_);
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

void SnapshotSender::Finish(Outcome outcome) {
  outcome_ = outcome;
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

bool SnapshotReceiver::Add(const SnapshotChunk& chunk) {
  term_ = std::max(term_, chunk.term);
  const uint64_t next = next_sequence();
  uint64_t sequence = chunk.sequence;
  if (MUTANT("raft-snapshot-repeat-taken-for-next") && next > 0 && sequence + 1 == next) ++sequence;
  if (complete_ || sequence < next || sequence >= taken_ + kStreamWindow) return true;
  if (Crc32c(chunk.data) != chunk.crc32c) return false;
  early_.emplace(sequence, chunk);
  const auto understood = [this](std::string_view key, std::string_view value) {
    return machine_.Understands(key, value);
  };
  while (!early_.empty() && early_.begin()->first == next_sequence()) {
    const auto arrived = early_.extract(early_.begin());
    if (!load_.Add(arrived.mapped().data, understood)) return false;
    parts_.push_back(load_.TakeBatch());
    complete_ = arrived.mapped().last;
  }
  return true;
}

storage::WriteBatch SnapshotReceiver::TakePart() {
  CHECK(HasPart(), "nothing of the snapshot has arrived");
  storage::WriteBatch part = std::move(parts_.front());
  parts_.pop_front();
  ++taken_;
  return part;
}

}  // namespace quorate::raft
