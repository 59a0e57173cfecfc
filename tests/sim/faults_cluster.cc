// Cluster faults: leaders of special groups, clients that die or hang, floods, repeated init.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "placement/service.h"
#include "quorate/v1/node.pb.h"
#include "server/node/member.h"
#include "shard/shard.h"
#include "tests/sim/injector.h"

namespace quorate::sim {

namespace {

constexpr auto kCluster = FaultClass::kCluster;
constexpr uint64_t kFuture = 2'100'000'000'000;  // milliseconds; in the year 2036

void KillOracle(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().PlacementLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  in.Kill(*leader, fault.length);
}

void PauseOracle(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().PlacementLeader();
  if (leader == nullptr) return;
  in.Count(fault);
  leader->process()->Pause(in.world().now() + fault.length);
}

void Transfer(Injector& in, const Fault& fault) {
  if (!in.Node(fault).up()) return;
  in.Count(fault);
  in.Node(fault).HandOver(2s);
}

// Leaderships are given away again and again, by whoever has them.
void TransferStorm(Injector& in, const Fault& fault) {
  in.Count(fault);
  for (Duration at(0); at < fault.length; at += 300ms) {
    in.Later(at, [&in] {
      if (SimNode* leader = in.cluster().BusiestLeader()) leader->HandOver(1s);
    });
  }
}

// One shard stands still while all others go on: what it takes part in stays open for a while.
void SilentShard(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || node.node()->shards().empty()) return;
  in.Count(fault);
  const auto shards = node.node()->shards();
  const GroupId group(shards[fault.draw % shards.size()]->id().value());
  in.network().Silence(group);
  in.Until(fault, [&in, group] { in.network().Unsilence(group); });
  // Of the others some get new leaders meanwhile.
  if (fault.draw / shards.size() % 2 == 0) return;
  in.Later(fault.length / 2, [&in, fault] { in.Other(fault).HandOver(1s); });
}

void ClientDeath(Injector& in, const Fault& fault) {
  in.Count(fault);
  in.hooks().kill_client(fault.node);
}

void ClientPause(Injector& in, const Fault& fault) {
  SimClient* client = in.hooks().client(fault.node);
  if (client == nullptr) return;
  in.Count(fault);
  client->process().Pause(in.world().now() + fault.length);
}

// ---- calls besides the workload -----------------------------------------------------------------

Task<void> CallOnce(SimClient* client, std::string address, v1::NodeRequest request, Duration wait,
                    std::function<void(const Result<v1::NodeResponse>&)> done) {
  co_await Sleep(client->process(), wait);
  done(co_await client->channel().Call(std::move(address), std::move(request), 2s));
}

// A second init, with other wishes: refused, whoever is asked.
void RepeatedInit(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up() || in.excused(node)) return;
  in.Count(fault);
  SimClient& other = in.Bystander("init", 5s);
  v1::NodeRequest request;
  request.mutable_init()->set_shards(7);
  for (const std::string& address : in.cluster().addresses()) {
    request.mutable_init()->add_addresses(address);
  }
  other.scope().Spawn(CallOnce(&other, node.address(), std::move(request), Duration(0),
                               [&in](const Result<v1::NodeResponse>& response) {
                                 if (!response.ok() || response->error().code() != v1::OK) return;
                                 if (response->init().error().code() != v1::OK) return;
                                 in.Violation("a second init was accepted");
                               }));
}

// ---- what people ask placement for
// ---------------------------------------------------------------

// Whoever is asked passes it on; a refusal is an answer.
void AskPlacement(Injector& in, SimNode& asked, v1::PlacementRequest ask) {
  SimClient& other = in.Bystander("operator", 5s);
  other.channel().SetClusterId(asked.node()->cluster_id());
  v1::NodeRequest request;
  *request.mutable_placement() = std::move(ask);
  other.scope().Spawn(CallOnce(&other, asked.address(), std::move(request), Duration(0),
                               [](const Result<v1::NodeResponse>&) {}));
}

bool Moves(Injector& in, const Fault& fault) {
  return in.cluster().options().moves && in.Node(fault).up() && !in.excused(in.Node(fault));
}

