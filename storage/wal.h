// The write-ahead log of one node: one segmented log shared by all its Raft groups.
//
// Files: DIR/wal-<16 hex digits>.log, numbered from 1. Each is limits::kWalSegmentBytes long, zero-
// filled when created and recycled (renamed to a new number) when no group needs it any more,
// because a data sync on a growing file costs half as much again (docs/decisions).
//
// Group commit: Append queues; everything queued is written with one WriteAndSync while the
// previous one runs, then each caller's `durable` callback runs, in the order of the calls. A node
// with 10,000 groups does no more syncs than a node with one.
//
// What keeps a segment alive: for each group its newest hard state, its truncation mark, and the
// entries above it. Of an old segment what is live is copied forward (wal_copier), in steps of
// kCopyStepBytes, so that the segment can be reused and the log stays bounded by kSegmentsTarget
// plus what is live. A copy is a record that repeats entries and replaces nothing but its original:
// a crash between two steps leaves both, or either.
//
// Crash windows and recovery (wal_recovery):
//   torn tail         the last record is incomplete or fails its checksum and nothing valid
//   follows:
//                     cut there, overwrite with zeros, sync, before anything new is written (ST3).
//   damaged middle    a record fails its checksum and a record of a later write follows it (in this
//                     or a later segment): never cut silently. Groups that lost a record there, or
//                     may have, are reported as `damaged`: their replicas must be fetched again
//                     from peers and must not vote meanwhile (ST4, ST5). A group is cleared by the
//                     numbers of its own later records, or by the next digest, which says where
//                     each group's last record lies.
//   damaged meaning   a record's checksum is right and what it says cannot be: as if it had failed.
//   damaged header    the log's id is also in each segment's first note. Where neither can be read,
//                     in any segment, all records are lost; of a node that never had a log the
//                     files are another's, and it does not start.
//   recycled segment  records carry the segment number, so old content behind the tail is not taken
//                     for new (ST7).
//   failed sync       the WAL refuses everything afterwards and calls OnFailure; never retried
//                     (ST1). What was in flight stays readable in the page cache and is not on the
//                     disk; a later sync of the file succeeds without it. So a start that finds a
//                     last batch cannot know whether it is durable, and counts it only once it has
//                     written it again, and synced:
//     start fails, or dies, before that sync     the next one is where this one was
//     power is lost before it                    the batch is gone, or torn, and was not
//                                                acknowledged
//     the cache loses it between read and write  it is written from memory
//     a cut was zeroed, and that sync failed     the zeros may be in the cache only, too: a start
//                                                writes them as far as a batch can reach, whatever
//                                                it reads there, before it appends
//   no space          a write that did not fit was not synced either (file.h), so the same bytes
//                     are written to the same place again until they fit. Nothing is acknowledged
//                     meanwhile. A crash leaves a torn tail.
//   segment prepared  renamed, named durably, given a header, in the background: it holds nothing
//                     until a record is written to it, which waits for all three (ST9).
//
// Threads: executor's thread only; callbacks run there.
#pragma once

#include <absl/functional/any_invocable.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/strong_type.h"
#include "storage/file.h"

namespace quorate::storage {

// One Raft entry as stored; `payload` is opaque here.
struct WalEntry {
  uint64_t index = 0;
  uint64_t term = 0;
  uint8_t type = 0;
  std::string payload;
  friend bool operator==(const WalEntry&, const WalEntry&) = default;
};

struct WalHardState {
  uint64_t term = 0;
  uint64_t vote = 0;  // replica's node id, 0: none
  uint64_t commit = 0;
  friend bool operator==(const WalHardState&, const WalHardState&) = default;
};

struct WalMark {
  uint64_t index = 0;
  uint64_t term = 0;
  friend bool operator==(const WalMark&, const WalMark&) = default;
};

// A change to one group's log, made durable as a whole.
struct WalRecord {
  GroupId group;
  // Raised whenever a replica is created anew on this node, so that records of a destroyed replica
  // are never replayed into its successor (ST19).
  uint64_t incarnation = 0;
  std::optional<WalHardState> hard_state;
  // Entries at or above entries.front().index replace what was there.
  std::vector<WalEntry> entries;
  // The log below and including this (index, term) is covered by the applied state; entries at or
  // below are dropped. With `reset`, everything above is dropped too (snapshot installed).
  using Mark = WalMark;
  std::optional<Mark> mark;
  bool reset = false;
  // The replica is gone: all its records so far are void.
  bool destroy = false;
};

// A group's log as recovered: consistent, contiguous above the mark.
struct WalGroup {
  uint64_t incarnation = 0;
  WalHardState hard_state;
  WalRecord::Mark mark;
  std::vector<WalEntry> entries;
  // Records were lost. Stays set over restarts until a record with both `reset` and a hard state
  // (snapshot installed) or `destroy` is written.
  bool damaged = false;
};

class Wal {
 public:
  struct Options {
    std::string directory;
    uint64_t segment_bytes = 0;    // 0: limits::kWalSegmentBytes
    size_t segments_target = 4;    // beyond this many, old segments are emptied by copying forward
    uint64_t copy_step_bytes = 0;  // of what one turn copies forward; 0: kCopyStepBytes
    // There was a log here before: if there is none now, it lost all its records.
    bool expected = false;
    // The files are an earlier state of the log: of every group records may be missing behind those
    // that are there. Noted durably before Open returns.
    bool doubted = false;
  };
  using Durable = absl::AnyInvocable<void()>;

  // Recovers what is there (blocking) and opens the log for appending. CORRUPTION only where the
  // files are those of another log; IO_ERROR as it comes.
  static Result<std::unique_ptr<Wal>> Open(Env& env, FileSystem& files, Options options);
  virtual ~Wal() = default;

  // What recovery found, by group. Valid until it is taken or the first Append.
  virtual const std::map<GroupId, WalGroup>& recovered() const = 0;
  // Hands it over: the log itself keeps no entries, so that each is in memory once.
  virtual std::map<GroupId, WalGroup> TakeRecovered() = 0;

  // True if damage, now or in an earlier life, may have taken all records of a group. A group that
  // is absent from recovered() may then have voted or acknowledged entries here all the same, and
  // has to start as if `damaged`.
  virtual bool lost_records() const = 0;

  // Queues `record`. `durable` runs once it and everything before it is synced; it never runs if
  // the WAL fails or is destroyed first.
  virtual void Append(WalRecord record, Durable durable) = 0;
  // Runs once if a write or sync fails. Nothing is ever reported durable afterwards.
  virtual void OnFailure(std::function<void(Status)> callback) = 0;
  // Records wait because the disk is full. Whoever appends nevertheless, appends to memory.
  virtual bool waits_for_space() const = 0;

  virtual uint64_t SegmentCount() const = 0;
  // About how many bytes live records need; for metrics and tests.
  virtual uint64_t LiveBytes() const = 0;
};

}  // namespace quorate::storage
