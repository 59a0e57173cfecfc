#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/real_clock.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/demo_bank.h"
#include "cli/demo_rebalance.h"
#include "cli/interrupt.h"
#include "cli/local_cluster.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

struct DemoFlags {
  BankOptions bank;
  int seconds = 30;
  int port = 7400;
  std::string data;
  bool keep = false;
  bool rebalance = false;
};

// One kill -9 in the plan: when, and what came of it.
struct Fault {
  double kill_at = 0;  // fractions of the whole time
  double restart_at = 0;
  int node = 0;
  int led = 0;
  Instant killed;
  Instant restarted;
};

bool PortIsFree(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool is_free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return is_free;
}

// The first port from `first` on where a cluster's ports are free.
int FindPorts(int first, int nodes) {
  for (int port = first; port < 60000; port += nodes) {
    bool all_free = true;
    for (int i = 0; i < nodes; ++i) all_free &= PortIsFree(port + i) && PortIsFree(port + 1000 + i);
    if (all_free) return port;
  }
  return first;
}

// Runs the 30 seconds: the display and the kills.
class Show {
 public:
  Show(Context& context, LocalCluster& cluster, Admin& admin, Bank& bank, int seconds)
      : context_(context), cluster_(cluster), admin_(admin), bank_(bank), seconds_(seconds) {}

  // CANCELLED if it was interrupted.
  Status Run(const Interrupt& interrupt) {
    const Instant start = RealClock::BootNow();
    uint64_t before = 0;
    for (int second = 1; second <= seconds_; ++second) {
      const Instant until = start + std::chrono::seconds(second);
      std::string event = Act(static_cast<double>(second - 1) / seconds_);
      if (const int dead = cluster_.FindDead()) {
        event += fmt::format(" node {} ENDED BY ITSELF, see {}", dead, cluster_.log_path(dead));
        ++self_ended_;
      }
      if (interrupt.SleepUntil(until)) return Cancelled("interrupted");
      const uint64_t commits = bank_.commits();
      if (!context_.json) {
        Say("{:>4} s {:>8} commits/s {:>9} commits  {:>5} totals checked, {} wrong  {}\n", second,
            commits - before, commits, bank_.totals_checked(), bank_.totals_wrong(), event);
        Out().Flush();
      }
      before = commits;
    }
    // Whoever is still down comes back before the audit.
    Act(1);
    return Status::Ok();
  }

  const std::vector<Fault>& faults() const { return faults_; }
  int self_ended() const { return self_ended_; }

 private:
  std::string Act(double time) {
    std::string event;
    for (auto& fault : faults_) {
      if (time >= fault.kill_at && time < 1 && fault.node == 0) event += KillLeader(&fault);
      if (time >= fault.restart_at && fault.node > 0 && fault.restarted == Instant()) {
        auto status = cluster_.StartNode(fault.node);
        fault.restarted = RealClock::BootNow();
        event += status.ok() ? fmt::format("restart node {} ", fault.node) : status.ToString();
      }
    }
    return event;
  }

  // The node that leads most shards; of several, the one with most transactions to coordinate.
  std::string KillLeader(Fault* fault) {
    auto view = ViewCluster(admin_, cluster_.addresses(), 2s);
    if (!view.ok()) return view.status().ToString();
    std::pair<int, uint64_t> best{-1, 0};
    for (int node = 1; node <= cluster_.size(); ++node) {
      if (!cluster_.running(node) || node == last_killed_) continue;
      for (const auto& [id, status] : view->nodes) {
        if (!status || status->node().address() != cluster_.address(node)) continue;
        const std::pair<int, uint64_t> weight{view->led[id], status->live_coordinators()};
        if (weight <= best) continue;
        best = weight;
        fault->node = node;
      }
    }
    if (fault->node == 0) return "no node to kill answers";
    fault->led = best.first;
    last_killed_ = fault->node;
    fault->killed = RealClock::BootNow();
    cluster_.Kill(fault->node);
    return fmt::format("kill -9 node {}, which leads {} shards ", fault->node, fault->led);
  }

  Context& context_;
  LocalCluster& cluster_;
  Admin& admin_;
  Bank& bank_;
  const int seconds_;
  std::vector<Fault> faults_{{.kill_at = 8.0 / 30, .restart_at = 12.0 / 30},
                             {.kill_at = 18.0 / 30, .restart_at = 22.0 / 30}};
  int last_killed_ = 0;
  int self_ended_ = 0;
};

