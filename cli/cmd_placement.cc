// What operators ask placement: node drain, undrain and remove; shard move, split and
// transfer-leader; operators, explain, settings.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "base/plural.h"
#include "base/real_clock.h"
#include "cli/arguments.h"
#include "cli/ask_placement.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kPoll = std::chrono::milliseconds(250);
constexpr uint64_t kIdMax = uint64_t{1} << 53;

Result<v1::PlacementResponse> Ask(Context& context, v1::PlacementRequest ask) {
  return AskPlacement(context.admin(), context.addresses(), context.timeout(), std::move(ask));
}

Json ToJson(const v1::OperatorInfo& op) {
  Json json = {
      {"operator_id", op.operator_id()}, {"kind", op.kind()},     {"shard_id", op.shard_id()},
      {"from", op.from_node_id()},       {"to", op.to_node_id()}, {"why", op.why()},
      {"steps_done", op.steps_done()},   {"steps", op.steps()},   {"age_ms", op.age_ms()}};
  if (!op.waits_for().empty()) json["waits_for"] = op.waits_for();
  if (!op.ended().empty()) json["ended"] = op.ended();
  return json;
}

// The sentences of an answer, or as JSON with what `more` adds.
int PrintLines(const Context& context, const v1::PlacementResponse& response, Json more = {}) {
  if (context.json) {
    Json json = std::move(more);
    json["lines"] = std::vector<std::string>(response.lines().begin(), response.lines().end());
    if (response.operator_id() != 0) json["operator_id"] = response.operator_id();
    PrintJson(json);
    return kExitDone;
  }
  for (const std::string& line : response.lines()) Say("{}\n", line);
  return kExitDone;
}

// ---- node ---------------------------------------------------------------------------------------

struct NodeFlags {
  uint64_t node = 0;
  bool dry_run = false;
  bool wait = false;
  bool lost = false;
};

const v1::DrainStatus* FindDrain(const v1::PlacementResponse& response, uint64_t node) {
  for (const v1::DrainStatus& drain : response.drains()) {
    if (drain.node_id() == node) return &drain;
  }
  return nullptr;
}

// One line that changes on a terminal, no longer than that; else a line whenever something changed.
class Progress {
 public:
  void Show(std::string line) {
    // The last place stays free: there some terminals begin the next line.
    if (const size_t width = Out().columns(); Out().redraws() && width > 1) {
      line = CutTo(line, width - 1);
    }
    if (line == last_) return;
    if (Out().redraws()) {
      const size_t before = CharactersOf(last_), now = CharactersOf(line);
      const size_t blanks = before > now ? before - now : 0;
      Say("\r{}{}", line, std::string(blanks, ' '));
      Out().Flush();
    } else {
      Say("{}\n", line);
      Out().Flush();
    }
    last_ = std::move(line);
  }
  void End() {
    if (!last_.empty() && Out().redraws()) Say("\n");
  }

 private:
  std::string last_;
};

std::string Bar(uint64_t done, uint64_t all) {
  constexpr uint64_t kWidth = 24;
  const uint64_t full = all == 0 ? kWidth : kWidth * done / all;
  return std::string(full, '#') + std::string(kWidth - full, '.');
}

// Looks at what placement is doing, again and again, until `look` has no line to show any more
// (done) or fails. It goes on whether anybody waits or not. UNKNOWN_OUTCOME: nobody tells of it.
Status Wait(Context& context,
            const std::function<Result<std::string>(const v1::PlacementResponse&)>& look) {
  Progress progress;
  while (true) {
    v1::PlacementRequest ask;
    ask.mutable_list_operators();
    const auto response = Ask(context, std::move(ask));
    const Result<std::string> line =
        response.ok()
            ? look(*response)
            : Result<std::string>(Status(Code::kUnknownOutcome, response.status().ToString()));
    if (!line.ok() || line->empty()) {
      progress.End();
      return line.status();
    }
    if (!context.json) progress.Show(*line);
    std::this_thread::sleep_for(kPoll);
  }
}

