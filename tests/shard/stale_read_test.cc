// Reads of the past on any replica, one rule of section 11 at a time.
#include <gtest/gtest.h>

#include "quorate/v1/node.pb.h"
#include "shard/closed.h"
#include "tests/shard/shard_fixture.h"
#include "txn/judge.h"

namespace quorate::shard {
namespace {

class StaleReadTest : public ShardTest {
 protected:
  StaleReadTest() { Pass(1s); }

  // The clocks of this node and of the oracle.
  void Pass(Duration time) {
    env_.executor.RunFor(time);
    *oracle_ms_ += static_cast<uint64_t>(ToMillis(time));
    newest_ = Timestamp::FromParts(*oracle_ms_, 0);
  }
  Timestamp AgoMs(uint64_t ms) const { return Timestamp::FromParts(*oracle_ms_ - ms, 0); }

  Timestamp Put(const std::string& key, const std::string& value, Timestamp start = {}) {
    v1::PrepareRequest part = Part(key, (start ? start : NextSlot()).bits());
    part.mutable_writes(0)->set_value(value);
    const auto evaluation = Start(leader().CommitOnePhase(part, Deadline()));
    CHECK(evaluation->has_value() && (*evaluation)->ok());
    Commit();
    return (*evaluation)->prepare_ts;
  }
  // Closes what is 100 ms old, with an entry on a key of its own.
  Timestamp Close() {
    Pass(1s);
    Put("closer", "");
    EXPECT_EQ(shards_[1]->closed(), AgoMs(100));
    return shards_[1]->closed();
  }
  v1::ReadRequest Ask(const std::string& key, uint64_t max_age_ms = 60'000) {
    v1::ReadRequest request;
    request.mutable_route()->set_shard_id(7);
    request.mutable_route()->set_version(4);
    request.add_keys(key);
    request.mutable_stale()->set_max_age_ms(static_cast<uint32_t>(max_age_ms));
    return request;
  }
  v1::ReadResponse Read(size_t replica, v1::ReadRequest request) {
    const auto answer = Start(shards_[replica]->Read(std::move(request), Deadline()));
    CHECK(answer->has_value());
    return **answer;
  }
  // "value@age in ms", "-@..." if there is none, or the error.
  std::string Seen(const v1::ReadResponse& response) const {
    if (response.error().code() != v1::OK) return v1::ErrorCode_Name(response.error().code());
    return fmt::format("{}@{}", response.gets(0).found() ? response.gets(0).value() : "-",
                       *oracle_ms_ - Timestamp(response.read_ts()).physical_ms());
  }
  std::string Seen(size_t replica, v1::ReadRequest request) {
    return Seen(Read(replica, std::move(request)));
  }
};

TEST_F(StaleReadTest, AReplicaServesWhatIsClosed) {
  Put("a", "1");
  Close();
  Put("a", "2");  // not closed yet
  const int fetches = fetches_;
  group_->SetLease(Instant());
  EXPECT_EQ(Seen(1, Ask("a")), "1@100");
  EXPECT_EQ(Seen(0, Ask("a")), "1@100") << "its leader does so without a lease";
  EXPECT_EQ(Seen(1, Ask("b")), "-@100");
  EXPECT_EQ(fetches_, fetches);
  EXPECT_EQ(shards_[1]->served().stale_reads, 2u);
  EXPECT_EQ(shards_[1]->served().reads, 0u);
}

TEST_F(StaleReadTest, NothingIsPreparedAtOrBelowWhatIsClosed) {
  const Timestamp began = NextSlot();
  const Timestamp closed = Close();
  ASSERT_LT(began, closed);
  EXPECT_GT(Put("a", "1", began), closed);
  EXPECT_EQ(Seen(1, Ask("a")), "-@100");
}

TEST_F(StaleReadTest, WhatIsPreparedIsStayedBelow) {
  Put("a", "1");
  Pass(1s);
  const v1::PrepareRequest part = Part("a", NextSlot().bits());
  const auto prepared = Start(leader().Prepare(part, Deadline()));
  Commit();
  ASSERT_EQ((*prepared)->state(), v1::PREPARED);
  const Timestamp closed = Close();
  EXPECT_EQ(Seen(1, Ask("a")), "1@1000") << "in the slot of the prepare, below it";
  EXPECT_EQ(Seen(1, Ask("b")), "-@100");
  v1::ReadRequest scan = Ask("b");
  scan.clear_keys();
  scan.add_scans()->mutable_span()->set_to("b");
  EXPECT_EQ(Read(1, scan).read_ts(), Timestamp((*prepared)->prepare_ts()).Slot().bits());
  scan.mutable_scans(0)->mutable_span()->set_from("b");
  scan.mutable_scans(0)->mutable_span()->set_to("c");
  EXPECT_EQ(Read(1, scan).read_ts(), closed.bits());
  v1::ReadRequest named = Ask("a");
  named.set_read_ts(closed.bits());
  const v1::ReadResponse refused = Read(1, named);
  EXPECT_EQ(refused.error().code(), v1::NOT_LEADER);
  EXPECT_EQ(refused.error().leader().node_id(), 1u);

  v1::Resolution resolution;
  resolution.set_txn_id(part.txn_id());
  resolution.set_digest(part.digest());
  resolution.set_marker_key("a");
  resolution.set_start_ts(part.start_ts());
  resolution.set_outcome(v1::COMMITTED);
  resolution.set_commit_ts((*prepared)->prepare_ts());
  const auto resolved = Start(leader().Resolve({resolution}));
  Commit();
  EXPECT_EQ(Seen(1, named), "v@100");
}

// Looking each of them up would be long work in one turn.
TEST_F(StaleReadTest, ManyScansOverManyPartsAreServedBelowAllOfThem) {
  Pass(1s);
  for (const char* key : {"a", "b", "c"}) {
    const auto prepared = Start(leader().Prepare(Part(key, NextSlot().bits()), Deadline()));
    Commit();
    ASSERT_EQ((*prepared)->state(), v1::PREPARED);
  }
  const Timestamp closed = Close();
  v1::ReadRequest scans = Ask("x");
  scans.clear_keys();
  const auto add = [&scans](int count) {
    for (int i = 0; i < count; ++i) {
      auto* span = scans.add_scans()->mutable_span();
      span->set_from("x");
      span->set_to("y");
    }
  };
  add(1);
  EXPECT_EQ(Read(1, scans).read_ts(), closed.bits());
  add(9'000);
  const v1::ReadResponse many = Read(1, scans);
  EXPECT_EQ(many.error().code(), v1::OK);
  EXPECT_LT(many.read_ts(), closed.bits());
}

TEST_F(StaleReadTest, WhatIsTooOldSendsToTheLeaderWhichCloses) {
  Put("a", "1");
  Close();
  Pass(3s);
  EXPECT_EQ(Seen(1, Ask("a", 3'100)), "1@3100");
  const v1::ReadResponse refused = Read(1, Ask("a", 3'099));
  EXPECT_EQ(refused.error().code(), v1::NOT_LEADER);
  EXPECT_EQ(refused.error().leader().node_id(), 1u);
  EXPECT_NE(refused.error().message().find("3100 ms old"), std::string::npos)
      << refused.error().message();
  EXPECT_TRUE(group_->pending().empty()) << "nobody has asked the leader";
  const int fetches = fetches_;
  EXPECT_EQ(Seen(0, Ask("a", 3'099)), "1@100") << "where replicas can soon be read, too";
  EXPECT_EQ(fetches_, fetches + 1) << "for what it closes";
  Commit();
  EXPECT_EQ(Seen(1, Ask("a", 3'099)), "1@100");
}

TEST_F(StaleReadTest, WhoReadsWhatIsHalfAsOldAsItMayBeHasItClosed) {
  Close();
  Pass(1s);
  EXPECT_EQ(Seen(0, Ask("a", 2'300)), "-@1100");
  EXPECT_TRUE(group_->pending().empty());
  EXPECT_EQ(Seen(0, Ask("a", 2'100)), "-@1100");
  Run();
  ASSERT_EQ(group_->pending().size(), 1u);
  EXPECT_EQ(Seen(0, Ask("a", 2'100)), "-@1100");
  Run();
  EXPECT_EQ(group_->pending().size(), 1u) << "one is under way";
  Commit();
  EXPECT_EQ(Seen(1, Ask("a", 2'100)), "-@100");
}

TEST_F(StaleReadTest, AnIdleShardClosesNothing) {
  Close();
  Pass(100s);
  EXPECT_TRUE(group_->pending().empty());
}

TEST_F(StaleReadTest, AnAgeThatIsNotKnownIsTooOld) {
  Close();
  oracle_ms_.reset();
  EXPECT_EQ(Read(1, Ask("a")).error().code(), v1::NOT_LEADER);
}

TEST_F(StaleReadTest, WhatMustBeSeenIsSeen) {
  Close();
  const Timestamp written = Put("a", "1");
  v1::ReadRequest request = Ask("a");
  request.mutable_stale()->set_not_before(written.bits());
  EXPECT_EQ(Seen(1, request), "NOT_LEADER");
  EXPECT_EQ(Seen(0, request), "1@0");
  Close();
  EXPECT_EQ(Seen(1, request), "1@100");
  request.mutable_stale()->set_not_before(Timestamp::FromParts(*oracle_ms_ + 1000, 0).bits());
  EXPECT_EQ(Seen(0, request), "INVALID_ARGUMENT") << "nobody was told of that";
}

TEST_F(StaleReadTest, WhatIsNotWholeServesNothing) {
  Close();
  group_->SetHasState(1, false);
  EXPECT_EQ(Seen(1, Ask("a")), "NOT_LEADER");
  group_->SetHasState(1, true);
  EXPECT_EQ(Seen(1, Ask("a")), "-@100");
}

TEST_F(StaleReadTest, KeysOfOthersAreOthers) {
  Close();
  EXPECT_EQ(Seen(1, Ask("z")), "STALE_EPOCH");
  v1::ReadRequest ahead = Ask("z");
  ahead.mutable_route()->set_version(5);
  EXPECT_EQ(Seen(1, ahead), "NOT_LEADER") << "it does not know yet what the reader knows";
}

TEST_F(StaleReadTest, WhatWasLostIsNotClosed) {
  const Timestamp closed = Close();
  Pass(1s);
  const auto lost = Start(leader().CommitOnePhase(Part("a", NextSlot().bits()), Deadline()));
  v1::ShardCommand command;
  ASSERT_TRUE(command.ParseFromString(group_->pending().front().payload));
  EXPECT_EQ(Timestamp(command.closed()), AgoMs(100));
  group_->Elect(1);
  Commit();
  EXPECT_EQ(shards_[0]->closed(), closed);
  // Logged again as it was, in another term: it is void.
  group_->Append(command.SerializeAsString());
  Commit();
  EXPECT_EQ(shards_[0]->closed(), closed);
}

TEST_F(StaleReadTest, ANewLeaderKnowsWhatItHadNotAppliedWhenItWasElected) {
  Pass(1s);
  const Timestamp began = NextSlot();
  Pass(1s);
  const auto closer = Start(leader().CommitOnePhase(Part("b", NextSlot().bits()), Deadline()));
  group_->Elect(1, 1);
  Run();
  Commit();
  const Timestamp closed = shards_[0]->closed();
  EXPECT_EQ(closed, AgoMs(100));
  EXPECT_GT(Put("a", "1", began), closed);
}

// Even if its floor was of no use.
TEST_F(StaleReadTest, ANewLeaderPreparesAboveWhatIsClosedWhateverItsFloor) {
  const Timestamp closed = Close();
  newest_ = Timestamp::FromParts(kBase, 0);
  group_->Elect(1);
  Run();
  Commit();
  EXPECT_GT(Put("a", "1", newest_), closed);
}

TEST_F(StaleReadTest, AClosedTimestampIsASlot) {
  v1::ShardCommand command;
  command.set_term(group_->term().value());
  command.set_version(4);
  command.mutable_advance_horizon();
  const Timestamp before = shards_[1]->closed();
  command.set_closed(AgoMs(0).bits() + 1);
  group_->Append(command.SerializeAsString());
  Commit();
  EXPECT_EQ(shards_[1]->closed(), before);
  command.set_closed(AgoMs(0).bits());
  group_->Append(command.SerializeAsString());
  Commit();
  EXPECT_EQ(shards_[1]->closed(), AgoMs(0));
}

TEST_F(StaleReadTest, ASplitHandsDownWhatIsClosed) {
  const Timestamp closed = Close();
  const auto split = Start(leader().Split("m", ShardId(9), Deadline()));
  Commit();
  ASSERT_TRUE(split->has_value() && (*split)->ok());
  v1::ShardDescriptor blank;
  blank.set_shard_id(9);
  EXPECT_EQ(Table(group_->store(1), blank).closed(), closed);
  EXPECT_EQ(shards_[1]->closed(), closed);
  EXPECT_EQ(Seen(1, Ask("n")), "STALE_EPOCH");
}

// What is evaluated while the entry is under way is logged behind it, each with what was closed
// when it was evaluated.
TEST_F(StaleReadTest, WhatWaitsForASplitClosesWhatItWould) {
  Close();
  Pass(1s);
  const auto split = Start(leader().Split("m", ShardId(9), Deadline()));
  std::vector<Timestamp> prepared;
  for (const char* key : {"a", "b", "c"}) {
    const auto evaluation =
        Start(leader().CommitOnePhase(Part(key, NextSlot().bits()), Deadline()));
    if (!evaluation->has_value()) break;
    prepared.push_back((*evaluation)->prepare_ts);
    Pass(300ms);
  }
  ASSERT_EQ(prepared.size(), 3u);
  std::vector<v1::ShardCommand> commands;
  while (!group_->pending().empty()) {
    commands.emplace_back();
    ASSERT_TRUE(commands.back().ParseFromString(group_->pending().front().payload));
    group_->CommitOne();
    Run();
  }
  ASSERT_EQ(commands.size(), 4u);
  EXPECT_TRUE(commands[0].has_split());
  EXPECT_EQ(commands[0].closed(), 0u);
  for (size_t i = 0; i + 1 < prepared.size(); ++i) {
    EXPECT_NE(commands[i + 1].closed(), 0u);
    EXPECT_LT(Timestamp(commands[i + 1].closed()), prepared[i + 1]);
  }
}

TEST_F(StaleReadTest, TheDoorJudges) {
  const auto refused = [](auto change) {
    v1::ReadRequest request;
    request.mutable_stale()->set_max_age_ms(1'000);
    change(&request);
    return !Judge(std::move(request)).ok();
  };
  EXPECT_FALSE(refused([](auto*) {}));
  EXPECT_FALSE(refused([](auto* r) { r->mutable_stale()->set_max_age_ms(60'000); }));
  EXPECT_TRUE(refused([](auto* r) { r->mutable_stale()->set_max_age_ms(60'001); }));
  EXPECT_TRUE(refused([](auto* r) { r->mutable_stale()->set_max_age_ms(0); }));
  const auto at = Timestamp::FromParts(kBase, 0).bits();
  EXPECT_FALSE(refused([at](auto* r) {
    r->set_read_ts(at);
    r->mutable_stale()->set_max_age_ms(0);
  }));
  EXPECT_TRUE(refused([at](auto* r) {
    r->set_read_ts(at);
    r->mutable_stale()->set_not_before(at + 1);
  }));
  EXPECT_TRUE(refused([at](auto* r) {
    r->set_read_ts(at);
    r->mutable_stale()->set_max_age_ms(60'001);
  }));
}

}  // namespace
}  // namespace quorate::shard
