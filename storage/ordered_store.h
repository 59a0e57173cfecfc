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
// Whole states go and come in steps (Drop, BeginReplace .. EndReplace), each a turn of bounded work
// with a bounded part of the overlay (Options::bulk_bytes). The keys to be deleted are read from
// the store below, off the executor's thread, after a flush has moved there what the overlay had.
// Crash windows: a mark, MakeKey("\0erasing" + ordered64(g)) -> kind, spans, goes into the overlay
// before the first deletion, so no commit has a deletion without it. A crash before that commit:
// nothing happened. From then on until the commit that has the last step, which takes the mark
// away: the next start finds the mark. A Drop is gone on with; nobody has put anything else there,
// since the mark's end is in the overlay before anything that is put then. A replaced group has no
// state (Replacing), and whoever runs it gets it one.
//
// Bounded: beyond Options::bytes_max, OverBound() is true: whoever leads refuses writers, and
// whoever follows takes no more entries (raft/host/host.h).
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
#include "base/limits.h"
#include "base/strong_type.h"
#include "storage/kv_store.h"

namespace quorate::storage {

class OrderedStore final : public KvReader {
 public:
  struct Options {
    size_t flush_bytes = 32 << 20;  // flush when the active overlay is this large,
    Duration flush_interval = 10s;  // or this old: random keys share more pages, the later
    size_t index_step = 4'000;      // keys that PrepareScan orders: some milliseconds
    size_t bytes_max = limits::kOverlayBytesMax;  // OverBound() beyond
    size_t bulk_bytes = 16 << 20;   // no Room() while the active overlay is this large
    size_t erase_bytes = 64 << 10;  // of keys, deleted in one turn
  };

  OrderedStore(Env& env, KvStore& store, Options options);
  ~OrderedStore() override;

  // Applies an entry's effect and moves the group's applied index to `index`; visible at once.
  // `index` is never below an earlier one of the group.
  void Apply(GroupId group, uint64_t index, WriteBatch batch);

  // What the node keeps for itself, of no group's state.
  void Put(WriteBatch batch);

  // Groups with an applied index, ascending.
  std::vector<GroupId> Groups() const;
  // The group's applied index, 0 for a group without state.
  uint64_t AppliedIndex(GroupId group) const;
  // The applied index that is durable: the log up to it may be truncated.
  uint64_t FlushedIndex(GroupId group) const;

  // ---- removal and replacement of a whole state (below)
  // ------------------------------------------
  using Spans = std::vector<std::pair<std::string, std::string>>;  // of store keys, [from, to)

  // Forgets the group at once: its applied index is 0 from now on, and `batch` takes effect with
  // that (what else is to be gone, or kept of it). Then all pairs in `spans` are deleted, some per
  // turn. `done` runs in a later turn, once all of that is durable. After a crash, the next start
  // goes on by itself, without `done`. The caller sees to it that no other group has state in
  // `spans`, and that none puts any there while Dropping(spans).
  void Drop(GroupId group, Spans spans, WriteBatch batch, Closure done);
  // Whether a Drop that is not finished touches `spans`, or concerns the group.
  bool Dropping(const Spans& spans) const;
  bool Dropping(GroupId group) const;

  // Begins to replace the group's state: deletes all pairs in `spans`, and in those of an earlier
  // BeginReplace that did not end, some per turn. Until EndReplace the group has no state, however
  // often the node restarts: Replacing() says so. Its applied index stays what it was. `erased`
  // runs in a later turn, once nothing is left there; not if another one was begun meanwhile.
  void BeginReplace(GroupId group, Spans spans, Closure erased);
  // Where the old state lay and what was put since may lie; null: the group's state is whole.
  const Spans* Replacing(GroupId group) const;
  std::vector<GroupId> Replacing() const;  // all such groups, ascending
  // A part of the new state. Asked for only while there is Room().
  void PutReplaced(GroupId group, WriteBatch batch);
  // The last of it, and the index at which it is a state, which may jump.
  void EndReplace(GroupId group, uint64_t index, WriteBatch batch);
  static bool Touch(const Spans& a, const Spans& b);
  // How many pairs were deleted for the above since the start, of all groups.
  uint64_t ErasedPairs() const;
  // Whether bulk work (what is above) may go on: what waits to be flushed stays well below what
  // would have others refused.
  bool Room();
  // Runs `fn` in a later turn, when there may be room.
  void WhenRoom(Closure fn);

  // Flushes, and pins what was flushed then: a state of every group at its applied index.
  using PinCallback = absl::AnyInvocable<void(Result<std::unique_ptr<KvView>>)>;
  void Pin(PinCallback done);
  // Where a pinned view has the group's applied index, and what its value says.
  static std::string AppliedIndexKey(GroupId group);
  static bool ParseAppliedIndex(std::string_view value, uint64_t* index);

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Status Scan(std::string_view from, std::string_view to, ScanVisitor visit) const override;
  Status ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const override;

  // Makes a part of the order in which a scan over several keys visits what is in memory: all of it
  // may take longer than one turn should. True: a scan has nothing left to do; false: again, in a
  // later turn.
  bool PrepareScan() const;

  // Whether the store below lost part of what lies in `spans`, or of what it knows of the group.
  bool Damaged(GroupId group, const Spans& spans) const;
  // Every group that was damaged has its state again, durably.
  void ForgetDamage();

  bool OverBound() const;
  size_t BytesMax() const;
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
