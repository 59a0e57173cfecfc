// What `quorate node` does.
#pragma once

#include <map>
#include <string>

namespace quorate::server {

// Runs a node until SIGTERM or SIGINT (a second one ends it at once). `settings` are the flags that
// were given, by name without dashes; `config_file` may be empty. Returns the exit code:
//   0  stopped cleanly: leaderships handed over, requests in flight answered, store flushed
//   1  storage failed or is damaged: the node acknowledges nothing it cannot keep
//   2  bad flags or configuration, port in use, directory unwritable or not this node's; one line
//      on standard error says what and how to fix it
// To be called once, from a thread that no other thread of the process has been started by yet.
int RunNode(const std::map<std::string, std::string>& settings, const std::string& config_file);

}  // namespace quorate::server