nlohmann::ordered_json ReportJson(BankReport& report) {
  return {{"commits", report.commits},
          {"cross_shard", report.cross_shard},
          {"conflicts_retried", report.retries},
          {"refused", report.refused},
          {"unknown", report.unknown},
          {"unknown_committed", report.unknown_committed},
          {"unknown_aborted", report.unknown_aborted},
          {"unresolved", report.unresolved},
          {"p50_us", report.latencies.Percentile(0.5)},
          {"p99_us", report.latencies.Percentile(0.99)},
          {"totals_checked", report.totals_checked},
          {"totals_wrong", report.totals_wrong},
          {"totals_failed", report.snapshots_failed},
          {"acknowledged_missing", report.acknowledged_missing},
          {"aborted_applied", report.aborted_applied},
          {"balances_wrong", report.balances_wrong}};
}

void AddKills(const Show& show, const BankReport& report, nlohmann::ordered_json* json) {
  auto& kills = (*json)["kills"] = nlohmann::ordered_json::array();
  for (const auto& fault : show.faults()) {
    if (fault.node == 0) continue;
    kills.push_back(
        {{"node", fault.node},
         {"led_shards", fault.led},
         {"longest_gap_ms", ToMillis(LongestGap(report, fault.killed, fault.restarted))},
         {"longest_gap_after_restart_ms",
          ToMillis(LongestGap(report, fault.restarted, fault.restarted + 5s))}});
  }
}

// Of the commits that were answered in a phase.
struct PhaseFigures {
  Latencies latencies;
  double seconds = 0;
  double per_second = 0;
  Duration longest_gap{0};
};

PhaseFigures FiguresOf(const BankReport& report, const Rebalance::Phase& phase) {
  PhaseFigures figures;
  for (const BankReport::Commit& commit : report.timeline) {
    if (commit.at >= phase.begin && commit.at < phase.end) figures.latencies.Add(commit.took);
  }
  figures.seconds = static_cast<double>(ToMillis(phase.end - phase.begin)) / 1e3;
  figures.per_second =
      static_cast<double>(figures.latencies.count()) / std::max(figures.seconds, 0.001);
  figures.longest_gap = LongestGap(report, phase.begin, phase.end);
  return figures;
}

void AddPhases(const Rebalance& show, const BankReport& report, nlohmann::ordered_json* json) {
  auto& phases = (*json)["phases"] = nlohmann::ordered_json::array();
  for (const Rebalance::Phase& phase : show.phases()) {
    PhaseFigures figures = FiguresOf(report, phase);
    phases.push_back({{"phase", phase.name},
                      {"seconds", figures.seconds},
                      {"commits", figures.latencies.count()},
                      {"p50_us", figures.latencies.Percentile(0.5)},
                      {"p99_us", figures.latencies.Percentile(0.99)},
                      {"longest_gap_ms", ToMillis(figures.longest_gap)},
                      {"replicas_moved", phase.moves},
                      {"snapshot_bytes", phase.bytes}});
  }
  (*json)["nodes"] = show.nodes();
}

void PrintRow(std::string_view name, const std::string& value) {
  Say("  {:<44} {}\n", name, value);
}

void PrintTransfers(BankReport& report) {
  const double commits = std::max<double>(1, static_cast<double>(report.commits));
  Say("\n");
  PrintRow("commits", fmt::format("{}", report.commits));
  PrintRow("of them over several shards",
           fmt::format("{:.1f} %", 100 * static_cast<double>(report.cross_shard) / commits));
  PrintRow("conflicts retried", fmt::format("{}", report.retries));
  PrintRow("refused, nothing happened", fmt::format("{}", report.refused));
  PrintRow("unknown outcomes resolved",
           fmt::format("{} of {}: {} committed, {} aborted", report.unknown - report.unresolved,
                       report.unknown, report.unknown_committed, report.unknown_aborted));
  PrintRow("latency p50 / p99",
           fmt::format("{:.1f} / {:.1f} ms", report.latencies.Percentile(0.5) / 1e3,
                       report.latencies.Percentile(0.99) / 1e3));
}

void PrintKills(const Show& show, const BankReport& report) {
  for (const auto& fault : show.faults()) {
    if (fault.node == 0) continue;
    PrintRow(fmt::format("longest gap, kill -9 of node {} ({} shards)", fault.node, fault.led),
             fmt::format("{} ms", ToMillis(LongestGap(report, fault.killed, fault.restarted))));
    PrintRow(
        fmt::format("longest gap, restart of node {}", fault.node),
        fmt::format("{} ms", ToMillis(LongestGap(report, fault.restarted, fault.restarted + 5s))));
  }
}

