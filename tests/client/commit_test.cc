// Commits: conflicts, resends, unknown outcomes, single writes, sessions.
#include <set>

#include "client/retry.h"
#include "tests/client/library_test.h"

namespace quorate::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CommitTest : public LibraryTest {
 protected:
  CommitResult Put(const std::string& key, const std::string& value, Duration timeout = 10s) {
    return Run(database_->PutAsync(key, value, timeout));
  }
  std::vector<uint64_t> StartsOf() const {
    std::vector<uint64_t> starts;
    for (const auto& commit : cluster_.commits) starts.push_back(commit.start_ts());
    return starts;
  }
};

Task<Status> Increment(Transaction& txn) {
  auto value = co_await txn.Get("n");
  if (!value.ok()) co_return value.status();
  co_return txn.Put("n", std::to_string(std::stoi(value->value_or("0")) + 1));
}

TEST(Retry, EveryCodeThatLeavesTheOutcomeOpenEndsTheTransaction) {
  for (int i = 0; i <= static_cast<int>(Code::kUninitialized); ++i) {
    const Code code = static_cast<Code>(i);
    if (EffectOf(code) != Effect::kNothingHappened) {
      EXPECT_FALSE(WorthAnotherAttempt(code)) << CodeName(code);
    }
  }
  for (Code code : {Code::kReadConflict, Code::kLockConflict, Code::kAborted}) {
    EXPECT_TRUE(WorthAnotherAttempt(code) && IsContention(code)) << CodeName(code);
  }
  for (Code code : {Code::kSnapshotTooOld, Code::kOverloaded, Code::kTimestampExhausted}) {
    EXPECT_TRUE(WorthAnotherAttempt(code) && !IsContention(code)) << CodeName(code);
  }
  for (Code code : {Code::kInvalidArgument, Code::kNoSpace, Code::kSchemaFenced,
                    Code::kFailedPrecondition, Code::kWrongCluster}) {
    EXPECT_FALSE(WorthAnotherAttempt(code)) << CodeName(code);
  }
}

TEST_F(CommitTest, ABlindWriteTakesOneRoundTripOnceATimestampIsKnown) {
  EXPECT_TRUE(Put("a", "1").ok());
  channel_.log.clear();
  EXPECT_TRUE(Put("z", "2").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n2:1 commit"));
  world_.executor.RunFor(40s);
  channel_.log.clear();
  EXPECT_TRUE(Put("z", "3").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n1:1 slot", "n2:1 commit")) << "too old to start at";
}

TEST_F(CommitTest, DeletesAndReadsSingleKeys) {
  EXPECT_TRUE(Put("a", "1").ok());
  EXPECT_EQ(**Run(database_->GetAsync("a", 1s)), "1");
  EXPECT_TRUE(Run(database_->DeleteAsync("a", 1s)).ok());
  EXPECT_EQ(*Run(database_->GetAsync("a", 1s)), std::nullopt);
}

TEST_F(CommitTest, TheAnchorLiesWhereMostWritesAre) {
  Database::Closure closure = [](Transaction& txn) -> Task<Status> {
    for (const char* key : {"a", "n", "o", "p"}) (void)txn.Put(key, "1");
    co_return Status::Ok();
  };
  EXPECT_TRUE(Put("a", "for the map").ok());
  EXPECT_TRUE(Transact(closure).ok());
  EXPECT_EQ(cluster_.commits[1].anchor_key(), "n");
  EXPECT_TRUE(
      std::is_sorted(cluster_.commits[1].writes().begin(), cluster_.commits[1].writes().end(),
                     [](const v1::Write& a, const v1::Write& b) { return a.key() < b.key(); }));
}

TEST_F(CommitTest, AConflictIsRetriedWithANewIdANewStartTheOldPriorityAndLocks) {
  int rivals = 2;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_commit() && rivals-- > 0) cluster_.Write("n", "10");
    return std::nullopt;
  };
  const CommitResult result = Transact(Increment);
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  EXPECT_EQ(result.attempts, 3);
  EXPECT_EQ(cluster_.Read("n"), "11");
  Settle();
  EXPECT_THAT(cluster_.lock_log, ElementsAre("lock n", "release", "lock n", "release"));
  ASSERT_EQ(cluster_.commits.size(), 3u);
  const auto& first = cluster_.commits[0];
  for (size_t i = 1; i < 3; ++i) {
    const auto& later = cluster_.commits[i];
    EXPECT_NE(later.txn_id(), cluster_.commits[i - 1].txn_id());
    EXPECT_GT(later.start_ts(), cluster_.commits[i - 1].start_ts());
    EXPECT_EQ(later.priority().start_ts(), first.start_ts());
    EXPECT_EQ(later.priority().txn_id(), first.txn_id());
  }
}

