#include "storage/posix_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <future>

#include "storage/node_identity.h"
#include "storage/wal.h"
#include "tests/storage/temp_directory.h"
#include "tests/storage/thread_executor.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

class PosixFileTest : public ::testing::Test {
 protected:
  std::unique_ptr<File> Open(const std::string& name, OpenMode mode = OpenMode::kCreate) {
    auto file = files_.Open(directory_.path() + "/" + name, mode);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return std::move(*file);
  }

  TempDirectory directory_;
  ThreadExecutor executor_;
  PosixFileSystem files_{executor_};
};

TEST_F(PosixFileTest, ReadsWhatWasWritten) {
  const auto file = Open("f");
  EXPECT_TRUE(file->Write(3, "abc").ok());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(file->Size().value(), 6u);
  EXPECT_EQ(file->Read(0, 100).value(), std::string("\0\0\0abc", 6));
  EXPECT_EQ(file->Read(4, 1).value(), "b");
  EXPECT_EQ(file->Read(6, SIZE_MAX).value(), "");
  EXPECT_TRUE(file->Truncate(4).ok());
  EXPECT_EQ(file->Read(3, 100).value(), "a");
}

TEST_F(PosixFileTest, WriteAndSyncCompletesInOrderOnTheExecutor) {
  auto file = Open("f");
  std::vector<int> order;
  for (int i = 0; i < 50; ++i) {
    file->WriteAndSync(static_cast<uint64_t>(i),
                       std::make_shared<std::string>(1, static_cast<char>('a' + i % 26)),
                       [&order, i](Status status) {
                         EXPECT_TRUE(status.ok());
                         order.push_back(i);
                       });
  }
  file.reset();  // what was asked for happens all the same
  executor_.RunUntil([&] { return order.size() == 50; });
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(Open("f", OpenMode::kMustExist)->Read(0, 4).value(), "abcd");
}

TEST_F(PosixFileTest, AWriteThatDoesNotFitSaysSo) {
  auto file = files_.Open("/dev/full", OpenMode::kMustExist);
  ASSERT_TRUE(file.ok());
  std::optional<Status> status;
  (*file)->WriteAndSync(0, std::make_shared<std::string>("abc"),
                        [&](Status result) { status = std::move(result); });
  executor_.RunUntil([&] { return status.has_value(); });
  EXPECT_EQ(status->code(), Code::kNoSpace);
}

TEST_F(PosixFileTest, BackgroundWorkIsDoneInOrderAndHoldsUpNoBatch) {
  const auto file = Open("f");
  std::promise<void> batch_done;
  std::vector<std::string> order;
  // Ends only once the batch that was asked for later is durable.
  files_.Background(
      [wait = batch_done.get_future().share()] {
        wait.wait();
        return Status::Ok();
      },
      [&](const Status&) { order.push_back("first"); });
  files_.Background([] { return IoError("second"); },
                    [&](const Status& status) { order.push_back(status.message()); });
  file->WriteAndSync(0, std::make_shared<std::string>("x"), [&](const Status& status) {
    EXPECT_TRUE(status.ok());
    order.push_back("batch");
    batch_done.set_value();
  });
  executor_.RunUntil([&] { return order.size() == 3; });
  EXPECT_EQ(order, (std::vector<std::string>{"batch", "first", "second"}));
}

