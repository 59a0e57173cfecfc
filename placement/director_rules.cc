// Rules, as operators make and see them.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "placement/director.h"
#include "placement/rules.h"
#include "placement/schedule/rule_check.h"
#include "txn/key_span.h"

namespace quorate::placement {

Result<std::vector<std::string>> Director::ProveRuleHere(const Rule& rule) const {
  RETURN_IF_ERROR(CheckHeardOfAll());
  std::vector<ShardId> shards;
  const Span range{rule.from, rule.to};
  for (const auto& [from, piece] : machine_.map().pieces()) {
    const ShardId id(piece.shard_id());
    if (!range.Overlaps({piece.from(), piece.to()})) continue;
    if (shards.empty() || shards.back() != id) shards.push_back(id);
  }
  return ProveRule(view_, settings_, env_.Now(), rule, shards);
}

namespace {

void Add(std::vector<std::string> lines, v1::PlacementResponse* response) {
  for (std::string& line : lines) response->add_lines(std::move(line));
}

// What is under no rule any more if `rule` takes the place of `old`, as a rule that says nothing.
std::optional<Rule> GivenUp(const Rule& old, const Rule& rule) {
  if (rule.to.empty() || (!old.to.empty() && old.to <= rule.to)) return std::nullopt;
  Rule none;
  none.from = rule.to;
  none.to = old.to;
  return none;
}

}  // namespace

Status Director::CheckSetRule(const v1::PlacementRule& message, v1::PlacementResponse* response) {
  const Rule rule = RuleOf(message);
  RETURN_IF_ERROR(machine_.rules().CheckPut(rule));
  if (!machine_.Allows(Feature::kRules)) {
    return Status(
        Code::kFailedPrecondition,
        "a node of the cluster runs a version that does not know rules: upgrade it first");
  }
  (void)Now();
  std::vector<std::string> lines;
  ASSIGN_OR_RETURN(lines, ProveRuleHere(rule));
  const Rule* old = machine_.rules().Find(rule.from);
  if (const auto given_up = old == nullptr ? std::nullopt : GivenUp(*old, rule)) {
    const auto more = ProveRuleHere(*given_up);
    if (!more.ok()) {
      return Status(more.status().code(), fmt::format("{} would be under no rule any more: {}",
                                                      RangeOf(*given_up), more.status().message()));
    }
    lines.insert(lines.end(), more->begin(), more->end());
  }
  Add(std::move(lines), response);
  return Status::Ok();
}

Status Director::CheckUnsetRule(const std::string& from, v1::PlacementResponse* response) {
  const Rule* rule = machine_.rules().Find(from);
  if (rule == nullptr) {
    return NotFound(fmt::format("no rule begins at key '{}'", Printable(from)));
  }
  (void)Now();
  Rule none;
  none.from = rule->from;
  none.to = rule->to;
  std::vector<std::string> lines;
  ASSIGN_OR_RETURN(lines, ProveRuleHere(none));
  Add(std::move(lines), response);
  return Status::Ok();
}

void Director::ListRules(v1::PlacementResponse* response) {
  const Situation situation = Now();
  for (const auto& [from, rule] : rules_.rules()) {
    *response->add_rules()->mutable_rule() = ToProto(rule);
  }
  response->mutable_other_keys()->mutable_rule()->set_replicas(settings_.replication_factor);
  for (const auto& [id, shard] : view_.shards()) {
    if (id == kPlacementShard) continue;
    v1::RuleStatus* status = shard.rule == 0
                                 ? response->mutable_other_keys()
                                 : response->mutable_rules(static_cast<int>(shard.rule) - 1);
    status->set_shards(status->shards() + 1);
    const std::vector<std::string> breaches = Breaches(view_, settings_, situation.now, shard);
    if (breaches.empty()) continue;
    status->set_below(status->below() + 1);
    if (static_cast<size_t>(response->breaches_size()) == kListedMax) continue;
    v1::RuleBreach* breach = response->add_breaches();
    breach->set_shard_id(id.value());
    for (const std::string& what : breaches) breach->add_what(what);
  }
}

}  // namespace quorate::placement
