// doctor: what is wrong with a cluster, or with a node's data directory, and what to do.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <thread>

#include "base/limits.h"
#include "base/plural.h"
#include "base/real_clock.h"
#include "cli/ask_placement.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/output.h"
#include "quorate/v1/node.pb.h"
#include "server/program/examine.h"
#include "txn/timestamp.h"

namespace quorate::cli {
namespace {

using server::Finding;
using Json = nlohmann::ordered_json;

// Nothing moves for so long only if it hangs.
constexpr Duration kStuckAfter = 3s;
constexpr int64_t kClocksApartMs = 500;
constexpr int kReplicasUsual = 3;
constexpr uint64_t kFilesFew = 4096;
constexpr std::string_view kRecover =
    "`quorate recover` has a survivor go on alone (docs/operations.md, \"A majority is lost\")";

int Print(const Context& context, const std::vector<std::string>& facts,
          const std::vector<Finding>& findings) {
  if (context.json) {
    Json list = Json::array();
    for (const Finding& finding : findings) {
      list.push_back({{"severity", finding.serious ? "problem" : "warning"},
                      {"what", finding.what},
                      {"advice", finding.advice}});
    }
    PrintJson({{"healthy", findings.empty()}, {"facts", facts}, {"findings", list}});
    return findings.empty() ? kExitDone : kExitFailed;
  }
  for (const std::string& fact : facts) Say("{}\n", fact);
  for (const Finding& finding : findings) {
    Say("\n{}  {}.\n         {}.\n", finding.serious ? "PROBLEM" : "warning", finding.what,
        finding.advice);
  }
  if (findings.empty()) Say("\nNothing is wrong.\n");
  return findings.empty() ? kExitDone : kExitFailed;
}

// ---- a running cluster --------------------------------------------------------------------------

class Visit {
 public:
  Visit(Context& context, ClusterView view) : context_(context), view_(std::move(view)) {}

  int Run() {
    facts_.push_back(fmt::format("cluster    {}", view_.map.cluster_id()));
    facts_.push_back(
        fmt::format("nodes      {} of {} answer", view_.answering(), view_.nodes.size()));
    facts_.push_back(fmt::format("shards     {} of {} have a serving leader", view_.served(),
                                 view_.map.routes_size()));
    Nodes();
    Versions();
    Clocks();
    Leaders();
    Replication();
    Drains();
    Rules();
    Spread();
    Stuck();
    return Print(context_, facts_, findings_);
  }

 private:
  void Find(bool serious, std::string what, std::string advice) {
    findings_.push_back({serious, std::move(what), std::move(advice)});
  }

  void Nodes() {
    for (const v1::NodeInfo& node : view_.map.nodes()) {
      const auto& status = view_.nodes.at(node.node_id());
      const std::string name = fmt::format("node {} at {}", node.node_id(), node.address());
      if (!status) {
        NotThere(node, name);
        continue;
      }
      if (!status->ready()) {
        Find(true, name + " is not ready", "see its log, and /readyz at its --http address");
      }
      Disk(name, *status);
      Limits(name, *status);
    }
  }

  // Without a leader of placement nobody is taken out: then a majority comes first.
  std::string IfLost(const v1::NodeInfo& node) const {
    if (view_.placement_leader == 0) return "";
    return fmt::format(
        "; if it will not come back, start a new node with --join, and take this one out: `quorate "
        "node remove {} --lost`",
        node.node_id());
  }

  void NotThere(const v1::NodeInfo& node, const std::string& name) {
    v1::NodeRequest hello;
    hello.mutable_hello();
    const auto other = context_.admin().Call(node.address(), hello, 2s);
    if (!other.ok()) {
      return Find(true, fmt::format("{} does not answer ({})", name, other.status().message()),
                  "start it, or look at its log and at the network" + IfLost(node));
    }
    Find(true,
         fmt::format(
             "{} does not answer; another node does at its address (node {} of {})", name,
             other->hello().node_id(),
             other->hello().cluster_id().empty() ? "no cluster" : other->hello().cluster_id()),
         fmt::format("start the old node with its data directory again; if that is lost, the one "
                     "with an empty directory is a new node, and `quorate node remove {} --lost` "
                     "takes the old one out",
                     node.node_id()));
  }

  void Disk(const std::string& name, const v1::StatusResponse& status) {
    const uint64_t free = status.disk_free_bytes();
    const uint64_t watermark = status.low_space_bytes();
    if (!status.accepts_writes() || free < watermark) {
      Find(true, fmt::format("{} takes no writes: {} MiB are free on its disk", name, free >> 20),
           "make room on its disk; writes go on by themselves");
    } else if (free < 2 * watermark) {
      Find(false, fmt::format("the disk of {} fills up: {} MiB are free", name, free >> 20),
           fmt::format("make room before they are {} MiB", watermark >> 20));
    }
  }

