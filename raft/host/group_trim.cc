// What of a group's log may go, in memory and in the WAL (group.h, The log).
#include <algorithm>

#include "raft/core/membership.h"
#include "raft/host/group.h"

namespace quorate::raft {

void Runtime::CountLog(LogBytes* counted, LogBytes bytes) {
  log_bytes += bytes.all - counted->all;
  unapplied_bytes += bytes.unapplied - counted->unapplied;
  *counted = bytes;
  metrics.log_bytes.Set(static_cast<int64_t>(log_bytes));
}

// As far as this replica knows: of a follower's others its leader takes care.
LogIndex Group::HeldByAll(bool those_that_hear) const {
  LogIndex held = std::min(applied_, node_->applied_index());
  if (!node_->leader()) return held;
  for (const ProgressView& peer : node_->progress()) {
    const bool hears = peer.active && !peer.needs_snapshot;
    if (hears || !those_that_hear) held = std::min(held, peer.match);
  }
  return held;
}

// Nobody asks for what all have until one of them has lost it, or another one comes: that is worth
// some memory to those in use, while there is some.
LogIndex Group::Excess(LogIndex most) const {
  const bool asked = awake && Members(node_->configuration()).size() > 1;
  return asked ? most : std::max(most, HeldByAll(false));
}

// A follower that answers may be behind for longer than a tail lasts: its store is slow, or it is
// sated. A whole snapshot would be the last thing that it needs.
LogIndex Group::ExcessInMemory(LogIndex most) const {
  return Excess(std::min(most, HeldByAll(true)));
}

void Group::Compact() {
  const Host::Options& options = rt_.options;
  trim_due = false;
  if (quarantined()) return;
  TrimWal(window_.Excess(std::min(options.wal_keep_entries, options.log_keep_entries),
                         std::min(options.wal_keep_bytes, options.log_keep_bytes)));
  TrimMemory(ExcessInMemory(window_.Excess(options.log_keep_entries, options.log_keep_bytes)));
}

void Group::TrimWalTo(size_t bytes) { TrimWal(window_.Excess(bytes)); }

void Group::TrimWal(LogIndex excess) {
  if (quarantined()) return;
  const LogIndex flushed(rt_.store.FlushedIndex(id_));
  if (std::min(flushed, SnapshotPin()) < applied_) trim_due = true;
  const auto place = window_.UpTo(std::min(flushed, Excess(excess)));
  if (!place || place->index.value() <= log_.mark().index) return;
  log_.Truncate({place->index.value(), place->term.value()});
  DropPoints();
}

void Group::TrimMemory(LogIndex excess) {
  const LogIndex gone = std::min({excess, SnapshotPin(), node_->applied_index()});
  if (quarantined() || gone < node_->first_index()) return;
  node_->Compact(gone);
  DropPoints();
  CountLog();
}

// The points are those of the log in memory, and of what is above the WAL's mark.
void Group::DropPoints() {
  window_.Drop(std::min(LogIndex(log_.mark().index), LogIndex(node_->first_index() - 1)));
}

size_t Group::SpareBytes() const {
  if (quarantined()) return 0;
  const size_t bytes = window_.BytesAbove(node_->first_index() - 1);
  return bytes - std::min(bytes, PinnedBytes());
}

size_t Group::PinnedBytes() const { return window_.BytesAbove(SnapshotPin()); }

size_t Group::WalBytes() const { return window_.BytesAbove(LogIndex(log_.mark().index)); }

void Group::TrimTo(size_t bytes, Press press) {
  if (quarantined()) return;
  const LogIndex excess = window_.Excess(bytes + PinnedBytes());
  TrimMemory(press == Press::kHard ? excess : ExcessInMemory(excess));
}

void Group::CountLog() { rt_.CountLog(&counted_, {node_->log_bytes(), node_->unapplied_bytes()}); }

}  // namespace quorate::raft
