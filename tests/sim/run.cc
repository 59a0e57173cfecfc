#include "tests/sim/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "quorate/v1/admin.pb.h"
#include "quorate/v1/txn.pb.h"
#include "raft/core/membership.h"
#include "server/node/member.h"
#include "tests/sim/checks/checks.h"
#include "tests/sim/checks/rest.h"
#include "tests/sim/cluster.h"
#include "tests/sim/injector.h"
#include "tests/sim/report.h"
#include "tests/sim/witness.h"
#include "tests/sim/workloads/set.h"

namespace quorate::sim {
namespace {

constexpr Duration kConvergeWithin = 60s;
// A state that goes in turns of 256 bytes over a store that takes half a second for each, or some
// large ones through one narrow stream: slow, and no stall.
constexpr Duration kStatesMovedWithin = 15min;
// A thin client's session that was left alone lives, and keeps what it locked, for a minute.
constexpr Duration kServeWithin = kConvergeWithin + 60s;
constexpr Duration kLook = 10ms;
// Operations of each client that show that the core serves.
constexpr uint64_t kServedByCore = 3;
constexpr uint64_t kCallsOfOneThought = 2;
constexpr uint64_t kThoughtsMax = 16;

std::function<void(const Fault&, const std::string&, const std::string&)> WatchFaults(
    StepMatrix* matrix) {
  if (matrix == nullptr) return nullptr;
  return [matrix](const Fault& fault, const std::string& from, const std::string& to) {
    matrix->OnFault(fault.kind->name, from, fault.length);
    if (to != from) matrix->OnFault(fault.kind->name, to, fault.length);
  };
}

class Run {
 public:
  Run(const Plan& plan, bool trace, StepMatrix* matrix)
      : plan_(plan),
        options_(plan.options),
        world_(options_.seed),
        cluster_(world_, options_, trace),
        workloads_({world_, options_}, plan.workloads),
        checks_(cluster_),
        witness_(cluster_, workloads_.record()),
        injector_(cluster_, {[this](int client) { StartClient(client % options_.clients); },
                             [this](int client) { return Client(client % options_.clients); },
                             WatchFaults(matrix)}) {
    if (matrix != nullptr) matrix->Begin(world_);
  }

  Histories histories() const { return workloads_.Histories(); }

  Verdict Go() {
    const Instant start = world_.now();
    Phases();
    verdict_.trace_hash = world_.trace_hash();
    verdict_.next_draw = world_.scheduler_random().Next() ^ world_.network_random().Next();
    verdict_.events = world_.events();
    verdict_.simulated = world_.now() - start;
    verdict_.acknowledged = workloads_.Acknowledged();
    verdict_.unknown = workloads_.Unknown();
    verdict_.witnessed = witness_.witnessed();
    verdict_.faults = injector_.injected();
    for (std::string& violation : checks_.Violations()) {
      verdict_.violations.push_back(std::move(violation));
    }
    for (const auto* found : {&injector_.violations(), &cluster_.network().violations()}) {
      verdict_.violations.insert(verdict_.violations.end(), found->begin(), found->end());
    }
    return std::move(verdict_);
  }

 private:
  // ---- phases -----------------------------------------------------------------------------------

  void Phases() {
    if (const Status status = cluster_.Bootstrap(30s); !status.ok()) {
      return Stall("bootstrap: " + status.ToString());
    }
    auto auditor = cluster_.MakeClient("auditor");
    if (!Until(auditor.get(), &WorkloadSet::Setup, 30s)) {
      return Stall("setup did not finish: " + last_status_.ToString());
    }
    FindHosts();
    for (int i = 0; i < options_.clients; ++i) StartClient(i);
    witness_.Start();
    injector_.Start(plan_.faults);
    world_.RunUntil(world_.now() + options_.chaos);
    CoreConverges();
    injector_.Heal({}, {});
    if (!Until(auditor.get(), &WorkloadSet::Audit, kConvergeWithin)) {
      return Stall("audit did not finish: " + last_status_.ToString());
    }
    if (!Wait([this] { return AtRest(); }, RestWithin())) Stall("L1: not at rest: " + RestReport());
    CompareReplicas();
    checks_.End();
    for (std::string& violation : workloads_.Violations()) {
      verdict_.violations.push_back(std::move(violation));
    }
  }

