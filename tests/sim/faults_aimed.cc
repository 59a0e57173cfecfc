// Aimed faults: at a step of a commit, or of an election, that faults at any time hardly ever meet.
//
// What waits for a step is armed for the fault's length, and hits the first transaction (or a later
// one) that takes it.
#include "quorate/v1/node.pb.h"
#include "raft/host/host.h"
#include "server/node/member.h"
#include "shard/shard.h"
#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kCluster = FaultClass::kCluster;
constexpr auto kNetwork = FaultClass::kNetwork;
constexpr auto kClock = FaultClass::kClock;
constexpr Duration kHandOverTimeout = 1s;
constexpr Duration kLook = 500us;  // at who leads

Duration Log(Random& random, double low_s, double high_s) {
  return Duration(static_cast<int64_t>(DrawFrom(random, {low_s, high_s}) * 1e9));
}

void HandOverSoon(Injector& in, Random& random, SimNode& node, Duration within) {
  in.Later(Duration(random.Below(static_cast<uint64_t>(within.count()) + 1)),
           [&node] { node.HandOver(kHandOverTimeout); });
}

// Waits for a request of one kind on its way from a coordinator to the leader of a participant's
// group. `hit` returns by how much it comes later.
using HitFn = std::function<Duration(Random& random, SimNode& coordinator, GroupId group)>;
template <class Request>
void AtRequest(Injector& in, const Fault& fault, bool (v1::NodeRequest::*is)() const,
               const Request& (v1::NodeRequest::*get)() const, HitFn hit) {
  auto random = std::make_shared<Random>(fault.draw);
  auto skip = std::make_shared<uint64_t>(random->Below(4));
  in.AwaitRequest(
      fault,
      [&in, fault, is, get, random, skip, hit = std::move(hit)](
          SimNode& from, SimNode&, const v1::NodeRequest& request) -> std::optional<Duration> {
        if (!(request.*is)() || (*skip)-- > 0) return std::nullopt;
        Fault hits = fault;
        hits.node = from.index();
        in.Count(hits);
        return hit(*random, from, GroupId((request.*get)().route().shard_id()));
      });
}

void AtPrepare(Injector& in, const Fault& fault, HitFn hit) {
  AtRequest(in, fault, &v1::NodeRequest::has_prepare, &v1::NodeRequest::prepare, std::move(hit));
}

// The anchor's next leader may ask a participant before it has heard of the transaction; its old
// coordinator, alive, may still be told that it is prepared.
void OvertakenPrepare(Injector& in, const Fault& fault) {
  AtPrepare(in, fault, [&in](Random& random, SimNode& coordinator, GroupId) {
    const Duration late = Log(random, 0.02, 0.4);
    HandOverSoon(in, random, coordinator, late / 4);
    return late;
  });
}

// While one participant is asked late, others change leaders: what they have promised must hold.
void LatePrepare(Injector& in, const Fault& fault) {
  AtPrepare(in, fault, [&in](Random& random, SimNode& coordinator, GroupId) {
    const Duration late = Log(random, 0.2, 1.9);
    for (auto& node : in.cluster().nodes()) {
      if (node->index() == coordinator.index() || random.Chance(0.3)) continue;
      HandOverSoon(in, random, *node, late / 3);
    }
    return late;
  });
}

// A participant's Prepare is in its log and not applied when the anchor's next leader asks.
void StuckPrepare(Injector& in, const Fault& fault) {
  AtPrepare(in, fault, [&in, fault](Random& random, SimNode& coordinator, GroupId group) {
    const Duration length = Log(random, 0.02, 0.3);
    in.Later(Log(random, 1e-4, 8e-3),
             [&in, fault, group, length] { in.Silence(fault, group, length); });
    HandOverSoon(in, random, coordinator, 10ms);
    return Duration(0);
  });
}

