// A pinned view of LmdbStore that comes to a damaged page.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <map>
#include <optional>

#include "base/coding.h"
#include "storage/lmdb_store.h"
#include "tests/storage/temp_directory.h"
#include "tests/storage/thread_executor.h"

namespace quorate::storage {
namespace {

std::string Key(int i) { return MakeKey(fmt::format("key{:05}", i)); }

// A bit of `bytes`, wherever they stand in the file.
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

// Nobody on the node waits for what a view reads: the reader is told, the rest goes on.
TEST(LmdbView, ADamagedPageIsTheReadersAloneAndToldLikeTheScrubbers) {
  TempDirectory directory;
  ThreadEnv real;
  std::map<std::string, std::string> model;
  int by_user = 0;
  std::atomic<int> by_scrubber = 0;
  LmdbStore::Options options;
  options.directory = directory.path();
  options.first_scrub_bytes_per_second = options.scrub_bytes_per_second = 1;
  options.on_damage = [&](auto by, const Status&) {
    by == LmdbStore::Options::FoundBy::kUser ? void(++by_user) : void(++by_scrubber);
  };
  {
    const auto store = std::move(LmdbStore::Open(real.env, options).value());
    WriteBatch batch;
    for (int i = 0; i < 2000; ++i) {
      model[Key(i)] = fmt::format("value{:05}", i) + std::string(i % 100 == 0 ? 6000 : 60, 'v');
      batch.Put(Key(i), model[Key(i)]);
    }
    std::optional<Status> written;
    store->Commit(std::move(batch), [&](Status status) { written = std::move(status); });
    real.executor.RunUntil([&] { return written.has_value(); });
    ASSERT_TRUE(written->ok());
  }
  ASSERT_NO_FATAL_FAILURE(Flip(directory.path() + "/data.mdb", "value01234"));
  const auto store = std::move(LmdbStore::Open(real.env, options).value());
  for (const auto what : {KvView::What::kPairs, KvView::What::kKeys}) {
    const auto view = std::move(store->Pin().value());
    size_t pairs = 0;
    Status status = Status::Ok();
    std::string after;
    for (bool end = false; !end;) {
      bool told = false;
      view->Read({Key(500), {}, after}, 1000, what, [&](Result<KvView::Run> run) {
        told = true;
        status = run.status();
        end = !run.ok() || run->end;
        if (!run.ok()) return;
        std::string_view left = run->pairs;
        std::string_view key, value;
        while (GetLengthPrefixed(&left, &key) && GetLengthPrefixed(&left, &value)) {
          EXPECT_EQ(value, what == KvView::What::kKeys ? "" : model.at(std::string(key)));
          ++pairs;
        }
        after = run->last;
      });
      real.executor.RunUntil([&] { return told; });
    }
    EXPECT_EQ(status.code(), Code::kCorruption);
    EXPECT_GT(pairs, 500u);
    EXPECT_LT(pairs, 735u);
    EXPECT_EQ(store->Get(Key(1))->value_or(""), model[Key(1)]);
  }
  EXPECT_EQ(by_user, 0);
  EXPECT_EQ(by_scrubber, 2);
}

}  // namespace
}  // namespace quorate::storage
