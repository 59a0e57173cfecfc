#include "tests/placement/schedule/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace quorate::placement::model {

namespace {

constexpr Duration kElection = 2s;

template <class List>
void Erase(List* replicas, NodeId node) {
  replicas->erase(std::remove_if(replicas->begin(), replicas->end(),
                                 [node](const Replica& r) { return r.node == node; }),
                  replicas->end());
}

template <class List>
bool Holds(const List& replicas, NodeId node) {
  return std::any_of(replicas.begin(), replicas.end(),
                     [node](const Replica& r) { return r.node == node; });
}

}  // namespace

Model::Model(Options options) : now(Instant() + 1000s), options_(options), random_(options.seed) {
  table.Clear(term_);
  judged_id_ = 1'000'000;
}

uint32_t Model::FactorOf(const ShardView& shard) const {
  if (shard.replication_factor != 0) return shard.replication_factor;
  const uint32_t own = RuleOf(shard).replicas;
  return own != 0 ? own : settings.replication_factor;
}

const Rule& Model::RuleOf(const ShardView& shard) const {
  static const Rule kNone;
  return shard.rule == 0 || shard.rule > rules_.size() ? kNone : rules_[shard.rule - 1];
}

bool Model::Suits(const Labels& labels, NodeId id) const {
  const Place& place = nodes_.at(id).place;
  const std::map<std::string, uint32_t> own = {
      {"zone", place.zone}, {"rack", place.rack}, {"host", place.host}};
  return std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
    return std::any_of(labels.begin(), labels.end(), [&](const auto& other) {
      return other.first == label.first &&
             other.second == fmt::format("{}{}", other.first[0], own.at(other.first));
    });
  });
}

bool Model::OneHost(NodeId a, NodeId b) const {
  const Place& x = nodes_.at(a).place;
  const Place& y = nodes_.at(b).place;
  return a == b || (x.host != 0 && x.host == y.host && x.zone == y.zone && x.rack == y.rack);
}

bool Model::EnoughHosts(const ShardView& shard) const {
  std::vector<NodeId> hosts;  // one node of each
  for (const auto& [id, node] : nodes_) {
    if (node.draining || !Suits(RuleOf(shard).require, id)) continue;
    const auto same = [this, id = id](NodeId other) { return OneHost(id, other); };
    if (std::none_of(hosts.begin(), hosts.end(), same)) hosts.push_back(id);
  }
  return hosts.size() >= FactorOf(shard);
}

void Model::SetRules(std::vector<Rule> rules) {
  rules_ = std::move(rules);
  view.SetRules(rules_);
}

void Model::PutUnderRule(ShardId id, uint32_t rule) {
  At(id).rule = rule;
  Report(At(id));
}

void Model::BeginRuleInside(ShardId id, uint32_t rule) {
  At(id).border = std::to_string(rule);
  Report(At(id));
}

// ---- nodes and shards ---------------------------------------------------------------------------
void Model::Tell(NodeId id) {
  const Node& node = nodes_.at(id);
  NodeView told;
  told.id = id;
  const auto label = [&told](const char* key, uint32_t number) {
    if (number != 0) told.locality[key] = fmt::format("{}{}", key[0], number);
  };
  label("zone", node.place.zone);
  label("rack", node.place.rack);
  label("host", node.place.host);
  told.liveness = node.up ? Liveness::kUp : Liveness::kDown;
  told.down_since = node.down_since;
  told.up_since = node.up_since;
  told.draining = node.draining;
  told.total_bytes = told.free_bytes = options_.disk_bytes;
  view.Put(std::move(told));
}

NodeId Model::AddNode(Place place) {
  const NodeId id(++last_node_);
  nodes_[id].place = place;
  Tell(id);
  return id;
}

ShardId Model::AddShard(std::vector<NodeId> nodes, uint64_t bytes, uint64_t requests,
                        uint32_t rule) {
  ShardView shard;
  shard.id = ShardId(shards_.size() + 1);
  shard.epoch = {1, 1};
  for (NodeId node : nodes) shard.voters.push_back({node, true});
  shard.leader = nodes.front();
  shard.bytes = bytes;
  shard.requests_per_second = requests;
  shard.rule = rule;
  std::sort(shard.voters.begin(), shard.voters.end());
  shards_.push_back(shard);
  view.Put(std::move(shard));
  return shards_.back().id;
}

