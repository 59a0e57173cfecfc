// ArrivingRequests: requests that have begun and are not here whole. gRPC takes in what a client
// sends of a request, however long that lasts, and says neither how large it will be nor how much
// of it is there. Once gRPC has no room left it ends calls of anybody's. So before that, when the
// unfinished requests of all connections may hold more than a bound, those of the connection that
// holds the most are given up; and so is every one that takes longer than a request may.
//
// What a connection's hold is what it has brought since the oldest of them began: never less than
// the truth, and not much more, since what is sent at once is here soon.
//
// Threads: executor's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/env.h"
#include "base/limits.h"

namespace quorate::server {

class ArrivingRequests {
 public:
  // Bytes that the connection of `client` has brought so far; nothing if it is not known.
  using Received = std::function<std::optional<uint64_t>(const std::string& client)>;

  // `env` outlives the object, which outlives the requests.
  ArrivingRequests(Env& env, Received received, size_t bytes_max = limits::kArrivingBytesMax)
      : env_(env), received_(std::move(received)), bytes_max_(bytes_max) {}
  ArrivingRequests(const ArrivingRequests&) = delete;
  ~ArrivingRequests() { env_.executor.Cancel(timer_); }

  // One request, from when it began until it is whole or the object ends.
  class Request {
   public:
    Request() = default;
    Request(const Request&) = delete;
    ~Request() { Whole(); }
    // `give_up` is called at most once, later, and refuses the call.
    void Begin(ArrivingRequests* all, const std::string& client, std::function<void()> give_up);
    void Whole();

   private:
    friend class ArrivingRequests;
    ArrivingRequests* all_ = nullptr;  // while it is there
    std::string client_;
    Instant since_;
    std::optional<uint64_t> from_;  // had been received when it was first looked at
    std::function<void()> give_up_;
    std::list<Request*>::iterator at_;
  };

 private:
  using Connections = std::map<std::string, std::list<Request*>>;

  void Sweep();
  // What may be held for them.
  uint64_t HeldFor(const std::string& client, const std::list<Request*>& oldest_first);
  void GiveUp(Request* request);

  Env& env_;
  const Received received_;
  const size_t bytes_max_;
  Connections connections_;  // those with arriving requests
  TimerId timer_ = 0;        // runs while there are some
};

}  // namespace quorate::server
