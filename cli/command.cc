#include "cli/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <thread>
#include <utility>

#include "base/address.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/real_clock.h"
#include "cli/output.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {

std::optional<Duration> ParseDuration(std::string_view text) {
  double number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number)) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const double factor = unit.empty() || unit == "s" ? 1e9
                        : unit == "ms"              ? 1e6
                        : unit == "m"               ? 60e9
                                                    : 0;
  const double nanos = number * factor;
  if (nanos < 1e6 || nanos > 1e15) return std::nullopt;
  return Duration(static_cast<int64_t>(nanos));
}

void AddStale(CLI::App* command, Duration* max_age) {
  const auto set = [max_age](const std::string& text) {
    const auto age = ParseDuration(text);
    if (!age || *age < 1ms || *age > limits::kTxnLifetimeMax) {
      throw CLI::ValidationError(
          "--stale", fmt::format("'{}' is not a time from 1 ms to {} s, e.g. 5s or 500ms", text,
                                 ToMillis(limits::kTxnLifetimeMax) / 1000));
    }
    *max_age = *age;
  };
  command
      ->add_option_function<std::string>("--stale", set,
                                         "read a snapshot that may be so old, e.g. 5s, from any "
                                         "replica; also while a shard has no "
                                         "leader")
      ->type_name("TIME");
}

namespace {

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

}  // namespace

// Not through CLI11: it lets the variable win over an option if several commands share it.
Context::Context() {
  const char* cluster = std::getenv("QUORATE_CLUSTER");
  if (cluster != nullptr && *cluster != '\0') cluster_text = cluster;
}

Status Context::Check() {
  addresses_.clear();
  for (size_t at = 0; at <= cluster_text.size();) {
    const size_t comma = std::min(cluster_text.find(',', at), cluster_text.size());
    const auto address = Trimmed(std::string_view(cluster_text).substr(at, comma - at));
    if (auto parsed = ParseHostPort(address); !parsed.ok()) {
      return InvalidArgument(
          fmt::format("--cluster (or QUORATE_CLUSTER): {}", parsed.status().message()));
    }
    addresses_.emplace_back(address);
    at = comma + 1;
  }
  auto timeout = ParseDuration(timeout_text);
  if (!timeout || *timeout > limits::kRequestTimeoutMax) {
    return InvalidArgument(
        fmt::format("--timeout: '{}' is not a time from 1 ms to {} s, e.g. 10s or 500ms",
                    timeout_text, ToMillis(limits::kRequestTimeoutMax) / 1000));
  }
  timeout_ = *timeout;
  begun_ = RealClock::BootNow();
  end_ = begun_ + timeout_;
  return Status::Ok();
}

bool Context::WaitForNode(const Status& status) {
  constexpr Duration kPause = std::chrono::milliseconds(100);
  constexpr Duration kFounding = std::chrono::seconds(5);
  const Instant now = RealClock::BootNow();
  const Duration left = end_ - now - kPause;
  if (left <= kPause) return false;
  if (status.code() == Code::kUninitialized) {
    // Nodes that were not there when it began are waited for until they are a cluster, too; others
    // for as long as `dev` takes to make them one.
    if (!waited_ && now >= begun_ + kFounding) return false;
  } else if (status.code() != Code::kUnavailable) {
    return false;
  } else if (!std::exchange(waited_, true) && isatty(STDERR_FILENO) == 1) {
    Complain(fmt::format("waiting for a node ({})", status.message()));
  }
  std::this_thread::sleep_for(kPause);
  database_.reset();
  timeout_ = left;
  return true;
}

bool Context::NobodyThere(const Status& status) {
  constexpr Duration kPatience = std::chrono::milliseconds(300);
  if (status.code() != Code::kUnavailable) return false;
  v1::NodeRequest hello;
  hello.mutable_hello();
  return admin().CallAny(addresses_, hello, kPatience).status().code() == Code::kUnavailable;
}

client::Database& Context::database() {
  if (!database_) {
    auto opened = client::Database::Open({.cluster = addresses_, .timeout = timeout_});
    CHECK(opened.ok(), "addresses were checked: {}", opened.status().ToString());
    database_ = std::move(*opened);
  }
  return *database_;
}

