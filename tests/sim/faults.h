// Faults: what goes wrong during the chaos phase, drawn from its own random stream.
//
// What the cluster must survive: any number of nodes killed, paused or cut off at any moment, power
// loss of any of them with unsynced writes lost or torn. What it need not: damage to synced data on
// a majority of a shard's replicas.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"

namespace quorate::sim {

class Faults {
 public:
  // `kill_client` ends one client process in the middle of whatever it does.
  Faults(Cluster& cluster, std::function<void()> kill_client);

  // Starts injecting, until `until`.
  void Start(Instant until);
  // Ends every fault: partitions healed, loss off, all nodes up and running.
  void HealAll();
  // How often each kind was injected, by name.
  const std::map<std::string, int>& injected() const { return injected_; }
  // Nodes that did not start again on what the disk model left them: always a finding.
  const std::vector<std::string>& failed_boots() const { return failed_boots_; }

 private:
  void Every(const std::string& name, Duration interval, std::function<void()> inject);
  void Arm(const std::string& name, Duration interval,
           std::shared_ptr<std::function<void()>> inject);
  void Down(SimNode& node, bool power_loss);
  void RestartLater(SimNode& node);
  void Boot(SimNode& node);
  void Cut(const std::vector<std::string>& side, bool both_ways);
  SimNode& AnyNode();

  World& world_;
  Cluster& cluster_;
  std::function<void()> kill_client_;
  Random& random_;
  Instant until_{};
  std::map<std::string, int> injected_;
  std::vector<std::string> failed_boots_;
};

}  // namespace quorate::sim