  // A sufficient set of nodes has to get on without the others: every client gets several more
  // answers, then an answer to its last request; nothing stays prepared.
  void CoreConverges() {
    const std::set<int> core = ChooseCore();
    std::set<int> down, cut;
    for (int i = 0; i < options_.nodes; ++i) {
      if (!core.contains(i)) (world_.fault_random().Chance(0.5) ? down : cut).insert(i);
    }
    injector_.Heal(down, cut);
    const uint64_t goal =
        workloads_.Acknowledged() + kServedByCore * static_cast<uint64_t>(options_.clients);
    if (!Wait([&] { return workloads_.Acknowledged() >= goal; }, kServeWithin)) {
      Stall(
          fmt::format("the core {} does not serve: {} of the answers that were due are missing; {}",
                      Names(core), goal - workloads_.Acknowledged(), CoreReport(core)));
    }
    stopping_ = true;
    witness_.Stop();
    if (!Wait([this] { return running_ == 0; })) {
      Stall(
          fmt::format("{} clients still wait for an answer of the core {}", running_, Names(core)));
    }
    if (!Wait([&] { return NothingPrepared(core); })) {
      Stall(fmt::format("L1: the core {}: {}", Names(core), CoreReport(core)));
    }
  }

  void FindHosts() {
    for (const auto& node : cluster_.nodes()) {
      const v1::StatusResponse status = node->node()->Status();
      for (const auto& replica : status.replicas()) {
        hosts_[replica.group_id()].insert(node->index());
      }
    }
  }

  // A random set that holds a sound majority of every group, and can spare none of its nodes.
  std::set<int> ChooseCore() {
    std::set<int> core;
    std::vector<int> order;
    for (int i = 0; i < options_.nodes; ++i) {
      core.insert(i);
      order.push_back(i);
    }
    // Where replicas move, a majority of today is none tomorrow.
    if (options_.moves) return core;
    std::shuffle(order.begin(), order.end(), world_.fault_random());
    const std::optional<int> damaged = injector_.atlas().damaged();
    const auto sufficient = [&](const std::set<int>& nodes) {
      return std::all_of(hosts_.begin(), hosts_.end(), [&](const auto& group) {
        size_t sound = 0;
        for (const int host : group.second) {
          sound += nodes.contains(host) && host != damaged ? 1 : 0;
        }
        return 2 * sound > group.second.size();
      });
    };
    for (const int node : order) {
      std::set<int> fewer = core;
      fewer.erase(node);
      if (sufficient(fewer)) core = std::move(fewer);
    }
    return core;
  }

  void Stall(std::string what) { verdict_.stalls.push_back(std::move(what)); }

  // Until `done`, or a bound of virtual time.
  template <class Done>
  bool Wait(Done done, Duration within = kConvergeWithin) {
    const Instant until = world_.now() + within;
    while (!done()) {
      if (world_.now() >= until) return false;
      world_.RunUntil(world_.now() + kLook);
    }
    return true;
  }

  // ---- clients ----------------------------------------------------------------------------------

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

  SimClient* Client(int index) {
    const auto it = clients_.find(index);
    return it == clients_.end() ? nullptr : it->second.get();
  }

  uint64_t ThinkMax() const { return static_cast<uint64_t>(options_.think_max.count()) + 1; }

