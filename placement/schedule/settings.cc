#include "placement/schedule/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/limits.h"

namespace quorate::placement {

namespace {

constexpr std::string_view kNames[kSchedulers] = {
    "repair", "rules", "drain", "split", "merge", "balance-replicas", "balance-leaders"};

enum class Unit : uint8_t { kCount, kDuration, kBytes, kPercent, kSchedulers };

// One row per setting. The value as a number: a count, milliseconds, bytes, percent, or bits.
struct Row {
  std::string_view name;
  Unit unit;
  uint64_t least;
  uint64_t most;
  uint64_t (*get)(const Settings&);
  void (*set)(Settings*, uint64_t);
  std::string_view help;
};

constexpr uint64_t kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute;
constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

#define COUNT(field)                                     \
  [](const Settings& s) -> uint64_t { return s.field; }, \
      [](Settings* s, uint64_t v) { s->field = static_cast<decltype(s->field)>(v); }
#define TIME(field)                                                \
  [](const Settings& s) -> uint64_t { return ToMillis(s.field); }, \
      [](Settings* s, uint64_t v) { s->field = std::chrono::milliseconds(v); }

// In the order of their names.
constexpr Row kRows[] = {
    {"placement.balance_tolerance", Unit::kPercent, 1, 50, COUNT(balance_tolerance_percent),
     "how far a node may be from the mean before replicas or leaders are moved"},
    {"placement.down_after", Unit::kDuration, 5 * kSecond, 24 * kHour, TIME(down_after),
     "how long a node is down before its replicas are replaced"},
    {"placement.learner_timeout", Unit::kDuration, 10 * kSecond, 24 * kHour, TIME(learner_timeout),
     "how long a new replica may take to catch up before another node is chosen"},
    {"placement.merge_bytes", Unit::kBytes, 0, kGiB, COUNT(merge_bytes),
     "neighbouring shards that have less together become one; at most split_bytes / 4"},
    {"placement.operators", Unit::kCount, 1, 100'000, COUNT(operators),
     "how many operators are under way at once"},
    {"placement.operators_per_node", Unit::kCount, 1, 1000, COUNT(operators_per_node),
     "how many operators a node has a part in at once"},
    {"placement.pause", Unit::kSchedulers, 0, (1 << kSchedulers) - 1, COUNT(paused),
     "which schedulers begin nothing new"},
    {"placement.replication_factor", Unit::kCount, 1, limits::kReplicationFactorMax,
     COUNT(replication_factor), "how many replicas a shard has"},
    {"placement.shards_min", Unit::kCount, 1, 1'000'000, COUNT(shards_min),
     "so many shards are not merged any further"},
    {"placement.snapshots_per_node", Unit::kCount, 1, 64, COUNT(snapshots_per_node),
     "how many replicas a node copies to itself, and how many to others, at once"},
    {"placement.split_bytes", Unit::kBytes, kMiB, 16 * kGiB, COUNT(split_bytes),
     "how large a shard grows before it is split"},
    {"placement.split_requests", Unit::kCount, 1, 1'000'000'000, COUNT(split_requests),
     "how many requests a second a shard serves before it is split, if it is much for one node"},
    {"placement.step_timeout", Unit::kDuration, 5 * kSecond, kHour, TIME(step_timeout),
     "how long a step other than catching up may take before its operator ends"},
};
#undef COUNT
#undef TIME

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

struct Suffix {
  std::string_view text;
  uint64_t factor;
};
constexpr Suffix kTimes[] = {
    {"ms", 1}, {"min", kMinute}, {"m", kMinute}, {"s", kSecond}, {"h", kHour}};
constexpr Suffix kSizes[] = {
    {"MiB", kMiB}, {"GiB", kGiB}, {"KiB", 1 << 10}, {"M", kMiB}, {"G", kGiB}};

template <size_t N>
std::optional<uint64_t> ParseWithSuffix(std::string_view text, const Suffix (&suffixes)[N]) {
  for (const Suffix& suffix : suffixes) {
    if (!text.ends_with(suffix.text)) continue;
    const auto number = ParseNumber(text.substr(0, text.size() - suffix.text.size()));
    if (!number || *number > UINT64_MAX / suffix.factor) return std::nullopt;
    return *number * suffix.factor;
  }
  return std::nullopt;
}

std::optional<uint64_t> ParseSchedulers(std::string_view text) {
  if (text == "none") return 0;
  uint64_t bits = 0;
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    const auto* name = std::find(std::begin(kNames), std::end(kNames), text.substr(0, comma));
    if (name == std::end(kNames)) return std::nullopt;
    bits |= 1u << (name - kNames);
    if (comma == text.size()) return bits;
    text.remove_prefix(comma + 1);
  }
}

std::optional<uint64_t> Parse(Unit unit, std::string_view text) {
  switch (unit) {
    case Unit::kCount:
      return ParseNumber(text);
    case Unit::kDuration:
      return ParseWithSuffix(text, kTimes);
    case Unit::kBytes:
      return ParseWithSuffix(text, kSizes);
    case Unit::kPercent:
      return text.ends_with('%') ? ParseNumber(text.substr(0, text.size() - 1)) : std::nullopt;
    case Unit::kSchedulers:
      return ParseSchedulers(text);
  }
  return std::nullopt;
}

// As Parse takes it, in the largest unit that tells it exactly.
std::string Format(Unit unit, uint64_t value) {
  switch (unit) {
    case Unit::kCount:
      return fmt::format("{}", value);
    case Unit::kDuration:
      if (value != 0 && value % kHour == 0) return fmt::format("{}h", value / kHour);
      if (value > kMinute && value % kMinute == 0) return fmt::format("{}min", value / kMinute);
      if (value % kSecond == 0) return fmt::format("{}s", value / kSecond);
      return fmt::format("{}ms", value);
    case Unit::kBytes:
      if (value != 0 && value % kGiB == 0) return fmt::format("{}GiB", value / kGiB);
      if (value % kMiB == 0) return fmt::format("{}MiB", value / kMiB);
      return fmt::format("{}KiB", value >> 10);
    case Unit::kPercent:
      return fmt::format("{}%", value);
    case Unit::kSchedulers: {
      std::string names;
      for (size_t i = 0; i < kSchedulers; ++i) {
        if (!((value >> i) & 1)) continue;
        names += fmt::format("{}{}", names.empty() ? "" : ",", kNames[i]);
      }
      return names.empty() ? "none" : names;
    }
  }
  return "";
}

// That a bare number was most likely meant in; empty: it needs none.
std::string_view UnitOf(Unit unit) {
  switch (unit) {
    case Unit::kDuration:
      return "s";
    case Unit::kBytes:
      return "MiB";
    case Unit::kPercent:
      return "%";
    case Unit::kCount:
    case Unit::kSchedulers:
      return "";
  }
  return "";
}

std::string RangeOf(const Row& row) {
  if (row.unit == Unit::kSchedulers) {
    return fmt::format("none, or a list of {}", fmt::join(kNames, ","));
  }
  return fmt::format("{} to {}", Format(row.unit, row.least), Format(row.unit, row.most));
}

const Row* FindRow(std::string_view name) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                 [name](const Row& r) { return r.name == name; });
  return row == std::end(kRows) ? nullptr : row;
}

