#include "tests/placement/schedule/random_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>
#include <vector>

#include "placement/schedule/safety.h"
#include "tests/placement/schedule/model.h"

namespace quorate::placement::model {

namespace {

class Run {
 public:
  explicit Run(uint64_t seed) : random_(Random(seed).Fork("run")), model_(DrawOptions(seed)) {}

  std::string Go() {
    Build();
    const int64_t mishaps = random_.Between(5, 40);
    for (int64_t i = 0; i < mishaps; ++i) {
      Mishap();
      if (!Steps(random_.Between(0, 90))) return model_.violation();
    }
    Heal();
    // Beyond every timeout, and until nodes that failed are tried again.
    if (!Steps(ToMillis(OperatorTable::kAvoidFor) / 1000 + 1800)) return model_.violation();
    if (std::string what = model_.Unfinished(); !what.empty()) return Ended(what);
    if (!model_.table.under_way().empty()) return Ended("something is still under way");
    if (std::string what = Uneven(); !what.empty()) return Ended(what);
    const auto before = model_.counts.operators;
    if (!Steps(600)) return model_.violation();
    if (model_.counts.operators != before) {
      return Ended("operators for a cluster that is as it should be: " +
                   ToString(model_.table.ended().back().op) + ", " +
                   model_.table.ended().back().op.explanation.why);
    }
    return "";
  }

 private:
  Options DrawOptions(uint64_t seed) {
    Options options;
    options.seed = seed;
    options.order_lost = random_.Chance(0.3) ? 0.3 : 0;
    options.report_lost = random_.Chance(0.3) ? 0.3 : 0;
    return options;
  }

  Place DrawPlace() {
    Place place;
    if (zones_ > 0) place.zone = static_cast<uint32_t>(1 + random_.Below(zones_));
    if (racks_ > 0) place.rack = static_cast<uint32_t>(1 + random_.Below(racks_));
    if (hosts_ > 0) place.host = static_cast<uint32_t>(1 + random_.Below(hosts_));
    return place;
  }

  void Build() {
    zones_ = random_.Below(5);
    racks_ = random_.Chance(0.3) ? 1 + random_.Below(3) : 0;
    hosts_ = random_.Chance(0.2) ? 3 + random_.Below(4) : 0;
    constexpr uint32_t kFactors[] = {1, 2, 3, 3, 3, 5};
    model_.settings.replication_factor = kFactors[random_.Below(std::size(kFactors))];
    model_.settings.learner_timeout = 60s;
    if (random_.Chance(0.3))
      model_.settings.operators = static_cast<uint32_t>(random_.Between(4, 8));
    model_.settings.snapshots_per_node = static_cast<uint32_t>(random_.Between(1, 4));
    const int64_t nodes = random_.Between(model_.settings.replication_factor, 10);
    for (int64_t i = 0; i < nodes; ++i) model_.AddNode(DrawPlace());
    if (random_.Chance(0.5)) DrawRules();
    const int64_t shards = random_.Between(1, 50);
    for (int64_t i = 0; i < shards; ++i) {
      std::vector<NodeId> all = Ids();
      std::shuffle(all.begin(), all.end(), random_);
      all.resize(model_.settings.replication_factor);
      model_.AddShard(all, random_.Below(200) << 20, random_.Chance(0.3) ? random_.Below(5000) : 0,
                      AnyRule());
    }
  }

  // 0: none.
  uint32_t AnyRule() {
    return has_rules_ ? static_cast<uint32_t>(random_.Below(model_.rules().size() + 1)) : 0;
  }
  Labels DrawLabels() {
    std::set<std::pair<std::string, std::string>> labels;
    if (zones_ > 0 && random_.Chance(0.6)) {
      for (uint64_t i = 0; i <= random_.Below(zones_); ++i) {
        labels.emplace("zone", fmt::format("z{}", 1 + random_.Below(zones_)));
      }
    }
    if (racks_ > 0 && random_.Chance(0.3)) {
      labels.emplace("rack", fmt::format("r{}", 1 + random_.Below(racks_)));
    }
    return {labels.begin(), labels.end()};
  }
  void DrawRules() {
    has_rules_ = true;
    std::vector<Rule> rules(1 + random_.Below(3));
    for (Rule& rule : rules) {
      constexpr uint32_t kFactors[] = {0, 1, 3, 3, 5};
      rule.replicas = kFactors[random_.Below(std::size(kFactors))];
      if (random_.Chance(0.5)) rule.require = DrawLabels();
      if (random_.Chance(0.5)) rule.prefer = DrawLabels();
      if (random_.Chance(0.7)) rule.leaders = DrawLabels();
    }
    model_.SetRules(std::move(rules));
  }
  void ChangeRules() {
    if (!has_rules_ || random_.Chance(0.2)) return DrawRules();
    if (random_.Chance(0.5)) return model_.PutUnderRule(AnyShard(), AnyRule());
    model_.BeginRuleInside(AnyShard(), AnyRule());
  }

  std::vector<NodeId> Ids() {
    std::vector<NodeId> ids;
    for (const auto& [id, node] : model_.nodes()) ids.push_back(id);
    return ids;
  }
  NodeId Any() {
    const std::vector<NodeId> ids = Ids();
    return ids[random_.Below(ids.size())];
  }
  ShardId AnyShard() { return ShardId(1 + random_.Below(model_.shards().size())); }
  size_t Up() {
    size_t up = 0;
    for (const auto& [id, node] : model_.nodes()) up += node.up;
    return up;
  }

