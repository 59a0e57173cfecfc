// What belongs to a call of the public service beside its request, and what judges a request before
// anything is done for it.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "quorate/v1/client.pb.h"
#include "server/node/shared_bound.h"

namespace quorate::server {

// Set once, by whoever serves the call, when nobody waits for its answer any more.
class ClientGone {
 public:
  bool set() const { return set_; }
  void Set();
  // Gets CANCELLED when it is set: at once if it is.
  void Tell(const Promise<Status>& waiter);

 private:
  bool set_ = false;
  std::vector<Promise<Status>> waiters_;
};

struct PublicCall {
  // Of a client that is not told from others and waits until the end.
  template <class Rep, class Period>
  PublicCall(std::chrono::duration<Rep, Period> t) : timeout(t) {}  // NOLINT: implicit by design
  PublicCall(Duration t, std::string c) : timeout(t), client(std::move(c)) {}

  // Zero or less: its deadline has passed.
  Duration timeout;
  std::string client;  // one connection of one process
  // What the node holds for it; whoever sends the answer keeps it until the answer has left.
  std::shared_ptr<Holding> holding = std::make_shared<Holding>();
  // Of it, what its answer has; counted by whoever makes the answer.
  std::shared_ptr<Holding> answer = std::make_shared<Holding>();
  std::shared_ptr<ClientGone> gone = std::make_shared<ClientGone>();
};

// INVALID_ARGUMENT that names the field and its limit, or OK: sizes, counts, keys, ranges, ids.
// What passes may be buffered, locked and logged.
Status CheckRequest(const v1::ExecuteRequest& request);
Status CheckRequest(const v1::BeginRequest& request);
Status CheckRequest(const v1::SessionReadRequest& request);
Status CheckRequest(const v1::SessionScanRequest& request);
Status CheckRequest(const v1::SessionWriteRequest& request);
Status CheckRequest(const v1::SessionCommitRequest& request);
Status CheckRequest(const v1::SessionRollbackRequest& request);
Status CheckRequest(const v1::ScanAllRequest& request);
Status CheckRequest(const v1::GetOutcomeRequest& request);
Status CheckRequest(const v1::InitRequest& request);
Status CheckRequest(const v1::StatusRequest& request);

// Waits for `step` until `deadline`, until the client is gone, or until `*interrupt` (if given) is
// set, whichever is first. A step that is broken off is destroyed where it waits: only for those
// that change nothing, reads and locks.
Task<Status> BreakOff(Env& env, std::shared_ptr<ClientGone> gone, Instant deadline,
                      Promise<Status> interrupt, Task<Status> step);

}  // namespace quorate::server
