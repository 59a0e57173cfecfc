// AsioDatabase: completion tokens, executors and cancellation, over a library thread and an
// in-memory channel.
#include "client/asio.h"

#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <stdexcept>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "client/blocking.h"
#include "client/database_impl.h"
#include "tests/client/fake_cluster.h"

namespace quorate::client {
namespace {

namespace asio = boost::asio;

Task<Status> Increment(Transaction* txn, std::string key) {
  auto value = co_await txn->Get(key);
  if (!value.ok()) co_return value.status();
  const int old = value->has_value() ? std::stoi(**value) : 0;
  co_return txn->Put(key, std::to_string(old + 1));
}

Database::Closure IncrementOf(std::string key) {
  return [key](Transaction& txn) { return Increment(&txn, key); };
}

class AsioTest : public testing::Test {
 protected:
  AsioTest() {
    channel_.Listen("127.0.0.1:7400", [this](const v1::NodeRequest&) -> Answer {
      v1::NodeResponse response;
      *response.mutable_routes() = cluster_.Map();
      return response;
    });
    executor_.Start();
  }
  ~AsioTest() override {
    Destroy();
    executor_.Stop();
    executor_.Join();
  }
  void Destroy() {
    if (database_ == nullptr) return;
    database_->Close();
    OnLibraryThread([this] { database_.reset(); });
  }
  void OnLibraryThread(std::function<void()> fn) {
    Parcel<bool> done;
    executor_.Post([&] {
      fn();
      done.Put(true);
    });
    done.Take();
  }
  // From here on, requests with `body` are heard and never answered.
  void Silence(v1::NodeRequest::BodyCase body) {
    OnLibraryThread([this, body] {
      cluster_.after = [body](uint64_t, const v1::NodeRequest& request, Answer answer) -> Answer {
        if (request.body_case() == body || request.has_push()) return std::nullopt;
        return answer;
      };
    });
  }
  // Runs `main` on the io_context until it ends.
  void Run(asio::awaitable<void> main) {
    asio::co_spawn(io_, std::move(main), [](std::exception_ptr exception) {
      if (exception) std::rethrow_exception(exception);
    });
    io_.run();
    io_.restart();
  }

