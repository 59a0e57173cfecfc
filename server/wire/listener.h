// Listener: takes TCP connections on one address and hands them to whoever serves them.
//
// gRPC 1.51 stops listening for good at the first error of accept, such as having run out of
// descriptors, and bounds nothing (docs/decisions/0014). So the node accepts for itself:
//
//   room             the connection is handed on
//   nearly full      it is handed on, and the connections that were idle for the longest are ended
//   full             it is closed at once, and so are idle ones: what is reserved for the log, the
//                    store and connections to other nodes stays free
//   no descriptors   (somebody else used them up) it is taken with the spare one and closed, so
//                    that its sender hears of it at once; `deaf_since` says so until there is room
//
// Threads: a thread of its own accepts; the rest may be called from any.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/real_descriptors.h"
#include "base/status.h"

namespace quorate::server {

class Listener {
 public:
  // Binds HOST:PORT, every address that the name stands for on this host. FAILED_PRECONDITION: one
  // line that says why not and what to do.
  static Result<std::unique_ptr<Listener>> Open(Env& env, const std::string& listen);
  // Stops accepting; returns when `take` will not be called any more.
  ~Listener();

  // `take` gets each connection, non-blocking, on the listener's thread; none while `busy` says
  // that enough of them wait to be served. The kernel keeps those that come meanwhile.
  void Start(std::function<void(Descriptor connection)> take, std::function<bool()> busy);
  // Stops accepting and closes the listening sockets: connecting is refused.
  void Stop();

  // Since when no connection could be taken; Instant::max(): they can.
  Instant deaf_since() const;

 private:
  struct Rep;
  explicit Listener(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::server
