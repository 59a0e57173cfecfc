#include "storage/ordered_store.h"

#include <gtest/gtest.h>

#include "base/coding.h"
#include "base/limits.h"
#include "storage/memory_store.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

using Pairs = std::map<std::string, std::string, KeyLess>;
constexpr GroupId kA{1};
constexpr GroupId kB{2};
const Duration kInterval = OrderedStore::Options().flush_interval;

// Data keys have the tag 'd'; the store's own are left out.
std::string DataKey(uint64_t n) { return MakeKey("d" + std::to_string(n)); }
const std::string kDataFrom = MakeKey("d");

Pairs ScanPairs(const KvReader& store, std::string_view from = kDataFrom,
                std::string_view to = {}) {
  Pairs pairs;
  const Status status = store.Scan(from, to, [&](std::string_view key, std::string_view value) {
    if (!pairs.empty()) EXPECT_LT(CompareKeys(pairs.rbegin()->first, key), 0);
    pairs.emplace(key, value);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  // The same backwards.
  auto last = pairs.rbegin();
  EXPECT_TRUE(store
                  .ScanBack(from, to,
                            [&](std::string_view key, std::string_view value) {
                              EXPECT_TRUE(last != pairs.rend() && last->first == key &&
                                          last->second == value);
                              return last++ != pairs.rend();
                            })
                  .ok());
  EXPECT_TRUE(last == pairs.rend());
  return pairs;
}

class OrderedStoreTest : public ::testing::Test {
 protected:
  OrderedStoreTest() { Build(); }
  void Build() {
    memory_ = std::make_unique<MemoryStore>(world_.env, disk_);
    store_ = std::make_unique<OrderedStore>(world_.env, *memory_, OrderedStore::Options());
  }
  void Crash() {
    store_.reset();
    memory_.reset();
    world_.executor.Clear();
    disk_.Crash(world_.random);
    Build();
  }
  void Put(GroupId group, uint64_t index, const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.Put(MakeKey(key), value);
    store_->Apply(group, index, std::move(batch));
  }
  std::optional<std::string> Get(const std::string& key) {
    return store_->Get(MakeKey(key)).value();
  }
  void Flush() {
    Status status = Internal("not called");
    store_->Flush([&](Status s) { status = std::move(s); });
    world_.executor.RunFor(1s);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  TestEnv world_;
  MemoryDisk disk_;
  std::unique_ptr<MemoryStore> memory_;
  std::unique_ptr<OrderedStore> store_;
};

TEST_F(OrderedStoreTest, AppliedIsVisibleAtOnceAndDurableAfterTheInterval) {
  Put(kA, 1, "x", "1");
  EXPECT_EQ(Get("x"), "1");
  EXPECT_EQ(store_->AppliedIndex(kA), 1u);
  EXPECT_EQ(store_->FlushedIndex(kA), 0u);
  EXPECT_EQ(disk_.size(), 0u);
  int flushed = 0;
  store_->OnFlushed([&] { ++flushed; });
  world_.executor.RunFor(kInterval - 1ms);
  EXPECT_EQ(flushed, 0);
  world_.executor.RunFor(10ms);
  EXPECT_EQ(flushed, 1);
  EXPECT_EQ(store_->FlushedIndex(kA), 1u);
  EXPECT_EQ(store_->OverlayBytes(), 0u);
  EXPECT_EQ(Get("x"), "1");
  world_.executor.RunFor(10 * kInterval);
  EXPECT_EQ(flushed, 1) << "an idle store does nothing";
}

TEST_F(OrderedStoreTest, AnEntryWithoutEffectIsCheckpointedToo) {
  store_->Apply(kA, 7, {});
  world_.executor.RunFor(2 * kInterval);
  EXPECT_EQ(store_->FlushedIndex(kA), 7u);
  Crash();
  EXPECT_EQ(store_->AppliedIndex(kA), 7u);
  EXPECT_EQ(store_->Groups(), std::vector<GroupId>{kA});
}

TEST_F(OrderedStoreTest, ReadsMergeNewerOverOlder) {
  Put(kA, 1, "x", "store");
  Put(kA, 2, "y", "store");
  Flush();
  Put(kA, 3, "y", "immutable");
  store_->Flush([](Status) {});  // y is now being flushed
  WriteBatch batch;
  batch.Delete(MakeKey("x"));
  batch.Put(MakeKey("z"), "active");
  store_->Apply(kA, 4, std::move(batch));
  EXPECT_EQ(Get("x"), std::nullopt);
  EXPECT_EQ(Get("y"), "immutable");
  EXPECT_EQ(ScanPairs(*store_, MakeKey("x")),
            (Pairs{{MakeKey("y"), "immutable"}, {MakeKey("z"), "active"}}));
  EXPECT_EQ(ScanPairs(*store_, MakeKey("x"), MakeKey("z")).size(), 1u);
  world_.executor.RunFor(1s);
  EXPECT_EQ(ScanPairs(*store_, MakeKey("x")).size(), 2u);
}

TEST_F(OrderedStoreTest, AScanIsPreparedInSteps) {
  const uint64_t some = 2 * OrderedStore::Options().index_step + 1;
  const auto steps = [this] {
    int taken = 1;
    while (!store_->PrepareScan()) ++taken;
    return taken;
  };
  EXPECT_EQ(steps(), 1);
  for (uint64_t n = 1; n <= some; ++n) Put(kA, n, std::to_string(n), "v");
  EXPECT_EQ(steps(), 3);
  EXPECT_EQ(steps(), 1);
  for (uint64_t n = 1; n <= some; ++n) Put(kA, some + n, "x" + std::to_string(n), "v");
  store_->Flush([](Status) {});  // what is being flushed is scanned, too
  for (uint64_t n = 1; n <= some; ++n) Put(kA, 2 * some + n, "y" + std::to_string(n), "v");
  EXPECT_EQ(steps(), 5) << "the last of one goes with the first of the other";
}

TEST_F(OrderedStoreTest, AScanCanBeStoppedAnywhere) {
  for (uint64_t i = 0; i < 10; ++i) {
    WriteBatch batch;
    batch.Put(DataKey(i), "v");
    store_->Apply(kA, i + 1, std::move(batch));
    if (i == 5) Flush();
  }
  for (size_t limit = 1; limit <= 10; ++limit) {
    size_t seen = 0;
    ASSERT_TRUE(store_->Scan(kDataFrom, {}, [&](auto, auto) { return ++seen < limit; }).ok());
    EXPECT_EQ(seen, limit);
  }
}

TEST_F(OrderedStoreTest, ReplacePutsNewStateInPlaceOfOld) {
  Put(kA, 1, "a1", "old");
  Put(kB, 1, "b1", "other");
  Flush();
  Put(kA, 2, "a2", "old");
  WriteBatch batch;
  batch.Put(MakeKey("a2"), "new");
  batch.Put(MakeKey("a3"), "new");
  store_->Replace(kA, 50, {{MakeKey("a"), MakeKey("b")}}, std::move(batch));
  const Pairs want{{MakeKey("a2"), "new"}, {MakeKey("a3"), "new"}, {MakeKey("b1"), "other"}};
  EXPECT_EQ(ScanPairs(*store_, MakeKey("a")), want);
  EXPECT_EQ(store_->AppliedIndex(kA), 50u);
  Flush();
  Crash();
  EXPECT_EQ(ScanPairs(*store_, MakeKey("a")), want);
  EXPECT_EQ(store_->AppliedIndex(kA), 50u);
}

TEST_F(OrderedStoreTest, DropForgetsTheGroup) {
  Put(kA, 9, "a", "1");
  Put(kB, 3, "b", "2");
  Flush();
  store_->Drop(kA, {{MakeKey("a"), MakeKey("b")}});
  EXPECT_EQ(store_->AppliedIndex(kA), 0u);
  EXPECT_EQ(Get("a"), std::nullopt);
  Flush();
  EXPECT_EQ(store_->Groups(), std::vector<GroupId>{kB});
  Crash();
  EXPECT_EQ(store_->Groups(), std::vector<GroupId>{kB});
  Put(kA, 1, "a", "again");  // a successor starts from the beginning
  EXPECT_EQ(store_->AppliedIndex(kA), 1u);
}

TEST_F(OrderedStoreTest, AFullOverlayIsFlushedWithoutWaiting) {
  const OrderedStore::Options defaults;
  WriteBatch batch;
  batch.Put(DataKey(1), std::string(defaults.flush_bytes, 'x'));
  store_->Apply(kA, 1, std::move(batch));
  world_.executor.RunFor(10ms);
  EXPECT_EQ(store_->FlushedIndex(kA), 1u);
}

TEST_F(OrderedStoreTest, SaysWhenItIsOverItsBound) {
  for (uint64_t i = 1; !store_->OverBound(); ++i) {
    ASSERT_LE(i, 3 * limits::kOverlayBytesMax >> 20);
    WriteBatch batch;
    batch.Put(DataKey(i), std::string(1 << 20, 'x'));
    store_->Apply(kA, i, std::move(batch));
  }
  EXPECT_GT(store_->OverlayBytes(), limits::kOverlayBytesMax);
  Flush();
  EXPECT_FALSE(store_->OverBound());
}

TEST_F(OrderedStoreTest, AFailedFlushIsReportedOnceAndToThoseWhoWait) {
  disk_.FailCommits(IoError("injected"));
  Status failure;
  int failures = 0;
  store_->OnFailure([&](Status status) {
    failure = std::move(status);
    ++failures;
  });
  Put(kA, 1, "x", "1");
  Status waited;
  store_->Flush([&](Status status) { waited = std::move(status); });
  world_.executor.RunFor(1s);
  EXPECT_EQ(waited.code(), Code::kIoError);
  EXPECT_EQ(failure.code(), Code::kIoError);
  EXPECT_EQ(store_->FlushedIndex(kA), 0u);
  EXPECT_EQ(Get("x"), "1");
  Put(kA, 2, "x", "2");
  world_.executor.RunFor(2 * kInterval);
  store_->Flush([&](Status status) { waited = std::move(status); });
  world_.executor.RunFor(1s);
  EXPECT_EQ(waited.code(), Code::kIoError);
  EXPECT_EQ(failures, 1);
}

// ST10: after any crash the state is that of exactly the applied index, for every group; replaying
// the entries behind it gives what was there before.
TEST(OrderedStore, StateAndIndexAreOneThroughAllCrashes) {
  struct Entry {
    GroupId group;
    WriteBatch batch;
  };
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    TestEnv world(seed);
    Random random(seed);
    MemoryDisk disk;
    std::map<GroupId, std::vector<Entry>> logs;  // entry i has index i + 1
    const auto state_of = [&](GroupId group, uint64_t index) {
      Pairs pairs;
      for (uint64_t i = 0; i < index; ++i) {
        for (const auto& op : logs[group][i].batch.ops) {
          if (op.value) {
            pairs[op.key] = *op.value;
          } else {
            pairs.erase(op.key);
          }
        }
      }
      return pairs;
    };
    const auto span = [](GroupId group) {
      const std::string tag = "d" + std::to_string(group.value());
      return std::pair(MakeKey(tag), MakeKey(tag + "\xff"));
    };
    for (int life = 0; life < 8; ++life) {
      auto memory = std::make_unique<MemoryStore>(world.env, disk);
      auto store = std::make_unique<OrderedStore>(
          world.env, *memory, OrderedStore::Options{.flush_bytes = 3000, .flush_interval = 5ms});
      const auto check = [&] {
        for (const auto& [group, log] : logs) {
          const auto [from, to] = span(group);
          ASSERT_EQ(ScanPairs(*store, from, to), state_of(group, store->AppliedIndex(group)));
        }
      };
      ASSERT_NO_FATAL_FAILURE(check());
      for (const auto& [group, log] : logs) {
        ASSERT_LE(store->AppliedIndex(group), log.size());
        for (uint64_t i = store->AppliedIndex(group); i < log.size(); ++i) {
          store->Apply(group, i + 1, log[i].batch);
        }
      }
      for (uint64_t n = random.Below(150); n > 0; --n) {
        const GroupId group(1 + random.Below(4));
        WriteBatch batch;
        for (uint64_t ops = random.Below(4); ops > 0; --ops) {
          const std::string key =
              MakeKey("d" + std::to_string(group.value()) + std::to_string(random.Below(20)));
          if (random.Chance(0.3)) {
            batch.Delete(key);
          } else {
            batch.Put(key, std::to_string(random.Below(1000)));
          }
        }
        logs[group].push_back({group, batch});
        store->Apply(group, logs[group].size(), std::move(batch));
        if (random.Chance(0.3)) world.executor.RunFor(Duration(random.Between(0, 3'000'000)));
        if (random.Chance(0.05)) ASSERT_NO_FATAL_FAILURE(check());
      }
      ASSERT_NO_FATAL_FAILURE(check());
      std::map<GroupId, uint64_t> flushed;
      for (const auto& [group, log] : logs) flushed[group] = store->FlushedIndex(group);
      store.reset();
      memory.reset();
      world.executor.Clear();
      disk.Crash(random);
      const MemoryStore after(world.env, disk);
      const OrderedStore reopened(world.env, const_cast<MemoryStore&>(after), {});
      for (const auto& [group, index] : flushed) ASSERT_GE(reopened.AppliedIndex(group), index);
    }
  }
}

}  // namespace
}  // namespace quorate::storage