  RealExecutor executor_;
  RealClock clock_;
  Random random_{1};
  NullLogger log_;
  Metrics metrics_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  FakeChannel channel_{env_, 10us};
  FakeCluster cluster_{env_, channel_, 1, {{10, "", "m", 1}, {11, "m", "", 1}}};
  std::unique_ptr<DatabaseImpl> database_ =
      std::make_unique<DatabaseImpl>(env_, channel_, Options{}, DatabaseImpl::Threading::kThreaded);
  asio::io_context io_{1};
  AsioDatabase db_{*database_, io_.get_executor()};
};

TEST_F(AsioTest, CoroutinesAwaitEveryCall) {
  Run([](AsioDatabase db) -> asio::awaitable<void> {
    for (int i = 0; i < 3; ++i) {
      const CommitResult result =
          co_await db.AsyncTransact(IncrementOf("a"), {}, asio::use_awaitable);
      EXPECT_TRUE(result.ok()) << result.status.ToString();
    }
    const auto value = co_await db.AsyncGet("a", {}, asio::use_awaitable);
    EXPECT_EQ(**value, "3");
    EXPECT_TRUE((co_await db.AsyncPut("b", "1", {}, asio::use_awaitable)).ok());
    EXPECT_TRUE((co_await db.AsyncDelete("b", {}, asio::use_awaitable)).ok());
    std::optional<std::string> seen;
    const CommitResult read = co_await db.AsyncSnapshot(
        [&seen](Transaction& txn) -> Task<Status> {
          auto value = co_await txn.Get("a");
          if (value.ok()) seen = *value;
          co_return value.status();
        },
        {}, asio::use_awaitable);
    EXPECT_TRUE(read.ok());
    EXPECT_EQ(seen, "3");
  }(db_));
}

TEST_F(AsioTest, FuturesCallbacksAndDeferredOperationsWork) {
  std::future<CommitResult> future = db_.AsyncTransact(IncrementOf("a"), {}, asio::use_future);
  auto deferred = db_.AsyncTransact(IncrementOf("a"), {}, asio::deferred);
  int called = 0;
  std::move(deferred)([&](std::exception_ptr exception, CommitResult result) {
    EXPECT_FALSE(exception);
    EXPECT_TRUE(result.ok());
    EXPECT_FALSE(executor_.OnThread()) << "on the handler's executor";
    ++called;
  });
  asio::io_context other;
  db_.AsyncGet("z", {}, asio::bind_executor(other, [&](AsioDatabase::Value value) {
                 EXPECT_TRUE(value.ok());
                 ++called;
               }));
  EXPECT_EQ(called, 0) << "never inside the initiation";
  io_.run();
  EXPECT_EQ(called, 1);
  EXPECT_TRUE(future.get().ok());
  other.run();
  EXPECT_EQ(called, 2) << "a handler's own executor comes first, and has work until then";
}

TEST_F(AsioTest, WhatAClosureThrowsIsThrownWhereItIsAwaited) {
  const Database::Closure throws = [](Transaction&) -> Task<Status> {
    throw std::runtime_error("out of luck");
    co_return Status::Ok();
  };
  Run([](AsioDatabase db, Database::Closure throws) -> asio::awaitable<void> {
    bool thrown = false;
    try {
      (void)co_await db.AsyncTransact(throws, {}, asio::use_awaitable);
    } catch (const std::runtime_error& e) {
      thrown = e.what() == std::string("out of luck");
    }
    EXPECT_TRUE(thrown);
  }(db_, throws));
}

TEST_F(AsioTest, CancellingBeforeTheCommitMeansThatNothingHappened) {
  Run([](AsioDatabase db) -> asio::awaitable<void> {
    EXPECT_TRUE((co_await db.AsyncPut("a", "1", {}, asio::use_awaitable)).ok());
  }(db_));
  Silence(v1::NodeRequest::kRead);
  asio::cancellation_signal signal;
  std::optional<CommitResult> result;
  db_.AsyncTransact(IncrementOf("a"), {},
                    asio::bind_cancellation_slot(
                        signal.slot(), [&](std::exception_ptr, CommitResult r) { result = r; }));
  asio::steady_timer timer(io_, std::chrono::milliseconds(20));
  timer.async_wait([&](auto) {
    signal.emit(asio::cancellation_type::total);
    EXPECT_FALSE(result.has_value()) << "that type is not taken";
    signal.emit(asio::cancellation_type::terminal);
  });
  io_.run();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->status.code(), Code::kCancelled) << result->status.ToString();
  EXPECT_FALSE(result->unknown.has_value());
  signal.emit(asio::cancellation_type::terminal);
}

TEST_F(AsioTest, CancellingACommitNamesTheTransactionWhoseOutcomeIsUnknown) {
  Run([](AsioDatabase db) -> asio::awaitable<void> {
    EXPECT_TRUE((co_await db.AsyncPut("a", "1", {}, asio::use_awaitable)).ok());
  }(db_));
  Silence(v1::NodeRequest::kCommit);
  asio::cancellation_signal signal;
  std::optional<CommitResult> result;
  db_.AsyncPut("a", "2", {},
               asio::bind_cancellation_slot(
                   signal.slot(), [&](std::exception_ptr, CommitResult r) { result = r; }));
  std::function<void()> cancel_once_sent = [&] {
    bool sent = false;
    OnLibraryThread([&] { sent = cluster_.commits.size() == 2; });
    if (sent) return signal.emit(asio::cancellation_type::terminal);
    asio::post(io_, cancel_once_sent);
  };
  asio::post(io_, cancel_once_sent);
  io_.run();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->status.code(), Code::kUnknownOutcome) << result->status.ToString();
  ASSERT_TRUE(result->unknown.has_value());
  OnLibraryThread([this] { cluster_.after = nullptr; });
  Run([](AsioDatabase db, TxnHandle txn) -> asio::awaitable<void> {
    const auto outcome = co_await db.AsyncOutcome(txn, {}, asio::use_awaitable);
    EXPECT_TRUE(outcome.ok() && *outcome == Outcome::kCommitted);
  }(db_, *result->unknown));
}

TEST_F(AsioTest, OperatorsOfAwaitablesCancelTheLoser) {
  Silence(v1::NodeRequest::kSlot);
  OnLibraryThread([this] {
    cluster_.before = [](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
      if (request.has_commit()) return Answer(std::nullopt);
      return std::nullopt;
    };
  });
  Run([](AsioDatabase db) -> asio::awaitable<void> {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(30));
    const auto won = co_await (db.AsyncPut("a", "1", {}, asio::use_awaitable) ||
                               timer.async_wait(asio::use_awaitable));
    EXPECT_EQ(won.index(), 1u) << "and the put ended, or this would not have";
  }(db_));
}

TEST_F(AsioTest, DestroyingTheDatabaseCompletesItsOperations) {
  Silence(v1::NodeRequest::kRead);
  std::optional<AsioDatabase::Value> value;
  db_.AsyncGet("a", {}, [&](AsioDatabase::Value v) { value.emplace(std::move(v)); });
  io_.poll();
  EXPECT_FALSE(value.has_value());
  Destroy();
  io_.restart();
  io_.run();
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(value->status().code(), Code::kCancelled);
}

}  // namespace
}  // namespace quorate::client
