// The public scans over a whole cluster.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "server/node/execute.h"
#include "tests/server/public_api_fixture.h"
#include "txn/errors.h"

namespace quorate::server {
namespace {

class PublicScanTest : public PublicApiFixture {
 protected:
  // Rows "a000" .. over all shards' boundaries, values of `bytes`.
  void Fill(int rows, size_t bytes) {
    for (int i = 0; i < rows;) {
      v1::ExecuteRequest fill;
      for (size_t n = 0; i < rows && n + bytes < (8u << 20); n += bytes + 8, ++i) {
        AddPut(&fill, KeyOf(i), std::string(bytes, static_cast<char>('a' + i % 26)));
      }
      ASSERT_EQ(Execute(fill).error().code(), v1::OK);
    }
  }
  static std::string KeyOf(int i) {
    return std::string(1, static_cast<char>(i % 250 + 1)) + std::to_string(i);
  }
  static std::vector<std::string> Keys(const KeyValues& rows) {
    std::vector<std::string> keys;
    for (const auto& row : rows) keys.push_back(row.key());
    return keys;
  }
  // All rows of a range, scan by scan, each going on where the one before was cut.
  std::vector<std::string> Follow(v1::ScanOperation scan) {
    std::vector<std::string> keys;
    for (int pages = 0; pages < 1000; ++pages) {
      v1::ExecuteRequest request;
      *request.add_operations()->mutable_scan() = scan;
      const v1::ExecuteResponse response = Execute(request);
      EXPECT_EQ(response.error().code(), v1::OK) << response.error().message();
      EXPECT_LE(response.ByteSizeLong(), size_t{4} << 20);
      if (response.results_size() != 1) return keys;
      const v1::OperationResult& result = response.results(0);
      for (auto& key : Keys(result.rows())) keys.push_back(key);
      if (!result.more()) return keys;
      (scan.reverse() ? *scan.mutable_to() : *scan.mutable_from()) = result.resume_key();
    }
    ADD_FAILURE() << "it never ends";
    return keys;
  }
};

TEST_F(PublicScanTest, APageThatEndsAtTheLastKeyOfItsRangeIsTheLast) {
  // As many rows as a first page asks for, in a range that ends right behind the last of them.
  std::vector<std::string> keys;
  v1::ExecuteRequest fill;
  for (int i = 0; i < 64; ++i) {
    keys.push_back("k" + std::to_string(100 + i));
    AddPut(&fill, keys.back(), "v");
  }
  ASSERT_EQ(Execute(fill).error().code(), v1::OK);
  for (const uint32_t limit : {0u, 64u, 65u, 1000u}) {
    for (const bool reverse : {false, true}) {
      v1::ExecuteRequest request;
      v1::ScanOperation* scan = request.add_operations()->mutable_scan();
      scan->set_from(keys.front());
      scan->set_to(keys.back() + '\0');
      scan->set_limit(limit);
      scan->set_reverse(reverse);
      const v1::ExecuteResponse response = Execute(request);
      ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
      EXPECT_EQ(response.results(0).rows_size(), 64);
      EXPECT_FALSE(response.results(0).more());
    }
  }
}

TEST_F(PublicScanTest, ScansOfEveryShapeFollowedToTheirEndAgreeWithASortedList) {
  Fill(400, 20);
  std::vector<std::string> all;
  for (int i = 0; i < 400; ++i) all.push_back(KeyOf(i));
  std::sort(all.begin(), all.end());
  Random random(3);
  for (int run = 0; run < 60; ++run) {
    v1::ScanOperation scan;
    if (random.Chance(0.7)) scan.set_from(all[random.Below(all.size())]);
    if (random.Chance(0.7)) scan.set_to(all[random.Below(all.size())] + (run % 2 ? "" : "\1"));
    if (!scan.to().empty() && scan.to() <= scan.from()) continue;
    scan.set_limit(random.Chance(0.5) ? 0 : static_cast<uint32_t>(1 + random.Below(150)));
    scan.set_limit_bytes(random.Chance(0.5) ? 0 : static_cast<uint32_t>(1 + random.Below(3000)));
    scan.set_reverse(random.Chance(0.5));
    scan.set_keys_only(random.Chance(0.3));
    std::vector<std::string> want;
    for (const std::string& key : all) {
      if (key >= scan.from() && (scan.to().empty() || key < scan.to())) want.push_back(key);
    }
    if (scan.reverse()) std::reverse(want.begin(), want.end());
    ASSERT_EQ(Follow(scan), want) << scan.ShortDebugString();
  }
}

TEST_F(PublicScanTest, KeysOnlyBringsNoValuesAndABoundInBytesCuts) {
  Fill(20, 1000);
  v1::ExecuteRequest request;
  v1::ScanOperation* keys_only = request.add_operations()->mutable_scan();
  keys_only->set_keys_only(true);
  v1::ScanOperation* bounded = request.add_operations()->mutable_scan();
  bounded->set_limit_bytes(5000);
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK);
  EXPECT_EQ(response.results(0).rows_size(), 20);
  EXPECT_EQ(response.results(0).rows(7).value(), "");
  EXPECT_TRUE(response.results(0).rows(7).found());
  EXPECT_EQ(response.results(1).rows_size(), 5) << "the row that reaches it is the last";
  EXPECT_TRUE(response.results(1).more());
}

TEST_F(PublicScanTest, AnswersFitWhatAStockClientTakes) {
  Fill(12, limits::kValueBytesMax);
  EXPECT_EQ(Follow({}).size(), 12u);
  v1::ScanOperation reverse;
  reverse.set_reverse(true);
  EXPECT_EQ(Follow(reverse).size(), 12u);
  // Refused before anything is written, with the limit.
  v1::ExecuteRequest request;
  AddPut(&request, "mark", "1");
  for (int i = 0; i < 12; ++i) request.add_operations()->set_get(KeyOf(i));
  const v1::ExecuteResponse refused = Execute(request);
  EXPECT_EQ(refused.error().code(), v1::INVALID_ARGUMENT);
  EXPECT_TRUE(refused.error().no_effect());
  EXPECT_NE(refused.error().message().find(std::to_string(limits::kAnswerBytesMax)),
            std::string::npos);
  EXPECT_EQ(*cluster.Get("mark"), std::nullopt);
  // A session goes on after such a refusal.
  const uint64_t session = BeginSession();
  v1::SessionReadRequest read;
  read.set_session_id(session);
  for (int i = 0; i < 5; ++i) read.add_keys(KeyOf(i));
  EXPECT_EQ(Run(api->Read(read, 10s)).error().code(), v1::INVALID_ARGUMENT);
  read.mutable_keys()->DeleteSubrange(3, 2);
  EXPECT_EQ(Run(api->Read(read, 10s)).values_size(), 3);
  v1::SessionScanRequest scan;
  scan.set_session_id(session);
  const v1::SessionScanResponse page = Run(api->Scan(scan, 10s));
  EXPECT_EQ(page.error().code(), v1::OK);
  EXPECT_EQ(page.rows_size(), 3);
  EXPECT_TRUE(page.more());
  EXPECT_EQ(Write(session, "mark", "1"), v1::OK);
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(api->held(), 0u) << "everything held for clients is given back";
}

TEST_F(PublicScanTest, ConditionsOnLargeValuesAreCheckedInParts) {
  Fill(12, limits::kValueBytesMax);
  v1::ExecuteRequest request;
  for (int i = 0; i < 12; ++i) {
    v1::Condition* condition = request.add_conditions();
    condition->set_key(KeyOf(i));
    condition->set_absent(i == 11);
  }
  AddPut(&request, "mark", "1");
  const v1::ExecuteResponse response = Execute(request);
  EXPECT_EQ(response.error().code(), v1::FAILED_PRECONDITION) << response.error().message();
  ASSERT_EQ(response.failed_conditions_size(), 1);
  EXPECT_EQ(response.failed_conditions(0), 11u);
}

// Takes `most` pages.
class Reader final : public PageSink {
 public:
  explicit Reader(size_t m) : most(m) {}
  Task<bool> Write(v1::ScanAllResponse page) override {
    EXPECT_LE(page.ByteSizeLong(), size_t{4} << 20);
    pages.push_back(std::move(page));
    co_return pages.size() < most;
  }
  size_t most;
  std::vector<v1::ScanAllResponse> pages;
};

Task<Result<bool>> RunScan(PublicApi* api, v1::ScanAllRequest request, PublicCall call,
                           PageSink* sink) {
  co_await api->ScanAll(std::move(request), std::move(call), sink);
  co_return true;
}

TEST_F(PublicScanTest, AScanOfEverythingIsOneSnapshotAndGoesOnAfterABreak) {
  Fill(300, 10'000);
  for (const bool reverse : {false, true}) {
    std::vector<std::string> want;
    for (int i = 0; i < 300; ++i) want.push_back(KeyOf(i));
    std::sort(want.begin(), want.end());
    if (reverse) std::reverse(want.begin(), want.end());
    v1::ScanAllRequest request;
    request.set_page_bytes(200'000);
    request.set_reverse(reverse);
    Reader first(4);
    ASSERT_TRUE(cluster.Await(RunScan(api.get(), request, 10s, &first)).ok());
    ASSERT_EQ(first.pages.size(), 4u) << "nothing is read for who does not read";
    ASSERT_TRUE(cluster.Put("\x7flater", "1").ok());
    request.set_read_ts(first.pages.back().read_ts());
    (reverse ? *request.mutable_to() : *request.mutable_from()) = first.pages.back().resume_key();
    Reader rest(1000);
    ASSERT_TRUE(cluster.Await(RunScan(api.get(), request, 10s, &rest)).ok());
    std::vector<std::string> got;
    for (const Reader* reader : {&first, &rest}) {
      for (const auto& page : reader->pages) {
        EXPECT_EQ(page.error().code(), v1::OK) << page.error().message();
        for (auto& key : Keys(page.rows())) got.push_back(key);
      }
    }
    EXPECT_EQ(got, want);
    EXPECT_EQ(rest.pages.back().resume_key(), "");
    v1::ExecuteRequest remove;
    remove.add_operations()->mutable_put()->set_key("\x7flater");
    remove.mutable_operations(0)->mutable_put()->set_deletion(true);
    ASSERT_EQ(Execute(remove).error().code(), v1::OK);
  }
  // What is too old says so.
  cluster.RunFor(200s);
  v1::ScanAllRequest old;
  old.set_read_ts(Timestamp::FromParts(1, 0).bits());
  Reader reader(10);
  ASSERT_TRUE(cluster.Await(RunScan(api.get(), old, 10s, &reader)).ok());
  ASSERT_EQ(reader.pages.size(), 1u);
  EXPECT_EQ(reader.pages[0].error().code(), v1::SNAPSHOT_TOO_OLD);
  EXPECT_EQ(api->held(), 0u);
}

// Reading there would hold up whoever commits next, until the slots have come so far.
TEST_F(PublicScanTest, NobodyReadsAboveTheSlotsThatWereIssued) {
  ASSERT_TRUE(cluster.Put(kLow, "1").ok());
  Reader first(10);
  ASSERT_TRUE(cluster.Await(RunScan(api.get(), {}, 10s, &first)).ok());
  const Timestamp issued(first.pages.front().read_ts());
  const Timestamp ahead = Timestamp::FromParts(issued.physical_ms() + 90, 0);
  v1::ScanAllRequest request;
  request.set_read_ts(ahead.bits());
  Reader refused(10);
  ASSERT_TRUE(cluster.Await(RunScan(api.get(), request, 10s, &refused)).ok());
  ASSERT_EQ(refused.pages.size(), 1u);
  EXPECT_EQ(refused.pages[0].error().code(), v1::INVALID_ARGUMENT);
  EXPECT_NE(refused.pages[0].error().message().find("read_ts"), std::string::npos);
  v1::ExecuteRequest put;
  AddPut(&put, kLow, "2");
  EXPECT_LT(Timestamp(Execute(put).commit_ts()), ahead);
  // Through a node that has not seen the slot yet.
  PublicApi other(cluster.at(3).process()->env(), cluster.node(3));
  Reader fresh(10);
  ASSERT_TRUE(cluster.Await(RunScan(api.get(), {}, 10s, &fresh)).ok());
  request.set_read_ts(fresh.pages.front().read_ts());
  Reader again(10);
  ASSERT_TRUE(cluster.Await(RunScan(&other, request, 10s, &again)).ok());
  EXPECT_EQ(again.pages.front().error().code(), v1::OK) << again.pages.front().error().message();
}

}  // namespace
}  // namespace quorate::server