TEST_F(CommitTest, AttemptsAndTheDeadlineBoundRetries) {
  FailNext(v1::NodeRequest::kCommit, v1::LOCK_CONFLICT, 1000000);
  TransactOptions options;
  options.attempts_max = 3;
  CommitResult result = Transact(Increment, options);
  EXPECT_EQ(result.attempts, 3);
  EXPECT_EQ(result.status.code(), Code::kLockConflict);
  options.attempts_max = 0;
  options.timeout = 2s;
  const Instant begin = world_.env.Now();
  result = Transact(Increment, options);
  EXPECT_EQ(result.status.code(), Code::kLockConflict);
  EXPECT_THAT(result.status.message(), HasSubstr("given up"));
  EXPECT_LE(world_.env.Now() - begin, 2s);
  EXPECT_FALSE(result.unknown.has_value());
}

// As the coordinator refuses: in the answer's body, with a fact behind it.
Answer CommitRefused(v1::ErrorCode code, uint32_t retry_after_ms) {
  v1::NodeResponse response;
  response.mutable_commit()->mutable_error()->set_code(code);
  response.mutable_commit()->mutable_error()->set_retry_after_ms(retry_after_ms);
  return response;
}

TEST_F(CommitTest, AFinalErrorIsNotRetried) {
  cluster_.before = [](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_commit()) return std::nullopt;
    return CommitRefused(v1::NO_SPACE, 0);
  };
  const CommitResult result = Transact(Increment);
  EXPECT_EQ(result.status.code(), Code::kNoSpace);
  EXPECT_EQ(result.attempts, 1);
  EXPECT_EQ(Sent("push"), 0u);
}

TEST_F(CommitTest, AnOverloadedCoordinatorHasAbortedAndIsGivenTime) {
  std::vector<Instant> at;
  std::set<std::string> ids;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_commit()) return std::nullopt;
    at.push_back(world_.env.Now());
    ids.insert(request.commit().txn_id());
    if (at.size() > 2) return std::nullopt;
    return CommitRefused(v1::OVERLOADED, 50);
  };
  const CommitResult result = Transact(Increment);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.attempts, 3);
  EXPECT_EQ(ids.size(), 3u) << "the refused ids are aborted for good";
  EXPECT_GE(at[1] - at[0], Duration(50ms));
}

TEST_F(CommitTest, ANodeThatIsTooBusyToLookIsSentTheSameCommitAgain) {
  std::set<std::string> ids;
  cluster_.before = [&, left = 2](uint64_t,
                                  const v1::NodeRequest& request) mutable -> std::optional<Answer> {
    if (!request.has_commit()) return std::nullopt;
    ids.insert(request.commit().txn_id());
    if (left-- <= 0) return std::nullopt;
    return Answer(ErrorResponse(v1::OVERLOADED));
  };
  const CommitResult result = Transact(Increment);
  EXPECT_EQ(result.attempts, 1);
  EXPECT_EQ(ids.size(), 1u);
}

// DX12: the network may still hold a copy of a Commit whose every answer was NOT_LEADER.
TEST_F(CommitTest, OnlyAFactLetsASentCommitBeCalledUndone) {
  EXPECT_TRUE(Put("a", "for the map and a timestamp").ok());
  std::optional<v1::NodeRequest> copy;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_commit()) return std::nullopt;
    copy = request;
    return Answer(NotLeader(0, ""));
  };
  const CommitResult refused = Put("n", "1", 3s);
  EXPECT_EQ(refused.status.code(), Code::kAborted);
  EXPECT_GE(Sent("push"), 1u) << "which makes it a fact";
  cluster_.before = nullptr;
  const auto late = Run(channel_.Call("n2:1", *copy, 1s));
  ASSERT_TRUE(late.ok());
  EXPECT_EQ(late->error().code(), v1::ABORTED);
  EXPECT_EQ(cluster_.Read("n"), std::nullopt);
}

TEST_F(CommitTest, AnUnreadableSnapshotIsRetriedWithoutLocks) {
  FailNext(v1::NodeRequest::kRead, v1::SNAPSHOT_TOO_OLD);
  const CommitResult result = Transact(Increment);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.attempts, 2);
  EXPECT_TRUE(cluster_.lock_log.empty());
}

Task<Status> IgnoreAFailedRead(Transaction& txn) {
  (void)co_await txn.Get("n");
  co_return txn.Put("n", "guess");
}

