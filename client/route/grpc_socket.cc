#include "client/route/grpc_socket.h"

#include <absl/strings/str_replace.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

namespace quorate::client {
namespace {

constexpr Duration kHold = 10ms;
constexpr size_t kHeldBytesMax = kStreamWindowBytes / 16;

std::vector<int> OpenFiles() {
  std::vector<int> files;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
  if (directory == nullptr) return files;
  while (const dirent* entry = ::readdir(directory.get())) {
    char* end = nullptr;
    const long fd = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && fd != ::dirfd(directory.get())) {
      files.push_back(static_cast<int>(fd));
    }
  }
  return files;
}

// A duplicate of the only socket connected to `peer`, or -1.
int FindSocket(const std::string& peer) {
  int found = -1;
  for (const int fd : OpenFiles()) {
    if (PeerOf(fd) != peer) continue;
    if (std::exchange(found, fd) >= 0) return -1;
  }
  if (found < 0) return -1;
  const int duplicate = ::fcntl(found, F_DUPFD_CLOEXEC, 0);
  // Its number may have been given away since it was looked at.
  if (duplicate >= 0 && PeerOf(duplicate) != peer) {
    ::close(duplicate);
    return -1;
  }
  return duplicate;
}

}  // namespace

std::string PeerOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return fmt::format("ipv4:{}:{}", text, ntohs(v4.sin_port));
  }
  if (address.ss_family != AF_INET6) return "";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    ::inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof text);
    return fmt::format("ipv4:{}:{}", text, ntohs(v6.sin6_port));
  }
  ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  return fmt::format("ipv6:[{}]:{}", text, ntohs(v6.sin6_port));
}

std::string PlainPeer(const std::string& peer) {
  return absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}});
}

SocketCork::SocketCork(Executor& executor, const std::string& peer)
    : executor_(executor), socket_(FindSocket(PlainPeer(peer))) {}

SocketCork::~SocketCork() {
  executor_.Cancel(timer_);
  Set(false);
  if (socket_ >= 0) ::close(socket_);
}

void SocketCork::Set(bool corked) {
  if (!corked) held_bytes_ = 0;
  if (socket_ < 0 || corked == corked_) return;
  corked_ = corked;
  const int value = corked ? 1 : 0;
  // Fails if the connection is gone, which gRPC finds by itself.
  (void)::setsockopt(socket_, IPPROTO_TCP, TCP_CORK, &value, sizeof value);
}

void SocketCork::Received(size_t bytes) {
  held_bytes_ += bytes;
  if (held_bytes_ > kHeldBytesMax) return Set(false);
  Set(true);
  if (corked_ && timer_ == 0) {
    timer_ = executor_.After(kHold, [this] {
      timer_ = 0;
      Set(false);
    });
  }
}

}  // namespace quorate::client
