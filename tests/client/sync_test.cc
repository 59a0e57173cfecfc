// The blocking forms, called from several threads over a library thread and an in-memory channel.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <stdexcept>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "client/blocking.h"
#include "client/database_impl.h"
#include "client/table.h"
#include "tests/client/fake_cluster.h"
#include "tests/client/shop_catalog.h"

namespace quorate::client {
namespace {

class SyncTest : public testing::Test {
 protected:
  SyncTest() {
    database_ = std::make_unique<DatabaseImpl>(env_, channel_, Options{},
                                               DatabaseImpl::Threading::kThreaded);
    executor_.Start();
  }
  ~SyncTest() override {
    Destroy();
    executor_.Stop();
    executor_.Join();
  }
  // As Database::Open's does.
  void Destroy() {
    if (database_ == nullptr) return;
    database_->Close();
    Parcel<bool> gone;
    executor_.Post([&] {
      database_.reset();
      gone.Put(true);
    });
    gone.Take();
  }
  void ListenForTheMap() {
    channel_.Listen("127.0.0.1:7400", [this](const v1::NodeRequest&) -> Answer {
      v1::NodeResponse response;
      *response.mutable_routes() = cluster_.Map();
      return response;
    });
  }

  RealExecutor executor_;
  RealClock clock_;
  Random random_{1};
  NullLogger log_;
  Metrics metrics_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  FakeChannel channel_{env_, 10us};
  FakeCluster cluster_{env_, channel_, 1, {{10, "", "m", 1}, {11, "m", "", 1}}};
  std::unique_ptr<DatabaseImpl> database_;
};

TEST_F(SyncTest, SingleCalls) {
  ListenForTheMap();
  EXPECT_TRUE(database_->Put("a", "1").ok());
  EXPECT_EQ(**database_->Get("a"), "1");
  EXPECT_TRUE(database_->Delete("a").ok());
  EXPECT_EQ(*database_->Get("a"), std::nullopt);
}

TEST_F(SyncTest, TransfersOfManyThreadsKeepTheSum) {
  ListenForTheMap();
  ASSERT_TRUE(database_->Put("a", "1000").ok());
  ASSERT_TRUE(database_->Put("z", "1000").ok());
  const auto transfer = [](SyncTransaction& txn) -> Status {
    auto both = txn.GetMany({"a", "z"});
    if (!both.ok()) return both.status();
    RETURN_IF_ERROR(txn.Put("a", std::to_string(std::stoi(*(*both)[0]) - 1)));
    return txn.Put("z", std::to_string(std::stoi(*(*both)[1]) + 1));
  };
  std::array<RealExecutor, 4> callers;
  std::array<Parcel<bool>, 4> done;
  for (size_t t = 0; t < callers.size(); ++t) {
    callers[t].Post([&, t] {
      for (int i = 0; i < 25; ++i) {
        const CommitResult result = database_->Transact(transfer, {});
        EXPECT_TRUE(result.ok()) << result.status.ToString();
      }
      done[t].Put(true);
    });
    callers[t].Start();
  }
  for (size_t t = 0; t < callers.size(); ++t) {
    done[t].Take();
    callers[t].Stop();
    callers[t].Join();
  }
  std::vector<Row> rows;
  const Status status = database_->Snapshot(
      [&](SyncTransaction& txn) -> Status {
        auto all = txn.Scan("", "");
        if (!all.ok()) return all.status();
        rows = std::move(*all);
        return Status::Ok();
      },
      {});
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(rows, (std::vector<Row>{{"a", "900"}, {"z", "1100"}}));
}

// Also while a row is updated: its closure is the caller's, like the one around it.
TEST_F(SyncTest, AClosureThatUpdatesARowMayUseTheTransaction) {
  ListenForTheMap();
  cluster_.before = [catalog = ShopCatalog()](
                        uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_placement()) return std::nullopt;
    return CatalogAnswer(catalog, request);
  };
  const Table<shop::Account> accounts;
  shop::Account row;
  const auto put = [&](SyncTransaction& txn, uint64_t id, int64_t cents) {
    row.set_id(id);
    row.set_cents(cents);
    return accounts.Put(txn, row);
  };
  const auto move = [&](SyncTransaction& txn) -> Status {
    RETURN_IF_ERROR(put(txn, 1, 5));
    RETURN_IF_ERROR(put(txn, 2, 10));
    return accounts.Update(txn, {1}, [&](shop::Account& one) -> Status {
      auto two = accounts.Get(txn, {2});
      if (!two.ok()) return two.status();
      one.set_cents(one.cents() + (*two)->cents());
      return put(txn, 2, 0);
    });
  };
  const CommitResult moved = database_->Transact(move, {});
  ASSERT_TRUE(moved.ok()) << moved.status.ToString();
  std::vector<int64_t> cents;
  const auto read = [&](SyncTransaction& txn) -> Status {
    auto page = accounts.Scan(txn, {});
    if (!page.ok()) return page.status();
    for (const shop::Account& each : page->rows) cents.push_back(each.cents());
    return Status::Ok();
  };
  ASSERT_TRUE(database_->Snapshot(read, {}).ok());
  EXPECT_EQ(cents, (std::vector<int64_t>{15, 0}));
  // Not the row itself, behind the back of who changes it.
  const auto twice = [&](SyncTransaction& txn) -> Status {
    return accounts.Update(txn, {1}, [&](shop::Account&) { return put(txn, 1, 7); });
  };
  EXPECT_EQ(database_->Transact(twice, {}).status.code(), Code::kFailedPrecondition);
  const auto absent = [&](SyncTransaction& txn) -> Status {
    return accounts.Update(txn, {3}, [&](shop::Account&) { return Status::Ok(); });
  };
  EXPECT_EQ(database_->Transact(absent, {}).status.code(), Code::kNotFound);
}

TEST_F(SyncTest, WhatAClosureThrowsReachesTheCallerAndFreesItsLocks) {
  ListenForTheMap();
  const auto throws = [](SyncTransaction& txn) -> Status {
    EXPECT_TRUE(txn.GetForUpdate("a").ok());
    EXPECT_TRUE(txn.Put("a", "1").ok());
    throw std::runtime_error("out of luck");
  };
  RealClock clock;
  const Instant begin = clock.Now();
  for (int i = 0; i < 3; ++i)
    EXPECT_THROW((void)database_->Transact(throws, {}), std::runtime_error);
  EXPECT_TRUE(database_->Put("a", "2").ok());
  EXPECT_LT(clock.Now() - begin, 2s) << "a lock that nobody gives up lasts for 3 s";
  EXPECT_EQ(**database_->Get("a"), "2");
}

TEST_F(SyncTest, AnotherThreadMayStopACall) {
  ListenForTheMap();
  ASSERT_TRUE(database_->Put("a", "1").ok());
  executor_.Post([this] {
    cluster_.before = [](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
      if (request.has_read()) return Answer(std::nullopt);
      return std::nullopt;
    };
  });
  std::stop_source source;
  RealExecutor stopper;
  stopper.Start();
  const CommitResult result = database_->Transact(
      [&](SyncTransaction& txn) -> Status {
        stopper.Post([&] { source.request_stop(); });
        const auto value = txn.Get("a");
        EXPECT_EQ(value.status().code(), Code::kCancelled);
        return txn.Put("a", "2");
      },
      {.stop = source.get_token()});
  stopper.Stop();
  stopper.Join();
  EXPECT_EQ(result.status.code(), Code::kCancelled) << "whatever the closure makes of it";
  EXPECT_FALSE(result.unknown.has_value());
}

// Threads inside of every blocking form, some of them with a commit under way that nobody answers,
// while another destroys the Database: a few hundred times, at any moment of it.
TEST_F(SyncTest, ADestroyedDatabaseEndsTheCallsOfOtherThreads) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 300;
  Random random(17);
  std::atomic<int> cancelled{0};
  std::atomic<int> unknown{0};
  std::array<RealExecutor, kThreads> callers;
  for (RealExecutor& caller : callers) caller.Start();
  for (int round = 0; round < kRounds; ++round) {
    if (database_ == nullptr) {
      Parcel<bool> made;
      executor_.Post([&] {
        database_ = std::make_unique<DatabaseImpl>(env_, channel_, Options{},
                                                   DatabaseImpl::Threading::kThreaded);
        made.Put(true);
      });
      made.Take();
    }
    const bool silent = round % 2 == 1;
    Parcel<bool> set;
    executor_.Post([&] {
      ListenForTheMap();
      cluster_.before = [silent](uint64_t, const v1::NodeRequest& request) {
        const bool lost = silent && (request.has_commit() || request.has_push());
        return lost ? std::optional<Answer>(Answer(std::nullopt)) : std::nullopt;
      };
      set.Put(true);
    });
    set.Take();
    std::array<Parcel<bool>, kThreads> left;
    for (int t = 0; t < kThreads; ++t) {
      callers[static_cast<size_t>(t)].Post([&, t] {
        const auto judge = [&](const CommitResult& result) {
          if (result.ok()) return true;
          // Both are facts; nothing else may come of it.
          const bool open = result.status.code() == Code::kUnknownOutcome;
          EXPECT_TRUE(open || result.status.code() == Code::kCancelled) << result.status.ToString();
          EXPECT_EQ(open, result.unknown.has_value());
          ++(open ? unknown : cancelled);
          return false;
        };
        for (int i = 0;; ++i) {
          if (t == 0 && !database_->Get("a").ok()) break;
          if (t == 1 && !judge(database_->Put("a", std::to_string(i)))) break;
          const auto closure = [&](SyncTransaction& txn) -> Status {
            const auto value = txn.GetForUpdate(t == 2 ? "b" : "z");
            if (!value.ok()) return value.status();
            return txn.Put("z", std::to_string(i));
          };
          if (t > 1 && !judge(database_->Transact(closure, {}))) break;
        }
        left[static_cast<size_t>(t)].Put(true);
      });
    }
    if (const uint64_t spins = random.Below(3); spins > 0) {
      Parcel<bool> later;
      executor_.Post([&] {
        executor_.After(Duration(random.Below(static_cast<uint64_t>(2 * spins) * 1'000'000)),
                        [&] { later.Put(true); });
      });
      later.Take();
    }
    database_->Close();
    for (auto& one : left) one.Take();
    Destroy();
  }
  for (RealExecutor& caller : callers) {
    caller.Stop();
    caller.Join();
  }
  EXPECT_GT(cancelled, 0);
  EXPECT_GT(unknown, 0);
}

TEST_F(SyncTest, SessionsBeginAndEndOnAnyThread) {
  ListenForTheMap();
  std::array<RealExecutor, 3> threads;
  std::array<Parcel<bool>, 3> done;
  for (size_t t = 0; t < threads.size(); ++t) {
    threads[t].Post([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto session = database_->Begin(false, GivenName(), 1s);
        EXPECT_TRUE(session->handle().txn_id.valid());
        EXPECT_TRUE(session->transaction().Put("a", "1").ok());
        if (i % 2 == 0) session->Rollback();
      }
      done[t].Put(true);
    });
    threads[t].Start();
  }
  for (size_t t = 0; t < threads.size(); ++t) {
    done[t].Take();
    threads[t].Stop();
    threads[t].Join();
  }
}

}  // namespace
}  // namespace quorate::client
