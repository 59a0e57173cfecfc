// ClusterView: what the schedulers know of nodes and shards. The placement leader's picture, put
// together from the node table (applied state) and from what was reported in its term (volatile); a
// report replaces what was known of that shard or node, so it is cheap to keep up to date.
//
// Beside what was put in, it keeps what a round would else have to look for: who is on which node,
// what each node bears, and which shards may need something (`unsettled`). A round over a cluster
// that is as it should be looks at no shard at all.
//
// One thread. Times are the caller's; nothing here reads a clock.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/container/inlined_vector.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/strong_type.h"
#include "placement/schedule/locality.h"
#include "placement/schedule/rule.h"

namespace quorate::placement {

enum class Liveness : uint8_t {
  kNone,  // not heard of in this leader's term, which is too young to judge: neither up nor down
  kUp,
  kDown,
};

struct NodeView {
  NodeId id;
  Locality locality;  // zone, rack and host tell how far apart nodes are; rules may name others
  Liveness liveness = Liveness::kNone;
  uint64_t incarnation = 0;  // which of its starts this is; 0: unknown
  Instant up_since;  // if up: this start, heard of without a gap since; never before the term began
  // If down: since when nothing was heard of it, never before the leader's term began. An earlier
  // leader's judgement does not count (a rolling restart would else cost replicas).
  Instant down_since;
  bool draining = false;
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;  // 0: unknown
  bool low_space = false;    // takes nothing more
};

// The placement group is one of the shards here.
inline constexpr ShardId kPlacementShard{1};
// As sentences call it: "shard 7", "the placement group".
std::string NameOf(ShardId shard);

// (version, membership_version) of the shard's descriptor.
struct ShardEpoch {
  uint64_t version = 0;
  uint64_t membership_version = 0;
  friend auto operator<=>(const ShardEpoch&, const ShardEpoch&) = default;
};

struct Replica {
  NodeId node;
  // The leader's word: it has the log, up to what is on its way. One that has not counts for no
  // quorum. A leader that cannot tell yet says false for learners and true for voters.
  bool caught_up = true;
  friend auto operator<=>(const Replica&, const Replica&) = default;
};
using Replicas = absl::InlinedVector<Replica, 3>;

struct ShardView {
  ShardId id;
  ShardEpoch epoch;
  Replicas voters;  // of a joint configuration those that come in; sorted by Put
  absl::InlinedVector<Replica, 1> learners;
  bool joint = false;               // a change is under way: nothing else is begun
  bool leader_stays = false;        // what its leader knows is lost with it: not moved for balance
  NodeId leader;                    // 0: unknown
  uint32_t replication_factor = 0;  // 0: that of its rule
  uint32_t rule = 0;                // that its first key is under, by number; 0: none
  std::string border;               // where the next rule begins inside it; empty: nowhere
  uint64_t bytes = 0;
  uint64_t requests_per_second = 0;  // averaged over a minute or more; 0: unknown
  std::string load_middle;           // a key with about half of them on either side; empty: none
  uint32_t busiest_key_percent = 0;  // of them, for one key
  bool by_hand = false;              // its first key was chosen by an operator
  ShardId left;                      // its left neighbour by the map; 0: none
  Instant since;                     // its range is the same; never before the leader's term began

  const Replica* Voter(NodeId node) const;
  const Replica* Learner(NodeId node) const;
  bool Has(NodeId node) const { return Voter(node) != nullptr || Learner(node) != nullptr; }
};

// What a node bears, by what shards report.
struct NodeLoad {
  int64_t replicas = 0;  // voters and learners
  int64_t leaders = 0;
  int64_t bytes = 0;
  int64_t requests = 0;  // per second, of the shards that it leads
};

// Which of a rule's labels a node fits.
enum Fit : uint8_t { kRequired = 1, kPreferred = 2, kLeads = 4 };

class ClusterView {
 public:
  struct Node {
    NodeView view;
    Domains domains;
    NodeLoad load;
    absl::btree_set<ShardId> shards;  // that have a voter or learner there
    absl::btree_set<ShardId> led;
    std::vector<uint8_t> fits;  // bits of Fit, by the number of the rule

    bool Fits(uint32_t rule, Fit what) const { return (fits[rule] & what) != 0; }
    // Whether it may be given something; not whether there is room for it.
    bool usable() const {
      return view.liveness == Liveness::kUp && !view.draining && !view.low_space;
    }
  };