  void Limits(const std::string& name, const v1::StatusResponse& status) {
    if (!status.has_process()) return;
    const v1::ProcessStatus& process = status.process();
    if (!process.takes_connections()) {
      Find(true, name + " takes no connections: it has run out of file descriptors",
           "raise its limit of open files, or find out who connects so often");
    } else if (process.open_files() * 5 > process.open_files_max() * 4) {
      Find(false,
           fmt::format("{} has {} files open of {} that it may", name, process.open_files(),
                       process.open_files_max()),
           "raise its limit of open files (LimitNOFILE=, `ulimit -n`)");
    } else if (process.open_files_max() < kFilesFew) {
      Find(false, fmt::format("{} may open {} files only", name, process.open_files_max()),
           fmt::format("raise its limit of open files to {} or more (LimitNOFILE=, `ulimit -n`)",
                       kFilesFew));
    }
  }

  void Versions() {
    std::map<std::string, std::vector<uint64_t>> by_version;
    for (const auto& [id, status] : view_.nodes) {
      if (status) by_version[status->node().version()].push_back(id);
    }
    if (by_version.size() <= 1) {
      for (const auto& [version, nodes] : by_version) facts_.push_back("version    " + version);
      return;
    }
    std::string list;
    for (const auto& [version, nodes] : by_version) {
      list += fmt::format("{}{} on node {}", list.empty() ? "" : ", ", version,
                          fmt::join(nodes, " and "));
    }
    Find(false, "the nodes are of different versions: " + list,
         "finish the upgrade: restart the older ones with the newer version, one at a time");
  }

  // Each is asked once more, for as short a round trip as there is.
  void Clocks() {
    v1::NodeRequest request;
    request.mutable_status();
    const RealClock clock;
    std::map<uint64_t, int64_t> ahead_ms;
    for (const v1::NodeInfo& node : view_.map.nodes()) {
      if (!view_.nodes.at(node.node_id())) continue;
      const int64_t before = clock.WallMillis();
      const auto answer = context_.admin().Call(node.address(), request, 2s);
      const int64_t after = clock.WallMillis();
      if (!answer.ok()) continue;
      ahead_ms[node.node_id()] =
          static_cast<int64_t>(answer->status().wall_ms()) - (before + after) / 2;
    }
    if (ahead_ms.size() < 2) return;
    const auto by_clock = [](const auto& a, const auto& b) { return a.second < b.second; };
    const auto [slow, fast] = std::minmax_element(ahead_ms.begin(), ahead_ms.end(), by_clock);
    const int64_t apart = fast->second - slow->second;
    facts_.push_back(fmt::format("clocks     {} ms apart at most", apart));
    if (apart < kClocksApartMs) return;
    Find(apart >= ToMillis(limits::kTsoJumpMax),
         fmt::format("the clock of node {} is {:.1f} s ahead of node {}'s", fast->first,
                     static_cast<double>(apart) / 1000, slow->first),
         "let all machines keep time by NTP; nothing is wrong with the data");
  }

  void Leaders() {
    if (view_.placement_leader == 0) {
      Find(true, "placement has no leader: no timestamps, so no transactions",
           fmt::format("start enough of its nodes: {}; if most of them are lost for good, {}",
                       Members(view_.map.placement_nodes()), kRecover));
    }
    std::vector<uint64_t> without;
    bool lost = false;
    for (const auto& route : view_.map.routes()) {
      if (view_.leader_of.contains(route.shard().shard_id())) continue;
      without.push_back(route.shard().shard_id());
      lost |= view_.Survives(ReplicaNodes(route.shard())) < 0;
    }
    if (!without.empty()) {
      Find(true,
           fmt::format(
               "{} without a serving leader: shard {}",
               without.size() == 1 ? "one shard is" : fmt::format("{} shards are", without.size()),
               First(without)),
           lost ? fmt::format("start the nodes that hold their replicas (`quorate shards`); if "
                              "most of them are lost for good, {}",
                              kRecover)
                : std::string("wait for an election; if it stays so, see the logs of the nodes "
                              "that hold their replicas (`quorate shards`)"));
    }
  }

