// status, nodes, shards: what the nodes report about the cluster.
#include <fmt/format.h>

#include <set>

#include "base/plural.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/watch.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;

// Of the nodes that answer; more than one while an upgrade is under way.
std::set<std::string> Versions(const ClusterView& view) {
  std::set<std::string> versions;
  for (const auto& [id, status] : view.nodes) {
    if (status) versions.insert(status->node().version());
  }
  return versions;
}

std::string VersionsText(const ClusterView& view) {
  return fmt::format("{}", fmt::join(Versions(view), " and "));
}

std::string SurvivesText(int failures) {
  if (failures < 0) return "nothing: some group of replicas has lost its majority";
  if (failures == 0) return "no further loss of a node";
  return fmt::format("the loss of {}, whichever", Plural(failures, "node"));
}

// What is being emptied, or is empty by now; an empty text: nothing.
std::string DrainedText(const ClusterView& view) {
  std::string text;
  for (const auto& node : view.map.nodes()) {
    if (!node.draining()) continue;
    const size_t left = view.Holds(node.node_id());
    text +=
        fmt::format("{}node {} ({})", text.empty() ? "" : ", ", node.node_id(),
                    left == 0 ? std::string("holds nothing") : Plural(left, "replica") + " left");
  }
  return text;
}

std::vector<uint64_t> Draining(const ClusterView& view) {
  std::vector<uint64_t> nodes;
  for (const auto& node : view.map.nodes()) {
    if (node.draining()) nodes.push_back(node.node_id());
  }
  return nodes;
}

int PrintStatus(const Context& context, const ClusterView& view) {
  int refusing = 0;     // shards
  std::string refused;  // why one of them does
  uint64_t coordinators = 0;
  for (const auto& [id, status] : view.nodes) {
    if (!status) continue;
    for (const auto& replica : status->replicas()) {
      if (!replica.writes_refused().empty()) refused = replica.writes_refused();
      refusing += replica.writes_refused().empty() ? 0 : 1;
    }
    coordinators += status->live_coordinators();
  }
  const int shards = view.map.routes_size();
  const std::string why_no_writes = view.WhyNoWrites();
  const int survives = view.Survives();
  if (context.json) {
    PrintJson({{"cluster_id", view.map.cluster_id()},
               {"healthy", view.healthy()},
               {"nodes", view.nodes.size()},
               {"nodes_answering", view.answering()},
               {"nodes_draining", Draining(view)},
               {"versions", Versions(view)},
               {"cluster_version", view.map.cluster_version()},
               {"shards", shards},
               {"shards_serving", view.served()},
               {"placement_leader", view.placement_leader},
               {"live_transactions", coordinators},
               {"accepts_writes", refusing == 0 && why_no_writes.empty()},
               {"shards_refusing_writes", refusing},
               {"writes_refused_because", refusing == 0 ? why_no_writes : refused},
               {"survives_failures", survives}});
  } else {
    Say("cluster      {}\n", view.map.cluster_id());
    Say("nodes        {} of {} answer\n", view.answering(), view.nodes.size());
    if (const std::string drained = DrainedText(view); !drained.empty()) {
      Say("drained      {}\n", drained);
    }
    // No cluster has version 0 for longer than its first placement leader needs to hear of all.
    Say("version      {}; cluster version {}\n", VersionsText(view),
        view.map.cluster_version() == 0 ? "not known yet"
                                        : std::to_string(view.map.cluster_version()));
    Say("shards       {} of {} have a serving leader\n", view.served(), shards);
    Say("placement    {}\n", view.placement_leader
                                 ? fmt::format("led by node {}", view.placement_leader)
                                 : "without a leader");
    if (!why_no_writes.empty()) {
      Say("writes       refused: {}\n", why_no_writes);
    } else if (refusing == 0) {
      Say("writes       accepted\n");
    } else {
      Say("writes       refused in {} of {} shards: {}\n", refusing, shards, refused);
    }
    Say("survives     {}\n", SurvivesText(survives));
    Say("transactions {} live\n", coordinators);
  }
  return view.healthy() ? kExitDone : kExitFailed;
}

Json NodeJson(const v1::NodeInfo& node, const ClusterView& view) {
  const auto& status = view.nodes.at(node.node_id());
  Json json = {{"node_id", node.node_id()},
               {"address", node.address()},
               {"http", node.http_address()},
               {"version", status ? status->node().version() : node.version()},
               {"feature_level", status ? status->node().feature_level() : node.feature_level()},
               {"answers", status.has_value()},
               {"state", view.StateOf(node)},
               {"draining", node.draining()},
               {"leads", view.led.at(node.node_id())},
               {"placement_leader", view.placement_leader == node.node_id()}};
  if (status) {
    json["replicas"] = status->replicas_size();
    json["live_transactions"] = status->live_coordinators();
    json["wal_segments"] = status->wal_segments();
    json["store_bytes"] = status->store_bytes();
    json["store_reusable_bytes"] = status->store_reusable_bytes();
    json["disk_free_bytes"] = status->disk_free_bytes();
    json["disk_reserve_bytes"] = status->disk_reserve_bytes();
    json["accepts_writes"] = status->accepts_writes();
    json["ready"] = status->ready();
    json["open_files"] = status->process().open_files();
    json["open_files_max"] = status->process().open_files_max();
    json["resident_bytes"] = status->process().resident_bytes();
  }
  auto& locality = json["locality"] = Json::object();
  for (const auto& [key, value] : std::map(node.locality().begin(), node.locality().end())) {
    locality[key] = value;
  }
  return json;
}

