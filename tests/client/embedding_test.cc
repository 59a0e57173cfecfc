// What a service may do to the library that runs inside it: throw, stop a call, end a session
// twice, leave a transaction as large as it may be. Coroutine and callback forms, in virtual time.
#include <stdexcept>
#include <stop_token>

#include "base/limits.h"
#include "tests/client/library_test.h"
#include "txn/txn_size.h"

namespace quorate::client {
namespace {

using testing::HasSubstr;

class EmbeddingTest : public LibraryTest {
 protected:
  // Runs virtual time until `task` has ended, and says what it threw.
  template <class T>
  std::string WhatItThrows(Task<T> task) {
    bool done = false;
    std::string what;
    TaskScope scope(world_.executor);
    scope.Spawn(Catch(std::move(task), &what, &done));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return done; }));
    return what;
  }
  template <class T>
  static Task<void> Catch(Task<T> task, std::string* what, bool* done) {
    try {
      (void)co_await std::move(task);
    } catch (const std::exception& e) {
      *what = e.what();
    }
    *done = true;
  }
};

Task<Status> LockWriteThrow(Transaction& txn) {
  auto value = co_await txn.GetForUpdate("a");
  if (!value.ok()) co_return value.status();
  EXPECT_TRUE(txn.Put("a", "1").ok());
  throw std::runtime_error("out of luck");
}

TEST_F(EmbeddingTest, WhatAClosureThrowsReachesWhoAwaitsTheTransaction) {
  EXPECT_EQ(WhatItThrows(database_->TransactAsync(LockWriteThrow, {})), "out of luck");
  const Instant thrown = world_.env.Now();
  world_.executor.RunUntil([&] { return cluster_.locks.empty(); });
  EXPECT_LE(world_.env.Now() - thrown, 10ms) << "its locks are given up at once";
  EXPECT_EQ(cluster_.Read("a"), std::nullopt);
  EXPECT_TRUE(cluster_.commits.empty());
}

TEST_F(EmbeddingTest, WhatAClosureThrowsBeforeItHasATaskReachesTheAwaiterToo) {
  const Database::Closure closure = [](Transaction& txn) -> Task<Status> {
    EXPECT_TRUE(txn.Put("a", "1").ok());
    throw std::logic_error("not even a task");
  };
  EXPECT_EQ(WhatItThrows(database_->TransactAsync(closure, {})), "not even a task");
  EXPECT_EQ(WhatItThrows(database_->SnapshotAsync(LockWriteThrow, {})), "")
      << "a snapshot refuses the lock, so that the closure returns before it throws";
  EXPECT_TRUE(cluster_.commits.empty());
}

Task<Status> ThrowBesideARead(Database* database, Transaction* txn) {
  (void)co_await txn->Get("a");
  throw std::runtime_error("one of several");
}

Task<Status> ReadTwiceOneThrows(Executor* executor, Database* database, Transaction& txn) {
  std::vector<Task<Status>> both;
  both.push_back(ThrowBesideARead(database, &txn));
  both.push_back(ThrowBesideARead(database, &txn));
  for (const Status& status : co_await WhenAll(*executor, std::move(both))) {
    if (!status.ok()) co_return status;
  }
  co_return Status::Ok();
}

TEST_F(EmbeddingTest, WhatOneOfSeveralConcurrentTasksThrowsIsThrownWhenAllHaveEnded) {
  const Database::Closure closure = [this](Transaction& txn) {
    return ReadTwiceOneThrows(&world_.executor, database_.get(), txn);
  };
  EXPECT_EQ(WhatItThrows(database_->TransactAsync(closure, {})), "one of several");
}

TEST_F(EmbeddingTest, ACallbackIsGivenWhatTheClosureThrew) {
  std::optional<CommitResult> result;
  database_->TransactAsync(LockWriteThrow, {}, [&](CommitResult r) { result = std::move(r); });
  EXPECT_FALSE(result.has_value()) << "never inside the call";
  world_.executor.RunUntil([&] { return result.has_value(); });
  EXPECT_EQ(result->status.code(), Code::kAborted);
  EXPECT_THAT(result->status.message(), HasSubstr("out of luck"));
  ASSERT_TRUE(result->exception);
  EXPECT_THROW(std::rethrow_exception(result->exception), std::runtime_error);
  EXPECT_FALSE(result->unknown.has_value());
  EXPECT_FALSE(result->this_call_only);
}

