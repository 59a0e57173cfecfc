// Random workloads with crashes and damage against the plain model (wal_model.h).

#include <gtest/gtest.h>

#include <deque>

#include "storage/wal.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
#include "tests/storage/wal_model.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

constexpr char kDirectory[] = "wal";

// A node's life: a WAL over a disk that stays, the model of what is known to be durable, and the
// records whose fate is open.
struct Life {
  explicit Life(uint64_t seed, uint64_t segment_bytes)
      : world(seed),
        random(seed * 7 + 1),
        segment_bytes(segment_bytes),
        copy_step_bytes(random.Chance(0.5) ? 1 : 1 << 20) {}

  void Open() {
    files = std::make_unique<RamFiles>(world.executor, disk);
    auto now = Wal::Open(world.env, *files,
                         {.directory = kDirectory,
                          .segment_bytes = segment_bytes,
                          .copy_step_bytes = copy_step_bytes,
                          .expected = opened});
    ASSERT_TRUE(now.ok()) << now.status().ToString();
    wal = std::move(*now);
    opened = true;
  }
  void Append(uint64_t groups, size_t payload_max) {
    WalRecord record = newest.Draw(random, groups, payload_max);
    newest.Apply(record);
    open.push_back(record);
    wal->Append(std::move(record), [this] {
      durable.Apply(open.front());
      open.pop_front();
    });
  }
  void Crash(bool power_loss) {
    wal.reset();
    files.reset();
    world.executor.Clear();
    if (power_loss) {
      disk.Crash(random);
    } else {
      disk.Kill();
    }
  }
  // What was recovered is the durable state plus a prefix of what was open.
  ::testing::AssertionResult RecoveredPrefix() {
    while (!durable.Same(wal->recovered())) {
      if (open.empty()) return ::testing::AssertionFailure() << "no prefix of the records";
      durable.Apply(open.front());
      open.pop_front();
    }
    open.clear();
    newest = durable;
    return ::testing::AssertionSuccess();
  }

  TestEnv world;
  Random random;
  const uint64_t segment_bytes;
  const uint64_t copy_step_bytes;
  bool opened = false;
  RamDisk disk;
  std::unique_ptr<RamFiles> files;
  std::unique_ptr<Wal> wal;
  WalModel durable;
  WalModel newest;
  std::deque<WalRecord> open;
};

void RunLife(uint64_t seed, uint64_t segment_bytes, uint64_t groups, size_t payload_max) {
  SCOPED_TRACE(testing::Message() << "seed " << seed << " segments of " << segment_bytes);
  Life life(seed, segment_bytes);
  for (int round = 0; round < 12; ++round) {
    ASSERT_NO_FATAL_FAILURE(life.Open());
    ASSERT_TRUE(life.RecoveredPrefix()) << "round " << round;
    for (const auto& [id, group] : life.wal->recovered()) ASSERT_FALSE(group.damaged);
    ASSERT_FALSE(life.wal->lost_records());
    for (uint64_t n = life.random.Below(300); n > 0; --n) {
      life.Append(groups, payload_max);
      while (life.random.Chance(0.3) && life.world.executor.Step()) {
      }
    }
    if (life.random.Chance(0.2)) {
      life.world.executor.RunFor(3s);
      ASSERT_TRUE(life.open.empty());
    }
    life.Crash(life.random.Chance(0.7));
  }
}

TEST(WalCrash, RecoversAPrefixThatHoldsAllThatWasAcknowledged) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    RunLife(seed, 64 << 10, 5, 300);
    RunLife(seed, 16 << 10, 20, 100);
  }
}

TEST(WalCrash, RecordsLargerThanASegmentGetOneOfTheirOwn) {
  for (uint64_t seed = 1; seed <= 10; ++seed) RunLife(seed, 8 << 10, 3, 6000);
}

