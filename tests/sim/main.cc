// quorate_sim: whole clusters from seeds. See docs/testing.md.
//
//   quorate_sim --seeds 100 --seconds 60        a batch; every 20th seed is run twice and compared
//   quorate_sim --seed 42 --seconds 60          one seed, twice, hashes compared
//   quorate_sim --seed 42 --trace               with log lines of every process
//   quorate_sim --shrink 42 --script FILE       the smallest plan that still fails like seed 42
//   quorate_sim --replay FILE                   a plan as it was written down
//   quorate_sim --seeds 9 --history DIR         and its histories as EDN, for any checker
//   quorate_sim --list-faults                   what can go wrong
//   quorate_sim --mutants                       known bugs, each until a seed fails (mutants.h)
//
// Exit codes: 0 clean; 1 a violation; 2 bad usage; 3 a stall; 4 two runs of a seed differ.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/stubs/logging.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <set>

#include "tests/sim/mutants.h"
#include "tests/sim/report.h"
#include "tests/sim/run.h"
#include "tests/sim/script.h"
#include "tests/sim/shrink.h"
#include "tests/sim/workloads/workload.h"

// jemalloc's settings. A run makes and frees all the time from one thread: giving pages back to the
// kernel only means to fault them in again, and asks for the time on every few frees.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1";
}

namespace quorate::sim {
namespace {

constexpr int kBadUsage = 2;

// So that a broken CHECK names the seed that broke it.
volatile std::sig_atomic_t current_seed = 0;
void OnAbort(int) {
  char line[64];
  const int n = std::snprintf(line, sizeof(line), "aborted in seed %d\n", int(current_seed));
  std::fwrite(line, 1, static_cast<size_t>(n), stderr);
  std::signal(SIGABRT, SIG_DFL);
  std::signal(SIGSEGV, SIG_DFL);
}

struct Flags {
  uint64_t seeds = 0;
  uint64_t first = 1;
  uint64_t seed = 0;
  uint64_t shrink = 0;
  int seconds = 60;
  int tries = 400;
  bool calm = false;
  bool fixed_size = false;
  bool extremes = false;
  bool trace = false;
  bool report = false;
  bool strict = false;
  bool list_faults = false;
  bool mutants = false;
  std::string replay;
  std::string report_file;
  std::string script;
  std::string history;  // directory
  std::vector<std::string> only;
  std::vector<std::string> without;
  std::vector<std::string> workloads;  // empty: drawn from each seed
  MutantHunt hunt;
};

FaultFilter FilterOf(const Flags& flags) {
  return {{flags.only.begin(), flags.only.end()}, {flags.without.begin(), flags.without.end()}};
}

Plan PlanOf(uint64_t seed, const Flags& flags) {
  current_seed = static_cast<std::sig_atomic_t>(seed);
  const Duration chaos = std::chrono::seconds(flags.seconds);
  Plan plan = Plan::Draw(seed, chaos, FilterOf(flags));
  if (flags.fixed_size) {
    plan.options.FixSize();
    plan.faults = DrawSchedule(plan.options, FilterOf(flags));
  }
  if (flags.extremes) plan.options.DrawExtremes();
  if (flags.calm) plan.Calm();
  if (!flags.workloads.empty()) plan.workloads = flags.workloads;
  return plan;
}

// ---- runs and what they add up to -------------------------------------------------------------

class Totals {
 public:
  void Add(const Plan& plan, const Verdict& verdict);
  // The same seed once more: only the time counts.
  void AddTime(const Verdict& verdict) { simulated_ += verdict.simulated; }
  void Differ() { exit_code_ = 4; }
  // Prints everything; the exit code of the program.
  int Report() const;

