// Injector: carries a schedule of faults out, keeps what has to be undone, restarts what died.
//
// A fault that lasts is a window: what it changed is undone at its end or when everything is
// healed, whichever comes first. A node that is down is started again a little later by an operator
// who knows nothing; whether it may then refuse to start is known here (Excuse). A refusal without
// an excuse is a finding, and so is a node that stops by itself without one.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/atlas.h"
#include "tests/sim/cluster.h"
#include "tests/sim/faults.h"

namespace quorate::sim {

class Injector {
 public:
  // What only the run knows.
  struct Hooks {
    std::function<void(int client)> kill_client;
    std::function<SimClient*(int client)> client;
    // Told whom a fault hits: what lies between two addresses; an empty one is everybody.
    std::function<void(const Fault& fault, const std::string& from, const std::string& to)> hit;
  };
  Injector(Cluster& cluster, Hooks hooks);
  Injector(const Injector&) = delete;

  // Injects `schedule`, which begins now.
  void Start(const std::vector<Fault>& schedule);
  // Ends every window. All nodes are started but those of `left_down`, which stay down; those of
  // `left_cut` run, and reach neither the others nor, of clients, those that must get on.
  void Heal(const std::set<int>& left_down, const std::set<int>& left_cut);
  // How often each kind was injected, by name.
  const std::map<std::string, int>& injected() const { return injected_; }
  const std::vector<std::string>& violations() const { return violations_; }

  // ---- for the kinds ----------------------------------------------------------------------------
  World& world() { return world_; }
  Cluster& cluster() { return cluster_; }
  SimNetwork& network() { return cluster_.network(); }
  Atlas& atlas() { return atlas_; }
  const Hooks& hooks() const { return hooks_; }
  int count() const { return static_cast<int>(cluster_.nodes().size()); }
  SimNode& NodeAt(int index) { return *cluster_.nodes()[static_cast<size_t>(index % count())]; }
  SimNode& Node(const Fault& fault) { return NodeAt(fault.node); }
  // Another node than Node(fault).
  SimNode& Other(const Fault& fault);

  // The fault had an effect: counted.
  void Count(const Fault& fault);
  // Runs `undo` at the end of the fault's window, or when everything is healed.
  void Until(const Fault& fault, Closure undo);
  // Runs `fn` after `delay`, unless everything was healed by then.
  void Later(Duration delay, Closure fn);
  // A network rule for the window.
  void Rule(const Fault& fault, LinkRule rule);
  // As Until, for what a fault took from the node's disk and `undo` puts back: until then the disk
  // is not the node's own, which other kinds neither read nor damage. Needs own_disk().
  void BorrowDisk(const Fault& fault, SimNode& node, Closure undo);
  bool own_disk(const SimNode& node) const { return !borrowed_disks_.contains(node.index()); }
  void BlockBothWays(const Fault& fault, const std::string& a, const std::string& b);
  // As BlockBothWays; in half of the occurrences peer messages only: who takes itself for a leader
  // still gets slots, and is asked as a participant.
  void BlockSomehow(const Fault& fault, const std::string& a, const std::string& b);
  // Shows requests to `see`, as they are sent, until one is the one that it waits for: then it
  // returns by how much that one comes later. Ends with the fault's window.
  using SeeFn = std::function<std::optional<Duration>(SimNode& from, SimNode& to,
                                                      const v1::NodeRequest& request)>;
  void AwaitRequest(const Fault& fault, SeeFn see);
  // The group's replicas do not hear each other for `length`.
  void Silence(const Fault& fault, GroupId group, Duration length);
  // About half of the clients do not reach `node`, for the window.
  void CutClients(const Fault& fault, const SimNode& node);

  void Kill(SimNode& node, Duration down);
  void PowerLoss(SimNode& node, PowerLossMode mode, Duration down);
  void BootLater(SimNode& node, Duration delay);
  void Boot(SimNode& node);
  // Until then the node may refuse to start, or stop by itself.
  void Excuse(SimNode& node, Duration length);
  // The node may stop by itself at any time until it is started again.
  void ExcuseRun(const SimNode& node) { excused_runs_[node.index()] = node.incarnations(); }
  bool excused(const SimNode& node) const;
  // A client of its own for one occurrence, for a while.
  SimClient& Bystander(const std::string& name, Duration length);
  void Violation(std::string what) { violations_.push_back(std::move(what)); }

 private:
  void Inject(const Fault& fault);
  std::string TargetOf(const Fault& fault);
  SimNode* NodeOf(const std::string& address);
  void Cut(const std::set<int>& nodes);

  World& world_;
  Cluster& cluster_;
  Atlas atlas_;
  const Hooks hooks_;
  uint64_t healed_ = 0;  // how often: what was planned before does not happen any more
  uint64_t last_window_ = 0;
  std::map<uint64_t, Closure> windows_;  // what undoes them
  std::map<int, Instant> excused_until_;
  std::map<int, int> excused_runs_;  // incarnations, by node
  std::map<uint64_t, std::unique_ptr<SimClient>> bystanders_;
  uint64_t last_bystander_ = 0;
  std::set<int> held_down_;
  std::set<int> borrowed_disks_;
  std::vector<SimNetwork::RuleId> cuts_;
  std::map<std::string, int> injected_;
  std::vector<std::string> violations_;
};

}  // namespace quorate::sim