std::string InUnits(uint64_t bytes, uint64_t unit) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / static_cast<double>(unit));
}

// What somebody gave it; the host that is filled in by itself tells a person nothing.
std::string LocalityText(const v1::NodeInfo& node) {
  std::string text;
  for (const auto& [key, value] : std::map(node.locality().begin(), node.locality().end())) {
    if (key == "host" && value.starts_with("boot-")) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", key, value);
  }
  return text;
}

int PrintNodes(const Context& context, const ClusterView& view) {
  if (context.json) {
    Json nodes = Json::array();
    for (const auto& node : view.map.nodes()) nodes.push_back(NodeJson(node, view));
    PrintJson({{"nodes", nodes}});
    return kExitDone;
  }
  using enum Table::Align;
  Table table({{"node"},
               {"address", kLeft},
               {"state", kLeft},
               {"leads"},
               {"replicas"},
               {"store MiB"},
               {"reusable"},
               {"free GiB"},
               {"version", kLeft},
               {"http", kLeft},
               {"locality", kLeft}});
  for (const auto& node : view.map.nodes()) {
    const auto& status = view.nodes.at(node.node_id());
    std::vector<std::string> row = {std::to_string(node.node_id()), node.address(),
                                    std::string(view.StateOf(node))};
    if (status) {
      row.insert(row.end(),
                 {std::to_string(view.led.at(node.node_id())),
                  std::to_string(status->replicas_size()), InUnits(status->store_bytes(), 1 << 20),
                  InUnits(status->store_reusable_bytes(), 1 << 20),
                  InUnits(status->disk_free_bytes(), 1 << 30), status->node().version(),
                  node.http_address(), LocalityText(node)});
    }
    table.Add(std::move(row));
  }
  Say("{}", table.Text(Out().columns()));
  return kExitDone;
}

int PrintShards(const Context& context, const ClusterView& view) {
  Json shards = Json::array();
  using enum Table::Align;
  Table table({{"shard"}, {"version"}, {"leader"}, {"replicas", kLeft}, {"range", kLeft, true}});
  for (const auto& route : view.map.routes()) {
    const auto& shard = route.shard();
    auto leader = view.leader_of.find(shard.shard_id());
    const uint64_t leader_id = leader == view.leader_of.end() ? 0 : leader->second;
    std::vector<uint64_t> replicas;
    for (const auto& replica : shard.replicas()) replicas.push_back(replica.node_id());
    if (context.json) {
      Json json = {{"shard_id", shard.shard_id()},
                   {"version", shard.version()},
                   {"leader", leader_id},
                   {"replicas", replicas}};
      SetBytes(json, "from", shard.from());
      SetBytes(json, "to", shard.to());
      shards.push_back(std::move(json));
      continue;
    }
    table.Add({std::to_string(shard.shard_id()), std::to_string(shard.version()),
               leader_id ? std::to_string(leader_id) : "none",
               fmt::format("{}", fmt::join(replicas, " ")), RangeText(shard.from(), shard.to())});
  }
  if (context.json) {
    PrintJson({{"shards", shards}});
  } else {
    Say("{}", table.Text(Out().columns()));
  }
  return kExitDone;
}

using Print = int (*)(const Context&, const ClusterView&);

int View(Context& context, Print print) {
  auto view = ViewCluster(context.admin(), context.addresses(), context.timeout());
  if (!view.ok()) return Fail(context, view.status());
  return print(context, *view);
}

}  // namespace

void RegisterStatus(CLI::App& app, Context& context) {
  AddCommand(app, context, "status",
             "Tell whether the cluster serves; exit 1 if some of it does not.",
             "  quorate status\n  quorate status --cluster 10.0.0.1:7400 --json",
             CommonOptions::kCluster, [&context] { return View(context, PrintStatus); });
  AddCommand(
      app, context, "nodes", "List the nodes.",
      "  quorate nodes\n  quorate nodes --json\n"
      "States: up; full (takes no writes); silent (does not answer); draining, and then\n"
      "drained (it holds nothing, and is given nothing). Of `replicas` that of placement is\n"
      "counted, of `leads` it is not. On a narrow terminal the columns on the right are left "
      "out.",
      CommonOptions::kCluster, [&context] { return View(context, PrintNodes); });
  auto watch = std::make_shared<bool>(false);
  CLI::App* shards = AddCommand(
      app, context, "shards", "List the shards with their ranges and leaders.",
      "  quorate shards\n  quorate shards --watch", CommonOptions::kCluster, [&context, watch] {
        const auto print = [&context] { return View(context, PrintShards); };
        return *watch ? Watch(context, 1s, print) : print();
      });
  shards->add_flag("--watch", *watch, "on a terminal, every second until Ctrl-C");
}

}  // namespace quorate::cli
