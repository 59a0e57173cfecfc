// GrpcChannel against a gRPC server in this process: batching, broken connections, restarts. gRPC
// has its own threads and time: bounds here are generous and only there to tell an answer from a
// hang.
#include "client/route/grpc_channel.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "base/limits.h"
#include "base/real_clock.h"
#include "base/real_executor.h"
#include "client/blocking.h"
#include "client/route/grpc_loop.h"
#include "quorate/v1/rpc.grpc.pb.h"

namespace quorate::client {
namespace {

// Answers every slot request with the number it finds in timeout_ms; a read request never. Reads
// nothing while it is held.
class EchoService final : public v1::Node::Service {
 public:
  grpc::Status Calls(grpc::ServerContext*,
                     grpc::ServerReaderWriter<v1::CallBatch, v1::CallBatch>* stream) override {
    ++streams;
    v1::CallBatch batch;
    hold.wait(true);
    while (stream->Read(&batch)) {
      ++batches;
      most = std::max(most.load(), batch.calls_size());
      cluster_id = batch.cluster_id();
      v1::CallBatch answers;
      for (const v1::Call& call : batch.calls()) {
        ++calls;
        if (call.request().has_read()) continue;
        if (call.request().has_init()) return grpc::Status(grpc::StatusCode::INTERNAL, "dropped");
        v1::Call* answer = answers.add_calls();
        answer->set_id(call.id());
        answer->mutable_response()->mutable_slot()->set_slot(call.request().timeout_ms());
      }
      if (answers.calls_size() > 0) stream->Write(answers);
    }
    return grpc::Status::OK;
  }
  std::atomic<bool> hold{false};
  std::atomic<int> streams{0};
  std::atomic<int> batches{0};
  std::atomic<int> most{0};  // calls in one batch
  std::atomic<int> calls{0};
  std::string cluster_id;
};

class GrpcChannelTest : public testing::Test {
 protected:
  GrpcChannelTest() {
    StartServer(0);
    executor_.Start();
  }
  ~GrpcChannelTest() override {
    Parcel<bool> gone;
    executor_.Post([&] {
      scope_.reset();
      gone.Put(true);
    });
    gone.Take();
    executor_.Stop();
    executor_.Join();
    channel_.reset();
    StopServer();
  }

  void StartServer(int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(-1);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = "127.0.0.1:" + std::to_string(port_);
  }
  void StopServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(gpr_time_0(GPR_CLOCK_REALTIME));
    server_.reset();
  }

  static v1::NodeRequest Echo(uint32_t n) {
    v1::NodeRequest request;
    request.set_timeout_ms(n);
    request.mutable_slot();
    return request;
  }
  Result<v1::NodeResponse> Call(v1::NodeRequest request, Duration timeout = 5s) {
    return *Block(*scope_, channel_->Call(address_, std::move(request), timeout));
  }