// A replica is to go from one node to another, which need not be possible.
void MoveReplica(Injector& in, const Fault& fault) {
  if (!Moves(in, fault)) return;
  in.Count(fault);
  SimNode& node = in.Node(fault);
  const auto shards = node.node()->shards();
  v1::PlacementRequest ask;
  v1::MoveReplica& move = *ask.mutable_move_replica();
  const uint64_t id = shards.empty() || fault.draw % 8 == 0
                          ? 1
                          : shards[fault.draw / 8 % shards.size()]->id().value();
  move.set_shard_id(id);
  move.set_from_node_id(static_cast<uint64_t>(fault.node) + 1);
  move.set_to_node_id(fault.draw % 3 == 0 ? 0 : static_cast<uint64_t>(fault.other) + 1);
  AskPlacement(in, node, std::move(ask));
}

// A shard is divided at some key, near those that the workloads use or somewhere between.
void SplitShard(Injector& in, const Fault& fault) {
  if (!Moves(in, fault)) return;
  std::string at;
  at.push_back(static_cast<char>(fault.draw & 0xff));
  if (fault.draw >> 8 & 1) at.push_back(static_cast<char>(fault.draw >> 16 & 0xff));
  const shard::Shard* owner = nullptr;
  for (const auto& node : in.cluster().nodes()) {
    if (!node->up()) continue;
    for (const shard::Shard* shard : node->node()->shards()) {
      const bool has = shard->HasState() && shard->span().Contains(at);
      if (!has || shard->span().from == at) continue;
      if (owner == nullptr || owner->descriptor().version() < shard->descriptor().version()) {
        owner = shard;
      }
    }
  }
  if (owner == nullptr) return;
  in.Count(fault);
  v1::PlacementRequest ask;
  ask.mutable_split_shard()->set_shard_id(owner->id().value());
  ask.mutable_split_shard()->set_at(at);
  AskPlacement(in, in.Node(fault), std::move(ask));
}

// Two neighbours become one, if both are small enough.
void MergeShard(Injector& in, const Fault& fault) {
  if (!Moves(in, fault)) return;
  std::map<std::string, const shard::Shard*> newest;  // by first key
  for (const auto& node : in.cluster().nodes()) {
    if (!node->up()) continue;
    for (const shard::Shard* shard : node->node()->shards()) {
      if (!shard->HasState()) continue;
      const shard::Shard*& known = newest[shard->span().from];
      if (known == nullptr || known->descriptor().version() < shard->descriptor().version()) {
        known = shard;
      }
    }
  }
  if (newest.size() < 2) return;
  const auto right =
      std::next(newest.begin(), 1 + static_cast<ptrdiff_t>(fault.draw % (newest.size() - 1)));
  in.Count(fault);
  v1::PlacementRequest ask;
  ask.mutable_merge_shards()->set_shard_id(right->second->id().value());
  ask.mutable_merge_shards()->set_with_shard_id(std::prev(right)->second->id().value());
  AskPlacement(in, in.Node(fault), std::move(ask));
}

// A rule for some range of keys is made, or one is taken away; it need not be possible. Never of a
// single replica: damage to its disk would be damage to a majority.
void ChangeRule(Injector& in, const Fault& fault) {
  SimNode* leader = in.cluster().PlacementLeader();
  const server::Member* member = leader == nullptr ? nullptr : leader->node()->member();
  if (!Moves(in, fault) || member == nullptr || member->placement() == nullptr) return;
  in.Count(fault);
  Random random(fault.draw);
  v1::PlacementRequest ask;
  const auto& rules = member->placement()->machine().rules().rules();
  if (!rules.empty() && random.Chance(0.4)) {
    const auto any = std::next(rules.begin(), static_cast<ptrdiff_t>(random.Below(rules.size())));
    ask.mutable_unset_rule()->set_from(any->first);
    return AskPlacement(in, in.Node(fault), std::move(ask));
  }
  v1::PlacementRule& rule = *ask.mutable_set_rule()->mutable_rule();
  const uint64_t from = random.Below(200), to = from + 1 + random.Below(100);
  if (from > 20) rule.set_from(std::string(1, static_cast<char>(from)));
  if (to < 200) rule.set_to(std::string(1, static_cast<char>(to)));
  constexpr uint32_t kReplicas[] = {0, 3, 5, 5};
  rule.set_replicas(kReplicas[random.Below(std::size(kReplicas))]);
  for (auto* labels : {rule.mutable_require(), rule.mutable_prefer(), rule.mutable_leaders()}) {
    const auto zones = static_cast<uint64_t>(in.cluster().options().zones);
    if (zones == 0 || !random.Chance(0.4)) continue;
    v1::PlacementLabel* label = labels->Add();
    label->set_name("zone");
    label->set_value(fmt::format("z{}", 1 + random.Below(zones)));
  }
  AskPlacement(in, in.Node(fault), std::move(ask));
}

