// Rebalance: `demo --rebalance`: three nodes become five, one is drained and removed, another is
// killed for good, while the bank's clients go on; and what the nodes say afterwards about where
// everything is.
//
// Main thread.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/demo_bank.h"
#include "cli/interrupt.h"
#include "cli/local_cluster.h"

namespace quorate::cli {

class Rebalance {
 public:
  struct Phase {
    std::string name;
    Instant begin;
    Instant end;
    int moves = 0;       // replicas that came to a node
    uint64_t bytes = 0;  // of snapshots that nodes received
  };

  // `quiet`: how long it only looks on, before and after. References outlive it.
  Rebalance(Context& context, LocalCluster& cluster, Admin& admin, Bank& bank, Duration quiet,
            const Interrupt& interrupt);

  // While the bank runs. CANCELLED: interrupted. Any other error: what did not become true in time.
  Status Run();
  // After the bank has stopped: every shard has three voters, on nodes that are there; each node
  // has these replicas and no other, all at the same entry; nobody else is in the map. An error
  // says what is not so.
  Status CheckPlaces();

  const std::vector<Phase>& phases() const { return phases_; }
  // Node ids that are left.
  std::vector<uint64_t> nodes() const { return {alive_.begin(), alive_.end()}; }
  int self_ended() const { return self_ended_; }

 private:
  // What is still missing, as a sentence; empty: nothing.
  using Lacks = std::function<std::string()>;

  Status Grow();
  Status Drain();
  Status Lose();
  void Begin(std::string name);
  void Close();
  Status Watch(Duration duration);
  Status WaitFor(const Lacks& lacks);
  // Sleeps for a second, looks, and prints a line.
  Status Second();
  void Look();
  Status Ask(v1::PlacementRequest ask, v1::PlacementResponse* response = nullptr);
  uint64_t IdOf(int node) const;
  // The node of those that were there first, and are still, which leads most.
  int Busiest() const;
  std::string LacksWhole() const;
  std::string LacksRest();
  std::string LacksEqual() const;
  void Event(const std::string& event) { event_ += event_.empty() ? event : "; " + event; }

  Context& context_;
  LocalCluster& cluster_;
  Admin& admin_;
  Bank& bank_;
  const Duration quiet_;
  const Interrupt& interrupt_;
  const int first_nodes_;
  const Instant start_;
  std::vector<Phase> phases_;
  ClusterView view_;
  std::string blind_;                              // why the last look saw nothing; empty: it did
  std::set<uint64_t> alive_;                       // ids of the nodes that should hold everything
  std::map<uint64_t, std::set<uint64_t>> placed_;  // voters by group, as seen last
  std::map<uint64_t, uint64_t> received_;          // bytes by node
  Instant printed_;  // the last line, with so many commits
  uint64_t commits_ = 0;
  int at_rest_ = 0;  // looks in a row
  int self_ended_ = 0;
  std::string event_;
};

}  // namespace quorate::cli
