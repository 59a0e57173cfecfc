// What every subcommand shares: common options, the connection to a cluster, exit codes and output.
//
// A command is one file with one Register function that adds it to the CLI::App; main.cc lists
// them. Exit codes, everywhere:
//   0  done
//   1  refused or failed: nothing happened
//   2  bad input or usage
//   3  the outcome is not known; a transaction's id is printed, `quorate outcome ID` asks about it.
//      What was never sent is 1
//   4  get: there is no such key
//   5  done, but standard output could not be written (cli/output.h)
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cli/admin.h"
#include "client/database.h"

namespace quorate::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnknown = 3;
inline constexpr int kExitAbsent = 4;
inline constexpr int kExitOutputLost = 5;

// Common options as given, and what is made of them.
class Context {
 public:
  // Takes --cluster's default from QUORATE_CLUSTER.
  Context();

  std::string cluster_text = "127.0.0.1:7400";
  std::string timeout_text = "10s";
  bool json = false;
  int exit_code = kExitDone;

  // INVALID_ARGUMENT if an address or the timeout is malformed. Called before a command runs.
  Status Check();
  const std::vector<std::string>& addresses() const { return addresses_; }
  Duration timeout() const { return timeout_; }
  // Opened at first use.
  client::Database& database();
  Admin& admin();
  // Runs `call`, which works with database(), until it does not fail for want of a node that can be
  // reached, or --timeout is over: nodes that were just started take a while. Nothing happened in a
  // run that failed so. The result of the last run that was told more than that, or of the first.
  template <class Call>
  auto UntilReached(Call call) {
    auto result = call();
    while (WaitForNode(StatusOf(result))) {
      auto again = call();
      if (StatusOf(again).code() != Code::kUnavailable) result = std::move(again);
    }
    if (NobodyThere(StatusOf(result))) {
      SetStatus(&result,
                Unavailable(fmt::format("{}; is it running there? (--cluster names others)",
                                        StatusOf(result).message())));
    }
    return result;
  }

 private:
  static Status StatusOf(const Status& status) { return status; }
  template <class T>
  static Status StatusOf(const Result<T>& result) {
    return result.status();
  }
  // An unknown outcome is not tried again, whatever its code.
  static Status StatusOf(const client::CommitResult& result) {
    return result.unknown ? Status::Ok() : result.status;
  }
  static void SetStatus(Status* result, Status status) { *result = std::move(status); }
  template <class T>
  static void SetStatus(Result<T>* result, Status status) {
    *result = Result<T>(std::move(status));
  }
  static void SetStatus(client::CommitResult* result, Status status) {
    result->status = std::move(status);
  }
  // Whether it failed since no node answers at all.
  bool NobodyThere(const Status& status);
  // Whether to try again; if so, after a pause, with the time that is left.
  bool WaitForNode(const Status& status);

  std::vector<std::string> addresses_;
  Duration timeout_{};
  Instant begun_;
  Instant end_;  // of the time to try
  bool waited_ = false;
  std::unique_ptr<client::Database> database_;
  std::unique_ptr<Admin> admin_;
};

enum class CommonOptions : uint8_t { kNone, kCluster };

// Adds a subcommand whose help ends with `examples`; `run` gives the exit code.
CLI::App* AddCommand(CLI::App& app, Context& context, const std::string& name,
                     const std::string& description, const std::string& examples,
                     CommonOptions common, std::function<int()> run);

// "10s", "500ms", "2m", and "10", which are seconds; nullopt if it is none of these or not in 1 ms
// .. 1,000,000 s.
std::optional<Duration> ParseDuration(std::string_view text);
// --stale of a command that reads: how old its snapshot may be; 0 without it. Exit 2: no time from
// 1 ms to 60 s.
void AddStale(CLI::App* command, Duration* max_age);

// Reports a failure that had no effect (or was a read): 2 for a bad argument, else 1.
int Fail(const Context& context, const Status& status);
// Reports a change that may have been made: 3, with what to do.
int FailUnknown(const Context& context, const Status& status, std::string_view advice);
// Reports a write's result unless it is ok: as Fail, or 3 with the transaction's id. TOO_OLD of one
// that is unknown: asking again would be in vain.
int FailWrite(const Context& context, const client::CommitResult& result);

// A line of JSON on standard output.
void PrintJson(const nlohmann::ordered_json& json);
// Sets json[name], or json[name + "_hex"] if the bytes are not UTF-8.
void SetBytes(nlohmann::ordered_json& json, const std::string& name, std::string_view bytes);

// With --hex, key-like arguments are pairs of hexadecimal digits. Decodes `*text` in place if
// `hex`; INVALID_ARGUMENT names `argument`, as the help does.
Status DecodeArgument(bool hex, std::string_view argument, std::string* text);

void RegisterNode(CLI::App& app, Context& context);
void RegisterInit(CLI::App& app, Context& context);
void RegisterDev(CLI::App& app, Context& context);
void RegisterDoctor(CLI::App& app, Context& context);
void RegisterRecover(CLI::App& app, Context& context);
void RegisterGetPut(CLI::App& app, Context& context);
void RegisterScan(CLI::App& app, Context& context);
void RegisterTxn(CLI::App& app, Context& context);
void RegisterPlacement(CLI::App& app, Context& context);
void RegisterRules(CLI::App& app, Context& context);
void RegisterSchema(CLI::App& app, Context& context);
void RegisterTable(CLI::App& app, Context& context);
// drain, undrain and remove, under `node`.
void RegisterNodeDuties(CLI::App& node, Context& context);
void RegisterStatus(CLI::App& app, Context& context);
void RegisterTop(CLI::App& app, Context& context);
void RegisterBench(CLI::App& app, Context& context);
void RegisterDemo(CLI::App& app, Context& context);

}  // namespace quorate::cli
