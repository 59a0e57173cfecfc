// The public calls over a whole cluster.
#include "server/node/public_api.h"

#include <gtest/gtest.h>

#include "tests/server/cluster_fixture.h"

namespace quorate::server {
namespace {

class PublicApiTest : public testing::Test {
 protected:
  PublicApiTest() : cluster(3) {
    cluster.StartAndInit(4);
    api = std::make_unique<PublicApi>(cluster.at(1).process()->env(), cluster.node(1));
  }
  ~PublicApiTest() override { api.reset(); }

  // Runs a call of the API on the client's executor.
  template <class Response>
  Response Run(Task<Response> task) {
    return *cluster.Await(Wrap<Response>(std::move(task)));
  }
  template <class Response>
  static Task<Result<Response>> Wrap(Task<Response> task) {
    co_return co_await std::move(task);
  }

  v1::ExecuteResponse Execute(v1::ExecuteRequest request) {
    return Run(api->Execute(std::move(request), 10s));
  }
  static void AddPut(v1::ExecuteRequest* request, const std::string& key,
                     const std::string& value) {
    v1::Write* put = request->add_operations()->mutable_put();
    put->set_key(key);
    put->set_value(value);
  }
  uint64_t BeginSession(bool read_only = false) {
    v1::BeginRequest request;
    request.set_read_only(read_only);
    const v1::BeginResponse response = Run(api->Begin(request, 10s));
    EXPECT_EQ(response.error().code(), v1::OK);
    return response.session_id();
  }
  v1::SessionReadResponse Read(uint64_t session, const std::string& key) {
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(key);
    return Run(api->Read(request, 10s));
  }
  v1::ErrorCode Write(uint64_t session, const std::string& key, const std::string& value) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(value);
    return Run(api->Write(request, 10s)).error().code();
  }
  v1::SessionCommitResponse Commit(uint64_t session) {
    v1::SessionCommitRequest request;
    request.set_session_id(session);
    return Run(api->Commit(request, 10s));
  }

  ClusterFixture cluster;
  std::unique_ptr<PublicApi> api;
};

const std::string kLow("\x11key");
const std::string kHigh("\xe1key");

TEST_F(PublicApiTest, ExecutesOperationsInOrderAndSeesItsOwnWrites) {
  v1::ExecuteRequest request;
  request.add_operations()->set_get(kLow);
  AddPut(&request, kLow, "1");
  AddPut(&request, kHigh, "2");
  request.add_operations()->set_get(kLow);
  request.add_operations()->mutable_scan();
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  ASSERT_EQ(response.results_size(), 5);
  EXPECT_FALSE(response.results(0).value().found());
  EXPECT_EQ(response.results(3).value().value(), "1");
  ASSERT_EQ(response.results(4).rows_size(), 2);
  EXPECT_EQ(response.results(4).rows(1).value(), "2");
  EXPECT_FALSE(response.results(4).more());
  EXPECT_GT(response.commit_ts(), response.read_ts());
}

TEST_F(PublicApiTest, WritesNothingIfAConditionDoesNotHold) {
  v1::ExecuteRequest request;
  v1::Condition* equals = request.add_conditions();
  equals->set_key(kLow);
  equals->set_equals("1");
  v1::Condition* absent = request.add_conditions();
  absent->set_key(kHigh);
  absent->set_absent(true);
  AddPut(&request, kHigh, "x");
  v1::ExecuteResponse response = Execute(request);
  EXPECT_EQ(response.error().code(), v1::FAILED_PRECONDITION);
  ASSERT_EQ(response.failed_conditions_size(), 1);
  EXPECT_EQ(response.failed_conditions(0), 0u);
  EXPECT_EQ(*cluster.Get(kHigh), std::nullopt);
  ASSERT_TRUE(cluster.Put(kLow, "1").ok());
  EXPECT_EQ(Execute(request).error().code(), v1::OK);
  EXPECT_EQ(Execute(request).failed_conditions(0), 1u) << "it is there now";
}

TEST_F(PublicApiTest, RefusesWhatIsMalformed) {
  v1::ExecuteRequest request;
  request.add_operations();
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  request.add_conditions()->set_key("k");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  request.set_txn_id("short");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  AddPut(&request, "", "v");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  AddPut(&request, std::string(limits::kKeyBytesMax + 1, 'k'), "v");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(PublicApiTest, AnExecutionOfANamedTransactionCanBeAskedAbout) {
  v1::ExecuteRequest request;
  request.set_txn_id(std::string(16, 'T'));
  AddPut(&request, kLow, "1");
  AddPut(&request, kHigh, "2");
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  EXPECT_EQ(response.txn().txn_id(), request.txn_id());
  v1::GetOutcomeRequest ask;
  *ask.mutable_txn() = response.txn();
  const v1::GetOutcomeResponse outcome = Run(api->GetOutcome(ask, 10s));
  EXPECT_EQ(outcome.error().code(), v1::OK) << outcome.error().message();
  EXPECT_EQ(outcome.state(), v1::COMMITTED);
  ask.mutable_txn()->set_txn_id(std::string(16, 'U'));  // never sent
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).state(), v1::ABORTED_STATE);
}