Status NoSuch(std::string_view name) {
  std::string names;
  for (const Row& row : kRows) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return InvalidArgument(
      fmt::format("there is no setting '{}'; there are {}", name.substr(0, 64), names));
}

}  // namespace

std::string_view SchedulerName(Scheduler scheduler) { return kNames[static_cast<int>(scheduler)]; }

Status Settings::Set(std::string_view name, std::string_view value) {
  const Row* row = FindRow(name);
  if (row == nullptr) return NoSuch(name);
  const std::optional<uint64_t> parsed = Parse(row->unit, value);
  if (!parsed && ParseNumber(value) && UnitOf(row->unit) != "") {
    return InvalidArgument(fmt::format("{}: '{}' has no unit: write {}{}, if that is meant ({})",
                                       name, value.substr(0, 64), value.substr(0, 64),
                                       UnitOf(row->unit), RangeOf(*row)));
  }
  if (!parsed || *parsed < row->least || *parsed > row->most) {
    return InvalidArgument(
        fmt::format("{}: '{}' is not in its range: {}", name, value.substr(0, 64), RangeOf(*row)));
  }
  row->set(this, *parsed);
  return Status::Ok();
}

Status Settings::Set(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == assignment.npos) {
    return InvalidArgument(fmt::format("'{}' is not NAME=VALUE, e.g. placement.down_after=60s",
                                       assignment.substr(0, 64)));
  }
  return Set(assignment.substr(0, equals), assignment.substr(equals + 1));
}

Result<std::string> Settings::Get(std::string_view name) const {
  const Row* row = FindRow(name);
  if (row == nullptr) return NoSuch(name);
  return Format(row->unit, row->get(*this));
}

std::vector<SettingInfo> Describe(const Settings& settings) {
  const Settings defaults;
  std::vector<SettingInfo> all;
  for (const Row& row : kRows) {
    all.push_back({std::string(row.name), Format(row.unit, row.get(settings)),
                   Format(row.unit, row.get(defaults)), RangeOf(row), std::string(row.help)});
  }
  return all;
}

}  // namespace quorate::placement
