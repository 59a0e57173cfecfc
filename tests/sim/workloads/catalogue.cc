#include "tests/sim/workloads/catalogue.h"

#include <fmt/format.h>

#include <charconv>

#include "base/check.h"

namespace quorate::sim {

const std::vector<WorkloadKind>& AllWorkloads() {
  static const std::vector<WorkloadKind> kAll = {
      {"bank", "transfers, totals at snapshots, a ledger row per transfer", MakeBank},
      {"list-append", "reads and appends to lists, judged by tests/history", MakeListAppend},
  };
  return kAll;
}

std::vector<std::string> DrawWorkloads(uint64_t seed) {
  Random random = Random(seed).Fork("workloads");
  const auto& all = AllWorkloads();
  std::vector<std::string> names = {std::string(all[random.Below(all.size())].name)};
  if (random.Chance(0.5)) {
    const std::string_view other = all[random.Below(all.size())].name;
    if (other != names.front()) names.emplace_back(other);
  }
  return names;
}

history::Outcome Workload::Count(const Status& status) {
  if (status.ok()) {
    ++acknowledged_;
    return history::Outcome::kOk;
  }
  if (status.code() != Code::kUnknownOutcome) return history::Outcome::kFail;
  ++unknown_;
  return history::Outcome::kUnknown;
}

std::string SpreadKey(std::string_view prefix, int index, int count) {
  const int position = static_cast<int>(static_cast<int64_t>(index) * 65536 / count);
  std::string key;
  key.push_back(static_cast<char>(position >> 8));
  key.push_back(static_cast<char>(position & 0xff));
  return key + std::string(prefix) + fmt::format("{:04}", index);
}

int64_t ToInt(const std::optional<std::string>& text) {
  if (!text) return 0;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  CHECK(error == std::errc() && end == text->data() + text->size(), "not a number: {}", *text);
  return value;
}

}  // namespace quorate::sim
