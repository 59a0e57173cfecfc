// node: the program as a server.
#include <map>

#include "cli/command.h"
#include "server/program/run.h"

namespace quorate::cli {

void RegisterNode(CLI::App& app, Context& context) {
  struct Flags {
    std::map<std::string, std::string> settings;
    std::string config;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(
      app, context, "node", "Run a node until SIGTERM or Ctrl-C.",
      "  quorate node --data /var/lib/quorate --listen 10.0.0.1:7400 --join 10.0.0.2:7400\n"
      "  quorate node --config /etc/quorate.conf\n"
      "A configuration file has lines `key = value`; keys are the flags' names, flags win.\n"
      "SIGTERM stops cleanly (exit 0). Exit 1: storage failed. Exit 2: bad flags or "
      "configuration,\n"
      "port in use, directory not writable or not this node's.",
      CommonOptions::kNone, [flags] { return server::RunNode(flags->settings, flags->config); });
  auto setting = [&](const std::string& name, const std::string& help, const std::string& type) {
    command
        ->add_option_function<std::string>(
            "--" + name, [flags, name](const std::string& v) { flags->settings[name] = v; }, help)
        ->type_name(type);
  };
  setting("data", "directory of this node's log and store; made if missing", "DIR");
  setting("listen", "address for clients and other nodes", "HOST:PORT");
  setting("advertise", "address that others reach this node at, if not that of --listen",
          "HOST:PORT");
  setting("http", "address for /metrics, /healthz, /readyz; none without it", "HOST:PORT");
  setting("join", "addresses of other nodes, to find the cluster", "A,B,C");
  setting("locality",
          "where this node is, e.g. zone=a,rack=3; host is this machine if it is not named",
          "k=v,..");
  setting("log-level", "debug, info, warn or error; info if not given", "LEVEL");
  setting("min-free", "disk space below which writes are refused, e.g. 256M", "BYTES");
  setting("read-mode", "lease (fast, needs bounded clock drift) or quorum; lease if not given",
          "MODE");
  command->add_option("--config", flags->config, "file with the same settings")->type_name("FILE");
  RegisterNodeDuties(*command, context);
}

}  // namespace quorate::cli
