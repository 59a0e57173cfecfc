#include "tests/history/judge.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <iterator>

#include "tests/history/check.h"
#include "tests/history/jepsen.h"

namespace quorate::history {
namespace {

constexpr std::string_view kUsage =
    R"(quorate_history FILE.edn [--workload WORKLOAD] [--model MODEL] [--total N]

Judges a history in Jepsen's format. Exits 0 if the model allows it, 1 if not (with each anomaly, by
the names of Adya and Elle, and why), 2 if the file is not a history of the workload.

  --workload  list-append (default), rw-register, bank, set, counter, long-fork
  --model     strict-serializable (default), serializable, snapshot-isolation, ... (model.h)
  --total     bank: the sum of all balances (default: what the first read saw)
)";

struct Request {
  std::string file;
  Workload workload = Workload::kListAppend;
  Options options;
};

// What is wrong, or nothing.
std::string ParseArguments(const std::vector<std::string>& arguments, Request* request) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with("--")) {
      if (!request->file.empty()) return "more than one file";
      request->file = argument;
      continue;
    }
    if (++i == arguments.size()) return argument + " needs a value";
    const std::string& value = arguments[i];
    if (argument == "--workload") {
      const auto workload = WorkloadNamed(value);
      if (!workload) return "unknown workload " + value;
      request->workload = *workload;
    } else if (argument == "--model") {
      const auto model = ModelNamed(value);
      if (!model) return "unknown model " + value;
      request->options.model = *model;
    } else if (argument == "--total") {
      int64_t total = 0;
      const auto end = std::from_chars(value.data(), value.data() + value.size(), total);
      if (end.ec != std::errc() || end.ptr != value.data() + value.size()) {
        return "--total is a number";
      }
      request->options.bank_total = total;
    } else {
      return "unknown option " + argument;
    }
  }
  return request->file.empty() ? "which file?" : "";
}

std::optional<std::vector<Transaction>> Load(const Request& request, std::ostream& err) {
  std::ifstream file(request.file, std::ios::binary);
  if (!file) {
    err << fmt::format("{}: cannot be read\n", request.file);
    return std::nullopt;
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto parsed = ParseJepsen(request.workload, text);
  if (const auto* error = std::get_if<edn::Error>(&parsed)) {
    err << fmt::format("{}:{}:{}: {}\n", request.file, error->at.line, error->at.column,
                       error->message);
    return std::nullopt;
  }
  return std::get<std::vector<Transaction>>(std::move(parsed));
}

}  // namespace

int Judge(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  Request request;
  if (const std::string wrong = ParseArguments(arguments, &request); !wrong.empty()) {
    err << wrong << "\n" << kUsage;
    return kBadInput;
  }
  const auto transactions = Load(request, err);
  if (!transactions) return kBadInput;
  const Verdict verdict = Check(request.workload, *transactions, request.options);
  size_t ok = 0, failed = 0;
  for (const Transaction& t : *transactions) {
    ok += t.outcome == Outcome::kOk;
    failed += t.outcome == Outcome::kFail;
  }
  out << fmt::format("{}: {} operations ({} ok, {} failed, {} unknown), {}, {}\n", request.file,
                     transactions->size(), ok, failed, transactions->size() - ok - failed,
                     Name(request.workload), request.options.model.name);
  for (const Anomaly& anomaly : verdict.anomalies) {
    out << fmt::format("{}: {}\n", anomaly.name, anomaly.explanation);
  }
  for (const Anomaly& anomaly : verdict.allowed) {
    out << fmt::format("allowed by {}: {}: {}\n", request.options.model.name, anomaly.name,
                       anomaly.explanation);
  }
  out << (verdict.anomalies.empty() ? "valid\n" : "INVALID\n");
  return verdict.anomalies.empty() ? kValid : kAnomalies;
}

}  // namespace quorate::history