// Until the node holds nothing.
int WaitDrained(Context& context, uint64_t node) {
  uint64_t most = 0;
  const Status ended = Wait(context, [&](const auto& response) -> Result<std::string> {
    const v1::DrainStatus* drain = FindDrain(response, node);
    if (drain == nullptr) {
      return Status(Code::kFailedPrecondition,
                    fmt::format("node {} is not being drained any more", node));
    }
    const uint64_t left = drain->replicas() + drain->leaders();
    if (left == 0) return std::string();
    most = std::max(most, left);
    return fmt::format(
        "node {} [{}] {} and {} left{}{}", node, Bar(most - left, most),
        Plural(drain->leaders(), "leader"), Plural(drain->replicas(), "replica"),
        drain->standing_still().empty() ? "" : "; standing still: ", drain->standing_still());
  });
  if (ended.code() == Code::kUnknownOutcome) {
    return FailUnknown(context, ended,
                       "The drain goes on: `quorate nodes` and `quorate operators` tell how far "
                       "it is.");
  }
  if (!ended.ok()) return Fail(context, ended);
  if (context.json) {
    PrintJson({{"node_id", node}, {"drained", true}});
  } else {
    Say("node {} holds nothing any more\n", node);
  }
  return kExitDone;
}

int Drain(Context& context, const NodeFlags& flags, bool draining) {
  v1::PlacementRequest ask;
  ask.mutable_drain_node()->set_node_id(flags.node);
  ask.mutable_drain_node()->set_draining(draining);
  ask.mutable_drain_node()->set_dry_run(flags.dry_run);
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (draining && flags.wait && !flags.dry_run) return WaitDrained(context, flags.node);
  if (context.json) {
    PrintJson({{"node_id", flags.node}, {"draining", draining}, {"dry_run", flags.dry_run}});
  } else if (!response->lines().empty()) {
    Say("{}\n", response->lines(0));
  } else if (flags.dry_run) {
    Say("node {} can be drained: the others have room for what it holds\n", flags.node);
  } else if (draining) {
    Say("node {} is being drained: see `quorate operators`\n", flags.node);
  } else {
    Say("node {} is used again\n", flags.node);
  }
  return kExitDone;
}

int RemoveNode(Context& context, const NodeFlags& flags) {
  v1::PlacementRequest ask;
  ask.mutable_remove_node()->set_node_id(flags.node);
  ask.mutable_remove_node()->set_lost(flags.lost);
  ask.mutable_remove_node()->set_dry_run(flags.dry_run);
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (context.json) {
    PrintJson({{"node_id", flags.node}, {"removed", !flags.dry_run}, {"dry_run", flags.dry_run}});
  } else if (flags.dry_run) {
    Say("node {} can be removed\n", flags.node);
  } else {
    Say("node {} is no member of the cluster any more; stop it\n", flags.node);
  }
  return kExitDone;
}

// ---- shard --------------------------------------------------------------------------------------

struct ShardFlags {
  uint64_t shard = 0;
  uint64_t from = 0;
  uint64_t to = 0;
  uint64_t with = 0;
  std::string at;  // --at: decoded by Split
  bool hex = false;
  bool dry_run = false;
  bool wait = false;
};

// What became of the shard that was divided at `at`: both ranges, once a node has heard of them;
// empty if that takes too long.
std::string DividedText(Context& context, uint64_t shard, const std::string& at) {
  constexpr Duration kPatience = std::chrono::seconds(5);
  const Instant end = RealClock::BootNow() + kPatience;
  v1::NodeRequest ask;
  ask.mutable_routes();
  do {
    const auto answer = context.admin().CallAny(context.addresses(), ask, context.timeout());
    const v1::ShardDescriptor *left = nullptr, *right = nullptr;
    for (int i = 0; answer.ok() && i < answer->routes().routes_size(); ++i) {
      const v1::ShardDescriptor& each = answer->routes().routes(i).shard();
      if (each.shard_id() == shard && each.to() == at) left = &each;
      if (each.from() == at) right = &each;
    }
    if (left != nullptr && right != nullptr) {
      return fmt::format("shard {} is {}, shard {} is {}", shard,
                         RangeText(left->from(), left->to()), right->shard_id(),
                         RangeText(right->from(), right->to()));
    }
    std::this_thread::sleep_for(kPoll);
  } while (RealClock::BootNow() < end);
  return "";
}

