// WalTest: a log on a disk in memory, opened, killed and damaged at will.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/wal.h"
#include "storage/wal_format.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::storage {

inline constexpr char kFirst[] = "wal/wal-0000000000000001.log";
inline constexpr uint64_t kSegmentBytes = 64 << 10;

inline WalRecord Entries(uint64_t group, uint64_t first, std::vector<std::string> payloads) {
  WalRecord record;
  record.group = GroupId(group);
  record.incarnation = 1;
  for (std::string& payload : payloads) {
    record.entries.push_back({first++, 1, 0, std::move(payload)});
  }
  return record;
}

inline WalRecord Marked(uint64_t group, uint64_t index) {
  WalRecord record;
  record.group = GroupId(group);
  record.incarnation = 1;
  record.mark = {index, 1};
  return record;
}

class WalTest : public ::testing::Test {
 protected:
  Status TryOpen() {
    files_ = std::make_unique<RamFiles>(world_.executor, disk_);
    auto opened = Wal::Open(world_.env, *files_,
                            {.directory = "wal",
                             .segment_bytes = segment_bytes_,
                             .copy_step_bytes = copy_step_bytes_,
                             .expected = expected_,
                             .doubted = doubted_});
    if (opened.ok()) wal_ = std::move(*opened);
    return opened.status();
  }
  void Open() {
    const Status status = TryOpen();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  // Appends and waits until it is durable.
  void Write(WalRecord record) {
    bool done = false;
    wal_->Append(std::move(record), [&] { done = true; });
    ASSERT_TRUE(world_.executor.RunUntil([&] { return done; }));
  }
  void Kill() {
    wal_.reset();
    files_.reset();
    world_.executor.Clear();
    disk_.Kill();
  }
  void Reopen() {
    Kill();
    Open();
  }
  std::vector<std::string> Payloads(uint64_t group) {
    std::vector<std::string> payloads;
    const auto it = wal_->recovered().find(GroupId(group));
    if (it == wal_->recovered().end()) return payloads;
    for (const WalEntry& entry : it->second.entries) payloads.push_back(entry.payload);
    return payloads;
  }
  bool Damaged(uint64_t group) { return wal_->recovered().at(GroupId(group)).damaged; }
  // The records of the first segment, notes left out.
  std::vector<ScanItem> Items() {
    const std::string& bytes = *disk_.Find(kFirst);
    SegmentHeader header;
    EXPECT_EQ(DecodeSegmentHeader(bytes, &header), HeaderState::kValid);
    auto items = ScanSegment(bytes, SegmentSeed(header.log_id, 1));
    std::erase_if(items, [](const ScanItem& item) { return item.frame.group == kNoteGroup; });
    return items;
  }
  uint64_t Syncs() { return world_.metrics.GetCounter("quorate_wal_syncs_total", "").Value(); }

  using Strings = std::vector<std::string>;
  TestEnv world_;
  RamDisk disk_;
  bool expected_ = false;
  bool doubted_ = false;
  uint64_t segment_bytes_ = kSegmentBytes;
  uint64_t copy_step_bytes_ = 0;
  std::unique_ptr<RamFiles> files_;
  std::unique_ptr<Wal> wal_;
};

}  // namespace quorate::storage
