// Rules of placement: how replicas of ranges of keys are to stand.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/limits.h"
#include "base/status_macros.h"
#include "cli/arguments.h"
#include "cli/ask_placement.h"
#include "cli/command.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

using Json = nlohmann::ordered_json;
using LabelMessages = google::protobuf::RepeatedPtrField<v1::PlacementLabel>;

struct RuleFlags {
  std::string from;
  std::string to;
  bool hex = false;
  uint32_t replicas = 0;
  std::vector<std::string> require;
  std::vector<std::string> prefer;
  std::vector<std::string> leaders;
  bool dry_run = false;
};

std::vector<std::string> Words(const LabelMessages& labels) {
  std::vector<std::string> words;
  for (const v1::PlacementLabel& label : labels) {
    words.push_back(fmt::format("{}={}", label.name(), label.value()));
  }
  return words;
}

// "zone=a" each, or several of them with commas between; in the order that placement wants.
Status ReadLabels(const std::vector<std::string>& words, std::string_view option,
                  LabelMessages* labels) {
  std::set<std::pair<std::string, std::string>> all;
  for (const std::string& word : words) {
    for (size_t at = 0; at <= word.size();) {
      const size_t comma = std::min(word.find(',', at), word.size());
      const std::string label = word.substr(at, comma - at);
      const size_t equals = label.find('=');
      if (equals == std::string::npos || equals == 0 || equals + 1 == label.size()) {
        return InvalidArgument(
            fmt::format("{}: '{}' is not name=value, e.g. zone=a", option, label));
      }
      all.emplace(label.substr(0, equals), label.substr(equals + 1));
      at = comma + 1;
    }
  }
  for (const auto& [name, value] : all) {
    v1::PlacementLabel* label = labels->Add();
    label->set_name(name);
    label->set_value(value);
  }
  return Status::Ok();
}

Status ReadRange(const RuleFlags& flags, std::string* from, std::string* to) {
  *from = flags.from;
  *to = flags.to;
  RETURN_IF_ERROR(DecodeArgument(flags.hex, "--from", from));
  return DecodeArgument(flags.hex, "--to", to);
}

Json ToJson(const v1::RuleStatus& status) {
  const v1::PlacementRule& rule = status.rule();
  Json json;
  SetBytes(json, "from", rule.from());
  SetBytes(json, "to", rule.to());
  json["replicas"] = rule.replicas();
  json["require"] = Words(rule.require());
  json["prefer"] = Words(rule.prefer());
  json["leaders"] = Words(rule.leaders());
  json["shards"] = status.shards();
  json["below"] = status.below();
  return json;
}

std::string Says(const v1::PlacementRule& rule) {
  std::string text = rule.replicas() == 0 ? "replicas as the settings say"
                                          : fmt::format("{} replicas", rule.replicas());
  const auto add = [&text](std::string_view what, const LabelMessages& labels) {
    if (!labels.empty()) text += fmt::format(", {} {}", what, fmt::join(Words(labels), ","));
  };
  add("only on", rule.require());
  add("rather on", rule.prefer());
  add("leaders rather on", rule.leaders());
  return text;
}

std::string Kept(const v1::RuleStatus& status) {
  std::string text = fmt::format("{} shard{}", status.shards(), status.shards() == 1 ? "" : "s");
  if (status.below() != 0) text += fmt::format(", {} not as it says", status.below());
  return text;
}

std::string Key(std::string_view key, std::string_view if_empty) {
  return key.empty() ? std::string(if_empty) : fmt::format("'{}'", EscapeBytes(key));
}

