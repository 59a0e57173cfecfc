#include "raft/core/progress.h"

namespace quorate::raft {

Instant Inflight::FreeTo(LogIndex match) {
  Instant latest = Instant::min();
  while (head_ < items_.size() && items_[head_].last <= match) {
    latest = std::max(latest, items_[head_].evidence);
    bytes_ -= items_[head_].bytes;
    ++head_;
  }
  if (head_ == items_.size()) {
    items_.clear();
    head_ = 0;
  } else if (head_ >= items_.size() / 2) {
    items_.erase(items_.begin(), items_.begin() + head_);
    head_ = 0;
  }
  return latest;
}

void Inflight::Clear() {
  items_.clear();
  head_ = 0;
  bytes_ = 0;
}

bool Progress::Paused(size_t inflight_max, size_t bytes_max) const {
  if (sated) return true;
  switch (state) {
    case State::kProbe:
      return probe_sent;
    case State::kReplicate:
      return inflight.size() >= inflight_max || inflight.bytes() >= bytes_max;
    case State::kSnapshot:
      return true;
  }
  return true;
}

void Progress::BecomeProbe() {
  // A snapshot that has left is likely to arrive: what follows it is the next thing to try.
  next = (state == State::kSnapshot ? std::max(match, snapshot_index) : match) + 1;
  state = State::kProbe;
  snapshot_index = LogIndex();
  probe_sent = false;
  inflight.Clear();
}

void Progress::BecomeReplicate() {
  state = State::kReplicate;
  snapshot_index = LogIndex();
  probe_sent = false;
  next = match + 1;
  inflight.Clear();
}

void Progress::BecomeSnapshot(LogIndex index) {
  state = State::kSnapshot;
  snapshot_index = index;
  probe_sent = false;
  inflight.Clear();
}

void Progress::Sent(Instant now, LogIndex last, bool has_entries, size_t bytes) {
  if (has_entries) {
    // An answer that reaches `last` can only come from a message sent at or after the first one
    // that carried `last`: no earlier message in this term named it, not even as prev_log_index. A
    // second sending proves nothing about its own time, for the answer may belong to the first.
    inflight.Add(last, bytes, last > sent_high ? now : Instant::min());
    sent_high = std::max(sent_high, last);
    if (state == State::kReplicate) next = last + 1;
  }
  if (state == State::kProbe) probe_sent = true;
}

bool Progress::Acknowledged(LogIndex index) {
  contact = std::max(contact, inflight.FreeTo(index));
  probe_sent = false;
  if (index <= match) return false;
  match = index;
  next = std::max(next, match + 1);
  return true;
}

bool Progress::Rejected(LogIndex rejected, LogIndex hint) {
  if (state == State::kSnapshot) return false;
  if (state == State::kReplicate && rejected > match) {
    BecomeProbe();
    return true;
  }
  // Only the answer to the probe itself counts. If that names `match`, the follower has lost log
  // that it once acknowledged (damage, ST5): believing the smaller number is always safe.
  if (rejected != next - 1) return false;
  match = std::min(match, hint);
  next = std::max(match, std::min(rejected - 1, hint)) + 1;
  if (state == State::kReplicate) BecomeProbe();
  probe_sent = false;
  return true;
}

}  // namespace quorate::raft