void Drain(Injector& in, int node, bool draining) {
  SimNode& asked = in.NodeAt(node);
  if (!asked.up()) return;
  v1::PlacementRequest ask;
  ask.mutable_drain_node()->set_node_id(static_cast<uint64_t>(node) + 1);
  ask.mutable_drain_node()->set_draining(draining);
  AskPlacement(in, asked, std::move(ask));
}

// A node is drained, and used again after a while.
void DrainNode(Injector& in, const Fault& fault) {
  if (!Moves(in, fault)) return;
  in.Count(fault);
  Drain(in, fault.node, true);
  in.Until(fault, [&in, fault] { Drain(in, fault.node, false); });
}

// A timestamp that no oracle has issued: had it any effect, commits would go above slots to come.
void WildTimestamp(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  const auto shards = node.node()->shards();
  const auto led = std::find_if(shards.begin(), shards.end(),
                                [](const shard::Shard* shard) { return shard->serving(); });
  if (led == shards.end()) return;
  in.Count(fault);
  const Span span = (*led)->span();
  v1::NodeRequest request;
  v1::ReadRequest& read = *request.mutable_read();
  read.mutable_route()->set_shard_id((*led)->id().value());
  read.mutable_route()->set_version((*led)->descriptor().version());
  read.add_keys(span.from.empty() ? "a" : span.from);
  read.set_read_ts(Timestamp::FromParts(kFuture + fault.draw % kFuture, 0).bits());
  SimClient& other = in.Bystander("wild", 5s);
  other.channel().SetClusterId(node.node()->cluster_id());
  other.scope().Spawn(CallOnce(&other, node.address(), std::move(request), Duration(0),
                               [&in](const Result<v1::NodeResponse>& response) {
                                 if (!response.ok() || response->error().code() != v1::OK) return;
                                 if (response->read().error().code() != v1::OK) return;
                                 in.Violation("a read at a timestamp from the future was served");
                               }));
}

// The newest slot that any oracle has issued.
Timestamp NewestSlot(Cluster& cluster) {
  Timestamp newest;
  for (const auto& node : cluster.nodes()) {
    const server::Member* member = node->up() ? node->node()->member() : nullptr;
    if (member == nullptr || member->placement() == nullptr) continue;
    newest = std::max(newest, member->placement()->oracle().issued());
  }
  return newest;
}

// Reads at the last timestamp of the newest slot, of one shard after the other: they leave none
// above it to whoever prepares with that slot.
Task<void> ReadLastTimestamps(Injector* in, SimNode* node, SimClient* client, Instant end) {
  for (size_t turn = 0; in->world().now() < end; ++turn) {
    co_await Sleep(client->process(), 5ms);
    const Timestamp newest = NewestSlot(in->cluster());
    if (!newest || !node->up() || node->node()->shards().empty()) continue;
    const auto shards = node->node()->shards();
    const shard::Shard* shard = shards[turn % shards.size()];
    if (!shard->serving()) continue;
    v1::NodeRequest request;
    v1::ReadRequest& read = *request.mutable_read();
    read.mutable_route()->set_shard_id(shard->id().value());
    read.mutable_route()->set_version(shard->descriptor().version());
    const std::string from = shard->span().from;
    read.add_keys(from.empty() ? "a" : from);
    read.set_read_ts(newest.bits() | Timestamp::kSubMax);
    client->channel().SetClusterId(node->node()->cluster_id());
    (void)co_await client->channel().Call(node->address(), std::move(request), 50ms);
  }
}

void LastTimestamps(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  SimClient& client = in.Bystander("last", fault.length + 1s);
  client.scope().Spawn(ReadLastTimestamps(&in, &node, &client, in.world().now() + fault.length));
}

