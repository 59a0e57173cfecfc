// quorate_scale: the schedulers alone, with as many nodes and shards as one likes.
//
// Exit codes: 0 all as it has to be, 1 something is not, 2 usage.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <string>
#include <vector>

#include "base/real_clock.h"
#include "tests/placement/scale/scenarios.h"

namespace {

using quorate::Duration;
namespace scale = quorate::placement::scale;

double Millis(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

std::string Ratio(const scale::Outcome& outcome) {
  if (outcome.least_moves == 0) return "-";
  return fmt::format("{:.3f}",
                     static_cast<double>(outcome.moves) / static_cast<double>(outcome.least_moves));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "The schedulers of placement on large clusters: what they move, and how long they take.");
  scale::Size size;
  std::vector<std::string> scenarios;
  std::string svg_folder;
  double round_ms_max = 0;
  std::string known = "Scenarios, all if none is named:";
  for (const std::string& name : scale::Scenarios()) {
    known += fmt::format("\n  {:14} {}", name, scale::HelpOf(name));
  }
  app.footer(known);
  app.add_option("SCENARIO", scenarios, "which")->check(CLI::IsMember(scale::Scenarios()));
  app.add_option("--nodes", size.nodes)->check(CLI::Range(10, 10'000))->capture_default_str();
  app.add_option("--shards", size.shards)
      ->check(CLI::Range(100, 10'000'000))
      ->capture_default_str();
  app.add_option("--zones", size.zones, "at least 3")
      ->check(CLI::Range(3, 100))
      ->capture_default_str();
  app.add_option("--racks", size.racks, "in each zone")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--seed", size.seed)->capture_default_str();
  app.add_option("--day", size.day_seconds, "seconds of the scenario `day`")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app.add_option("--svg", svg_folder, "write SCENARIO.svg here: load per node over time")
      ->check(CLI::ExistingDirectory);
  app.add_option("--round-ms-max", round_ms_max, "a longer round is an error (0: it is not)")
      ->check(CLI::NonNegativeNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (scenarios.empty()) scenarios = scale::Scenarios();
  const quorate::RealClock clock;
  fmt::print("{} nodes in {} zones, {} shards, seed {}\n", size.nodes, size.zones, size.shards,
             size.seed);
  fmt::print("{:14} {:>9} {:>9} {:>9} {:>7} {:>9} {:>8} {:>10} {:>10}\n", "scenario", "seconds",
             "moves", "least", "ratio", "transfers", "rounds", "mean ms", "max ms");
  bool fine = true;
  for (const std::string& name : scenarios) {
    scale::Outcome outcome = scale::Run(name, size, clock);
    if (outcome.wrong.empty() && round_ms_max > 0 && Millis(outcome.round_max) > round_ms_max) {
      outcome.wrong = "a round took too long";
    }
    fmt::print("{:14} {:>9} {:>9} {:>9} {:>7} {:>9} {:>8} {:>10.2f} {:>10.1f}\n  {}\n", name,
               outcome.seconds, outcome.moves, outcome.least_moves, Ratio(outcome),
               outcome.transfers, outcome.rounds, Millis(outcome.round_mean),
               Millis(outcome.round_max), outcome.note);
    if (!outcome.wrong.empty()) fmt::print("  WRONG: {}\n", outcome.wrong);
    std::fflush(stdout);
    fine &= outcome.wrong.empty();
    if (svg_folder.empty()) continue;
    const std::string path = svg_folder + "/" + name + ".svg";
    std::ofstream(path) << outcome.svg;
    fmt::print("  {}\n", path);
  }
  return fine ? 0 : 1;
}