// What is asked of a shard.
struct Wanted {
  std::function<bool(const ClusterView&)> done;
  std::function<std::string()> told = [] { return std::string(); };  // of it, then
};

// Placement may have done it, and not be there to say so. Nodes hear of it a little later.
bool IsDone(Context& context, const Wanted& wanted) {
  constexpr Duration kPatience = std::chrono::seconds(8);
  const Instant end = RealClock::BootNow() + kPatience;
  do {
    const auto view = ViewCluster(context.admin(), context.addresses(), context.timeout());
    if (view.ok() && wanted.done(*view)) return true;
    std::this_thread::sleep_for(kPoll);
  } while (RealClock::BootNow() < end);
  return false;
}

// Until the operator ended: how.
int WaitEnded(Context& context, uint64_t id, const Wanted& wanted) {
  const Status ended = Wait(context, [&](const auto& response) -> Result<std::string> {
    const auto op = std::find_if(response.operators().begin(), response.operators().end(),
                                 [id](const auto& each) { return each.operator_id() == id; });
    if (op == response.operators().end()) {
      return Status(
          Code::kUnknownOutcome,
          fmt::format(
              "operator {} is not known any more: placement has another leader, which judges anew",
              id));
    }
    if (op->ended().empty()) {
      return fmt::format("[{}] step {} of {}{}{}", Bar(op->steps_done(), op->steps()),
                         op->steps_done() + 1, op->steps(),
                         op->waits_for().empty() ? "" : "; waits: ", op->waits_for());
    }
    if (context.json) PrintJson(ToJson(*op));
    if (op->ended() == "done") return std::string();
    return Status(Code::kFailedPrecondition, op->ended());
  });
  if (ended.code() == Code::kUnknownOutcome) {
    if (!IsDone(context, wanted)) {
      return FailUnknown(context, ended,
                         "It may be done yet: look at `quorate shards` and `quorate operators` "
                         "before it is asked for again.");
    }
    if (context.json) PrintJson({{"operator_id", id}, {"ended", "done"}});
  } else if (!ended.ok()) {
    return Fail(context, ended);
  }
  if (!context.json) {
    const std::string text = wanted.told();
    Say("{}\n", text.empty() ? "done" : text);
  }
  return kExitDone;
}

int RunShard(Context& context, v1::PlacementRequest ask, const ShardFlags& flags,
             const Wanted& wanted) {
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (flags.wait && response->operator_id() != 0)
    return WaitEnded(context, response->operator_id(), wanted);
  return PrintLines(context, *response, {{"shard_id", flags.shard}, {"dry_run", flags.dry_run}});
}

int Move(Context& context, const ShardFlags& flags) {
  v1::PlacementRequest ask;
  ask.mutable_move_replica()->set_shard_id(flags.shard);
  ask.mutable_move_replica()->set_from_node_id(flags.from);
  ask.mutable_move_replica()->set_to_node_id(flags.to);
  ask.mutable_move_replica()->set_dry_run(flags.dry_run);
  return RunShard(context, std::move(ask), flags, {[&](const ClusterView& view) {
                    return IsMoved(view, flags.shard, flags.from, flags.to);
                  }});
}

int Split(Context& context, ShardFlags flags) {
  if (Status at = DecodeArgument(flags.hex, "--at", &flags.at); !at.ok()) return Fail(context, at);
  if (flags.at.empty()) {
    return Fail(
        context,
        InvalidArgument("--at: an empty key begins no second half: name one inside the shard"));
  }
  v1::PlacementRequest ask;
  ask.mutable_split_shard()->set_shard_id(flags.shard);
  ask.mutable_split_shard()->set_at(flags.at);
  ask.mutable_split_shard()->set_dry_run(flags.dry_run);
  return RunShard(context, std::move(ask), flags,
                  {[&](const ClusterView& view) { return IsSplit(view, flags.shard, flags.at); },
                   [&] { return DividedText(context, flags.shard, flags.at); }});
}

