// A sound store is always found sound, after any history of commits. A damaged one says nothing
// that was not committed: it refuses, and comes back without the pages that are damaged and with
// everything else.
#include "storage/lmdb_check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "base/random.h"
#include "base/status_macros.h"
#include "storage/lmdb_damage.h"
#include "storage/lmdb_store.h"
#include "tests/storage/temp_directory.h"
#include "tests/storage/thread_executor.h"

namespace quorate::storage {
namespace {

using Model = std::map<std::string, std::string>;

class Store {
 public:
  explicit Store(const std::string& directory, LmdbStore::Options options = Slow()) {
    options.directory = directory;
    options.on_damage = [this](auto by, const Status&) {
      ++(by == LmdbStore::Options::FoundBy::kUser ? found_by_user : found_by_scrubber);
    };
    auto opened = LmdbStore::Open(real_.env, std::move(options));
    status = opened.status();
    if (opened.ok()) lmdb_ = std::move(*opened);
  }
  // The scrubber does not come to anything.
  static LmdbStore::Options Slow() {
    LmdbStore::Options options;
    options.first_scrub_bytes_per_second = 1;
    options.scrub_bytes_per_second = 1;
    return options;
  }

  Status status;
  std::atomic<int> found_by_user = 0;
  std::atomic<int> found_by_scrubber = 0;
  LmdbStore* operator->() { return lmdb_.get(); }
  void RunUntil(const std::function<bool()>& done) { real_.executor.RunUntil(done); }
  Status Write(WriteBatch batch) {
    std::optional<Status> result;
    lmdb_->Commit(std::move(batch), [&](Status status) { result = std::move(status); });
    real_.executor.RunUntil([&] { return result.has_value(); });
    return *result;
  }

