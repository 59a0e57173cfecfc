// Stale reads of the public service over a whole cluster.
#include <gtest/gtest.h>

#include "server/node/member.h"
#include "tests/server/public_api_fixture.h"

namespace quorate::server {
namespace {

class PublicStaleTest : public PublicApiFixture {
 protected:
  static v1::ExecuteRequest Gets(uint32_t max_age_ms, uint64_t not_before = 0) {
    v1::ExecuteRequest request;
    request.add_operations()->set_get(kLow);
    request.add_operations()->set_get(kHigh);
    request.mutable_stale()->set_max_age_ms(max_age_ms);
    request.mutable_stale()->set_not_before(not_before);
    return request;
  }
  uint64_t PutBoth(const std::string& value) {
    v1::ExecuteRequest put;
    AddPut(&put, kLow, value);
    AddPut(&put, kHigh, value);
    const v1::ExecuteResponse response = Execute(put);
    EXPECT_EQ(response.error().code(), v1::OK) << response.error().message();
    return response.commit_ts();
  }
  uint64_t ServedHere() {
    uint64_t served = 0;
    for (const auto& [id, shard] : cluster.node(1).member()->shards()) {
      served += shard->served().stale_reads;
    }
    return served;
  }
};

TEST_F(PublicStaleTest, OneSnapshotThatNeverGoesBack) {
  uint64_t floor = PutBoth("0");
  for (int i = 1; i < 20; ++i) {
    const v1::ExecuteResponse read = Execute(Gets(5'000, floor));
    ASSERT_EQ(read.error().code(), v1::OK) << read.error().message();
    EXPECT_GE(read.read_ts(), floor);
    EXPECT_EQ(read.results(0).value().value(), read.results(1).value().value());
    floor = read.read_ts();
    PutBoth(std::to_string(i));
  }
}

TEST_F(PublicStaleTest, TheReplicaHereAnswersWhoeverLeads) {
  PutBoth("1");
  cluster.RunFor(300ms);
  const uint64_t closes = PutBoth("2");
  ASSERT_EQ(Execute(Gets(5'000, closes)).error().code(), v1::OK) << "has all leaders close";
  cluster.RunFor(1s);
  const uint64_t before = ServedHere();
  constexpr int kReads = 20;
  for (int i = 0; i < kReads; ++i) {
    const v1::ExecuteResponse read = Execute(Gets(5'000));
    ASSERT_EQ(read.error().code(), v1::OK) << read.error().message();
  }
  // Another one is tried now and then.
  EXPECT_GE(ServedHere() - before, kReads);
}

TEST_F(PublicStaleTest, APauseOfTheOthersIsNotNoticed) {
  PutBoth("1");
  cluster.RunFor(300ms);
  PutBoth("2");
  for (int i = 0; i < 30; ++i) {
    ASSERT_EQ(Execute(Gets(5'000)).error().code(), v1::OK);
    cluster.RunFor(100ms);
  }
  for (const size_t node : {2, 3}) cluster.at(node).process()->Pause(cluster.world().now() + 1min);
  int served = 0;
  for (int i = 0; i < 10; ++i) {
    v1::ExecuteRequest low = Gets(60'000);
    low.mutable_operations()->DeleteSubrange(1, 1);
    const v1::ExecuteResponse read = Run(api->Execute(low, 5s));
    served += read.error().code() == v1::OK && read.results(0).value().value() == "2";
  }
  EXPECT_EQ(served, 10) << "without a majority, let alone a leader";
}

TEST_F(PublicStaleTest, TheDoor) {
  for (const uint32_t wrong : {0u, 60'001u}) {
    EXPECT_EQ(Execute(Gets(wrong)).error().code(), v1::INVALID_ARGUMENT);
    v1::BeginRequest begin;
    begin.set_read_only(true);
    begin.mutable_stale()->set_max_age_ms(wrong);
    EXPECT_EQ(Run(api->Begin(begin, 10s)).error().code(), v1::INVALID_ARGUMENT);
  }
  v1::ExecuteRequest writes = Gets(1'000);
  AddPut(&writes, kLow, "1");
  EXPECT_EQ(Execute(writes).error().code(), v1::INVALID_ARGUMENT);
  v1::BeginRequest begin;
  begin.mutable_stale()->set_max_age_ms(1'000);
  EXPECT_EQ(Run(api->Begin(begin, 10s)).error().code(), v1::INVALID_ARGUMENT);
  EXPECT_EQ(Execute(Gets(1'000, ~uint64_t{0})).error().code(), v1::INVALID_ARGUMENT)
      << "above every slot issued";
}

TEST_F(PublicStaleTest, ASessionReadsOneSnapshot) {
  PutBoth("1");
  v1::BeginRequest begin;
  begin.set_read_only(true);
  begin.mutable_stale()->set_max_age_ms(5'000);
  const v1::BeginResponse begun = Run(api->Begin(begin, 10s));
  ASSERT_EQ(begun.error().code(), v1::OK);
  const v1::SessionReadResponse low = Read(begun.session_id(), kLow);
  PutBoth("2");
  const v1::SessionReadResponse high = Read(begun.session_id(), kHigh);
  ASSERT_EQ(low.error().code(), v1::OK);
  ASSERT_EQ(high.error().code(), v1::OK);
  EXPECT_EQ(low.values(0).value(), high.values(0).value());
  EXPECT_NE(Commit(begun.session_id()).read_ts(), 0u);
}

}  // namespace
}  // namespace quorate::server