void PrintPhases(const Rebalance& show, const BankReport& report) {
  Say("\n  {:<32} {:>6} {:>10} {:>8} {:>8} {:>8} {:>6} {:>10}\n", "phase", "time s", "commits/s",
      "p50 ms", "p99 ms", "gap ms", "moves", "moved KiB");
  for (const Rebalance::Phase& phase : show.phases()) {
    PhaseFigures figures = FiguresOf(report, phase);
    Say("  {:<32} {:>6.1f} {:>10.0f} {:>8.1f} {:>8.1f} {:>8} {:>6} {:>10}\n", phase.name,
        figures.seconds, figures.per_second, figures.latencies.Percentile(0.5) / 1e3,
        figures.latencies.Percentile(0.99) / 1e3, ToMillis(figures.longest_gap), phase.moves,
        phase.bytes >> 10);
  }
  Say("  gap: the longest time without a commit. moves: replicas that came to a node. moved: "
      "bytes\n"
      "  of the snapshots that nodes received for them.\n\n");
}

void PrintAudit(const BankReport& report) {
  PrintRow("totals checked at snapshots", fmt::format("{}", report.totals_checked));
  PrintRow("  not to be had in time", fmt::format("{}", report.snapshots_failed));
  PrintRow("  wrong totals", fmt::format("{}", report.totals_wrong));
  PrintRow("  acknowledged transfers missing", fmt::format("{}", report.acknowledged_missing));
  PrintRow("  aborted transfers that took effect", fmt::format("{}", report.aborted_applied));
  PrintRow("  accounts that differ from the ledger", fmt::format("{}", report.balances_wrong));
  for (const auto& failure : report.failures) Say("  VIOLATION {}\n", failure);
}

// Kills and restarts. The verdict: whether all was as promised.
Result<bool> ShowKills(Context& context, const DemoFlags& flags, const Interrupt& interrupt,
                       LocalCluster& cluster, Admin& admin, Bank& bank) {
  Show show(context, cluster, admin, bank, flags.seconds);
  bank.Start();
  const Status ran = show.Run(interrupt);
  bank.Stop();
  RETURN_IF_ERROR(ran);
  RETURN_IF_ERROR(cluster.WaitHealthy(admin, 30s));
  BankReport report;
  RETURN_IF_ERROR(bank.Audit(&report));
  const bool good = report.good() && show.self_ended() == 0;
  if (context.json) {
    auto json = ReportJson(report);
    AddKills(show, report, &json);
    json["good"] = good;
    json["violations"] = report.failures;
    PrintJson(json);
    return good;
  }
  PrintTransfers(report);
  PrintKills(show, report);
  PrintAudit(report);
  Say("\n{}\n",
      good ? "Nothing lost, nothing half done, every total right." : "VIOLATION: see above.");
  return good;
}

// Nodes that come, go and are lost. As ShowKills.
Result<bool> ShowRebalance(Context& context, const DemoFlags& flags, const Interrupt& interrupt,
                           LocalCluster& cluster, Admin& admin, Bank& bank) {
  Rebalance show(context, cluster, admin, bank, std::chrono::seconds(flags.seconds) / 3, interrupt);
  bank.Start();
  const Status ran = show.Run();
  bank.Stop();
  RETURN_IF_ERROR(ran);
  BankReport report;
  RETURN_IF_ERROR(bank.Audit(&report));
  const Status places = show.CheckPlaces();
  if (places.code() == Code::kCancelled) return places;
  if (!places.ok()) report.failures.push_back(places.message());
  // Whatever happened to nodes, every request was answered within its deadline.
  const bool answered = report.refused == 0 && report.unknown == 0 && report.snapshots_failed == 0;
  const bool good = report.good() && answered && places.ok() && show.self_ended() == 0;
  if (context.json) {
    auto json = ReportJson(report);
    AddPhases(show, report, &json);
    json["good"] = good;
    json["violations"] = report.failures;
    PrintJson(json);
    return good;
  }
  PrintTransfers(report);
  PrintPhases(show, report);
  PrintAudit(report);
  if (places.ok()) {
    Say("\n{} shards with three replicas each, on nodes {}, all with the same log applied.\n",
        flags.bank.shards, fmt::join(show.nodes(), ", "));
  }
  Say("{}\n",
      good ? "Nothing lost, no request failed, every total right." : "VIOLATION: see above.");
  return good;
}