  // Puts and deletes at random, some of it large, as one commit.
  void Commit(Random* random, Model* model) {
    WriteBatch batch;
    for (uint64_t i = random->Below(60); i > 0; --i) {
      const std::string key = MakeKey(std::to_string(random->Below(400)));
      if (random->Chance(0.4)) {
        batch.Delete(key);
        model->erase(key);
      } else {
        const size_t bytes = random->Chance(0.05) ? random->Below(20'000) : random->Below(200);
        (*model)[key] = std::string(bytes, static_cast<char>('a' + random->Below(26)));
        batch.Put(key, (*model)[key]);
      }
    }
    bool done = false;
    lmdb_->Commit(std::move(batch), [&](Status status) {
      EXPECT_TRUE(status.ok()) << status.ToString();
      done = true;
    });
    real_.executor.RunUntil([&] { return done; });
  }

  Result<Model> ReadAll() {
    Model model;
    const Status read = lmdb_->Scan({}, {}, [&](std::string_view key, std::string_view value) {
      model.emplace(key, value);
      return true;
    });
    if (!read.ok()) return read;
    return model;
  }

 private:
  ThreadEnv real_;
  std::unique_ptr<LmdbStore> lmdb_;
};

TEST(LmdbCheck, ASealFitsOneKeyAndOneValue) {
  std::string stored(5 + kSealBytes, '\0');
  Seal("key", "value", stored.data());
  EXPECT_EQ(Unseal("key", stored), "value");
  EXPECT_EQ(Unseal("kez", stored), std::nullopt);
  EXPECT_EQ(Unseal("key", stored.substr(1)), std::nullopt);
  EXPECT_EQ(Unseal("key", "abc"), std::nullopt);
  stored[2] ^= 1;
  EXPECT_EQ(Unseal("key", stored), std::nullopt);
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
// Over what is there, so that a process that has mapped the file sees it.
void Overwrite(const std::string& file, size_t at, std::string_view bytes) {
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(static_cast<std::streamoff>(at));
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}
template <class T>
T Peek(const std::string& content, size_t at) {
  T value;
  std::memcpy(&value, content.data() + at, sizeof value);
  return value;
}
template <class T>
void Poke(const std::string& file, size_t at, T value) {
  Overwrite(file, at, {reinterpret_cast<const char*>(&value), sizeof value});
}

// Everything, as the scrubber reads it.
Status CheckAll(const std::string& file) {
  auto check = LmdbCheck::Open(file);
  if (!check.ok()) return check.status();
  ASSIGN_OR_RETURN(const LmdbCheck::Meta meta, (*check)->ReadMeta());
  RETURN_IF_ERROR((*check)->CheckSkeleton(meta));
  std::vector<LeafRange> damaged;
  std::string from;
  do {
    ASSIGN_OR_RETURN(const LmdbCheck::Progress progress,
                     (*check)->CheckLeaves(meta, from, 10'000, &damaged));
    from = progress.next;
  } while (!from.empty());
  return damaged.empty() ? Status::Ok() : Corruption("a leaf");
}

TEST(LmdbCheck, ASoundStoreIsFoundSound) {
  TempDirectory directory;
  const std::string file = directory.path() + "/data.mdb";
  EXPECT_EQ(CheckAll(file).code(), Code::kNotFound);
  Random random(1);
  Model model;
  for (int life = 0; life < 40; ++life) {
    {
      Store store(directory.path());
      ASSERT_TRUE(store.status.ok()) << store.status.ToString();
      for (uint64_t i = random.Below(8); i > 0; --i) store.Commit(&random, &model);
      ASSERT_EQ(*store.ReadAll(), model);
    }
    const Status checked = CheckAll(file);
    ASSERT_TRUE(checked.ok()) << "life " << life << ": " << checked.ToString();
  }
}

bool Within(const KvStore::Range& range, std::string_view key) {
  return (range.first.empty() || CompareKeys(range.first, key) <= 0) &&
         (range.second.empty() || CompareKeys(key, range.second) < 0);
}

// What is left of `model` outside of the ranges that a store has lost.
Model Without(Model model, const std::vector<KvStore::Range>& lost) {
  std::erase_if(model, [&](const auto& pair) {
    return std::any_of(lost.begin(), lost.end(),
                       [&](const auto& range) { return Within(range, pair.first); });
  });
  return model;
}

class DamagedFile : public ::testing::Test {
 protected:
  DamagedFile() {
    Store store(directory_.path());
    for (int i = 0; i < 60; ++i) {
      before_ = model_;
      store.Commit(&random_, &model_);
    }
  }
  // An intact file with some bytes changed, a third of the times in the meta pages, which are few.
  void Damage() {
    std::filesystem::copy_file(intact_, file_, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(file_ + ".damaged");
    const auto size = std::filesystem::file_size(intact_);
    at_ = random_.Below(random_.Chance(0.3) ? 8192 : size - 64);
    std::fstream out(file_, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(at_));
    for (uint64_t n = random_.Chance(0.5) ? 1 : 64; n > 0; --n) {
      out.put(static_cast<char>(random_.Below(256)));
    }
  }
  // Single reads may come before the damage is met, and are right.
  void ReadSome(Store* store) {
    for (int j = 0; j < 20; ++j) {
      const std::string key = MakeKey(std::to_string(random_.Below(400)));
      const auto got = (*store)->Get(key);
      if (!got.ok()) return;
      const auto is = [&](const Model& m) {
        const auto it = m.find(key);
        return it == m.end() ? !got->has_value() : *got == it->second;
      };
      ASSERT_TRUE(is(model_) || is(before_)) << "at " << at_;
    }
  }
  // Opens it again after damage was met, twice, writes what was lost, and deletes everything.
  void Repair() {
    std::vector<KvStore::Range> lost;
    {
      Store store(directory_.path());
      ASSERT_TRUE(store.status.ok()) << "at " << at_ << ": " << store.status.ToString();
      lost = store->Damaged();
      ASSERT_FALSE(lost.empty()) << "at " << at_;
      const auto read = store.ReadAll();
      ASSERT_TRUE(read.ok()) << "at " << at_ << ": " << read.status().ToString();
      ASSERT_EQ(Without(*read, lost), Without(model_, lost)) << "at " << at_;
      ASSERT_GT(read->size(), model_.size() / 2) << "one page of many";
    }
    Store store(directory_.path());
    ASSERT_EQ(store->Damaged(), lost) << "told until it is forgotten";
    WriteBatch all;
    WriteBatch none;
    for (const auto& [key, value] : model_) {
      all.Put(key, value);
      none.Delete(key);
    }
    ASSERT_TRUE(store.Write(std::move(all)).ok());
    ASSERT_EQ(*store.ReadAll(), model_);
    store->ForgetDamage();
    ASSERT_FALSE(std::filesystem::exists(directory_.path() + "/DAMAGED"));
    ASSERT_TRUE(store.Write(std::move(none)).ok());
    ASSERT_TRUE(store.ReadAll()->empty());
  }

  TempDirectory directory_;
  const std::string file_ = directory_.path() + "/data.mdb";
  const std::string intact_ = directory_.path() + "/intact";
  Random random_{2};
  Model model_;
  Model before_;
  uint64_t at_ = 0;
};

TEST_F(DamagedFile, SaysNothingWrongAndLosesNoMoreThanThePage) {
  std::filesystem::rename(file_, intact_);
  int aside = 0;
  int repaired = 0;
  int harmless = 0;
  for (int i = 0; i < 200; ++i) {
    Damage();
    {
      Store store(directory_.path());
      ASSERT_TRUE(store.status.ok()) << "at " << at_ << ": " << store.status.ToString();
      if (std::filesystem::exists(file_ + ".damaged")) {
        ++aside;
        ASSERT_TRUE(store.ReadAll()->empty());
        continue;
      }
      ASSERT_NO_FATAL_FAILURE(ReadSome(&store));
      const auto read = store.ReadAll();
      if (read.ok()) {
        ++harmless;
        ASSERT_TRUE(*read == model_ || *read == before_)
            << "damage at " << at_ << " was overlooked";
        continue;
      }
      ASSERT_EQ(read.status().code(), Code::kCorruption);
      ASSERT_EQ(store.found_by_user, 1);
    }
    ++repaired;
    ASSERT_NO_FATAL_FAILURE(Repair());
  }
  EXPECT_GT(aside, 0);  // few pages are not leaves, and little of the meta pages is used
  EXPECT_GT(repaired, 30);
  EXPECT_GT(harmless, 10);
}

// Flips a bit of `bytes` wherever they stand in the file: freed pages may have an older copy.
void Flip(const std::string& file, std::string_view bytes) {
  std::fstream io(file, std::ios::in | std::ios::out | std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(io)), {});
  ASSERT_NE(content.find(bytes), std::string::npos);
  for (size_t at = 0; (at = content.find(bytes, at)) != std::string::npos; ++at) {
    io.clear();
    io.seekp(static_cast<std::streamoff>(at));
    io.put(static_cast<char>(content[at] ^ 1));
  }
}

class LmdbDamage : public ::testing::Test {
 protected:
  LmdbDamage() {
    Store store(directory_.path());
    WriteBatch batch;
    for (int i = 0; i < 2000; ++i) {
      const std::string key = Key(i);
      // Some have pages of their own.
      model_[key] = fmt::format("value{:05}", i) + std::string(i % 100 == 0 ? 6000 : 60, 'v');
      batch.Put(key, model_[key]);
    }
    EXPECT_TRUE(store.Write(std::move(batch)).ok());
  }
  static std::string Key(int i) { return MakeKey(fmt::format("key{:05}", i)); }

  TempDirectory directory_;
  const std::string file_ = directory_.path() + "/data.mdb";
  Model model_;
};

TEST_F(LmdbDamage, OnlyThePageIsLost) {
  for (const int key : {1234, 700}) {  // in a leaf, and in pages of its own
    Flip(file_, fmt::format("value{:05}", key));
    {
      Store store(directory_.path());
      EXPECT_EQ(store->Get(Key(1))->value_or(""), model_[Key(1)]);
      EXPECT_EQ(store->Get(Key(key)).status().code(), Code::kCorruption);
      EXPECT_EQ(store.found_by_user, 1);
      EXPECT_FALSE(store->Get(Key(1)).ok()) << "it has to be opened again";
    }
    Store store(directory_.path());
    ASSERT_EQ(store->Damaged().size(), 1u);
    EXPECT_TRUE(Within(store->Damaged()[0], Key(key)));
    const Model left = *store.ReadAll();
    EXPECT_EQ(left, Without(model_, store->Damaged()));
    EXPECT_GT(left.size(), model_.size() - 80);
    model_ = left;
    store->ForgetDamage();
  }
  EXPECT_FALSE(std::filesystem::exists(file_ + ".damaged"));
}

// LMDB frees as many pages as the first one says, and writes over them.
TEST_F(LmdbDamage, ALargeValueHasThePagesThatItNeedsAndNoMore) {
  const std::string content = ReadFile(file_);
  const size_t page_bytes = Peek<uint32_t>(content, 40);
  const size_t page = content.find("value00700") / page_bytes * page_bytes;
  ASSERT_EQ(Peek<uint32_t>(content, page + 12), 2u);
  Poke<uint32_t>(file_, page + 12, 18);
  Store store(directory_.path());
  EXPECT_EQ(store->Get(Key(700)).status().code(), Code::kCorruption);
}

// Each bit of both meta pages: what is not found out does no harm.
TEST_F(LmdbDamage, AMetaPageIsFollowedOnlyWhereItCannotMislead) {
  const std::string content = ReadFile(file_);
  const size_t page_bytes = Peek<uint32_t>(content, 40);
  const std::string probe = MakeKey("probe");
  int accepted = 0;
  for (const size_t page : {size_t{0}, page_bytes}) {
    for (size_t bit = 0; bit < 152 * 8; ++bit) {
      SCOPED_TRACE(fmt::format("byte {} of meta page {}, bit {}", bit / 8, page, bit % 8));
      const size_t at = page + bit / 8;
      Poke<char>(file_, at, static_cast<char>(content[at] ^ (1 << bit % 8)));
      const Status checked = CheckAll(file_);
      // The numbers of entries, an address that is not used: every tenth of what passes is used.
      if (checked.ok() && ++accepted % 10 == 0) {
        Model model = model_;
        model[probe] = "x";
        for (int life = 0; life < 2; ++life) {
          Store store(directory_.path());
          ASSERT_TRUE(store.status.ok()) << store.status.ToString();
          ASSERT_EQ(*store.ReadAll(), life == 0 ? model_ : model);
          WriteBatch batch;
          batch.Put(probe, "x");
          ASSERT_TRUE(store.Write(std::move(batch)).ok());
        }
        std::ofstream(file_, std::ios::binary | std::ios::trunc) << content;
      } else if (!checked.ok()) {
        ASSERT_EQ(checked.code(), Code::kCorruption) << checked.ToString();
      }
      Overwrite(file_, at, content.substr(at, 1));
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 1200);
}

// What LMDB says of damage must lead out of it as well, also where no page is found damaged.
TEST_F(LmdbDamage, WhatLmdbItselfReportsIsNotedAndTheSecondTimeCostsTheStore) {
  const std::string content = ReadFile(file_);
  const size_t page_bytes = Peek<uint32_t>(content, 40);
  const auto root = Peek<uint64_t>(content, page_bytes + 40 + 48 + 40);
  const size_t last_node = root * page_bytes + Peek<uint16_t>(content, root * page_bytes + 14);
  for (const bool again : {false, true}) {
    {
      Store store(directory_.path(), {});
      while (store->scrub_passes() == 0) ASSERT_TRUE(store.Write({}).ok());
      // From here on nothing is verified before LMDB reads it.
      Poke<uint16_t>(file_, last_node + 2, 0x7fff);
      EXPECT_EQ(store.ReadAll().status().code(), Code::kCorruption);
      EXPECT_EQ(store.found_by_user, 1);
      Overwrite(file_, last_node, content.substr(last_node, 4));
    }
    Store store(directory_.path());
    ASSERT_TRUE(store.status.ok()) << store.status.ToString();
    EXPECT_EQ(std::filesystem::exists(file_ + ".damaged"), again);
    EXPECT_EQ(*store.ReadAll(), again ? Model() : model_);
    EXPECT_EQ(ReadDamageNote(directory_.path())->has_value(), !again);
  }
}

TEST_F(LmdbDamage, OnAFullDiskItIsNotedWithWhatCanBeGivenUp) {
  Flip(file_, "value01234");
  std::filesystem::create_symlink("/dev/full", directory_.path() + "/DAMAGED.new");
  {
    Store store(directory_.path());
    EXPECT_EQ(store->Get(Key(1234)).status().code(), Code::kCorruption);
    EXPECT_EQ(store.found_by_user, 1) << "nothing can be read any more, noted or not";
  }
  EXPECT_FALSE(ReadDamageNote(directory_.path())->has_value());
  LmdbStore::Options options = Store::Slow();
  options.make_room = [this] {
    return std::filesystem::remove(directory_.path() + "/DAMAGED.new");
  };
  {
    Store store(directory_.path(), options);
    EXPECT_EQ(store->Get(Key(1234)).status().code(), Code::kCorruption);
    EXPECT_EQ(store.found_by_user, 1);
  }
  EXPECT_EQ(ReadDamageNote(directory_.path())->value().leaves.size(), 1u);
}

// A search for the key would go past it.
TEST_F(LmdbDamage, WhatIsHiddenIsNotTakenForAbsent) {
  Flip(file_, "ey01234");
  Store store(directory_.path());
  EXPECT_EQ(store->Get(Key(1234)).status().code(), Code::kCorruption);
}

TEST_F(LmdbDamage, AScanMeetsItBeforeLmdbDoes) {
  Flip(file_, "value01234");
  Store store(directory_.path());
  int rows = 0;
  const Status status =
      store->Scan(Key(500), {}, [&](std::string_view key, std::string_view value) {
        EXPECT_EQ(model_.at(std::string(key)), value);
        ++rows;
        return true;
      });
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_GT(rows, 500);
  EXPECT_LT(rows, 735);
  EXPECT_EQ(store.found_by_user, 1);
}

TEST_F(LmdbDamage, AnOverwritingCommitMeetsItBeforeLmdbDoes) {
  Flip(file_, "value01234");
  Store store(directory_.path());
  WriteBatch batch;
  batch.Put(Key(1235), "new");
  EXPECT_EQ(store.Write(std::move(batch)).code(), Code::kCorruption);
  EXPECT_EQ(store.found_by_user, 1);
}

TEST_F(LmdbDamage, ADeletionNextToItMeetsItBeforeLmdbDoes) {
  Flip(file_, "value01234");
  Store store(directory_.path());
  WriteBatch batch;
  for (int i = 1270; i < 1275; ++i) batch.Delete(Key(i));
  EXPECT_EQ(store.Write(std::move(batch)).code(), Code::kCorruption);
}

// Long keys make many parents of leaves. The page is damaged in each place in turn, so that it also
// lies right across the border of two parents.
class LmdbDamageAtBorders : public ::testing::Test {
 protected:
  static constexpr int kFirst = 100, kEnd = 200;

  LmdbDamageAtBorders() {
    Store store(directory_.path());
    WriteBatch batch;
    for (int i = 0; i < 500; ++i) batch.Put(Key(i), fmt::format("value{:05}", i));
    EXPECT_TRUE(store.Write(std::move(batch)).ok());
    std::filesystem::copy_file(file_, intact_);
  }
  static std::string Key(int i) {
    return MakeKey(fmt::format("key{:05}", i) + std::string(390, 'k'));
  }
  // `meets` is asked with the place of the damage: whether the store meets it.
  void ForEach(std::string_view what, const std::function<bool(Store*, int)>& meets) {
    int places = 0;
    for (int i = kFirst; i < kEnd; ++i) {
      std::filesystem::copy_file(intact_, file_, std::filesystem::copy_options::overwrite_existing);
      std::filesystem::remove(file_ + ".damaged");
      std::filesystem::remove(directory_.path() + "/DAMAGED");
      Flip(file_, fmt::format("{}{:05}", what, i));
      Store store(directory_.path());
      ASSERT_TRUE(store.status.ok());
      if (std::filesystem::exists(file_ + ".damaged")) continue;  // it stands above the leaves, too
      ++places;
      EXPECT_TRUE(meets(&store, i)) << "damage at " << i;
    }
    EXPECT_GT(places, 60);
  }

  TempDirectory directory_;
  const std::string file_ = directory_.path() + "/data.mdb";
  const std::string intact_ = directory_.path() + "/intact";
};

// The key that was damaged sorts before all others: a cursor on it would end the scan.
TEST_F(LmdbDamageAtBorders, AScanBackMeetsItBeforeLmdbDoes) {
  ForEach("key", [](Store* store, int i) {
    int rows = 0;
    const auto count = [&rows](std::string_view, std::string_view) { return ++rows < 20; };
    const Status status = (*store)->ScanBack(Key(i - 3), Key(i + 1), count);
    return status.code() == Code::kCorruption && rows == 0;
  });
}

// Parents with few leaves are joined, and then leaves of both.
TEST_F(LmdbDamageAtBorders, ADeletionMeetsItBeforeLmdbDoes) {
  ForEach("value", [](Store* store, int i) {
    WriteBatch batch;
    for (int n = 1; n < 60; ++n) batch.Delete(Key(i + n));
    return store->Write(std::move(batch)).code() == Code::kCorruption;
  });
  ForEach("value", [](Store* store, int i) {
    WriteBatch batch;
    for (int n = 1; n < 60; ++n) batch.Delete(Key(i - n));
    return store->Write(std::move(batch)).code() == Code::kCorruption;
  });
}

TEST_F(LmdbDamage, TheScrubberFindsWhatNobodyReads) {
  const auto wait_for = [](Store* store, const std::function<bool()>& done) {
    // Its thread posts nothing that could be waited for.
    while (!done()) EXPECT_TRUE(store->Write({}).ok() || done());
  };
  {
    Store store(directory_.path(), {});
    wait_for(&store, [&] { return store->scrub_passes() > 0; });
    EXPECT_EQ(store.found_by_scrubber, 0);
    EXPECT_EQ(*store.ReadAll(), model_);
  }
  Flip(file_, "value01234");
  {
    Store store(directory_.path(), {});
    wait_for(&store, [&] { return store.found_by_scrubber > 0; });
  }
  Store store(directory_.path());
  EXPECT_EQ(*store.ReadAll(), Without(model_, store->Damaged()));
  EXPECT_FALSE(store->Damaged().empty());
}

// A healthy store must not be thrown away for want of rights, memory or descriptors.
TEST_F(LmdbDamage, WhatKeepsItFromBeingReadIsNoDamage) {
  std::filesystem::rename(file_, file_ + ".elsewhere");
  std::filesystem::create_directory(file_);  // cannot be opened, whoever asks
  {
    const Store store(directory_.path());
    EXPECT_EQ(store.status.code(), Code::kIoError);
    EXPECT_NE(store.status.message().find("data.mdb: Is a directory"), std::string::npos)
        << store.status.ToString();
  }
  std::filesystem::remove(file_);
  std::filesystem::rename(file_ + ".elsewhere", file_);
  {
    ThreadEnv real;
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{3, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    LmdbStore::Options options;
    options.directory = directory_.path();
    const auto opened = LmdbStore::Open(real.env, options);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(opened.status().code(), Code::kIoError);
    EXPECT_NE(opened.status().message().find("Too many open files"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(file_ + ".damaged"));
  Store store(directory_.path());
  EXPECT_EQ(*store.ReadAll(), model_);
}

TEST_F(LmdbDamage, AFileOfAnotherUserIsNoDamage) {
  if (::geteuid() != 0) GTEST_SKIP() << "files of two users";
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::chown(directory_.path().c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(::seteuid(kNobody), 0);
  {
    const Store store(directory_.path());
    EXPECT_EQ(store.status.code(), Code::kIoError);
    EXPECT_NE(store.status.message().find("data.mdb: Permission denied"), std::string::npos)
        << store.status.ToString();
  }
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_FALSE(std::filesystem::exists(file_ + ".damaged"));
  Store store(directory_.path());
  EXPECT_EQ(*store.ReadAll(), model_);
}

// Bytes that this process has read from files, as the kernel counts them.
uint64_t BytesRead() {
  std::ifstream in("/proc/self/io");
  std::string name;
  uint64_t bytes = 0;
  while (in >> name >> bytes && name != "rchar:") {
  }
  return bytes;
}

TEST_F(LmdbDamage, AStartReadsTheSkeletonOnly) {
  {
    Store store(directory_.path());
    for (int round = 0; round < 20; ++round) {
      WriteBatch batch;
      for (int i = 0; i < 1000; ++i) {
        batch.Put(Key(10'000 + round * 1000 + i), std::string(1000, 'v'));
      }
      ASSERT_TRUE(store.Write(std::move(batch)).ok());
    }
  }
  const uint64_t before = BytesRead();
  Store store(directory_.path());
  const uint64_t read = BytesRead() - before;
  EXPECT_GT(before, 0u);
  EXPECT_LT(read, std::filesystem::file_size(file_) / 10);
  EXPECT_EQ(store->Get(Key(10'500))->value_or(""), std::string(1000, 'v'));
}

TEST_F(LmdbDamage, AFileThatWasCutShortIsFoundOut) {
  std::filesystem::resize_file(file_, std::filesystem::file_size(file_) / 2);
  {
    Store store(directory_.path());
    if (!std::filesystem::exists(file_ + ".damaged")) {
      EXPECT_EQ(store.ReadAll().status().code(), Code::kCorruption);
    }
  }
  Store store(directory_.path());
  const auto left = store.ReadAll();
  ASSERT_TRUE(left.ok());
  EXPECT_LT(left->size(), model_.size());
  WriteBatch batch;
  for (const auto& [key, value] : model_) batch.Put(key, value);
  EXPECT_TRUE(store.Write(std::move(batch)).ok());
  EXPECT_EQ(*store.ReadAll(), model_);
}

TEST_F(LmdbDamage, ADamagedNoteCostsTheStore) {
  ASSERT_TRUE(WriteDamageNote(directory_.path(), {{{5, "a", ""}}, true}).ok());
  EXPECT_EQ(ReadDamageNote(directory_.path())->value().leaves[0].from, "a");
  EXPECT_TRUE(ReadDamageNote(directory_.path())->value().unexplained);
  { std::ofstream(directory_.path() + "/DAMAGED", std::ios::app) << "x"; }
  EXPECT_EQ(ReadDamageNote(directory_.path()).status().code(), Code::kCorruption);
  Store store(directory_.path());
  EXPECT_TRUE(store.ReadAll()->empty());
  EXPECT_TRUE(std::filesystem::exists(file_ + ".damaged"));
}

TEST_F(LmdbDamage, AFileThatIsMostlyFreeIsRewrittenAtOpen) {
  const auto size = [this] { return std::filesystem::file_size(file_); };
  {
    Store store(directory_.path());
    EXPECT_EQ(store->SizeBytes(), size());
    WriteBatch batch;
    for (int i = 100; i < 2000; ++i) {
      batch.Delete(Key(i));
      model_.erase(Key(i));
    }
    ASSERT_TRUE(store.Write(std::move(batch)).ok());
    EXPECT_GT(store->ReusableBytes(), size() / 2);
  }
  const uint64_t before = size();
  EXPECT_EQ(*Store(directory_.path()).ReadAll(), model_);
  EXPECT_EQ(size(), before) << "it is not large";
  // A start was killed while it did so.
  const std::string half = directory_.path() + "/compact.new";
  std::ofstream(half) << "half";
  EXPECT_EQ(*Store(directory_.path()).ReadAll(), model_);
  EXPECT_FALSE(std::filesystem::exists(half));
  LmdbStore::Options options = Store::Slow();
  options.compact_file_bytes_min = 0;
  Store store(directory_.path(), options);
  EXPECT_LT(size(), before / 3);
  EXPECT_EQ(*store.ReadAll(), model_);
  Random random(5);
  store.Commit(&random, &model_);
  EXPECT_EQ(*store.ReadAll(), model_);
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(file_).permissions(), perms::owner_read | perms::owner_write);
}

}  // namespace
}  // namespace quorate::storage
