#include <fmt/format.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>

#include "base/plural.h"
#include "base/real_clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/local_cluster.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

struct DevFlags {
  int nodes = 3;
  std::string data = "./quorate-dev";
  int port = 7400;
  int shards = 8;
};

void PrintHowTo(const LocalCluster& cluster, const DevFlags& flags, bool created) {
  Say("{} with {} on port{}, data and logs in {}\n",
      created ? "A new cluster" : "The cluster goes on:", Plural(flags.nodes, "node"),
      flags.nodes == 1 ? fmt::format(" {}", flags.port)
                       : fmt::format("s {} to {}", flags.port, flags.port + flags.nodes - 1),
      flags.data);
  if (flags.nodes > 1) Say("all of it is on this machine: nothing here outlives its loss\n");
  Say("\n  export QUORATE_CLUSTER={}\n", fmt::join(cluster.addresses(), ","));
  Say("  quorate put greeting hello\n"
      "  quorate get greeting\n"
      "  quorate status\n"
      "  printf 'check a == absent\\nput a 1\\nput z 2\\n' | quorate txn -\n"
      "  curl http://{}/metrics\n"
      "\nCtrl-C stops it; started again with the same --data it goes on.\n",
      cluster.http_address(1));
  Out().Flush();
}

// Waits for SIGINT or SIGTERM, or for a node that ends by itself.
int WaitForEnd(LocalCluster& cluster, const sigset_t& signals) {
  while (true) {
    const timespec interval{.tv_sec = 0, .tv_nsec = 200'000'000};
    if (sigtimedwait(&signals, nullptr, &interval) > 0) return 0;
    if (const int dead = cluster.FindDead()) return dead;
  }
}

int Dev(Context& context, const DevFlags& flags) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  LocalCluster cluster({.directory = flags.data, .nodes = flags.nodes, .port = flags.port});
  if (auto status = cluster.Start(); !status.ok()) return Fail(context, status);
  bool created = false;
  if (auto status = cluster.Init(context.admin(), flags.shards, {}, &created); !status.ok()) {
    cluster.Stop(5s);
    return Fail(context, status.code() == Code::kFailedPrecondition
                             ? InvalidArgument(status.message())
                             : status);
  }
  PrintHowTo(cluster, flags, created);
  const int dead = WaitForEnd(cluster, signals);
  Say("{}stopping\n", dead ? cluster.WhyEnded(dead) + "; " : std::string("\n"));
  const bool clean = cluster.Stop(15s);
  return clean && dead == 0 ? kExitDone : kExitFailed;
}

}  // namespace

void RegisterDev(CLI::App& app, Context& context) {
  auto flags = std::make_shared<DevFlags>();
  CLI::App* command =
      AddCommand(app, context, "dev", "Run a local cluster of real processes until Ctrl-C.",
                 "  quorate dev\n  quorate dev --nodes 5 --data /tmp/q --port 7500 --shards 16\n"
                 "Prints how to use it. Started again with the same --data it goes on.",
                 CommonOptions::kNone, [&context, flags] { return Dev(context, *flags); });
  AddNumber(command, "--nodes", &flags->nodes, 1, 9, "processes");
  command->add_option("--data", flags->data, "directory for data and logs")->capture_default_str();
  AddNumber(command, "--port", &flags->port, 1, 64000,
            "port of the first node; HTTP is 1000 above");
  AddNumber(command, "--shards", &flags->shards, 1, 256, "shards of a new cluster");
}

}  // namespace quorate::cli
