// The public calls over a whole cluster: transactions in one call, their names, and sessions.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "server/node/execute.h"
#include "tests/server/public_api_fixture.h"
#include "txn/errors.h"

namespace quorate::server {
namespace {

using PublicApiTest = PublicApiFixture;

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
  v1::ExecuteRequest request = Named("1");
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  EXPECT_EQ(response.txn().txn_id(), request.txn_id());
  EXPECT_FALSE(response.earlier());
  EXPECT_EQ(Outcome(request.txn_id(), kLow), v1::COMMITTED);
  EXPECT_EQ(Outcome(request.txn_id(), kHigh), v1::COMMITTED) << "any key will do";
}

TEST_F(PublicApiTest, ANameOfWhichNothingIsKnownIsClosedByAsking) {
  const v1::ExecuteRequest request = Named("1");
  EXPECT_EQ(Outcome(request.txn_id(), kHigh), v1::ABORTED_STATE);
  EXPECT_EQ(Execute(request).error().code(), v1::ABORTED);
  EXPECT_EQ(Outcome(request.txn_id(), kLow), v1::ABORTED_STATE);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
}

TEST_F(PublicApiTest, ANamedExecutionSentAgainTakesEffectOnce) {
  v1::ExecuteRequest request = Named("1");
  request.add_conditions()->set_key(kLow);
  request.mutable_conditions(0)->set_absent(true);
  request.add_operations()->set_get(kLow);
  const v1::ExecuteResponse first = Execute(request);
  ASSERT_EQ(first.error().code(), v1::OK) << first.error().message();
  ASSERT_TRUE(cluster.Put(kHigh, "since").ok());
  PublicApi other(cluster.at(2).process()->env(), cluster.node(2));
  for (PublicApi* node : {api.get(), &other}) {
    const v1::ExecuteResponse again = Run(node->Execute(request, 10s));
    EXPECT_EQ(again.error().code(), v1::OK) << again.error().message();
    EXPECT_TRUE(again.earlier());
    EXPECT_EQ(again.commit_ts(), first.commit_ts());
    EXPECT_EQ(again.results_size(), 0) << "what was read then is not kept";
    EXPECT_EQ(again.failed_conditions_size(), 0);
  }
  EXPECT_EQ(*cluster.Get(kHigh), "since");
}

TEST_F(PublicApiTest, ANameWhoseConditionFailedStaysFailed) {
  v1::ExecuteRequest request = Named("1");
  request.add_conditions()->set_key(kLow);
  request.mutable_conditions(0)->set_absent(false);
  EXPECT_EQ(Execute(request).error().code(), v1::FAILED_PRECONDITION);
  ASSERT_TRUE(cluster.Put(kLow, "there now").ok());
  EXPECT_EQ(Execute(request).error().code(), v1::ABORTED) << "no sending of it may say otherwise";
  EXPECT_EQ(Outcome(request.txn_id(), kHigh), v1::ABORTED_STATE);
  EXPECT_EQ(*cluster.Get(kHigh), std::nullopt);
}

TEST_F(PublicApiTest, ManyNodesMaySendOneNameAtOnce) {
  for (int round = 0; round < 5; ++round) {
    const v1::ExecuteRequest request = Named(std::to_string(round));
    std::vector<std::unique_ptr<PublicApi>> nodes;
    std::vector<std::optional<v1::ExecuteResponse>> answers(6);
    for (size_t i = 0; i < answers.size(); ++i) {
      const size_t node = 1 + i % 3;
      nodes.push_back(
          std::make_unique<PublicApi>(cluster.at(node).process()->env(), cluster.node(node)));
      cluster.client().scope().Spawn(Keep(nodes.back()->Execute(request, 10s), &answers[i]));
    }
    ASSERT_TRUE(cluster.RunUntil([&] {
      return std::all_of(answers.begin(), answers.end(), [](const auto& a) { return !!a; });
    }));
    for (const auto& answer : answers) {
      EXPECT_EQ(answer->error().code(), v1::OK) << answer->error().message();
      EXPECT_EQ(answer->commit_ts(), answers[0]->commit_ts());
    }
  }
}

TEST_F(PublicApiTest, AReferenceWithoutANameIsTakenAsItWasHandedOutOnly) {
  Random own(3);
  v1::GetOutcomeRequest ask;
  FillTxn({TxnId::Make(own), Timestamp::FromParts(1'700'000'000'000, 0), kLow}, ask.mutable_txn());
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).error().code(), v1::OK);
  ask.mutable_txn()->set_anchor_key(kHigh);
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(PublicApiTest, ANameOfAnotherTimeIsRefused) {
  v1::ExecuteRequest request = Named("1");
  Random random(9);
  const auto now = static_cast<uint64_t>(cluster.at(1).process()->WallMillis());
  request.set_txn_id(std::string(GivenName::Make(now + 400'000, random).bytes()));
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.set_txn_id(std::string(GivenName::Make(now - 4'000'000, random).bytes()));
  EXPECT_EQ(Execute(request).error().code(), v1::TOO_OLD);
  v1::GetOutcomeRequest ask;
  ask.mutable_txn()->set_txn_id(request.txn_id());
  ask.mutable_txn()->set_anchor_key(kLow);
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).error().code(), v1::TOO_OLD);
  request.set_txn_id(std::string(16, 'T'));
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT) << "no UUIDv7";
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
  const v1::SessionCommitResponse again = Commit(session);
  EXPECT_EQ(again.error().code(), v1::OK) << again.error().message();
  EXPECT_EQ(again.commit_ts(), committed.commit_ts());
}

TEST_F(PublicApiTest, ASessionsCommitRepeatedElsewhereFindsItsOutcome) {
  v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  EXPECT_EQ(Write(begun.session_id(), kHigh, "t"), v1::OK);
  ASSERT_EQ(Commit(begun.session_id()).error().code(), v1::OK);
  PublicApi other(cluster.at(3).process()->env(), cluster.node(3));
  v1::SessionCommitRequest request;
  request.set_session_id(begun.session_id());
  EXPECT_EQ(Run(other.Commit(request, 10s)).error().code(), v1::UNKNOWN_OUTCOME) << "by whom?";
  *request.mutable_txn() = begun.txn();
  request.mutable_txn()->set_anchor_key(kHigh);
  EXPECT_EQ(Run(other.Commit(request, 10s)).error().code(), v1::OK);
}

TEST_F(PublicApiTest, ASessionAskedAboutBeforeItsCommitCannotCommit) {
  v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  EXPECT_EQ(Outcome(begun.txn().txn_id(), kLow), v1::ABORTED_STATE);
  EXPECT_EQ(Commit(begun.session_id()).error().code(), v1::ABORTED);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
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
