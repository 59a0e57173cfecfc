// server/program/examine.h: what is found in a data directory, and that nothing in it changes. A
// whole one, and a damaged log, are examined in tests/integration/doctor_test.py.
#include "server/program/examine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/real_executor.h"
#include "server/program/dry_files.h"
#include "storage/node_identity.h"
#include "storage/posix_file.h"
#include "tests/support/test_env.h"

namespace quorate::server {
namespace {

using testing::Contains;
using testing::Field;
using testing::HasSubstr;

class Directory : public testing::Test {
 protected:
  Directory() {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directory(path_);
    ::chmod(path_.c_str(), 0700);
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(path_ + "/" + name) << text;
    ::chmod((path_ + "/" + name).c_str(), 0600);
  }
  const std::string path_ = testing::TempDir() + "/quorate_examine_test";
};

TEST_F(Directory, AnEmptyOneIsFineAndStaysEmpty) {
  const auto found = ExamineDirectory(path_);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_TRUE(std::filesystem::is_empty(path_));
  for (const Finding& finding : found->findings) {
    EXPECT_THAT(finding.what, HasSubstr("disk")) << "this machine's own";
  }
}

TEST_F(Directory, WhatIsNoDirectoryIsBadInput) {
  EXPECT_EQ(ExamineDirectory(path_ + "/none").status().code(), Code::kInvalidArgument);
}

TEST_F(Directory, ADamagedIdentityAndAForeignDirectoryAreFound) {
  Write("IDENTITY", "quorate identity\nformat 2\ncrc 00000000\n");
  EXPECT_THAT(ExamineDirectory(path_)->findings,
              Contains(Field(&Finding::what, HasSubstr("IDENTITY is damaged"))));
  std::filesystem::remove(path_ + "/IDENTITY");
  Write("letters.txt", "something else");
  EXPECT_THAT(ExamineDirectory(path_)->findings,
              Contains(Field(&Finding::what, HasSubstr("not a quorate data directory"))));
}

TEST_F(Directory, FilesOfOthersAndForOthersAreFound) {
  Write("IDENTITY", "quorate identity\n");
  ::chmod((path_ + "/IDENTITY").c_str(), 0644);
  EXPECT_THAT(ExamineDirectory(path_)->findings,
              Contains(Field(&Finding::what, HasSubstr("used by others than their owner"))));
}

TEST_F(Directory, OfWhatIsNoNodesDirectoryOnlyThatIsSaid) {
  for (const std::string name : {"passwd", "IDENTITY"}) {
    Write(name, "of something else");
    ::chmod((path_ + "/" + name).c_str(), 0644);
    ::chmod(path_.c_str(), 0755);
    const auto found = ExamineDirectory(path_)->findings;
    ASSERT_EQ(found.size(), 1u);
    EXPECT_TRUE(found[0].serious);
    EXPECT_THAT(found[0].advice, testing::Not(HasSubstr("chmod")));
    EXPECT_THAT(found[0].advice, HasSubstr(name == "passwd" ? "a node's --data" : "empty"));
  }
}

TEST_F(Directory, TheAdviceIsOneWordOfAShellWhateverThePathIsCalled) {
  const std::string path = path_ + "/it's";
  std::filesystem::create_directory(path);
  std::ofstream(path + "/IDENTITY") << "quorate identity\n";
  ::chmod((path + "/IDENTITY").c_str(), 0644);
  EXPECT_THAT(
      ExamineDirectory(path)->findings,
      Contains(Field(&Finding::advice, HasSubstr("chmod -R go-rwx '" + path_ + "/it'\\''s'"))));
}

TEST_F(Directory, AStoppedMemberWithoutAStoreHasLostIt) {
  RealExecutor executor;
  storage::PosixFileSystem files(executor);
  TestEnv world;
  {
    auto directory = storage::DataDirectory::Open(world.env, files, path_);
    ASSERT_TRUE(directory.ok());
    ASSERT_TRUE((*directory)->Assign(std::string(32, 'a'), NodeId(1)).ok());
  }
  const auto gone = Contains(Field(&Finding::what, HasSubstr("the store is gone")));
  EXPECT_THAT(ExamineDirectory(path_)->findings, gone);
  std::filesystem::create_directory(path_ + "/store");
  EXPECT_THAT(ExamineDirectory(path_)->findings, gone);
  Write("store/data.mdb", "");
  EXPECT_THAT(ExamineDirectory(path_)->findings, gone);
}

// The node does not start with it.
TEST_F(Directory, ADamagedMessageOfTheFoundationIsFound) {
  {
    RealExecutor executor;
    storage::PosixFileSystem files(executor);
    TestEnv world;
    ASSERT_TRUE(storage::DataDirectory::Open(world.env, files, path_).ok());
  }
  Write("BOOTSTRAP", "QBOOT1\n0000damaged");
  const auto found = ExamineDirectory(path_)->findings;
  EXPECT_THAT(found, Contains(testing::AllOf(
                         Field(&Finding::serious, true),
                         Field(&Finding::what, HasSubstr("/BOOTSTRAP' is damaged")),
                         Field(&Finding::advice, HasSubstr("`quorate node remove ID --lost`")))));
}

TEST_F(Directory, DryFilesChangeNothing) {
  Write("a", "old content");
  RealExecutor executor;
  storage::PosixFileSystem real(executor);
  DryFiles dry(real);
  const std::string a = path_ + "/a";
  const std::string b = path_ + "/b";
  {
    auto file = dry.Open(a, storage::OpenMode::kMustExist);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(*(*file)->Read(0, 3), "old");
    EXPECT_TRUE((*file)->Write(0, "new").ok());
    EXPECT_EQ(*(*file)->Read(0, 100), "new content");
    EXPECT_TRUE((*file)->Truncate(3).ok());
    EXPECT_EQ(*(*file)->Size(), 3u);
  }
  EXPECT_TRUE(dry.Rename(a, b).ok());
  EXPECT_FALSE(*dry.Exists(a));
  EXPECT_THAT(*dry.List(path_), testing::ElementsAre("b"));
  EXPECT_EQ(*(*dry.Open(b, storage::OpenMode::kMustExist))->Read(0, 100), "new");
  EXPECT_TRUE(dry.Remove(b).ok());
  EXPECT_EQ(dry.Open(b, storage::OpenMode::kMustExist).status().code(), Code::kNotFound);
  std::ifstream left(a);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(left), {}), "old content");
  EXPECT_FALSE(std::filesystem::exists(b));
}

}  // namespace
}  // namespace quorate::server
