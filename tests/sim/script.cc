#include "tests/sim/script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <sstream>

#include "tests/sim/workloads/workload.h"

namespace quorate::sim {

std::string ToScript(const Plan& plan, const std::string& comment) {
  std::string text = fmt::format("# {}\noptions {}\nworkloads {}\n", comment,
                                 plan.options.ToString(), fmt::join(plan.workloads, " "));
  for (const Fault& fault : plan.faults) text += fmt::format("fault {}\n", ToText(fault));
  return text;
}

namespace {

bool KnownWorkload(const std::string& name) {
  for (const auto& kind : AllWorkloads()) {
    if (kind.name == name) return true;
  }
  return false;
}

// What is wrong with the line; empty if nothing.
std::string ParseLine(const std::string& line, Plan* plan) {
  std::istringstream words(line);
  std::string verb, word;
  if (!(words >> verb) || verb[0] == '#') return {};
  if (verb == "options") {
    while (words >> word) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos ||
          !plan->options.Set(word.substr(0, equals), word.substr(equals + 1))) {
        return "no such option or value: " + word;
      }
    }
    return {};
  }
  if (verb == "workloads") {
    while (words >> word) {
      if (!KnownWorkload(word)) return "no such workload: " + word;
      plan->workloads.push_back(word);
    }
    return {};
  }
  if (verb != "fault") return "no such line: " + verb;
  Fault fault;
  std::string error;
  if (!ParseFault(line.substr(line.find("fault") + 5), &fault, &error)) return error;
  plan->faults.push_back(fault);
  return {};
}

}  // namespace

Result<Plan> ParseScript(const std::string& text) {
  Plan plan;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string wrong = ParseLine(line, &plan);
    if (!wrong.empty()) return InvalidArgument(fmt::format("line {}: {}", number, wrong));
  }
  if (plan.workloads.empty()) return InvalidArgument("no workloads");
  return plan;
}

Result<Plan> ReadScript(const std::string& path) {
  std::ifstream file(path);
  if (!file) return NotFound(path + ": cannot be read");
  std::stringstream text;
  text << file.rdbuf();
  return ParseScript(text.str());
}

}  // namespace quorate::sim
