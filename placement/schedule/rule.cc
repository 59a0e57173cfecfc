#include "placement/schedule/rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status_macros.h"

namespace quorate::placement {

namespace {

Status CheckText(std::string_view text, std::string_view field) {
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (text.empty()) return InvalidArgument(fmt::format("{}: an empty name or value", field));
  if (printable && text.find(',') == text.npos) return Status::Ok();
  return InvalidArgument(
      fmt::format("{}: \"{}\" is not printable ASCII without commas", field, Printable(text)));
}

Status CheckLabels(const Labels& labels, std::string_view field) {
  if (labels.size() > Rule::kLabelsMax) {
    return InvalidArgument(
        fmt::format("{}: {} labels: the limit is {}", field, labels.size(), Rule::kLabelsMax));
  }
  size_t bytes = 0;
  for (const auto& [name, value] : labels) {
    RETURN_IF_ERROR(CheckText(name, field));
    RETURN_IF_ERROR(CheckText(value, field));
    if (name.find('=') != name.npos) {
      return InvalidArgument(fmt::format("{}: '=' in the name \"{}\"", field, Printable(name)));
    }
    bytes += name.size() + value.size();
  }
  if (bytes > Rule::kLabelBytesMax) {
    return InvalidArgument(fmt::format("{}: labels of {} bytes together: the limit is {} bytes",
                                       field, bytes, Rule::kLabelBytesMax));
  }
  const auto not_ascending = [](const auto& a, const auto& b) { return a >= b; };
  if (std::adjacent_find(labels.begin(), labels.end(), not_ascending) != labels.end()) {
    return InvalidArgument(fmt::format("{}: labels are ascending, and none is there twice", field));
  }
  return Status::Ok();
}

// Whether [from, ...) begins before `to`; empty: the end of all keys.
bool Before(std::string_view from, std::string_view to) { return to.empty() || from < to; }

}  // namespace

bool Fits(const Labels& labels, const Locality& locality) {
  for (auto it = labels.begin(); it != labels.end();) {
    const auto own = locality.find(it->first);
    bool one = false;
    const std::string& name = it->first;
    for (; it != labels.end() && it->first == name; ++it) {
      one |= own != locality.end() && own->second == it->second;
    }
    if (!one) return false;
  }
  return true;
}

std::string ToString(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  }
  return text;
}

Status CheckRule(const Rule& rule) {
  for (const std::string* key : {&rule.from, &rule.to}) {
    if (key->size() <= limits::kKeyBytesMax) continue;
    return InvalidArgument(fmt::format("a rule's range: a key of {} bytes: the limit is {} bytes",
                                       key->size(), limits::kKeyBytesMax));
  }
  if (!Before(rule.from, rule.to)) {
    return InvalidArgument(fmt::format("a rule's range: '{}' is not before '{}'",
                                       Printable(rule.from), Printable(rule.to)));
  }
  const bool odd = rule.replicas % 2 == 1 && rule.replicas <= limits::kReplicationFactorMax;
  if (rule.replicas != 0 && !odd) {
    return InvalidArgument(fmt::format("replicas: {} is none of 1, 3, 5, 7", rule.replicas));
  }
  RETURN_IF_ERROR(CheckLabels(rule.require, "require"));
  RETURN_IF_ERROR(CheckLabels(rule.prefer, "prefer"));
  RETURN_IF_ERROR(CheckLabels(rule.leaders, "leaders"));
  if (!rule.says_nothing()) return Status::Ok();
  return InvalidArgument("the rule says nothing: neither replicas, require, prefer nor leaders");
}

std::string RangeOf(const Rule& rule) {
  if (rule.from.empty() && rule.to.empty()) return "all keys";
  std::string text = "keys";
  if (!rule.from.empty()) text += fmt::format(" from '{}'", Printable(rule.from));
  if (!rule.to.empty()) text += fmt::format(" to '{}'", Printable(rule.to));
  return text;
}

std::string ToString(const Rule& rule) {
  std::string text = rule.replicas == 0 ? std::string("as many replicas as the settings say")
                                        : fmt::format("{} replica{}", rule.replicas,
                                                      rule.replicas == 1 ? "" : "s");
  if (!rule.require.empty()) text += ", only on " + ToString(rule.require);
  if (!rule.prefer.empty()) text += ", rather on " + ToString(rule.prefer);
  if (!rule.leaders.empty()) text += ", leaders rather on " + ToString(rule.leaders);
  return text;
}

Status RuleSet::CheckPut(const Rule& rule) const {
  RETURN_IF_ERROR(CheckRule(rule));
  for (const auto& [from, other] : rules_) {
    if (from == rule.from || !Before(from, rule.to) || !Before(rule.from, other.to)) continue;
    return InvalidArgument(fmt::format("{} are under a rule already: {} (unset it first)",
                                       RangeOf(other), ToString(other)));
  }
  if (rules_.size() < kRulesMax || rules_.contains(rule.from)) return Status::Ok();
  return InvalidArgument(fmt::format("there are {} rules, as many as there can be", kRulesMax));
}

Status RuleSet::Put(Rule rule) {
  RETURN_IF_ERROR(CheckPut(rule));
  std::string from = rule.from;
  rules_.insert_or_assign(std::move(from), std::move(rule));
  return Status::Ok();
}

bool RuleSet::Remove(std::string_view from) {
  const auto it = rules_.find(from);
  if (it == rules_.end()) return false;
  rules_.erase(it);
  return true;
}

const Rule* RuleSet::Find(std::string_view from) const {
  const auto it = rules_.find(from);
  return it == rules_.end() ? nullptr : &it->second;
}

uint32_t RuleSet::NumberOf(std::string_view key) const {
  const auto next = rules_.upper_bound(key);
  if (next == rules_.begin() || !Before(key, std::prev(next)->second.to)) return 0;
  return static_cast<uint32_t>(std::distance(rules_.begin(), next));
}

std::string RuleSet::BorderIn(std::string_view from, std::string_view to) const {
  const auto next = rules_.upper_bound(from);
  if (next != rules_.begin()) {
    const std::string& end = std::prev(next)->second.to;
    if (!end.empty() && from < end) return Before(end, to) ? end : std::string();
  }
  return next != rules_.end() && Before(next->first, to) ? next->first : std::string();
}

}  // namespace quorate::placement
