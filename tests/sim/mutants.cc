#include "tests/sim/mutants.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/check.h"
#include "base/mutant.h"

namespace quorate::sim {
namespace {

constexpr size_t kSeenMax = 110;  // characters of what was seen, in the table
constexpr rlim_t kMemoryMax = 6ull << 30;
// Exit code of a child whose seed was clean and never came to the mutant's place.
constexpr int kNotPassed = 3;
// The last line of a child that ended by itself.
constexpr std::string_view kSeenMark = "\x01seen: ";

// Whether this process came to the place of its mutant.
bool Passed() {
#ifdef QUORATE_MUTANTS
  return mutant_passed != 0;
#else
  return false;
#endif
}

// One mutant being hunted: seed after seed, one child at a time, so that the count of seeds does
// not depend on what runs beside it.
struct Trail {
  const Mutant* mutant = nullptr;
  uint64_t tried = 0;   // seeds, with the running one
  uint64_t passed = 0;  // clean ones that came to its place
  pid_t child = 0;
  int output_fd = -1;
  std::string output;
};

[[noreturn]] void RunChild(const Trail& trail, uint64_t seed, const MutantHunt& hunt,
                           const RunSeedFn& run_seed, int out) {
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  const rlimit memory{kMemoryMax, kMemoryMax};
  setrlimit(RLIMIT_AS, &memory);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  // CPU time: what else the machine does must not catch a mutant.
  const auto seconds = static_cast<rlim_t>(hunt.cpu_max / std::chrono::seconds(1));
  const rlimit cpu{seconds, seconds + 1};
  setrlimit(RLIMIT_CPU, &cpu);
  CHECK(SwitchOn(trail.mutant->name));
  const std::string seen = run_seed(seed);
  fmt::print("\n{}{}\n", kSeenMark, seen);
  std::fflush(stdout);
  if (!seen.empty()) _exit(1);
  _exit(Passed() ? 0 : kNotPassed);
}

void StartNext(Trail* trail, const MutantHunt& hunt, const RunSeedFn& run_seed) {
  int ends[2];
  CHECK(pipe(ends) == 0, "pipe");
  std::fflush(stdout);
  const uint64_t seed = hunt.first_seed + trail->tried++;
  trail->child = fork();
  CHECK(trail->child >= 0, "fork");
  if (trail->child == 0) {
    close(ends[0]);
    RunChild(*trail, seed, hunt, run_seed, ends[1]);
  }
  close(ends[1]);
  trail->output_fd = ends[0];
  trail->output.clear();
}

std::string Shortened(std::string line) {
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::replace(line.begin(), line.end(), '|', '/');
  if (line.size() > kSeenMax) line = line.substr(0, kSeenMax - 3) + "...";
  return line;
}

// What the ended child has to say; empty if the seed was clean.
std::string Verdict(const Trail& trail, int status, const MutantHunt& hunt) {
  const bool ended = WIFEXITED(status);
  if (ended && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kNotPassed)) return {};
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) {
    return fmt::format("did not end in {} s of CPU time", hunt.cpu_max / std::chrono::seconds(1));
  }
  for (const std::string_view mark : {kSeenMark, std::string_view("invariant broken: ")}) {
    const size_t at = trail.output.rfind(mark);
    if (at == std::string::npos) continue;
    const size_t from = mark == kSeenMark ? at + mark.size() : at;
    return Shortened(trail.output.substr(from, trail.output.find('\n', from) - from));
  }
  return WIFSIGNALED(status) ? fmt::format("died of signal {}", WTERMSIG(status)) : "exited";
}

// Reads what the child says, and reaps it when it has ended. True: it has, with `status`.
bool Listen(Trail* trail, int* status) {
  char buffer[4096];
  const ssize_t n = read(trail->output_fd, buffer, sizeof(buffer));
  if (n > 0) {
    trail->output.append(buffer, static_cast<size_t>(n));
    return false;
  }
  close(trail->output_fd);
  CHECK(waitpid(trail->child, status, 0) == trail->child, "waitpid");
  return true;
}

void PrintRow(const Trail& trail, const std::string& seen) {
  fmt::print("| {} | {} | {} | {} |\n", trail.mutant->name, trail.mutant->broken,
             seen.empty() ? "SURVIVED" : fmt::format("{}", trail.tried),
             seen.empty() ? fmt::format("nothing in {} seeds, {} of which came to its place",
                                        trail.tried, trail.passed)
                          : seen);
  std::fflush(stdout);
}

void PrintSummary(std::vector<uint64_t> caught, size_t survived) {
  std::sort(caught.begin(), caught.end());
  if (!caught.empty()) {
    fmt::print("\n{} caught, median {} seeds, most {}; ", caught.size(), caught[caught.size() / 2],
               caught.back());
  }
  fmt::print("{} survived\n", survived);
}

}  // namespace

#ifdef QUORATE_MUTANTS

bool SwitchOn(std::string_view mutant) {
  for (const Mutant& known : AllMutants()) {
    if (known.name != mutant) continue;
    active_mutant = known.name;
    return true;
  }
  return false;
}

#else

bool SwitchOn(std::string_view) { return false; }
const std::vector<Mutant>& AllMutants() {
  static const std::vector<Mutant> none;
  return none;
}

#endif

int HuntMutants(const MutantHunt& hunt, const RunSeedFn& run_seed) {
  std::vector<const Mutant*> left;
  for (const Mutant& mutant : AllMutants()) {
    const bool wanted = hunt.names.empty() || std::find(hunt.names.begin(), hunt.names.end(),
                                                        mutant.name) != hunt.names.end();
    if (wanted) left.push_back(&mutant);
  }
  if (left.empty() || left.size() < hunt.names.size()) {
    fmt::print(stderr, "no such mutant; they need a build with -DQUORATE_MUTANTS=ON\n");
    return 2;
  }
  std::reverse(left.begin(), left.end());
  fmt::print(
      "| mutant | what is broken | seeds until caught | how it was seen |\n|---|---|---|---|\n");
  std::vector<uint64_t> caught;
  size_t survived = 0;
  std::vector<Trail> trails;
  while (!left.empty() || !trails.empty()) {
    while (!left.empty() && trails.size() < static_cast<size_t>(hunt.parallel)) {
      trails.push_back({left.back()});
      left.pop_back();
      StartNext(&trails.back(), hunt, run_seed);
    }
    std::vector<pollfd> fds;
    for (const Trail& trail : trails) fds.push_back({trail.output_fd, POLLIN, 0});
    CHECK(poll(fds.data(), fds.size(), -1) > 0, "poll");
    for (size_t i = trails.size(); i-- > 0;) {
      int status = 0;
      if (fds[i].revents == 0 || !Listen(&trails[i], &status)) continue;
      const std::string seen = Verdict(trails[i], status, hunt);
      if (seen.empty() && WEXITSTATUS(status) == 0) ++trails[i].passed;
      if (seen.empty() && trails[i].tried < hunt.seeds_max) {
        StartNext(&trails[i], hunt, run_seed);
        continue;
      }
      PrintRow(trails[i], seen);
      seen.empty() ? void(++survived) : caught.push_back(trails[i].tried);
      trails.erase(trails.begin() + static_cast<long>(i));
    }
  }
  PrintSummary(std::move(caught), survived);
  return survived == 0 ? 0 : 1;
}

}  // namespace quorate::sim