  // Adds or replaces. Nodes are few; a change of what a node is used for costs its shards.
  void Put(NodeView node);
  // A node that is not here is gone for good: what it holds is replaced at once. Shards may name
  // nodes that were never put; they are gone as well.
  void Remove(NodeId node);
  // Adds or replaces. An older epoch than what is known is ignored: false.
  bool Put(ShardView shard);
  void Remove(ShardId shard);
  // Of shards that neither name one of their own nor have one by their rule. Who is unsettled by it
  // is found by Refresh(); likewise with rules.
  void SetReplicationFactor(uint32_t replication_factor);
  // Their numbers, by which shards name them, are from 1 on.
  void SetRules(std::vector<Rule> rules);

  const absl::btree_map<NodeId, Node>& nodes() const { return nodes_; }
  const absl::btree_map<ShardId, ShardView>& shards() const { return shards_; }
  // Those that shards name and that are gone, or were not put yet.
  const absl::btree_map<NodeId, Node>& strangers() const { return strangers_; }
  const Node* Find(NodeId id) const;
  const ShardView* Find(ShardId id) const;
  uint32_t ReplicationFactorOf(const ShardView& shard) const;
  // nullptr: it is under none.
  const Rule* RuleOf(const ShardView& shard) const;
  // Whether the node fits the rule of the shard; one that is gone does not.
  bool Fits(NodeId node, const ShardView& shard, Fit what) const;
  // Whether another voter could lead it where its rule rather has leaders, and its leader is not
  // there. Not whether that one can right now.
  bool LedElsewhere(const ShardView& shard) const;
  // Each node is known to be up or down, as it is a few seconds after a term began.
  bool AllHeardOf() const;

  // Shards that are perhaps not as they should be: a learner, a change under way, another number of
  // voters, one on a node that is gone, down or drained or that its rule does not allow, a worse
  // standing than nodes allow, or a leader elsewhere. Others are right once Refresh() has said so.
  const absl::btree_set<ShardId>& unsettled() const { return unsettled_; }
  // Judges again what a change of nodes or settings left to judge, at most `shards_max` shards;
  // true once all is judged. Before every round.
  bool Refresh(size_t shards_max);
  // The best that so many replicas as it should have can stand on the nodes that are usable, as of
  // the last Refresh(); without so many nodes, the worst that there is.
  Standing LeastStanding(const ShardView& shard) const {
    return bests_[RuleNumber(shard)].standing[ReplicationFactorOf(shard)];
  }
  // Whether its rule leaves it enough hosts for a replica each, up or down, of nodes that are to
  // stay: then no host is ever given a second one.
  bool HostsSuffice(const ShardView& shard) const {
    return bests_[RuleNumber(shard)].hosts >= ReplicationFactorOf(shard);
  }
  // How voters stand; `without` (if not 0) left out, `with` (if not 0) added. Nodes that are gone
  // are not counted.
  Standing StandingOf(const ShardView& shard, NodeId without = {}, NodeId with = {}) const;

 private:
  // By the number of the rule; with none, by what holds without rules.
  struct Best {
    std::array<Standing, limits::kReplicationFactorMax + 1> standing{};  // by number of replicas
    uint32_t hosts = 0;
    friend bool operator==(const Best&, const Best&) = default;
  };
  uint32_t RuleNumber(const ShardView& shard) const {
    return shard.rule <= rules_.size() ? shard.rule : 0;
  }
  Standing OfOne(const Node& node, uint32_t rule) const;
  void NameFits(Node* node) const;
  bool Settled(const ShardView& shard) const;
  void Judge(const ShardView& shard);
  void JudgeShardsOf(const Node& node);
  void Count(const ShardView& shard, int sign);
  void Index(const ShardView& shard, bool present);
  // Of a node that was put, or of a stranger, which begins here.
  Node& AnyNode(NodeId id);
  void NameDomains(Node* node);
  Best ComputeBest(uint32_t rule) const;

  absl::btree_map<NodeId, Node> nodes_;
  // What shards say of nodes that are not in `nodes_`: kept, since shards may come first.
  absl::btree_map<NodeId, Node> strangers_;
  absl::btree_map<ShardId, ShardView> shards_;
  absl::btree_set<ShardId> unsettled_;
  DomainNames names_;
  std::vector<Rule> rules_;
  std::vector<Best> bests_ = std::vector<Best>(1);  // by rule
  uint32_t replication_factor_ = 3;
  bool places_changed_ = true;  // bests_ are to be computed again
  ShardId judged_;              // the last one
  size_t to_judge_ = 0;         // so many after it, and around
};

}  // namespace quorate::placement