// A participant falls silent as it is to hear that it is committed, for so long that the anchor may
// have forgotten it.
void OrphanedPart(Injector& in, const Fault& fault) {
  AtRequest(in, fault, &v1::NodeRequest::has_resolve, &v1::NodeRequest::resolve,
            [&in, fault](Random& random, SimNode& coordinator, GroupId group) {
              const Duration length = Log(random, 3, 20);
              in.Silence(fault, group, length);
              HandOverSoon(in, random, coordinator, length);
              return Duration(0);
            });
}

// The anchor falls silent when the client is told COMMITTED and nothing of it is logged, for so
// long that the participants may have forgotten it.
void OrphanedAnchor(Injector& in, const Fault& fault) {
  AtRequest(in, fault, &v1::NodeRequest::has_early_outcome, &v1::NodeRequest::early_outcome,
            [&in, fault](Random& random, SimNode& coordinator, GroupId) {
              const Duration length = Log(random, 3, 20);
              for (const shard::Shard* shard : coordinator.node()->shards()) {
                if (!shard->serving()) continue;
                in.Silence(fault, GroupId(shard->id().value()), length);
              }
              return Duration(0);
            });
}

// ---- elections ----------------------------------------------------------------------------------

void Isolate(Injector& in, const Fault& fault, const SimNode& node) {
  for (int i = 0; i < in.count(); ++i) {
    if (i != node.index()) in.BlockSomehow(fault, node.address(), in.NodeAt(i).address());
  }
}

const raft::GroupHandle* HandleOf(SimNode& node, GroupId group) {
  const server::Member* member = node.up() ? node.node()->member() : nullptr;
  return member == nullptr ? nullptr : member->FindGroup(group);
}

// Whether it takes itself for the leader of a group in which somebody is in a later term.
bool Overtaken(Injector& in, SimNode& leader) {
  const server::Member* member = leader.up() ? leader.node()->member() : nullptr;
  if (member == nullptr) return false;
  for (const auto& [group, own] : member->groups()) {
    const raft::SoftState state = own->soft_state();
    if (state.role != raft::Role::kLeader) continue;
    for (auto& node : in.cluster().nodes()) {
      const raft::GroupHandle* handle = HandleOf(*node, group);
      if (handle != nullptr && handle->soft_state().term > state.term) return true;
    }
  }
  return false;
}

void CutOnceOvertaken(Injector& in, const Fault& fault, SimNode& leader, Instant until) {
  if (in.world().now() >= until) return;
  if (Overtaken(in, leader)) {
    in.Count(fault);
    Isolate(in, fault, leader);
    in.CutClients(fault, leader);
    return;
  }
  in.Later(kLook, [&in, fault, &leader, until] { CutOnceOvertaken(in, fault, leader, until); });
}

// It has told another to campaign, and does not hear that it did: clients that it still sees take
// it for the leader as it does itself.
void CutAtHandOver(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().BusiestLeader();
  if (leader == nullptr) return;
  leader->HandOver(kHandOverTimeout);
  CutOnceOvertaken(in, fault, *leader, in.world().now() + kHandOverTimeout);
}

// Its clock runs ahead in the moment in which what it logs reaches nobody any more.
void OracleAhead(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().PlacementLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  leader->clock().JumpWall(static_cast<int64_t>(fault.strength * 1e3));
  Isolate(in, fault, *leader);
}

// Who leads one group is cut off from the other nodes in turn: the first for as long as it takes to
// elect the second; the second at once, before it has replicated anything, and the first is back;
// the next when it has committed something; and so on.
class RivalHunt : public std::enable_shared_from_this<RivalHunt> {
 public:
  RivalHunt(Injector& in, const Fault& fault, GroupId group)
      : in_(in), fault_(fault), end_(in.world().now() + fault.length), group_(group) {}

  void Start() {
    Look();
    in_.Until(fault_, [self = shared_from_this()] {
      self->over_ = true;
      self->Uncut();
    });
  }

