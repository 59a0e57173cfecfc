// OrderedStore: the applied state of all groups of one node: an ordered in-memory overlay over a
// KvStore. The seam between "applied" (cheap, immediate) and "checkpointed" (durable, batched).
//
//   Apply ──► active overlay ──(flush)──► immutable overlay ──Commit──► KvStore (LMDB)
//                                            one at a time
//
// Reads merge active, immutable and store. A flush moves everything applied so far, of all groups,
// together with each group's applied index, in one KvStore commit. So the KvStore is always a
// consistent checkpoint: for every group, the state after exactly `flushed index`, from which its
// log is replayed (ST10: index and data are one transaction).
//
// Crash windows: before the commit is durable, the overlay is lost and the WAL still holds the
// entries (a log is never truncated beyond FlushedIndex). After it, replay starts behind it.
//
// The applied index of group g is the pair MakeKey("\0applied" + ordered64(g)) -> fixed64, in the
// same commit as the group's data. Tag 0x00 (kStorageTag) is reserved for this
// and for what raft/host keeps beside it under other words; no table of a layer above begins so.
//
// Bounded: beyond limits::kOverlayBytesMax, OverBound() is true and admission refuses writers.
// Threads: executor's thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/strong_type.h"
#include "storage/kv_store.h"

namespace quorate::storage {

class OrderedStore final : public KvReader {
 public:
  struct Options {
    size_t flush_bytes = 32 << 20;  // flush when the active overlay is this large,
    Duration flush_interval = 10s;  // or this old: random keys share more pages, the later
    size_t index_step = 4'000;      // keys that PrepareScan orders: some milliseconds
  };

  OrderedStore(Env& env, KvStore& store, Options options);
  ~OrderedStore() override;

  // Applies an entry's effect and moves the group's applied index to `index`; visible at once.
  // `index` is never below an earlier one of the group.
  void Apply(GroupId group, uint64_t index, WriteBatch batch);

  // Groups with an applied index, ascending.
  std::vector<GroupId> Groups() const;
  // The group's applied index, 0 for a group without state.
  uint64_t AppliedIndex(GroupId group) const;
  // The applied index that is durable: the log up to it may be truncated.
  uint64_t FlushedIndex(GroupId group) const;

  // Replaces a group's state as one effect: deletes all keys in `spans` ([from, to) pairs), then
  // applies `batch`, and sets the applied index (which may jump). For snapshot installation.
  void Replace(GroupId group, uint64_t index,
               std::vector<std::pair<std::string, std::string>> spans, WriteBatch batch);
  // Forgets the group's applied index together with `spans`. For a destroyed replica.
  void Drop(GroupId group, std::vector<std::pair<std::string, std::string>> spans);

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Status Scan(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  Status ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const override;

  // Makes a part of the order in which a scan over several keys visits what is in memory: all of it
  // may take longer than one turn should. True: a scan has nothing left to do; false: again, in a
  // later turn.
  bool PrepareScan() const;

  // Whether the store below lost part of what lies in `spans`, or of what it knows of the group.
  bool Damaged(GroupId group, const std::vector<std::pair<std::string, std::string>>& spans) const;
  // Every group that was damaged has its state again, durably.
  void ForgetDamage();

  bool OverBound() const;
  size_t OverlayBytes() const;
  // Starts a flush of what is applied now; `done` once it (and any before it) is durable.
  void Flush(CommitCallback done);
  // Called after each successful flush, so that logs can be truncated.
  void OnFlushed(std::function<void()> callback);
  // Called once if a flush fails: the node stops serving.
  void OnFailure(std::function<void(Status)> callback);

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::storage
