#include "tests/sim/run.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "proto/admin.pb.h"
#include "proto/txn.pb.h"
#include "tests/sim/checks/checks.h"
#include "tests/sim/cluster.h"
#include "tests/sim/faults.h"
#include "tests/sim/workloads/set.h"

namespace quorate::sim {
namespace {

constexpr Duration kConvergeWithin = 60s;

class Run {
 public:
  Run(const Options& options, const std::vector<std::string>& workloads, bool trace)
      : options_(options),
        world_(options.seed),
        cluster_(world_, options_, trace),
        workloads_({world_, options_}, workloads),
        checks_(cluster_) {}

  Verdict Go() {
    const Instant start = world_.now();
    Phases();
    verdict_.trace_hash = world_.trace_hash();
    verdict_.next_draw = world_.scheduler_random().Next() ^ world_.network_random().Next();
    verdict_.events = world_.events();
    verdict_.simulated = world_.now() - start;
    verdict_.acknowledged = workloads_.Acknowledged();
    verdict_.unknown = workloads_.Unknown();
    return std::move(verdict_);
  }

 private:
  void Phases() {
    if (const Status status = cluster_.Bootstrap(30s); !status.ok()) {
      verdict_.stalls.push_back("bootstrap: " + status.ToString());
      return;
    }
    auto auditor = cluster_.MakeClient("auditor");
    if (!Until(auditor.get(), &WorkloadSet::Setup, 30s)) {
      verdict_.stalls.push_back("setup did not finish: " + last_status_.ToString());
      return;
    }
    for (int i = 0; i < options_.clients; ++i) StartClient(i);
    Faults faults(cluster_, [this] {
      StartClient(static_cast<int>(world_.fault_random().Below(options_.clients)));
    });
    faults.Start(world_.now() + options_.chaos);
    world_.RunUntil(world_.now() + options_.chaos);
    faults.HealAll();
    verdict_.faults = faults.injected();
    for (const std::string& failure : faults.failed_boots()) verdict_.violations.push_back(failure);
    stopping_ = true;
    world_.RunUntil(world_.now() + kConvergeWithin, [this] { return running_ == 0; });
    if (running_ != 0) {
      verdict_.stalls.push_back(fmt::format("{} clients still wait for an answer", running_));
    }
    if (!Until(auditor.get(), &WorkloadSet::Audit, kConvergeWithin)) {
      verdict_.stalls.push_back("audit did not finish: " + last_status_.ToString());
      return;
    }
    world_.RunUntil(world_.now() + kConvergeWithin, [this] { return AtRest(); });
    if (!AtRest()) verdict_.stalls.push_back("L1: not at rest: " + RestReport());
    CompareReplicas();
    checks_.End();
    for (std::string& violation : checks_.Violations()) {
      verdict_.violations.push_back(std::move(violation));
    }
    for (std::string& violation : workloads_.Violations()) {
      verdict_.violations.push_back(std::move(violation));
    }
  }

  // ---- clients
  // -----------------------------------------------------------------------------------

  // (Re)starts a client process; what the old one had under way is abandoned, outcome unknown.
  void StartClient(int index) {
    if (stopping_) return;
    if (clients_.contains(index)) {
      clients_.erase(index);
      --running_;
    }
    auto client = cluster_.MakeClient(fmt::format("c{}", index));
    ++running_;
    client->scope().Spawn(ClientLoop(this, client.get(), index));
    clients_[index] = std::move(client);
  }

  static Task<void> ClientLoop(Run* run, SimClient* client, int index) {
    Random random = run->world_.Fork(client->process().name());
    while (!run->stopping_) {
      co_await run->workloads_.Step(client, index, &random);
      co_await Sleep(client->process(), Duration(random.Below(20'000'000)));
    }
    --run->running_;
  }

