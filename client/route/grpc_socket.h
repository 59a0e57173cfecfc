// SocketCork: keeps gRPC's window updates from being packets of their own.
//
// gRPC 1.51 answers every message of a stream, as soon as the next read waits for one, with window
// updates of 26 bytes (StreamFlowControl::UpdateAction), however much of the window is left: a
// packet, a system call and a wake-up of the other side for each message. A corked TCP socket holds
// them back until something else is written, which they then travel with.
//
// Nothing waits for long: what we write ourselves leaves at once, the window is opened again long
// before it is used up, and the cork comes out every 10 ms (the kernel's own bound is 200 ms).
// Only for connections on which nobody else writes: those of our own streams.
//
// gRPC does not show its sockets, so the one of a stream is looked for among the process's, by its
// other end. If there is not exactly one, nothing is corked and everything works as without.
// docs/decisions/0010.
//
// Threads: executor's thread only.
#pragma once

#include <cstddef>
#include <string>

#include "base/executor.h"

namespace quorate::client {

// Of a stream, for GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES: HTTP/2's 64 KiB would bound a connection
// to that much in each round trip.
inline constexpr int kStreamWindowBytes = 1 << 20;

// The other end of `fd`, in gRPC's words; empty if it is no connected TCP socket.
std::string PeerOf(int fd);
// As PeerOf writes what gRPC calls `peer`: it may have escaped the brackets of an address.
std::string PlainPeer(const std::string& peer);

class SocketCork {
 public:
  // `peer`: the other end as gRPC names it, e.g. ipv4:127.0.0.1:7400.
  SocketCork(Executor& executor, const std::string& peer);
  SocketCork(const SocketCork&) = delete;
  // Out comes the cork.
  ~SocketCork();

  // A message of `bytes` was received; the next read is about to start.
  void Received(size_t bytes);
  // A write was given to gRPC, or has left it.
  void Written() { Set(false); }

  // Of the connection: a duplicate, as gRPC may close its own at any time. -1 if it was not found.
  int socket() const { return socket_; }

 private:
  void Set(bool corked);

  Executor& executor_;
  const int socket_;
  bool corked_ = false;
  size_t held_bytes_ = 0;  // received, and not yet told of
  TimerId timer_ = 0;      // runs whenever it is corked
};

}  // namespace quorate::client
