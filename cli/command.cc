#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iostream>

#include "base/address.h"
#include "base/bytes.h"
#include "base/limits.h"

namespace quorate::cli {

std::optional<Duration> ParseDuration(std::string_view text) {
  double number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number <= 0 || number > 1e6) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const double factor = unit.empty() || unit == "s" ? 1e9
                        : unit == "ms"              ? 1e6
                        : unit == "m"               ? 60e9
                                                    : 0;
  if (factor == 0) return std::nullopt;
  return Duration(static_cast<int64_t>(number * factor));
}

Status Context::Check() {
  addresses_.clear();
  for (size_t at = 0; at <= cluster_text.size();) {
    const size_t comma = std::min(cluster_text.find(',', at), cluster_text.size());
    const std::string address = cluster_text.substr(at, comma - at);
    if (auto parsed = ParseHostPort(address); !parsed.ok()) {
      return InvalidArgument(fmt::format("--cluster: {}", parsed.status().message()));
    }
    addresses_.push_back(address);
    at = comma + 1;
  }
  auto timeout = ParseDuration(timeout_text);
  if (!timeout || *timeout > limits::kRequestTimeoutMax) {
    return InvalidArgument(
        fmt::format("--timeout: '{}' is not a time up to {} s, e.g. 10s or 500ms", timeout_text,
                    ToMillis(limits::kRequestTimeoutMax) / 1000));
  }
  timeout_ = *timeout;
  return Status::Ok();
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
        ->envname("QUORATE_CLUSTER")
        ->capture_default_str();
    command->add_option("--timeout", context.timeout_text, "how long to try, e.g. 10s or 500ms")
        ->capture_default_str();
    command->add_flag("--json", context.json, "print one JSON object");
  }
  command->callback([&context, common, run = std::move(run)] {
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

int Fail(const Context& context, const Status& status) {
  const int exit_code = status.code() == Code::kInvalidArgument ? kExitUsage : kExitFailed;
  if (context.json) {
    PrintJson({{"error", CodeName(status.code())},
               {"message", status.message()},
               {"effect", "nothing"},
               {"exit_code", exit_code}});
  } else {
    std::cerr << "quorate: " << status.ToString() << "\n";
  }
  return exit_code;
}

int FailWrite(const Context& context, const client::CommitResult& result) {
  if (!result.unknown && EffectOf(result.status.code()) != Effect::kUnknown) {
    return Fail(context, result.status);
  }
  const std::string id = result.unknown ? result.unknown->ToString() : "";
  if (context.json) {
    PrintJson({{"error", CodeName(result.status.code())},
               {"message", result.status.message()},
               {"effect", "unknown"},
               {"txn_id", id},
               {"exit_code", kExitUnknown}});
  } else {
    std::cout << id << "\n";
    std::cerr
        << "quorate: " << result.status.ToString()
        << "\nThe transaction may or may not have been committed; ask with\n  quorate outcome "
        << id << "\n";
  }
  return kExitUnknown;
}

void PrintJson(const nlohmann::ordered_json& json) {
  std::cout << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
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

}  // namespace quorate::cli
