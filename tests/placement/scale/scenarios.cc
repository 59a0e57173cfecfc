#include "tests/placement/scale/scenarios.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "placement/schedule/safety.h"
#include "tests/placement/scale/plot.h"
#include "tests/placement/schedule/model.h"

namespace quorate::placement::scale {

namespace {

constexpr uint64_t kShardBytes = 64 << 20;
constexpr uint64_t kRequests = 20;
constexpr int64_t kLongest = 200'000;  // seconds, until all has to be as it should be
constexpr int64_t kAfterwards = 600;   // and stays so

class World {
 public:
  World(const Size& size, const Clock& clock)
      : size_(size), random_(size.seed), model_({.seed = size.seed}) {
    model_.before_round = [this, &clock] { began_ = clock.Now(); };
    model_.after_round = [this, &clock] {
      const Duration took = clock.Now() - began_;
      ++outcome_.rounds;
      rounds_took_ += took;
      outcome_.round_max = std::max(outcome_.round_max, took);
    };
    for (uint64_t i = 0; i < size.nodes; ++i) AddNode(i);
    Place();
    Step();
    before_ = model_.counts;
  }

  Outcome LoseNodes();
  Outcome LoseInTurn();
  Outcome LoseAnywhere();
  Outcome LoseZone();
  Outcome Grow();
  Outcome DrainRack();
  Outcome HotRange();
  Outcome Restart();
  Outcome Day();
  Outcome Rules();

 private:
  NodeId AddNode(uint64_t i) {
    const uint32_t zone = 1 + static_cast<uint32_t>(i % size_.zones);
    const uint32_t rack = 1 + static_cast<uint32_t>(i / size_.zones % size_.racks);
    return model_.AddNode({zone, rack, 0});
  }
  // As even as can be: in each zone every node has each role in turn. Each time around the roles
  // shift against each other, so that what a node holds is shared with all others.
  void Place() {
    std::vector<std::vector<NodeId>> zones(size_.zones);
    for (const auto& [id, node] : model_.nodes()) zones[node.place.zone - 1].push_back(id);
    std::vector<std::array<uint64_t, 3>> turn(size_.zones);
    for (uint64_t i = 0; i < size_.shards; ++i) {
      const uint64_t stride = size_.zones % 2 == 0 ? 1 : 1 + i / size_.zones % 2;
      std::vector<NodeId> nodes;
      for (uint64_t role = 0; role < 3; ++role) {
        const uint64_t zone = (i + role * stride) % size_.zones;
        const uint64_t at = turn[zone][role]++, count = zones[zone].size();
        nodes.push_back(zones[zone][(at + at / count * role * 3) % count]);
      }
      model_.AddShard(nodes, kShardBytes, kRequests);
    }
  }
  void Step() {
    model_.Step();
    ++second_;
    plot_.Sample(model_, second_);
  }
  bool Broken() const { return !model_.violation().empty(); }
  bool Quiet() const { return model_.view.unsettled().empty() && model_.table.under_way().empty(); }
  // Until nothing was begun for a minute; false: something was broken, or it never ended.
  bool UntilQuiet() {
    const int64_t began = second_;
    int64_t last = second_;
    uint64_t operators = model_.counts.operators;
    while (second_ - last < 60 && second_ - began < kLongest && !Broken()) {
      Step();
      if (model_.counts.operators == operators && model_.table.under_way().empty()) continue;
      operators = model_.counts.operators;
      last = second_;
    }
    outcome_.seconds += last - began;
    return !Broken() && second_ - began < kLongest;
  }
  // Until nodes that are down count as lost.
  bool UntilLost() {
    const int64_t wait = ToMillis(model_.settings.down_after) / 1000;
    for (int64_t s = 0; s < wait && !Broken(); ++s) Step();
    outcome_.seconds += wait;
    return !Broken();
  }
  // The shards' least number of moves is known: what is lost has to be copied once.
  uint64_t ReplicasOn(const std::vector<NodeId>& nodes) const {
    uint64_t replicas = 0;
    for (NodeId id : nodes) replicas += static_cast<uint64_t>(model_.view.Find(id)->load.replicas);
    return replicas;
  }
  std::vector<NodeId> NodesOf(const std::function<bool(const model::Model::Node&)>& which) const {
    std::vector<NodeId> nodes;
    for (const auto& [id, node] : model_.nodes()) {
      if (node.up && which(node)) nodes.push_back(id);
    }
    return nodes;
  }
  std::vector<NodeId> Some(std::vector<NodeId> nodes, size_t count) {
    std::shuffle(nodes.begin(), nodes.end(), random_);
    nodes.resize(std::min(nodes.size(), count));
    return nodes;
  }
  size_t Lost() const { return std::max<size_t>(1, size_.nodes / 100); }
  std::string Spread() const;
  std::string UnevenLeaders() const;
  Outcome Finish(const std::string& scenario, bool whole = true);

