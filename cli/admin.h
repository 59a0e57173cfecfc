// Admin: single requests to chosen nodes, blocking; for what is about nodes and not about keys.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace quorate::v1 {
class NodeRequest;
class NodeResponse;
}  // namespace quorate::v1

namespace quorate::cli {

class Admin {
 public:
  Admin();
  ~Admin();

  // The answer of the node at `address`. Its own error, or the body's, comes as the status. The
  // node has `timeout`, and a little more passes before it counts as silent.
  Result<v1::NodeResponse> Call(const std::string& address, v1::NodeRequest request,
                                Duration timeout);
  // Of the first of `addresses` that answers without error. If none does, the last error that a
  // node has answered, one that others may not meet before one that is of the moment; if no node
  // answered, UNAVAILABLE with all addresses. An answer counts if `check` has nothing against who
  // gave it: what it says is else that node's error.
  using Check = std::function<Status(const std::string& address)>;
  Result<v1::NodeResponse> CallAny(const std::vector<std::string>& addresses,
                                   const v1::NodeRequest& request, Duration timeout,
                                   const Check& check = {});
  // From now on requests are for this cluster only: nodes want that of those that change something.
  void SetCluster(const std::string& cluster_id);
  // As CallAny, and again while the answer is UNAVAILABLE: nodes that have just been started may
  // not have found each other yet.
  Result<v1::NodeResponse> CallUntilAvailable(const std::vector<std::string>& addresses,
                                              const v1::NodeRequest& request, Duration timeout);

 private:
  // Without looking into it: an error is of the way there.
  Result<v1::NodeResponse> Send(const std::string& address, v1::NodeRequest request,
                                Duration timeout);

  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::cli