void Model::Load(ShardId id, uint64_t bytes, uint64_t requests) {
  At(id).bytes = bytes;
  At(id).requests_per_second = requests;
  Report(At(id));
}

void Model::Report(const ShardView& shard) {
  if (options_.report_lost > 0 && random_.Chance(options_.report_lost)) {
    held_back_[shard.id] = shard;
    return;
  }
  view.Put(shard);
}

bool Model::Up(NodeId id) const {
  const auto it = nodes_.find(id);
  return it != nodes_.end() && it->second.up;
}

bool Model::Usable(NodeId id) const { return Up(id) && !nodes_.at(id).draining; }

bool Model::Lost(NodeId id) const {
  const auto it = nodes_.find(id);
  if (it == nodes_.end()) return true;
  return !it->second.up && now - it->second.down_since >= settings.down_after;
}

size_t Model::Ready(const Replicas& voters) const {
  return static_cast<size_t>(std::count_if(voters.begin(), voters.end(), [this](const Replica& r) {
    return r.caught_up && Up(r.node);
  }));
}

Model::Crowd Model::CrowdOf(const ShardView& shard, const std::vector<NodeId>& nodes) const {
  uint32_t outside = 0, unpreferred = 0, zone = 0, rack = 0, host = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    outside += !Suits(RuleOf(shard).require, nodes[i]);
    unpreferred += !Suits(RuleOf(shard).prefer, nodes[i]);
    for (size_t j = 0; j < i; ++j) {
      const Place& a = nodes_.at(nodes[i]).place;
      const Place& b = nodes_.at(nodes[j]).place;
      zone += a.zone == b.zone;
      rack += a.zone == b.zone && a.rack == b.rack;
      host += OneHost(nodes[i], nodes[j]);
    }
  }
  return {outside, unpreferred, host, zone, rack};
}

Model::Crowd Model::LeastCrowd(const ShardView& shard, NodeId from, Crowd* with, NodeId to) const {
  std::vector<NodeId> stay;
  for (const Replica& voter : shard.voters) {
    if (voter.node == from || Lost(voter.node) || nodes_.at(voter.node).draining) continue;
    stay.push_back(voter.node);
  }
  Crowd least{~0u, ~0u, ~0u, ~0u, ~0u};
  const bool enough_hosts = EnoughHosts(shard);
  for (const auto& [id, node] : nodes_) {
    if (!Usable(id) || Holds(shard.voters, id) || !Suits(RuleOf(shard).require, id)) continue;
    if (view.Find(id)->view.liveness == Liveness::kNone) continue;  // not heard of yet
    const bool shares_host =
        std::any_of(shard.voters.begin(), shard.voters.end(), [&, id = id](const Replica& other) {
          return other.node != from && nodes_.contains(other.node) && OneHost(other.node, id);
        });
    if (shares_host && enough_hosts) continue;
    if (table.effects().Avoids(shard.id, id, now)) continue;
    stay.push_back(id);
    const Crowd crowd = CrowdOf(shard, stay);
    stay.pop_back();
    if (id == to) *with = crowd;
    least = std::min(least, crowd);
  }
  return least;
}

// ---- what happens -------------------------------------------------------------------------------
void Model::Kill(NodeId id) {
  Node& node = nodes_.at(id);
  if (!node.up) return;
  node.up = false;
  node.down_since = now;
  if (const ClusterView::Node* known = view.Find(id)) {
    for (ShardId shard : known->led) elections_.emplace(now + kElection, shard);
  }
  // What the view was not told yet.
  for (const auto& [shard, report] : held_back_) elections_.emplace(now + kElection, shard);
  Tell(id);
}

