// Every bound in the system, and how the bounds relate.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace quorate::limits {

// ---- what users see -----------------------------------------------------------------------------
inline constexpr size_t kKeyBytesMax = 480;
inline constexpr size_t kValueBytesMax = 1 << 20;
inline constexpr size_t kTxnBytesMax = 16 << 20;  // keys and values written, and keys read
inline constexpr size_t kTxnKeysMax = 50'000;     // written keys plus read keys and ranges
inline constexpr size_t kTxnRangesMax = 1024;     // read ranges that are no single keys
inline constexpr size_t kScanRowsMax = 10'000;    // rows in one answer; a longer scan goes on
inline constexpr size_t kScanBytesMax = 4 << 20;
// Of the rows that a shard answers in one read: what lies behind the row that reaches it is
// another.
inline constexpr size_t kReadBytesMax = 1 << 20;
inline constexpr size_t kScanPageBytesMax = 2 << 20;  // of ScanAll

// ---- cluster ------------------------------------------------------------------------------------
inline constexpr size_t kNodesMax = 1000;      // the map with all of them is one message
inline constexpr size_t kShardsMax = 100'000;  // that one request may name
inline constexpr uint32_t kInitialShardsMax = 4096;
inline constexpr size_t kBegunShardsMax = 64;  // that one heartbeat tells of (HeartbeatRequest)
inline constexpr uint32_t kReplicationFactorMax = 7;

// ---- time ---------------------------------------------------------------------------------------
inline constexpr Duration kTxnLifetimeMax = 60s;  // horizon distance; older commits are refused
// How long a name that a caller gave a transaction is remembered, from the time that it carries: an
// hour, and what the caller's clock may be behind.
inline constexpr Duration kNameRetention = 65min;
inline constexpr Duration kNameAheadMax = 5min;   // a name whose time is further ahead is refused
inline constexpr Duration kAdvisoryTtlMax = 30s;  // of a lock that is not renewed
inline constexpr Duration kRequestTimeoutDefault = 10s;
inline constexpr Duration kRequestTimeoutMax = 60s;
inline constexpr Duration kTick = 50ms;
inline constexpr int kHeartbeatTicks = 2;
inline constexpr int kElectionTicksMin = 16;  // 800 ms; actual timeout uniform in [min, 2*min)
// Without proposals and reads for so long, a group falls silent (raft/core/quiescence.cc); nodes
// then tell each other that they are there, once in kAliveTicks.
inline constexpr int kQuiesceTicks = 60;  // 3 s
inline constexpr int kAliveTicks = 5;
inline constexpr int kAlivesMissedMax = 4;  // then a node's quiescent groups are woken
inline constexpr int kGoneTicks = 60;       // of silence: groups fall silent without that node
// The leader counts its lease from the sending of the heartbeat that a quorum answered, on its own
// boot clock; followers refuse votes for kElectionTicksMin after hearing it. The margin between the
// two is the drift that lease mode tolerates.
inline constexpr Duration kLease = 600ms;
inline constexpr Duration kTsoCeilingAhead = 3s;
inline constexpr Duration kTsoJumpMax = 60s;  // a wall clock further ahead is refused

// ---- wire ---------------------------------------------------------------------------------------
inline constexpr size_t kFrameBytesMax = 32 << 20;  // one gRPC message
inline constexpr size_t kAppendBytesMax = 1 << 20;  // entries in one AppendEntries
inline constexpr size_t kSnapshotChunkBytes = 256 << 10;
inline constexpr size_t kInflightAppendsMax = 64;
inline constexpr size_t kPeerQueueBytesMax = 64 << 20;  // unsent, per stream; beyond: dropped
// Of all streams of peers and libraries on one node: reads under way, answers that were not sent
// yet, and requests of more than 64 KiB that are being handled.
inline constexpr size_t kPeerReadBytesMax = 4 << 20;
inline constexpr size_t kPeerUnsentBytesMax = 32 << 20;
inline constexpr size_t kPeerCallBytesMax = 128 << 20;
inline constexpr size_t kHttpConnectionsMax = 64;
inline constexpr size_t kConnectionsMax = 8192;  // on the public address
// Descriptors that no connection from outside may take: the log, the store, connections to others.
inline constexpr size_t kDescriptorsReserved = 128;
inline constexpr size_t kDescriptorsMin = 256;      // a node does not start with fewer
inline constexpr size_t kGrpcBytesMax = 256 << 20;  // received by gRPC, not yet handed to us
// Of it, public requests that are not here whole: the client that brought the most loses its own.
inline constexpr size_t kArrivingBytesMax = 36 << 20;

