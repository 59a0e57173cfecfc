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
    store_ = std::make_unique<OrderedStore>(world_.env, *memory_, options_);
  }
  void Rebuild() {
    store_.reset();
    memory_.reset();
    Build();
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

  const OrderedStore::Spans kSpanA{{MakeKey("a"), MakeKey("b")}};

  OrderedStore::Options options_;
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
  bool erased = false;
  store_->BeginReplace(kA, kSpanA, [&] { erased = true; });
  ASSERT_TRUE(world_.executor.RunUntil([&] { return erased; }));
  EXPECT_EQ(store_->AppliedIndex(kA), 2u) << "until there is another state";
  store_->EndReplace(kA, 50, std::move(batch));
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
  Put(kA, 10, "a1", "in the overlay");
  bool dropped = false;
  WriteBatch with;
  with.Put(MakeKey("z"), "kept of it");
  store_->Drop(kA, kSpanA, std::move(with), [&] { dropped = true; });
  EXPECT_EQ(store_->AppliedIndex(kA), 0u);
  EXPECT_EQ(Get("z"), "kept of it");
  EXPECT_FALSE(dropped);
  EXPECT_TRUE(store_->Dropping(kA));
  EXPECT_TRUE(store_->Dropping({{MakeKey("a5"), {}}}));
  EXPECT_FALSE(store_->Dropping({{MakeKey("b"), {}}}));
  world_.executor.RunFor(1s);
  EXPECT_TRUE(dropped);
  EXPECT_FALSE(store_->Dropping(kA));
  EXPECT_EQ(Get("a"), std::nullopt);
  EXPECT_EQ(Get("a1"), std::nullopt);
  EXPECT_EQ(store_->Groups(), std::vector<GroupId>{kB});
  Crash();
  EXPECT_EQ(store_->Groups(), std::vector<GroupId>{kB});
  EXPECT_EQ(Get("a"), std::nullopt);
  EXPECT_EQ(Get("b"), "2");
  EXPECT_EQ(disk_.size(), 3u) << "b, z and the applied index of one";
  Put(kA, 1, "a", "again");  // a successor starts from the beginning
  EXPECT_EQ(store_->AppliedIndex(kA), 1u);
}

// Crashes at many moments: a dropped state goes on going, a replaced one is marked as none.
class WholeStateTest : public OrderedStoreTest, public ::testing::WithParamInterface<int> {
 protected:
  static constexpr uint64_t kPairs = 300;
  WholeStateTest() {
    options_ = {.flush_bytes = 20'000, .bulk_bytes = 5'000, .erase_bytes = 100};
    Rebuild();
    for (uint64_t i = 1; i <= kPairs; ++i) {
      Put(kA, i, "a" + std::to_string(i), "old");
      Put(kB, i, "b" + std::to_string(i), "other");
    }
    Flush();
  }
  size_t Count(const std::string& letter, const std::string& value) {
    size_t count = 0;
    for (const auto& [key, stored] : ScanPairs(*store_, MakeKey("a"))) {
      count += key[0] == letter[0] && stored == value ? 1 : 0;
    }
    return count;
  }
  void RunForSome() { world_.executor.RunFor(Duration(500us) * GetParam()); }
};

TEST_P(WholeStateTest, DropSurvivesCrashes) {
  bool done = false;
  store_->Drop(kA, kSpanA, {}, [&] { done = true; });
  RunForSome();
  const bool before = done;
  Crash();
  if (before) {
    EXPECT_EQ(Count("a", "old"), 0u);
  }
  RunForSome();
  Crash();
  const bool begun = store_->AppliedIndex(kA) == 0;
  if (!begun) {
    EXPECT_EQ(Count("a", "old"), kPairs) << "all or nothing";
  }
  world_.executor.RunFor(5s);
  EXPECT_EQ(Count("a", "old"), begun ? 0u : kPairs);
  EXPECT_FALSE(store_->Dropping(kA));
  EXPECT_EQ(Count("b", "other"), kPairs);
  EXPECT_EQ(store_->AppliedIndex(kB), kPairs);
}

TEST_P(WholeStateTest, ReplaceSurvivesCrashes) {
  uint64_t put = 0;
  bool ended = false;
  std::function<void()> more = [&] {
    if (put == kPairs) {
      WriteBatch last;
      last.Put(MakeKey("a-last"), "new");
      store_->EndReplace(kA, 1000, std::move(last));
      ended = true;
      return;
    }
    WriteBatch batch;
    for (uint64_t n = 0; n < 10; ++n) batch.Put(MakeKey("a" + std::to_string(++put)), "new");
    store_->PutReplaced(kA, std::move(batch));
    store_->WhenRoom(more);
  };
  const auto replace = [&] {
    put = 0;
    store_->BeginReplace(kA, kSpanA, [&] {
      EXPECT_EQ(Count("a", "old") + Count("a", "new"), 0u);
      more();
    });
  };
  replace();
  EXPECT_NE(store_->Replacing(kA), nullptr);
  RunForSome();
  const bool whole_before = ended;
  Crash();
  if (store_->Replacing(kA) == nullptr) {
    // Nothing happened, or everything.
    const bool all = store_->AppliedIndex(kA) == 1000;
    EXPECT_TRUE(!all || whole_before);
    EXPECT_EQ(Count("a", "old"), all ? 0 : kPairs);
    EXPECT_EQ(Count("a", "new"), all ? kPairs + 1 : 0);
  } else {
    EXPECT_EQ(store_->AppliedIndex(kA), kPairs);
  }
  replace();
  EXPECT_NE(store_->Replacing(kA), nullptr);
  world_.executor.RunFor(10s);
  EXPECT_EQ(store_->Replacing(kA), nullptr);
  Flush();
  Crash();
  EXPECT_EQ(store_->Replacing(kA), nullptr);
  EXPECT_EQ(store_->AppliedIndex(kA), 1000u);
  EXPECT_EQ(Count("a", "new"), kPairs + 1);
  EXPECT_EQ(Count("a", "old"), 0u);
  EXPECT_EQ(Count("b", "other"), kPairs);
}

