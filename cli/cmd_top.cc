// top: which nodes and shards bear how much just now.
#include <fmt/format.h>

#include <optional>
#include <thread>

#include "base/real_clock.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/load.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/watch.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;

struct TopFlags {
  int interval_s = 2;
  int shards = 10;
};

struct Looked {
  ClusterView view;
  LoadSample sample;
};

Result<Looked> LookAt(Context& context) {
  Looked looked;
  ASSIGN_OR_RETURN(looked.view,
                   ViewCluster(context.admin(), context.addresses(), context.timeout()));
  looked.sample = SampleOf(looked.view, RealClock::BootNow());
  return looked;
}

const v1::ShardDescriptor* FindShard(const ClusterView& view, uint64_t id) {
  for (const auto& route : view.map.routes()) {
    if (route.shard().shard_id() == id) return &route.shard();
  }
  return nullptr;
}

Json NodeJson(const v1::NodeInfo& node, const ClusterView& view, const Load& load) {
  const uint64_t id = node.node_id();
  const auto& status = view.nodes.at(id);
  Json json = {{"node_id", id}, {"address", node.address()}, {"answers", status.has_value()}};
  if (!status) return json;
  json["leads"] = view.led.at(id);
  json["replicas"] = status->replicas_size();
  json["resident_bytes"] = status->process().resident_bytes();
  json["store_bytes"] = status->store_bytes();
  json["disk_free_bytes"] = status->disk_free_bytes();
  json["live_transactions"] = status->live_coordinators();
  if (const auto rates = load.nodes.find(id); rates != load.nodes.end()) {
    json["reads_per_second"] = rates->second.rates.reads;
    json["prepares_per_second"] = rates->second.rates.prepares;
    json["cpu_cores"] = rates->second.cpu;
  }
  return json;
}

void PrintTopJson(const TopFlags& flags, const ClusterView& view, const Load& load,
                  double seconds) {
  Json nodes = Json::array();
  for (const auto& node : view.map.nodes()) nodes.push_back(NodeJson(node, view, load));
  Json shards = Json::array();
  for (const uint64_t id : load.Hottest(static_cast<size_t>(flags.shards))) {
    const auto leader = view.leader_of.find(id);
    Json json = {{"shard_id", id},
                 {"leader", leader == view.leader_of.end() ? 0 : leader->second},
                 {"reads_per_second", load.shards.at(id).reads},
                 {"prepares_per_second", load.shards.at(id).prepares}};
    if (const auto* shard = FindShard(view, id)) {
      SetBytes(json, "from", shard->from());
      SetBytes(json, "to", shard->to());
    }
    shards.push_back(std::move(json));
  }
  PrintJson({{"cluster_id", view.map.cluster_id()},
             {"seconds", seconds},
             {"nodes", std::move(nodes)},
             {"hottest_shards", std::move(shards)}});
}

std::string Rounded(double number) { return fmt::format("{:.0f}", number); }

std::vector<std::string> NodeRow(const v1::NodeInfo& node, const ClusterView& view,
                                 const Load& load) {
  const uint64_t id = node.node_id();
  const auto& status = view.nodes.at(id);
  std::vector<std::string> row = {std::to_string(id), node.address(),
                                  std::string(view.StateOf(node))};
  if (!status) return row;
  const auto found = load.nodes.find(id);
  const Load::Node now = found == load.nodes.end() ? Load::Node() : found->second;
  const auto in = [](uint64_t bytes, int shift) {
    return fmt::format("{:.1f}", static_cast<double>(bytes) / static_cast<double>(1 << shift));
  };
  row.insert(row.end(), {Rounded(100 * now.cpu), in(status->process().resident_bytes(), 20),
                         Rounded(now.rates.reads), Rounded(now.rates.prepares),
                         std::to_string(view.led.at(id)), std::to_string(status->replicas_size()),
                         in(status->store_bytes(), 20), in(status->disk_free_bytes(), 30)});
  return row;
}

void PrintShards(const std::vector<uint64_t>& hottest, const ClusterView& view, const Load& load) {
  using enum Table::Align;
  if (hottest.empty()) {
    Say("\nno shard had a request\n");
    return;
  }
  Table table({{"shard"}, {"leader"}, {"reads/s"}, {"prepares/s"}, {"range", kLeft, true}});
  for (const uint64_t id : hottest) {
    const auto* shard = FindShard(view, id);
    const auto leader = view.leader_of.find(id);
    table.Add({std::to_string(id),
               leader == view.leader_of.end() ? "none" : std::to_string(leader->second),
               Rounded(load.shards.at(id).reads), Rounded(load.shards.at(id).prepares),
               shard == nullptr ? "" : RangeText(shard->from(), shard->to())});
  }
  Say("\n{}", table.Text(Out().columns()));
}

void PrintTop(const std::vector<uint64_t>& hottest, const ClusterView& view, const Load& load,
              double seconds) {
  using enum Table::Align;
  const size_t width = Out().columns();
  Say("{}\n", CutTo(fmt::format("cluster {}", view.map.cluster_id()), width));
  Say("{}\n\n", CutTo(fmt::format("{} of {} nodes answer, {} of {} shards are led; load of the "
                                  "last {:.1f} s",
                                  view.answering(), view.nodes.size(), view.served(),
                                  view.map.routes_size(), seconds),
                      width));
  Table table({{"node"},
               {"address", kLeft},
               {"state", kLeft},
               {"cpu %"},
               {"mem MiB"},
               {"reads/s"},
               {"prepares/s"},
               {"leads"},
               {"replicas"},
               {"store MiB"},
               {"free GiB"}});
  for (const auto& node : view.map.nodes()) table.Add(NodeRow(node, view, load));
  Say("{}", table.Text(width));
  PrintShards(hottest, view, load);
}

int Top(Context& context, const TopFlags& flags) {
  std::optional<LoadSample> before;
  std::vector<uint64_t> shown;  // shards, in this order
  return Watch(context, std::chrono::seconds(flags.interval_s), [&] {
    auto looked = LookAt(context);
    if (looked.ok() && !before) {
      // Rates need two looks; the second comes soon.
      before = std::move(looked->sample);
      std::this_thread::sleep_for(std::chrono::seconds(1));
      looked = LookAt(context);
    }
    if (!looked.ok()) return Fail(context, looked.status());
    const Load load = LoadBetween(*before, looked->sample);
    const double seconds = std::chrono::duration<double>(looked->sample.at - before->at).count();
    if (context.json) {
      PrintTopJson(flags, looked->view, load, seconds);
    } else {
      shown = load.Hottest(static_cast<size_t>(flags.shards), shown);
      PrintTop(shown, looked->view, load, seconds);
    }
    before = std::move(looked->sample);
    return kExitDone;
  });
}

}  // namespace

void RegisterTop(CLI::App& app, Context& context) {
  auto flags = std::make_shared<TopFlags>();
  CLI::App* command = AddCommand(
      app, context, "top", "Show which nodes and shards bear how much just now.",
      "  quorate top\n  quorate top --interval 5 --shards 20\n  quorate top --json\n"
      "On a terminal it goes on until Ctrl-C; otherwise it measures one second and ends.\n"
      "prepares/s: parts of transactions that write, as shards log them.",
      CommonOptions::kCluster, [&context, flags] { return Top(context, *flags); });
  AddNumber(command, "--interval", &flags->interval_s, 1, 3600,
            "seconds from one look to the next");
  AddNumber(command, "--shards", &flags->shards, 0, 1000, "how many of the hottest shards");
}

}  // namespace quorate::cli