  EchoService service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::string address_;
  GrpcLoop loop_;
  RealExecutor executor_{loop_};
  RealClock clock_;
  Random random_{1};
  NullLogger log_;
  Metrics metrics_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  std::unique_ptr<GrpcChannel> channel_ = std::make_unique<GrpcChannel>(env_, loop_);
  std::unique_ptr<TaskScope> scope_ = std::make_unique<TaskScope>(executor_);
};

Task<Result<v1::NodeResponse>> CallOne(Channel* channel, std::string address, uint32_t number,
                                       std::atomic<int>* begun) {
  v1::NodeRequest request;
  request.set_timeout_ms(number);
  request.mutable_slot();
  if (begun != nullptr) ++*begun;
  co_return co_await channel->Call(std::move(address), std::move(request), 60s);
}

// `begun`: calls that were made; but for the last, they are queued or sent.
Task<int> Burst(Channel* channel, Executor* executor, std::string address, int n,
                std::atomic<int>* begun = nullptr) {
  std::vector<Task<Result<v1::NodeResponse>>> calls;
  for (int i = 1; i <= n; ++i) {
    calls.push_back(CallOne(channel, address, static_cast<uint32_t>(i), begun));
  }
  int right = 0;
  int i = 0;
  for (auto& answer : co_await WhenAll(*executor, std::move(calls))) {
    right += answer.ok() && answer->slot().slot() == static_cast<uint64_t>(++i) ? 1 : 0;
  }
  co_return right;
}

Task<void> CallLarge(Channel* channel, std::string address) {
  v1::NodeRequest large;
  large.mutable_commit()->add_writes()->set_value(std::string(4 << 20, 'x'));
  (void)co_await channel->Call(std::move(address), std::move(large), 60s);
}

Task<void> ReleaseOnce(EchoService* service, Executor* executor, std::atomic<int>* begun, int n) {
  while (*begun < n) co_await Sleep(*executor, 1ms);
  service->hold = false;
  service->hold.notify_all();
}

// The server reads nothing until all calls are made, so that nothing leaves behind a large one.
Task<int> HeldBurst(Channel* channel, Executor* executor, std::string address, int n,
                    EchoService* service) {
  service->hold = true;
  std::atomic<int> begun{0};
  TaskScope scope(*executor);
  scope.Spawn(CallLarge(channel, address));
  scope.Spawn(ReleaseOnce(service, executor, &begun, n));
  co_return co_await Burst(channel, executor, address, n, &begun);
}

TEST_F(GrpcChannelTest, AnswersFindTheirCallsAndATurnIsOneBatch) {
  channel_->SetClusterId("c1");
  EXPECT_EQ(Block(*scope_, Burst(channel_.get(), &executor_, address_, 500)), 500);
  EXPECT_EQ(service_.streams, 1);
  EXPECT_EQ(service_.calls, 500);
  // One, but for turns that end by their time on a busy machine.
  EXPECT_LT(service_.batches, 50);
  EXPECT_EQ(service_.cluster_id, "c1");
  EXPECT_EQ(Call(Echo(7))->slot().slot(), 7u);
  EXPECT_EQ(service_.streams, 1) << "the stream is kept";
}

TEST_F(GrpcChannelTest, ABatchHasNoMoreCallsThanANodeTakes) {
  const int n = static_cast<int>(kBatchCallsMax) + 500;
  EXPECT_EQ(Block(*scope_, HeldBurst(channel_.get(), &executor_, address_, n, &service_)), n);
  EXPECT_EQ(service_.most, static_cast<int>(kBatchCallsMax));
  EXPECT_EQ(service_.batches, 3);
}

TEST_F(GrpcChannelTest, ACallEndsByItsTimeout) {
  v1::NodeRequest silent;
  silent.mutable_read();
  EXPECT_EQ(Call(silent, 20ms).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(Call(Echo(1))->slot().slot(), 1u) << "others are not disturbed";
}

TEST_F(GrpcChannelTest, ABrokenStreamFailsItsCallsAndTheNextOpensAnother) {
  v1::NodeRequest breaking;
  breaking.mutable_init();
  const auto broken = Call(breaking);
  EXPECT_EQ(broken.status().code(), Code::kUnavailable);
  EXPECT_THAT(broken.status().message(), testing::HasSubstr(address_));
  Result<v1::NodeResponse> again = Call(Echo(2));
  while (!again.ok()) again = Call(Echo(2));  // while the pause lasts
  EXPECT_EQ(again->slot().slot(), 2u);
  EXPECT_EQ(service_.streams, 2);
}

TEST_F(GrpcChannelTest, ARefusedConnectionIsReportedAtOnceAndARestartIsFound) {
  EXPECT_TRUE(Call(Echo(1)).ok());
  StopServer();
  const Instant begin = RealClock::BootNow();
  Result<v1::NodeResponse> result = Call(Echo(2), 30s);
  for (int i = 0; i < 3; ++i) result = Call(Echo(2), 30s);
  EXPECT_EQ(result.status().code(), Code::kUnavailable);
  EXPECT_LT(RealClock::BootNow() - begin, 10s);
  StartServer(port_);
  const Instant restarted = RealClock::BootNow();
  do {
    result = Call(Echo(3), 2s);
  } while (!result.ok() && RealClock::BootNow() - restarted < 20s);
  EXPECT_TRUE(result.ok()) << result.status().ToString();
}

TEST_F(GrpcChannelTest, AnOversizedRequestIsRefusedAlone) {
  v1::NodeRequest large;
  for (int i = 0; i < 33; ++i) {
    large.mutable_commit()->add_writes()->set_value(std::string(limits::kValueBytesMax, 'v'));
  }
  EXPECT_EQ(Call(large).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(Call(Echo(1)).ok());
}

Task<bool> CallAndForget(Channel* channel, Executor* executor, std::string address) {
  {
    TaskScope scope(*executor);
    for (int i = 0; i < 10; ++i) {
      scope.Spawn([](Channel* c, std::string a) -> Task<void> {
        v1::NodeRequest silent;
        silent.mutable_read();
        (void)co_await c->Call(a, std::move(silent), 5s);
      }(channel, address));
    }
    co_await Sleep(*executor, 5ms);
  }
  co_return true;
}

TEST_F(GrpcChannelTest, WhatNobodyWaitsForIsNotSent) {
  service_.hold = true;
  v1::NodeRequest large;
  for (int i = 0; i < 20; ++i) {
    large.mutable_commit()->add_writes()->set_value(std::string(limits::kValueBytesMax, 'v'));
  }
  // It is under way for as long as nobody reads, and the others wait behind it.
  EXPECT_EQ(Call(large, 20ms).status().code(), Code::kDeadlineExceeded);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Call(large, 20ms).status().code(), Code::kDeadlineExceeded);
  }
  service_.hold = false;
  service_.hold.notify_all();
  EXPECT_EQ(Call(Echo(1), 60s)->slot().slot(), 1u);
  EXPECT_EQ(service_.calls, 2);
}

TEST_F(GrpcChannelTest, CallsDieWithTheFramesThatWait) {
  EXPECT_TRUE(*Block(*scope_, CallAndForget(channel_.get(), &executor_, address_)));
  EXPECT_TRUE(Call(Echo(1)).ok());
}

}  // namespace
}  // namespace quorate::client