void Model::Revive(NodeId id) {
  Node& node = nodes_.at(id);
  if (node.up) return;
  node.up = true;
  node.up_since = now;
  for (ShardView& shard : shards_) {
    bool changed = false;
    const auto lag = [&](auto* replicas) {
      for (Replica& replica : *replicas) {
        if (replica.node != id) continue;
        replica.caught_up = false;
        changed = true;
        copying_.emplace(now + 3s, std::pair(shard.id, id));
      }
    };
    lag(&shard.voters);
    lag(&shard.learners);
    if (!changed) continue;
    if (!shard.leader || !Up(shard.leader)) elections_.emplace(now + kElection, shard.id);
    // A leader without a quorum knows of nobody.
    Report(shard);
  }
  Tell(id);
}

void Model::Forget(NodeId id) {
  Kill(id);
  nodes_.erase(id);
  view.Remove(id);
}

void Model::Drain(NodeId id, bool draining) {
  nodes_.at(id).draining = draining;
  Tell(id);
}

void Model::SetStuck(NodeId id, bool stuck) {
  nodes_.at(id).stuck = stuck;
  if (stuck) return;
  for (const ShardView& shard : shards_) {
    for (const Replica& learner : shard.learners) {
      if (learner.node == id) copying_.emplace(now + 5s, std::pair(shard.id, id));
    }
  }
}

void Model::Failover() {
  table.Clear(++term_);
  judged_id_ = term_ * 1'000'000;
  // Nodes are heard of again; those that are down are so from here on.
  for (auto& [id, node] : nodes_) {
    NodeView unknown = view.Find(id)->view;
    unknown.liveness = Liveness::kNone;
    view.Put(std::move(unknown));
  }
  RunRound(&view, settings, now, &table);
  if (!table.under_way().empty()) {
    Broken(table.under_way().begin()->second.op.shard == ShardId()
               ? shards_.front()
               : At(table.under_way().begin()->first),
           "something was decided before any node was heard of");
  }
  failed_.clear();
  // One of them is heard of later than the others.
  const auto late = std::next(nodes_.begin(), static_cast<long>(random_.Below(nodes_.size())));
  for (auto& [id, node] : nodes_) {
    if (!node.up) node.down_since = now;
    if (id != late->first) Tell(id);
  }
  RunRound(&view, settings, now, &table);
  JudgeAdmitted();
  Tell(late->first);
}

void Model::Meddle(ShardId id) {
  ShardView& shard = At(id);
  if (!Up(shard.leader) || !Quorum(shard.voters)) return;
  if (!shard.learners.empty()) {
    shard.learners.clear();
  } else {
    for (const auto& [node, state] : nodes_) {
      if (!state.up || Holds(shard.voters, node)) continue;
      shard.learners.push_back({node, false});
      copying_.emplace(now + 5s, std::pair(id, node));
      break;
    }
  }
  ++shard.epoch.membership_version;
  Report(shard);
}

void Model::Elect() {
  while (!elections_.empty() && elections_.begin()->first <= now) {
    const ShardId id = elections_.begin()->second;
    elections_.erase(elections_.begin());
    ShardView& shard = At(id);
    if (Up(shard.leader) && Quorum(shard.voters)) continue;
    shard.leader = NodeId();
    if (Quorum(shard.voters)) {
      std::vector<NodeId> able;
      for (const Replica& voter : shard.voters) {
        if (voter.caught_up && Up(voter.node)) able.push_back(voter.node);
      }
      shard.leader = able[random_.Below(able.size())];
    } else {
      elections_.emplace(now + kElection, id);
    }
    Report(shard);
  }
}

void Model::CatchUp() {
  while (!copying_.empty() && copying_.begin()->first <= now) {
    const auto [id, node] = copying_.begin()->second;
    copying_.erase(copying_.begin());
    ShardView& shard = At(id);
    const auto caught_up = [&, node = node](auto* replicas, bool learner) {
      for (Replica& replica : *replicas) {
        if (replica.node != node || !Up(node)) continue;
        if (learner && nodes_.at(node).stuck) continue;
        replica.caught_up = true;
        Report(shard);
      }
    };
    caught_up(&shard.voters, false);
    caught_up(&shard.learners, true);
  }
}