 private:
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  int clean_ = 0;
  int failed_ = 0;
  int exit_code_ = 0;
  Duration simulated_{0};
  uint64_t acknowledged_ = 0;
  uint64_t unknown_ = 0;
  uint64_t events_ = 0;
  Witnessed witnessed_;
  std::map<std::string, int> faults_;
};

void Totals::Add(const Plan& plan, const Verdict& verdict) {
  AddTime(verdict);
  acknowledged_ += verdict.acknowledged;
  unknown_ += verdict.unknown;
  events_ += verdict.events;
  witnessed_.slots += verdict.witnessed.slots;
  witnessed_.reads += verdict.witnessed.reads;
  witnessed_.commits += verdict.witnessed.commits;
  for (const auto& [name, count] : verdict.faults) faults_[name] += count;
  if (verdict.ok()) {
    ++clean_;
    return;
  }
  ++failed_;
  exit_code_ = verdict.violations.empty() ? std::max(exit_code_, 3) : 1;
  fmt::print("seed {} FAILED\n  {} {}\n", plan.options.seed, fmt::join(plan.workloads, "+"),
             plan.options.ToString());
  for (const auto& violation : verdict.violations) fmt::print("  violation: {}\n", violation);
  for (const auto& stall : verdict.stalls) fmt::print("  stall: {}\n", stall);
  std::fflush(stdout);
}

int Totals::Report() const {
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const double simulated = static_cast<double>(simulated_.count()) / 1e9;
  fmt::print("{} clean, {} failed; {} operations acknowledged, {} unknown, {} events\n", clean_,
             failed_, acknowledged_, unknown_, events_);
  fmt::print("the witness was answered {} slots, {} reads, {} commits\n", witnessed_.slots,
             witnessed_.reads, witnessed_.commits);
  for (const FaultKind& kind : FaultKinds()) {
    const auto it = faults_.find(std::string(kind.name));
    if (it != faults_.end()) fmt::print("  {:<24} {}\n", kind.name, it->second);
  }
  fmt::print("simulated : wall = {:.0f} s : {:.1f} s = {:.0f} : 1\n", simulated, wall,
             simulated / wall);
  return exit_code_;
}

enum class Times : uint8_t { kOnce, kTwice };

void Describe(const Plan& plan) {
  std::set<std::string_view> kinds;
  for (const Fault& fault : plan.faults) kinds.insert(fault.kind->name);
  fmt::print("workloads {}\noptions {}\nfaults {} of {} kinds: {}\n",
             fmt::join(plan.workloads, " "), plan.options.ToString(), plan.faults.size(),
             kinds.size(), fmt::join(kinds, " "));
}

// As DIRECTORY/seed-N-WORKLOAD.edn.
void WriteHistories(const std::string& directory, uint64_t seed, const Histories& histories) {
  for (const auto& [workload, edn] : histories) {
    const std::string path = fmt::format("{}/seed-{}-{}.edn", directory, seed, workload);
    std::ofstream file(path, std::ios::binary);
    file << edn << std::flush;
    if (file.fail()) {
      fmt::print(stderr, "{}: cannot be written\n", path);
      std::exit(kBadUsage);
    }
  }
}

void RunOne(const Plan& plan, Times times, const Flags& flags, bool verbose, Totals* totals,
            StepMatrix* matrix = nullptr) {
  const uint64_t seed = plan.options.seed;
  if (verbose) Describe(plan);
  Histories histories;
  const Verdict verdict =
      RunPlan(plan, flags.trace, matrix, flags.history.empty() ? nullptr : &histories);
  WriteHistories(flags.history, seed, histories);
  totals->Add(plan, verdict);
  if (verbose) {
    fmt::print("seed {} trace hash {:016x}, {} events, {} acknowledged, {} unknown\n", seed,
               verdict.trace_hash, verdict.events, verdict.acknowledged, verdict.unknown);
  }
  if (times == Times::kOnce) return;
  const Verdict again = RunPlan(plan, false);
  totals->AddTime(again);
  if (again.trace_hash != verdict.trace_hash || again.next_draw != verdict.next_draw) {
    fmt::print("seed {} is not deterministic: trace hash {:016x}, then {:016x}\n", seed,
               verdict.trace_hash, again.trace_hash);
    totals->Differ();
  } else if (verbose) {
    fmt::print("seed {} again: trace hash {:016x}\n", seed, again.trace_hash);
  }
}

// ---- what the program can be asked for ----------------------------------------------------------

int RunBatch(const Flags& flags) {
  Totals totals;
  std::optional<StepMatrix> matrix;
  if (flags.report) matrix.emplace();
  for (uint64_t i = 0; i < flags.seeds; ++i) {
    const uint64_t seed = flags.first + i;
    RunOne(PlanOf(seed, flags), seed % 20 == 0 ? Times::kTwice : Times::kOnce, flags, false,
           &totals, matrix ? &*matrix : nullptr);
    if ((i + 1) % 10 == 0) {
      fmt::print("{} of {} seeds\n", i + 1, flags.seeds);
      std::fflush(stdout);
    }
  }
  const int exit_code = totals.Report();
  if (!matrix) return exit_code;
  std::vector<std::string_view> kinds;
  for (const FaultKind& kind : FaultKinds()) kinds.push_back(kind.name);
  const size_t never = ReportBatch(*matrix, kinds, flags.seeds, flags.report_file);
  return exit_code == 0 && flags.strict && never != 0 ? 1 : exit_code;
}

int RunSeed(const Flags& flags) {
  Totals totals;
  RunOne(PlanOf(flags.seed, flags), Times::kTwice, flags, true, &totals);
  return totals.Report();
}

int Replay(const Flags& flags) {
  const Result<Plan> plan = ReadScript(flags.replay);
  if (!plan.ok()) {
    fmt::print(stderr, "{}: {}\n", flags.replay, plan.status().message());
    return kBadUsage;
  }
  current_seed = static_cast<std::sig_atomic_t>(plan->options.seed);
  Totals totals;
  RunOne(*plan, Times::kTwice, flags, true, &totals);
  return totals.Report();
}

int ShrinkSeed(const Flags& flags) {
  ShrinkOptions options;
  options.tries_max = flags.tries;
  options.progress = [](const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
  };
  Plan plan = PlanOf(flags.shrink, flags);
  const Failure failure = TryPlan(plan, options.wall_seconds);
  fmt::print("seed {}: {}, {} faults\n", flags.shrink, FailureName(failure), plan.faults.size());
  if (failure == Failure::kNone) return 0;
  plan = Shrink(std::move(plan), failure, options);
  const std::string script =
      ToScript(plan, fmt::format("{}, found by seed {}", FailureName(failure), flags.shrink));
  if (flags.script.empty()) {
    fmt::print("{}", script);
  } else {
    std::ofstream(flags.script) << script;
    fmt::print("written to {}; replay it with --replay\n", flags.script);
  }
  return 1;
}

int ListFaults() {
  for (const FaultKind& kind : FaultKinds()) {
    fmt::print("{:<9} {:<24} {}\n", ClassName(kind.type), kind.name, kind.meaning);
  }
  fmt::print("{} kinds\n", FaultKinds().size());
  return 0;
}

int HuntThem(const Flags& flags) {
  MutantHunt hunt = flags.hunt;
  hunt.first_seed = flags.first;
  return HuntMutants(hunt, [&flags](uint64_t seed) {
    const Verdict verdict = RunPlan(PlanOf(seed, flags), false);
    if (!verdict.violations.empty()) return verdict.violations.front();
    return verdict.stalls.empty() ? std::string() : "stall: " + verdict.stalls.front();
  });
}

void AddFlags(CLI::App* app, Flags* flags) {
  std::set<std::string> workloads, faults;
  for (const auto& kind : AllWorkloads()) workloads.emplace(kind.name);
  for (const auto& kind : FaultKinds()) faults.emplace(kind.name);
  app->add_option("--seeds", flags->seeds, "how many seeds to run");
  app->add_option("--first", flags->first, "the first seed of a batch (default 1)");
  app->add_option("--seed", flags->seed, "run this one seed twice and compare");
  app->add_option("--seconds", flags->seconds, "virtual seconds of chaos per seed (default 60)")
      ->check(CLI::Range(1, 3600));
  app->add_option("--only", flags->only, "these fault kinds, in every seed")
      ->delimiter(',')
      ->check(CLI::IsMember(faults));
  app->add_option("--without", flags->without, "not these fault kinds")
      ->delimiter(',')
      ->check(CLI::IsMember(faults));
  app->add_option("--workload", flags->workloads, "these side by side; else drawn from each seed")
      ->delimiter(',')
      ->check(CLI::IsMember(workloads));
  app->add_flag("--calm", flags->calm, "the seed's topology without faults");
  app->add_flag("--fixed-size", flags->fixed_size, "5 nodes, 20 shards, 8 clients in every seed");
  app->add_flag("--extremes", flags->extremes,
                "draw bounds of overlay, log tails and snapshots, too");
  app->add_flag("--trace", flags->trace, "print every process's log lines");
  app->add_flag("--report", flags->report,
                "what the batch reached: probes, and steps of transactions x kinds of fault");
  app->add_option("--report-file", flags->report_file,
                  "with --report: adds this batch to what the file holds of earlier ones");
  app->add_flag("--strict", flags->strict, "with --report: exit 1 if anything was never reached");
  app->add_option("--history", flags->history,
                  "write histories into this directory, one EDN file per seed and workload")
      ->check(CLI::ExistingDirectory);
  app->add_flag("--list-faults", flags->list_faults, "list the fault kinds");
  app->add_option("--shrink", flags->shrink, "find the smallest plan that fails like this seed");
  app->add_option("--script", flags->script, "with --shrink: where to write it");
  app->add_option("--tries", flags->tries, "with --shrink: runs at most (default 400)");
  app->add_option("--replay", flags->replay, "run the plan in this file");
  app->add_flag("--mutants", flags->mutants, "hunt known bugs: each gets seeds until one fails");
  app->add_option("--mutant", flags->hunt.names,
                  "switch this known bug on; with --mutants: hunt these");
  app->add_option("--max-seeds", flags->hunt.seeds_max,
                  "with --mutants: seeds for each (default 1000)");
}

int Main(int argc, char** argv) {
  google::protobuf::SetLogHandler(nullptr);  // what flipped bits do to strings is no news
  CLI::App app("Deterministic simulation of whole quorate clusters.");
  Flags flags;
  AddFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadUsage;
  }
  if (flags.list_faults) return ListFaults();
  if (flags.mutants) return HuntThem(flags);
  if (!flags.hunt.names.empty() && !SwitchOn(flags.hunt.names.front())) {
    fmt::print(stderr, "no such mutant; they need a build with -DQUORATE_MUTANTS=ON\n");
    return kBadUsage;
  }
  std::signal(SIGABRT, OnAbort);
  std::signal(SIGSEGV, OnAbort);
  if (!flags.replay.empty()) return Replay(flags);
  if (flags.shrink != 0) return ShrinkSeed(flags);
  if (flags.seed != 0) return RunSeed(flags);
  if (flags.seeds != 0) return RunBatch(flags);
  fmt::print(stderr, "name --seeds N or --seed N; --help says more\n");
  return kBadUsage;
}

}  // namespace
}  // namespace quorate::sim

int main(int argc, char** argv) { return quorate::sim::Main(argc, argv); }