  // How many nodes may fail: as the shards were made, and as things are.
  void Replication() {
    std::vector<uint64_t> thin;
    std::vector<uint64_t> reduced;
    int designed = kReplicasUsual;
    for (const auto& route : view_.map.routes()) {
      const auto nodes = ReplicaNodes(route.shard());
      const int survives = view_.Survives(nodes);
      const int meant = (static_cast<int>(nodes.size()) - 1) / 2;
      designed = std::min(designed, meant);
      if (meant < 1) thin.push_back(route.shard().shard_id());
      if (survives >= 0 && survives < meant) reduced.push_back(route.shard().shard_id());
    }
    const int now = view_.Survives();
    facts_.push_back(now < 0 ? std::string("survives   nothing: a majority is missing already")
                     : now == 0
                         ? std::string("survives   no loss of a node")
                         : fmt::format("survives   the loss of {}, whichever {}",
                                       Plural(now, "node"), now == 1 ? "it is" : "they are"));
    if (!thin.empty()) {
      Find(false,
           fmt::format("{} of {} shards have no fault tolerance, with fewer than 3 replicas: shard "
                       "{}",
                       thin.size(), view_.map.routes_size(), First(thin)),
           "a cluster that is to survive a node has 3 nodes or more, and then: `quorate settings "
           "set placement.replication_factor 3`");
    }
    if (!reduced.empty()) {
      Find(true,
           fmt::format("{} of {} shards miss a replica, and survive fewer failures than they were "
                       "made for: shard {}",
                       reduced.size(), view_.map.routes_size(), First(reduced)),
           "start the nodes that do not answer, with their data directories; what a lost one held "
           "is replaced by itself (placement.down_after), if another node is there for it");
    }
  }

  // Nodes that hold nothing, and those that shall hold nothing.
  void Drains() {
    bool under_way = false;
    for (const v1::NodeInfo& node : view_.map.nodes()) {
      const uint64_t id = node.node_id();
      const size_t left = view_.Holds(id);
      if (node.draining() && left > 0) {
        facts_.push_back(fmt::format("drain      node {}: {} left", id, Plural(left, "replica")));
        under_way = true;
      } else if (node.draining()) {
        Find(false, fmt::format("node {} is drained: it holds nothing, and is given nothing", id),
             fmt::format("`quorate node remove {}` takes it out of the cluster, `quorate node "
                         "undrain {}` uses it again",
                         id, id));
      } else if (left == 0) {
        Find(false, fmt::format("node {} holds no replica: it adds no redundancy yet", id),
             "placement gives it some by itself: if it does not within a minute or two, `quorate "
             "operators` and `quorate settings get placement.pause` tell why");
      }
    }
    if (under_way) StandingStill();
  }

  void StandingStill() {
    v1::PlacementRequest ask;
    ask.mutable_list_operators();
    const auto answer =
        AskPlacement(context_.admin(), context_.addresses(), context_.timeout(), std::move(ask));
    if (!answer.ok()) return;
    for (const v1::DrainStatus& drain : answer->drains()) {
      if (drain.standing_still().empty()) continue;
      Find(false,
           fmt::format("the drain of node {} stands still: {}", drain.node_id(),
                       drain.standing_still()),
           fmt::format("give the others room, or start more nodes; `quorate node undrain {}` takes "
                       "it back",
                       drain.node_id()));
    }
  }

  // What placement has not brought about, or cannot.
  void Rules() {
    v1::PlacementRequest ask;
    ask.mutable_list_rules();
    const auto answer =
        AskPlacement(context_.admin(), context_.addresses(), context_.timeout(), std::move(ask));
    // Without a leader of placement, which is found above, or by an earlier version.
    if (!answer.ok()) return;
    facts_.push_back(fmt::format("rules      {}", answer->rules_size()));
    // Those of which the same is to be said, together.
    std::map<std::string, std::vector<uint64_t>> alike;
    for (const v1::RuleBreach& breach : answer->breaches()) {
      alike[fmt::format("{}", fmt::join(breach.what(), "; "))].push_back(breach.shard_id());
    }
    constexpr size_t kNamed = 8;
    size_t named = 0, left = 0;
    for (const auto& [what, shards] : alike) {
      if (named++ >= kNamed) {
        left += shards.size();
        continue;
      }
      Find(false,
           shards.size() == 1
               ? fmt::format("shard {} is not as its rule says: {}", shards.front(), what)
               : fmt::format("{} shards are not as their rules say: {}: shard {}", shards.size(),
                             what, First(shards)),
           fmt::format("it may be on its way: `quorate explain shard {}` tells what placement does "
                       "about it",
                       shards.front()));
    }
    if (left > 0) {
      Find(false, fmt::format("{} more shards are not as their rules say", left),
           "`quorate rules get` lists them");
    }
  }

