// What the mutants are. tests/sim/mutants_check.py holds the names here against those in the code.
#include "base/mutant.h"
#include "tests/sim/mutants.h"

#ifdef QUORATE_MUTANTS

namespace quorate::sim {

const std::vector<Mutant>& AllMutants() {
  static const std::vector<Mutant> all = {
      // ---- Raft
      {"raft-vote-before-durable", "a vote is answered before it is durable"},
      {"raft-vote-twice", "a second vote in one term"},
      {"raft-vote-for-shorter-log", "a vote for a candidate whose log is behind"},
      {"raft-own-append-before-durable", "the leader counts its own entry before it is durable"},
      {"raft-append-before-durable", "a follower acknowledges entries before they are durable"},
      {"raft-commit-of-older-term", "an entry of an older term is committed by counting"},
      {"raft-log-matching-skipped", "entries are taken though the one before does not match"},
      {"raft-truncation-keeps-tail", "conflicting entries are kept"},
      {"raft-heartbeat-commit-unchecked", "a heartbeat commits beyond what is known to match"},
      {"raft-stale-leader-obeyed", "messages of a leader of an older term are obeyed"},
      {"raft-read-confirmed-by-older-round", "ReadIndex counts acks of a round sent before it"},
      {"raft-promise-ignored", "votes, and pre-votes, while the leader may count on its lease"},
      {"raft-no-promise-after-restart", "a vote right after a restart, within the old lease"},
      {"raft-lease-outlives-promise", "the lease is longer than what followers promise"},
      {"raft-elected-by-minority", "one vote less than a majority elects"},
      {"raft-commit-before-quorum", "an entry is committed once it is durable on the leader"},
      // ---- storage
      {"wal-reply-before-sync", "records count as durable before the sync"},
      {"wal-failed-sync-ignored", "after a failed sync the log goes on"},
      {"wal-directory-not-synced", "a new segment's name is not synced"},
      {"wal-segment-freed-early", "segments are reused while records in them are needed"},
      {"wal-torn-tail-kept", "a torn tail is kept, and appended behind"},
      {"wal-recycled-records-valid", "a reused segment's old records pass for new ones"},
      {"wal-damage-overlooked", "a damaged log goes on as if it were whole"},
      {"wal-cache-vouched-for", "what a start reads counts as durable, unsynced"},
      {"wal-number-wraps", "the number of a group's record starts again at 1 after 256"},
      {"wal-digest-clears-everyone",
       "a digest clears groups whose last record is not where it says"},
      {"wal-header-damage-is-a-new-log", "a log whose header is damaged passes for a new disk's"},
      {"wal-copy-drops-entries", "copying forward leaves entries behind"},
      {"wal-directory-synced-in-a-turn", "a segment's name is synced on the executor's thread"},
      {"raft-damaged-replica-goes-on", "a replica whose log is damaged votes and acknowledges"},
      {"space-of-followers-ignored", "a leader looks at its own disk only"},
      {"raft-lost-range-ignored", "a replica that lost a part of its state goes on"},
      {"space-reserve-kept", "a full disk keeps its reserve"},
      {"raft-snapshot-given-up-half-way", "who waits for a snapshot begins anew every second"},
      {"raft-snapshot-held-counts", "waiting for the rate counts as silence of the receiver"},
      {"store-index-ahead", "the checkpoint names one entry too many as applied"},
      {"store-index-behind", "the checkpoint names an older index than its data"},
      // ---- transactions: evaluation
      {"txn-reads-not-validated", "what was read is not validated"},
      {"txn-committed-intents-not-validated", "validation overlooks committed intents"},
      {"txn-restart-over-staged", "a copy of a Commit starts again over a STAGED record"},
      {"txn-read-ignores-locks", "a read does not wait for prepared transactions"},
      {"txn-no-refloor", "a new leader does not raise read_high to a fresh slot"},
      {"txn-serve-before-leader-start", "a new leader serves before its LeaderStart is applied"},
      {"txn-locks-not-rebuilt", "a new leader does not rebuild the lock table"},
      {"txn-one-phase-no-raise", "a one-phase commit lets guards go without raising read_high"},
      {"txn-resolve-no-raise", "an outcome lets guards go without raising read_high"},
      {"txn-guards-not-logged", "read guards are not replicated"},
      {"txn-guards-not-locked", "read guards lock nothing"},
      {"txn-read-no-raise", "a read does not raise read_high"},
      {"txn-lease-not-checked", "a read is answered without a lease"},
      {"txn-prepared-before-applied", "PREPARED is answered when proposed"},
      {"txn-blind-write-without-slot", "a blind write takes no fresh slot"},
      {"txn-one-phase-twice", "a copy of a one-phase commit commits once more"},
      {"txn-readers-not-participants", "shards that were only read are not asked to prepare"},
      {"txn-scan-misses-committed-intents", "a scan overlooks committed intents"},
      {"txn-range-validated-unguarded", "what was read is validated in parts before it is locked"},
      {"txn-floor-below-commits", "a new leader's read_high may be below what was committed"},
      {"txn-abort-of-nothing-over-staged", "who finds no record aborts one that is staged by then"},
      {"txn-commit-above-slots-told", "a commit above every slot issued is told at once"},
      {"txn-marker-unbounded", "a marker key of any length is let in and logged"},
      {"txn-scan-ignores-locks", "a scan does not wait for prepared transactions"},
      // ---- transactions: names
      {"name-not-kept-over-attempts", "another attempt of a named transaction has another name"},
      {"name-closed-at-marker-only", "a closed name is looked for at a part's marker only"},
      {"name-behind-short-horizon", "names are forgotten as soon as transaction records"},
      {"name-attempts-joined-by-id", "another attempt's COMMITTED under the name is overlooked"},
      {"name-too-old-after-records", "a name of which nothing is left is closed, however old"},
      {"name-remembered-at-anchor-only", "other participants do not remember the name"},
      // ---- transactions: outcome
      {"txn-commit-before-all-prepared", "COMMITTED as soon as the own part is prepared"},
      {"txn-resolve-before-decide", "a commit is resolved before Decide is applied"},
      {"txn-abort-answered-before-logged", "ABORTED is answered before Decide is applied"},
      {"txn-refusal-not-logged", "a recoverer hears of a refusal that is not logged"},
      {"txn-refuse-over-prepared", "a refusal is applied over a PREPARED record"},
      {"recovery-silence-is-refusal", "recovery takes silence for a refusal"},
      {"gc-above-horizon", "versions above the horizon are collected"},
      {"txn-outcome-forgotten", "a participant forgets its outcome after Resolve"},
      {"txn-commit-ts-not-highest", "commit_ts is the last prepare_ts to arrive"},
      {"txn-resolved-at-prepare-ts", "intents become versions at their own prepare_ts"},
      {"txn-coordinator-outlives-term", "a coordinator keeps its rights after its leader's term"},
      {"recovery-commits-without-all", "recovery commits once one participant is prepared"},
      {"gc-unresolved-record-dropped", "a COMMITTED record goes before all have resolved"},
      {"gc-horizon-of-wall-clock", "the horizon follows the leader's wall clock, not the slots"},
      {"gc-newest-version-collected", "the newest version at the horizon is collected, too"},
      {"gc-record-found-by-id-alone", "a record is taken for gone when another of its id goes"},
      {"txn-abort-kept-by-claimed-start", "an ABORTED without record goes by the asker's start_ts"},
      {"gc-read-below-horizon", "a snapshot below the horizon is served"},
      // ---- the oracle
      {"tso-starts-at-wall-clock", "a new oracle starts at its clock, not above the ceiling"},
      {"tso-ceiling-before-logged", "slots are issued below a ceiling that is not logged yet"},
      {"tso-lease-not-checked", "a slot is answered without a lease"},
      {"tso-slot-used-again", "a slot serves transactions that begin later"},
      {"tso-slot-fetched-before-begin", "a fetch serves transactions that began after it was sent"},
      {"tso-follows-clock-back", "slots follow the wall clock when it goes back"},
      // ---- the client
      {"client-unknown-retried-anew", "an unanswered Commit is tried again under a new id"},
      {"client-unknown-is-failed", "an unanswered Commit is reported as failed"},
      {"client-refusal-is-a-fact", "what a busy node refused unseen is called aborted"},
      {"client-reads-at-several-timestamps", "each read takes a timestamp of its own"},
      {"client-own-writes-not-seen", "a transaction does not see its own writes"},
      {"client-ranges-not-guarded", "a scanned range is no part of the reads"},
      {"client-too-old-is-aborted", "TOO_OLD is reported as aborted"},
      // ---- the public service
      {"server-scan-page-off-by-one", "a page of a scan resumes one row too far"},
      {"server-clients-unbounded", "what clients hold of a node is counted, not bounded"},
  };
  return all;
}

}  // namespace quorate::sim

#endif
