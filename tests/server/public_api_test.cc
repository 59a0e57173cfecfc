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

// One that leads nothing and has just started needs no slot for anything else.
TEST_F(PublicApiTest, NamesAreMadeAndJudgedByTheOraclesClockOnEveryNode) {
  for (const int64_t off : {10 * 60'000, -80 * 60'000}) {
    cluster.at(3).Crash();
    cluster.at(3).clock().SkewWall(off);
    ASSERT_TRUE(cluster.at(3).Start(cluster.addresses()).ok());
    ASSERT_TRUE(cluster.AllReady());
    PublicApi node(cluster.at(3).process()->env(), cluster.node(3));
    const v1::ExecuteRequest request = Named(std::to_string(off));
    const v1::ExecuteResponse named = Run(node.Execute(request, 10s));
    EXPECT_EQ(named.error().code(), v1::OK) << named.error().message();
    const v1::BeginResponse begun = Run(node.Begin({}, 10s));
    ASSERT_EQ(begun.error().code(), v1::OK);
    v1::SessionWriteRequest write;
    write.set_session_id(begun.session_id());
    write.add_writes()->set_key(kLow);
    EXPECT_EQ(Run(node.Write(write, 10s)).error().code(), v1::OK);
    v1::SessionCommitRequest commit;
    commit.set_session_id(begun.session_id());
    const v1::SessionCommitResponse committed = Run(node.Commit(commit, 10s));
    EXPECT_EQ(committed.error().code(), v1::OK) << committed.error().message();
    EXPECT_EQ(Outcome(begun.txn().txn_id(), kLow), v1::COMMITTED);
  }
}

