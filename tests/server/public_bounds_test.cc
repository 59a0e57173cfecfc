// The public calls over a whole cluster: deadlines, clients that go, locks left behind, and how
// much one client may hold.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <string>

#include "base/bytes.h"
#include "base/limits.h"
#include "server/node/execute.h"
#include "tests/server/public_api_fixture.h"
#include "txn/errors.h"

namespace quorate::server {
namespace {

// ---- time, and clients that go ------------------------------------------------------------------

class PublicTimeTest : public PublicApiFixture {
 protected:
  void CrashOthers() {
    cluster.at(2).Crash();
    cluster.at(3).Crash();
  }
  struct Answered {
    std::optional<v1::SessionReadResponse> read;
    Instant at;
  };
  // A read that does not end by itself, begun.
  std::shared_ptr<Answered> StartRead(uint64_t session, PublicCall call) {
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(kLow);
    auto answered = std::make_shared<Answered>();
    cluster.client().scope().Spawn(Keep(this, api->Read(request, std::move(call)), answered));
    cluster.RunFor(50ms);
    EXPECT_FALSE(answered->read.has_value());
    return answered;
  }
  static Task<void> Keep(PublicTimeTest* test, Task<v1::SessionReadResponse> task,
                         std::shared_ptr<Answered> answered) {
    answered->read = co_await std::move(task);
    answered->at = test->cluster.world().now();
  }
};

TEST_F(PublicTimeTest, AReadThatFailsInAnExecutionSaysThatNothingHappened) {
  CrashOthers();
  cluster.RunFor(3s);
  v1::ExecuteRequest request;
  request.set_timeout_ms(1500);
  request.add_operations()->set_get(kLow);
  AddPut(&request, kHigh, "x");
  const v1::ExecuteResponse response = Execute(request);
  EXPECT_NE(response.error().code(), v1::OK);
  EXPECT_NE(response.error().code(), v1::UNKNOWN_OUTCOME);
  EXPECT_TRUE(response.error().no_effect()) << response.error().message();
  EXPECT_FALSE(response.has_txn());
}

// An earlier sending may have been more lucky.
TEST_F(PublicTimeTest, ANameWhoseTurnDidNotComeIsLeftOpen) {
  v1::ExecuteRequest named = Named(std::string(100'000, 'x'));
  ASSERT_EQ(Execute(named).error().code(), v1::OK);
  CrashOthers();
  cluster.RunFor(3s);
  v1::ExecuteRequest large;
  for (int i = 0; i < 5; ++i) {
    AddPut(&large, "k" + std::to_string(i), std::string(limits::kValueBytesMax, 'x'));
  }
  std::optional<v1::ExecuteResponse> answer;
  cluster.client().scope().Spawn(PublicApiFixture::Keep(api->Execute(large, 10s), &answer));
  cluster.RunFor(50ms);
  ASSERT_FALSE(answer.has_value()) << "it has the turn, and nobody to commit with";
  named.set_timeout_ms(300);
  for (const bool gone : {false, true}) {
    PublicCall call(10s, "client");
    if (gone) call.gone->Set();
    const v1::ExecuteResponse late = Run(api->Execute(named, call));
    EXPECT_EQ(late.error().code(), gone ? v1::CANCELLED : v1::DEADLINE_EXCEEDED);
    EXPECT_FALSE(late.error().no_effect()) << "it had committed";
    EXPECT_EQ(late.txn().txn_id(), named.txn_id());
  }
  named.clear_txn_id();
  EXPECT_TRUE(Execute(named).error().no_effect());
  cluster.RunFor(11s);
}

TEST_F(PublicTimeTest, AnExpiredDeadlineIsNotTheDefault) {
  CrashOthers();
  v1::ExecuteRequest request;
  AddPut(&request, kLow, "x");
  const Instant begin = cluster.world().now();
  const v1::ExecuteResponse response = Run(api->Execute(request, Duration(0)));
  EXPECT_EQ(response.error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_TRUE(response.error().no_effect());
  EXPECT_LT(cluster.world().now() - begin, Duration(100ms));
}

TEST_F(PublicTimeTest, ASessionIsUsableAgainRightAfterACallsTimeout) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kHigh, "s"), v1::OK);
  CrashOthers();
  cluster.RunFor(3s);
  v1::SessionReadRequest request;
  request.set_session_id(session);
  request.add_keys(kLow);
  request.set_timeout_ms(300);
  const Instant begin = cluster.world().now();
  const v1::SessionReadResponse late = Run(api->Read(request, 10s));
  EXPECT_EQ(late.error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_TRUE(late.error().no_effect());
  EXPECT_LT(cluster.world().now() - begin, Duration(400ms));
  v1::SessionScanRequest scan;
  scan.set_session_id(session);
  scan.set_timeout_ms(300);
  EXPECT_EQ(Run(api->Scan(scan, 10s)).error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_LT(cluster.world().now() - begin, Duration(800ms));
  ASSERT_TRUE(cluster.at(2).Start(cluster.addresses()).ok());
  ASSERT_TRUE(cluster.at(3).Start(cluster.addresses()).ok());
  EXPECT_EQ(Read(session, kLow).error().code(), v1::OK) << "once there is a majority again";
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(*cluster.Get(kHigh), "s");
}

TEST_F(PublicTimeTest, RollbackEndsTheCallUnderWay) {
  const uint64_t session = BeginSession();
  CrashOthers();
  cluster.RunFor(3s);
  const auto read = StartRead(session, 20s);
  const v1::SessionReadResponse second = Read(session, kLow);
  EXPECT_EQ(second.error().code(), v1::FAILED_PRECONDITION) << "one call at a time";
  v1::SessionRollbackRequest rollback;
  rollback.set_session_id(session);
  EXPECT_EQ(Run(api->Rollback(rollback, 10s)).error().code(), v1::OK);
  cluster.RunFor(50ms);
  ASSERT_TRUE(read->read.has_value());
  EXPECT_EQ(read->read->error().code(), v1::CANCELLED);
  EXPECT_EQ(api->sessions(), 0u);
}

TEST_F(PublicTimeTest, ACallEndsWithItsClient) {
  const uint64_t session = BeginSession();
  CrashOthers();
  cluster.RunFor(3s);
  PublicCall call(20s, "client");
  const auto read = StartRead(session, call);
  EXPECT_GT(api->held(), 0u);
  call.gone->Set();
  cluster.RunFor(50ms);
  ASSERT_TRUE(read->read.has_value());
  EXPECT_EQ(read->read->error().code(), v1::CANCELLED);
  EXPECT_EQ(api->sessions(), 1u) << "the session may be its client's next connection's";
}

// ---- locks --------------------------------------------------------------------------------------

class PublicLockTest : public PublicApiFixture {
 protected:
  uint64_t LockBySession(const std::string& key) {
    const uint64_t session = BeginSession();
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(key);
    request.set_for_update(true);
    EXPECT_EQ(Run(api->Read(request, 10s)).error().code(), v1::OK);
    return session;
  }
  v1::ExecuteResponse Put(const std::string& key, uint32_t timeout_ms) {
    v1::ExecuteRequest request;
    request.set_timeout_ms(timeout_ms);
    AddPut(&request, key, "x");
    return Execute(request);
  }
  // A session that is asked something again and again.
  static Task<void> KeepBusy(PublicApi* api, Executor* executor, uint64_t session) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    while (true) {
      co_await Sleep(*executor, 200ms);
      (void)co_await api->Write(request, 10s);
    }
  }
};

TEST_F(PublicLockTest, AnIdleSessionLosesLocksThatOthersWaitForWithinSeconds) {
  const uint64_t holder = LockBySession(kLow);
  const Instant begin = cluster.world().now();
  const v1::ExecuteResponse put = Put(kLow, 20'000);
  EXPECT_EQ(put.error().code(), v1::OK) << put.error().message();
  EXPECT_LT(cluster.world().now() - begin, Duration(6s));
  EXPECT_EQ(api->sessions(), 1u) << "the session itself goes on";
  EXPECT_EQ(Write(holder, kHigh, "s"), v1::OK);
}

TEST_F(PublicLockTest, AnIdleSessionKeepsLocksThatNobodyWaitsFor) {
  const uint64_t holder = LockBySession(kLow);
  cluster.RunFor(10s);
  EXPECT_EQ(Write(holder, kHigh, "s"), v1::OK);
  TaskScope scope(cluster.at(1).process()->env().executor);
  scope.Spawn(KeepBusy(api.get(), &cluster.at(1).process()->env().executor, holder));
  EXPECT_EQ(Put(kLow, 2000).error().code(), v1::LOCK_CONFLICT) << "it is still held";
}

TEST_F(PublicLockTest, WhoWaitsForALockIsToldWhoHoldsItAndSinceWhen) {
  const uint64_t holder = LockBySession(kLow);
  TaskScope scope(cluster.at(1).process()->env().executor);
  scope.Spawn(KeepBusy(api.get(), &cluster.at(1).process()->env().executor, holder));
  const v1::ExecuteResponse put = Put(kLow, 3000);
  EXPECT_EQ(put.error().code(), v1::LOCK_CONFLICT) << put.error().message();
  EXPECT_TRUE(put.error().no_effect());
  const std::string& message = put.error().message();
  EXPECT_NE(message.find(Printable(kLow)), std::string::npos) << message;
  EXPECT_NE(message.find("by transaction "), std::string::npos) << message;
  EXPECT_NE(message.find("since "), std::string::npos) << message;
}

// ---- bounds -------------------------------------------------------------------------------------

class PublicBoundsTest : public PublicApiFixture {
 protected:
  v1::BeginResponse BeginAs(const std::string& client) {
    return Run(api->Begin({}, PublicCall(10s, client)));
  }
  v1::Error WriteAs(const std::string& client, uint64_t session, size_t bytes) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    for (int i = 0; bytes > 0; ++i) {
      const size_t part = std::min(bytes, limits::kValueBytesMax);
      v1::Write* write = request.add_writes();
      write->set_key("k" + std::to_string(i));
      write->set_value(std::string(part, 'x'));
      bytes -= part;
    }
    return Run(api->Write(std::move(request), PublicCall(10s, client))).error();
  }
};

TEST_F(PublicBoundsTest, AClientThatHoldsTooMuchIsToldAndNobodyElseNotices) {
  std::vector<uint64_t> sessions;
  v1::Error refused;
  for (int i = 0; i < 20 && refused.code() == v1::OK; ++i) {
    const v1::BeginResponse begun = BeginAs("greedy");
    ASSERT_EQ(begun.error().code(), v1::OK);
    sessions.push_back(begun.session_id());
    refused = WriteAs("greedy", begun.session_id(), 15u << 20);
  }
  EXPECT_EQ(refused.code(), v1::OVERLOADED);
  EXPECT_GT(refused.retry_after_ms(), 0u);
  EXPECT_TRUE(refused.no_effect());
  EXPECT_LE(api->held(), limits::kClientBytesMax / 2);
  // Others do as before.
  const v1::BeginResponse honest = BeginAs("honest");
  ASSERT_EQ(honest.error().code(), v1::OK);
  EXPECT_EQ(WriteAs("honest", honest.session_id(), 4u << 20).code(), v1::OK);
  EXPECT_EQ(Commit(honest.session_id()).error().code(), v1::OK);
  // Once it ends what it has, it may go on.
  for (const uint64_t session : sessions) {
    v1::SessionRollbackRequest rollback;
    rollback.set_session_id(session);
    EXPECT_EQ(Run(api->Rollback(rollback, 10s)).error().code(), v1::OK);
  }
  EXPECT_EQ(api->held(), 0u);
  const v1::BeginResponse again = BeginAs("greedy");
  EXPECT_EQ(WriteAs("greedy", again.session_id(), 15u << 20).code(), v1::OK);
}

TEST_F(PublicBoundsTest, SessionsThatNobodyUsesMakeRoom) {
  // Each from a connection of its own, so that none is over its share.
  int begun = 0;
  for (; begun < 12; ++begun) {
    const std::string client = "c" + std::to_string(begun);
    const v1::BeginResponse session = BeginAs(client);
    if (WriteAs(client, session.session_id(), 14u << 20).code() != v1::OK) break;
  }
  EXPECT_LT(begun, 12);
  const v1::BeginResponse honest = BeginAs("honest");
  EXPECT_EQ(WriteAs("honest", honest.session_id(), 14u << 20).code(), v1::OVERLOADED);
  cluster.RunFor(6s);
  const v1::BeginResponse later = BeginAs("honest");
  EXPECT_EQ(WriteAs("honest", later.session_id(), 14u << 20).code(), v1::OK)
      << "the unused ones go first";
}

TEST_F(PublicBoundsTest, AClientAtItsBoundLosesItsOwnBehindThoseOfOthers) {
  const v1::BeginResponse honest = BeginAs("honest");
  int begun = 0;
  for (v1::Error error; error.code() == v1::OK && begun < 20; ++begun) {
    error = WriteAs("greedy", BeginAs("greedy").session_id(), 7u << 20);
  }
  ASSERT_LT(begun, 20);
  ASSERT_LT(api->held(), api->held_max() / 2) << "nobody else's go";
  cluster.RunFor(6s);
  EXPECT_EQ(WriteAs("greedy", BeginAs("greedy").session_id(), 7u << 20).code(), v1::OK);
  EXPECT_EQ(WriteAs("honest", honest.session_id(), 1000).code(), v1::OK);
}

// Beside other answers that are not taken, reads for a client are slow; nobody else's are.
TEST_F(PublicBoundsTest, WhoDoesNotTakeItsAnswersWaitsForMoreOfThem) {
  v1::ExecuteRequest put;
  for (int i = 0; i < 4; ++i) {
    AddPut(&put, kLow + std::to_string(i), std::string(limits::kValueBytesMax - 100'000, 'x'));
  }
  ASSERT_EQ(Execute(put).error().code(), v1::OK);
  v1::ExecuteRequest scan;
  scan.add_operations()->mutable_scan()->set_from(kLow);
  scan.mutable_operations(0)->mutable_scan()->set_to(kHigh);
  const auto time_of = [&](const PublicCall& call) {
    const Instant begun = cluster.at(1).process()->env().Now();
    const v1::ExecuteResponse response = Run(api->Execute(scan, call));
    EXPECT_EQ(response.error().code(), v1::OK);
    EXPECT_GE(response.results(0).rows_size(), 4);
    return cluster.at(1).process()->env().Now() - begun;
  };
  {
    const PublicCall untaken(60s, "greedy");
    EXPECT_LT(time_of(untaken), 80ms) << "its own rows are no other answer";
    EXPECT_GE(time_of(PublicCall(60s, "greedy")), 80ms);
    EXPECT_LT(time_of(PublicCall(60s, "honest")), 80ms);
  }
  EXPECT_LT(time_of(PublicCall(60s, "greedy")), 80ms) << "taken";
}

TEST_F(PublicBoundsTest, AnswersThatNobodyTakesAreFew) {
  v1::ExecuteRequest put;
  for (int i = 0; i < 4; ++i) {
    AddPut(&put, kLow + std::to_string(i), std::string(limits::kValueBytesMax - 100'000, 'x'));
  }
  ASSERT_EQ(Execute(put).error().code(), v1::OK);
  v1::ExecuteRequest scan;
  scan.add_operations()->mutable_scan()->set_from(kLow);
  scan.mutable_operations(0)->mutable_scan()->set_to(kHigh);
  std::list<PublicCall> untaken;
  std::map<std::string, int> refused;
  for (int i = 0; i < 60; ++i) {
    const std::string client = "greedy" + std::to_string(i % 4);
    const v1::ExecuteResponse response = Run(api->Execute(scan, untaken.emplace_back(60s, client)));
    if (response.error().code() == v1::OVERLOADED) ++refused[client];
  }
  EXPECT_EQ(refused.size(), 4u);
  EXPECT_LT(api->held(), 40u << 20) << "a good part of the memory is left to others";
  EXPECT_EQ(Run(api->Execute(scan, PublicCall(60s, "honest"))).error().code(), v1::OK);
}

Task<void> BeginFor(PublicApi* api, std::string client, size_t* begun, v1::Error* refused) {
  const v1::BeginResponse response = co_await api->Begin({}, PublicCall(10s, std::move(client)));
  if (response.error().code() == v1::OK) {
    ++*begun;
  } else {
    *refused = response.error();
  }
}

// One client's sessions, each with nothing in it; many at once, or the first count as unused before
// the last have begun.
TEST_F(PublicBoundsTest, NobodyTakesAllSessions) {
  size_t begun = 0;
  v1::Error refused;
  TaskScope scope(cluster.at(1).process()->env().executor);
  while (begun <= limits::kSessionsMax && refused.code() == v1::OK) {
    for (int i = 0; i < 1000; ++i) scope.Spawn(BeginFor(api.get(), "greedy", &begun, &refused));
    while (scope.size() > 0) cluster.RunFor(1ms);
  }
  EXPECT_EQ(begun, limits::kSessionsMax / 2);
  EXPECT_EQ(refused.code(), v1::OVERLOADED);
  EXPECT_GT(refused.retry_after_ms(), 0u);
  EXPECT_TRUE(refused.no_effect());
  EXPECT_EQ(BeginAs("honest").error().code(), v1::OK);
}

// They do not end by themselves: two of three nodes are down.
TEST_F(PublicBoundsTest, WhatIsExecutedAtOnceIsBoundedAcrossCallsAndSessions) {
  cluster.at(2).Crash();
  cluster.at(3).Crash();
  cluster.RunFor(3s);
  v1::ExecuteRequest large;
  large.set_timeout_ms(30'000);
  for (int i = 0; i < 8; ++i) {
    AddPut(&large, "k" + std::to_string(i), std::string(limits::kValueBytesMax, 'x'));
  }
  constexpr size_t kCalls = 12;
  std::vector<std::optional<v1::ExecuteResponse>> answers(kCalls);
  TaskScope scope(cluster.at(1).process()->env().executor);
  for (auto& answer : answers) {
    scope.Spawn(Keep(api->Execute(large, PublicCall(30s, "greedy")), &answer));
    EXPECT_LE(api->held(), api->held_max() / 2);
  }
  cluster.RunFor(50ms);
  size_t refused = 0;
  for (const auto& answer : answers) {
    if (!answer) continue;
    ++refused;
    EXPECT_EQ(answer->error().code(), v1::OVERLOADED) << answer->error().message();
    EXPECT_GT(answer->error().retry_after_ms(), 0u);
    EXPECT_TRUE(answer->error().no_effect());
  }
  EXPECT_GT(refused, 0u);
  EXPECT_LT(refused, kCalls);
  const v1::BeginResponse greedy = BeginAs("greedy");
  EXPECT_EQ(WriteAs("greedy", greedy.session_id(), 8u << 20).code(), v1::OVERLOADED);
  const v1::BeginResponse honest = BeginAs("honest");
  EXPECT_EQ(WriteAs("honest", honest.session_id(), 8u << 20).code(), v1::OK);
  scope.Clear();
}

TEST_F(PublicBoundsTest, EveryOverloadedAnswerHasATimeToWait) {
  v1::Error error;
  StatusToError(Status(Code::kOverloaded, "full"), &error);
  EXPECT_GT(error.retry_after_ms(), 0u);
}

}  // namespace
}  // namespace quorate::server