void Model::Step() {
  now += 1s;
  Elect();
  CatchUp();
  for (auto it = held_back_.begin(); it != held_back_.end();) {
    if (!random_.Chance(0.2)) {
      ++it;
      continue;
    }
    // What was held back is old; then comes what is.
    view.Put(it->second);
    view.Put(At(it->first));
    it = held_back_.erase(it);
  }
  for (int turn = 0; turn < 10; ++turn) {
    if (before_round) before_round();
    const RoundReport report = RunRound(&view, settings, now, &table);
    if (after_round) after_round();
    if (!report.more) break;
  }
  NoteFailed();
  JudgeAdmitted();
  std::vector<ShardId> busy;
  for (const auto& [id, status] : table.under_way()) busy.push_back(id);
  for (ShardId id : busy) {
    const auto order = table.Next(view, settings, id, now);
    if (!order || random_.Chance(options_.order_lost)) continue;
    Carry(*order);
  }
}

// ---- judging ------------------------------------------------------------------------------------
void Model::Broken(const ShardView& shard, std::string what) {
  if (!violation_.empty()) return;
  std::string members;
  for (const Replica& r : shard.voters) {
    members += fmt::format(" {}{}", r.node, !Up(r.node) ? "(down)" : r.caught_up ? "" : "(behind)");
  }
  for (const Replica& r : shard.learners) {
    members += fmt::format(" +{}{}", r.node, r.caught_up ? "" : "(behind)");
  }
  violation_ = fmt::format("at {} s, shard {} [{} ], led by {}: {}",
                           ToMillis(now - Instant()) / 1000, shard.id, members, shard.leader, what);
}

void Model::NoteFailed() {
  for (auto it = table.ended().rbegin(); it != table.ended().rend() && it->ended == now; ++it) {
    if (it->reason.find("to catch up") == std::string::npos) continue;
    failed_[{it->op.shard, it->op.to}] = now;
  }
}

void Model::JudgeAdmitted() {
  uint64_t newest = judged_id_;
  for (const auto& [id, status] : table.under_way()) {
    if (status.op.id.value() <= judged_id_) continue;
    newest = std::max(newest, status.op.id.value());
    ++counts.operators;
    JudgeOperator(At(id), status.op);
  }
  judged_id_ = newest;
  if (table.under_way().size() > settings.operators) Broken(shards_.front(), "too many operators");
}

void Model::JudgeTransfer(const ShardView& shard, const Operator& op) {
  const Labels& wanted = RuleOf(shard).leaders;
  const bool by_rule = op.kind == OperatorKind::kRules;
  if (!nodes_.contains(op.from) || !nodes_.contains(op.to)) return;
  if (op.kind != OperatorKind::kBalanceLeaders && !by_rule) return;
  if (Suits(wanted, op.to) ? by_rule && Suits(wanted, op.from)
                           : by_rule || Suits(wanted, op.from)) {
    Broken(shard, fmt::format("{}: its rule has leaders on {}", ToString(op), ToString(wanted)));
  }
  if (by_rule && now - nodes_.at(op.to).up_since < 30s) {
    Broken(shard, fmt::format("{}: node {} has just come up", ToString(op), op.to));
  }
}