// Another sending of the name may have committed.
TEST_F(EmbeddingTest, WhatTheClosureThrewLeavesItsNameOpen) {
  TransactOptions options;
  options.name = GivenName::Make(1'000, world_.env.random);
  options.name_key = "a";
  std::optional<CommitResult> result;
  const auto done = [&](CommitResult r) { result = std::move(r); };
  database_->TransactAsync(LockWriteThrow, options, done);
  world_.executor.RunUntil([&] { return result.has_value(); });
  EXPECT_EQ(result->status.code(), Code::kAborted);
  EXPECT_TRUE(result->exception);
  EXPECT_TRUE(result->this_call_only);
  EXPECT_EQ(Sent("push"), 0u) << "the name is not closed";
  // What is only read could as well happen twice.
  result.reset();
  database_->SnapshotAsync(LockWriteThrow, options, done);
  world_.executor.RunUntil([&] { return result.has_value(); });
  EXPECT_FALSE(result->this_call_only);
}

TEST_F(EmbeddingTest, CallbackFormsAnswerAsTheOthers) {
  std::vector<std::string> seen;
  database_->PutAsync("a", "1", {}, [&](CommitResult r) {
    EXPECT_TRUE(r.ok()) << r.status.ToString();
    database_->GetAsync("a", {}, [&](Result<std::optional<std::string>> value) {
      seen.push_back(**value);
      database_->DeleteAsync("a", {}, [&](CommitResult) { seen.push_back("deleted"); });
    });
  });
  world_.executor.RunUntil([&] { return seen.size() == 2; });
  EXPECT_EQ(seen, (std::vector<std::string>{"1", "deleted"}));
  EXPECT_EQ(cluster_.Read("a"), std::nullopt);
}

TEST_F(EmbeddingTest, ACallbackThatThrowsEndsNothing) {
  bool called = false;
  database_->PutAsync("a", "1", {}, [&](CommitResult) {
    called = true;
    throw std::runtime_error("in a callback");
  });
  world_.executor.RunUntil([&] { return called; });
  EXPECT_TRUE(Run(database_->PutAsync("b", "2", 1s)).ok());
}

TEST_F(EmbeddingTest, WhatASpawnedTaskThrowsEndsNothing) {
  bool ran = false;
  database_->Spawn([&ran]() -> Task<void> {
    ran = true;
    throw std::runtime_error("in a spawned task");
    co_return;
  });
  world_.executor.RunUntil([&] { return ran; });
  EXPECT_TRUE(Run(database_->PutAsync("b", "2", 1s)).ok());
}

// ---- being stopped ------------------------------------------------------------------------------

TEST_F(EmbeddingTest, AStopBeforeTheCommitIsSentMeansThatNothingHappened) {
  std::stop_source source;
  Database::Closure closure = [&source](Transaction& txn) -> Task<Status> {
    auto value = co_await txn.GetForUpdate("a");
    if (!value.ok()) co_return value.status();
    EXPECT_TRUE(txn.Put("a", "1").ok());
    source.request_stop();
    (void)co_await txn.Get("z");
    ADD_FAILURE() << "it was stopped";
    co_return Status::Ok();
  };
  const CommitResult result = Transact(closure, {.stop = source.get_token()});
  EXPECT_EQ(result.status.code(), Code::kCancelled) << result.status.ToString();
  EXPECT_FALSE(result.unknown.has_value());
  const Instant stopped = world_.env.Now();
  world_.executor.RunUntil([&] { return cluster_.locks.empty(); });
  EXPECT_LE(world_.env.Now() - stopped, 10ms);
  EXPECT_TRUE(cluster_.commits.empty());
}

TEST_F(EmbeddingTest, AStopWhileItCommitsLeavesTheOutcomeUnknownAndNamed) {
  std::stop_source source;
  cluster_.after = [&](uint64_t, const v1::NodeRequest& request, Answer answer) -> Answer {
    if (!request.has_commit()) return answer;
    source.request_stop();
    return std::nullopt;  // it commits, and nobody hears of it
  };
  const CommitResult result =
      Transact([](Transaction& txn) -> Task<Status> { co_return txn.Put("a", "1"); },
               {.stop = source.get_token()});
  EXPECT_EQ(result.status.code(), Code::kUnknownOutcome) << result.status.ToString();
  ASSERT_TRUE(result.unknown.has_value());
  cluster_.after = nullptr;
  const auto outcome = Run(database_->OutcomeAsync(*result.unknown, 1s));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(*outcome, Outcome::kCommitted);
  EXPECT_EQ(cluster_.Read("a"), "1");
}

TEST_F(EmbeddingTest, AStopThatWasRequestedBeforeTheCallSendsNothing) {
  std::stop_source source;
  source.request_stop();
  std::optional<CommitResult> result;
  database_->PutAsync("a", "1", {.stop = source.get_token()},
                      [&](CommitResult r) { result = std::move(r); });
  EXPECT_FALSE(result.has_value()) << "never inside the call";
  world_.executor.RunUntil([&] { return result.has_value(); });
  EXPECT_EQ(result->status.code(), Code::kCancelled);
  EXPECT_TRUE(channel_.log.empty());
}

TEST_F(EmbeddingTest, DestroyingTheDatabaseTellsEveryCallback) {
  EXPECT_TRUE(Run(database_->PutAsync("b", "0", 1s)).ok()) << "for the map";
  cluster_.before = [](uint64_t, const v1::NodeRequest&) { return Answer(std::nullopt); };
  std::vector<CommitResult> results;
  const auto keep = [&results](CommitResult r) { results.push_back(std::move(r)); };
  Database::Closure reader = [](Transaction& txn) -> Task<Status> {
    co_return (co_await txn.Get("a")).status();
  };
  database_->TransactAsync(reader, {}, keep);
  database_->PutAsync("a", "1", {}, keep);
  world_.executor.RunFor(500ms);
  EXPECT_TRUE(results.empty());
  database_.reset();
  ASSERT_EQ(results.size(), 2u);
  const auto committing = std::partition(results.begin(), results.end(), [](const auto& result) {
    return result.status.code() == Code::kCancelled;
  });
  EXPECT_EQ(committing - results.begin(), 1);
  EXPECT_FALSE(results[0].unknown.has_value());
  EXPECT_EQ(results[1].status.code(), Code::kUnknownOutcome);
  EXPECT_TRUE(results[1].unknown.has_value());
}

// ---- sessions -----------------------------------------------------------------------------------

TEST_F(EmbeddingTest, ASessionThatHasCommittedTakesNothingMore) {
  const auto session = database_->Begin(false, GivenName(), 5s);
  ASSERT_TRUE(session->transaction().Put("a", "1").ok());
  EXPECT_TRUE(Run(session->Commit(1s)).ok());
  EXPECT_EQ(session->transaction().Put("b", "2").code(), Code::kFailedPrecondition);
  EXPECT_EQ(Run(session->transaction().Get("a")).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(Run(session->transaction().GetForUpdate("a")).status().code(),
            Code::kFailedPrecondition);
  const CommitResult again = Run(session->Commit(1s));
  EXPECT_EQ(again.status.code(), Code::kFailedPrecondition)
      << "COMMITTED would be a lie about what was put in between";
  EXPECT_EQ(cluster_.Read("b"), std::nullopt);
  EXPECT_EQ(cluster_.commits.size(), 1u);
}

TEST_F(EmbeddingTest, ASessionThatWasRolledBackCommitsNothing) {
  const auto session = database_->Begin(false, GivenName(), 5s);
  ASSERT_TRUE(session->transaction().Put("a", "1").ok());
  session->Rollback();
  EXPECT_EQ(Run(session->Commit(1s)).status.code(), Code::kFailedPrecondition);
  EXPECT_TRUE(cluster_.commits.empty());
}

TEST_F(EmbeddingTest, ASessionMayOutliveItsDatabase) {
  auto session = database_->Begin(false, GivenName(), 5s);
  (void)Run(session->transaction().GetForUpdate("a"));
  database_.reset();
  session->Rollback();
  session.reset();
}

// ---- size ---------------------------------------------------------------------------------------

std::string LongKey(size_t i) {
  std::string key = std::to_string(i);
  return key + std::string(limits::kKeyBytesMax - key.size(), 'k');
}

// Reads single keys until the library refuses one, then writes.
Task<Status> ReadAsMuchAsItMay(Transaction* txn, size_t* read) {
  constexpr size_t kAtOnce = 500;
  while (true) {
    std::vector<std::string> keys;
    for (size_t i = 0; i < kAtOnce; ++i) keys.push_back(LongKey(*read + i));
    auto values = co_await txn->GetMany(std::move(keys));
    if (values.status().code() == Code::kInvalidArgument) break;
    if (!values.ok()) co_return values.status();
    *read += kAtOnce;
  }
  co_return Status::Ok();
}

TEST_F(EmbeddingTest, WhatTheLibraryLetsPassTheCoordinatorLetsPass) {
  const auto session = database_->Begin(false, GivenName(), 50s);
  ASSERT_TRUE(session->transaction().Put("written", "1").ok());
  size_t read = 0;
  ASSERT_TRUE(Run(ReadAsMuchAsItMay(&session->transaction(), &read)).ok());
  EXPECT_GE(read * 2 * limits::kKeyBytesMax, limits::kTxnBytesMax / 10 * 9) << "and not much less";
  EXPECT_TRUE(Run(session->Commit(5s)).ok());
  ASSERT_EQ(cluster_.commits.size(), 1u);
  // As coordinators count it (txn/judge.cc).
  TxnSize size;
  for (const auto& write : cluster_.commits[0].writes()) size.AddWrite(write.key(), write.value());
  for (const auto& span : cluster_.commits[0].reads()) size.AddRead(span.from(), span.to());
  EXPECT_TRUE(size.Check().ok()) << size.Check().ToString();
}

}  // namespace
}  // namespace quorate::client
