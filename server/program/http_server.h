// HttpServer: a node's pages for machines.
//
//   GET /metrics   Prometheus text of the node's metrics and its process
//   GET /healthz   200 as long as the node's executor turns; 503 once it is stopping
//   GET /readyz    200 if the node serves reads and writes, else 503 and why
//
// A thread of its own with its own io_context, so that a scrape costs the node nothing; questions
// about the node are posted to its executor and time out with 503. A request, its answer and the
// wait for the next have 10 s each. Beyond a number of connections, and when descriptors run out,
// the one that has been idle or slow for the longest makes room: who asks is always answered.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/status.h"

namespace quorate::server {

class HttpServer {
 public:
  struct Health {
    bool alive = true;
    bool ready = false;
    std::string detail;  // one line, shown by /readyz
  };
  // `health` is called on `env`'s executor. FAILED_PRECONDITION: the address cannot be bound.
  static Result<std::unique_ptr<HttpServer>> Start(Env& env, const std::string& listen,
                                                   std::function<Health()> health);
  // Closes all connections and joins the thread.
  ~HttpServer();

 private:
  struct Rep;
  explicit HttpServer(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::server
