// Replicas: the replicas on this node: which there are, who asks for which, when one comes and when
// it goes.
//
//   bootstrap message, log, store ─► at the start
//   a leader's message for a group that is not here + the map says that this node is a member of it
//                                 ─► an empty one, which waits for the leader's snapshot
//   its parent's log ─► the child of a split, once the store has what it begins with
//   its own log, or the map, says that it is no member any more ─► destroyed (replica_fate.h)
//
// Splits (decision 0020). A child begins as the shards of a new cluster do: every member has the
// same first entry in its log, and the same state under it; here that is the parent's, at the
// split. The child's log must not be durable without that state:
//   split applied ─► store flushed ─► replica begun ─► what it votes and acknowledges
// Crash before the flush: the parent's log is applied again, over the split. Behind it: the child's
// scalars are in the store, and the start begins the replica, with or without a log of its own.
// A message for a child whose parent here is not that far yet makes no replica: the parent's log
// will, with votes and a state.
//
// Merges (decision 0022). Where the left one's replica has applied that it absorbed the right one,
// the right one's here ends in that step, and nothing of it is deleted (TakeOver). Both are in the
// overlay in this order, so a store never has the second without the first; if it has the first
// without the second, the start does it. Elsewhere the map says that the shard is another one's.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "coordinator/shard_directory.h"
#include "placement/service.h"
#include "raft/host/host.h"
#include "server/node/cluster_view.h"
#include "shard/shard.h"
#include "storage/ordered_store.h"

namespace quorate::server {

class Replicas final : public coordinator::ShardDirectory {
 public:
  // What a shard tells: shard::Shard::Deps.
  struct Told {
    std::function<void()> on_descriptor;
    std::function<void(const v1::ShardDescriptor& child, bool led)> on_split;
    std::function<bool(ShardId child, storage::WriteBatch* batch)> may_begin;
    std::function<shard::InTheWay(const v1::ShardDescriptor& frozen)> make_room;
    std::function<void(ShardId frozen)> on_absorb;
  };
  using MakeShard = std::function<std::unique_ptr<shard::Shard>(const v1::ShardDescriptor&, Told)>;
  // References outlive this; `host` is destroyed after it.
  Replicas(Env& env, storage::OrderedStore& store, raft::Host& host, const ClusterView& view,
           NodeId self);
  ~Replicas() override;
  // Before anything else: how a shard is made, given what it is told when its descriptor changes.
  void SetMakeShard(MakeShard make) { make_shard_ = std::move(make); }

  // Told of parent and child when a split was applied here, and of who absorbed another one.
  void OnSplit(std::function<void(const v1::ShardDescriptor&)> told) {
    on_split_ = std::move(told);
  }

  // The replicas that the bootstrap message gives this node (nullptr: none) and those that the log
  // and the store know. May be called again when the message comes later.
  Status Start(const v1::BootstrapRequest* bootstrap);
  // Makes what the map gives this node and destroys what it takes. Called when the map is new, and
  // every second or so.
  void FollowMap();

  // ---- coordinator::ShardDirectory
  shard::Shard* FindByKey(std::string_view key) override;
  shard::Shard* Find(ShardId shard) override;

  // Whether a child of a split waits for the store to be flushed: nobody has its keys meanwhile.
  bool awaits_child() const { return !children_.empty(); }

  // What this node has, or is deleting, of a range beside replicas of two neighbours that are to be
  // one, of which the right one's is small: a sentence; empty: nothing.
  std::string WhyNotFree(ShardId right, ShardId left, const Span& span) const;
  // Grows whenever keys come to a replica here, or go from one.
  uint64_t key_changes() const { return key_changes_; }
  NodeId self() const { return self_; }

  raft::GroupHandle* FindGroup(GroupId group) const;
  placement::Placement* placement() const { return placement_.get(); }
  const std::map<ShardId, std::unique_ptr<shard::Shard>>& shards() const { return shards_; }
  const std::map<GroupId, raft::GroupHandle*>& groups() const { return groups_; }
  // Children of splits that begin here, until the map of placement has them and they had a leader:
  // at most `max`, first of all those that it has not.
  std::vector<v1::ShardDescriptor> Begun(size_t max);
  // Placement's map has it.
  void BegunIsKnown(ShardId child);
  // The first one since this start, with all shards: a child that was led, and whose leader was
  // gone before it could tell of it, may not be among them.
  void OnFirstMap(const v1::RoutesResponse& map);

