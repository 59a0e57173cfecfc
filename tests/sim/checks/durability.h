// Durability: reads along what each node's log makes durable, and judges what Raft and commit
// promise about it:
//
//   durable before ack   when a node answers COMMITTED, a majority of the voters of every shard
//                        involved has synced its part (CommitOnePhase, or the Prepare of every
//                        staged participant): of those in one log with it, and of a joint
//                        configuration in both halves, unless that is committed (lineage.h)
//   one leader per term  and so one entry per (group, term, index), whoever wrote it down
//   terms and votes      of a replica never go back in what it has synced, over all crashes. Where
//                        damage took the newest of them, what is left is said again as damaged: a
//                        replica that says so promises nothing until a snapshot replaces its log
//   entries              that a replica has synced it does not write once more, unless others took
//                        their place meanwhile: it would have forgotten them without saying so
//
// What was synced counts, and what survived a power loss by luck, whatever happens to it later; so
// a bug cannot hide behind a fault.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "raft/core/types.h"
#include "storage/wal.h"
#include "storage/wal_format.h"
#include "tests/sim/checks/lineage.h"
#include "tests/sim/checks/observer.h"
#include "txn/id.h"

namespace quorate::sim {

class Durability final : public Observer {
 public:
  void OnDurable(const std::string& node, uint64_t offset, std::string_view bytes) override;
  void OnSurvived(const std::string& node, uint64_t offset, std::string_view bytes) override;
  void OnDiskReplaced(const std::string& node) override;
  void OnCommitted(const std::string& txn_id) override;

  // One record of `node`'s log was synced.
  void OnRecord(const std::string& node, const storage::WalRecord& record,
                storage::RecordFlags flags = {});

  const std::vector<std::string>& violations() const { return violations_; }
  // Answers that were judged, to see that it looked at something.
  uint64_t judged() const { return judged_; }

 private:
  // A part of a transaction: digest 0 for the only one.
  struct Part {
    GroupId group;
    // Who has synced it, by term and index: only copies of one entry count together.
    std::map<std::pair<uint64_t, uint64_t>, std::set<raft::ReplicaId>> copies;
  };
  struct Synced {
    std::map<uint64_t, Part> parts;          // by digest
    std::set<std::vector<uint64_t>> stages;  // digests of the participants, as staged
  };
  struct EntryName {
    uint64_t group, term, index;
    friend bool operator==(const EntryName&, const EntryName&) = default;
    template <class H>
    friend H AbslHashValue(H h, const EntryName& n) {
      return H::combine(std::move(h), n.group, n.term, n.index);
    }
  };

  void OnEntry(const std::string& node, GroupId group, const storage::WalEntry& entry);
  // Keeps the replica's log as its records make it.
  void JudgeLog(const std::string& node, const storage::WalRecord& record,
                storage::RecordFlags flags);
  void JudgeHardState(const std::string& node, const storage::WalRecord& record);
  // The part that the entry is of; nullptr: none.
  Part* PartOf(const storage::WalEntry& entry);
  bool Majority(const Synced& synced, uint64_t digest) const;
  void Violation(std::string text);

  std::map<GroupId, Lineage> lineages_;
  std::map<std::string, Synced> transactions_;  // by id
  // The first copy of an entry that was synced; the others are alike, or a violation.
  struct Entry {
    uint32_t checksum = 0;
    Part* part = nullptr;
  };
  absl::flat_hash_map<EntryName, Entry> entries_;  // looked up only
  std::map<std::pair<std::string, GroupId>, storage::WalHardState> hard_states_;
  std::map<std::pair<std::string, GroupId>, uint64_t> incarnations_;
  std::set<std::pair<std::string, GroupId>> damaged_;  // and not replaced since
  // The newest part of a replica's log that is synced without a gap: the terms of its entries.
  struct Log {
    uint64_t first = 0;
    std::vector<uint64_t> terms;
  };
  std::map<std::pair<std::string, GroupId>, Log> logs_;
  std::vector<std::string> violations_;
  uint64_t judged_ = 0;
};

}  // namespace quorate::sim
