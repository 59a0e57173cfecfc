// A sound store is always found sound, after any history of commits; a damaged one is either found
// out or still holds the newest or the last but one commit.
#include "storage/lmdb_check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/random.h"
#include "storage/lmdb_store.h"
#include "tests/storage/temp_directory.h"
#include "tests/storage/thread_executor.h"

namespace quorate::storage {
namespace {

using Model = std::map<std::string, std::string>;

class Store {
 public:
  explicit Store(const std::string& directory) {
    auto opened = LmdbStore::Open(real_.env, {.directory = directory});
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    if (opened.ok()) lmdb_ = std::move(*opened);
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

TEST(LmdbCheck, ASoundStoreIsFoundSound) {
  TempDirectory directory;
  EXPECT_TRUE(CheckLmdb(directory.path()).ok()) << "there is none yet";
  Random random(1);
  Model model;
  for (int life = 0; life < 40; ++life) {
    {
      Store store(directory.path());
      for (uint64_t i = random.Below(8); i > 0; --i) store.Commit(&random, &model);
    }
    const Status checked = CheckLmdb(directory.path());
    ASSERT_TRUE(checked.ok()) << "life " << life << ": " << checked.ToString();
  }
}

TEST(LmdbCheck, DamageIsFoundOrDidNoHarm) {
  TempDirectory directory;
  const std::string file = directory.path() + "/data.mdb";
  const std::string intact = directory.path() + "/intact";
  Random random(2);
  Model model;
  Model before;
  {
    Store store(directory.path());
    for (int i = 0; i < 60; ++i) {
      before = model;
      store.Commit(&random, &model);
    }
  }
  std::filesystem::rename(file, intact);
  const auto size = std::filesystem::file_size(intact);
  int found = 0;
  for (int i = 0; i < 400; ++i) {
    std::filesystem::copy_file(intact, file, std::filesystem::copy_options::overwrite_existing);
    // A third in the meta pages, which are few.
    const uint64_t at = random.Below(random.Chance(0.3) ? 8192 : size - 64);
    {
      std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
      out.seekp(static_cast<std::streamoff>(at));
      for (uint64_t n = random.Chance(0.5) ? 1 : 64; n > 0; --n) {
        out.put(static_cast<char>(random.Below(256)));
      }
    }
    if (!CheckLmdb(directory.path()).ok()) {
      ++found;
      continue;
    }
    Store store(directory.path());
    auto read = store.ReadAll();
    ASSERT_TRUE(read.ok()) << "at " << at << ": " << read.status().ToString();
    ASSERT_TRUE(*read == model || *read == before) << "damage at " << at << " was overlooked";
  }
  EXPECT_GT(found, 100);
  EXPECT_LT(found, 390);
}

TEST(LmdbCheck, ADamagedStoreIsMovedAsideAndAnEmptyOneOpened) {
  TempDirectory directory;
  const std::string file = directory.path() + "/data.mdb";
  Random random(3);
  Model model;
  {
    Store store(directory.path());
    for (int i = 0; i < 10; ++i) store.Commit(&random, &model);
  }
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  Store store(directory.path());
  EXPECT_EQ(store.ReadAll().value(), Model());
  EXPECT_TRUE(std::filesystem::exists(file + ".damaged"));
  store.Commit(&random, &model);
}

}  // namespace
}  // namespace quorate::storage
