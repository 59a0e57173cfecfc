#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
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

// SIGINT and SIGTERM, waited for instead of delivered, so that an interrupted demo still stops its
// nodes and takes its data away. Made before any thread.
class Interrupt {
 public:
  Interrupt() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  // Sleeps until `until`; true if it was interrupted.
  bool SleepUntil(Instant until) const {
    const Duration left = std::max<Duration>(until - RealClock::BootNow(), Duration(0));
    const timespec timeout{.tv_sec = left / 1s, .tv_nsec = (left % 1s).count()};
    return sigtimedwait(&signals_, nullptr, &timeout) > 0;
  }

 private:
  sigset_t signals_;
};

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

// The longest time without a commit that began in [from, to), or was under way at `from`.
Duration LongestGap(const std::vector<Instant>& commits, Instant from, Instant to) {
  Duration longest{0};
  for (size_t i = 1; i < commits.size(); ++i) {
    if (commits[i] < from || commits[i - 1] >= to) continue;
    longest = std::max(longest, commits[i] - std::max(commits[i - 1], from));
  }
  return longest;
}

nlohmann::ordered_json ReportJson(const Show& show, BankReport& report) {
  nlohmann::ordered_json json = {{"commits", report.commits},
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
                                 {"acknowledged_missing", report.acknowledged_missing},
                                 {"aborted_applied", report.aborted_applied},
                                 {"balances_wrong", report.balances_wrong}};
  auto& kills = json["kills"] = nlohmann::ordered_json::array();
  for (const auto& fault : show.faults()) {
    if (fault.node == 0) continue;
    kills.push_back(
        {{"node", fault.node},
         {"led_shards", fault.led},
         {"longest_gap_ms",
          ToMillis(LongestGap(report.commit_times, fault.killed, fault.restarted))},
         {"longest_gap_after_restart_ms",
          ToMillis(LongestGap(report.commit_times, fault.restarted, fault.restarted + 5s))}});
  }
  return json;
}

void PrintTable(const Show& show, BankReport& report) {
  auto row = [](std::string_view name, const std::string& value) {
    Say("  {:<44} {}\n", name, value);
  };
  const double commits = std::max<double>(1, static_cast<double>(report.commits));
  Say("\n");
  row("commits", fmt::format("{}", report.commits));
  row("of them over several shards",
      fmt::format("{:.1f} %", 100 * static_cast<double>(report.cross_shard) / commits));
  row("conflicts retried", fmt::format("{}", report.retries));
  row("refused, nothing happened", fmt::format("{}", report.refused));
  row("unknown outcomes resolved",
      fmt::format("{} of {}: {} committed, {} aborted", report.unknown - report.unresolved,
                  report.unknown, report.unknown_committed, report.unknown_aborted));
  row("latency p50 / p99", fmt::format("{:.1f} / {:.1f} ms", report.latencies.Percentile(0.5) / 1e3,
                                       report.latencies.Percentile(0.99) / 1e3));
  for (const auto& fault : show.faults()) {
    if (fault.node == 0) continue;
    row(fmt::format("longest gap, kill -9 of node {} ({} shards)", fault.node, fault.led),
        fmt::format("{} ms",
                    ToMillis(LongestGap(report.commit_times, fault.killed, fault.restarted))));
    row(fmt::format("longest gap, restart of node {}", fault.node),
        fmt::format("{} ms", ToMillis(LongestGap(report.commit_times, fault.restarted,
                                                 fault.restarted + 5s))));
  }
  row("totals checked at snapshots", fmt::format("{}", report.totals_checked));
  row("  wrong totals", fmt::format("{}", report.totals_wrong));
  row("  acknowledged transfers missing", fmt::format("{}", report.acknowledged_missing));
  row("  aborted transfers that took effect", fmt::format("{}", report.aborted_applied));
  row("  accounts that differ from the ledger", fmt::format("{}", report.balances_wrong));
  for (const auto& failure : report.failures) Say("  VIOLATION {}\n", failure);
}

// All of it on a running cluster. The report is judged by the caller.
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
    Say("{} shards on 3 nodes, {} accounts, {} clients, {} s\n", flags.bank.shards,
        flags.bank.accounts, flags.bank.clients, flags.seconds);
  }
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
    auto json = ReportJson(show, report);
    json["good"] = good;
    json["violations"] = report.failures;
    PrintJson(json);
  } else {
    PrintTable(show, report);
    Say("\n{}\n",
        good ? "Nothing lost, nothing half done, every total right." : "VIOLATION: see above.");
  }
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
  LocalCluster cluster(
      {.directory = flags.data, .nodes = kNodes, .port = FindPorts(flags.port, kNodes)});
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
      "Starts three node processes with their own disks, transfers between random accounts, kills\n"
      "the node that leads most shards, later another, restarts each, and judges every transfer.\n"
      "Exit 1 if anything acknowledged is missing, anything aborted took effect, any total is off.",
      CommonOptions::kNone, [&context, flags] { return Demo(context, *flags); });
  AddNumber(command, "--seconds", &flags->seconds, 10, 3600, "time of the transfers");
  AddNumber(command, "--accounts", &flags->bank.accounts, 100, 99999, "accounts");
  AddNumber(command, "--clients", &flags->bank.clients, 2, 99, "concurrent transfers");
  AddNumber(command, "--shards", &flags->bank.shards, 8, 64, "shards, two of them for the ledger");
  AddNumber(command, "--port", &flags->port, 1, 60000, "port to look for free ones from");
  command->add_option("--data", flags->data, "directory for data and logs; kept if given");
  command->add_flag("--keep", flags->keep, "keep data and logs");
  command->add_flag("--json", context.json, "print one JSON object");
}

}  // namespace quorate::cli
