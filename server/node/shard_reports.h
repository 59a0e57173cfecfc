// ShardReports: what a node tells the placement leader of the shards that it leads: first of all of
// them, then what changes. Only shards in which something happened are looked at, and a few of the
// others in turn, so an idle node's heartbeat does not cost more with more shards.
//
//   Fill(active, ..) ─► heartbeat ─► Answered(..), or Lost(): nobody knows whether it arrived
//
// A leader that has not what this node takes for told (another leader; an answer that was lost)
// says so, and is told of all.
//
// One heartbeat at a time. Executor's thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/strong_type.h"
#include "quorate/v1/placement.pb.h"

namespace quorate::server {

class ShardReports {
 public:
  // `drawn`: where the numbers of heartbeats begin. What somebody else sends in this node's name,
  // or an earlier process of it, is not what a heartbeat goes on from.
  explicit ShardReports(uint64_t drawn) : number_(drawn >> 2) {}

  // nullopt: this node does not lead the shard.
  using Look = std::function<std::optional<v1::ShardReport>(ShardId)>;
  // Of the shards in order of their ids, the first above `after`; 0: there is none.
  using Next = std::function<ShardId(ShardId after)>;

  // Adds to the heartbeat what is to be told. `active`: those in which something may have happened
  // since the last call; `count`: of all shards here.
  void Fill(const std::set<GroupId>& active, size_t count, const Look& look, const Next& next,
            v1::HeartbeatRequest* heartbeat);
  void Answered(const v1::HeartbeatResponse& response);
  void Lost() { sent_.clear(); }

 private:
  void AddAll(const Look& look, const Next& next, v1::HeartbeatRequest* heartbeat);
  void Add(ShardId id, const Look& look, v1::HeartbeatRequest* heartbeat);

  uint64_t number_;    // of the newest heartbeat
  uint64_t base_ = 0;  // the one that was answered last; 0: nothing is told yet
  uint64_t base_term_ = 0;
  std::map<ShardId, size_t> told_;  // as of base_: digests of the reports of what is led
  // May be other than told_ says.
  std::set<ShardId> doubtful_;
  // In the newest heartbeat; nullopt: that it is not led any more.
  std::map<ShardId, std::optional<size_t>> sent_;
  std::set<ShardId> loaded_;  // reported with a load, which ends by itself
  ShardId looked_at_;
};

}  // namespace quorate::server