int Merge(Context& context, const ShardFlags& flags) {
  v1::PlacementRequest ask;
  ask.mutable_merge_shards()->set_shard_id(flags.shard);
  ask.mutable_merge_shards()->set_with_shard_id(flags.with);
  ask.mutable_merge_shards()->set_dry_run(flags.dry_run);
  Result<v1::NodeResponse> before = Unavailable("not asked for");
  if (flags.wait) {
    v1::NodeRequest routes;
    routes.mutable_routes();
    before = context.admin().CallAny(context.addresses(), routes, context.timeout());
  }
  return RunShard(context, std::move(ask), flags, {[&](const ClusterView& view) {
                    return before.ok() && IsMerged(view, before->routes(), flags.shard, flags.with);
                  }});
}

int Transfer(Context& context, const ShardFlags& flags) {
  v1::PlacementRequest ask;
  ask.mutable_transfer_leadership()->set_shard_id(flags.shard);
  ask.mutable_transfer_leadership()->set_to_node_id(flags.to);
  ask.mutable_transfer_leadership()->set_dry_run(flags.dry_run);
  return RunShard(context, std::move(ask), flags, {[&](const ClusterView& view) {
                    const auto leader = view.leader_of.find(flags.shard);
                    return leader != view.leader_of.end() && leader->second == flags.to;
                  }});
}

// ---- operators, explain, settings ---------------------------------------------------------------

int ListOperators(Context& context, bool all) {
  v1::PlacementRequest ask;
  ask.mutable_list_operators();
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (context.json) {
    Json operators = Json::array();
    for (const v1::OperatorInfo& op : response->operators()) {
      if (all || op.ended().empty()) operators.push_back(ToJson(op));
    }
    PrintJson({{"operators", operators},
               {"wanted",
                std::vector<std::string>(response->wanted().begin(), response->wanted().end())}});
    return kExitDone;
  }
  size_t under_way = 0;
  for (const v1::OperatorInfo& op : response->operators()) {
    const double seconds = static_cast<double>(op.age_ms()) / 1000;
    if (op.ended().empty()) {
      ++under_way;
      Say("{}\n  since {:.0f} s, step {} of {}, because {}{}\n", op.what(), seconds,
          op.steps_done() + 1, op.steps(), op.why(),
          op.waits_for().empty() ? "" : "; waits: " + op.waits_for());
    } else if (all) {
      Say("{}\n  ended {:.0f} s ago: {}\n", op.what(), seconds, op.ended());
    }
  }
  if (under_way == 0) Say("nothing is under way\n");
  for (const std::string& wanted : response->wanted())
    Say("wanted, and not possible: {}\n", wanted);
  return kExitDone;
}

int ExplainOne(Context& context, const std::string& what, uint64_t id) {
  v1::PlacementRequest ask;
  if (what == "shard") {
    ask.mutable_explain()->set_shard_id(id);
  } else {
    ask.mutable_explain()->set_operator_id(id);
  }
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  return PrintLines(context, *response, {{what + "_id", id}});
}

int GetSettings(Context& context, const std::string& name) {
  v1::PlacementRequest ask;
  ask.mutable_list_settings();
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  Json json = Json::object();
  bool found = name.empty();
  for (const v1::SettingStatus& setting : response->settings()) {
    if (!name.empty() && setting.name() != name) continue;
    found = true;
    json[setting.name()] = setting.value();
    if (context.json) continue;
    if (!name.empty()) {
      Say("{}\n", setting.value());
      continue;
    }
    Say("{:<32}  {:<10}  {}; {}, default {}\n", setting.name(), setting.value(), setting.help(),
        setting.range(), setting.default_value());
  }
  if (!found) {
    return Fail(context, InvalidArgument(fmt::format(
                             "there is no setting '{}': see `quorate settings get`", name)));
  }
  if (context.json) PrintJson(json);
  return kExitDone;
}

