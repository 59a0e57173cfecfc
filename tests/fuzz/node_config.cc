// server/program/config, base/address: a node's configuration file and its settings.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/address.h"
#include "base/check.h"
#include "server/program/config.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {
namespace {

// One file per process, written anew for each input: the reader takes a path.
const std::string& Path() {
  static const std::string path = [] {
    const char* directory = std::getenv("TMPDIR");
    std::string name = std::string(directory == nullptr ? "/tmp" : directory) + "/quorate_XXXXXX";
    const int file = mkstemp(name.data());
    CHECK(file >= 0, "no temporary file");
    close(file);
    std::atexit([] { unlink(Path().c_str()); });
    return name;
  }();
  return path;
}

}  // namespace

void Run(std::string_view input) {
  if (const auto address = ParseHostPort(input); address.ok()) {
    CHECK(!address->host.empty() && address->port >= 1 && address->port <= 65535);
    const bool v6 = address->host.find(':') != std::string::npos;
    const std::string text = v6 ? fmt::format("[{}]:{}", address->host, address->port)
                                : fmt::format("{}:{}", address->host, address->port);
    const auto same = ParseHostPort(text);
    CHECK(same.ok() && same->host == address->host && same->port == address->port);
  }
  std::ofstream(Path(), std::ios::binary | std::ios::trunc) << input;
  const auto settings = server::ReadConfigFile(Path());
  if (!settings.ok()) {
    CHECK(settings.status().code() == Code::kInvalidArgument);
    return;
  }
  const server::Settings flags = {{"data", "d"}, {"listen", "127.0.0.1:7400"}};
  for (const server::Settings& given : {server::Settings{}, flags}) {
    const auto config = server::MakeConfig(given, *settings);
    CHECK(config.ok() ? ParseHostPort(config->node.address).ok()
                      : config.status().code() == Code::kInvalidArgument);
  }
}

std::vector<std::string> Seeds() {
  return {
      "# a node\ndata = /var/lib/quorate\nlisten = 10.0.0.1:7400\nadvertise=[::1]:7400\n"
      "http = 10.0.0.1:8080\njoin = a:1, b:2\nlocality = zone=a,rack=3\nlog-level = debug\n"
      "min-free = 256M\nread-mode = quorum\n",
      "listen = 0.0.0.0:7400\nmin-free = 9G\n", "[::1]:7400", "host:65535"};
}

}  // namespace quorate::fuzz