TEST_F(PublicApiTest, ANodeThatDoesNotKnowTheTimeSaysWhenToAskAgain) {
  api.reset();  // it goes before its node
  cluster.at(2).Crash();
  cluster.at(3).Crash();
  cluster.at(1).Crash();
  ASSERT_TRUE(cluster.at(1).Start(cluster.addresses()).ok());
  PublicApi alone(cluster.at(1).process()->env(), cluster.node(1));
  const v1::ExecuteResponse named = Run(alone.Execute(Named("1"), 500ms));
  EXPECT_EQ(named.error().code(), v1::UNAVAILABLE) << named.error().message();
  EXPECT_GT(named.error().retry_after_ms(), 0u);
  EXPECT_FALSE(named.error().no_effect());
  const v1::BeginResponse begun = Run(alone.Begin({}, 500ms));
  EXPECT_EQ(begun.error().code(), v1::UNAVAILABLE);
  EXPECT_GT(begun.error().retry_after_ms(), 0u);
  EXPECT_TRUE(begun.error().no_effect());
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

TEST_F(PublicApiTest, AKeyThatASessionDidNotWriteSaysNothingOfTheSession) {
  const v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  ASSERT_EQ(Commit(begun.session_id()).error().code(), v1::OK);
  PublicApi other(cluster.at(3).process()->env(), cluster.node(3));
  v1::SessionCommitRequest request;
  request.set_session_id(begun.session_id());
  *request.mutable_txn() = begun.txn();
  request.mutable_txn()->set_anchor_key("\xf0not written");  // in another shard
  const v1::Error error = Run(other.Commit(request, 10s)).error();
  EXPECT_EQ(error.code(), v1::ABORTED);
  EXPECT_FALSE(error.no_effect());
  EXPECT_NE(error.message().find("\\xf0not written"), std::string::npos) << error.message();
  request.mutable_txn()->set_anchor_key(kLow);
  EXPECT_EQ(Run(other.Commit(request, 10s)).error().code(), v1::OK) << "nor is it remembered";
}

// Of a node that has started again since, or of another one: it kept nothing of the session.
TEST_F(PublicApiTest, ARepeatedCommitIsNeverToldThatNothingHappenedWithoutAFact) {
  const v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  ASSERT_EQ(Commit(begun.session_id()).error().code(), v1::OK);
  PublicApi other(cluster.at(1).process()->env(), cluster.node(1));
  v1::SessionCommitRequest request;
  request.set_session_id(begun.session_id());
  const auto is_unknown = [&](Duration timeout) {
    const v1::SessionCommitResponse response = Run(other.Commit(request, timeout));
    EXPECT_EQ(response.error().code(), v1::UNKNOWN_OUTCOME) << response.error().message();
    EXPECT_FALSE(response.error().no_effect());
    EXPECT_EQ(response.error().txn().txn_id(), request.txn().txn_id());
  };
  // Just as Begin gave it, without a key.
  *request.mutable_txn() = begun.txn();
  is_unknown(10s);
  request.mutable_txn()->set_txn_id("short");
  request.mutable_txn()->set_anchor_key(kLow);
  is_unknown(10s);
  *request.mutable_txn() = begun.txn();
  request.mutable_txn()->set_anchor_key(kLow);
  cluster.at(2).Crash();
  cluster.at(3).Crash();
  cluster.RunFor(5s);  // for the lease, if it leads
  is_unknown(2s);
}

TEST_F(PublicApiTest, ARepeatedCommitNeedsNoRoomToBeAnswered) {
  const v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  ASSERT_EQ(Commit(begun.session_id()).error().code(), v1::OK);
  PublicApi full(cluster.at(3).process()->env(), cluster.node(3), 1);
  v1::SessionCommitRequest request;
  request.set_session_id(begun.session_id());
  *request.mutable_txn() = begun.txn();
  request.mutable_txn()->set_anchor_key(kLow);
  const v1::SessionCommitResponse again = Run(full.Commit(request, 10s));
  EXPECT_EQ(again.error().code(), v1::OK) << again.error().message();
}

// The door knows nothing of other sendings.
TEST_F(PublicApiTest, TheDoorSaysNothingOfWhatMayHaveBeenSentBefore) {
  PublicApi full(cluster.at(1).process()->env(), cluster.node(1), 1);
  v1::SessionCommitRequest commit;
  commit.set_session_id(7);
  const v1::SessionCommitResponse late = Run(api->Commit(commit, Duration(0)));
  EXPECT_EQ(late.error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_FALSE(late.error().no_effect());
  v1::GetOutcomeRequest ask;
  ask.mutable_txn()->set_txn_id(Named("1").txn_id());
  EXPECT_FALSE(Run(api->GetOutcome(ask, 10s)).error().no_effect()) << "no key";
  ask.mutable_txn()->set_anchor_key(kLow);
  EXPECT_FALSE(Run(api->GetOutcome(ask, Duration(0))).error().no_effect());
  const v1::GetOutcomeResponse crowded = Run(full.GetOutcome(ask, 10s));
  EXPECT_EQ(crowded.error().code(), v1::OVERLOADED);
  EXPECT_FALSE(crowded.error().no_effect());
}

TEST_F(PublicApiTest, WhatOneSendingOfANameFindsSaysNothingOfTheOthers) {
  ASSERT_TRUE(cluster.Put("large", std::string(100'000, 'x')).ok());
  v1::ExecuteRequest request = Named("1");
  request.add_operations()->set_get("large");
  ASSERT_EQ(Execute(request).error().code(), v1::OK);
  // There is room for the request, but not for its answer.
  PublicApi small(cluster.at(2).process()->env(), cluster.node(2), 100'000);
  const v1::ExecuteResponse again = Run(small.Execute(request, 10s));
  EXPECT_EQ(again.error().code(), v1::OVERLOADED) << again.error().message();
  EXPECT_FALSE(again.error().no_effect()) << "it had committed";
  EXPECT_TRUE(Run(api->Execute(request, 10s)).earlier());
  request.clear_txn_id();
  const v1::ExecuteResponse nameless = Run(small.Execute(request, 10s));
  EXPECT_EQ(nameless.error().code(), v1::OVERLOADED);
  EXPECT_TRUE(nameless.error().no_effect());
}

TEST_F(PublicApiTest, ALostConnectionLeavesANameOpen) {
  const v1::ExecuteRequest request = Named("1");
  PublicCall call(10s, "client");
  call.gone->Set();
  (void)Run(api->Execute(request, call));
  const v1::ExecuteResponse again = Execute(request);
  EXPECT_EQ(again.error().code(), v1::OK) << again.error().message();
  EXPECT_EQ(*cluster.Get(kLow), "1");
}

TEST_F(PublicApiTest, ASessionAskedAboutBeforeItsCommitCannotCommit) {
  v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  EXPECT_EQ(Outcome(begun.txn().txn_id(), kLow), v1::ABORTED_STATE);
  EXPECT_EQ(Commit(begun.session_id()).error().code(), v1::ABORTED);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
}

TEST_F(PublicApiTest, ARefusedWriteOfASessionLeavesNothingOfItself) {
  const uint64_t session = BeginSession();
  const std::string big(limits::kValueBytesMax, 'x');
  for (int i = 0; i < 15; ++i) {
    ASSERT_EQ(Write(session, "\x11" + std::to_string(i), big), v1::OK);
  }
  v1::SessionWriteRequest request;
  request.set_session_id(session);
  for (const auto& [key, value] : {std::pair("\x12"
                                             "debit",
                                             std::string("1")),
                                   {"\x12"
                                    "big",
                                    big},
                                   {"\x12"
                                    "credit",
                                    "1"}}) {
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(value);
  }
  const size_t held = api->held();
  const v1::Error error = Run(api->Write(request, 10s)).error();
  EXPECT_EQ(error.code(), v1::INVALID_ARGUMENT);
  EXPECT_TRUE(error.no_effect());
  EXPECT_EQ(api->held(), held) << "what is not buffered is not counted";
  EXPECT_FALSE(Read(session,
                    "\x12"
                    "debit")
                   .values(0)
                   .found());
  ASSERT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(*cluster.Get("\x12"
                         "debit"),
            std::nullopt);
  EXPECT_EQ(*cluster.Get("\x12"
                         "credit"),
            std::nullopt);
  EXPECT_EQ(*cluster.Get("\x11"
                         "7"),
            big);
}

TEST_F(PublicApiTest, AWriteIsJudgedByWhatItLeaves) {
  const uint64_t session = BeginSession();
  const std::string big(limits::kValueBytesMax, 'x');
  for (int i = 0; i < 15; ++i) {
    ASSERT_EQ(Write(session, "\x11" + std::to_string(i), big), v1::OK);
  }
  v1::SessionWriteRequest request;
  request.set_session_id(session);
  v1::Write* deletion = request.add_writes();
  deletion->set_key(
      "\x11"
      "3");
  deletion->set_deletion(true);
  for (const char* key : {"\x12"
                          "a",
                          "\x12"
                          "a"}) {
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(big);
  }
  EXPECT_EQ(Run(api->Write(request, 10s)).error().code(), v1::OK);
  ASSERT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(*cluster.Get("\x11"
                         "3"),
            std::nullopt);
  EXPECT_EQ(*cluster.Get("\x12"
                         "a"),
            big);
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

TEST_F(PublicApiTest, ACommitOfASessionThatWasRolledBackIsCertainlyAborted) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  v1::SessionRollbackRequest request;
  request.set_session_id(session);
  EXPECT_EQ(Run(api->Rollback(request, 10s)).error().code(), v1::OK);
  for (int i = 0; i < 2; ++i) {
    const v1::SessionCommitResponse answer = Commit(session);
    EXPECT_EQ(answer.error().code(), v1::ABORTED) << answer.error().message();
    EXPECT_TRUE(answer.error().no_effect());
  }
}

TEST_F(PublicApiTest, AnEndedSessionThatWasSentUnderItsNameElsewhereIsCommitted) {
  const v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  PublicApi other(cluster.at(3).process()->env(), cluster.node(3));
  v1::ExecuteRequest sent;
  sent.set_txn_id(begun.txn().txn_id());
  AddPut(&sent, kLow, "s");
  const v1::ExecuteResponse done = Run(other.Execute(sent, 10s));
  ASSERT_EQ(done.error().code(), v1::OK) << done.error().message();
  v1::SessionRollbackRequest request;
  request.set_session_id(begun.session_id());
  EXPECT_EQ(Run(api->Rollback(request, 10s)).error().code(), v1::OK);
  for (int i = 0; i < 2; ++i) {
    const v1::SessionCommitResponse answer = Commit(begun.session_id());
    EXPECT_EQ(answer.error().code(), v1::OK) << answer.error().message();
    EXPECT_EQ(answer.commit_ts(), done.commit_ts());
  }
}

TEST_F(PublicApiTest, ACommitUnderAnotherTransactionsNameIsRefusedAndTheSessionGoesOn) {
  const v1::BeginResponse one = Run(api->Begin({}, 10s));
  const v1::BeginResponse other = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(one.session_id(), kLow, "s"), v1::OK);
  v1::SessionCommitRequest request;
  request.set_session_id(one.session_id());
  *request.mutable_txn() = other.txn();
  request.mutable_txn()->set_anchor_key(kLow);
  const v1::Error error = Run(api->Commit(request, 10s)).error();
  EXPECT_EQ(error.code(), v1::INVALID_ARGUMENT);
  EXPECT_TRUE(error.no_effect());
  *request.mutable_txn() = one.txn();
  EXPECT_EQ(Run(api->Commit(request, 10s)).error().code(), v1::OK);
  EXPECT_EQ(*cluster.Get(kLow), "s");
}

TEST_F(PublicApiTest, WhatIsTooLongForAReferenceIsNotSaidBack) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  v1::SessionCommitRequest request;
  request.mutable_txn()->set_txn_id(std::string(2 << 20, 'v'));
  request.mutable_txn()->set_anchor_key(std::string(2 << 20, 'k'));
  request.set_session_id(session + 1);
  const v1::SessionCommitResponse nobodys = Run(api->Commit(request, 10s));
  EXPECT_EQ(nobodys.error().code(), v1::UNKNOWN_OUTCOME) << "it says nothing of the session";
  EXPECT_FALSE(nobodys.error().no_effect());
  EXPECT_LT(nobodys.ByteSizeLong(), 1000u);
  request.set_session_id(session);
  const v1::SessionCommitResponse anothers = Run(api->Commit(request, 10s));
  EXPECT_EQ(anothers.error().code(), v1::INVALID_ARGUMENT);
  EXPECT_LT(anothers.ByteSizeLong(), 1000u);
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
}

TEST_F(PublicApiTest, WhatIsCertainToHaveHadNoEffectSaysSo) {
  const v1::BeginResponse begun = Run(api->Begin({}, 10s));
  PublicApi other(cluster.at(3).process()->env(), cluster.node(3));
  v1::SessionCommitRequest request;
  request.set_session_id(begun.session_id());
  *request.mutable_txn() = begun.txn();
  request.mutable_txn()->set_anchor_key(kHigh);
  const v1::Error aborted = Run(other.Commit(request, 10s)).error();
  EXPECT_EQ(aborted.code(), v1::ABORTED) << "asking has closed its name";
  EXPECT_FALSE(aborted.no_effect())
      << "if the key is one of its writes, which only the caller knows";
  v1::InitRequest init;
  init.set_shards(4);
  init.set_replication_factor(3);
  const v1::Error exists = Run(api->Init(init, 10s)).error();
  EXPECT_EQ(exists.code(), v1::ALREADY_EXISTS) << exists.message();
  EXPECT_TRUE(exists.no_effect());
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

TEST_F(PublicApiTest, ASessionLivesAsLongAsItIsUsed) {
  const uint64_t session = BeginSession();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Write(session, kLow, std::to_string(i)), v1::OK);
    cluster.RunFor(30s);
  }
  const v1::SessionReadResponse read = Read(session, kHigh);
  EXPECT_EQ(read.error().code(), v1::OK) << read.error().message();
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(*cluster.Get(kLow), "4");
}

TEST_F(PublicApiTest, OneLoopEndsWhatIsForgotten) {
  const size_t before = api->tasks();
  for (int i = 0; i < 100; ++i) {
    v1::SessionRollbackRequest rollback;
    rollback.set_session_id(BeginSession());
    EXPECT_EQ(Run(api->Rollback(rollback, 10s)).error().code(), v1::OK);
  }
  BeginSession();
  EXPECT_EQ(api->tasks(), before + 1);
  cluster.RunFor(100s);
  EXPECT_EQ(api->sessions(), 0u);
  EXPECT_EQ(api->tasks(), before);
  BeginSession();
  cluster.RunFor(100s);
  EXPECT_EQ(api->sessions(), 0u) << "and starts again";
}

TEST_F(PublicApiTest, ASessionHoldsWhatItKeepsAndNoMore) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Read(session, kLow).error().code(), v1::OK);
  EXPECT_EQ(Write(session, kHigh, std::string(1000, 'x')), v1::OK);
  const size_t held = api->held();
  EXPECT_GT(held, 2000u);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(Read(session, kLow).error().code(), v1::OK);
    EXPECT_EQ(Write(session, kHigh, std::string(1000, 'y')), v1::OK);
  }
  EXPECT_EQ(api->held(), held) << "the same again is kept once";
  EXPECT_EQ(Write(session, "\xe1other", std::string(1000, 'x')), v1::OK);
  EXPECT_GT(api->held(), held + 2000);
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(api->held(), 0u);
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
