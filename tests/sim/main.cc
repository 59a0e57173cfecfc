// quorate_sim: whole clusters from seeds. See docs/testing.md.
//
//   quorate_sim --seeds 100 --seconds 60        a batch; every 20th seed is run twice and compared
//   quorate_sim --seed 42 --seconds 60          one seed, twice, hashes compared
//   quorate_sim --seed 42 --trace               with log lines of every process
//   quorate_sim --mutants                       known bugs, each until a seed fails (mutants.h)
//
// Exit codes: 0 clean; 1 a violation; 2 bad usage; 3 a stall; 4 two runs of a seed differ.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <set>

#include "base/probe.h"
#include "tests/sim/mutants.h"
#include "tests/sim/run.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {
namespace {

// So that a broken CHECK names the seed that broke it.
volatile std::sig_atomic_t current_seed = 0;
void OnAbort(int) {
  char line[64];
  const int n = std::snprintf(line, sizeof(line), "aborted in seed %d\n", int(current_seed));
  std::fwrite(line, 1, static_cast<size_t>(n), stderr);
  std::signal(SIGABRT, SIG_DFL);
  std::signal(SIGSEGV, SIG_DFL);
}

struct Totals {
  int clean = 0;
  int failed = 0;
  int exit_code = 0;
  Duration simulated{0};
  uint64_t acknowledged = 0;
  uint64_t unknown = 0;
  uint64_t events = 0;
  std::map<std::string, int> faults;
};

void Report(const Options& options, const std::string& workload, const Verdict& verdict,
            Totals* totals) {
  totals->simulated += verdict.simulated;
  totals->acknowledged += verdict.acknowledged;
  totals->unknown += verdict.unknown;
  totals->events += verdict.events;
  for (const auto& [name, count] : verdict.faults) totals->faults[name] += count;
  if (verdict.ok()) {
    ++totals->clean;
    return;
  }
  ++totals->failed;
  totals->exit_code = verdict.violations.empty() ? std::max(totals->exit_code, 3) : 1;
  fmt::print("seed {} ({}) FAILED\n  {}\n", options.seed, workload, options.ToString());
  for (const auto& violation : verdict.violations) fmt::print("  violation: {}\n", violation);
  for (const auto& stall : verdict.stalls) fmt::print("  stall: {}\n", stall);
}

struct Flags {
  bool calm = false;
  bool trace = false;
  std::vector<std::string> workloads;  // empty: drawn from each seed
};

void RunOne(uint64_t seed, Duration chaos, bool twice, const Flags& flags, bool verbose,
            Totals* totals) {
  current_seed = static_cast<std::sig_atomic_t>(seed);
  const Options drawn = Options::Draw(seed, chaos);
  const Options options = flags.calm ? drawn.Calm() : drawn;
  const auto workloads = flags.workloads.empty() ? DrawWorkloads(seed) : flags.workloads;
  const std::string name = fmt::format("{}", fmt::join(workloads, "+"));
  if (verbose) fmt::print("seed {} {} {}\n", seed, name, options.ToString());
  const Verdict verdict = RunSeed(options, workloads, flags.trace);
  Report(options, name, verdict, totals);
  if (verbose) {
    fmt::print("seed {} trace hash {:016x}, {} events, {} acknowledged, {} unknown\n", seed,
               verdict.trace_hash, verdict.events, verdict.acknowledged, verdict.unknown);
  }
  if (!twice) return;
  const Verdict again = RunSeed(options, workloads, false);
  if (again.trace_hash != verdict.trace_hash || again.next_draw != verdict.next_draw) {
    fmt::print("seed {} is not deterministic: trace hash {:016x}, then {:016x}\n", seed,
               verdict.trace_hash, again.trace_hash);
    totals->exit_code = 4;
  } else if (verbose) {
    fmt::print("seed {} again: trace hash {:016x}\n", seed, again.trace_hash);
  }
}

// What one seed shows of the bug that is switched on.
std::string FirstFinding(uint64_t seed, Duration chaos) {
  current_seed = static_cast<std::sig_atomic_t>(seed);
  const Verdict verdict = RunSeed(Options::Draw(seed, chaos), DrawWorkloads(seed), false);
  if (!verdict.violations.empty()) return verdict.violations.front();
  return verdict.stalls.empty() ? std::string() : "stall: " + verdict.stalls.front();
}

int Main(int argc, char** argv) {
  CLI::App app("Deterministic simulation of whole quorate clusters.");
  uint64_t seeds = 0, first = 1, seed = 0;
  int seconds = 60;
  bool probes = false, mutants = false;
  MutantHunt hunt;
  Flags flags;
  app.add_option("--seeds", seeds, "how many seeds to run");
  app.add_option("--first", first, "the first seed of a batch (default 1)");
  app.add_option("--seed", seed, "run this one seed twice and compare");
  app.add_option("--seconds", seconds, "virtual seconds of chaos per seed (default 60)")
      ->check(CLI::Range(1, 3600));
  app.add_flag("--calm", flags.calm, "the seed's topology without faults");
  app.add_flag("--trace", flags.trace, "print every process's log lines");
  std::set<std::string> known;
  for (const auto& kind : AllWorkloads()) known.emplace(kind.name);
  app.add_option("--workload", flags.workloads, "these side by side; else drawn from each seed")
      ->check(CLI::IsMember(known));
  app.add_flag("--probes", probes, "list the rare branches that were reached");
  app.add_flag("--mutants", mutants, "hunt known bugs: each gets seeds until one fails");
  app.add_option("--mutant", hunt.names, "switch this known bug on; with --mutants: hunt these");
  app.add_option("--max-seeds", hunt.seeds_max, "with --mutants: seeds for each (default 1000)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  hunt.first_seed = first;
  if (mutants) {
    return HuntMutants(
        hunt, [seconds](uint64_t s) { return FirstFinding(s, std::chrono::seconds(seconds)); });
  }
  if (!hunt.names.empty() && !SwitchOn(hunt.names.front())) {
    fmt::print(stderr, "no such mutant; they need a build with -DQUORATE_MUTANTS=ON\n");
    return 2;
  }
  if (seeds == 0 && seed == 0) {
    fmt::print(stderr, "name --seeds N or --seed N; --help says more\n");
    return 2;
  }
  std::signal(SIGABRT, OnAbort);
  std::signal(SIGSEGV, OnAbort);
  const auto started = std::chrono::steady_clock::now();
  const Duration chaos = std::chrono::seconds(seconds);
  Totals totals;
  if (seed != 0) {
    RunOne(seed, chaos, true, flags, true, &totals);
  } else {
    for (uint64_t s = first; s < first + seeds; ++s) {
      RunOne(s, chaos, s % 20 == 0, flags, false, &totals);
      if ((s - first + 1) % 10 == 0) {
        fmt::print("{} of {} seeds\n", s - first + 1, seeds);
        std::fflush(stdout);
      }
    }
  }
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const double simulated = static_cast<double>(totals.simulated.count()) / 1e9;
  fmt::print("{} clean, {} failed; {} operations acknowledged, {} unknown, {} events\n",
             totals.clean, totals.failed, totals.acknowledged, totals.unknown, totals.events);
  for (const auto& [name, count] : totals.faults) fmt::print("  {:<16} {}\n", name, count);
  if (probes) {
    for (const auto& [name, hits] : Probe::Report()) fmt::print("  probe {:<40} {}\n", name, hits);
  }
  fmt::print("simulated : wall = {:.0f} s : {:.1f} s = {:.0f} : 1\n", simulated, wall,
             simulated / wall);
  return totals.exit_code;
}

}  // namespace
}  // namespace quorate::sim

int main(int argc, char** argv) { return quorate::sim::Main(argc, argv); }
