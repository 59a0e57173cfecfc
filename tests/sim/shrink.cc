#include "tests/sim/shrink.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <set>

#include "base/check.h"

namespace quorate::sim {

std::string_view FailureName(Failure failure) {
  switch (failure) {
    case Failure::kNone:
      return "clean";
    case Failure::kViolation:
      return "violation";
    case Failure::kStall:
      return "stall";
    case Failure::kAbort:
      return "abort";
    case Failure::kEndless:
      return "no end";
  }
  return "";
}

Failure TryPlan(const Plan& plan, int wall_seconds) {
  std::fflush(nullptr);
  const pid_t child = fork();
  CHECK(child >= 0, "fork failed");
  if (child == 0) {
    alarm(static_cast<unsigned>(wall_seconds));
    for (const int sign : {SIGABRT, SIGSEGV, SIGALRM}) std::signal(sign, SIG_DFL);
    const bool silent = std::freopen("/dev/null", "w", stderr) != nullptr;
    const Verdict verdict = RunPlan(plan, false);
    _exit(!silent ? 2 : !verdict.violations.empty() ? 1 : verdict.stalls.empty() ? 0 : 3);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGALRM ? Failure::kEndless : Failure::kAbort;
  }
  CHECK(WEXITSTATUS(status) != 2, "a try could not be started");
  return WEXITSTATUS(status) == 1   ? Failure::kViolation
         : WEXITSTATUS(status) == 3 ? Failure::kStall
                                    : Failure::kNone;
}

namespace {

class Shrinker {
 public:
  Shrinker(Plan plan, Failure failure, const ShrinkOptions& options)
      : best_(std::move(plan)), failure_(failure), options_(options) {}

  Plan Go() {
    size_t before = 0;
    do {
      before = Size();
      CutTime();
      DropKinds();
      DropFaults();
      DropWorkloads();
      Fewer(&Options::clients, 1, "clients");
      Fewer(&Options::accounts, 2, "accounts");
      Fewer(&Options::lists, 1, "lists");
      Fewer(&Options::shards, 1, "shards");
      Fewer(&Options::nodes, 3, "nodes");
    } while (Size() < before && tries_ < options_.tries_max);
    return best_;
  }

 private:
  size_t Size() const {
    const Options& o = best_.options;
    return best_.faults.size() + best_.workloads.size() +
           static_cast<size_t>(o.clients + o.accounts + o.lists + o.shards + o.nodes) +
           static_cast<size_t>(o.chaos / 1s);
  }

  // Keeps `plan` if it fails in the same way.
  bool Try(Plan plan, const std::string& what) {
    if (tries_ >= options_.tries_max) return false;
    ++tries_;
    if (TryPlan(plan, options_.wall_seconds) != failure_) return false;
    best_ = std::move(plan);
    if (options_.progress) {
      options_.progress(fmt::format("try {}: {}; {} faults, {} s", tries_, what,
                                    best_.faults.size(), best_.options.chaos / 1s));
    }
    return true;
  }

  void CutTime() {
    for (Duration chaos = best_.options.chaos / 2; chaos >= 1s; chaos /= 2) {
      Plan plan = best_;
      plan.options.chaos = chaos;
      std::erase_if(plan.faults, [&](const Fault& fault) { return fault.at >= chaos; });
      if (!Try(std::move(plan), "less time")) return;
    }
  }

  void DropKinds() {
    std::set<const FaultKind*> kinds;
    for (const Fault& fault : best_.faults) kinds.insert(fault.kind);
    // In the order of the table, not of addresses.
    for (const FaultKind& kind : FaultKinds()) {
      if (!kinds.contains(&kind)) continue;
      Plan plan = best_;
      std::erase_if(plan.faults, [&](const Fault& fault) { return fault.kind == &kind; });
      Try(std::move(plan), fmt::format("without {}", kind.name));
    }
  }

  // Halves, quarters ... single ones.
  void DropFaults() {
    for (size_t piece = (best_.faults.size() + 1) / 2; piece > 0; piece /= 2) {
      for (size_t at = 0; at < best_.faults.size();) {
        Plan plan = best_;
        const auto from = plan.faults.begin() + static_cast<int64_t>(at);
        const size_t n = std::min(piece, plan.faults.size() - at);
        plan.faults.erase(from, from + static_cast<int64_t>(n));
        if (!Try(std::move(plan), fmt::format("without {} faults", n))) at += piece;
        if (tries_ >= options_.tries_max) return;
      }
    }
  }

  void DropWorkloads() {
    for (size_t i = 0; best_.workloads.size() > 1 && i < best_.workloads.size();) {
      Plan plan = best_;
      plan.workloads.erase(plan.workloads.begin() + static_cast<int64_t>(i));
      if (!Try(std::move(plan), "without a workload")) ++i;
    }
  }

  void Fewer(int Options::*field, int least, const char* what) {
    while (best_.options.*field > least) {
      Plan plan = best_;
      plan.options.*field = std::max(least, plan.options.*field / 2);
      if (Try(std::move(plan), fmt::format("half the {}", what))) continue;
      plan = best_;
      --(plan.options.*field);
      if (!Try(std::move(plan), fmt::format("one less of {}", what))) return;
    }
  }

  Plan best_;
  const Failure failure_;
  const ShrinkOptions& options_;
  int tries_ = 0;
};

}  // namespace

Plan Shrink(Plan plan, Failure failure, const ShrinkOptions& options) {
  return Shrinker(std::move(plan), failure, options).Go();
}

}  // namespace quorate::sim
