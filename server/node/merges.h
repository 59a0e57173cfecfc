// Merges: what this node does for two neighbouring shards that become one (decision 0022), on three
// sides at once:
//
//   leader of the right one, B          leader of the left one, A        members of A
//   free? ────────────────────────────► all members free? ─────────────► store free, and flushed?
//   Freeze, logged
//   contents ─────────────────────────► does B's node say so, too?
//                                       free? Absorb, logged             B's replica here ends
//   else: abandon ────────────────────► does B's node? AbandonMerge      (Replicas)
//   absorbed: ends; abandoned: Thaw, logged
//
// A's log alone decides. So whoever finds that it leads a frozen shard asks until it knows: nothing
// is remembered but what the logs hold.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "base/env.h"
#include "base/task.h"
#include "client/route/caller.h"
#include "client/route/route_cache.h"
#include "quorate/v1/node.pb.h"
#include "server/node/cluster_view.h"
#include "server/node/replicas.h"
#include "server/node/shared_flush.h"
#include "storage/ordered_store.h"

namespace quorate::server {

class Merges {
 public:
  struct Deps {
    Env& env;
    storage::OrderedStore& store;
    client::Channel& channel;
    client::Caller& caller;
    client::RouteCache& routes;
    ClusterView& view;
    Replicas& replicas;
  };
  explicit Merges(Deps deps);

  // Has the left neighbour absorb a shard that this node leads. Else nothing happened in the end,
  // and why.
  Task<Status> Merge(ShardId shard, ShardId into);
  // What other nodes ask, and this one itself.
  Task<v1::MergeResponse> OnRequest(v1::MergeRequest request, Instant deadline);
  // Something has happened in the shard: it may be frozen now.
  void Look(ShardId shard);
  // Frozen shards that this node has come to lead are settled. Every second or so.
  void Resume();
  // The shard is one half of a merge here: its members stay.
  bool Busy(ShardId shard) const { return busy_.contains(shard); }

 private:
  // Of A's members, asked whether they are free.
  struct Asked {
    size_t open = 0;
    size_t free = 0;
    std::string why_not;
    std::shared_ptr<Promise<bool>> ended;
  };
  class Hold;

  Task<void> ResumeOne(ShardId shard);
  // Until it is absorbed or thawed, or another node leads it. Asks to absorb it until then.
  Task<Status> Settle(ShardId shard, Instant until);
  // To the leader of whoever ends at `from`, wherever that is by now.
  Task<Result<v1::MergeResponse>> AskLeft(std::string from, v1::MergeRequest request,
                                          Duration patience);
  Task<Status> Absorb(shard::Shard* left, v1::FrozenShard frozen, NodeId asked_by,
                      Instant deadline);
  Task<Status> Abandon(shard::Shard* left, v1::AbandonMerge merge, NodeId asked_by);
  // Asks a node of the cluster whether it has that replica, frozen so. What it says is a fact: its
  // log holds the Freeze, committed.
  Task<Status> IsFrozen(NodeId node, v1::ConfirmFrozen confirm, uint64_t contents);
  Task<Status> AllFree(shard::Shard* left, v1::FreeSpan span, Duration patience);
  Task<void> AskFree(std::shared_ptr<Asked> asked, std::string address, v1::FreeSpan span,
                     Duration patience);
  Status Confirm(const v1::ConfirmFrozen& confirm, v1::MergeResponse* response);
  // Whether this node's store is, and stays so.
  Task<Status> Free(v1::FreeSpan span);

  const Deps deps_;
  SharedFlush flush_;
  std::multiset<ShardId> busy_;
  std::set<ShardId> frozen_;  // when they were looked at last
  TaskScope scope_;           // last
};

}  // namespace quorate::server