Status RunShow(Context& context, const DemoFlags& flags, const Interrupt& interrupt,
               LocalCluster& cluster, int* exit_code) {
  Admin admin;
  bool created = false;
  RETURN_IF_ERROR(cluster.Init(admin, flags.bank.shards, BankSplitKeys(flags.bank), &created));
  if (!created) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("'{}' holds a cluster already; give a new --data", flags.data));
  }
  auto database = client::Database::Open({.cluster = cluster.addresses()});
  RETURN_IF_ERROR(database.ok() ? Status::Ok() : database.status());
  Bank bank(**database, flags.bank);
  RETURN_IF_ERROR(bank.Load());
  if (!context.json) {
    Say("{} shards on 3 nodes, {} accounts, {} clients\n", flags.bank.shards, flags.bank.accounts,
        flags.bank.clients);
  }
  bool good = false;
  ASSIGN_OR_RETURN(good, flags.rebalance
                             ? ShowRebalance(context, flags, interrupt, cluster, admin, bank)
                             : ShowKills(context, flags, interrupt, cluster, admin, bank));
  *exit_code = good ? kExitDone : kExitFailed;
  return Status::Ok();
}

int Demo(Context& context, DemoFlags& flags) {
  constexpr int kNodes = 3;
  const bool own_directory = flags.data.empty();
  if (own_directory) {
    std::error_code error;  // TMPDIR may name what is no directory
    const auto parent = std::filesystem::temp_directory_path(error);
    std::string name = (parent / "quorate-demo-XXXXXX").string();
    if (error || !mkdtemp(name.data())) {
      return Fail(context, InvalidArgument("cannot create a directory below TMPDIR; give --data"));
    }
    flags.data = name;
  }
  const Interrupt interrupt;
  const int ports = flags.rebalance ? kNodes + 2 : kNodes;
  LocalCluster cluster(
      {.directory = flags.data, .nodes = kNodes, .port = FindPorts(flags.port, ports)});
  int exit_code = kExitFailed;
  auto status = cluster.Start();
  if (status.ok()) status = RunShow(context, flags, interrupt, cluster, &exit_code);
  if (!status.ok()) exit_code = Fail(context, status);
  const bool clean = cluster.Stop(15s);
  if (exit_code == kExitDone && !clean) {
    Complain("a node did not stop cleanly");
    exit_code = kExitFailed;
  }
  const bool interesting = exit_code != kExitDone && status.code() != Code::kCancelled;
  if (own_directory && !flags.keep && !interesting) {
    std::error_code ignored;
    std::filesystem::remove_all(flags.data, ignored);
  } else if (!context.json && exit_code != kExitUsage) {
    Say("data and logs: {}\n", flags.data);
  }
  return exit_code;
}

}  // namespace

void RegisterDemo(CLI::App& app, Context& context) {
  auto flags = std::make_shared<DemoFlags>();
  CLI::App* command = AddCommand(
      app, context, "demo", "Show that nothing is lost: transfers while nodes are killed with -9.",
      "  quorate demo\n  quorate demo --seconds 60 --clients 32 --shards 12\n"
      "  quorate demo --rebalance\n"
      "Starts three node processes with their own disks, transfers between random accounts, kills\n"
      "the node that leads most shards, later another, restarts each, and judges every transfer.\n"
      "With --rebalance two nodes join, one is drained and removed, another is killed for good; "
      "it\n"
      "looks on for a third of --seconds before and after, and prints what moved, and latencies.\n"
      "Exit 1 if anything acknowledged is missing, anything aborted took effect, any total is "
      "off;\n"
      "with --rebalance also if a request failed, or a shard ends without its three replicas.",
      CommonOptions::kNone, [&context, flags] { return Demo(context, *flags); });
  AddNumber(command, "--seconds", &flags->seconds, 10, 3600, "time of the transfers");
  AddNumber(command, "--accounts", &flags->bank.accounts, 100, 99999, "accounts");
  AddNumber(command, "--clients", &flags->bank.clients, 2, 99, "concurrent transfers");
  AddNumber(command, "--shards", &flags->bank.shards, 8, 64, "shards, two of them for the ledger");
  AddNumber(command, "--port", &flags->port, 1, 60000, "port to look for free ones from");
  command->add_option("--data", flags->data, "directory for data and logs; kept if given");
  command->add_flag("--rebalance", flags->rebalance, "show nodes that come, go and are lost");
  command->add_flag("--keep", flags->keep, "keep data and logs");
  command->add_flag("--json", context.json, "print one JSON object");
}

}  // namespace quorate::cli