  const Size size_;
  Random random_;
  model::Model model_;
  Plot plot_;
  Outcome outcome_;
  Instant began_;
  Duration rounds_took_{};
  int64_t second_ = 0;
  model::Model::Counts before_;
};

std::string World::Spread() const {
  int64_t least = INT64_MAX, most = 0, sum = 0, nodes = 0, least_led = INT64_MAX, most_led = 0;
  for (const auto& [id, node] : model_.view.nodes()) {
    if (node.view.liveness != Liveness::kUp || node.view.draining) continue;
    least = std::min(least, node.load.replicas);
    most = std::max(most, node.load.replicas);
    least_led = std::min(least_led, node.load.leaders);
    most_led = std::max(most_led, node.load.leaders);
    sum += node.load.replicas;
    ++nodes;
  }
  return fmt::format("a node holds {} to {} replicas (mean {:.0f}), leads {} to {}", least, most,
                     static_cast<double>(sum) / static_cast<double>(nodes), least_led, most_led);
}

std::string World::UnevenLeaders() const {
  std::vector<int64_t> leaders;
  for (const auto& [id, node] : model_.view.nodes()) {
    if (node.view.liveness == Liveness::kUp && !node.view.draining)
      leaders.push_back(node.load.leaders);
  }
  const auto [least, most] = std::minmax_element(leaders.begin(), leaders.end());
  const double mean = static_cast<double>(size_.shards) / static_cast<double>(leaders.size());
  if (static_cast<double>(*most - *least) <= std::max(2.0, 0.05 * mean)) return "";
  return "leaders end uneven: " + Spread();
}

Outcome World::Finish(const std::string& scenario, bool whole) {
  for (int64_t i = 0; i < kAfterwards && !Broken(); ++i) {
    const uint64_t operators = model_.counts.operators;
    Step();
    if (model_.counts.operators == operators) continue;
    if (outcome_.wrong.empty()) outcome_.wrong = "something is begun again though all is done";
  }
  if (Broken()) {
    outcome_.wrong = model_.violation();
  } else if (whole && outcome_.wrong.empty()) {
    outcome_.wrong = model_.Unfinished();
  }
  if (whole && outcome_.wrong.empty()) outcome_.wrong = UnevenLeaders();
  outcome_.scenario = scenario;
  outcome_.moves = model_.counts.copies - before_.copies;
  outcome_.transfers = model_.counts.transfers - before_.transfers;
  outcome_.round_mean = rounds_took_ / static_cast<int64_t>(std::max<uint64_t>(1, outcome_.rounds));
  if (outcome_.note.empty()) outcome_.note = Spread();
  if (outcome_.wrong.empty() && outcome_.least_moves > 0 &&
      outcome_.moves * 10 > outcome_.least_moves * 12) {
    outcome_.wrong = "more than 1.2 times the moves that would do";
  }
  outcome_.svg =
      plot_.Svg(fmt::format("{}: {} nodes, {} shards", scenario, size_.nodes, size_.shards));
  return std::move(outcome_);
}

Outcome World::LoseNodes() {
  const auto zone = static_cast<uint32_t>(1 + random_.Below(size_.zones));
  const auto lost =
      Some(NodesOf([&](const model::Model::Node& n) { return n.place.zone == zone; }), Lost());
  outcome_.least_moves = ReplicasOn(lost);
  for (NodeId id : lost) model_.Kill(id);
  if (!UntilLost() || !UntilQuiet()) outcome_.wrong = "it does not come to an end";
  return Finish("lose-nodes");
}

Outcome World::LoseInTurn() {
  for (size_t i = 0; i < Lost() && outcome_.wrong.empty(); ++i) {
    const auto lost = Some(NodesOf([](const model::Model::Node&) { return true; }), 1);
    outcome_.least_moves += ReplicasOn(lost);
    for (NodeId id : lost) model_.Kill(id);
    if (!UntilLost() || !UntilQuiet()) outcome_.wrong = "it does not come to an end";
  }
  return Finish("lose-in-turn");
}

// Some shards lose two of three replicas: nothing can be done for them, and nothing is.
Outcome World::LoseAnywhere() {
  const auto lost = Some(NodesOf([](const model::Model::Node&) { return true; }), Lost());
  for (NodeId id : lost) model_.Kill(id);
  uint64_t dead = 0;
  for (const ShardView& shard : model_.shards()) {
    const auto gone =
        std::count_if(shard.voters.begin(), shard.voters.end(),
                      [&](const Replica& r) { return !model_.nodes().at(r.node).up; });
    dead += gone > 1;
    outcome_.least_moves += gone == 1;
  }
  if (!UntilLost() || !UntilQuiet()) outcome_.wrong = "it does not come to an end";
  outcome_.note =
      fmt::format("{} shards lost two replicas and are left as they are; {}", dead, Spread());
  uint64_t left = 0;
  for (const ShardView& shard : model_.shards()) {
    left += std::any_of(shard.voters.begin(), shard.voters.end(),
                        [&](const Replica& r) { return !model_.nodes().at(r.node).up; });
  }
  if (left != dead)
    outcome_.wrong = fmt::format("{} shards are not whole, {} cannot be", left, dead);
  return Finish("lose-anywhere", false);
}

Outcome World::LoseZone() {
  const auto lost = NodesOf([](const model::Model::Node& n) { return n.place.zone == 1; });
  outcome_.least_moves = ReplicasOn(lost);
  for (NodeId id : lost) model_.Kill(id);
  if (!UntilLost() || !UntilQuiet()) outcome_.wrong = "it does not come to an end";
  return Finish("lose-zone");
}

Outcome World::Grow() {
  const uint64_t more = size_.nodes / 2;
  for (uint64_t i = 0; i < more; ++i) AddNode(size_.nodes + i);
  const double mean =
      static_cast<double>(3 * size_.shards) / static_cast<double>(size_.nodes + more);
  outcome_.least_moves = static_cast<uint64_t>(mean * static_cast<double>(more));
  if (!UntilQuiet()) outcome_.wrong = "it does not come to an end";
  int64_t least = INT64_MAX, most = 0;
  for (const auto& [id, node] : model_.view.nodes()) {
    least = std::min(least, node.load.replicas);
    most = std::max(most, node.load.replicas);
  }
  const double apart = static_cast<double>(most - least);
  if (outcome_.wrong.empty() && apart > std::max(2.0, 0.1 * mean)) {
    outcome_.wrong = "it ends uneven: " + Spread();
  }
  return Finish("grow");
}

Outcome World::DrainRack() {
  const auto drained =
      NodesOf([](const model::Model::Node& n) { return n.place.zone == 1 && n.place.rack == 1; });
  outcome_.least_moves = ReplicasOn(drained);
  for (NodeId id : drained) model_.Drain(id, true);
  if (!UntilQuiet()) outcome_.wrong = "it does not come to an end";
  for (NodeId id : drained) {
    const ClusterView::Node& node = *model_.view.Find(id);
    if (!node.shards.empty() || !node.led.empty())
      outcome_.wrong = fmt::format("node {} holds something", id);
  }
  return Finish("drain-rack");
}

// A range of neighbours becomes a hundred times as busy; some nodes lead more of it than others.
Outcome World::HotRange() {
  const uint64_t hot = std::max<uint64_t>(1, size_.shards / 10);
  const uint64_t first = 1 + random_.Below(size_.shards - hot);
  for (uint64_t i = 0; i < hot; ++i) {
    const ShardView& shard = model_.shards()[first + i - 1];
    // Those on the first tenth of the nodes first: so it does not happen to be even.
    const bool there = shard.leader.value() % 10 == 1;
    model_.Load(shard.id, shard.bytes, kRequests * (there ? 300 : 100));
  }
  const auto most = [this] {
    int64_t requests = 0, sum = 0;
    for (const auto& [id, node] : model_.view.nodes()) {
      requests = std::max(requests, node.load.requests);
      sum += node.load.requests;
    }
    return static_cast<double>(requests) * static_cast<double>(model_.view.nodes().size()) /
           static_cast<double>(sum);
  };
  const double before = most();
  if (!UntilQuiet()) outcome_.wrong = "it does not come to an end";
  const double after = most();
  outcome_.note =
      fmt::format("the busiest node serves {:.2f} of the mean, before {:.2f}", after, before);
  // How even it can be depends on which shards share nodes: it must not get worse.
  if (after > before) outcome_.wrong = "it gets more uneven";
  Outcome outcome = Finish("hot-range");
  if (outcome.moves > 0 && outcome.wrong.empty()) outcome.wrong = "replicas were moved";
  return outcome;
}

// Every node is away for a while, one after the other: no replica is replaced, leaders spread
// again.
Outcome World::Restart() {
  const auto nodes = NodesOf([](const model::Model::Node&) { return true; });
  const size_t count = std::min<size_t>(nodes.size(), 20);
  for (size_t i = 0; i < count; ++i) {
    model_.Kill(nodes[i]);
    for (int s = 0; s < 30; ++s) Step();
    model_.Revive(nodes[i]);
    for (int s = 0; s < 10; ++s) Step();
  }
  if (!UntilQuiet()) outcome_.wrong = "it does not come to an end";
  Outcome outcome = Finish("restart");
  if (outcome.moves > 0 && outcome.wrong.empty()) outcome.wrong = "replicas were moved";
  return outcome;
}

// Requests rise and fall with the hour, shards grow and shrink: nothing is to be done.
Outcome World::Day() {
  if (!UntilQuiet()) outcome_.wrong = "it does not come to an end";
  const uint64_t operators = model_.counts.operators;
  before_ = model_.counts;
  for (int64_t s = 0; s < size_.day_seconds && !Broken(); ++s) {
    const double hour = static_cast<double>(s) / 3600;
    const double busy = 1 + 0.6 * std::sin(hour / 24 * 2 * 3.14159);
    for (uint64_t i = 0; i < std::max<uint64_t>(1, size_.shards / 1000); ++i) {
      const ShardId shard(1 + random_.Below(size_.shards));
      model_.Load(shard, static_cast<uint64_t>(kShardBytes * (0.7 + 0.6 * random_.Unit())),
                  static_cast<uint64_t>(kRequests * busy * (0.75 + 0.5 * random_.Unit())));
    }
    Step();
    if (model_.counts.operators == operators) continue;
    outcome_.wrong = fmt::format("after {} s of a quiet day: {}", s,
                                 ToString(model_.table.under_way().begin()->second.op));
    break;
  }
  outcome_.seconds = size_.day_seconds;
  return Finish("day");
}

// A tenth of the shards is to have five replicas in three zones, led in the first; another tenth is
// rather in the second zone. While that is brought about a node is lost; then the rules go again.
Outcome World::Rules() {
  Rule many, near;
  many.replicas = 5;
  many.require = {{"zone", "z1"}, {"zone", "z2"}, {"zone", "z3"}};
  many.leaders = {{"zone", "z1"}};
  near.prefer = {{"zone", "z2"}};
  model_.SetRules({many, near});
  const uint64_t tenth = std::max<uint64_t>(1, size_.shards / 10);
  for (uint64_t id = 1; id <= 2 * tenth; ++id)
    model_.PutUnderRule(ShardId(id), id <= tenth ? 1 : 2);
  for (int s = 0; s < 30; ++s) Step();
  for (NodeId id : Some(NodesOf([](const model::Model::Node&) { return true; }), 1)) {
    model_.Kill(id);
  }
  if (!UntilLost() || !UntilQuiet()) outcome_.wrong = "it does not come to an end";
  if (std::string left = model_.Unfinished(); outcome_.wrong.empty() && !left.empty()) {
    outcome_.wrong = "under rules: " + left;
  }
  const uint64_t made = model_.counts.copies - before_.copies;
  model_.SetRules({});
  if (!UntilQuiet() && outcome_.wrong.empty()) outcome_.wrong = "it does not come to an end";
  outcome_.note = fmt::format("{} replicas were copied for the rules, {} when they went; {}", made,
                              model_.counts.copies - before_.copies - made, Spread());
  return Finish("rules");
}

struct Row {
  const char* name;
  Outcome (World::*run)();
  const char* help;
};
constexpr Row kRows[] = {
    {"lose-nodes", &World::LoseNodes,
     "a hundredth of the nodes, all in one zone, are lost at once"},
    {"lose-in-turn", &World::LoseInTurn,
     "a hundredth of the nodes are lost, each when all is whole"},
    {"lose-anywhere", &World::LoseAnywhere, "a hundredth of the nodes, anywhere, are lost at once"},
    {"lose-zone", &World::LoseZone, "all nodes of a zone are lost at once"},
    {"grow", &World::Grow, "half as many nodes again are added"},
    {"drain-rack", &World::DrainRack, "all nodes of a rack are drained"},
    {"hot-range", &World::HotRange, "neighbouring shards become a hundred times as busy"},
    {"restart", &World::Restart, "20 nodes restart, one after the other"},
    {"rules", &World::Rules, "a fifth of the shards comes under rules, and is let go"},
    {"day", &World::Day, "a day goes by with nothing to do"},
};

}  // namespace

std::vector<std::string> Scenarios() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.push_back(row.name);
  return names;
}

std::string HelpOf(const std::string& scenario) {
  for (const Row& row : kRows) {
    if (scenario == row.name) return row.help;
  }
  return "";
}

Outcome Run(const std::string& scenario, const Size& size, const Clock& clock) {
  for (const Row& row : kRows) {
    if (scenario != row.name) continue;
    World world(size, clock);
    return (world.*row.run)();
  }
  return {.scenario = scenario, .wrong = "there is no such scenario"};
}

}  // namespace quorate::placement::scale
