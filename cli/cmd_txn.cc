// txn and outcome.
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <iterator>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/txn_script.h"

namespace quorate::cli {
namespace {

using Kind = TxnStep::Kind;

// What one attempt saw; only the last attempt's is printed.
struct TxnOutput {
  struct Read {
    const TxnStep* step;
    std::optional<std::string> value;  // get
    std::vector<client::Row> rows;     // scan
  };
  std::vector<Read> reads;
  std::vector<int> failed_lines;
};

Status RunChecks(client::SyncTransaction& txn, const std::vector<TxnStep>& steps,
                 TxnOutput* output) {
  for (const auto& step : steps) {
    if (step.kind != Kind::kCheck) continue;
    auto value = txn.Get(step.key);
    if (!value.ok()) return value.status();
    if (*value != step.value) output->failed_lines.push_back(step.line);
  }
  if (output->failed_lines.empty()) return Status::Ok();
  return Status(Code::kFailedPrecondition, fmt::format("the check in line {} does not hold",
                                                       fmt::join(output->failed_lines, ", ")));
}

Status RunSteps(client::SyncTransaction& txn, const std::vector<TxnStep>& steps,
                TxnOutput* output) {
  for (const auto& step : steps) {
    switch (step.kind) {
      case Kind::kCheck:
        break;
      case Kind::kGet: {
        auto value = txn.Get(step.key);
        if (!value.ok()) return value.status();
        output->reads.push_back({.step = &step, .value = std::move(*value), .rows = {}});
        break;
      }
      case Kind::kScan: {
        auto rows = txn.Scan(step.key, *step.value);
        if (!rows.ok()) return rows.status();
        output->reads.push_back({.step = &step, .value = {}, .rows = std::move(*rows)});
        break;
      }
      case Kind::kPut:
        RETURN_IF_ERROR(txn.Put(step.key, *step.value));
        break;
      case Kind::kDelete:
        RETURN_IF_ERROR(txn.Delete(step.key));
        break;
    }
  }
  return Status::Ok();
}

nlohmann::ordered_json RowJson(std::string_view key, const std::optional<std::string>& value) {
  nlohmann::ordered_json json;
  SetBytes(json, "key", key);
  json["found"] = value.has_value();
  if (value) SetBytes(json, "value", *value);
  return json;
}

void PrintTxn(const Context& context, const client::CommitResult& result, const TxnOutput& output) {
  if (context.json) {
    nlohmann::ordered_json json;
    json["committed"] = true;
    json["commit_ts"] = result.commit_ts.ToString();
    json["shards"] = result.shards;
    json["attempts"] = result.attempts;
    auto& results = json["results"] = nlohmann::ordered_json::array();
    for (const auto& read : output.reads) {
      if (read.step->kind == Kind::kGet) {
        results.push_back(RowJson(read.step->key, read.value));
        continue;
      }
      auto rows = nlohmann::ordered_json::array();
      for (const auto& row : read.rows) rows.push_back(RowJson(row.key, row.value));
      results.push_back({{"rows", rows}});
    }
    PrintJson(json);
    return;
  }
  for (const auto& read : output.reads) {
    if (read.step->kind == Kind::kGet) {
      fmt::print("{}\t{}\n", Printable(read.step->key),
                 read.value ? Printable(*read.value, 1 << 20) : "(absent)");
    }
    for (const auto& row : read.rows) {
      fmt::print("{}\t{}\n", Printable(row.key), Printable(row.value, 1 << 20));
    }
  }
  fmt::print("committed\n");
}

int RunTxn(Context& context, const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return Fail(context, InvalidArgument(fmt::format("cannot read '{}'", file)));
    text.assign(std::istreambuf_iterator<char>(stream), {});
  }
  auto steps = ParseTxnScript(text);
  if (!steps.ok()) return Fail(context, steps.status());
  TxnOutput output;
  auto result = context.database().Transact([&](client::SyncTransaction& txn) -> Status {
    output = {};
    RETURN_IF_ERROR(RunChecks(txn, *steps, &output));
    return RunSteps(txn, *steps, &output);
  });
  if (!result.ok()) return FailWrite(context, result);
  PrintTxn(context, result, output);
  return kExitDone;
}

int Outcome(Context& context, const std::string& id) {
  auto handle = client::TxnHandle::Parse(id);
  if (!handle) {
    return Fail(context,
                InvalidArgument(fmt::format("'{}' is not a transaction id as txn prints it", id)));
  }
  auto outcome = context.database().GetOutcome(*handle);
  if (!outcome.ok()) {
    return FailWrite(context, {.status = Status(Code::kUnknownOutcome, outcome.status().ToString()),
                               .commit_ts = {},
                               .unknown = *handle});
  }
  const char* text = *outcome == client::Outcome::kCommitted ? "committed" : "aborted";
  if (context.json) {
    PrintJson({{"txn_id", id}, {"outcome", text}});
  } else {
    fmt::print("{}\n", text);
  }
  return kExitDone;
}

}  // namespace

void RegisterTxn(CLI::App& app, Context& context) {
  auto argument = std::make_shared<std::string>();
  AddCommand(
      app, context, "txn", "Run a transaction from a file, or from standard input.",
      "  quorate txn transfer.txt\n"
      "  printf 'check a == 1\\nput a 0\\nput b 1\\n' | quorate txn -\n"
      "Lines: check KEY == VALUE|absent, get KEY, put KEY VALUE, delete KEY, scan FROM TO.\n"
      "All of it happens, or nothing: if a check does not hold, or on conflict to the end of\n"
      "the time, exit 1. Words with blanks stand in double quotes (\\\" \\\\ \\n \\t \\xNN).\n"
      "Checks look at the state before; gets and scans see the writes above them.",
      CommonOptions::kCluster, [&context, argument] { return RunTxn(context, *argument); })
      ->add_option("FILE", *argument, "the script; - is standard input")
      ->required();
  AddCommand(app, context, "outcome", "Tell what became of a transaction whose answer was lost.",
             "  quorate outcome TXN_ID     (as printed with exit code 3)\n"
             "Prints committed or aborted, for good; exit 3: it cannot be known yet, or no longer.",
             CommonOptions::kCluster, [&context, argument] { return Outcome(context, *argument); })
      ->add_option("TXN_ID", *argument)
      ->required();
}

}  // namespace quorate::cli