int GetRules(Context& context) {
  v1::PlacementRequest ask;
  ask.mutable_list_rules();
  const auto response =
      AskPlacement(context.admin(), context.addresses(), context.timeout(), std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (context.json) {
    Json rules = Json::array(), breaches = Json::array();
    for (const v1::RuleStatus& rule : response->rules()) rules.push_back(ToJson(rule));
    for (const v1::RuleBreach& breach : response->breaches()) {
      breaches.push_back(
          {{"shard_id", breach.shard_id()},
           {"what", std::vector<std::string>(breach.what().begin(), breach.what().end())}});
    }
    PrintJson({{"rules", rules},
               {"other_keys",
                {{"replicas", response->other_keys().rule().replicas()},
                 {"shards", response->other_keys().shards()},
                 {"below", response->other_keys().below()}}},
               {"breaches", breaches}});
    return kExitDone;
  }
  for (const v1::RuleStatus& rule : response->rules()) {
    Say("from {} to {}: {}; {}\n", Key(rule.rule().from(), "the first key"),
        Key(rule.rule().to(), "the last key"), Says(rule.rule()), Kept(rule));
  }
  Say("{}: {}; {}\n", response->rules().empty() ? "all keys" : "other keys",
      Says(response->other_keys().rule()), Kept(response->other_keys()));
  for (const v1::RuleBreach& breach : response->breaches()) {
    Say("shard {}: {}\n", breach.shard_id(), fmt::join(breach.what(), "; "));
  }
  return kExitDone;
}

// Says what was, or would be, done.
int Change(Context& context, v1::PlacementRequest ask, bool dry_run) {
  const auto response =
      AskPlacement(context.admin(), context.addresses(), context.timeout(), std::move(ask));
  if (!response.ok()) return Fail(context, response.status());
  if (context.json) {
    PrintJson(
        {{"dry_run", dry_run},
         {"lines", std::vector<std::string>(response->lines().begin(), response->lines().end())}});
    return kExitDone;
  }
  for (const std::string& line : response->lines()) Say("{}\n", line);
  Say("{}\n", dry_run ? "nothing was changed" : "see `quorate rules get` for how far it is");
  return kExitDone;
}

int SetRule(Context& context, const RuleFlags& flags) {
  v1::PlacementRequest ask;
  v1::SetRule& set = *ask.mutable_set_rule();
  v1::PlacementRule& rule = *set.mutable_rule();
  Status read = ReadRange(flags, rule.mutable_from(), rule.mutable_to());
  if (read.ok()) read = ReadLabels(flags.require, "--require", rule.mutable_require());
  if (read.ok()) read = ReadLabels(flags.prefer, "--prefer", rule.mutable_prefer());
  if (read.ok()) read = ReadLabels(flags.leaders, "--leaders", rule.mutable_leaders());
  if (!read.ok()) return Fail(context, read);
  rule.set_replicas(flags.replicas);
  set.set_dry_run(flags.dry_run);
  return Change(context, std::move(ask), flags.dry_run);
}

int UnsetRule(Context& context, const RuleFlags& flags) {
  v1::PlacementRequest ask;
  v1::UnsetRule& unset = *ask.mutable_unset_rule();
  std::string to;
  if (Status read = ReadRange(flags, unset.mutable_from(), &to); !read.ok()) {
    return Fail(context, read);
  }
  unset.set_dry_run(flags.dry_run);
  return Change(context, std::move(ask), flags.dry_run);
}

}  // namespace

void RegisterRules(CLI::App& app, Context& context) {
  auto flags = std::make_shared<RuleFlags>();
  CLI::App* rules = app.add_subcommand(
      "rules", "Say how replicas of ranges of keys are to stand, and see whether they do.");
  rules->require_subcommand(1);
  AddCommand(*rules, context, "get", "Print the rules, and which shards are not as they say.",
             "  quorate rules get\n  quorate rules get --json", CommonOptions::kCluster,
             [&context] { return GetRules(context); });
  CLI::App* set = AddCommand(
      *rules, context, "set", "Make a rule for the keys in [--from, --to).",
      "  quorate rules set --from orders/ --to orders0 --replicas 5 --dry-run\n"
      "  quorate rules set --from eu/ --to eu0 --require zone=eu1,zone=eu2,zone=eu3\n"
      "  quorate rules set --leaders zone=a\n"
      "It takes the place of a rule that begins at the same key, and may not overlap another. It\n"
      "is refused if there are too few nodes, or too little room, to keep it up. A shard that\n"
      "goes on beyond a border of a rule is divided there.",
      CommonOptions::kCluster, [&context, flags] { return SetRule(context, *flags); });
  set->add_option("--to", flags->to,
                  "the first key behind the range; if not given, all to the end");
  AddNumber(set, "--replicas", &flags->replicas, 0, limits::kReplicationFactorMax,
            "how many replicas: 1, 3, 5 or 7; 0: as the settings say");
  set->add_option("--require", flags->require, "replicas only on nodes with these labels")
      ->type_name("NAME=VALUE...");
  set->add_option("--prefer", flags->prefer, "replicas on these as long as there are enough")
      ->type_name("NAME=VALUE...");
  set->add_option("--leaders", flags->leaders, "leaders on these as long as a replica is there")
      ->type_name("NAME=VALUE...");
  CLI::App* unset =
      AddCommand(*rules, context, "unset", "Take away the rule that begins at --from.",
                 "  quorate rules unset --from orders/\n"
                 "Its keys are again as the settings say (placement.replication_factor).",
                 CommonOptions::kCluster, [&context, flags] { return UnsetRule(context, *flags); });
  for (CLI::App* each : {set, unset}) {
    each->add_option("--from", flags->from, "its first key; if not given, from the beginning");
    each->add_flag("--hex", flags->hex, "the keys are in hexadecimal");
    each->add_flag("--dry-run", flags->dry_run, "only say what it would change, or why not");
  }
}

}  // namespace quorate::cli
