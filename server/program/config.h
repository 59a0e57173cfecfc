// Configuration of a node: flags over a file of `key = value` lines, checked as a whole before
// anything is started or created.
//
//   # comment
//   data = /var/lib/quorate
//   listen = 10.0.0.1:7400
//
// Keys are the flags' names without dashes: data, listen, advertise, http, join, locality,
// log-level, min-free, read-mode.
#pragma once

#include <map>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "server/node/node.h"

namespace quorate::server {

using Settings = std::map<std::string, std::string>;

struct NodeConfig {
  NodeOptions node;
  std::string listen;
  std::string http_listen;  // empty: no pages
  LogLevel log_level = LogLevel::kInfo;
};

// INVALID_ARGUMENT with file and line: unreadable, not `key = value`, unknown or repeated key.
Result<Settings> ReadConfigFile(const std::string& path);

// `flags` win over `file`. INVALID_ARGUMENT: one line that names the setting and the fix.
Result<NodeConfig> MakeConfig(const Settings& flags, const Settings& file);

}  // namespace quorate::server
