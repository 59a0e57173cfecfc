#include <fmt/format.h>

#include <iostream>

#include "cli/command.h"
#include "proto/node.pb.h"

namespace quorate::cli {
namespace {

struct InitFlags {
  uint32_t shards = 8;
  std::vector<std::string> split_at;
};

int Init(Context& context, const InitFlags& flags) {
  v1::NodeRequest request;
  auto* init = request.mutable_init();
  init->set_shards(flags.shards);
  for (const auto& key : flags.split_at) init->add_split_keys(key);
  // With one address the asked node knows who has joined it.
  if (context.addresses().size() > 1) {
    for (const auto& address : context.addresses()) init->add_addresses(address);
  }
  auto response =
      context.admin().CallUntilAvailable(context.addresses(), request, context.timeout());
  if (!response.ok()) return Fail(context, response.status());
  const std::string& id = response->init().cluster_id();
  if (context.json) {
    PrintJson({{"cluster_id", id}});
  } else {
    fmt::print("cluster {} is initialised\n", id);
  }
  return kExitDone;
}

}  // namespace

void RegisterInit(CLI::App& app, Context& context) {
  auto flags = std::make_shared<InitFlags>();
  CLI::App* command =
      AddCommand(app, context, "init", "Make one cluster of nodes that are running, once.",
                 "  quorate init --cluster 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400 --shards 16\n"
                 "  quorate init --split-at g n t     (four shards, beginning at these keys)\n"
                 "With one address in --cluster: the node there and those that joined it.",
                 CommonOptions::kCluster, [&context, flags] { return Init(context, *flags); });
  auto* shards = command
                     ->add_option("--shards", flags->shards,
                                  "shards to begin with, evenly over a key's first byte")
                     ->check(CLI::Range(1, 256))
                     ->capture_default_str();
  command->add_option("--split-at", flags->split_at, "keys at which shards begin, ascending")
      ->type_name("KEY")
      ->excludes(shards);
}

}  // namespace quorate::cli
