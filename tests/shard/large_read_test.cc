// Reads of much: in parts, between which others have their turn.
#include <gtest/gtest.h>

#include "base/limits.h"
#include "quorate/v1/shard.pb.h"
#include "tests/shard/shard_fixture.h"

namespace quorate::shard {
namespace {

// In both directions, and of keys.
TEST_F(ShardTest, MuchIsReadInPartsBetweenWhichOthersHaveTheirTurn) {
  constexpr size_t kValueBytes = 256'000;
  const size_t rows = limits::kReadBytesMax / kValueBytes + 1;
  for (size_t i = 0; i < 2 * rows; ++i) {
    v1::PrepareRequest part = Part(fmt::format("a{}", i), NextSlot().bits());
    part.mutable_writes(0)->set_value(std::string(kValueBytes, 'x'));
    Start(leader().CommitOnePhase(std::move(part), Deadline()));
    Commit();
  }
  for (const int what : {0, 1, 2}) {
    v1::ReadRequest read;
    read.set_read_ts(NextSlot().bits());
    for (size_t i = 0; what == 2 && i < rows; ++i) read.add_keys(fmt::format("a{}", i));
    if (what < 2) read.add_scans()->set_reverse(what == 1);
    if (what < 2) read.mutable_scans(0)->mutable_span()->set_to("y");
    auto answer = std::make_shared<std::optional<v1::ReadResponse>>();
    scope_.Spawn(Into(leader().Read(read, Deadline()), answer));
    size_t turns = 0;
    while (!answer->has_value() && env_.executor.Step()) ++turns;
    ASSERT_EQ((*answer)->error().code(), v1::OK);
    EXPECT_GE(turns, rows) << what;
    if (what == 2) {
      EXPECT_EQ(static_cast<size_t>((*answer)->gets_size()), rows);
      continue;
    }
    const v1::ScanResult& scan = (*answer)->scans(0);
    ASSERT_EQ(static_cast<size_t>(scan.rows_size()), rows);
    EXPECT_EQ(scan.rows(0).key(), what == 1 ? "a9" : "a0");
    EXPECT_EQ(scan.resume_key().substr(0, 2), what == 1 ? "a5" : "a4");
  }
}

}  // namespace
}  // namespace quorate::shard