TEST_F(CommitTest, WhatRestsOnAFailedReadIsNotCommitted) {
  FailNext(v1::NodeRequest::kRead, v1::CORRUPTION, 1000000);
  const CommitResult result = Transact(IgnoreAFailedRead);
  EXPECT_EQ(result.status.code(), Code::kCorruption);
  EXPECT_TRUE(cluster_.commits.empty());
}

// CL1: the commit took effect, its answer was lost.
TEST_F(CommitTest, ALostAnswerIsAskedForAgainWithTheSameId) {
  int lose = 2;
  cluster_.after = [&](uint64_t node, const v1::NodeRequest& request, Answer answer) -> Answer {
    if (node == 2 && request.has_commit() && lose-- > 0)
      return Result<v1::NodeResponse>(Unavailable("broken"));
    return answer;
  };
  const CommitResult result = Transact(Increment);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.attempts, 1);
  EXPECT_EQ(cluster_.Read("n"), "1") << "once, not twice";
  EXPECT_EQ(cluster_.commits.size(), 3u);
  for (const auto& copy : cluster_.commits) EXPECT_EQ(copy.txn_id(), cluster_.commits[0].txn_id());
}

TEST_F(CommitTest, SilenceUntilTheEndIsResolvedByAsking) {
  cluster_.after = [&](uint64_t, const v1::NodeRequest& request, Answer answer) -> Answer {
    return request.has_commit() ? Answer() : answer;
  };
  CommitResult result = Put("n", "1", 4s);
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  EXPECT_GE(Sent("push"), 1u);
  EXPECT_EQ(result.commit_ts, cluster_.outcomes.begin()->second);
}

TEST_F(CommitTest, AskingCanAlsoFindItAborted) {
  cluster_.before = [](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_commit()) return std::nullopt;
    return Answer(std::nullopt);
  };
  const CommitResult result = Put("n", "1", 4s);
  EXPECT_EQ(result.status.code(), Code::kAborted);
  EXPECT_FALSE(result.unknown.has_value());
  EXPECT_EQ(cluster_.Read("n"), std::nullopt);
}

TEST_F(CommitTest, AnOutcomeThatNobodyTellsIsUnknownAndCanBeAskedFor) {
  EXPECT_TRUE(Put("a", "for the map and a timestamp").ok());
  cluster_.after = [&](uint64_t, const v1::NodeRequest& request, Answer answer) -> Answer {
    return request.has_commit() || request.has_push() ? Answer() : answer;
  };
  const Instant begin = world_.env.Now();
  const CommitResult result = Put("n", "1", 3s);
  EXPECT_EQ(result.status.code(), Code::kUnknownOutcome);
  EXPECT_LE(world_.env.Now() - begin, 3s);
  ASSERT_TRUE(result.unknown.has_value());
  EXPECT_EQ(result.unknown->anchor_key, "n");
  EXPECT_THAT(result.status.message(), HasSubstr(result.unknown->ToString()));
  EXPECT_EQ(result.attempts, 1) << "never run again";
  cluster_.after = nullptr;
  const auto outcome = Run(database_->OutcomeAsync(*result.unknown, 1s));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(*outcome, Outcome::kCommitted);
  EXPECT_NE(outcome->commit_ts, Timestamp());
}

TEST_F(CommitTest, TooOldLeavesTheOutcomeUnknown) {
  FailNext(v1::NodeRequest::kCommit, v1::TOO_OLD, 1000000);
  cluster_.after = [](uint64_t, const v1::NodeRequest& request, Answer answer) -> Answer {
    return request.has_push() ? Answer(ErrorResponse(v1::TOO_OLD)) : answer;
  };
  const CommitResult result = Transact(Increment);
  EXPECT_EQ(result.status.code(), Code::kUnknownOutcome);
  ASSERT_TRUE(result.unknown.has_value());
  EXPECT_EQ(Run(database_->OutcomeAsync(*result.unknown, 1s)).status().code(), Code::kTooOld);
}

Task<Status> IncrementSlowly(TestEnv* world, int* runs, Transaction& txn) {
  auto value = co_await txn.Get("n");
  if (++*runs == 1) co_await Sleep(world->env.executor, 51s);
  co_return txn.Put("n", "1");
}

TEST_F(CommitTest, WhatWouldBeTooOldIsNotSentButBegunAgain) {
  int runs = 0;
  TransactOptions options;
  options.timeout = 60s;
  const CommitResult result =
      Transact([&](Transaction& txn) { return IncrementSlowly(&world_, &runs, txn); }, options);
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(cluster_.commits.size(), 1u);
}