// The bytes of the newest segment with records, and where its last record begins.
std::pair<std::string*, uint64_t> FindLastRecord(RamDisk& disk) {
  std::pair<std::string*, uint64_t> last(nullptr, 0);
  for (const std::string& path : disk.Paths()) {
    uint64_t number = 0;
    SegmentHeader header;
    std::string* bytes = disk.Find(path);
    EXPECT_TRUE(ParseSegmentName(path.substr(path.rfind('/') + 1), &number));
    if (DecodeSegmentHeader(*bytes, &header) != HeaderState::kValid) continue;
    const auto items = ScanSegment(*bytes, SegmentSeed(header.log_id, number));
    if (!items.empty()) last = {bytes, items.back().begin};
  }
  return last;
}

// A flipped bit anywhere in acknowledged data: every group is either reported as damaged or exactly
// as it was, and none disappears unnoticed.
void RunDamage(uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Life life(seed, 32 << 10);
  ASSERT_NO_FATAL_FAILURE(life.Open());
  for (int i = 0; i < 250; ++i) {
    life.Append(8, 200);
    while (life.random.Chance(0.5) && life.world.executor.Step()) {
    }
  }
  life.world.executor.RunFor(3s);  // all durable, and the mark that says so
  ASSERT_TRUE(life.open.empty());
  life.Crash(false);
  const auto paths = life.disk.Paths();
  // With the mark gone, too, the record before it would be a torn tail by all evidence.
  const auto mark = FindLastRecord(life.disk);
  for (uint64_t n = 1 + life.random.Below(3); n > 0; --n) {
    std::string* bytes = life.disk.Find(paths[life.random.Below(paths.size())]);
    if (bytes->empty()) continue;
    const uint64_t at = life.random.Below(bytes->size());
    if (bytes == mark.first && at >= mark.second) continue;
    (*bytes)[at] ^= static_cast<char>(1 << life.random.Below(8));
  }
  life.disk.SettleAll();
  for (int opening = 0; opening < 3; ++opening) {
    ASSERT_NO_FATAL_FAILURE(life.Open());
    const auto& recovered = life.wal->recovered();
    for (const auto& [id, group] : life.durable.groups()) {
      const auto it = recovered.find(id);
      if (it == recovered.end()) {
        ASSERT_TRUE(life.wal->lost_records()) << "group " << id.value() << " disappeared";
        continue;
      }
      if (!it->second.damaged) {
        ASSERT_TRUE(WalModel::Same(group, it->second)) << "group " << id.value();
      }
    }
    for (const auto& [id, group] : recovered) {
      ASSERT_TRUE(group.damaged || life.durable.groups().contains(id)) << id.value();
    }
    // The verdicts outlive this opening, whether it lasts or not.
    if (life.random.Chance(0.5)) life.world.executor.RunFor(5s);
    life.Crash(life.random.Chance(0.5));
  }
}

TEST(WalCrash, DamageIsNeverTakenForTheEndOfTheLog) {
  for (uint64_t seed = 1; seed <= 1500; ++seed) RunDamage(seed);
}

TEST(WalCrash, AMissingSegmentIsDamage) {
  for (uint64_t seed = 1; seed <= 250; ++seed) {
    SCOPED_TRACE(seed);
    Life life(seed, 16 << 10);
    ASSERT_NO_FATAL_FAILURE(life.Open());
    for (int i = 0; i < 300; ++i) {
      life.Append(8, 100);
      while (life.random.Chance(0.5) && life.world.executor.Step()) {
      }
    }
    life.world.executor.RunFor(3s);
    life.Crash(false);
    const auto paths = life.disk.Paths();
    ASSERT_GE(paths.size(), 3u);
    // The newest may be a prepared one that holds nothing; all others are needed, but for a spare.
    life.disk.Erase(paths[1]);
    ASSERT_NO_FATAL_FAILURE(life.Open());
    for (const auto& [id, group] : life.durable.groups()) {
      const auto it = life.wal->recovered().find(id);
      if (it == life.wal->recovered().end()) {
        ASSERT_TRUE(life.wal->lost_records());
      } else if (!it->second.damaged) {
        ASSERT_TRUE(WalModel::Same(group, it->second));
      }
    }
  }
}

}  // namespace
}  // namespace quorate::storage