int SetSetting(Context& context, const std::string& name, const std::string& value, bool dry_run) {
  v1::PlacementRequest ask;
  v1::ChangeSetting* change = dry_run ? ask.mutable_check_setting() : ask.mutable_change_setting();
  change->set_name(name);
  change->set_value(value);
  const auto response = Ask(context, std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (context.json) {
    const std::vector<std::string> lines(response->lines().begin(), response->lines().end());
    PrintJson({{name, value}, {"dry_run", dry_run}, {"lines", lines}});
    return kExitDone;
  }
  for (const std::string& line : response->lines()) Say("{}\n", line);
  if (dry_run) {
    Say("nothing was changed\n");
  } else {
    Say("{} is {}\n", name, value);
  }
  return kExitDone;
}

CLI::Option* AddId(CLI::App* command, const std::string& name, uint64_t* id,
                   const std::string& help) {
  return AddNumber(command, name, id, 1, kIdMax, help)
      ->required()
      ->default_str("")
      ->type_name("ID");
}

void RegisterShard(CLI::App& app, Context& context) {
  auto flags = std::make_shared<ShardFlags>();
  CLI::App* shard =
      app.add_subcommand("shard", "Move, divide and merge shards, and hand over who leads them.");
  shard->require_subcommand(1);
  CLI::App* move = AddCommand(
      *shard, context, "move", "Move one replica of a shard to another node.",
      "  quorate shard move 7 --from 1 --to 4 --wait\n  quorate shard move 7 --from 1 --dry-run",
      CommonOptions::kCluster, [&context, flags] { return Move(context, *flags); });
  AddId(move, "SHARD", &flags->shard, "the shard's id");
  AddId(move, "--from", &flags->from, "node that loses its replica");
  AddId(move, "--to", &flags->to, "node that gains one; the best one if not given")
      ->required(false);
  CLI::App* transfer =
      AddCommand(*shard, context, "transfer-leader", "Have another node lead a shard.",
                 "  quorate shard transfer-leader 7 --to 2", CommonOptions::kCluster,
                 [&context, flags] { return Transfer(context, *flags); });
  AddId(transfer, "SHARD", &flags->shard, "the shard's id");
  AddId(transfer, "--to", &flags->to, "node of one of its replicas");
  CLI::App* split = AddCommand(
      *shard, context, "split", "Divide a shard in two.",
      "  quorate shard split 7 --at m --wait\n  quorate shard split 7 --at m --dry-run\n"
      "The new shard begins with the key of --at, on the same nodes, and is not merged again\n"
      "without being asked. Shards that grow beyond placement.split_bytes are divided without\n"
      "being asked.",
      CommonOptions::kCluster, [&context, flags] { return Split(context, *flags); });
  AddId(split, "SHARD", &flags->shard, "the shard's id");
  split->add_option("--at", flags->at, "first key of the new shard")->required();
  split->add_flag("--hex", flags->hex, "the key of --at is in hexadecimal");
  CLI::App* merge = AddCommand(
      *shard, context, "merge", "Make one shard of two neighbours.",
      "  quorate shard merge 7 8 --wait\n  quorate shard merge 7 8 --dry-run\n"
      "The left one keeps its id and its nodes, and absorbs the right one, which may keep 1 MiB "
      "at\n"
      "most. Shards that have less than placement.merge_bytes together are merged without being\n"
      "asked, if there are more than placement.shards_min.",
      CommonOptions::kCluster, [&context, flags] { return Merge(context, *flags); });
  AddId(merge, "SHARD", &flags->shard, "the shard's id");
  AddId(merge, "WITH", &flags->with, "its neighbour's id");
  for (CLI::App* each : {move, transfer, split, merge}) {
    each->add_flag("--dry-run", flags->dry_run, "only say what would be done, or why not");
    each->add_flag("--wait", flags->wait, "until it is done, or ended");
  }
}

}  // namespace