  void Mishap() {
    const NodeId node = Any();
    switch (random_.Below(13)) {
      case 0:
      case 1:
        model_.Kill(node);
        break;
      case 2:
      case 3:
        model_.Revive(node);
        break;
      case 4:
        model_.Drain(node, true);
        break;
      case 5:
        model_.Drain(node, false);
        break;
      case 6:
        if (Ids().size() < 14) model_.AddNode(DrawPlace());
        break;
      case 7:
        model_.Failover();
        break;
      case 8:
        model_.Meddle(AnyShard());
        break;
      case 9:
        model_.SetStuck(node, random_.Chance(0.5));
        break;
      case 10:
        model_.Load(AnyShard(), random_.Below(400) << 20, random_.Below(5000));
        break;
      case 11: {
        const int64_t most = std::min<int64_t>(5, static_cast<int64_t>(Ids().size()));
        model_.settings.replication_factor = static_cast<uint32_t>(random_.Between(1, most));
        break;
      }
      case 12:
        ChangeRules();
        break;
    }
    // One that is drained and empty may be taken away, or one that is dead, if nothing is lost by
    // it.
    if (random_.Chance(0.1)) ForgetOne();
  }

  void ForgetOne() {
    const NodeId id = Any();
    if (Ids().size() <= model_.settings.replication_factor || model_.nodes().at(id).up) return;
    for (const ShardView& shard : model_.shards()) {
      size_t others = 0;
      for (const Replica& voter : shard.voters) {
        if (voter.node != id && model_.nodes().contains(voter.node)) ++others;
      }
      if (shard.Has(id) && others <= shard.voters.size() / 2) return;
    }
    model_.Forget(id);
  }

  void Heal() {
    for (NodeId id : Ids()) {
      model_.Revive(id);
      model_.SetStuck(id, false);
    }
    // Some stay drained, if enough are left.
    const size_t wanted = model_.settings.replication_factor;
    for (NodeId id : Ids()) {
      size_t usable = 0;
      for (const auto& [other, node] : model_.nodes()) usable += node.up && !node.draining;
      if (usable < wanted) model_.Drain(id, false);
    }
  }

  bool Steps(int64_t steps) {
    for (int64_t i = 0; i < steps && model_.violation().empty(); ++i) model_.Step();
    return model_.violation().empty();
  }

  // Only where nothing forbids it: alone in a place each, any replica can be anywhere.
  std::string Uneven() {
    if (has_rules_) return "";
    if (zones_ > 0 || racks_ > 0 || hosts_ > 0) return "";
    std::vector<size_t> replicas, leaders;
    for (const auto& [id, node] : model_.nodes()) {
      if (node.draining) continue;
      size_t holds = 0, leads = 0;
      for (const ShardView& shard : model_.shards()) {
        holds += shard.Voter(id) != nullptr;
        leads += shard.leader == id;
      }
      replicas.push_back(holds);
      leaders.push_back(leads);
    }
    const auto apart = [](const std::vector<size_t>& v) {
      const auto [least, most] = std::minmax_element(v.begin(), v.end());
      return *most - *least;
    };
    const double mean =
        static_cast<double>(model_.shards().size() * model_.settings.replication_factor) /
        static_cast<double>(replicas.size());
    if (apart(replicas) > std::max(1.0, 0.1 * mean)) {
      return fmt::format("nodes hold {} replicas", fmt::join(replicas, ", "));
    }
    if (model_.settings.replication_factor > 1 && apart(leaders) > 2) {
      return fmt::format("nodes lead {} shards", fmt::join(leaders, ", "));
    }
    return "";
  }

  std::string Ended(const std::string& what) {
    std::string text = "after all healed: " + what;
    for (const Wanted& wanted : model_.table.wanted()) text += "\n  wanted: " + wanted.why_not;
    for (const auto& [shard, status] : model_.table.under_way()) {
      text +=
          fmt::format("\n  {}", fmt::join(*model_.table.Explain(status.op.id, model_.now), "; "));
    }
    size_t told = 0;
    for (auto it = model_.table.ended().rbegin(); it != model_.table.ended().rend(); ++it) {
      text += fmt::format("\n  {}", fmt::join(*model_.table.Explain(it->op.id, model_.now), "; "));
      if (++told == 6) break;
    }
    return text;
  }

  Random random_;
  Model model_;
  uint64_t zones_ = 0, racks_ = 0, hosts_ = 0;
  bool has_rules_ = false;
};

}  // namespace

std::string RandomRun(uint64_t seed) { return Run(seed).Go(); }

std::string CheckRemovals() {
  for (uint32_t voters = 1; voters <= limits::kReplicationFactorMax; ++voters) {
    for (uint32_t live = 0; live < (1u << voters); ++live) {
      ClusterView view;
      ShardView shard;
      shard.id = ShardId(1);
      shard.leader = NodeId(99);  // none of those that are removed
      for (uint32_t i = 0; i < voters; ++i) {
        NodeView node;
        node.id = NodeId(i + 1);
        node.liveness = (live >> i) & 1 ? Liveness::kUp : Liveness::kDown;
        view.Put(node);
        shard.voters.push_back({node.id, true});
      }
      for (uint32_t i = 0; i < voters; ++i) {
        const auto up = static_cast<uint32_t>(std::popcount(live));
        const uint32_t after = up - ((live >> i) & 1);
        const bool allowed = voters > 1 && 2 * up > voters && 2 * after > voters - 1;
        if (CheckChange(view, shard, Remove{NodeId(i + 1)}).has_value() == allowed) {
          return fmt::format("of {} voters, of which {:b} are up, {} may {}be removed", voters,
                             live, i, allowed ? "not " : "");
        }
      }
    }
  }
  return "";
}

}  // namespace quorate::placement::model