INSTANTIATE_TEST_SUITE_P(Moments, WholeStateTest, ::testing::Range(0, 120, 3));

// A stream that broke and was begun anew: what the first one put is not the second one's.
TEST_F(OrderedStoreTest, AReplacementThatBeginsAnewForgetsTheFirst) {
  Put(kA, 1, "a1", "old");
  bool first = false;
  bool second = false;
  store_->BeginReplace(kA, kSpanA, [&] { first = true; });
  store_->BeginReplace(kA, {{MakeKey("c"), MakeKey("d")}}, [&] { second = true; });
  world_.executor.RunFor(1s);
  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(Get("a1"), std::nullopt) << "the spans of both are emptied";
  WriteBatch some;
  some.Put(MakeKey("c1"), "of the second");
  store_->PutReplaced(kA, std::move(some));
  store_->BeginReplace(kA, kSpanA, [] {});
  world_.executor.RunFor(1s);
  EXPECT_EQ(Get("c1"), std::nullopt);
}

TEST_F(OrderedStoreTest, WholeStatesTakeTurnsAndRoom) {
  options_ = {.bulk_bytes = 2'000, .erase_bytes = 50};
  Rebuild();
  for (uint64_t i = 1; i <= 200; ++i) Put(kA, i, "a" + std::to_string(i), "v");
  Flush();
  bool done = false;
  store_->Drop(kA, kSpanA, {}, [&] { done = true; });
  size_t most = 0;
  while (!done) {
    ASSERT_TRUE(world_.executor.Step());
    most = std::max(most, store_->OverlayBytes());
  }
  EXPECT_LT(most, 7'000u) << "of 20,000 altogether";
  EXPECT_FALSE(store_->OverBound());
}

TEST_F(OrderedStoreTest, APinnedViewIsAStateAtItsAppliedIndex) {
  Put(kA, 1, "a1", "first");
  std::unique_ptr<KvView> view;
  store_->Pin([&](Result<std::unique_ptr<KvView>> pinned) { view = std::move(pinned.value()); });
  EXPECT_EQ(view, nullptr);
  Put(kA, 2, "a1", "second");
  world_.executor.RunFor(1s);
  Flush();
  ASSERT_NE(view, nullptr);
  const std::string key = OrderedStore::AppliedIndexKey(kA);
  const auto value_of = [&](const std::string& wanted) {
    std::string value;
    view->Read({wanted, {}, {}}, 1, KvView::What::kPairs, [&](Result<KvView::Run> run) {
      std::string_view pairs = run.value().pairs;
      std::string_view found, stored;
      ASSERT_TRUE(GetLengthPrefixed(&pairs, &found) && GetLengthPrefixed(&pairs, &stored));
      EXPECT_EQ(found, wanted);
      value = stored;
    });
    world_.executor.RunFor(1ms);
    return value;
  };
  uint64_t index = 0;
  ASSERT_TRUE(OrderedStore::ParseAppliedIndex(value_of(key), &index));
  EXPECT_EQ(index, 1u);
  EXPECT_EQ(value_of(MakeKey("a1")), "first");
}

TEST_F(OrderedStoreTest, AFullOverlayIsFlushedWithoutWaiting) {
  const OrderedStore::Options defaults;
  WriteBatch batch;
  batch.Put(DataKey(1), std::string(defaults.flush_bytes, 'x'));
  store_->Apply(kA, 1, std::move(batch));
  world_.executor.RunFor(10ms);
  EXPECT_EQ(store_->FlushedIndex(kA), 1u);
}

// A commit is what every sync of the log waits behind: of large values it is a small part of what
// it may be of others.
TEST_F(OrderedStoreTest, LargeValuesAreFlushedAFewAtATime) {
  const auto fill = [&](size_t value_bytes, Duration pause) {
    const size_t count = (8 << 20) / value_bytes;
    for (size_t i = 0; i < count && store_->FlushedIndex(kA) == 0; ++i) {
      Put(kA, i + 1, fmt::format("d{}", i), std::string(value_bytes, 'x'));
      world_.executor.RunFor(pause);
    }
    return store_->FlushedIndex(kA);
  };
  EXPECT_EQ(fill(1000, 100us), 0u) << "they share pages with what comes later";
  Crash();
  const uint64_t flushed = fill(128 << 10, 100ms);
  EXPECT_GT(flushed, 5u);
  EXPECT_LE(flushed, 9u);
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
