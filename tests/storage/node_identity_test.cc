#include "storage/node_identity.h"

#include <gtest/gtest.h>

#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

constexpr char kPath[] = "data";
constexpr char kFile[] = "data/IDENTITY";
const std::string kCluster(32, 'c');

class NodeIdentityTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<DataDirectory>> Open() {
    return DataDirectory::Open(world_.env, files_, kPath);
  }
  // Fails, with one line that contains `words`.
  void ExpectRefused(Code code, const std::string& words) {
    const auto opened = Open();
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.status().code(), code);
    EXPECT_NE(opened.status().message().find(words), std::string::npos)
        << opened.status().message();
    EXPECT_EQ(opened.status().message().find('\n'), std::string::npos);
  }

  TestEnv world_;
  RamDisk disk_;
  RamFiles files_{world_.executor, disk_};
};

TEST_F(NodeIdentityTest, ANewDirectoryGetsAStorageIdAndKeepsIt) {
  std::string storage_id;
  {
    const auto directory = std::move(Open().value());
    storage_id = directory->identity().storage_id;
    EXPECT_EQ(storage_id.size(), 32u);
    EXPECT_TRUE(directory->identity().cluster_id.empty());
    EXPECT_TRUE(directory->Assign(kCluster, NodeId(3)).ok());
  }
  const auto directory = std::move(Open().value());
  EXPECT_EQ(directory->identity(), (NodeIdentity{kCluster, NodeId(3), storage_id, false}));
}

TEST_F(NodeIdentityTest, ACleanStopIsKnownToTheNextRunOnly) {
  EXPECT_TRUE(Open().value()->MarkCleanStop().ok());
  EXPECT_TRUE(Open().value()->identity().clean_stop);
  EXPECT_FALSE(Open().value()->identity().clean_stop);
}

TEST_F(NodeIdentityTest, RefusesToBecomeAnother) {
  const auto directory = std::move(Open().value());
  ASSERT_TRUE(directory->Assign(kCluster, NodeId(3)).ok());
  EXPECT_TRUE(directory->Assign(kCluster, NodeId(3)).ok());
  EXPECT_EQ(directory->Assign(std::string(32, 'd'), NodeId(3)).code(), Code::kWrongCluster);
  EXPECT_EQ(directory->Assign(kCluster, NodeId(4)).code(), Code::kWrongNode);
}

TEST_F(NodeIdentityTest, RefusesADirectoryThatIsOpen) {
  const auto directory = std::move(Open().value());
  ExpectRefused(Code::kFailedPrecondition, "in use");
}

TEST_F(NodeIdentityTest, RefusesForeignDirectories) {
  ASSERT_TRUE(files_.Open("data/holiday.jpg", OpenMode::kCreate).ok());
  ExpectRefused(Code::kFailedPrecondition, "holiday.jpg");
  EXPECT_FALSE(files_.Exists(kFile).value());
}

// Another program's directory may have a file of this name and one to lock.
TEST_F(NodeIdentityTest, LocksNothingBeforeItIsKnownToBeANodes) {
  const auto locked = std::move(Open().value());
  *disk_.Find(kFile) = "a1b2c3d4-0000-4000-8000-000000000000";
  ExpectRefused(Code::kCorruption, "IDENTITY");
}

TEST_F(NodeIdentityTest, RefusesOtherFormats) {
  ASSERT_TRUE(Open().ok());
  std::string& text = *disk_.Find(kFile);
  text.replace(text.find("format 2"), 8, "format 3");
  ExpectRefused(Code::kFailedPrecondition, "newer version");
  text.replace(text.find("format 3"), 8, "format 1");
  ExpectRefused(Code::kFailedPrecondition, "older version");
}

TEST_F(NodeIdentityTest, NoticesEveryDamagedByte) {
  ASSERT_TRUE(Open().value()->Assign(kCluster, NodeId(3)).ok());
  const std::string text = *disk_.Find(kFile);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string& bytes = *disk_.Find(kFile);
    bytes = text;
    bytes[i] ^= 1;
    const auto opened = Open();
    ASSERT_FALSE(opened.ok()) << i;
    bytes = text.substr(0, i);
    ASSERT_FALSE(Open().ok()) << i;
  }
}

TEST_F(NodeIdentityTest, ACrashLeavesTheOldOneOrTheNewOne) {
  Random random(3);
  for (int i = 0; i < 100; ++i) {
    disk_ = RamDisk();
    {
      const auto directory = std::move(Open().value());
      ASSERT_TRUE(directory->Assign(kCluster, NodeId(3)).ok());
      ASSERT_TRUE(directory->MarkCleanStop().ok());
    }
    disk_.FailNextSync(IoError("injected"));
    EXPECT_FALSE(Open().ok());
    disk_.Crash(random);
    const auto opened = Open();
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_EQ(opened.value()->identity().node_id, NodeId(3));
  }
}

TEST_F(NodeIdentityTest, OnAFullDiskTheReserveIsForWhoItBelongsTo) {
  const auto opened = std::move(Open().value());
  ASSERT_TRUE(files_.Open("data/RESERVE", OpenMode::kCreate).value()->Allocate(1000).ok());
  disk_.FillUntilRemoved("data/RESERVE");
  EXPECT_EQ(opened->MarkCleanStop().code(), Code::kNoSpace);
  EXPECT_TRUE(files_.Exists("data/RESERVE").value());
  EXPECT_TRUE(opened->Assign(kCluster, NodeId(3)).ok());
  EXPECT_FALSE(files_.Exists("data/RESERVE").value());
}

TEST_F(NodeIdentityTest, OpensOnAFullDiskWithoutAnything) {
  ASSERT_TRUE(Open().ok());
  disk_.SetFull(true);
  EXPECT_TRUE(Open().ok()) << "the file says already what would be written";
  disk_.SetFull(false);
  ASSERT_TRUE(Open().value()->MarkCleanStop().ok());
  disk_.SetFull(true);
  for (int i = 0; i < 3; ++i) {
    const auto opened = Open();
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_EQ(opened.value()->Assign(kCluster, NodeId(3)).code(), Code::kNoSpace);
    EXPECT_FALSE(opened.value()->identity().node_id);
    EXPECT_EQ(opened.value()->Assign(kCluster, NodeId(3)).code(), Code::kNoSpace) << "still not";
  }
  disk_.SetFull(false);
  EXPECT_TRUE(Open().value()->Assign(kCluster, NodeId(3)).ok());
  disk_.SetFull(true);
  EXPECT_TRUE(Open().value()->Assign(kCluster, NodeId(3)).ok()) << "nothing to write";
}

TEST_F(NodeIdentityTest, ACrashBeforeTheFirstIdentityLeavesANewDirectory) {
  Random random(4);
  for (int i = 0; i < 50; ++i) {
    disk_ = RamDisk();
    disk_.FailNextSync(IoError("injected"));
    EXPECT_FALSE(Open().ok());
    disk_.Crash(random);
    const auto opened = Open();
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  }
}

}  // namespace
}  // namespace quorate::storage