  // Repeats a workload phase until it succeeds or `timeout` of virtual time has passed.
  bool Until(SimClient* client, Task<Status> (WorkloadSet::*phase)(SimClient*), Duration timeout) {
    bool done = false;
    TaskScope scope(client->process());
    scope.Spawn(Retry(this, client, phase, &done));
    world_.RunUntil(world_.now() + timeout, [&] { return done; });
    return done;
  }
  static Task<void> Retry(Run* run, SimClient* client,
                          Task<Status> (WorkloadSet::*phase)(SimClient*), bool* done) {
    while (true) {
      run->last_status_ = co_await (run->workloads_.*phase)(client);
      if (run->last_status_.ok()) break;
      co_await Sleep(client->process(), 100ms);
    }
    *done = true;
  }

  // ---- what must hold at rest
  // --------------------------------------------------------------------

  // L1: no lock outlives its transaction, every node serves, every replica has caught up.
  bool AtRest() {
    for (const auto& node : cluster_.nodes()) {
      if (!node->up() || !node->node()->ready()) return false;
      for (const shard::Shard* shard : node->node()->shards()) {
        if (shard->prepared_count() != 0) return false;
      }
    }
    return checks_.LeftOver().empty() && Applied().size() == 1;
  }

  // Applied indexes of all replicas by shard; one distinct view when all have caught up.
  std::set<std::string> Applied() {
    std::set<std::string> views;
    for (const auto& node : cluster_.nodes()) {
      const v1::StatusResponse status = node->node()->Status();
      for (const auto& replica : status.replicas()) {
        applied_[replica.group_id()][node->address()] = replica.applied_index();
      }
    }
    bool same = true;
    for (const auto& [group, by_node] : applied_) {
      for (const auto& [node, index] : by_node) same &= index == by_node.begin()->second;
    }
    views.insert("all");
    if (!same) views.insert("differ");
    return views;
  }

  std::string RestReport() {
    std::string report;
    for (const auto& node : cluster_.nodes()) {
      if (!node->up()) {
        report += node->address() + " is down; ";
        continue;
      }
      if (!node->node()->ready()) report += node->address() + " is not ready; ";
      for (const shard::Shard* shard : node->node()->shards()) {
        if (shard->prepared_count() != 0) {
          report += fmt::format("{} holds {} prepared in shard {}; ", node->address(),
                                shard->prepared_count(), shard->id());
        }
      }
    }
    for (const auto& [group, by_node] : applied_) {
      std::string line;
      bool same = true;
      for (const auto& [node, index] : by_node) {
        same &= index == by_node.begin()->second;
        line += fmt::format("{}={} ", node, index);
      }
      if (!same) report += fmt::format("group {} applied {}; ", group, line);
    }
    return report;
  }

  void CompareReplicas() {
    std::map<ShardId, std::map<uint64_t, std::string>> by_digest;
    for (const auto& node : cluster_.nodes()) {
      if (!node->up()) continue;
      for (const shard::Shard* shard : node->node()->shards()) {
        by_digest[shard->id()][shard->StateDigest()] += node->address() + " ";
      }
    }
    for (const auto& [shard, digests] : by_digest) {
      if (digests.size() == 1) continue;
      std::string sides;
      for (const auto& [digest, nodes] : digests)
        sides += fmt::format("{:016x}: {}; ", digest, nodes);
      verdict_.violations.push_back(fmt::format("replicas of shard {} differ: {}", shard, sides));
    }
  }

  const Options options_;
  World world_;
  Cluster cluster_;
  WorkloadSet workloads_;
  Checks checks_;
  std::map<int, std::unique_ptr<SimClient>> clients_;
  std::map<uint64_t, std::map<std::string, uint64_t>> applied_;
  int running_ = 0;
  bool stopping_ = false;
  Status last_status_;
  Verdict verdict_;
};

}  // namespace

Verdict RunSeed(const Options& options, const std::vector<std::string>& workloads, bool trace) {
  return Run(options, workloads, trace).Go();
}

}  // namespace quorate::sim
