#include "tests/raft/core_checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "raft/core/membership.h"

namespace quorate::raft {
namespace {

template <class... Args>
void Require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw std::logic_error(fmt::format(format, std::forward<Args>(args)...));
}

// Counted by hand: the checker must not share the core's idea of a quorum.
bool Quorum(const Configuration& configuration, const std::vector<ReplicaId>& have) {
  for (const auto* set : {&configuration.voters, &configuration.voters_outgoing}) {
    size_t count = 0;
    for (ReplicaId id : *set) count += std::count(have.begin(), have.end(), id) > 0 ? 1 : 0;
    if (!set->empty() && 2 * count <= set->size()) return false;
  }
  return true;
}

}  // namespace

std::optional<Term> Disk::TermAt(LogIndex index) const {
  if (index == snapshot.index) return snapshot.term;
  if (index < snapshot.index || index > last()) return std::nullopt;
  return entries[index - snapshot.index - 1].term;
}

bool Disk::Covers(LogIndex index, Term term) const {
  return index < snapshot.index || TermAt(index) == term;
}

void Disk::Append(const std::vector<Entry>& more) {
  if (more.empty()) return;
  LogIndex from = more.front().index;
  Require(from > snapshot.index && from <= last() + 1, "write at {} after {}", from, last());
  entries.resize(from - snapshot.index - 1);
  entries.insert(entries.end(), more.begin(), more.end());
}

void Checker::OnSend(const Node& node, const Disk& disk, const Message& message) {
  Require(message.term > Term(), "{} sent a message of no term", message.from);
  auto vote = [&](ReplicaId candidate) {
    auto [it, added] = votes_.emplace(std::pair(message.from, message.term), candidate);
    Require(it->second == candidate, "{} voted for {} and {} in term {}", message.from, it->second,
            candidate, message.term);
    Require(disk.hard_state.term > message.term ||
                (disk.hard_state.term == message.term && disk.hard_state.vote == candidate),
            "{} told a vote in term {} that is not durable", message.from, message.term);
  };
  auto durable = [&](LogIndex match) {
    if (message.term != node.term()) return;  // acknowledged before it moved on
    Require(match <= disk.last(), "{} acknowledged {}, durable is {}", message.from, match,
            disk.last());
    Result<Term> term = node.TermAt(match);
    Require(!term.ok() || disk.Covers(match, *term), "{} acknowledged {} before rewriting it",
            message.from, match);
    Require(disk.hard_state.term >= message.term, "{} acknowledged in a term not durable",
            message.from);
  };
  const MessageBody& body = message.body;
  if (const auto* m = std::get_if<RequestVote>(&body); m && !m->pre_vote) vote(message.from);
  if (const auto* m = std::get_if<RequestVoteResponse>(&body); m && !m->pre_vote && m->granted) {
    vote(message.to);
  }
  if (const auto* m = std::get_if<AppendEntriesResponse>(&body); m && m->success) {
    durable(m->match_index);
  }
  if (const auto* m = std::get_if<InstallSnapshotResponse>(&body); m && m->success) {
    durable(m->match_index);
  }
}

void Checker::OnCommitted(ReplicaId id, const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    auto [it, added] = committed_.emplace(entry.index, entry);
    Require(it->second == entry, "{} commits another entry at {}: term {}, not {}", id, entry.index,
            entry.term, it->second.term);
    if (added && entry.type == EntryType::kConfiguration) {
      Configuration configuration;
      Require(DecodeConfiguration(entry.payload, &configuration), "bad configuration committed");
      configurations_[entry.index] = configuration;
    }
  }
}

bool Checker::HasCommitted(const Disk& disk, LogIndex index) const {
  auto entry = committed_.find(index);
  return entry != committed_.end() && disk.TermAt(index) == entry->second.term;
}

void Checker::OnSnapshot(const SnapshotMeta& meta) const {
  auto entry = committed_.find(meta.index);
  Require(entry != committed_.end(), "snapshot at {}, which nobody has committed", meta.index);
  Require(entry->second.term == meta.term, "snapshot at {} has term {}", meta.index, meta.term);
  auto configuration = std::prev(configurations_.upper_bound(meta.index));
  Require(configuration->second == meta.configuration,
          "snapshot at {} has configuration {}, not {} of {}", meta.index,
          ToString(meta.configuration), ToString(configuration->second), configuration->first);
}

void Checker::OnReadAsked(uint64_t context) { reads_[context] = acknowledged_; }

void Checker::OnRead(const ReadState& read) {
  auto asked = reads_.find(read.context);
  Require(asked != reads_.end(), "read {} is answered twice", read.context);
  Require(read.index >= asked->second, "read {} at {} misses {}", read.context, read.index,
          asked->second);
  reads_.erase(asked);
  ++reads_confirmed_;
}

void Checker::OnReadFailed(uint64_t context) {
  Require(reads_.erase(context) == 1, "read {} is answered twice", context);
}

void Checker::AfterStep(const std::vector<Seen>& view, ReplicaId changed) {
  for (const Seen& seen : view) {
    if (seen.node == nullptr || !seen.node->leader()) continue;
    if (seen.id == changed) {
      CheckNewLeader(seen);
      CheckCommit(view, seen);
    }
    CheckLease(view, seen);
  }
}

// One leader per term; and a leader has every entry that any leader before it has committed.
void Checker::CheckNewLeader(const Seen& leader) {
  Term term = leader.node->term();
  auto [it, added] = leaders_.emplace(term, leader.id);
  Require(it->second == leader.id, "{} and {} lead term {}", it->second, leader.id, term);
  if (!added) return;
  // What it knows as committed was committed by others, maybe in another configuration.
  leader_commits_[{leader.id, term}] = leader.node->commit_index();
  if (acknowledged_term_ >= term) return;
  Result<Term> at = leader.node->TermAt(acknowledged_);
  bool compacted = leader.node->first_index() > acknowledged_ + 1;
  Require(compacted || (at.ok() && *at == acknowledged_term_),
          "leader {} of term {} lacks committed entry {}", leader.id, term, acknowledged_);
}

// What a leader commits is on the disks of a quorum of its configuration (RC12).
void Checker::CheckCommit(const std::vector<Seen>& view, const Seen& leader) {
  LogIndex commit = leader.node->commit_index();
  LogIndex& before = leader_commits_[{leader.id, leader.node->term()}];
  if (commit <= before) return;
  before = commit;
  Result<Term> term = leader.node->TermAt(commit);
  Require(term.ok(), "leader {} committed {} without having it", leader.id, commit);
  std::vector<ReplicaId> have;
  for (const Seen& seen : view) {
    if (seen.disk->Covers(commit, *term)) have.push_back(seen.id);
  }
  Require(commit == LogIndex() || Quorum(leader.node->configuration(), have),
          "leader {} committed {} on {} disks", leader.id, commit, have.size());
  if (commit > acknowledged_) {
    acknowledged_ = commit;
    acknowledged_term_ = *term;
  }
}

// While a lease runs nobody leads a later term.
void Checker::CheckLease(const std::vector<Seen>& view, const Seen& leader) const {
  if (leader.node->lease_until() <= leader.now) return;
  for (const Seen& seen : view) {
    bool later =
        seen.node != nullptr && seen.node->leader() && seen.node->term() > leader.node->term();
    Require(!later, "{} leads term {} during the lease of {} in term {}", seen.id,
            later ? seen.node->term() : Term(), leader.id, leader.node->term());
  }
}

}  // namespace quorate::raft
