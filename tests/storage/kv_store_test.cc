// Keys, and one contract for both stores: LMDB and memory do the same as a std::map, on everything.
#include "storage/kv_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/coding.h"
#include "base/probe.h"
#include "storage/lmdb_store.h"
#include "storage/memory_store.h"
#include "tests/storage/temp_directory.h"
#include "tests/storage/thread_executor.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

std::string RandomKey(Random& random) {
  std::string body;
  for (uint64_t n = random.Below(5); n > 0; --n) {
    body.push_back(static_cast<char>(random.Chance(0.5) ? random.Below(3) : 250 + random.Below(6)));
  }
  std::string suffix;
  for (uint64_t n = random.Below(4); n > 0; --n) {
    suffix.push_back(static_cast<char>(random.Below(3)));
  }
  return MakeKey(body, suffix);
}

// The order in words: by body, then by suffix.
using Parts = std::pair<std::string, std::string>;
Parts Split(std::string_view key) {
  return {std::string(KeyBody(key)), std::string(KeySuffix(key))};
}

TEST(StoreKey, OrdersByBodyThenSuffix) {
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::string a = RandomKey(random);
    const std::string b = RandomKey(random);
    ASSERT_EQ(KeyLess()(a, b), Split(a) < Split(b));
    ASSERT_EQ(CompareKeys(a, b) == 0, Split(a) == Split(b));
  }
}

TEST(StoreKey, VersionsOfOneKeyAreNeighboursNewestFirst) {
  const auto version = [](std::string_view body, uint64_t timestamp) {
    std::string suffix;
    PutOrderedDescending64(&suffix, timestamp);
    return MakeKey(body, suffix);
  };
  EXPECT_LT(CompareKeys(version("a", 7), version("a", 6)), 0);
  EXPECT_LT(CompareKeys(version("a", 1), version("aa", 9)), 0);
  EXPECT_LT(CompareKeys(version("a", 1), version(std::string("a\0", 2), 9)), 0);
  EXPECT_LT(CompareKeys(MakeKey("a"), version("a", 9)), 0);
}

