// Lists of rows over a fake cluster, whose nodes lose the versions that are read.
#include "cli/list_rows.h"

#include <gtest/gtest.h>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "client/blocking.h"
#include "client/database_impl.h"
#include "tests/client/fake_cluster.h"
#include "tests/client/shop_catalog.h"

namespace quorate::cli {
namespace {

using client::Answer;

class ListRowsTest : public testing::Test {
 protected:
  static constexpr uint64_t kRows = 2'500;

  ListRowsTest() {
    channel_.Listen("127.0.0.1:7400", [this](const v1::NodeRequest&) -> Answer {
      v1::NodeResponse response;
      *response.mutable_routes() = cluster_.Map();
      return response;
    });
    cluster_.page_rows = 1'000;
    cluster_.before = [this](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
      if (request.has_placement()) return client::CatalogAnswer(catalog_, request);
      if (request.has_read() && ++reads_ == lost_) {
        return client::ErrorResponse(v1::SNAPSHOT_TOO_OLD, "collected");
      }
      return std::nullopt;
    };
    database_ = std::make_unique<client::DatabaseImpl>(env_, channel_, client::Options{},
                                                       client::DatabaseImpl::Threading::kThreaded);
    executor_.Start();
    const client::Table<client::shop::Account> accounts;
    const auto put = [&](client::SyncTransaction& txn) {
      client::shop::Account row;
      for (uint64_t id = 1; id <= kRows; ++id) {
        row.set_id(id);
        if (Status status = accounts.Put(txn, row); !status.ok()) return status;
      }
      return Status::Ok();
    };
    EXPECT_TRUE(database_->Transact(put, {.timeout = 60s}).ok());
  }
  ~ListRowsTest() override {
    database_->Close();
    client::Parcel<bool> gone;
    executor_.Post([&] {
      database_.reset();
      gone.Put(true);
    });
    gone.Take();
    executor_.Stop();
    executor_.Join();
  }
  // The read that is answered with "too old", counted from now.
  void Lose(int read) {
    client::Parcel<bool> set;
    executor_.Post([&] {
      reads_ = 0;
      lost_ = read;
      set.Put(true);
    });
    set.Take();
  }
  Status List(const RowList& list) {
    given_.clear();
    begun_ = false;
    const auto take = [this](const std::string& bytes) {
      client::shop::Account row;
      EXPECT_TRUE(row.ParseFromString(bytes));
      given_.push_back(row.id());
      return Status::Ok();
    };
    return ListRows(*database_, list, take, &begun_);
  }

  RealExecutor executor_;
  RealClock clock_;
  Random random_{1};
  NullLogger log_;
  Metrics metrics_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  client::FakeChannel channel_{env_, 1us};
  client::FakeCluster cluster_{env_, channel_, 1, {{10, "", "m", 1}, {11, "m", "", 1}}};
  const v1::Catalog catalog_ = client::ShopCatalog();
  std::unique_ptr<client::DatabaseImpl> database_;
  int reads_ = 0;
  int lost_ = 0;
  std::vector<uint64_t> given_;
  bool begun_ = false;
};

TEST_F(ListRowsTest, EachRowOnceInOrder) {
  ASSERT_TRUE(List({.table = "accounts"}).ok());
  ASSERT_EQ(given_.size(), kRows);
  EXPECT_TRUE(std::ranges::is_sorted(given_));
  ASSERT_TRUE(List({.table = "accounts", .limit = 1'200, .reverse = true}).ok());
  EXPECT_EQ(given_.size(), 1'200u);
  EXPECT_EQ(given_.front(), kRows);
  ASSERT_TRUE(List({.table = "accounts", .index = "by_owner", .first = {"nobody"}}).ok());
  EXPECT_FALSE(begun_);
}

TEST_F(ListRowsTest, ASnapshotThatIsLostIsNotGoneOnWithAnother) {
  Lose(2);
  EXPECT_EQ(List({.table = "accounts"}).code(), Code::kAborted);
  EXPECT_TRUE(begun_);
  EXPECT_EQ(given_.size(), 1'000u) << "the first page, and nothing twice";
  Lose(1);
  EXPECT_TRUE(List({.table = "accounts"}).ok()) << "before the first row nothing is lost";
  EXPECT_EQ(given_.size(), kRows);
}

}  // namespace
}  // namespace quorate::cli
