#include "tests/sim/faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "tests/sim/options.h"

namespace quorate::sim {

std::string_view ClassName(FaultClass type) {
  switch (type) {
    case FaultClass::kNetwork:
      return "network";
    case FaultClass::kProcess:
      return "process";
    case FaultClass::kDisk:
      return "disk";
    case FaultClass::kClock:
      return "clock";
    case FaultClass::kIdentity:
      return "identity";
    case FaultClass::kCluster:
      return "cluster";
  }
  return "";
}

const std::vector<FaultKind>& FaultKinds() {
  static const std::vector<FaultKind> kinds = [] {
    std::vector<FaultKind> all;
    for (const auto& table : {NetworkFaults(), ProcessFaults(), DiskFaultKinds(), ClockFaults(),
                              IdentityFaults(), ClusterFaults(), AimedFaults()}) {
      all.insert(all.end(), table.begin(), table.end());
    }
    return all;
  }();
  return kinds;
}

const FaultKind* FindFaultKind(std::string_view name) {
  for (const FaultKind& kind : FaultKinds()) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

bool FaultFilter::Allows(const FaultKind& kind) const {
  return (only.empty() || only.contains(kind.name)) && !without.contains(kind.name);
}

double DrawFrom(Random& random, Range range) {
  const double unit = random.Unit();
  if (range.low <= 0) return range.low + unit * (range.high - range.low);
  return std::exp(std::log(range.low) + unit * (std::log(range.high) - std::log(range.low)));
}

namespace {

Duration Seconds(double seconds) { return Duration(static_cast<int64_t>(seconds * 1e9)); }

void DrawKind(const FaultKind& kind, bool forced, const Options& options,
              std::vector<Fault>* schedule) {
  Random random = Random(options.seed).Fork("fault").Fork(kind.name);
  const bool on = random.Chance(kind.chance) || forced;
  const double every = DrawFrom(random, kind.every_s);
  // One strength for all of a seed's: a run with rare losses differs from one with many.
  const double strength = DrawFrom(random, kind.strength);
  if (!on || (kind.quorum_reads_only && !options.quorum_reads)) return;
  Duration at(0);
  while (true) {
    // Poisson arrivals.
    at += Seconds(-std::log(1.0 - random.Unit()) * every);
    if (at >= options.chaos) return;
    Fault fault;
    fault.at = at;
    fault.kind = &kind;
    fault.node = static_cast<int>(random.Below(static_cast<uint64_t>(options.nodes)));
    fault.other = static_cast<int>(random.Below(static_cast<uint64_t>(options.nodes)));
    fault.length = Seconds(DrawFrom(random, kind.length_s));
    fault.strength = strength;
    fault.draw = random.Next();
    schedule->push_back(fault);
  }
}

}  // namespace

std::vector<Fault> DrawSchedule(const Options& options, const FaultFilter& filter) {
  std::vector<Fault> schedule;
  for (const FaultKind& kind : FaultKinds()) {
    if (filter.Allows(kind)) DrawKind(kind, filter.Forces(kind), options, &schedule);
  }
  std::stable_sort(schedule.begin(), schedule.end(),
                   [](const Fault& a, const Fault& b) { return a.at < b.at; });
  return schedule;
}

std::string ToText(const Fault& fault) {
  std::string text = fmt::format("at={} {}", fault.at.count(), fault.kind->name);
  if (fault.node != 0) text += fmt::format(" node={}", fault.node);
  if (fault.other != 0) text += fmt::format(" other={}", fault.other);
  if (fault.length.count() != 0) text += fmt::format(" length={}", fault.length.count());
  if (fault.strength != 0) text += fmt::format(" strength={}", fault.strength);
  if (fault.draw != 0) text += fmt::format(" draw={}", fault.draw);
  return text;
}

bool ParseFault(std::string_view line, Fault* fault, std::string* error) {
  std::istringstream words{std::string(line)};
  std::string word;
  const auto refuse = [&](std::string why) {
    *error = std::move(why);
    return false;
  };
  while (words >> word) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      fault->kind = FindFaultKind(word);
      if (fault->kind == nullptr) return refuse("no fault kind is called " + word);
      continue;
    }
    const std::string name = word.substr(0, equals);
    const std::string value = word.substr(equals + 1);
    const char* end = value.data() + value.size();
    int64_t number = 0;
    std::from_chars_result parsed{};
    if (name == "strength") {
      parsed = std::from_chars(value.data(), end, fault->strength);
    } else if (name == "draw") {
      parsed = std::from_chars(value.data(), end, fault->draw);
    } else {
      parsed = std::from_chars(value.data(), end, number);
    }
    if (parsed.ec != std::errc() || parsed.ptr != end) return refuse("not a number: " + word);
    if (name == "at") fault->at = Duration(number);
    if (name == "node") fault->node = static_cast<int>(number);
    if (name == "other") fault->other = static_cast<int>(number);
    if (name == "length") fault->length = Duration(number);
  }
  return fault->kind != nullptr || refuse("no fault kind in: " + std::string(line));
}

}  // namespace quorate::sim
