// txn and outcome.
#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "base/status_macros.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/txn_script.h"
#include "txn/errors.h"

namespace quorate::cli {
namespace {

using Kind = TxnStep::Kind;

// Every byte of the largest transaction as \xNN, and its verbs.
constexpr size_t kScriptBytesMax = 4 * limits::kTxnBytesMax + 16 * limits::kTxnKeysMax;

// What one attempt saw; only the last attempt's is printed.
struct TxnOutput {
  struct Read {
    const TxnStep* step;
    std::optional<std::string> value;  // get
    std::vector<client::Row> rows;     // scan
  };
  std::vector<Read> reads;
  std::vector<std::string> failed_checks;  // "line 2: check a == absent does not hold: a is 'b'"
};

// A value as an error quotes it: the front of it, printable.
std::string Quoted(const std::optional<std::string>& value) {
  constexpr size_t kShown = 80;
  return value ? fmt::format("'{}'", CutTo(EscapeBytes(*value), kShown)) : std::string("absent");
}

std::string FailedCheck(const TxnStep& step, const std::optional<std::string>& found) {
  const std::string key = CutTo(EscapeBytes(step.key), 80);
  return fmt::format("line {}: check {} == {} does not hold: {} is {}", step.line, key,
                     Quoted(step.value), key, Quoted(found));
}

Status RunChecks(client::SyncTransaction& txn, const std::vector<TxnStep>& steps,
                 TxnOutput* output) {
  for (const auto& step : steps) {
    if (step.kind != Kind::kCheck) continue;
    auto value = txn.Get(step.key);
    if (!value.ok()) return value.status();
    if (*value != step.value) output->failed_checks.push_back(FailedCheck(step, *value));
  }
  std::vector<std::string>& failed = output->failed_checks;
  if (failed.empty()) return Status::Ok();
  constexpr size_t kShown = 8;
  const size_t more = failed.size() - std::min(failed.size(), kShown);
  failed.resize(failed.size() - more);
  return Status(Code::kFailedPrecondition,
                fmt::format("{}{}", fmt::join(failed, "; "),
                            more == 0 ? "" : fmt::format("; and {} more", more)));
}

Status RunStep(client::SyncTransaction& txn, const TxnStep& step, TxnOutput* output) {
  switch (step.kind) {
    case Kind::kCheck:
      return Status::Ok();
    case Kind::kGet: {
      auto value = txn.Get(step.key);
      if (!value.ok()) return value.status();
      output->reads.push_back({.step = &step, .value = std::move(*value), .rows = {}});
      return Status::Ok();
    }
    case Kind::kScan: {
      auto rows = txn.Scan(step.key, *step.value);
      if (!rows.ok()) return rows.status();
      output->reads.push_back({.step = &step, .value = {}, .rows = std::move(*rows)});
      return Status::Ok();
    }
    case Kind::kPut:
      return txn.Put(step.key, *step.value);
    case Kind::kDelete:
      return txn.Delete(step.key);
  }
  return Status::Ok();
}

Status RunSteps(client::SyncTransaction& txn, const std::vector<TxnStep>& steps,
                TxnOutput* output) {
  for (const auto& step : steps) {
    auto status = RunStep(txn, step, output);
    if (status.code() == Code::kInvalidArgument) {
      return InvalidArgument(fmt::format("line {}: {}", step.line, status.message()));
    }
    RETURN_IF_ERROR(status);
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
      // Without the tab that stands before every value: a value can look like any words.
      Say("{}{}\n", EscapeBytes(read.step->key),
          read.value ? "\t" + EscapeBytes(*read.value) : " (absent)");
    }
    for (const auto& row : read.rows) {
      Say("{}\t{}\n", EscapeBytes(row.key), EscapeBytes(row.value));
    }
  }
  Say("committed\n");
}

int RunTxn(Context& context, const std::string& file) {
  auto text = ReadInput(file, kScriptBytesMax);
  if (!text.ok()) return Fail(context, text.status());
  auto steps = ParseTxnScript(*text);
  if (!steps.ok()) return Fail(context, steps.status());
  TxnOutput output;
  const auto closure = [&](client::SyncTransaction& txn) -> Status {
    output = {};
    RETURN_IF_ERROR(RunChecks(txn, *steps, &output));
    return RunSteps(txn, *steps, &output);
  };
  auto result = context.UntilReached([&] { return context.database().Transact(closure); });
  if (!result.ok()) return FailWrite(context, result);
  PrintTxn(context, result, output);
  return kExitDone;
}

// An id as printed with exit code 3, or a name of 32 hex digits (UUID hyphens are fine) and a key.
Result<client::TxnHandle> ParseHandle(std::string id, const std::optional<std::string>& key) {
  if (!key) {
    auto handle = client::TxnHandle::Parse(id);
    if (handle.ok()) return handle;
    return InvalidArgument(fmt::format("{} (a name needs --key KEY)", handle.status().message()));
  }
  RETURN_IF_ERROR(CheckKey(*key, "--key"));
  std::erase(id, '-');
  std::string bytes;
  const auto name = FromHex(id, &bytes) ? GivenName::FromBytes(bytes) : std::nullopt;
  if (name) return client::TxnHandle::OfName(*name, *key);
  return InvalidArgument(fmt::format("'{}' is no name: a UUIDv7, 32 hex digits", id));
}

struct OutcomeFlags {
  std::string id;
  std::string key;
  bool hex = false;
  const CLI::Option* key_option = nullptr;
};

int Outcome(Context& context, OutcomeFlags flags) {
  if (auto status = DecodeArgument(flags.hex, "--key", &flags.key); !status.ok()) {
    return Fail(context, status);
  }
  const bool with_key = flags.key_option->count() > 0;
  const auto handle =
      ParseHandle(flags.id, with_key ? std::optional(std::move(flags.key)) : std::nullopt);
  if (!handle.ok()) return Fail(context, handle.status());
  auto outcome = context.UntilReached([&] { return context.database().GetOutcome(*handle); });
  // What was asked wrongly says nothing about a transaction.
  if (outcome.status().code() == Code::kInvalidArgument) return Fail(context, outcome.status());
  if (!outcome.ok()) {
    const bool never = outcome.status().code() == Code::kTooOld;
    const Status status =
        never ? outcome.status() : Status(Code::kUnknownOutcome, outcome.status().ToString());
    return FailWrite(context, {.status = status, .commit_ts = {}, .unknown = *handle});
  }
  const bool committed = *outcome == client::Outcome::kCommitted;
  const char* text = committed ? "committed" : "aborted";
  if (context.json) {
    nlohmann::ordered_json told = {{"txn_id", flags.id}, {"outcome", text}};
    if (committed) told["commit_ts"] = outcome->commit_ts.ToString();
    PrintJson(told);
  } else {
    Say("{}\n", text);
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
      "A script without a step is refused (exit 2), as it is what a generator that failed leaves.\n"
      "Checks look at the state before; gets and scans see the writes above them.",
      CommonOptions::kCluster, [&context, argument] { return RunTxn(context, *argument); })
      ->add_option("FILE", *argument, "the script; - is standard input")
      ->required();
  auto flags = std::make_shared<OutcomeFlags>();
  CLI::App* outcome = AddCommand(
      app, context, "outcome", "Tell what became of a transaction whose answer was lost.",
      "  quorate outcome TXN_ID           (as printed with exit code 3)\n"
      "  quorate outcome NAME --key KEY   (a name given to it, and any one key that it writes)\n"
      "Prints committed or aborted, for good; exit 3: it cannot be known yet, or no longer (and "
      "the\n"
      "id to ask with, which of a name is another text).\n"
      "A name of which nothing is known yet is closed by asking: it can then no longer commit.",
      CommonOptions::kCluster, [&context, flags] { return Outcome(context, *flags); });
  outcome->add_option("TXN_ID", flags->id, "the id, or the name: a UUIDv7")->required();
  flags->key_option =
      outcome->add_option("--key", flags->key, "a key that the transaction of that name writes")
          ->type_name("KEY");
  outcome->add_flag("--hex", flags->hex, "--key is in hexadecimal");
}

}  // namespace quorate::cli
