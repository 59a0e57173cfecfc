#include "server/wire/connections.h"

#include <linux/tcp.h>  // the C library's own does not know of tcpi_bytes_received
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

#include "client/route/grpc_socket.h"

namespace quorate::server {

void Connections::Add(int fd) {
  if (const auto before = peers_.find(fd); before != peers_.end()) {
    // Its peer may have come back with another number.
    const auto named = numbers_.find(before->second);
    if (named != numbers_.end() && named->second == fd) numbers_.erase(named);
    peers_.erase(before);
  }
  std::string peer = client::PeerOf(fd);
  if (peer.empty()) return;
  numbers_[peer] = fd;
  peers_[fd] = std::move(peer);
}

std::optional<uint64_t> Connections::Received(const std::string& peer) const {
  const auto found = numbers_.find(client::PlainPeer(peer));
  if (found == numbers_.end() || client::PeerOf(found->second) != found->first) {
    return std::nullopt;
  }
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(found->second, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  if (size < offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received) {
    return std::nullopt;
  }
  return info.tcpi_bytes_received;
}

}  // namespace quorate::server
