// recover: a node goes on alone where the majority of a group is lost for good.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/output.h"
#include "server/program/recover.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;
using Fate = server::RecoveredGroup::Fate;

constexpr GroupId kPlacementGroup{1};

struct RecoverFlags {
  std::string data;
  std::string lost;
  bool dry_run = false;
  bool accept = false;
};

Result<std::set<NodeId>> ParseNodes(const std::string& text) {
  std::set<NodeId> nodes;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const auto id = ParseNumber<uint64_t>(text.substr(begin, end - begin), 1, uint64_t{1} << 53);
    if (!id) {
      return InvalidArgument(
          fmt::format("--lost: '{}' is no list of node ids; write for example --lost 1,2", text));
    }
    nodes.insert(NodeId(*id));
    begin = end + 1;
  }
  return nodes;
}

std::string NameOf(GroupId group) {
  return group == kPlacementGroup ? std::string("the placement group")
                                  : fmt::format("shard {}", group);
}

std::string_view NameOf(Fate fate) {
  switch (fate) {
    case Fate::kUntouched:
      return "untouched";
    case Fate::kAlone:
      return "alone";
    case Fate::kStuck:
      return "stuck";
  }
  return "";
}

std::string Join(const std::vector<NodeId>& nodes) {
  std::string joined;
  for (const NodeId id : nodes) joined += fmt::format("{}{}", joined.empty() ? "" : ", ", id);
  return joined.empty() ? "unknown" : joined;
}

void PrintGroups(const server::Recovery& recovery, bool dry_run) {
  for (const server::RecoveredGroup& group : recovery.groups) {
    if (group.fate == Fate::kUntouched) continue;
    Say("{}, of nodes {}: its log ends at term {}, index {}; {} of that may never have been "
        "answered\n",
        NameOf(group.group), Join(group.members), group.last_term, group.last_index,
        group.last_index - std::min(group.last_index, group.committed_index));
    if (group.fate == Fate::kStuck) {
      Say("  stays without a leader: {}\n", group.why);
    } else {
      Say("  {} alone on node {}\n", dry_run ? "would go on" : "goes on", recovery.node);
    }
  }
}

// Of those called lost, whom no group here has as a member: perhaps a slip.
std::vector<NodeId> Strangers(const server::Recovery& recovery, std::set<NodeId> lost) {
  for (const server::RecoveredGroup& group : recovery.groups) {
    for (const NodeId member : group.members) lost.erase(member);
  }
  return {lost.begin(), lost.end()};
}

size_t Count(const server::Recovery& recovery, Fate fate) {
  const auto is = [fate](const server::RecoveredGroup& group) { return group.fate == fate; };
  return static_cast<size_t>(std::count_if(recovery.groups.begin(), recovery.groups.end(), is));
}

void PrintGroupsAsJson(const server::Recovery& recovery, const std::vector<NodeId>& strangers,
                       bool dry_run) {
  Json groups = Json::array();
  for (const server::RecoveredGroup& group : recovery.groups) {
    std::vector<uint64_t> members;
    for (const NodeId id : group.members) members.push_back(id.value());
    Json json = {{"group_id", group.group.value()},
                 {"members", members},
                 {"last_term", group.last_term},
                 {"last_index", group.last_index},
                 {"committed_index", group.committed_index},
                 {"fate", NameOf(group.fate)}};
    if (!group.why.empty()) json["why"] = group.why;
    groups.push_back(std::move(json));
  }
  std::vector<uint64_t> unknown;
  for (const NodeId id : strangers) unknown.push_back(id.value());
  PrintJson(Json{{"node_id", recovery.node.value()},
                 {"dry_run", dry_run},
                 {"groups", groups},
                 {"lost_but_no_member", unknown}});
}

int Recover(const Context& context, const RecoverFlags& flags) {
  const auto lost = ParseNodes(flags.lost);
  if (!lost.ok()) return Fail(context, lost.status());
  if (!flags.dry_run && !flags.accept) {
    return Fail(context,
                InvalidArgument(
                    "this gives up what only the lost nodes had, and what they acknowledged; look "
                    "with --dry-run, and then say --i-accept-that-writes-may-be-lost"));
  }
  const auto recovery = server::RecoverDirectory(flags.data, *lost, flags.dry_run);
  if (!recovery.ok()) return Fail(context, recovery.status());
  const size_t alone = Count(*recovery, Fate::kAlone);
  const size_t stuck = Count(*recovery, Fate::kStuck);
  const int exit_code = stuck == 0 ? kExitDone : kExitFailed;
  const std::vector<NodeId> strangers = Strangers(*recovery, *lost);
  if (context.json) {
    PrintGroupsAsJson(*recovery, strangers, flags.dry_run);
    return exit_code;
  }
  PrintGroups(*recovery, flags.dry_run);
  Say("{} of {} groups {} alone on node {}, {} stay without a leader, {} have a majority left\n",
      alone, recovery->groups.size(), flags.dry_run ? "would go on" : "go on", recovery->node,
      stuck, Count(*recovery, Fate::kUntouched));
  if (!strangers.empty()) {
    Say("No group here has a replica on node {}: see whether --lost names the right nodes.\n",
        Join(strangers));
  }
  if (alone == 0) return exit_code;
  Say("What may be lost: writes of the last moments that only the lost nodes had, although they "
      "were answered;\ntransactions over several shards may be there in one and not in another.\n");
  if (flags.dry_run) return exit_code;
  Say("Now start node {}, and take the lost ones out before anything else, for they must never run "
      "again with\ntheir directories: `quorate node remove N --lost` with N = {}. Then start new "
      "nodes, with --join and empty directories.\n",
      recovery->node, Join({lost->begin(), lost->end()}));
  return exit_code;
}

}  // namespace

void RegisterRecover(CLI::App& app, Context& context) {
  auto flags = std::make_shared<RecoverFlags>();
  CLI::App* command = AddCommand(
      app, context, "recover",
      "Have a stopped node go on alone where most members of a shard are lost for good.",
      "  quorate recover --data /var/lib/quorate --lost 1,2 --dry-run\n"
      "  quorate recover --data /var/lib/quorate --lost 1,2 --i-accept-that-writes-may-be-lost\n"
      "The last resort: docs/operations.md, \"A majority is lost\". While the lost nodes can be "
      "brought back, do that.\n"
      "Exit 0: done, or nothing was to be done. Exit 1: some groups stay without a leader.",
      CommonOptions::kNone, [&context, flags] { return Recover(context, *flags); });
  command->add_option("--data", flags->data, "the data directory of a node that does not run")
      ->type_name("DIR")
      ->required();
  command->add_option("--lost", flags->lost, "the nodes that are lost for good")
      ->type_name("ID,...")
      ->required();
  auto* dry = command->add_flag("--dry-run", flags->dry_run, "say what would be done");
  command
      ->add_flag("--i-accept-that-writes-may-be-lost", flags->accept,
                 "needed, unless it is a dry run")
      ->excludes(dry);
  command->add_flag("--json", context.json, "print a line of JSON");
}

}  // namespace quorate::cli