void Model::JudgeOperator(const ShardView& shard, const Operator& op) {
  if (op.epoch != shard.epoch) return;  // made for what was reported; it will end
  if (op.steps.size() == 1 && std::holds_alternative<TransferLeader>(op.steps[0])) {
    return JudgeTransfer(shard, op);
  }
  // What was held back may be what the rule was before.
  if (!op.copies() || view.Find(shard.id)->rule != shard.rule) return;
  if (op.kind == OperatorKind::kDrain) {
    // Leaders first: nothing is moved off while something that is led there can be handed over.
    for (ShardId led : view.Find(op.from)->led) {
      const ShardView& other = At(led);
      for (const Replica& voter : other.voters) {
        if (table.under_way().contains(led) && table.under_way().at(led).op.copies()) break;
        if (other.leader != op.from || voter.node == op.from || other.joint) continue;
        if (!voter.caught_up || !Usable(voter.node) || !Quorum(other.voters)) continue;
        if (view.Find(led)->epoch != other.epoch || view.Find(led)->voters != other.voters)
          continue;
        if (table.under_way().contains(led) && table.under_way().at(led).op.kind != op.kind)
          continue;
        Broken(shard,
               fmt::format("{}, though node {} still leads shard {}", ToString(op), op.from, led));
        return;
      }
    }
  }
  Crowd with{~0u, ~0u, ~0u, ~0u, ~0u};
  const Crowd least = LeastCrowd(shard, op.from, &with, op.to);
  if (op.kind == OperatorKind::kBalanceReplicas) {
    std::vector<NodeId> nodes;
    for (const Replica& voter : shard.voters) nodes.push_back(voter.node);
    if (with > CrowdOf(shard, nodes))
      Broken(shard, fmt::format("{}: closer than before", ToString(op)));
  } else if (with > least) {
    Broken(shard, fmt::format("{}: nodes allow more distance", ToString(op)));
  }
  if (op.kind == OperatorKind::kRepair && op.from && !Lost(op.from)) {
    Broken(shard, fmt::format("{}: the node is not lost", ToString(op)));
  }
  const auto failed = failed_.find({op.shard, op.to});
  if (failed != failed_.end() && now - failed->second < OperatorTable::kAvoidFor) {
    Broken(shard, fmt::format("{}: it did not catch up there lately", ToString(op)));
  }
  if (!Suits(RuleOf(shard).require, op.to)) {
    Broken(shard, fmt::format("{}: its rule wants no replica there", ToString(op)));
  }
  if (!Usable(op.to)) Broken(shard, fmt::format("{}: the node is not to be used", ToString(op)));
}

void Model::JudgeMembers(const ShardView& shard, const Replicas& before) {
  if (shard.voters.empty()) return Broken(shard, "no voter is left");
  if (!Quorum(before)) Broken(shard, "changed without a quorum of the old members");
  if (!Quorum(shard.voters))
    Broken(shard, "the new members have no quorum of those that are ready");
  for (size_t i = 0; i < shard.voters.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (shard.voters[i].node == shard.voters[j].node) Broken(shard, "two replicas on one node");
    }
    if (Holds(shard.learners, shard.voters[i].node)) Broken(shard, "two replicas on one node");
  }
  if (!Holds(shard.voters, shard.leader)) Broken(shard, "its leader was removed");
}

