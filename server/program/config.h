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
#include <string_view>

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

// Where `host` is not among the labels, it is the machine: nodes under one kernel, in whichever
// containers, have one `boot_id` (/proc/sys/kernel/random/boot_id). Labels that leave no room for
// one stay as they are.
void AddHost(std::string_view boot_id, std::map<std::string, std::string>* locality);

// `flags` win over `file`. INVALID_ARGUMENT: one line that names the setting and the fix.
Result<NodeConfig> MakeConfig(const Settings& flags, const Settings& file);

}  // namespace quorate::server
