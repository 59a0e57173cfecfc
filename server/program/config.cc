#include "server/program/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>

#include "base/address.h"
#include "base/status_macros.h"
#include "base/stderr_logger.h"
#include "txn/judge.h"

namespace quorate::server {
namespace {

constexpr std::array<std::string_view, 9> kKeys = {"data",      "listen",   "advertise",
                                                   "http",      "join",     "locality",
                                                   "log-level", "min-free", "read-mode"};

std::string_view Trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Between two commas there may be nothing, which is for the caller to refuse.
std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> items;
  if (Trim(text).empty()) return items;
  for (size_t comma = 0; comma != std::string_view::npos; text.remove_prefix(comma + 1)) {
    comma = text.find(',');
    items.emplace_back(Trim(text.substr(0, comma)));
    if (comma == std::string_view::npos) break;
  }
  return items;
}

Status CheckAddress(std::string_view name, const std::string& address) {
  if (auto parsed = ParseHostPort(address); !parsed.ok()) {
    return InvalidArgument(fmt::format("{}: {}", name, parsed.status().message()));
  }
  return Status::Ok();
}

// As CheckAddress, and this host can listen on it.
Status CheckListen(std::string_view name, const std::string& address) {
  if (!address.starts_with("*:")) return CheckAddress(name, address);
  return InvalidArgument(
      fmt::format("{}: '{}': write 0.0.0.0 or [::] for all addresses", name, address));
}

// As CheckAddress, and others can reach it.
Status CheckReachable(std::string_view name, const std::string& address, std::string_view fix) {
  RETURN_IF_ERROR(CheckAddress(name, address));
  if (!IsWildcardHost(ParseHostPort(address)->host)) return Status::Ok();
  return InvalidArgument(fmt::format("{}: other nodes cannot reach '{}'; {}", name, address, fix));
}

// Where others find the pages that are served on `listen`: on all addresses, so on the one that
// they reach the node at, too.
std::string ReachableHttp(const std::string& listen, const std::string& advertise) {
  const HostPort http = *ParseHostPort(listen);
  if (!IsWildcardHost(http.host)) return listen;
  return fmt::format("{}:{}", advertise.substr(0, advertise.rfind(':')), http.port);
}

Result<std::map<std::string, std::string>> ParseLocality(const std::string& text) {
  std::map<std::string, std::string> locality;
  for (const auto& item : SplitList(text)) {
    const size_t equals = item.find('=');
    if (equals != std::string::npos && equals + 1 == item.size()) {
      return InvalidArgument(fmt::format(
          "locality: the value of '{}' is empty; leave it out, or write for example zone=a", item));
    }
    if (equals == std::string::npos || equals == 0 ||
        !locality.emplace(item.substr(0, equals), item.substr(equals + 1)).second) {
      return InvalidArgument(fmt::format(
          "locality: '{}' is not key=value with a key of its own, e.g. zone=a,rack=3", item));
    }
  }
  return locality;
}

// Bytes with an optional K, M or G (powers of 1024).
Result<uint64_t> ParseBytes(std::string_view name, std::string_view text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (error != std::errc() || shift < 0 || number > (uint64_t{1} << 62) >> shift) {
    return InvalidArgument(fmt::format("{}: '{}' is not a number of bytes, e.g. 256M", name, text));
  }
  return number << shift;
}

}  // namespace

Result<Settings> ReadConfigFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return InvalidArgument(fmt::format("config: cannot read '{}'", path));
  Settings settings;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string_view text = Trim(std::string_view(line).substr(0, line.find('#')));
    if (text.empty()) continue;
    auto wrong = [&](std::string what) {
      return InvalidArgument(fmt::format("{}:{}: {}", path, number, what));
    };
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) return wrong("not `key = value`");
    const std::string key(Trim(text.substr(0, equals)));
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return wrong(fmt::format("unknown key '{}'; there are {}", key, fmt::join(kKeys, ", ")));
    }
    if (!settings.emplace(key, Trim(text.substr(equals + 1))).second) {
      return wrong(fmt::format("'{}' stands twice", key));
    }
  }
  if (file.bad()) return InvalidArgument(fmt::format("config: cannot read '{}'", path));
  return settings;
}

void AddHost(std::string_view boot_id, std::map<std::string, std::string>* locality) {
  boot_id = Trim(boot_id.substr(0, boot_id.find('\n')));
  if (boot_id.empty() || locality->contains("host")) return;
  auto with = *locality;
  with["host"] = fmt::format("boot-{}", boot_id);
  if (CheckLocality(with).ok()) *locality = std::move(with);
}

Result<NodeConfig> MakeConfig(const Settings& flags, const Settings& file) {
  auto get = [&](const std::string& key) -> std::string {
    if (auto it = flags.find(key); it != flags.end()) return it->second;
    auto it = file.find(key);
    return it == file.end() ? "" : it->second;
  };
  NodeConfig config;
  config.node.data_dir = get("data");
  if (config.node.data_dir.empty()) return InvalidArgument("data: missing; give --data DIRECTORY");
  config.listen = get("listen");
  if (config.listen.empty()) return InvalidArgument("listen: missing; give --listen HOST:PORT");
  RETURN_IF_ERROR(CheckListen("listen", config.listen));
  config.node.address = get("advertise");
  if (config.node.address.empty()) {
    config.node.address = config.listen;
    RETURN_IF_ERROR(CheckReachable("listen", config.node.address,
                                   "give --advertise with an address of this host"));
  }
  RETURN_IF_ERROR(CheckReachable("advertise", config.node.address,
                                 "give an address of this host that they can"));
  config.http_listen = get("http");
  if (!config.http_listen.empty()) {
    RETURN_IF_ERROR(CheckListen("http", config.http_listen));
    if (config.http_listen == config.listen) {
      return InvalidArgument("http: the same address as listen; choose another port");
    }
    config.node.http_address = ReachableHttp(config.http_listen, config.node.address);
  }
  config.node.join = SplitList(get("join"));
  for (const auto& address : config.node.join) {
    RETURN_IF_ERROR(CheckReachable("join", address, "name the address that the node has there"));
  }
  ASSIGN_OR_RETURN(config.node.locality, ParseLocality(get("locality")));
  RETURN_IF_ERROR(CheckLocality(config.node.locality));
  if (const auto level = get("log-level"); !level.empty()) {
    auto parsed = ParseLogLevel(level);
    if (!parsed) {
      return InvalidArgument(
          fmt::format("log-level: '{}' is none of debug, info, warn, error", level));
    }
    config.log_level = *parsed;
  }
  if (const auto bytes = get("min-free"); !bytes.empty()) {
    ASSIGN_OR_RETURN(config.node.min_free_bytes, ParseBytes("min-free", bytes));
  }
  if (const auto mode = get("read-mode"); mode == "quorum") {
    config.node.raft.read_mode = raft::ReadMode::kQuorum;
  } else if (!mode.empty() && mode != "lease") {
    return InvalidArgument(fmt::format("read-mode: '{}' is neither lease nor quorum", mode));
  }
  return config;
}

}  // namespace quorate::server
