#include "tests/sim/workloads/catalogue.h"

#include <fmt/format.h>

#include <charconv>

#include "base/check.h"

namespace quorate::sim {

const std::vector<WorkloadKind>& AllWorkloads() {
  static const std::vector<WorkloadKind> kAll = {
      {"bank", "transfers, totals at snapshots, a ledger row per transfer", MakeBank},
      {"list-append", "reads and appends to lists, judged by tests/history", MakeListAppend},
      {"rw-register", "reads and writes of registers, judged by tests/history", MakeRwRegister},
      {"single-key", "calls on one key outside of transactions: linearizable", MakeSingleKey},
      {"set", "elements added one by one, all read at once", MakeSet},
      {"counter", "increments sent again when their answer is lost count once", MakeCounter},
      {"long-fork", "readers agree on the order of two independent writes", MakeLongFork},
      {"causal-reverse", "a write is not seen without those acknowledged before it began",
       MakeCausalReverse},
      {"write-skew", "two transactions that read what the other writes", MakeWriteSkew},
      {"phantom", "scan, then insert if nothing was found", MakePhantom},
      {"monotonic", "a number only rises, in the order of commit timestamps", MakeMonotonic},
      {"internal", "a transaction sees its own writes, in every way of reading", MakeInternal},
      {"large", "hundreds of keys at once, all or none; keys and values at their limits",
       MakeLarge},
      {"hot", "everybody increments one key", MakeHot},
      {"locks", "GetForUpdate on several keys in any order", MakeLocks},
      {"long-snapshot", "old snapshots against garbage collection", MakeLongSnapshot},
      {"client-death", "clients that die while they commit; others ask what became of it",
       MakeClientDeath},
      {"outcome", "clients that give up; the answer about it is final and true", MakeOutcome},
      {"names", "named Executes and sessions sent again and asked about, by anyone, anywhere",
       MakeNames},
      {"hostile", "malformed and contradictory requests of clients and peers, the horizon moving",
       MakeHostile},
      {"mutated", "requests with fields emptied, blown up and repeated; others' sent again",
       MakeMutated},
      {"stale", "snapshots of the past from any replica, beside transactions over many shards",
       MakeStale},
      {"thin", "Execute and sessions of the public service, with lost answers", MakeThin},
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
