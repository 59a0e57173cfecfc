// Resolver: what follows a decision, off every client's path and batched. Per shard at most a few
// requests are in flight and whatever came meanwhile leaves together in the next one; the shard
// here is called directly. Messages may be lost, repeated and late: each is harmless twice. Of one
// transaction a request has one part at most: where a shard has several, they are large ones
// (participants.h), and applying a Resolve rewrites what was prepared.
//
//   Early ──► EarlyOutcome, once          Resolve ──► again until applied ──► `done`
//                                         LogDone ──► one entry for many transactions ──► `done`
//
// The caller orders them: Resolve only from an applied Decide (early_resolve), Done only when every
// participant has resolved (drop_unresolved). A Resolve that fails is dropped once the anchor's
// term is over: the next leader of the anchor sends it again, and holders of PREPARED records push.
//
// Executor's thread only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "client/route/caller.h"
#include "coordinator/registry.h"
#include "coordinator/shard_directory.h"

namespace quorate::coordinator {

// A transaction with its staged grouping, as its anchor's leader knows it.
struct DecidedTxn {
  TxnId id;
  Timestamp start_ts;
  std::string anchor_key;
  ShardId anchor_shard;
  raft::Term anchor_term;
  StagedParts participants;
};

class Resolver {
 public:
  Resolver(Env& env, client::Caller& caller, ShardDirectory& directory);

  // COMMITTED at `commit_ts` is a fact. Best effort.
  void Early(const DecidedTxn& txn, Timestamp commit_ts);
  // `done` runs in a later turn, once every participant has applied it; dropped if it never will.
  void Resolve(DecidedTxn txn, bool commit, Timestamp commit_ts, Closure done);
  // `done` runs in a later turn, whether or not it could be logged.
  void LogDone(const DecidedTxn& txn, Closure done);

  // Resolutions that wait or are on their way.
  size_t pending() const { return pending_; }

 private:
  struct Job;
  struct Item {
    std::shared_ptr<Job> job;
    size_t participant;
  };
  struct Queue {
    std::vector<Item> waiting;
    int in_flight = 0;
  };
  struct Finished {
    TxnId id;
    std::string anchor_key;
    raft::Term term;
    Closure done;
  };

  static v1::Resolution MakeResolution(const DecidedTxn& txn, size_t participant, bool commit,
                                       Timestamp commit_ts);
  // The shard that owns `key`, as far as it is known here; 0: unknown.
  ShardId ShardOf(std::string_view key);
  void Enqueue(Item item);
  Task<void> SendBatch(ShardId shard);
  Task<Status> Send(std::vector<v1::Resolution> batch);
  // Of what waits for the shard: for one request.
  std::vector<Item> TakeBatch(ShardId shard);
  void Settle(std::vector<Item> batch, bool applied);
  Task<void> SendEarly();
  Task<void> SendEarlyTo(std::vector<v1::Resolution> batch);
  Task<void> LogDoneBatches(ShardId anchor);

  Env& env_;
  client::Caller& caller_;
  ShardDirectory& directory_;
  std::map<ShardId, Queue> queues_;
  std::map<ShardId, std::vector<v1::Resolution>> early_;
  bool early_scheduled_ = false;
  std::map<ShardId, std::vector<Finished>> finished_;  // one LogDoneBatches per key
  size_t pending_ = 0;
  uint64_t batches_ = 0;
  TaskScope scope_;
};

}  // namespace quorate::coordinator
