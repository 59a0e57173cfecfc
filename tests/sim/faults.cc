#include "tests/sim/faults.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace quorate::sim {

Faults::Faults(Cluster& cluster, std::function<void()> kill_client)
    : world_(cluster.world()),
      cluster_(cluster),
      kill_client_(std::move(kill_client)),
      random_(world_.fault_random()) {}

void Faults::Start(Instant until) {
  until_ = until;
  const Options& o = cluster_.options();
  Every("kill", o.kill_every, [this] { Down(AnyNode(), false); });
  Every("power-loss", o.power_loss_every, [this] { Down(AnyNode(), true); });
  Every("power-loss-all", o.power_loss_all_every, [this] {
    for (auto& node : cluster_.nodes()) Down(*node, true);
  });
  Every("partition", o.partition_every, [this] {
    std::vector<std::string> side;
    for (auto& node : cluster_.nodes()) {
      if (random_.Chance(0.4)) side.push_back(node->address());
    }
    Cut(side, true);
  });
  Every("one-way", o.one_way_every, [this] { Cut({AnyNode().address()}, false); });
  Every("isolate-leader", o.isolate_leader_every, [this] {
    if (SimNode* leader = cluster_.BusiestLeader()) Cut({leader->address()}, true);
  });
  Every("pause", o.pause_every, [this] {
    SimNode& node = AnyNode();
    if (node.up()) {
      node.process()->Pause(world_.now() +
                            Duration(random_.Below(cluster_.options().pause_max.count())));
    }
  });
  Every("clock-jump", o.clock_jump_every,
        [this] { AnyNode().clock().wall_offset_ms += random_.Between(-5'000, 5'000); });
  Every("client-death", o.client_death_every, [this] { kill_client_(); });
}

void Faults::Every(const std::string& name, Duration interval, std::function<void()> inject) {
  if (interval.count() == 0) return;
  Arm(name, interval, std::make_shared<std::function<void()>>(std::move(inject)));
}

void Faults::Arm(const std::string& name, Duration interval,
                 std::shared_ptr<std::function<void()>> inject) {
  // Poisson arrivals.
  const double wait = -std::log(1.0 - random_.Unit()) * static_cast<double>(interval.count());
  world_.At(Duration(static_cast<int64_t>(wait)), [this, name, interval, inject] {
    if (world_.now() >= until_) return;
    ++injected_[name];
    world_.Trace(std::hash<std::string>()(name));
    (*inject)();
    Arm(name, interval, inject);
  });
}

SimNode& Faults::AnyNode() { return *cluster_.nodes()[random_.Below(cluster_.nodes().size())]; }

void Faults::Down(SimNode& node, bool power_loss) {
  if (!node.up()) return;
  if (power_loss) {
    node.PowerLoss();
  } else {
    node.Crash();
  }
  RestartLater(node);
}

void Faults::RestartLater(SimNode& node) {
  world_.At(Duration(random_.Below(cluster_.options().down_max.count())), [this, &node] {
    if (!node.up()) Boot(node);
  });
}

void Faults::Boot(SimNode& node) {
  const Status status = node.Start({});
  if (!status.ok()) {
    failed_boots_.push_back(node.address() + " does not start: " + status.ToString());
  }
}

void Faults::Cut(const std::vector<std::string>& side, bool both_ways) {
  SimNetwork& network = cluster_.network();
  for (const std::string& inside : side) {
    for (auto& node : cluster_.nodes()) {
      const std::string& outside = node->address();
      if (std::find(side.begin(), side.end(), outside) != side.end()) continue;
      network.Block(inside, outside);
      if (both_ways) network.Block(outside, inside);
    }
  }
  const auto length = Duration(random_.Below(cluster_.options().partition_max.count()));
  world_.At(length, [&network] { network.HealAll(); });
}

void Faults::HealAll() {
  until_ = world_.now();
  SimNetwork& network = cluster_.network();
  network.HealAll();
  network.options().loss = 0;
  network.options().duplicate = 0;
  network.options().reset = 0;
  network.options().tail_chance = 0;
  for (auto& node : cluster_.nodes()) {
    node->disk().options().stall_chance = 0;
    node->disk().options().sync_failure_chance = 0;
    if (!node->up()) Boot(*node);
  }
}

}  // namespace quorate::sim
