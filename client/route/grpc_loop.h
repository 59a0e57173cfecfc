// GrpcLoop: gRPC polled by the executor's own thread.
//
// All connections of a process belong to one completion queue, and the executor's thread waits in
// it: bytes are read, decoded and handled where they arrive, without another thread in between.
// gRPC lets only one thread of a process look at its sockets at a time and hands that duty on with
// every event, so a single thread of its own (a callback or synchronous service, say) costs each
// message two switches (docs/decisions/0009).
//
//   RealExecutor::Run ─► Wait ─► event's Done(ok) ─► what it posts ─► Run ─► ...
//
// Threads: Wake from any; the rest on the executor's thread, or any one thread while it does not
// run.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <functional>
#include <memory>

#include "base/real_executor.h"

namespace quorate::client {

// What an operation given to the queue ends in: exactly one Done for each operation that was
// started. `ok` as gRPC defines it for the operation. May delete the event's owner.
class GrpcEvent {
 public:
  virtual void Done(bool ok) = 0;

 protected:
  ~GrpcEvent() = default;
};

// An event that is one kind of operation of its owner.
template <class Owner, void (Owner::*kHandle)(bool ok)>
class GrpcOperation final : public GrpcEvent {
 public:
  explicit GrpcOperation(Owner* owner) : owner_(owner) {}
  void Done(bool ok) override { (owner_->*kHandle)(ok); }

 private:
  Owner* owner_;
};

class GrpcLoop final : public Waiter {
 public:
  GrpcLoop();
  // A server's queue, made by its builder. The server ends before the loop.
  explicit GrpcLoop(std::unique_ptr<grpc::CompletionQueue> queue);
  // Every operation must have ended or be about to: waits for their events.
  ~GrpcLoop() override;

  grpc::CompletionQueue* queue() { return queue_.get(); }

  void Wait(Instant until) override;
  void Wake() override;
  // Handles events until `done`: for ends that have to see an operation out.
  void PollUntil(const std::function<bool()>& done);

 private:
  class Alarm final : public GrpcEvent {
   public:
    void Done(bool ok) override;
    std::atomic<bool> set{false};
    grpc::Alarm alarm;
  };
  // One event if there is one by `deadline`.
  bool HandleOne(gpr_timespec deadline);

  std::unique_ptr<grpc::CompletionQueue> queue_;
  Alarm wake_;
};

}  // namespace quorate::client