// Many requests in one moment: queues fill up, and what is refused is refused with an answer.
void Flood(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  SimClient& flood = in.Bystander("flood", 5s);
  const int calls = static_cast<int>(fault.strength);
  for (int i = 0; i < calls; ++i) {
    v1::NodeRequest request;
    if (i % 2 == 0) {
      request.mutable_status();
    } else {
      request.mutable_routes();
    }
    flood.scope().Spawn(CallOnce(&flood, node.address(), std::move(request),
                                 Duration(fault.draw % 1000) * i,
                                 [](const Result<v1::NodeResponse>&) {}));
  }
}

// A process without descriptors: connections that it has go on, new ones are closed at once. As in
// server/program/run.cc, it soon gives its leaderships away, again and again, until it is over.
void DescriptorsOut(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  in.Rule(fault, {.to = node.address(), .refuse_calls = true});
  for (Duration at = 2s; at < fault.length; at += 5s) {
    in.Later(at, [&node] { node.HandOver(5s); });
  }
}

// A node refuses requests before it looks at them; copies of the same requests, which the network
// still holds, find it at leisure. What was refused may yet be done.
void RefusedAtTheDoor(Injector& in, const Fault& fault) {
  SimNode& node = in.Node(fault);
  if (!node.up()) return;
  in.Count(fault);
  LinkRule rule;
  rule.to = node.address();
  rule.duplicate_soon = 0.5;
  rule.duplicate_late = 0.05;
  rule.refuse_request = fault.strength;
  in.Rule(fault, rule);
}

}  // namespace

std::vector<FaultKind> ClusterFaults() {
  // clang-format off
  return {
      {"kill-oracle", kCluster, "the node that hands out timestamps is killed", 0.2, {6, 40}, {0.05,
       8}, {}, KillOracle},
      {"pause-oracle", kCluster, "the node that hands out timestamps stands still", 0.15, {6, 40},
       {0.05, 6}, {}, PauseOracle},
      {"transfer", kCluster, "a node gives its leaderships away", 0.3, {4, 30}, {}, {}, Transfer},
      {"move-replica", kCluster, "a replica is moved to another node", 0.5, {3, 20}, {}, {},
       MoveReplica},
      {"split-shard", kCluster, "a shard is divided at some key", 0.8, {1, 12}, {}, {}, SplitShard},
      {"merge-shard", kCluster, "two neighbouring shards become one", 0.8, {1, 12}, {}, {},
       MergeShard},
      {"change-rule", kCluster, "a rule of placement is made or taken away", 0.4, {4, 20}, {}, {},
       ChangeRule},
      {"drain-node", kCluster, "a node is drained, and used again", 0.15, {10, 60}, {5, 40}, {},
       DrainNode},
      {"transfer-storm", kCluster, "leaderships are given away again and again", 0.15, {10, 60}, {1,
       10}, {}, TransferStorm},
      {"silent-shard", kCluster, "one shard's replicas do not hear each other, all others do", 0.3,
       {3, 30}, {0.1, 15}, {}, SilentShard},
      {"client-death", kCluster, "a client dies in the middle of what it does", 0.3, {5, 30}, {},
       {}, ClientDeath},
      {"client-pause", kCluster, "a client stands still, and then goes on", 0.2, {5, 40}, {0.5, 20},
       {}, ClientPause},
      {"repeated-init", kCluster, "somebody runs init again: must be refused", 0.1, {10, 60}, {},
       {}, RepeatedInit},
      {"wild-timestamp", kCluster, "a read at a timestamp from the future: must be refused", 0.1,
       {10, 60}, {}, {}, WildTimestamp},
      {"last-timestamp", kCluster, "reads at the last timestamp of the newest slots", 0.1, {10, 60},
       {0.5, 10}, {}, LastTimestamps},
      {"descriptors-out", kCluster, "a process takes no new connections for a while", 0.15, {5, 40},
       {0.5, 15}, {}, DescriptorsOut},
      {"flood", kCluster, "hundreds of requests to one node in one moment", 0.1, {10, 60}, {}, {50,
       1000}, Flood},
      {"refused-at-the-door", kCluster, "requests are refused unseen, and copies of them are not",
       0.2, {4, 30}, {1, 20}, {0.02, 0.5}, RefusedAtTheDoor},
  };
  // clang-format on
}

}  // namespace quorate::sim