Admin& Context::admin() {
  if (!admin_) admin_ = std::make_unique<Admin>();
  return *admin_;
}

CLI::App* AddCommand(CLI::App& app, Context& context, const std::string& name,
                     const std::string& description, const std::string& examples,
                     CommonOptions common, std::function<int()> run) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Examples:\n" + examples);
  if (common == CommonOptions::kCluster) {
    command
        ->add_option("--cluster", context.cluster_text,
                     "addresses of some nodes, HOST:PORT,.. (or QUORATE_CLUSTER)")
        ->capture_default_str();
    command
        ->add_option("--timeout", context.timeout_text,
                     "how long to try, e.g. 10s or 500ms; a bare number is seconds")
        ->capture_default_str();
    command->add_flag("--json", context.json, "print one JSON object");
  }
  command->callback([&context, command, common, run = std::move(run)] {
    if (!command->get_subcommands().empty()) return;  // one of them ran
    if (common == CommonOptions::kCluster) {
      if (auto status = context.Check(); !status.ok()) {
        context.exit_code = Fail(context, status);
        return;
      }
    }
    context.exit_code = run();
  });
  return command;
}

namespace {

// As JSON on standard output, where a program expects it; in words on standard error otherwise, and
// also if standard output does not take it.
void Report(const Context& context, const nlohmann::ordered_json& json, std::string_view words) {
  if (context.json) {
    PrintJson(json);
    Out().Flush();
    if (Out().error() == 0) return;
  }
  Complain(words);
}

}  // namespace

int Fail(const Context& context, const Status& status) {
  const int exit_code = status.code() == Code::kInvalidArgument ? kExitUsage : kExitFailed;
  Report(context,
         {{"error", CodeName(status.code())},
          {"message", status.message()},
          {"effect", "nothing"},
          {"exit_code", exit_code}},
         status.ToString());
  return exit_code;
}

int FailUnknown(const Context& context, const Status& status, std::string_view advice) {
  Report(context,
         {{"error", CodeName(Code::kUnknownOutcome)},
          {"message", status.message()},
          {"effect", "unknown"},
          {"exit_code", kExitUnknown}},
         fmt::format("{}\n{}", status.ToString(), advice));
  return kExitUnknown;
}

int FailWrite(const Context& context, const client::CommitResult& result) {
  // The library's word, not the code's class: UNAVAILABLE of a write that was never sent is a
  // failure like any other.
  if (!result.unknown) return Fail(context, result.status);
  const std::string id = result.unknown->ToString();
  if (!context.json) Say("{}\n", id);
  Report(context,
         {{"error", CodeName(result.status.code())},
          {"message", result.status.message()},
          {"effect", "unknown"},
          {"txn_id", id},
          {"exit_code", kExitUnknown}},
         result.status.code() == Code::kTooOld
             ? fmt::format("{}\nWhether the transaction was committed can no longer be known; look "
                           "at what it wrote.",
                           result.status.ToString())
             : fmt::format("{}\nThe transaction may or may not have been committed; ask with\n"
                           "  quorate outcome {}",
                           result.status.ToString(), id));
  return kExitUnknown;
}

void PrintJson(const nlohmann::ordered_json& json) {
  // Control characters above ASCII are legal in JSON, but not on a terminal.
  const std::string text =
      json.dump(-1, ' ', Out().is_terminal(), nlohmann::ordered_json::error_handler_t::replace);
  Out().Bytes(text);
  Out().Bytes("\n");
}

void SetBytes(nlohmann::ordered_json& json, const std::string& name, std::string_view bytes) {
  nlohmann::json text = std::string(bytes);
  try {
    (void)text.dump();
    json[name] = bytes;
  } catch (const nlohmann::json::type_error&) {
    json[name + "_hex"] = ToHex(bytes);
  }
}

Status DecodeArgument(bool hex, std::string_view argument, std::string* text) {
  if (!hex) return Status::Ok();
  std::string bytes;
  if (!FromHex(*text, &bytes)) {
    return InvalidArgument(
        fmt::format("{}: '{}' is not pairs of hexadecimal digits, as --hex asks", argument, *text));
  }
  *text = std::move(bytes);
  return Status::Ok();
}

}  // namespace quorate::cli
