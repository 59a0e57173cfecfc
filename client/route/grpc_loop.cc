#include "client/route/grpc_loop.h"

#include <grpc/support/time.h>

#include <algorithm>

#include "base/check.h"
#include "base/real_clock.h"

namespace quorate::client {
namespace {

// Events handled before what they posted is run: a burst becomes one turn of the executor, and
// nobody waits for the end of a flood, nor of large messages.
constexpr int kEventsPerWait = 64;
constexpr Duration kEventsTime = 2ms;

gpr_timespec In(Duration delay) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(delay).count();
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros(us, GPR_TIMESPAN));
}

}  // namespace

void GrpcLoop::Alarm::Done(bool) { set.store(false, std::memory_order_release); }

GrpcLoop::GrpcLoop() : GrpcLoop(std::make_unique<grpc::CompletionQueue>()) {}

GrpcLoop::GrpcLoop(std::unique_ptr<grpc::CompletionQueue> queue) : queue_(std::move(queue)) {}

GrpcLoop::~GrpcLoop() {
  queue_->Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) static_cast<GrpcEvent*>(tag)->Done(ok);
}

bool GrpcLoop::HandleOne(gpr_timespec deadline) {
  void* tag = nullptr;
  bool ok = false;
  const auto status = queue_->AsyncNext(&tag, &ok, deadline);
  CHECK(status != grpc::CompletionQueue::SHUTDOWN, "polling goes on until the loop ends");
  if (status == grpc::CompletionQueue::TIMEOUT) return false;
  static_cast<GrpcEvent*>(tag)->Done(ok);
  return true;
}

void GrpcLoop::Wait(Instant until) {
  const gpr_timespec past = gpr_time_0(GPR_CLOCK_MONOTONIC);
  gpr_timespec deadline = past;
  if (until == Instant::max()) {
    deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
  } else if (until != Instant::min()) {
    if (const Duration left = until - RealClock::BootNow(); left > Duration(0)) deadline = In(left);
  }
  if (!HandleOne(deadline)) return;
  const Instant end = RealClock::BootNow() + kEventsTime;
  for (int n = 1; n < kEventsPerWait && RealClock::BootNow() < end && HandleOne(past); ++n) {
  }
}

void GrpcLoop::Wake() {
  if (wake_.set.exchange(true, std::memory_order_acq_rel)) return;
  wake_.alarm.Set(queue_.get(), gpr_time_0(GPR_CLOCK_MONOTONIC), static_cast<GrpcEvent*>(&wake_));
}

void GrpcLoop::PollUntil(const std::function<bool()>& done) {
  while (!done()) HandleOne(gpr_inf_future(GPR_CLOCK_MONOTONIC));
}

}  // namespace quorate::client
