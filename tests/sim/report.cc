#include "tests/sim/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "base/probe.h"

namespace quorate::sim {
namespace {

// A transaction that takes no step for so long is forgotten.
constexpr Duration kForgetAfter = std::chrono::seconds(10);
constexpr Duration kForgetDoneAfter = std::chrono::milliseconds(100);
constexpr size_t kTxnsMax = 4096;  // then looks for what can be forgotten
constexpr Duration kMoment = std::chrono::seconds(1);

// "n1.3" is the third incarnation of machine n1.
std::string_view MachineOf(const Executor& where) {
  const auto* process = dynamic_cast<const Process*>(&where);
  CHECK(process != nullptr, "a step outside of the simulation");
  const std::string_view name = process->name();
  return name.substr(0, name.find('.'));
}

struct Tally {
  uint64_t seeds = 0;
  std::map<std::string, uint64_t> probes;
  std::map<std::string, StepMatrix::Row, std::less<>> rows;
};

// Lines "seeds N", "probe HITS NAME", "cell N STEP KIND".
void AddFrom(const std::string& file, Tally* tally) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string what, name;
    uint64_t count = 0;
    size_t step = 0;
    words >> what >> count;
    if (what == "seeds") tally->seeds += count;
    if (what == "cell") words >> step;
    std::getline(words >> std::ws, name);
    // A probe that was renamed since must not count as reached.
    if (what == "probe" && tally->probes.contains(name)) tally->probes[name] += count;
    if (what == "cell" && step < kCommitStepNames.size()) tally->rows[name][step] += count;
  }
}

void WriteTo(const std::string& file, const Tally& tally) {
  std::ofstream out(file);
  out << fmt::format("seeds {}\n", tally.seeds);
  for (const auto& [name, hits] : tally.probes) out << fmt::format("probe {} {}\n", hits, name);
  for (const auto& [kind, row] : tally.rows) {
    for (size_t step = 0; step < row.size(); ++step) {
      if (row[step] != 0) out << fmt::format("cell {} {} {}\n", row[step], step, kind);
    }
  }
}

size_t PrintProbes(const Tally& tally) {
  std::vector<std::string> never;
  fmt::print("probes, in {} seeds:\n", tally.seeds);
  for (const auto& [name, hits] : tally.probes) {
    if (hits == 0) {
      never.push_back(name);
    } else {
      fmt::print("  {:>9}  {}\n", hits, name);
    }
  }
  for (const std::string& name : never) fmt::print("      NEVER  {}\n", name);
  return never.size();
}

size_t PrintMatrix(const Tally& tally, const std::vector<std::string_view>& kinds) {
  size_t never = 0;
  fmt::print("steps of a transaction x kinds of fault:\n");
  for (size_t step = 0; step < kCommitStepNames.size(); ++step) {
    fmt::print("  {:>2} {}\n", step + 1, kCommitStepNames[step]);
  }
  fmt::print("  {:<28}", "");
  for (size_t step = 0; step < kCommitStepNames.size(); ++step) fmt::print("{:>7}", step + 1);
  fmt::print("\n");
  for (const std::string_view kind : kinds) {
    const auto it = tally.rows.find(kind);
    fmt::print("  {:<28}", kind);
    for (size_t step = 0; step < kCommitStepNames.size(); ++step) {
      const uint64_t hits = it == tally.rows.end() ? 0 : it->second[step];
      if (hits == 0) ++never;
      fmt::print("{:>7}", hits == 0 ? "NEVER" : fmt::format("{}", hits));
    }
    fmt::print("\n");
  }
  return never;
}

}  // namespace

void StepMatrix::Begin(const World& world) {
  world_ = &world;
  txns_.clear();
  windows_.clear();
}

bool StepMatrix::Involves(const Txn& txn, std::string_view machine) {
  if (machine.empty() || txn.machines.contains(machine)) return true;
  return txn.step == CommitStep::kSent && machine.starts_with('n');
}

void StepMatrix::Forget(Instant now) {
  std::erase_if(txns_, [now](const auto& entry) {
    const Txn& txn = entry.second;
    return txn.since + (txn.step == CommitStep::kDone ? kForgetDoneAfter : kForgetAfter) < now;
  });
}

void StepMatrix::Hit(std::string_view kind, CommitStep step) {
  auto it = rows_.find(kind);
  if (it == rows_.end()) it = rows_.emplace(kind, Row{}).first;
  ++it->second[static_cast<size_t>(step)];
}

void StepMatrix::OnFault(std::string_view kind, std::string_view address, Duration length) {
  const Instant now = world_->now();
  const std::string_view machine = address.substr(0, address.find_first_of(".:"));
  Forget(now);
  for (const auto& [id, txn] : txns_) {
    if (Involves(txn, machine)) Hit(kind, txn.step);
  }
  windows_.push_back({std::string(kind), std::string(machine), now + std::max(length, kMoment)});
}

void StepMatrix::OnStep(const Executor& where, CommitStep step, std::string_view txn_id) {
  if (world_ == nullptr) return;
  const Instant now = world_->now();
  if (txns_.size() > kTxnsMax) Forget(now);
  auto it = txns_.find(txn_id);
  if (it == txns_.end()) it = txns_.emplace(txn_id, Txn{}).first;
  Txn& txn = it->second;
  txn.step = step;
  txn.since = now;
  txn.machines.emplace(MachineOf(where));
  std::erase_if(windows_, [now](const Window& window) { return window.until < now; });
  for (const Window& window : windows_) {
    if (Involves(txn, window.machine)) Hit(window.kind, step);
  }
}

size_t ReportBatch(const StepMatrix& matrix, const std::vector<std::string_view>& kinds,
                   uint64_t seeds, const std::string& file) {
  Tally tally{seeds, Probe::Report(), matrix.rows()};
  if (!file.empty()) {
    AddFrom(file, &tally);
    WriteTo(file, tally);
  }
  const size_t probes = PrintProbes(tally);
  const size_t cells = PrintMatrix(tally, kinds);
  fmt::print("{} probes and {} cells were never reached in {} seeds\n", probes, cells, tally.seeds);
  return probes + cells;
}

}  // namespace quorate::sim