  static Task<void> ClientLoop(Run* run, SimClient* client, int index) {
    Random random = run->world_.Fork(client->process().name());
    while (!run->stopping_) {
      const uint64_t before = client->network().CallsOf(client->address());
      co_await run->workloads_.Step(client, index, &random);
      // Longer after an operation of many calls, so that no kind of operation, and no retries, take
      // most of the time of a batch.
      const uint64_t calls = client->network().CallsOf(client->address()) - before;
      const uint64_t weight = std::clamp(calls / kCallsOfOneThought, uint64_t{1}, kThoughtsMax);
      co_await Sleep(client->process(), Duration(random.Below(weight * run->ThinkMax())));
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

  // ---- what must hold at rest -------------------------------------------------------------------

  static std::string Names(const std::set<int>& nodes) {
    std::string names;
    for (const int node : nodes) names += fmt::format("{}n{}", names.empty() ? "" : "+", node + 1);
    return names;
  }

  bool NothingPrepared(const std::set<int>& nodes) {
    return std::all_of(nodes.begin(), nodes.end(), [this](int i) {
      SimNode& node = *cluster_.nodes()[static_cast<size_t>(i)];
      if (!node.up()) return false;
      const auto shards = node.node()->shards();
      return std::all_of(shards.begin(), shards.end(),
                         [](const shard::Shard* shard) { return shard->prepared_count() == 0; });
    });
  }

  Duration RestWithin() const {
    const bool slow_store = options_.store_latency_max > 100ms;
    const bool small_turns = options_.snapshot_turn_bytes <= 256;
    const bool narrow = options_.snapshot_bytes_per_second <= 256 << 10;
    return (slow_store && small_turns) || narrow ? kStatesMovedWithin : kConvergeWithin;
  }

  // L1: no lock outlives its transaction, every node serves, every replica has caught up.
  bool AtRest() {
    for (const auto& node : cluster_.nodes()) {
      if (!node->up() || !node->node()->ready() || node->quarantined() != 0) return false;
    }
    return NothingPrepared(AllNodes()) && NothingFrozen() && AppliedAlike() &&
           checks_.LeftOver().empty() && JudgeMaps(cluster_).empty() &&
           JudgeRules(cluster_).empty();
  }

  // A merge ends, one way or the other.
  bool NothingFrozen() {
    return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [](const auto& node) {
      const auto shards = node->node()->shards();
      return std::all_of(shards.begin(), shards.end(),
                         [](const shard::Shard* shard) { return !shard->frozen_into(); });
    });
  }

  std::set<int> AllNodes() const {
    std::set<int> all;
    for (int i = 0; i < options_.nodes; ++i) all.insert(i);
    return all;
  }

  // Of every group, all replicas have applied the same entries.
  bool AppliedAlike() {
    applied_.clear();
    for (const auto& node : cluster_.nodes()) {
      const v1::StatusResponse status = node->node()->Status();
      for (const auto& replica : status.replicas()) {
        applied_[replica.group_id()][node->address()] = replica.applied_index();
      }
    }
    return std::all_of(applied_.begin(), applied_.end(), [](const auto& group) {
      return std::all_of(group.second.begin(), group.second.end(), [&](const auto& replica) {
        return replica.second == group.second.begin()->second;
      });
    });
  }

  std::string CoreReport(const std::set<int>& nodes) {
    std::string report;
    for (const int i : nodes) {
      SimNode& node = *cluster_.nodes()[static_cast<size_t>(i)];
      if (!node.up()) {
        report += node.address() + " is down; ";
        continue;
      }
      if (!node.node()->ready()) report += node.address() + " is not ready; ";
      if (const server::Member* member = node.node()->member()) {
        for (const auto& [group, handle] : member->groups()) {
          if (handle->soft_state().leader) continue;
          report += fmt::format("{} knows no leader of group {}, whose members are {} as of {}; ",
                                node.address(), group, raft::ToString(handle->configuration()),
                                handle->configuration_index());
        }
      }
      if (node.quarantined() != 0) {
        report += fmt::format("{} has {} quarantined; ", node.address(), node.quarantined());
      }
      for (const shard::Shard* shard : node.node()->shards()) {
        if (shard->frozen_into()) {
          report += fmt::format("{} has shard {}, which is frozen; ", node.address(), shard->id());
        }
        if (shard->prepared_count() == 0) continue;
        report += fmt::format("{} holds {} prepared in shard {}; ", node.address(),
                              shard->prepared_count(), shard->id());
      }
    }
    return report;
  }

  std::string RestReport() {
    std::string report = CoreReport(AllNodes());
    for (const std::string& left : checks_.LeftOver()) report += left + "; ";
    for (const std::string& map : JudgeMaps(cluster_)) report += map + "; ";
    for (const std::string& rule : JudgeRules(cluster_)) report += rule + "; ";
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
    ComparePlacement();
  }

  void ComparePlacement() {
    std::map<uint64_t, std::set<uint64_t>> by_index;  // digests
    for (const auto& node : cluster_.nodes()) {
      const server::Member* member = node->up() ? node->node()->member() : nullptr;
      if (member == nullptr || member->placement() == nullptr) continue;
      const raft::GroupHandle* group = member->FindGroup(placement::kPlacementGroup);
      // One that has just been added has no state yet.
      if (group == nullptr || !member->placement()->machine().HasState()) continue;
      by_index[group->applied_index().value()].insert(member->placement()->machine().StateDigest());
    }
    for (const auto& [index, digests] : by_index) {
      if (digests.size() == 1) continue;
      verdict_.violations.push_back(
          fmt::format("replicas of the placement group differ as of entry {}", index));
    }
  }

  const Plan& plan_;
  const Options& options_;
  World world_;
  Cluster cluster_;
  WorkloadSet workloads_;
  Checks checks_;
  Witness witness_;
  std::map<int, std::unique_ptr<SimClient>> clients_;
  std::map<uint64_t, std::set<int>> hosts_;  // of each group
  std::map<uint64_t, std::map<std::string, uint64_t>> applied_;
  int running_ = 0;
  bool stopping_ = false;
  Status last_status_;
  Verdict verdict_;
  Injector injector_;
};

}  // namespace

Plan Plan::Draw(uint64_t seed, Duration chaos, const FaultFilter& filter) {
  Plan plan;
  plan.options = Options::Draw(seed, chaos);
  plan.workloads = DrawWorkloads(seed);
  plan.faults = DrawSchedule(plan.options, filter);
  return plan;
}

void Plan::Calm() {
  faults.clear();
  options.drift_max = 0;
}

Verdict RunPlan(const Plan& plan, bool trace, StepMatrix* matrix, Histories* histories) {
  Run run(plan, trace, matrix);
  Verdict verdict = run.Go();
  if (histories != nullptr) *histories = run.histories();
  if (matrix != nullptr) matrix->End();
  return verdict;
}

}  // namespace quorate::sim