// ---- the public service ------------------------------------------------------------------------
// One answer, serialised: a gRPC client that was told nothing takes 4 MiB.
inline constexpr size_t kAnswerBytesMax = (4 << 20) - (16 << 10);
inline constexpr size_t kSessionsMax = 20'000;
// What the node holds for all clients: requests being handled, sessions, answers not taken yet. A
// client may hold as much as is left free, so nobody can take what others need.
inline constexpr size_t kClientBytesMax = 104 << 20;
// What is large takes turns. Fetched at once for all clients: what is on its way between nodes, and
// what any other answer may have to wait behind. Written at once; a larger transaction goes alone.
inline constexpr size_t kFetchBytesMax = 3 << 19;
inline constexpr size_t kWriteBytesMax = 1 << 20;
inline constexpr Duration kSessionLife = 60s;       // without a call
inline constexpr Duration kSessionIdleMax = 3s;     // then it loses locks that others wait for
inline constexpr Duration kOverloadedRetry = 50ms;  // unless who refuses knows better
inline constexpr size_t kClientStreamsMax = 256;    // calls at once on one connection
inline constexpr size_t kPublicCallsMax = 8'000;    // on one node; shared like kClientBytesMax

// ---- queues -------------------------------------------------------------------------------------
inline constexpr size_t kCallsInFlightMax = 50'000;  // requests being handled on one node
inline constexpr size_t kLiveTxnsMax = 20'000;       // coordinators on one node
// Of written keys and values in one part of a transaction, and so about in one entry of a log: what
// a transaction writes beyond that in one shard is further parts, which are prepared one after the
// other. A part has one row at least.
inline constexpr size_t kPartBytesMax = 1 << 20;
// Of the parts of more than 64 KiB: on their way from one coordinator at once, and in the logs of
// the shards that one node leads, until they are applied. Whatever is small may come in between.
inline constexpr size_t kPartsSentBytesMax = 2 << 20;
inline constexpr size_t kPartsLoggedBytesMax = 1 << 20;
inline constexpr size_t kShardWaitersMax = 20'000;    // requests waiting for locks in one shard
inline constexpr size_t kShardPlacesMax = 1 << 20;    // and the keys and ranges that they wait for
inline constexpr size_t kShardRangesMax = 1 << 16;    // ranges guarded, or waited for, in one shard
inline constexpr size_t kShardAdvisoryMax = 100'000;  // advisory locks in one shard
inline constexpr size_t kShardPushesMax = 64;         // holders that one shard asks about at a time
// Names remembered by one shard, about 100 bytes of memory each; beyond: no new ones (OVERLOADED).
inline constexpr size_t kShardNamesMax = 1 << 19;
inline constexpr size_t kSessionAnswersMax = 100'000;  // of one node: some 30 MB
inline constexpr size_t kProposalBytesMax = 64 << 20;  // unapplied proposals of one group
inline constexpr size_t kOverlayBytesMax = 256 << 20;  // beyond: writers are refused (OVERLOADED)
inline constexpr size_t kLogQueueBytesMax = 1 << 20;   // unwritten log lines; beyond: dropped

// ---- storage ------------------------------------------------------------------------------------
inline constexpr size_t kLmdbKeyBytesMax = 511;
inline constexpr size_t kStoreKeyOverhead = 26;  // table tag, longest suffix (24), its length
inline constexpr size_t kWalSegmentBytes = 64 << 20;
inline constexpr size_t kWalRecordBytesMax = 24 << 20;
inline constexpr size_t kDiskReserveBytesMax = 64 << 20;  // the file that is given up first
// A store of up to so many bytes in use is rewritten at a start if most of its file is unused.
inline constexpr size_t kCompactBytesMax = 1 << 30;

static_assert(kKeyBytesMax + kStoreKeyOverhead <= kLmdbKeyBytesMax);
static_assert(kValueBytesMax < kTxnBytesMax);
static_assert(kReadBytesMax <= kScanBytesMax && kScanBytesMax <= kPeerReadBytesMax);
static_assert(kTxnRangesMax < kTxnKeysMax && kTxnRangesMax < kShardRangesMax);
static_assert(kTxnKeysMax < kShardPlacesMax, "whoever is alone may wait");
static_assert(kValueBytesMax + kKeyBytesMax + 1024 < kAnswerBytesMax, "any row fits one answer");
// With the row that reaches its bound, and a few bytes around each row.
static_assert(kScanPageBytesMax + kValueBytesMax + kKeyBytesMax + 20 * kScanRowsMax <
                  kAnswerBytesMax,
              "a page fits one answer");
static_assert(3 * (kTxnBytesMax + (1 << 20)) < kClientBytesMax / 2, "whoever is alone has room");
static_assert(kTxnBytesMax + (1 << 20) < kWalRecordBytesMax, "a whole transaction fits one record");
static_assert(kWalRecordBytesMax < kFrameBytesMax, "a record fits one message");
static_assert(kWalRecordBytesMax < kWalSegmentBytes);
static_assert(kValueBytesMax <= kPartBytesMax && kPartBytesMax <= kTxnBytesMax);
static_assert(kFrameBytesMax < kArrivingBytesMax && kArrivingBytesMax < kGrpcBytesMax);
static_assert(kNameRetention - kNameAheadMax >= 60min && kNameRetention > kTxnLifetimeMax);
static_assert(kLease < kTick * kElectionTicksMin * 9 / 10, "lease ends before anyone may vote");
static_assert(kHeartbeatTicks * kTick * 3 < kLease, "a lost heartbeat does not end the lease");

}  // namespace quorate::limits
