#include "server/wire/listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/limits.h"
#include "base/real_clock.h"
#include "base/status_macros.h"
#include "server/wire/grpc_options.h"

namespace quorate::server {
namespace {

// Whoever was heard of within this time is not given up for a newcomer.
constexpr Duration kBusy = 1s;
constexpr int kLookAgainMs = 100;
constexpr int kBusyMs = 1;
// Looking for idle connections takes milliseconds when there are thousands.
constexpr Duration kLookInterval = 50ms;

Status Refused(const std::string& listen, std::string_view why) {
  return Status(Code::kFailedPrecondition,
                fmt::format("cannot listen on {}: {}; choose another --listen", listen, why));
}

std::string BindError(int error) {
  switch (error) {
    case EADDRINUSE:
      return "the port is in use";
    case EADDRNOTAVAIL:
      return "the address is not of this host";
    case EACCES:
      return "this user may not use the port";
    default:
      return std::strerror(error);
  }
}

// What accept may answer about a single connection; the next one may be fine.
bool OnlyThisConnection(int error) {
  switch (error) {
    case EINTR:
    case EAGAIN:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

void SetOption(int fd, int level, int name, int value) {
  (void)::setsockopt(fd, level, name, &value, sizeof value);
}

// Connections inherit these.
void SetOptions(int fd, const addrinfo& address) {
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // The kernel's own clock finds a peer that went silent, whatever becomes of gRPC's timers.
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 2 * kKeepaliveMs);
  if (address.ai_family == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
}

}  // namespace

struct Listener::Rep {
  explicit Rep(Env& e)
      : env(e),
        accepted(env.metrics.GetCounter("quorate_connections_accepted_total",
                                        "Connections taken on the public address.")),
        refused(env.metrics.GetCounter("quorate_connections_refused_total",
                                       "Connections closed at once: there was no room.")),
        evicted(env.metrics.GetCounter("quorate_connections_evicted_total",
                                       "Idle connections ended to make room for others.")),
        stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void Run();
  void AcceptOne(int listening);
  void Take(Descriptor connection);
  void OutOfDescriptors(int listening, int error);
  void SetDeaf(bool deaf, int error);

  Env& env;
  Counter& accepted;
  Counter& refused;
  Counter& evicted;
  std::vector<Descriptor> sockets;
  Descriptor stop;
  int port = 0;
  SpareDescriptor spare;
  Instant next_look;
  std::function<void(Descriptor)> take;
  std::function<bool()> busy;
  std::atomic<int64_t> deaf_since_ns{Instant::max().time_since_epoch().count()};
  std::thread thread;
};

Listener::Listener(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

Listener::~Listener() { Stop(); }

Result<std::unique_ptr<Listener>> Listener::Open(Env& env, const std::string& listen) {
  ASSIGN_OR_RETURN(HostPort where, ParseHostPort(listen));
  auto rep = std::make_unique<Rep>(env);
  rep->port = where.port;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found);
  if (error != 0) {
    return Refused(listen,
                   fmt::format("'{}' is not known ({})", where.host, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  int skipped = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    Descriptor socket(::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.get() >= 0) SetOptions(socket.get(), *address);
    if (socket.get() >= 0 && ::bind(socket.get(), address->ai_addr, address->ai_addrlen) == 0 &&
        ::listen(socket.get(), SOMAXCONN) == 0) {
      rep->sockets.push_back(std::move(socket));
    } else if (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT) {
      skipped = errno;  // a name may stand for more than this host has
    } else {
      return Refused(listen, BindError(errno));
    }
  }
  if (rep->sockets.empty()) return Refused(listen, BindError(skipped));
  return std::unique_ptr<Listener>(new Listener(std::move(rep)));
}

void Listener::Start(std::function<void(Descriptor connection)> take, std::function<bool()> busy) {
  rep_->take = std::move(take);
  rep_->busy = std::move(busy);
  rep_->thread = std::thread([rep = rep_.get()] { rep->Run(); });
}

void Listener::Stop() {
  const uint64_t one = 1;
  (void)!::write(rep_->stop.get(), &one, sizeof one);
  if (rep_->thread.joinable()) rep_->thread.join();
  rep_->sockets.clear();
}

Instant Listener::deaf_since() const {
  return Instant(Duration(rep_->deaf_since_ns.load(std::memory_order_relaxed)));
}

void Listener::Rep::Run() {
  std::vector<pollfd> watched;
  for (const Descriptor& socket : sockets) watched.push_back({socket.get(), POLLIN, 0});
  watched.push_back({stop.get(), POLLIN, 0});
  while (true) {
    if (busy()) {
      if (::poll(&watched.back(), 1, kBusyMs) > 0) return;
      continue;
    }
    const bool deaf = deaf_since_ns.load() != Instant::max().time_since_epoch().count();
    if (::poll(watched.data(), watched.size(), deaf ? kLookAgainMs : -1) < 0) continue;
    if (watched.back().revents != 0) return;
    for (size_t i = 0; i + 1 < watched.size(); ++i) {
      // Once: without a descriptor accept fails even if nobody is there any more.
      if (watched[i].revents != 0) AcceptOne(watched[i].fd);
    }
    if (!deaf) continue;
    // Whether there is room again is not left to the next caller to find out.
    const Descriptor probe(::fcntl(stop.get(), F_DUPFD_CLOEXEC, 0));
    if (probe.get() >= 0) SetDeaf(false, 0);
  }
}

void Listener::Rep::AcceptOne(int listening) {
  Descriptor connection(::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (connection.get() >= 0) {
    SetDeaf(false, 0);
    Take(std::move(connection));
    return;
  }
  if (const int error = errno; !OnlyThisConnection(error)) OutOfDescriptors(listening, error);
}

void Listener::Rep::Take(Descriptor connection) {
  const size_t number = static_cast<size_t>(connection.get());
  const size_t limit = DescriptorLimit();
  const size_t room =
      std::min(limit - std::min(limit, limits::kDescriptorsReserved), limits::kConnectionsMax);
  if (const Instant now = RealClock::BootNow(); number >= room && now >= next_look) {
    evicted.Add(EndIdlestConnections(port, kBusy));
    next_look = now + kLookInterval;
  }
  // Those just ended keep their numbers until they are closed: half of the reserve covers them.
  if (number >= room + limits::kDescriptorsReserved / 2) {
    refused.Add();
    return;
  }
  accepted.Add();
  take(std::move(connection));
}

void Listener::Rep::OutOfDescriptors(int listening, int error) {
  SetDeaf(true, error);
  if (spare.Spend()) {
    evicted.Add(EndIdlestConnections(port, kBusy));  // reading /proc takes one, too
    const Descriptor shed(::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (shed.get() >= 0) refused.Add();
  }
  spare.Refill();
  // Not at once again: the same connection is still there to be taken.
  pollfd stopping{stop.get(), POLLIN, 0};
  (void)::poll(&stopping, 1, kLookAgainMs);
}

void Listener::Rep::SetDeaf(bool deaf, int error) {
  const int64_t never = Instant::max().time_since_epoch().count();
  if ((deaf_since_ns.load() != never) == deaf) return;
  deaf_since_ns.store(deaf ? RealClock::BootNow().time_since_epoch().count() : never);
  if (deaf) {
    env.log.Error("node: connections cannot be taken: {} ({} files may be open)",
                  std::strerror(error), DescriptorLimit());
  } else {
    env.log.Info("node: connections are taken again");
  }
}

}  // namespace quorate::server