  void Spread() {
    const size_t shards = view_.served();
    const size_t nodes = view_.answering();
    if (nodes < 2 || shards < 2 * nodes) return;
    for (const auto& [id, led] : view_.led) {
      const double fair = static_cast<double>(shards) / static_cast<double>(nodes);
      if (led <= 2 * fair && led < static_cast<int>(shards)) continue;
      Find(false,
           fmt::format("node {} leads {} of {} shards and does most of the work", id, led, shards),
           "placement spreads leaders by itself: if it stays so for a minute, `quorate operators` "
           "and `quorate settings get` (placement.pause) tell why it does not");
    }
  }

  // Transactions between prepare and outcome, in a shard where nothing moves.
  void Stuck() {
    std::map<uint64_t, std::pair<uint64_t, uint64_t>> prepared;  // shard: applied index, number
    const auto sample = [](const ClusterView& view) {
      std::map<uint64_t, std::pair<uint64_t, uint64_t>> found;
      for (const auto& [id, status] : view.nodes) {
        if (!status) continue;
        for (const auto& replica : status->replicas()) {
          if (!replica.serving() || replica.prepared() == 0) continue;
          found[replica.group_id()] = {replica.applied_index(), replica.prepared()};
        }
      }
      return found;
    };
    prepared = sample(view_);
    if (prepared.empty()) return;
    std::this_thread::sleep_for(kStuckAfter);
    auto again = ViewCluster(context_.admin(), context_.addresses(), context_.timeout());
    if (!again.ok()) return;
    for (const auto& [shard, now] : sample(*again)) {
      const auto before = prepared.find(shard);
      if (before == prepared.end() || before->second != now) continue;
      Find(true,
           fmt::format("{} in shard {} {} been between prepare and outcome for {} s, and nothing "
                       "moves there",
                       Plural(now.second, "transaction"), shard, now.second == 1 ? "has" : "have",
                       kStuckAfter / 1s),
           "see whether all shards have leaders; whoever meets their locks asks for their outcome");
    }
  }

  static std::string First(const std::vector<uint64_t>& ids) {
    constexpr size_t kNamed = 8;
    const std::vector<uint64_t> named(
        ids.begin(), ids.begin() + static_cast<long>(std::min(ids.size(), kNamed)));
    return fmt::format("{}{}", fmt::join(named, ", "), ids.size() > kNamed ? ", ..." : "");
  }
  template <class Ids>
  static std::string Members(const Ids& ids) {
    return fmt::format("node {}", fmt::join(std::vector<uint64_t>(ids.begin(), ids.end()), ", "));
  }

  Context& context_;
  const ClusterView view_;
  std::vector<std::string> facts_;
  std::vector<Finding> findings_;
};

std::string WithoutAView(Code code) {
  if (code == Code::kUninitialized) {
    return "`quorate init` makes a cluster of the nodes that run, once";
  }
  if (code == Code::kWrongNode) return "stop it, and name a member with --cluster";
  return "start the nodes, or name one that runs with --cluster; a node that does not start is "
         "examined with --data";
}

int Doctor(Context& context, const std::optional<std::string>& data) {
  if (data) {
    auto examined = server::ExamineDirectory(*data);
    if (!examined.ok()) return Fail(context, examined.status());
    return Print(context, examined->facts, examined->findings);
  }
  auto view = ViewCluster(context.admin(), context.addresses(), context.timeout());
  if (!view.ok()) {
    return Print(context, {},
                 {{true, view.status().message(), WithoutAView(view.status().code())}});
  }
  return Visit(context, std::move(*view)).Run();
}

}  // namespace

void RegisterDoctor(CLI::App& app, Context& context) {
  auto data = std::make_shared<std::string>();
  auto option = std::make_shared<const CLI::Option*>();
  CLI::App* command = AddCommand(
      app, context, "doctor",
      "Say what is wrong, with a cluster or a data directory, and what to do.",
      "  quorate doctor --cluster 10.0.0.1:7400\n"
      "  quorate doctor --data /var/lib/quorate     (of a node that does not run; "
      "changes nothing)\n"
      "Exit 0: nothing is wrong. Exit 1: it found something. Exit 2: bad input.",
      CommonOptions::kCluster, [&context, data, option] {
        return Doctor(context, (*option)->count() > 0 ? std::optional(*data) : std::nullopt);
      });
  *option = command->add_option("--data", *data, "examine this data directory instead of a cluster")
                ->type_name("DIR");
}

}  // namespace quorate::cli
