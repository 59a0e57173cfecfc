// The blocking forms, called from several threads over a library thread and an in-memory channel.
#include <gtest/gtest.h>

#include <array>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "client/blocking.h"
#include "client/database_impl.h"
#include "tests/client/fake_cluster.h"

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
    Parcel<bool> gone;
    executor_.Post([&] {
      database_.reset();
      gone.Put(true);
    });
    gone.Take();
    executor_.Stop();
    executor_.Join();
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
  channel_.Listen("127.0.0.1:7400", [this](const v1::NodeRequest&) -> Answer {
    v1::NodeResponse response;
    *response.mutable_routes() = cluster_.Map();
    return response;
  });
  EXPECT_TRUE(database_->Put("a", "1").ok());
  EXPECT_EQ(**database_->Get("a"), "1");
  EXPECT_TRUE(database_->Delete("a").ok());
  EXPECT_EQ(*database_->Get("a"), std::nullopt);
}

TEST_F(SyncTest, TransfersOfManyThreadsKeepTheSum) {
  channel_.Listen("127.0.0.1:7400", [this](const v1::NodeRequest&) -> Answer {
    v1::NodeResponse response;
    *response.mutable_routes() = cluster_.Map();
    return response;
  });
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

}  // namespace
}  // namespace quorate::client
