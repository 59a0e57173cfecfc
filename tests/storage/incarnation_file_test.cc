#include "storage/incarnation_file.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

constexpr char kPath[] = "data/INCARNATIONS";

class IncarnationFileTest : public ::testing::Test {
 protected:
  IncarnationFileTest() { EXPECT_TRUE(files_.CreateDirectory("data").ok()); }

  void Open() {
    file_.reset();
    (void)world_.env.random.Next();  // each process has another seed
    auto opened = IncarnationFile::Open(world_.env, files_, "data");
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    file_ = std::move(*opened);
  }
  Status Wait(const std::function<void(IncarnationFile::Done)>& write) {
    std::optional<Status> done;
    write([&done](const Status& status) { done = status; });
    world_.executor.RunFor(1s);
    EXPECT_TRUE(done.has_value());
    return done.value_or(Status(Code::kInternal, "never done"));
  }
  Status Remember(uint64_t node, Incarnation incarnation) {
    return Wait([&](IncarnationFile::Done done) {
      file_->Remember(NodeId(node), incarnation, std::move(done));
    });
  }

  TestEnv world_;
  RamDisk disk_;
  RamFiles files_{world_.executor, disk_};
  std::unique_ptr<IncarnationFile> file_;
};

TEST_F(IncarnationFileTest, EveryStartIsAboveAllBeforeAndDescendsFromThem) {
  Open();
  const Incarnation first = file_->current();
  EXPECT_EQ(first.number, 1u);
  EXPECT_FALSE(file_->previous());
  file_.reset();
  disk_.Crash(world_.env.random);  // durable before anybody was told
  Open();
  EXPECT_EQ(file_->current().number, 2u);
  EXPECT_NE(file_->current().nonce, first.nonce);
  EXPECT_EQ(file_->previous(), first);
  EXPECT_TRUE(file_->Descends(first));
  EXPECT_TRUE(file_->Descends({}));
  EXPECT_FALSE(file_->Descends({2, file_->current().nonce + 1}));
  EXPECT_FALSE(file_->Descends({3, 0}));
}

TEST_F(IncarnationFileTest, ADirectoryThatIsPutBackDoesNotDescendFromWhatCameBetween) {
  Open();
  file_.reset();
  const std::string earlier = *disk_.Find(kPath);
  Open();
  const Incarnation between = file_->current();
  file_.reset();
  *disk_.Find(kPath) = earlier;
  Open();
  EXPECT_EQ(file_->current().number, between.number);
  EXPECT_FALSE(file_->Descends(between));
  // However often it is started.
  Open();
  Open();
  EXPECT_GT(file_->current().number, between.number);
  EXPECT_FALSE(file_->Descends(between));
}

TEST_F(IncarnationFileTest, DoubtLastsUntilItIsSettled) {
  Open();
  const Incarnation newer{7, 70};
  EXPECT_TRUE(Wait([&](IncarnationFile::Done done) { file_->Doubt(newer, std::move(done)); }).ok());
  file_.reset();
  disk_.Crash(world_.env.random);
  Open();
  EXPECT_TRUE(file_->doubted());
  EXPECT_TRUE(file_->Descends(newer));
  EXPECT_TRUE(file_->Descends({6, 1}));  // of the past: it is lost as well
  EXPECT_FALSE(file_->Descends({8, 80}));
  EXPECT_EQ(file_->current().number, 8u);
  ASSERT_TRUE(file_->Settle().ok());
  file_.reset();
  disk_.Crash(world_.env.random);
  Open();
  EXPECT_FALSE(file_->doubted());
  EXPECT_TRUE(file_->Descends(newer));
}

TEST_F(IncarnationFileTest, WhatIsRememberedOfOthersIsDurableWhenItIsSaid) {
  Open();
  ASSERT_TRUE(Remember(2, {4, 44}).ok());
  ASSERT_TRUE(Remember(3, {1, 11}).ok());
  ASSERT_TRUE(Remember(2, {5, 55}).ok());
  file_.reset();
  disk_.Crash(world_.env.random);
  Open();
  EXPECT_EQ(file_->Remembered(NodeId(2)), (Incarnation{5, 55}));
  EXPECT_EQ(file_->Remembered(NodeId(3)), (Incarnation{1, 11}));
  EXPECT_FALSE(file_->Remembered(NodeId(4)));
}

TEST_F(IncarnationFileTest, ACrashInAWriteLeavesWhatWasThereOrWhatWasWritten) {
  Open();
  ASSERT_TRUE(Remember(2, {4, 44}).ok());
  for (uint64_t i = 1; i <= 100; ++i) {
    const Incarnation before = file_->Remembered(NodeId(2));
    const Incarnation after{4 + i, i};
    file_->Remember(NodeId(2), after, [](const Status&) {});
    file_.reset();
    disk_.Crash(world_.env.random);
    Open();
    const Incarnation now = file_->Remembered(NodeId(2));
    EXPECT_TRUE(now == before || now == after) << i;
  }
}

TEST_F(IncarnationFileTest, WhatIsNotDurableIsNotRemembered) {
  Open();
  ASSERT_TRUE(Remember(2, {4, 44}).ok());
  disk_.FailNextSync(IoError("simulated"));
  EXPECT_FALSE(Remember(2, {5, 55}).ok());
  EXPECT_EQ(file_->Remembered(NodeId(2)), (Incarnation{4, 44}));
}

TEST_F(IncarnationFileTest, NeedsNoRoomOnceItIsThere) {
  Open();
  disk_.SetFull(true);
  Open();
  EXPECT_EQ(file_->current().number, 2u);
  EXPECT_TRUE(Remember(2, {4, 44}).ok());
}

TEST_F(IncarnationFileTest, ADamagedOneHasNoHistory) {
  Open();
  ASSERT_TRUE(Remember(2, {4, 44}).ok());
  const Incarnation before = file_->current();
  file_.reset();
  for (char& c : *disk_.Find(kPath)) c = static_cast<char>(c ^ 0x55);
  Open();
  EXPECT_FALSE(file_->Descends(before));
  EXPECT_FALSE(file_->Remembered(NodeId(2)));
  EXPECT_EQ(file_->current().number, 1u);
}

}  // namespace
}  // namespace quorate::storage