 private:
  static constexpr Duration kPatience = 200ms;  // with one that commits nothing

  // Who leads the newest term.
  void FindLeader() {
    for (auto& node : in_.cluster().nodes()) {
      const raft::GroupHandle* handle = HandleOf(*node, group_);
      if (handle == nullptr) continue;
      const raft::SoftState state = handle->soft_state();
      if (state.role != raft::Role::kLeader || state.term <= term_) continue;
      term_ = state.term;
      leader_ = node.get();
      applied_ = handle->applied_index();
      patience_until_ = in_.world().now() + kPatience;
      ++elected_;
      waits_ = true;
    }
  }

  void Look() {
    if (over_ || in_.world().now() >= end_) return;
    FindLeader();
    if (waits_ && Due()) {
      waits_ = false;
      Uncut();
      Cut();
    }
    in_.Later(kLook, [self = shared_from_this()] { self->Look(); });
  }

  bool Due() {
    if (elected_ % 2 == 0 || in_.world().now() >= patience_until_) return true;
    const raft::GroupHandle* handle = HandleOf(*leader_, group_);
    return handle == nullptr || handle->applied_index() > applied_;
  }

  void Cut() {
    if (in_.hooks().hit) in_.hooks().hit(fault_, leader_->address(), leader_->address());
    for (auto& node : in_.cluster().nodes()) {
      if (node.get() == leader_) continue;
      const std::string &a = leader_->address(), &b = node->address();
      rules_.push_back(in_.network().AddRule({.from = a, .to = b, .block = true}));
      rules_.push_back(in_.network().AddRule({.from = b, .to = a, .block = true}));
    }
  }

  void Uncut() {
    for (const SimNetwork::RuleId rule : std::exchange(rules_, {})) in_.network().RemoveRule(rule);
  }

  Injector& in_;
  const Fault fault_;
  const Instant end_;
  const GroupId group_;
  raft::Term term_;
  SimNode* leader_ = nullptr;
  raft::LogIndex applied_;
  Instant patience_until_;
  int elected_ = 0;
  bool waits_ = false;
  bool over_ = false;
  std::vector<SimNetwork::RuleId> rules_;
};

void RivalLeaders(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || node.node()->shards().empty()) return;
  in.Count(fault);
  const auto shards = node.node()->shards();
  const GroupId group(shards[fault.draw % shards.size()]->id().value());
  std::make_shared<RivalHunt>(in, fault, group)->Start();
}

// ---- logs ---------------------------------------------------------------------------------------

// What a follower acknowledged arrives late, when it has lost its log and was reset to a snapshot;
// then the leader that counts on it is cut off.
void LateAnswersOverReset(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().BusiestLeader();
  SimNode& follower = in.Node(fault);
  if (leader == nullptr || leader == &follower || !follower.up()) return;
  if (!in.own_disk(follower) || !in.atlas().MayDamage(follower)) return;
  in.Count(fault);
  Random random(fault.draw);
  const Duration late = Log(random, 0.3, 3);
  Fault window = fault;
  window.length = late;
  in.Rule(window, {.from = follower.address(), .to = leader->address(), .delay = late});
  in.Later(Duration(random.Below(static_cast<uint64_t>(late.count()))), [&in, &follower, late] {
    if (!follower.up() || !in.atlas().MayDamage(follower)) return;
    follower.Crash();
    for (const std::string& path : follower.disk().Paths("data/wal/")) {
      follower.disk().LoseFile(path);
    }
    in.atlas().Damaged(follower);
    in.BootLater(follower, late / 4);
  });
  in.Later(late + Log(random, 0.05, 2), [&in, fault, leader] {
    if (leader->up()) Isolate(in, fault, *leader);
  });
}