 private:
  // What is left of a replica, for whoever still waits for it.
  struct Retired {
    std::unique_ptr<raft::GroupHandle> group;
    std::unique_ptr<shard::Shard> shard;
    std::unique_ptr<placement::Placement> placement;
    Instant since;
    bool deleted = false;
  };
  // To the map, of a child of a split; kNotSeen: it was led before this start, which has seen no
  // map yet.
  enum class Known : uint8_t { kNotSeen, kNo, kYes };
  // Whether the map has this node among a group's members, and since which entry of its log.
  struct Membership {
    bool self = false;
    uint64_t index = 0;  // 0: the map does not know the group
  };

  Status StartPlacement(const v1::BootstrapRequest* bootstrap);
  // `founding`: with these members and the state that goes with them.
  Status StartShard(const v1::ShardDescriptor& descriptor, bool founding);
  Status StartChildren();
  bool MayBegin(ShardId child) const;
  void BeginChild(ShardId parent, const v1::ShardDescriptor& child, bool led);
  void StartChild(const v1::ShardDescriptor& child, bool led);
  // Whether the replica of a shard that is absorbed can give way in one step; else why not.
  std::string WhyNotTaken(ShardId right, const Span& span) const;
  // As WhyNotFree, where it is certain that `left` will have all of it: a replica of the right one
  // that is in the way goes. Called in the middle of applying.
  shard::InTheWay MakeRoom(ShardId left, const v1::ShardDescriptor& frozen);
  // A replica with keys of the range whose shard is of after the absorption: versions only grow on
  // a key, so it descends from what `left` becomes here. 0: none.
  ShardId NewerIn(const Span& span, uint64_t version, ShardId left, ShardId right) const;
  // Which child of a split, not begun yet, has keys there; 0: none.
  ShardId ChildIn(const Span& span, ShardId but) const;
  // `right` ends here: its keys are `left`'s.
  void OnAbsorb(ShardId left, ShardId right);
  void TakeOver(ShardId left, ShardId right);
  void TakeOverAbsorbed();
  // By whom, as far as it can be known; empty: it was not, or that is not certain yet.
  std::string WhyAbsorbed(GroupId group, const raft::GroupHandle& handle);
  Task<void> Campaign(GroupId group);
  // Whether another replica here has, or will divide, what the map gives the group.
  bool HeldByAnother(GroupId group) const;
  void StartWanted();
  void DestroyGone();
  void DropRetired();
  Membership InMap(GroupId group) const;
  // Why the replica can go; empty: it stays.
  std::string WhyGone(GroupId group, const raft::GroupHandle& handle);
  void Destroy(GroupId group, const std::string& why);
  void Retire(GroupId group);
  void OnDescriptor(ShardId shard);
  // Whose keys are whose is not as it was.
  void KeysChanged();
  void IndexShards();

  Env& env_;
  storage::OrderedStore& store_;
  raft::Host& host_;
  const ClusterView& view_;
  const NodeId self_;
  MakeShard make_shard_;
  std::function<void(const v1::ShardDescriptor&)> on_split_;
  std::list<Retired> retired_;
  std::unique_ptr<placement::Placement> placement_;
  std::map<ShardId, std::unique_ptr<shard::Shard>> shards_;
  std::map<GroupId, raft::GroupHandle*> groups_;
  std::map<std::string, shard::Shard*, std::less<>> by_start_;  // of FindByKey
  std::map<ShardId, Span> children_;                            // wait for the store to be flushed
  std::map<ShardId, Known> begun_;                              // children of splits
  std::map<GroupId, Instant> absorbed_since_;                   // replicas that may go soon
  bool indexed_ = false;                                        // by_start_ is up to date
  uint64_t key_changes_ = 0;
  std::map<ShardId, Span> spans_;  // of replicas with a state, when their descriptors changed last
  bool members_changed_ = false;   // of a replica here
  bool look_again_ = false;        // the map has taken one that is still told by its leader
  uint64_t map_seen_ = 0;          // ClusterView::changes
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  TaskScope scope_;  // last
};

}  // namespace quorate::server