using Model = std::map<Parts, std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs ScanAll(const KvReader& store, std::string_view from, std::string_view to, size_t limit) {
  Pairs pairs;
  const Status status = store.Scan(from, to, [&](std::string_view key, std::string_view value) {
    pairs.emplace_back(key, value);
    return pairs.size() < limit;
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return pairs;
}

// The same backwards, in a store that does not change meanwhile.
Pairs ScanBothWays(const KvReader& store, std::string_view from, std::string_view to,
                   size_t limit) {
  const Pairs pairs = ScanAll(store, from, to, limit);
  if (pairs.size() == limit) return pairs;
  size_t left = pairs.size();
  EXPECT_TRUE(store
                  .ScanBack(from, to,
                            [&](std::string_view key, std::string_view value) {
                              EXPECT_TRUE(left > 0 && pairs[left - 1].first == key &&
                                          pairs[left - 1].second == value);
                              return left-- > 0;
                            })
                  .ok());
  EXPECT_EQ(left, 0u);
  return pairs;
}

Pairs ScanModel(const Model& model, std::string_view from, std::string_view to, size_t limit) {
  Pairs pairs;
  for (const auto& [parts, value] : model) {
    if (!from.empty() && parts < Split(from)) continue;
    if ((!to.empty() && parts >= Split(to)) || pairs.size() == limit) break;
    pairs.emplace_back(MakeKey(parts.first, parts.second), value);
  }
  return pairs;
}

WriteBatch RandomBatch(Random& random) {
  WriteBatch batch;
  for (uint64_t n = random.Below(20); n > 0; --n) {
    if (random.Chance(0.3)) {
      batch.Delete(RandomKey(random));
    } else {
      batch.Put(RandomKey(random), std::string(random.Below(30), 'a' + random.Below(26)));
    }
  }
  return batch;
}

void ApplyTo(const WriteBatch& batch, Model* model) {
  for (const auto& op : batch.ops) {
    if (op.value) {
      (*model)[Split(op.key)] = *op.value;
    } else {
      model->erase(Split(op.key));
    }
  }
}

// All that a view has in the range, read in steps; `step` runs what has to run meanwhile.
Pairs ReadView(KvView& view, const std::string& from, const std::string& to, size_t bytes,
               KvView::What what, const std::function<void(const std::function<bool()>&)>& run) {
  Pairs pairs;
  KvView::Range range{from, to, {}};
  for (bool end = false; !end;) {
    std::optional<Result<KvView::Run>> read;
    view.Read(range, bytes, what, [&](Result<KvView::Run> result) { read = std::move(result); });
    EXPECT_FALSE(read.has_value()) << "never within the call";
    run([&] { return read.has_value(); });
    EXPECT_TRUE((*read).ok()) << read->status().ToString();
    if (!read->ok()) break;
    std::string_view left = (*read)->pairs;
    std::string_view key, value;
    size_t count = 0;
    while (GetLengthPrefixed(&left, &key) && GetLengthPrefixed(&left, &value)) {
      pairs.emplace_back(key, value);
      ++count;
    }
    EXPECT_TRUE(left.empty());
    EXPECT_EQ((*read)->last, count == 0 ? "" : pairs.back().first);
    EXPECT_LE((*read)->pairs.size(), bytes + 64);
    end = (*read)->end;
    EXPECT_TRUE(end || count > 0) << "a step goes on";
    range.after = (*read)->last;
  }
  return pairs;
}

TEST(KvStore, ViewsOfBothShowWhatWasThereWhenTheyWerePinned) {
  TempDirectory directory;
  ThreadEnv real;
  auto opened = LmdbStore::Open(real.env, {.directory = directory.path()});
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  const std::unique_ptr<LmdbStore> lmdb = std::move(*opened);
  TestEnv world;
  MemoryDisk disk;
  MemoryStore memory(world.env, disk);
  Model model;
  Random random(3);
  struct Views {
    std::unique_ptr<KvView> lmdb, memory;
    Model model;
  };
  std::vector<Views> views;
  for (int round = 0; round < 150; ++round) {
    const WriteBatch batch = RandomBatch(random);
    ApplyTo(batch, &model);
    int committed = 0;
    const auto count = [&](const Status& status) { committed += status.ok() ? 1 : 100; };
    lmdb->Commit(batch, count);
    memory.Commit(batch, count);
    real.executor.RunUntil([&] { return committed > 0; });
    ASSERT_TRUE(world.executor.RunUntil([&] { return committed == 2; }));
    if (views.size() == 4) views.erase(views.begin() + static_cast<int>(random.Below(4)));
    views.push_back({lmdb->Pin().value(), memory.Pin().value(), model});
    for (Views& each : views) {
      const std::string from = random.Chance(0.3) ? "" : RandomKey(random);
      const std::string to = random.Chance(0.3) ? "" : RandomKey(random);
      const size_t bytes = 1 + random.Below(100);
      const bool keys = random.Chance(0.3);
      const KvView::What what = keys ? KvView::What::kKeys : KvView::What::kPairs;
      Pairs want = ScanModel(each.model, from, to, 10'000);
      if (keys) {
        for (auto& [key, value] : want) value.clear();
      }
      EXPECT_EQ(ReadView(*each.lmdb, from, to, bytes, what,
                         [&](const auto& done) { real.executor.RunUntil(done); }),
                want);
      EXPECT_EQ(ReadView(*each.memory, from, to, bytes, what,
                         [&](const auto& done) { world.executor.RunUntil(done); }),
                want);
    }
  }
}

TEST(LmdbStore, GivesViewsUpBeforeItsMapGrows) {
  TempDirectory directory;
  ThreadEnv real;
  auto opened = LmdbStore::Open(real.env, {.directory = directory.path(), .map_bytes = 1 << 20});
  ASSERT_TRUE(opened.ok());
  const auto store = std::move(*opened);
  int committed = 0;
  const auto commit = [&](const std::string& key, size_t bytes) {
    WriteBatch batch;
    batch.Put(MakeKey(key), std::string(bytes, 'x'));
    store->Commit(std::move(batch), [&](const Status& status) { committed += status.ok(); });
    real.executor.RunUntil([&, want = committed + 1] { return committed == want; });
  };
  const auto read = [&](KvView& view) {
    std::optional<Status> status;
    view.Read({}, 1, KvView::What::kPairs,
              [&](const Result<KvView::Run>& run) { status = run.status(); });
    real.executor.RunUntil([&] { return status.has_value(); });
    return *status;
  };
  commit("a", 10);
  const auto view = std::move(store->Pin().value());
  EXPECT_TRUE(read(*view).ok());
  commit("b", 3 << 20);
  EXPECT_EQ(read(*view).code(), Code::kUnavailable);
  EXPECT_TRUE(read(*store->Pin().value()).ok());
}

TEST(LmdbStore, AViewThatIsGoneLetsItsPagesBeUsedAgain) {
  TempDirectory directory;
  ThreadEnv real;
  const auto store = std::move(LmdbStore::Open(real.env, {.directory = directory.path()}).value());
  int committed = 0;
  const auto churn = [&](int times) {
    for (int i = 0; i < times; ++i) {
      WriteBatch batch;
      batch.Put(MakeKey("a"), std::string(1 << 20, static_cast<char>('a' + i % 26)));
      store->Commit(std::move(batch), [&](const Status& status) { committed += status.ok(); });
      real.executor.RunUntil([&, want = committed + 1] { return committed == want; });
    }
    return store->SizeBytes();
  };
  const uint64_t alone = churn(10);
  auto view = std::move(store->Pin().value());
  const uint64_t pinned = churn(20);
  EXPECT_GT(pinned, alone + (15 << 20));
  // Its end is asked for, and read behind it.
  view.reset();
  bool ended = false;
  auto last = std::move(store->Pin().value());
  last->Read({}, 1, KvView::What::kKeys, [&](const auto&) { ended = true; });
  real.executor.RunUntil([&] { return ended; });
  last.reset();
  EXPECT_LE(churn(20), pinned + (2 << 20));
}

TEST(KvStore, LmdbAndMemoryAgreeWithAMap) {
  TempDirectory directory;
  ThreadEnv real;
  auto opened = LmdbStore::Open(real.env, {.directory = directory.path()});
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  std::unique_ptr<LmdbStore> lmdb = std::move(*opened);
  TestEnv world;
  MemoryDisk disk;
  MemoryStore memory(world.env, disk);
  Model model;
  Random random(2);
  for (int round = 0; round < 200; ++round) {
    const WriteBatch batch = RandomBatch(random);
    ApplyTo(batch, &model);
    int committed = 0;
    const auto count = [&](const Status& status) { committed += status.ok() ? 1 : 100; };
    lmdb->Commit(batch, count);
    real.executor.RunUntil([&] { return committed == 1; });
    memory.Commit(batch, count);
    ASSERT_TRUE(world.executor.RunUntil([&] { return committed == 2; }));
    for (int i = 0; i < 10; ++i) {
      const std::string key = RandomKey(random);
      const auto it = model.find(Split(key));
      const std::optional<std::string> want =
          it == model.end() ? std::nullopt : std::optional(it->second);
      ASSERT_EQ(lmdb->Get(key).value(), want);
      ASSERT_EQ(memory.Get(key).value(), want);
      const std::string from = random.Chance(0.2) ? "" : key;
      const std::string to = random.Chance(0.2) ? "" : RandomKey(random);
      const size_t limit = random.Chance(0.5) ? 1 + random.Below(5) : 10'000;
      const Pairs pairs = ScanModel(model, from, to, limit);
      ASSERT_EQ(ScanBothWays(*lmdb, from, to, limit), pairs);
      ASSERT_EQ(ScanBothWays(memory, from, to, limit), pairs);
    }
    if (round % 50 == 49) {
      lmdb.reset();
      auto again = LmdbStore::Open(real.env, {.directory = directory.path()});
      ASSERT_TRUE(again.ok()) << again.status().ToString();
      lmdb = std::move(*again);
    }
  }
}

TEST(LmdbStore, ReadsWithinAScanSeeTheSameState) {
  TempDirectory directory;
  ThreadEnv real;
  auto store = std::move(LmdbStore::Open(real.env, {.directory = directory.path()}).value());
  bool done = false;
  WriteBatch batch;
  for (const char* key : {"a", "b", "c"}) batch.Put(MakeKey(key), key);
  store->Commit(std::move(batch), [&](Status) { done = true; });
  real.executor.RunUntil([&] { return done; });
  std::string seen;
  ASSERT_TRUE(store
                  ->Scan({}, {},
                         [&](std::string_view key, std::string_view) {
                           seen += store->Get(key).value().value();
                           seen += std::to_string(ScanAll(*store, key, {}, 10).size());
                           return true;
                         })
                  .ok());
  EXPECT_EQ(seen, "a3b2c1");
}

// ST15.
TEST(LmdbStore, GrowsItsMapAndNeverAppliesABatchInPart) {
  TempDirectory directory;
  ThreadEnv real;
  auto opened = LmdbStore::Open(real.env, {.directory = directory.path(), .map_bytes = 1 << 20});
  ASSERT_TRUE(opened.ok());
  const auto store = std::move(*opened);
  int committed = 0;
  for (int i = 0; i < 20; ++i) {
    WriteBatch batch;
    for (int j = 0; j < 100; ++j) {
      batch.Put(MakeKey(std::to_string(i * 100 + j)), std::string(5000, 'x'));
    }
    store->Commit(std::move(batch), [&](Status status) {
      EXPECT_TRUE(status.ok()) << status.ToString();
      ++committed;
      // One scan: the next batch may be there for a second one.
      size_t pairs = 0;
      EXPECT_TRUE(store->Scan({}, {}, [&](auto, auto) { return ++pairs > 0; }).ok());
      EXPECT_EQ(pairs % 100, 0u);
    });
  }
  real.executor.RunUntil([&] { return committed == 20; });
  EXPECT_EQ(ScanAll(*store, {}, {}, 100'000).size(), 2000u);
  EXPECT_GT(store->SizeBytes(), 2000u * 5000u);
}

// Somebody makes room between the write that ended short and the look at the disk.
TEST(LmdbStore, AWriteThatEndsShortIsTriedAgainUntilItIsHopeless) {
  TempDirectory directory;
  ThreadEnv real;
  auto opened = LmdbStore::Open(real.env, {.directory = directory.path(), .map_bytes = 1 << 20});
  ASSERT_TRUE(opened.ok());
  const auto store = std::move(*opened);
  std::optional<Status> answer;
  const auto commit = [&](std::string_view key) {
    answer.reset();
    WriteBatch batch;
    batch.Put(MakeKey(key), std::string(500'000, 'x'));
    store->Commit(std::move(batch), [&](Status status) { answer = std::move(status); });
  };
  const auto answered = [&] { return answer.has_value(); };
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto limit_files = [&](rlim_t bytes) {
    const rlimit limit{bytes, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
  limit_files(100'000);
  commit("a");
  const std::function<void()> look = [&] {
    if (!answered() && !store->waits_for_space()) real.executor.Post(look);
  };
  look();
  real.executor.RunUntil([&] { return answered() || store->waits_for_space(); });
  limit_files(before.rlim_cur);
  ASSERT_FALSE(answered()) << answer->ToString();
  real.executor.RunUntil(answered);
  EXPECT_TRUE(answer->ok()) << answer->ToString();
  EXPECT_FALSE(store->waits_for_space());
  EXPECT_EQ(ScanAll(*store, {}, {}, 100).size(), 1u);

  limit_files(700'000);
  commit("b");
  real.executor.RunUntil(answered);
  limit_files(before.rlim_cur);
  EXPECT_EQ(answer->code(), Code::kIoError);
  EXPECT_EQ(ScanAll(*store, {}, {}, 100).size(), 1u);
}

TEST(LmdbStore, SaysWhatIsWrongWhenItCannotBeOpened) {
  ThreadEnv real;
  const auto opened = LmdbStore::Open(real.env, {.directory = "/proc/none"});
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("/proc/none"), std::string::npos);
}

TEST(MemoryStore, ACrashKeepsAPrefixOfTheCommits) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TestEnv world(seed);
    MemoryDisk disk;
    Random random(seed);
    std::vector<Model> states(1);
    size_t acknowledged = 0;
    {
      MemoryStore store(world.env, disk);
      for (int i = 0; i < 20; ++i) {
        WriteBatch batch = RandomBatch(random);
        states.push_back(states.back());
        ApplyTo(batch, &states.back());
        store.Commit(std::move(batch), [&](Status) { ++acknowledged; });
        world.executor.RunFor(Duration(random.Between(0, Duration(3ms).count())));
        // Nothing of a commit is visible before it is durable.
        ASSERT_EQ(ScanBothWays(store, {}, {}, 1000), ScanModel(states[acknowledged], {}, {}, 1000));
      }
    }
    world.executor.Clear();
    disk.Crash(random);
    const MemoryStore store(world.env, disk);
    ASSERT_GE(disk.commits(), acknowledged);
    EXPECT_EQ(ScanBothWays(store, {}, {}, 1000), ScanModel(states[disk.commits()], {}, {}, 1000));
  }
}

}  // namespace
}  // namespace quorate::storage
