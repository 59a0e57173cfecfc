#include "tests/history/dependencies.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "tests/history/cycles.h"
#include "tests/history/jepsen.h"
#include "tests/history/realtime.h"

namespace quorate::history {
namespace {

struct Step {
  uint32_t from;
  uint32_t to;
  EdgeKind kind;
  Reason reason;
};

// The cycle without its gaps: a read-write edge into a gap and the way out of it are one step.
std::vector<Step> StepsOf(const Graph& graph, const std::vector<Edge>& cycle) {
  std::vector<Step> steps;
  for (const Edge& edge : cycle) {
    if (edge.kind == EdgeKind::kThrough) {
      steps.back().to = edge.to;
      steps.back().reason.to = graph.reason(edge).to;
      continue;
    }
    const bool time = edge.kind == EdgeKind::kProcess || edge.kind == EdgeKind::kRealtime;
    steps.push_back({edge.from, edge.to, edge.kind, time ? Reason{} : graph.reason(edge)});
  }
  return steps;
}

std::string Version(Workload workload, int64_t value) {
  if (value != Reason::kInitial) return Text(value);
  return workload == Workload::kListAppend ? "the empty list" : "nil";
}

std::string Why(Workload workload, const KeyNames& keys, const Step& step) {
  const bool lists = workload == Workload::kListAppend;
  const std::string a = TransactionName(step.from), b = TransactionName(step.to);
  const auto key = [&] { return keys[step.reason.key]; };
  const std::string from = Version(workload, step.reason.from),
                    to = Version(workload, step.reason.to);
  std::string_view inferred;
  switch (step.kind) {
    case EdgeKind::kRealtime:
      return fmt::format("{} completed before {} was invoked", a, b);
    case EdgeKind::kProcess:
      return fmt::format("{} came before {} in the same process", a, b);
    case EdgeKind::kWr:
      return fmt::format("{} read {} {} of {}", b, to, lists ? "at the end" : "as the value",
                         key());
    case EdgeKind::kWwProcess:
    case EdgeKind::kRwProcess:
      inferred = " (so the order of one process says)";
      break;
    case EdgeKind::kWwRealtime:
    case EdgeKind::kRwRealtime:
      inferred = " (so real time says)";
      break;
    default:
      break;
  }
  if (IsRw(step.kind)) {
    return fmt::format("{} read {} {} {} and so did not see {}, which {} {} later{}", a, key(),
                       lists ? "up to" : "as", from, to, b, lists ? "appended" : "wrote", inferred);
  }
  return lists ? fmt::format("{} appended {} to {} behind the {} of {}", b, to, key(), from, a)
               : fmt::format("{} wrote {} to {} over the {} of {}{}", b, to, key(), from, a,
                             inferred);
}

// Two-transaction write skew and four-step long fork have names of their own, known to more people.
std::string_view CommonName(const std::vector<Step>& steps) {
  if (steps.size() == 2 && IsRw(steps[0].kind) && IsRw(steps[1].kind) &&
      steps[0].reason.key != steps[1].reason.key) {
    return "write skew";
  }
  if (steps.size() != 4) return "";
  for (size_t i = 0; i < 2; ++i) {
    if (IsRw(steps[i].kind) && IsRw(steps[i + 2].kind) && steps[i + 1].kind == EdgeKind::kWr &&
        steps[(i + 3) % 4].kind == EdgeKind::kWr) {
      return "long fork";
    }
  }
  return "";
}

std::string Explain(Workload workload, const Dependencies& dependencies, const Cycle& cycle) {
  const std::vector<Step> steps = StepsOf(dependencies.graph, cycle.edges);
  std::string text;
  if (const auto name = CommonName(steps); !name.empty()) text += fmt::format("({})", name);
  std::set<uint32_t> named;
  for (const Step& step : steps) {
    if (!named.insert(step.from).second) continue;
    text += "\n  " + Describe(workload, dependencies.transactions, step.from);
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    text += fmt::format("\n  {} {} before {}: {}{}", i + 1 < steps.size() ? "-" : "- and yet",
                        TransactionName(steps[i].from), TransactionName(steps[i].to),
                        Why(workload, dependencies.keys, steps[i]),
                        i + 1 < steps.size() ? ";" : ": a contradiction");
  }
  return text;
}

}  // namespace

void AddOrders(const Model& model, Dependencies* dependencies) {
  const auto& transactions = dependencies->transactions;
  if (model.order == Order::kNone) return;
  std::map<int, uint32_t> last;  // of each process
  std::vector<Interval> intervals;
  for (uint32_t t = 0; t < transactions.size(); ++t) {
    if (transactions[t].outcome == Outcome::kFail) continue;
    intervals.push_back(IntervalOf(t, transactions[t]));
  }
  if (model.order == Order::kRealtime) {  // has the order of each process in it
    ForEachRealtimePair(std::move(intervals), [&](uint32_t a, uint32_t b) {
      dependencies->graph.Add(a, b, EdgeKind::kRealtime);
    });
    return;
  }
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) {
    return std::pair(a.invoked, a.id) < std::pair(b.invoked, b.id);
  });
  for (const Interval& interval : intervals) {
    const auto [it, first] = last.try_emplace(transactions[interval.id].process, interval.id);
    if (first) continue;
    dependencies->graph.Add(it->second, interval.id, EdgeKind::kProcess);
    it->second = interval.id;
  }
}

size_t ReportCycles(Workload workload, Dependencies* dependencies, Findings* findings) {
  dependencies->graph.Freeze();
  const Cycles cycles = FindCycles(dependencies->graph, findings->model());
  for (const auto* found : {&cycles.forbidden, &cycles.allowed}) {
    for (const Cycle& cycle : *found) {
      findings->Add(cycle.name, Explain(workload, *dependencies, cycle));
    }
  }
  if (cycles.gave_up) {
    findings->Add("cycle-search-gave-up",
                  "transactions depend on each other in circles, too many to look through: the "
                  "history may or may not be one that the model forbids");
  }
  return cycles.forbidden.size() + cycles.allowed.size();
}

std::string TransactionName(uint32_t transaction) { return fmt::format("T{}", transaction); }

std::string Describe(Workload workload, const std::vector<Transaction>& transactions,
                     uint32_t transaction) {
  const Transaction& t = transactions[transaction];
  std::string text = fmt::format("{} = process {}{}:", TransactionName(transaction), t.process,
                                 t.outcome == Outcome::kOk     ? ""
                                 : t.outcome == Outcome::kFail ? ", failed"
                                                               : ", outcome unknown");
  return text + " " + PrintOps(workload, t, 12);
}

}  // namespace quorate::history