void Model::Carry(const Order& order) {
  ShardView& shard = At(order.shard);
  if (shard.epoch != order.epoch || !Up(shard.leader)) {
    table.OrderRefused(order.id, "it is another epoch here", now);
    return;
  }
  // The leader looks for itself; what it reported last may not have arrived.
  const ShardView& reported = *view.Find(order.shard);
  if (reported.voters != shard.voters || reported.learners != shard.learners ||
      reported.leader != shard.leader) {
    table.OrderRefused(order.id, "it is not as it was reported", now);
    return;
  }
  const Replicas before = shard.voters;
  const uint64_t version = shard.epoch.membership_version;
  if (const auto* step = std::get_if<AddLearner>(&order.step)) {
    if (Holds(shard.voters, step->node) || Holds(shard.learners, step->node)) {
      Broken(shard, fmt::format("a second replica on node {}", step->node));
    }
    shard.learners.push_back({step->node, false});
    const auto seconds = 1 + shard.bytes / options_.copy_bytes_per_second;
    copying_.emplace(now + std::chrono::seconds(seconds), std::pair(shard.id, step->node));
    ++counts.copies;
    counts.copied_bytes += shard.bytes;
    ++shard.epoch.membership_version;
  } else if (const auto* step = std::get_if<Promote>(&order.step)) {
    const Replica* learner = shard.Learner(step->node);
    if (learner == nullptr) return Broken(shard, "a promotion of who is no learner");
    shard.voters.push_back(*learner);
    shard.learners.clear();
    ++shard.epoch.membership_version;
  } else if (const auto* step = std::get_if<Swap>(&order.step)) {
    const Replica* learner = shard.Learner(step->add);
    if (learner == nullptr || !Holds(shard.voters, step->remove)) {
      return Broken(shard, "a swap of who is no member");
    }
    if (!learner->caught_up) Broken(shard, "a voter that is still catching up");
    const Replica in = *learner;
    Erase(&shard.learners, in.node);
    Erase(&shard.voters, step->remove);
    shard.voters.push_back(in);
    ++shard.epoch.membership_version;
  } else if (const auto* step = std::get_if<Remove>(&order.step)) {
    Erase(&shard.learners, step->node);
    Erase(&shard.voters, step->node);
    ++shard.epoch.membership_version;
  } else if (const auto* step = std::get_if<TransferLeader>(&order.step)) {
    if (!Holds(shard.voters, step->to) || !Up(step->to)) {
      return Broken(shard, "the leadership goes to who cannot lead");
    }
    shard.leader = step->to;
    const auto it = table.under_way().find(order.shard);
    if (it != table.under_way().end() && it->second.op.steps.size() == 1) ++counts.transfers;
  } else if (std::holds_alternative<SplitShard>(order.step)) {
    const bool busy = shard.requests_per_second >= settings.split_requests;
    const std::string border = std::exchange(shard.border, "");
    if (std::get<SplitShard>(order.step).at != border) Broken(shard, "not split at the border");
    if (shard.bytes < settings.split_bytes && !busy && border.empty()) {
      Broken(shard, "a split of a small shard");
    }
    ++shard.epoch.version;
    shard.bytes /= 2;
    shard.requests_per_second /= 2;
    std::vector<NodeId> nodes = {shard.leader};
    for (const Replica& voter : shard.voters) {
      if (voter.node != shard.leader) nodes.push_back(voter.node);
    }
    Report(shard);
    AddShard(std::move(nodes), shard.bytes, shard.requests_per_second,
             border.empty() ? shard.rule : static_cast<uint32_t>(std::stoul(border)));
    return;
  }
  std::sort(shard.voters.begin(), shard.voters.end());
  std::sort(shard.learners.begin(), shard.learners.end());
  if (shard.epoch.membership_version != version) JudgeMembers(shard, before);
  Report(shard);
}

std::string Model::Unfinished() const {
  for (const ShardView& shard : shards_) {
    const size_t wanted = FactorOf(shard);
    const Rule& rule = RuleOf(shard);
    size_t usable = 0;
    for (const auto& [id, node] : nodes_) usable += Usable(id) && Suits(rule.require, id);
    if (!shard.border.empty()) return fmt::format("shard {} is under two rules", shard.id);
    if (!shard.learners.empty()) return fmt::format("shard {} has a learner", shard.id);
    if (!shard.leader) return fmt::format("shard {} has no leader", shard.id);
    if (usable < wanted) continue;
    if (shard.voters.size() != wanted) {
      return fmt::format("shard {} has {} replicas", shard.id, shard.voters.size());
    }
    std::vector<NodeId> nodes;
    for (const Replica& voter : shard.voters) {
      if (!Usable(voter.node)) {
        return fmt::format("shard {} has a replica on node {}", shard.id, voter.node);
      }
      nodes.push_back(voter.node);
    }
    const Crowd crowd = CrowdOf(shard, nodes);
    if (std::get<0>(crowd) != 0) {
      return fmt::format("shard {} has replicas where its rule wants none", shard.id);
    }
    const auto suits = [&](NodeId id) { return Suits(rule.leaders, id); };
    if (!suits(shard.leader) && std::any_of(nodes.begin(), nodes.end(), suits)) {
      return fmt::format("shard {} is led by node {}, not on {}", shard.id, shard.leader,
                         ToString(rule.leaders));
    }
    if (crowd == Crowd()) continue;
    for (const Replica& voter : shard.voters) {
      Crowd with;
      if (LeastCrowd(shard, voter.node, &with, NodeId()) < crowd) {
        return fmt::format("shard {} could stand further apart without node {}", shard.id,
                           voter.node);
      }
    }
  }
  return "";
}

}  // namespace quorate::placement::model
