#include "tests/sim/checks/rest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "server/node/member.h"
#include "tests/sim/cluster.h"

namespace quorate::sim {

std::vector<LeftOver> LeftOvers(SimNode& node) {
  std::vector<LeftOver> left;
  const server::Member* member = node.up() ? node.node()->member() : nullptr;
  if (member == nullptr) return left;
  for (const auto& [id, shard] : member->shards()) {
    const shard::Shard::InMemory memory = shard->in_memory();
    left.push_back({fmt::format("PREPARED records of shard {}", id), shard->prepared_count()});
    left.push_back({fmt::format("locks of shard {}", id), memory.locks});
    left.push_back({fmt::format("waiters in shard {}", id), memory.waiting});
    left.push_back({fmt::format("pushes of shard {}", id), memory.pushes});
  }
  const auto logs = static_cast<uint64_t>(
      node.process()->metrics().GetGauge("quorate_raft_log_bytes", "").Value());
  const uint64_t budget = node.options().node_log_bytes;
  left.push_back({"bytes of log in memory over its budget", logs - std::min(logs, budget)});
  left.push_back({"live coordinators", member->coordinator().live()});
  left.push_back({"registered commits and recoveries", member->coordinator().registered()});
  return left;
}

std::vector<std::string> JudgeRest(const std::string& node, const std::vector<LeftOver>& left) {
  std::vector<std::string> found;
  for (const LeftOver& each : left) {
    if (each.count == 0) continue;
    found.push_back(
        fmt::format("L1: {} still holds {} {}, though nobody asks for anything any more", node,
                    each.count, each.what));
  }
  return found;
}

namespace {

const placement::StateMachine* LeadingPlacement(Cluster& cluster) {
  for (const auto& node : cluster.nodes()) {
    const server::Member* member = node->up() ? node->node()->member() : nullptr;
    if (member == nullptr || member->placement() == nullptr) continue;
    if (member->placement()->leading()) return &member->placement()->machine();
  }
  return nullptr;
}

void JudgePiece(const placement::StateMachine& machine, uint32_t usual,
                const v1::ShardDescriptor& piece, std::vector<std::string>* found) {
  const auto& rules = machine.rules();
  const uint32_t number = rules.NumberOf(piece.from());
  const auto rule =
      number == 0 ? placement::Rule() : std::next(rules.rules().begin(), number - 1)->second;
  const uint32_t wanted = rule.replicas != 0 ? rule.replicas : usual;
  const auto may_hold = [&](uint64_t id) {
    const v1::NodeInfo* node = machine.nodes().Find(NodeId(id));
    return node != nullptr && !node->draining() &&
           placement::Fits(rule.require, {node->locality().begin(), node->locality().end()});
  };
  size_t able = 0, voters = 0;
  for (const auto& [id, node] : machine.nodes().nodes()) able += may_hold(id.value());
  if (able < wanted) return;
  for (const v1::Replica& replica : piece.replicas()) {
    voters += replica.role() == v1::VOTER;
    if (may_hold(replica.node_id())) continue;
    found->push_back(fmt::format("shard {} has a replica on node {}, where its rule ({}) has none",
                                 piece.shard_id(), replica.node_id(), placement::ToString(rule)));
  }
  if (voters != wanted) {
    found->push_back(fmt::format("shard {} has {} voters, its rule ({}) says {}", piece.shard_id(),
                                 voters, placement::ToString(rule), wanted));
  }
  if (!rules.BorderIn(piece.from(), piece.to()).empty()) {
    found->push_back(fmt::format("shard {} is under two rules", piece.shard_id()));
  }
}

}  // namespace

std::vector<std::string> JudgeRules(Cluster& cluster) {
  const placement::StateMachine* machine = LeadingPlacement(cluster);
  if (!cluster.options().moves) return {};
  if (machine == nullptr) return {"nobody leads the placement group"};
  placement::Settings settings;
  for (const v1::PutSetting& setting : machine->root().settings()) {
    (void)settings.Set(setting.name(), setting.value());
  }
  std::vector<std::string> found;
  for (const auto& [from, piece] : machine->map().pieces()) {
    JudgePiece(*machine, settings.replication_factor, piece, &found);
  }
  return found;
}

std::vector<std::string> JudgeMaps(Cluster& cluster) {
  using Epochs = std::map<std::string, std::string>;  // by first key
  const auto epoch = [](const v1::ShardDescriptor& shard) {
    return fmt::format("shard {} at {}.{}", shard.shard_id(), shard.version(),
                       shard.membership_version());
  };
  std::optional<Epochs> placement;
  for (const auto& node : cluster.nodes()) {
    const server::Member* member = node->up() ? node->node()->member() : nullptr;
    if (member == nullptr || member->placement() == nullptr || !member->placement()->leading()) {
      continue;
    }
    placement.emplace();
    for (const auto& [from, piece] : member->placement()->machine().map().pieces()) {
      (*placement)[from] = epoch(piece);
    }
  }
  if (!placement) return {"nobody leads the placement group"};
  std::vector<std::string> found;
  for (const auto& node : cluster.nodes()) {
    if (!node->up()) continue;
    Epochs own;
    const v1::StatusResponse status = node->node()->Status();
    for (const auto& route : status.map().routes()) {
      own[route.shard().from()] = epoch(route.shard());
    }
    if (own != *placement) found.push_back(node->address() + " has another map than placement");
    for (const shard::Shard* shard : node->node()->shards()) {
      if (!shard->serving()) continue;
      const auto known = placement->find(shard->descriptor().from());
      if (known != placement->end() && known->second == epoch(shard->descriptor())) continue;
      found.push_back(fmt::format("placement's map has not {}, which {} serves",
                                  epoch(shard->descriptor()), node->address()));
    }
  }
  return found;
}

}  // namespace quorate::sim
