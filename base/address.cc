#include "base/address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

namespace quorate {

bool IsWildcardHost(const std::string& host) {
  if (host == "*") return true;
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;  // asks no resolver
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> address(found, ::freeaddrinfo);
  if (found->ai_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_addr.s_addr == INADDR_ANY;
  }
  if (found->ai_family != AF_INET6) return false;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(found->ai_addr)->sin6_addr;
  const bool mapped_any = IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr32[3] == 0;
  return IN6_IS_ADDR_UNSPECIFIED(&v6) || mapped_any;
}

}  // namespace quorate