TEST_F(PublicApiTest, ASessionCommitsWhatItWrote) {
  const uint64_t session = BeginSession();
  EXPECT_FALSE(Read(session, kLow).values(0).found());
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  EXPECT_EQ(Write(session, kHigh, "t"), v1::OK);
  EXPECT_EQ(Read(session, kLow).values(0).value(), "s");
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt) << "not before its commit";
  const v1::SessionCommitResponse committed = Commit(session);
  EXPECT_EQ(committed.error().code(), v1::OK) << committed.error().message();
  EXPECT_EQ(*cluster.Get(kHigh), "t");
  EXPECT_EQ(Commit(session).error().code(), v1::NOT_FOUND);
}

TEST_F(PublicApiTest, ASessionThatReadWhatChangedIsRefused) {
  const uint64_t session = BeginSession();
  Read(session, kLow);
  ASSERT_TRUE(cluster.Put(kLow, "other").ok());
  EXPECT_EQ(Write(session, kLow, "mine"), v1::OK);
  EXPECT_EQ(Commit(session).error().code(), v1::READ_CONFLICT);
  EXPECT_EQ(*cluster.Get(kLow), "other");
}

TEST_F(PublicApiTest, ARolledBackSessionLeavesNothing) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  v1::SessionRollbackRequest request;
  request.set_session_id(session);
  EXPECT_EQ(Run(api->Rollback(request, 10s)).error().code(), v1::OK);
  EXPECT_EQ(Write(session, kLow, "s"), v1::NOT_FOUND);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
}

TEST_F(PublicApiTest, AForgottenSessionEndsAfterAMinute) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  cluster.RunFor(50s);
  EXPECT_EQ(api->sessions(), 1u);
  cluster.RunFor(20s);
  EXPECT_EQ(api->sessions(), 0u);
  EXPECT_EQ(Write(session, kLow, "s"), v1::NOT_FOUND);
}

TEST_F(PublicApiTest, AReadOnlySessionRefusesWrites) {
  const uint64_t session = BeginSession(true);
  EXPECT_FALSE(Read(session, kLow).values(0).found());
  EXPECT_NE(Write(session, kLow, "s"), v1::OK);
}

TEST_F(PublicApiTest, AScanIsCutByItsLimit) {
  v1::ExecuteRequest fill;
  for (int i = 0; i < 300; ++i)
    AddPut(&fill, std::string(1, static_cast<char>(i / 2)) + std::to_string(i), "v");
  ASSERT_EQ(Execute(fill).error().code(), v1::OK);
  v1::ExecuteRequest scan;
  scan.add_operations()->mutable_scan()->set_limit(250);
  scan.add_operations()->mutable_scan()->set_limit(300);
  scan.add_operations()->mutable_scan();
  const v1::ExecuteResponse response = Execute(scan);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  EXPECT_EQ(response.results(0).rows_size(), 250);
  EXPECT_TRUE(response.results(0).more());
  EXPECT_EQ(response.results(1).rows_size(), 300);
  EXPECT_FALSE(response.results(1).more());
  EXPECT_EQ(response.results(2).rows_size(), 300);
  EXPECT_EQ(response.commit_ts(), 0u) << "it wrote nothing";
}

}  // namespace
}  // namespace quorate::server