TEST_F(PosixFileTest, DirectoriesAndNames) {
  const std::string nested = directory_.path() + "/a/b/c";
  ASSERT_TRUE(files_.CreateDirectory(nested).ok());
  ASSERT_TRUE(files_.CreateDirectory(nested).ok());
  EXPECT_TRUE(files_.Exists(nested).value());
  Open("a/b/c/two");
  Open("a/b/c/one");
  EXPECT_EQ(files_.List(nested).value(), (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(files_.Rename(nested + "/one", nested + "/three").ok());
  EXPECT_TRUE(files_.Remove(nested + "/two").ok());
  EXPECT_TRUE(files_.SyncDirectory(nested).ok());
  EXPECT_EQ(files_.List(nested).value(), (std::vector<std::string>{"three"}));
  EXPECT_GT(files_.FreeBytes(nested).value(), 0u);
  EXPECT_GE(files_.TotalBytes(nested).value(), files_.FreeBytes(nested).value());
}

TEST_F(PosixFileTest, NobodyElseMayReadWhatIsMade) {
  const auto mode = [this](const std::string& name) {
    return std::filesystem::status(directory_.path() + "/" + name).permissions();
  };
  using std::filesystem::perms;
  ASSERT_TRUE(files_.CreateDirectory(directory_.path() + "/d").ok());
  Open("d/f");
  EXPECT_EQ(mode("d"), perms::owner_all);
  EXPECT_EQ(mode("d/f"), perms::owner_read | perms::owner_write);
}

TEST_F(PosixFileTest, TakesRightsAwayFromWhatIsThere) {
  const std::string top = directory_.path() + "/d";
  using std::filesystem::perms;
  std::filesystem::create_directories(top + "/wal");
  Open("d/wal/log");
  Open("outside");
  std::filesystem::create_symlink(directory_.path() + "/outside", top + "/link");
  for (const char* each : {"", "/wal", "/wal/log"}) {
    std::filesystem::permissions(top + each, perms::others_read | perms::group_all,
                                 std::filesystem::perm_options::add);
  }
  std::filesystem::permissions(directory_.path() + "/outside", perms::others_read,
                               std::filesystem::perm_options::add);
  ASSERT_TRUE(files_.MakePrivate(top).ok());
  for (const char* each : {"", "/wal", "/wal/log"}) {
    const perms left = std::filesystem::status(top + each).permissions();
    EXPECT_EQ(left & (perms::group_all | perms::others_all), perms::none) << each;
  }
  EXPECT_NE(
      std::filesystem::status(directory_.path() + "/outside").permissions() & perms::others_read,
      perms::none)
      << "what a link points to is somebody else's business";
}

TEST_F(PosixFileTest, SomebodyElsesDirectoryIsLeftAsItIs) {
  const std::string top = directory_.path() + "/d";
  std::filesystem::create_directories(top + "/bin");
  Open("d/bin/program");
  const std::vector<std::string> all = {top, top + "/bin", top + "/bin/program"};
  for (const std::string& each : all) ASSERT_EQ(::chmod(each.c_str(), 0755), 0);
  TestEnv world;
  const auto opened = DataDirectory::Open(world.env, files_, top);
  EXPECT_EQ(opened.status().code(), Code::kFailedPrecondition);
  for (const std::string& each : all) {
    EXPECT_EQ(std::filesystem::status(each).permissions(), std::filesystem::perms(0755)) << each;
  }
  EXPECT_EQ(files_.List(top).value(), std::vector<std::string>{"bin"});
}

TEST_F(PosixFileTest, WhatItMayNotTouchDoesNotKeepItFromTheRest) {
  if (::geteuid() != 0) GTEST_SKIP() << "files of two users";
  constexpr uid_t kNobody = 65534;
  const std::string top = directory_.path() + "/d";
  std::filesystem::create_directories(top + "/lost+found");
  Open("d/store");
  for (const std::string& each : {directory_.path(), top, top + "/lost+found", top + "/store"}) {
    ASSERT_EQ(::chmod(each.c_str(), 0755), 0);
  }
  for (const std::string& each : {top, top + "/store"}) {
    ASSERT_EQ(::chown(each.c_str(), kNobody, kNobody), 0);
  }
  ASSERT_EQ(::seteuid(kNobody), 0);
  const Status status = files_.MakePrivate(top);
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_NE(status.message().find("lost+found"), std::string::npos) << status.ToString();
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(top + "/store").permissions(),
            perms::owner_read | perms::owner_write);
}

TEST_F(PosixFileTest, AllocatesSpace) {
  const auto file = Open("f");
  ASSERT_TRUE(file->Allocate(1 << 20).ok());
  EXPECT_EQ(file->Size().value(), 1u << 20);
  struct stat info {};
  ASSERT_EQ(::stat((directory_.path() + "/f").c_str(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, 1 << 20);
}

TEST_F(PosixFileTest, ErrorsNameTheFile) {
  const auto missing = files_.Open(directory_.path() + "/none", OpenMode::kMustExist);
  EXPECT_EQ(missing.status().code(), Code::kNotFound);
  EXPECT_NE(missing.status().message().find("/none"), std::string::npos);
  Open("plain");
  EXPECT_FALSE(files_.CreateDirectory(directory_.path() + "/plain").ok());
  EXPECT_FALSE(files_.List(directory_.path() + "/none").ok());
}

TEST_F(PosixFileTest, ADirectoryIsLockedOnce) {
  auto lock = files_.Lock(directory_.path());
  ASSERT_TRUE(lock.ok());
  PosixFileSystem other(executor_);
  EXPECT_EQ(other.Lock(directory_.path()).status().code(), Code::kFailedPrecondition);
  lock->reset();
  EXPECT_TRUE(other.Lock(directory_.path()).ok());
}

}  // namespace
}  // namespace quorate::storage