// A leader that nobody hears writes slowly what it is told to; the next leader's entries replace
// what is still on its way to the disk.
void TruncatedInFlight(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().BusiestLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  Random random(fault.draw);
  leader->disk().faults().slower = Log(random, 0.5, 3);
  in.Until(fault, [leader] { leader->disk().faults().slower = Duration(0); });
  Fault window = fault;
  window.length = Log(random, 1, 3);
  // Peers only: clients go on asking it.
  for (int i = 0; i < in.count(); ++i) {
    const std::string &a = leader->address(), &b = in.NodeAt(i).address();
    if (a == b) continue;
    in.Rule(window, {.from = a, .to = b, .block_peers = true});
    in.Rule(window, {.from = b, .to = a, .block_peers = true});
  }
}

// A replica that lost its log has its leader's snapshot in memory, and dies as its store is to make
// that durable; or right behind, before the log is reset to it.
void KilledAfterInstall(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || !in.own_disk(node) || !in.atlas().MayDamage(node)) return;
  node.Crash();
  for (const std::string& path : node.disk().Paths("data/wal/")) node.disk().LoseFile(path);
  in.atlas().Damaged(node);
  const auto wanted =
      fault.draw % 2 == 0 ? SimNode::StorePoint::kCommitBegun : SimNode::StorePoint::kCommitted;
  auto skip = std::make_shared<uint64_t>(fault.draw / 2 % 4);
  node.AtStorePoint([&in, &node, fault, wanted, skip](SimNode::StorePoint point) {
    if (!node.up() || point != wanted || node.quarantined() == 0 || (*skip)-- > 0) return;
    in.Count(fault);
    node.AtStorePoint(nullptr);
    node.DieHere([&in, &node, fault] { in.BootLater(node, fault.length / 8); });
  });
  in.Until(fault, [&node] { node.AtStorePoint(nullptr); });
  in.BootLater(node, 200ms);
}

}  // namespace

std::vector<FaultKind> AimedFaults() {
  // clang-format off
  return {
      {"overtaken-prepare", kCluster, "a Prepare is late, and its anchor gets another leader", 0.3,
       {1, 12}, {2, 8}, {}, OvertakenPrepare},
      {"late-prepare", kCluster, "a Prepare is late, and other participants get other leaders", 0.3,
       {1, 12}, {2, 8}, {}, LatePrepare},
      {"stuck-prepare", kCluster, "a Prepare is slow to apply, and its anchor gets another leader",
       0.3, {1, 12}, {2, 8}, {}, StuckPrepare},
      {"orphaned-part", kCluster, "a shard falls silent as it is to be resolved, for long", 0.25,
       {3, 20}, {2, 8}, {}, OrphanedPart},
      {"orphaned-anchor", kCluster, "shards fall silent as COMMITTED is answered, for long", 0.25,
       {3, 20}, {2, 8}, {}, OrphanedAnchor},
      {"cut-at-handover", kNetwork, "a leader that hands over sees no other node at once", 0.3,
       {2, 20}, {0.3, 3}, {}, CutAtHandOver},
      {"rival-leaders", kNetwork, "who leads a shard is cut off in turn: at once, or as it commits",
       0.3, {4, 20}, {6, 14}, {}, RivalLeaders},
      {"late-answers-over-reset", FaultClass::kDisk,
       "acknowledgements arrive after their log was lost and reset, and the leader is cut off", 0.2,
       {6, 30}, {1, 6}, {}, LateAnswersOverReset},
      {"truncated-in-flight", kNetwork, "entries are replaced while they are being written", 0.3,
       {4, 20}, {3, 8}, {}, TruncatedInFlight},
      {"killed-after-install", FaultClass::kDisk, "a stop between a snapshot's install and flush",
       0.2, {6, 30}, {4, 10}, {}, KilledAfterInstall},
      {"oracle-ahead", kClock, "the oracle's clock jumps ahead as it is cut off from all others",
       0.15, {6, 40}, {0.5, 4}, {3, 12}, OracleAhead},
  };
  // clang-format on
}

}  // namespace quorate::sim
