// When shards are divided, and what for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/schedule/operator_table.h"
#include "placement/schedule/schedulers.h"
#include "tests/placement/schedule/small_cluster.h"

namespace quorate::placement {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(ScheduleSplit, DividesWhatIsTooLargeAndNotAtOnceAgain) {
  SmallCluster c(3);
  OperatorTable table;
  ShardView large = MakeShard(7, {1, 2, 3});
  large.bytes = c.settings.split_bytes;
  ShardView small = MakeShard(8, {1, 2, 3});
  small.bytes = c.settings.split_bytes - 1;
  c.view.Put(large);
  c.view.Put(small);
  Proposals proposals = Split({c.Now().view, c.settings, c.now, table.effects(), ShardId()});
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].shard, ShardId(7));
  EXPECT_EQ(proposals.operators[0].steps, std::vector<Step>{SplitShard{}});
  EXPECT_THAT(proposals.operators[0].explanation.why, HasSubstr("it has 96 MiB"));

  const auto id = table.Admit(c.view, c.settings, proposals.operators[0], c.now);
  ASSERT_TRUE(id.ok());
  EXPECT_THAT(Split({c.Now().view, c.settings, c.now, table.effects(), ShardId()}).operators,
              IsEmpty());
  const auto order = table.Next(c.view, c.settings, ShardId(7), c.now);
  ASSERT_TRUE(order.has_value());
  EXPECT_EQ(order->step, Step(SplitShard{}));
  for (size_t i = 0; i < OperatorTable::kRefusalsMax; ++i) {
    table.OrderRefused(*id, "no key is in the middle", c.now);
  }
  EXPECT_TRUE(table.under_way().empty());
  EXPECT_THAT(Split({c.Now().view, c.settings, c.now, table.effects(), ShardId()}).operators,
              IsEmpty())
      << "it is one key, perhaps";
  c.now += std::chrono::minutes(2);
  proposals = Split({c.Now().view, c.settings, c.now, table.effects(), ShardId()});
  ASSERT_EQ(proposals.operators.size(), 1u);

  ASSERT_TRUE(table.Admit(c.view, c.settings, proposals.operators[0], c.now).ok());
  ++large.epoch.version;
  large.bytes = 0;
  c.view.Put(large);
  EXPECT_FALSE(table.Next(c.view, c.settings, ShardId(7), c.now).has_value());
  EXPECT_EQ(table.Ended(OperatorKind::kSplit, Outcome::kDone), 1u);
}

TEST(ScheduleSplit, WaitsForWhoIsBehindButNotForWhoIsLost) {
  SmallCluster c(3);
  OperatorTable table;
  const auto split = [&] {
    return Split({c.Now().view, c.settings, c.now, table.effects(), ShardId()});
  };
  ShardView large = MakeShard(7, {1, 2, 3});
  large.bytes = c.settings.split_bytes;
  large.voters[2].caught_up = false;
  c.view.Put(large);
  const Proposals waits = split();
  EXPECT_THAT(waits.operators, IsEmpty());
  ASSERT_EQ(waits.wanted.size(), 1u);
  EXPECT_EQ(waits.wanted[0].why_not, "shard 7 is divided once its replica on node 3 has caught up");

  c.view.Put(DownNode(3, 999));
  EXPECT_THAT(split().operators, IsEmpty()) << "it may come back at once";
  c.view.Put(DownNode(3, 900));
  EXPECT_EQ(split().operators.size(), 1u) << "it is lost";

  c.view.Put(UpNode(3));
  EXPECT_THAT(split().operators, IsEmpty());
  large.bytes = 4 * c.settings.split_bytes;
  c.view.Put(large);
  EXPECT_EQ(split().operators.size(), 1u) << "it grows faster than anybody catches up";
}

TEST(ScheduleSplit, DividesWhatIsTooBusyForOneNodeButNotASingleKey) {
  SmallCluster c(3);
  OperatorTable table;
  const auto split = [&] {
    return Split({c.Now().view, c.settings, c.now, table.effects(), ShardId()});
  };
  ShardView busy = MakeShard(7, {1, 2, 3});
  busy.requests_per_second = c.settings.split_requests;
  busy.load_middle = "m";
  busy.busiest_key_percent = 2;
  c.view.Put(busy);
  Proposals proposals = split();
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].steps[0], Step(SplitShard{"m"}));
  EXPECT_THAT(proposals.operators[0].explanation.why, HasSubstr("it serves 2000 requests/s"));

  --busy.requests_per_second;
  c.view.Put(busy);
  EXPECT_THAT(split().operators, IsEmpty());
  // Busy as all others are: splitting would even nothing out.
  for (uint64_t id = 7; id < 17; ++id) {
    ShardView one = MakeShard(id, {1 + id % 3, 1 + (id + 1) % 3, 1 + (id + 2) % 3});
    one.requests_per_second = 5000;
    one.load_middle = "m";
    c.view.Put(one);
  }
  EXPECT_THAT(split().operators, IsEmpty());

  SmallCluster hot(3);
  busy.requests_per_second = 9000;
  busy.load_middle.clear();
  busy.busiest_key_percent = 88;
  hot.view.Put(busy);
  proposals = Split({hot.Now().view, hot.settings, hot.now, table.effects(), ShardId()});
  EXPECT_THAT(proposals.operators, IsEmpty());
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_EQ(proposals.wanted[0].why_not,
            "shard 7 serves 9000 requests/s, 88% of them for one key: dividing it would not help");
}

}  // namespace
}  // namespace quorate::placement