TEST_F(CommitTest, NothingReachableMeansNothingHappened) {
  for (const char* node : {"n1:1", "n2:1", "n3:1"}) channel_.Unlisten(node);
  const CommitResult result = Put("a", "1");
  EXPECT_EQ(result.status.code(), Code::kUnavailable);
  EXPECT_FALSE(result.unknown.has_value());
}

TEST_F(CommitTest, ACommitFollowsItsAnchorToANewLeaderAndOverASplit) {
  EXPECT_TRUE(Put("a", "1").ok());
  cluster_.shards = {{10, "", "f", 3, 2}, {12, "f", "m", 2, 2}, {11, "m", "", 3}};
  EXPECT_TRUE(Put("g", "2").ok());
  EXPECT_TRUE(Put("z", "3").ok());
  EXPECT_EQ(cluster_.Read("g"), "2");
}

TEST_F(CommitTest, OptionsOutOfRangeAreRefused) {
  EXPECT_EQ(Put("a", "1", 61s).status.code(), Code::kInvalidArgument);
  EXPECT_EQ(Run(database_->GetAsync("a", -1s)).status().code(), Code::kInvalidArgument);
  TxnHandle nameless;
  EXPECT_EQ(Run(database_->OutcomeAsync(nameless, 1s)).status().code(), Code::kInvalidArgument);
}

TransactOptions Named(std::string key) {
  Random random(9);
  TransactOptions options;
  options.name = GivenName::Make(1000, random);
  options.name_key = std::move(key);
  return options;
}

// What the leader of the key is asked about a name.
Answer NameStands(v1::TxnState state, uint64_t commit_ts = 0) {
  v1::NodeResponse response;
  response.mutable_push()->set_state(state);
  response.mutable_push()->set_commit_ts(commit_ts);
  return response;
}

TEST_F(CommitTest, EveryAttemptCarriesTheName) {
  int rivals = 2;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_commit() && rivals-- > 0) cluster_.Write("n", "10");
    return std::nullopt;
  };
  EXPECT_TRUE(Transact(Increment, Named("n")).ok());
  ASSERT_EQ(cluster_.commits.size(), 3u);
  for (const v1::CommitRequest& commit : cluster_.commits) {
    EXPECT_EQ(commit.name(), Named("n").name.bytes());
  }
  EXPECT_NE(cluster_.commits[0].txn_id(), cluster_.commits[1].txn_id());
}

TEST_F(CommitTest, WhatSaysNothingOfANameIsSaidOnceItIsClosed) {
  int asked = 0;
  v1::TxnState stands = v1::ABORTED_STATE;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_push()) return std::nullopt;
    EXPECT_EQ(request.push().name(), Named("n").name.bytes());
    EXPECT_EQ(request.push().key(), "n");
    ++asked;
    return NameStands(stands, 77);
  };
  const Database::Closure refuse = [](Transaction&) -> Task<Status> {
    co_return Status(Code::kFailedPrecondition, "no");
  };
  EXPECT_EQ(Transact(refuse, Named("n")).status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(asked, 1);
  // Another sending had committed: that is the answer.
  stands = v1::COMMITTED;
  const CommitResult result = Transact(refuse, Named("n"));
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  EXPECT_TRUE(result.earlier);
  EXPECT_EQ(result.commit_ts, Timestamp(77));
  // Nobody to ask: nothing is known of the name.
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_push()) return Answer();
    return std::nullopt;
  };
  const CommitResult unknown = Transact(refuse, Named("n"));
  EXPECT_EQ(unknown.status.code(), Code::kUnknownOutcome);
  ASSERT_TRUE(unknown.unknown.has_value());
  EXPECT_TRUE(unknown.unknown->named());
  EXPECT_EQ(unknown.unknown->anchor_key, "n");
}

// It is too far ahead, say: later another sending of it may commit.
TEST_F(CommitTest, ANameThatCannotBeAskedAboutIsUnknown) {
  cluster_.before = [](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_commit()) return CommitRefused(v1::INVALID_ARGUMENT, 0);
    if (request.has_push()) return Answer(ErrorResponse(v1::INVALID_ARGUMENT, "ahead"));
    return std::nullopt;
  };
  const CommitResult result = Transact(Increment, Named("n"));
  EXPECT_EQ(result.status.code(), Code::kUnknownOutcome) << result.status.ToString();
  ASSERT_TRUE(result.unknown.has_value());
  EXPECT_EQ(result.unknown->anchor_key, "n");
}

