#include "base/real_descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

namespace quorate {
namespace {

void ForEachDescriptor(const std::function<void(int fd)>& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    char* end = nullptr;
    const long fd = std::strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && fd != ::dirfd(directory.get())) visit(static_cast<int>(fd));
  }
}

// 0: no TCP socket.
int LocalPort(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family != AF_INET6) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

// 0: no socket. Tells a socket from another one that got its number.
uint64_t Cookie(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

struct Idle {
  uint32_t ms;
  int fd;
  uint64_t cookie;
};

void End(const Idle& idle) {
  const Descriptor same(::fcntl(idle.fd, F_DUPFD_CLOEXEC, 0));
  // Without room for a duplicate: the moment in which the number could change hands is short, and
  // what hit a wrong connection would be an end that its owner recovers from.
  const int fd = same.get() >= 0 ? same.get() : idle.fd;
  if (Cookie(fd) == idle.cookie) (void)::shutdown(fd, SHUT_RDWR);
}

}  // namespace

void Descriptor::Close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<size_t> RaiseDescriptorLimit(size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return Internal("RLIMIT_NOFILE cannot be read");
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur < wanted) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("this process may open {} files (hard limit {}), it needs at least "
                              "{}; raise the limit (`ulimit -Hn`, LimitNOFILE=)",
                              limit.rlim_cur, limit.rlim_max, wanted));
  }
  return static_cast<size_t>(limit.rlim_cur);
}

size_t DescriptorLimit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<size_t>(limit.rlim_cur) : 0;
}

size_t OpenDescriptors() {
  size_t count = 0;
  ForEachDescriptor([&count](int) { ++count; });
  return count;
}

bool SpareDescriptor::Spend() {
  const bool had = spare_.get() >= 0;
  spare_.Close();
  return had;
}

void SpareDescriptor::Refill() {
  if (spare_.get() < 0) spare_ = Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

size_t EndIdlestConnections(int local_port, Duration busy) {
  std::vector<Idle> found;
  size_t connections = 0;
  ForEachDescriptor([&](int fd) {
    if (LocalPort(fd) != local_port) return;
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
    if (info.tcpi_state == TCP_LISTEN) return;
    ++connections;
    if (info.tcpi_last_data_recv > ToMillis(busy)) {
      found.push_back({info.tcpi_last_data_recv, fd, Cookie(fd)});
    }
  });
  const size_t wanted = std::max<size_t>(connections / 64, 1);
  std::sort(found.begin(), found.end(), [](const Idle& a, const Idle& b) { return a.ms > b.ms; });
  if (found.size() > wanted) found.resize(wanted);
  for (const Idle& idle : found) End(idle);
  return found.size();
}

}  // namespace quorate
