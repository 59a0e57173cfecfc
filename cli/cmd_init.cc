#include <fmt/format.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/output.h"
#include "proto/node.pb.h"

namespace quorate::cli {
namespace {

struct InitFlags {
  uint32_t shards = 8;
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

int Init(Context& context, InitFlags flags) {
  if (auto status = CheckSplitKeys(&flags); !status.ok()) return Fail(context, status);
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
    Say("cluster {} is initialised\n", id);
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
  auto* shards = AddNumber(command, "--shards", &flags->shards, 1, 256,
                           "shards to begin with, evenly over a key's first byte");
  // One key each time it is given; ArrangeArguments repeats it before every word.
  command->add_option("--split-at", flags->split_at, "keys at which shards begin, ascending")
      ->type_name("KEY ...")
      ->allow_extra_args(false)
      ->excludes(shards);
  command->add_flag("--hex", flags->hex, "keys of --split-at are in hexadecimal");
}

}  // namespace quorate::cli