// The name stays open for the next one.
TEST_F(CommitTest, ACallThatSaysNothingOfItsNameSaysSo) {
  std::stop_source stop;
  for (const Code code : {Code::kCancelled, Code::kOverloaded, Code::kNoSpace}) {
    TransactOptions options = Named("n");
    options.attempts_max = 1;
    const CommitResult result =
        Transact([code](Transaction&) -> Task<Status> { co_return Status(code, "no"); }, options);
    EXPECT_EQ(result.status.code(), code) << result.status.ToString();
    EXPECT_TRUE(result.this_call_only);
  }
  TransactOptions options = Named("n");
  options.stop = stop.get_token();
  const CommitResult stopped = Transact(
      [&](Transaction& txn) -> Task<Status> {
        stop.request_stop();
        co_return (co_await txn.Get("n")).status();
      },
      options);
  EXPECT_EQ(stopped.status.code(), Code::kCancelled);
  EXPECT_TRUE(stopped.this_call_only);
  options.stop = {};
  options.timeout = 10'000s;
  EXPECT_TRUE(Transact(Increment, options).this_call_only) << "refused before it began";
  EXPECT_EQ(Sent("push"), 0u);
  const Database::Closure refuse = [](Transaction&) -> Task<Status> {
    co_return Status(Code::kCancelled, "no");
  };
  EXPECT_FALSE(Transact(refuse).this_call_only) << "without a name there are no others";
  EXPECT_TRUE(Transact(Increment, Named("n")).ok());
}

TEST_F(CommitTest, AClosedNameIsAbortedForGood) {
  cluster_.before = [](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_commit()) return CommitRefused(v1::ALREADY_EXISTS, 0);
    if (request.has_push()) return NameStands(v1::ABORTED_STATE);
    return std::nullopt;
  };
  const CommitResult result = Transact(Increment, Named("n"));
  EXPECT_EQ(result.status.code(), Code::kAborted);
  EXPECT_EQ(result.attempts, 1);
}

TEST_F(CommitTest, ANameNeedsAKeyThatIsWritten) {
  EXPECT_EQ(Transact(Increment, Named("")).status.code(), Code::kInvalidArgument);
  EXPECT_EQ(Transact(Increment, Named("other")).status.code(), Code::kInvalidArgument);
  EXPECT_TRUE(cluster_.commits.empty());
}

TEST_F(CommitTest, ASessionCommitsUnderTheNameItWasGiven) {
  const GivenName name = Named("").name;
  auto session = database_->Begin(false, name, 10s);
  EXPECT_EQ(Run(session->transaction().Get("a")).value(), std::nullopt);
  EXPECT_TRUE(session->transaction().Put("a", "1").ok());
  const CommitResult result = Run(session->Commit(5s));
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(cluster_.commits[0].name(), name.bytes());
  EXPECT_TRUE(session->handle().named());
  EXPECT_EQ(session->handle().anchor_key, "a");
  auto dropped = database_->Begin(false, GivenName(), 10s);
  EXPECT_TRUE(dropped->handle().txn_id.valid());
  EXPECT_TRUE(dropped->transaction().Put("b", "1").ok());
  dropped->Rollback();
  Settle();
  EXPECT_EQ(cluster_.commits.size(), 1u);
}

TEST_F(CommitTest, ASessionThatSentNothingIsNotUnknown) {
  auto session = database_->Begin(false, Named("").name, 1s);
  EXPECT_TRUE(session->transaction().Put("a", "1").ok());
  session->Extend(3s);
  world_.executor.RunFor(2s);
  EXPECT_TRUE(Run(session->transaction().Get("b")).ok());
  world_.executor.RunFor(2s);
  EXPECT_EQ(Run(session->transaction().Get("b")).status().code(), Code::kUnavailable);
  const CommitResult result = Run(session->Commit(5s));
  EXPECT_EQ(result.status.code(), Code::kUnavailable) << result.status.ToString();
  EXPECT_FALSE(result.unknown.has_value());
  EXPECT_TRUE(result.this_call_only);
  EXPECT_EQ(Sent("commit") + Sent("push"), 0u);
}

TEST_F(CommitTest, BlockingFormsNeedAThreadOfTheirOwn) {
  EXPECT_EQ(database_->Put("a", "1").status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(database_->Get("a").status().code(), Code::kFailedPrecondition);
}

TEST_F(CommitTest, DestroyingTheDatabaseDropsWhatItWasDoing) {
  database_->Spawn([this]() -> Task<void> { (void)co_await database_->PutAsync("a", "1", 5s); });
  world_.executor.RunFor(1ms);
  database_.reset();
  Settle();
  EXPECT_TRUE(cluster_.commits.empty());
}

}  // namespace
}  // namespace quorate::client
