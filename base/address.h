// HOST:PORT.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <string_view>

#include "base/status.h"

namespace quorate {

struct HostPort {
  std::string host;
  int port = 0;
};

// INVALID_ARGUMENT, naming the text, unless it is a host, a colon and a port in 1..65535. An IPv6
// address is written in brackets.
inline Result<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  HostPort parsed;
  if (colon != std::string_view::npos) {
    parsed.host = text.substr(0, colon);
    const std::string_view port = text.substr(colon + 1);
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
    if (error != std::errc() || end != port.data() + port.size()) parsed.port = 0;
  }
  if (parsed.host.size() > 2 && parsed.host.front() == '[' && parsed.host.back() == ']') {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  } else if (parsed.host.find(':') != std::string::npos) {
    parsed.port = 0;
  }
  // What names and numeric addresses are made of; the rest are slips: blanks, `http://`, `user@`.
  for (const char c : parsed.host) {
    const bool alphanumeric = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (!alphanumeric && std::string_view("-_.:%").find(c) == std::string_view::npos) {
      parsed.port = 0;
    }
  }
  if (parsed.host.empty() || parsed.port < 1 || parsed.port > 65535) {
    return InvalidArgument(
        fmt::format("'{}' is not HOST:PORT with a port in 1..65535, e.g. 127.0.0.1:7400", text));
  }
  return parsed;
}

// Whether `host` stands for every address of a machine, however it is written ("0", "[::0]" and
// "00.0.0.0" do): to listen on, not to be reached at.
bool IsWildcardHost(const std::string& host);

}  // namespace quorate
