#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/limits.h"
#include "base/real_clock.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/output.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {
namespace {

constexpr Duration kViewTimeout = std::chrono::seconds(1);
// What is made is made: its first elections are waited for even if --timeout is over.
constexpr Duration kServingMin = std::chrono::seconds(5);

struct InitFlags {
  uint32_t shards = 8;
  uint32_t replicas = 3;
  std::vector<std::string> split_at;
  bool hex = false;
};

// In place. A comma is taken for a slip: where shards begin cannot be taken back.
Status CheckSplitKeys(InitFlags* flags) {
  for (auto& key : flags->split_at) {
    if (!flags->hex && key.find(',') != std::string::npos) {
      return InvalidArgument(
          fmt::format("--split-at: '{}' is one key; keys stand apart by blanks, as in --split-at g "
                      "n t (--hex allows a key with a comma in it)",
                      key));
    }
    RETURN_IF_ERROR(DecodeArgument(flags->hex, "--split-at", &key));
  }
  return Status::Ok();
}

// Until shards have leaders and placement has one. Empty, or why it does not serve yet.
std::string WaitServing(Context& context, Instant end) {
  std::string why;
  do {
    if (!why.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    auto view = ViewCluster(context.admin(), context.addresses(), kViewTimeout);
    why = view.ok() ? view->WhyNoWrites() : view.status().message();
  } while (!why.empty() && RealClock::BootNow() < end);
  return why;
}

int Init(Context& context, InitFlags flags) {
  if (auto status = CheckSplitKeys(&flags); !status.ok()) return Fail(context, status);
  if (flags.replicas % 2 == 0) {
    return Fail(context, InvalidArgument(fmt::format("--replicas: '{}' is none of 1, 3, 5, 7",
                                                     flags.replicas)));
  }
  v1::NodeRequest request;
  auto* init = request.mutable_init();
  init->set_shards(flags.shards);
  init->set_replication_factor(flags.replicas);
  for (const auto& key : flags.split_at) init->add_split_keys(key);
  // With one address the asked node knows who has joined it.
  if (context.addresses().size() > 1) {
    for (const auto& address : context.addresses()) init->add_addresses(address);
  }
  const Instant end = RealClock::BootNow() + context.timeout();
  // Any of them can do it, and waits for all others: the whole time is for whoever is asked.
  auto response =
      context.admin().CallUntilAvailable({context.addresses().front()}, request, context.timeout());
  if (!response.ok()) return Fail(context, response.status());
  const v1::InitResponse& made = response->init();
  const uint32_t failures = (made.replication_factor() - 1) / 2;
  const std::string why = WaitServing(context, std::max(end, RealClock::BootNow() + kServingMin));
  if (context.json) {
    PrintJson({{"cluster_id", made.cluster_id()},
               {"nodes", made.nodes()},
               {"replicas", made.replication_factor()},
               {"survives_failures", failures},
               {"serving", why.empty()}});
  } else {
    Say("cluster {} is initialised: {} node{}, {} replica{} of each shard, {}\n", made.cluster_id(),
        made.nodes(), made.nodes() == 1 ? "" : "s", made.replication_factor(),
        made.replication_factor() == 1 ? "" : "s",
        failures == 0 ? std::string("no fault tolerance")
                      : fmt::format("each survives the loss of {}", failures));
    if (!why.empty()) Say("it does not serve yet: {}; see `quorate status`\n", why);
  }
  return kExitDone;
}

}  // namespace

void RegisterInit(CLI::App& app, Context& context) {
  auto flags = std::make_shared<InitFlags>();
  CLI::App* command = AddCommand(
      app, context, "init", "Make one cluster of nodes that are running, once.",
      "  quorate init --cluster 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 --shards 16\n"
      "  quorate init --split-at g n t     (four shards, beginning at these keys)\n"
      "With one address in --cluster: the node there, those in its --join, and those that\n"
      "joined it. It waits for them, and until the cluster serves. With fewer nodes than replicas "
      "nothing\n"
      "is done: --replicas 1 makes a cluster of one node, without fault tolerance.",
      CommonOptions::kCluster, [&context, flags] { return Init(context, *flags); });
  auto* shards = AddNumber(command, "--shards", &flags->shards, 1, 256,
                           "shards to begin with, evenly over a key's first byte");
  AddNumber(command, "--replicas", &flags->replicas, 1, limits::kReplicationFactorMax,
            "replicas of each shard, 1, 3, 5 or 7: 3 survive the loss of one node, 5 of two");
  // One key each time it is given; ArrangeArguments repeats it before every word.
  command->add_option("--split-at", flags->split_at, "keys at which shards begin, ascending")
      ->type_name("KEY ...")
      ->allow_extra_args(false)
      ->excludes(shards);
  command->add_flag("--hex", flags->hex, "keys of --split-at are in hexadecimal");
}

}  // namespace quorate::cli