void RegisterNodeDuties(CLI::App& node, Context& context) {
  auto flags = std::make_shared<NodeFlags>();
  CLI::App* drain = AddCommand(
      node, context, "drain", "Have a node hand over all that it holds.",
      "  quorate node drain 3 --dry-run\n  quorate node drain 3 --wait\n"
      "First its leaderships, then its replicas. It goes on whether anybody waits or not.",
      CommonOptions::kCluster, [&context, flags] { return Drain(context, *flags, true); });
  AddId(drain, "NODE", &flags->node, "the node's id");
  drain->add_flag("--dry-run", flags->dry_run, "only say whether the others have room");
  drain->add_flag("--wait", flags->wait, "until it holds nothing; say how far it is");
  CLI::App* undrain =
      AddCommand(node, context, "undrain", "Use a node again that is being drained.",
                 "  quorate node undrain 3", CommonOptions::kCluster,
                 [&context, flags] { return Drain(context, *flags, false); });
  AddId(undrain, "NODE", &flags->node, "the node's id");
  CLI::App* remove = AddCommand(
      node, context, "remove", "Take a node out of the cluster for good.",
      "  quorate node remove 3\n  quorate node remove 3 --lost\n"
      "It must hold nothing: drain it first. With --lost, a node that will not come back: what it\n"
      "held is replaced, if each of its shards has a majority without it. Its id is never used "
      "again.",
      CommonOptions::kCluster, [&context, flags] { return RemoveNode(context, *flags); });
  AddId(remove, "NODE", &flags->node, "the node's id");
  remove->add_flag("--lost", flags->lost, "it will not come back");
  remove->add_flag("--dry-run", flags->dry_run, "only say whether it can be removed");
}

void RegisterPlacement(CLI::App& app, Context& context) {
  RegisterShard(app, context);
  auto all = std::make_shared<bool>(false);
  CLI::App* operators =
      AddCommand(app, context, "operators", "List what placement is doing with shards, and why.",
                 "  quorate operators\n  quorate operators --all --json", CommonOptions::kCluster,
                 [&context, all] { return ListOperators(context, *all); });
  operators->add_flag("--all", *all,
                      "also those that ended lately, under this leader of placement");

  struct Asked {
    std::string what;
    uint64_t id = 0;
  };
  auto asked = std::make_shared<Asked>();
  CLI::App* explain = AddCommand(
      app, context, "explain", "Explain how a shard stands, or what an operator does and why.",
      "  quorate explain shard 7\n  quorate explain operator 3000012", CommonOptions::kCluster,
      [&context, asked] { return ExplainOne(context, asked->what, asked->id); });
  explain->add_option("KIND", asked->what, "shard or operator")
      ->required()
      ->check(CLI::IsMember({"shard", "operator"}));
  AddId(explain, "ID", &asked->id, "its id");

  struct Setting {
    std::string name;
    std::string value;
    bool dry_run = false;
  };
  auto setting = std::make_shared<Setting>();
  CLI::App* settings = app.add_subcommand("settings", "Read and change the cluster's settings.");
  settings->require_subcommand(1);
  CLI::App* get = AddCommand(*settings, context, "get", "Print the settings, or one.",
                             "  quorate settings get\n  quorate settings get placement.down_after",
                             CommonOptions::kCluster,
                             [&context, setting] { return GetSettings(context, setting->name); });
  get->add_option("NAME", setting->name, "the setting");
  CLI::App* set = AddCommand(
      *settings, context, "set", "Change a setting; it holds at once, and over restarts.",
      "  quorate settings set placement.down_after 5m\n"
      "  quorate settings set placement.pause balance-replicas",
      CommonOptions::kCluster, [&context, setting] {
        return SetSetting(context, setting->name, setting->value, setting->dry_run);
      });
  set->add_option("NAME", setting->name, "the setting")->required();
  set->add_option("VALUE", setting->value, "its value")->required();
  set->add_flag("--dry-run", setting->dry_run, "only say what it would change, or why not");
}

}  // namespace quorate::cli
