// That the checkers inside the machines can fail: each rule is shown something wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "quorate/v1/shard.pb.h"
#include "raft/core/types.h"
#include "storage/wal_format.h"
#include "tests/sim/checks/durability.h"
#include "tests/sim/checks/lineage.h"
#include "tests/sim/checks/replicas.h"
#include "tests/sim/checks/rest.h"
#include "tests/sim/cluster.h"

namespace quorate::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const GroupId kGroup{7};
const GroupId kOther{8};
const std::string kTxn(16, 't');

// ---- durability ---------------------------------------------------------------------------------

storage::WalEntry Entry(uint64_t index, uint64_t term, raft::EntryType type, std::string payload) {
  return {index, term, static_cast<uint8_t>(type), std::move(payload)};
}
std::string OnePhase() {
  v1::ShardCommand command;
  command.mutable_commit_one_phase()->set_txn_id(kTxn);
  return command.SerializeAsString();
}
std::string Prepare(uint64_t digest, std::vector<uint64_t> staged) {
  v1::ShardCommand command;
  command.mutable_prepare()->set_txn_id(kTxn);
  command.mutable_prepare()->set_digest(digest);
  command.mutable_prepare()->set_stage(!staged.empty());
  for (const uint64_t part : staged) {
    command.mutable_prepare()->add_participants()->set_digest(part);
  }
  return command.SerializeAsString();
}

class DurabilityTest : public testing::Test {
 protected:
  DurabilityTest() {
    for (const GroupId group : {kGroup, kOther}) {
      Synced("n1", group, Members(1, 1, {.voters = Ids({1, 2, 3})}));
    }
  }
  static std::vector<raft::ReplicaId> Ids(const std::vector<uint64_t>& ids) {
    return {ids.begin(), ids.end()};
  }
  static storage::WalEntry Members(uint64_t index, uint64_t term,
                                   const raft::Configuration& members) {
    return Entry(index, term, raft::EntryType::kConfiguration, raft::EncodeConfiguration(members));
  }
  static storage::WalEntry Starts(uint64_t index, uint64_t term) {
    return Entry(index, term, raft::EntryType::kEmpty, "");
  }
  // What judges the answer that is given now.
  std::vector<std::string> Judged() {
    const size_t before = durability_.violations().size();
    durability_.OnCommitted(kTxn);
    const auto& all = durability_.violations();
    return {all.begin() + static_cast<ptrdiff_t>(before), all.end()};
  }
  void Synced(const std::string& node, GroupId group, storage::WalEntry entry) {
    durability_.OnRecord(node, {.group = group, .entries = {std::move(entry)}});
  }
  void Synced(const std::string& node, GroupId group, std::string command, uint64_t index = 2) {
    Synced(node, group, Entry(index, 1, raft::EntryType::kNormal, std::move(command)));
  }
  void HardState(const std::string& node, uint64_t term, uint64_t vote, bool reset = false) {
    durability_.OnRecord(node, {.group = kGroup, .hard_state = {{term, vote, 0}}, .reset = reset});
  }

  Durability durability_;
};

TEST_F(DurabilityTest, AMajorityHasSyncedTheOnlyPart) {
  Synced("n1", kGroup, OnePhase());
  Synced("n2", kGroup, OnePhase());
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

TEST_F(DurabilityTest, AnswerBeforeTheSecondSync) {
  Synced("n1", kGroup, OnePhase());
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("durable before ack")));
}

TEST_F(DurabilityTest, CopiesOfDifferentEntriesDoNotCountTogether) {
  Synced("n1", kGroup, OnePhase(), 2);
  Synced("n2", kGroup, OnePhase(), 3);
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("durable before ack")));
}

TEST_F(DurabilityTest, EveryStagedPartNeedsItsMajority) {
  for (const char* node : {"n1", "n2"}) Synced(node, kGroup, Prepare(11, {11, 12}));
  Synced("n3", kOther, Prepare(12, {}));
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("durable before ack")));
}

TEST_F(DurabilityTest, AllStagedPartsHaveTheirMajority) {
  for (const char* node : {"n1", "n2"}) Synced(node, kGroup, Prepare(11, {11, 12}));
  for (const char* node : {"n2", "n3"}) Synced(node, kOther, Prepare(12, {}));
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

// A leader that nobody heard any more had written down a change; its successor's log does without.
TEST_F(DurabilityTest, AReplacedConfigurationJudgesNothing) {
  const raft::Configuration more{.voters = Ids({1, 2, 3, 4}), .voters_outgoing = Ids({1, 2, 3})};
  for (const char* node : {"n1", "n2", "n3"}) Synced(node, kGroup, Starts(2, 1));
  Synced("n3", kGroup, Members(3, 1, more));
  for (const char* node : {"n1", "n2"}) Synced(node, kGroup, Starts(3, 2));
  for (const char* node : {"n1", "n2"}) {
    Synced(node, kGroup, Entry(4, 2, raft::EntryType::kNormal, OnePhase()));
  }
  EXPECT_THAT(Judged(), IsEmpty());
}

TEST_F(DurabilityTest, AReplacedConfigurationJudgesNoLaterTerm) {
  const raft::Configuration more{.voters = Ids({1, 2, 3, 4}), .voters_outgoing = Ids({1, 2, 3})};
  for (const char* node : {"n1", "n2", "n3"}) Synced(node, kGroup, Starts(2, 1));
  Synced("n3", kGroup, Members(3, 1, more));
  Synced("n3", kGroup, Entry(4, 1, raft::EntryType::kNormal, Prepare(5, {})));
  for (const char* node : {"n1", "n2"}) {
    Synced(node, kGroup, Starts(3, 2));
    Synced(node, kGroup, Entry(4, 2, raft::EntryType::kNormal, Prepare(6, {})));
    Synced(node, kGroup, Starts(5, 3));
    Synced(node, kGroup, Entry(6, 3, raft::EntryType::kNormal, OnePhase()));
  }
  EXPECT_THAT(Judged(), IsEmpty());
}

TEST_F(DurabilityTest, AReplacedConfigurationExcusesNothing) {
  Synced("n2", kGroup, Starts(2, 1));
  Synced("n2", kGroup, Members(3, 1, {.voters = Ids({2})}));
  Synced("n2", kGroup, Starts(3, 2));
  Synced("n2", kGroup, Entry(4, 2, raft::EntryType::kNormal, OnePhase()));
  EXPECT_THAT(Judged(), ElementsAre(HasSubstr("index 4 of term 2 on nodes 2")));
  Synced("n3", kGroup, Entry(4, 2, raft::EntryType::kNormal, OnePhase()));
  EXPECT_THAT(Judged(), IsEmpty());
}

TEST_F(DurabilityTest, OnlyVotersCount) {
  Synced("n1", kGroup, Members(2, 1, {.voters = Ids({1, 2, 3}), .learners = Ids({4})}));
  for (const char* node : {"n1", "n4", "n5"}) Synced(node, kGroup, OnePhase(), 3);
  EXPECT_THAT(Judged(), ElementsAre(HasSubstr("durable before ack")));
  Synced("n2", kGroup, OnePhase(), 3);
  EXPECT_THAT(Judged(), IsEmpty());
}

TEST_F(DurabilityTest, OfAJointConfigurationBothMajoritiesCount) {
  Synced("n1", kGroup,
         Members(2, 1, {.voters = Ids({1, 4, 5}), .voters_outgoing = Ids({1, 2, 3})}));
  for (const char* node : {"n1", "n4", "n5"}) Synced(node, kGroup, OnePhase(), 3);
  EXPECT_THAT(Judged(), ElementsAre(HasSubstr("durable before ack")));
  Synced("n3", kGroup, OnePhase(), 3);
  EXPECT_THAT(Judged(), IsEmpty());
}

// Its leader has the next configuration in memory, and counts by that.
TEST_F(DurabilityTest, BehindACommittedJointConfigurationTheNewVotersAreEnough) {
  const raft::Configuration joint{.voters = Ids({1, 4, 5}), .voters_outgoing = Ids({1, 2, 3})};
  for (const char* node : {"n1", "n4"}) Synced(node, kGroup, Members(2, 1, joint));
  for (const char* node : {"n4", "n5"}) Synced(node, kGroup, OnePhase(), 3);
  EXPECT_THAT(Judged(), ElementsAre(HasSubstr("durable before ack"))) << "it is not committed yet";
  Synced("n2", kGroup, Members(2, 1, joint));
  EXPECT_THAT(Judged(), IsEmpty());
}

TEST_F(DurabilityTest, ALaterConfigurationOfTheSameLogMayCommit) {
  for (const char* node : {"n1", "n4"}) Synced(node, kGroup, OnePhase());
  EXPECT_THAT(Judged(), ElementsAre(HasSubstr("durable before ack")));
  Synced("n1", kGroup, Members(3, 1, {.voters = Ids({1, 4, 5})}));
  EXPECT_THAT(Judged(), IsEmpty());
}

TEST_F(DurabilityTest, RecordsAreReadFromWhatTheDiskMadeDurable) {
  const auto bytes = [](uint64_t offset) {
    std::string out(storage::kFrameBytes, '\0');
    storage::EncodeBody(
        {.group = kGroup, .entries = {Entry(2, 1, raft::EntryType::kNormal, OnePhase())}}, {},
        &out);
    storage::SealRecord(&out, 0, 99,
                        {.offset = static_cast<uint32_t>(offset),
                         .batch = static_cast<uint32_t>(offset),
                         .seq = 1,
                         .group = kGroup});
    return out;
  };
  durability_.OnDurable("n1", 8192, bytes(8192));
  durability_.OnDurable("n2", 4096, bytes(8192));  // another place than it was written for
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("index 2 of term 1 on nodes 1;")));
  durability_.OnDurable("n2", 8192, bytes(8192));
  durability_.OnCommitted(kTxn);
  EXPECT_EQ(durability_.violations().size(), 1u);
}

TEST_F(DurabilityTest, RecordsBehindADamagedOneCountAsAStartFindsThem) {
  const auto record = [](uint64_t offset, uint32_t seq) {
    std::string out(storage::kFrameBytes, '\0');
    storage::EncodeBody(
        {.group = kGroup, .entries = {Entry(2, 1, raft::EntryType::kNormal, OnePhase())}}, {},
        &out);
    storage::SealRecord(
        &out, 0, 99,
        {.offset = static_cast<uint32_t>(offset), .batch = 8192, .seq = seq, .group = kGroup});
    return out;
  };
  const std::string first = record(8192, 1);
  const std::string behind = record(8192 + first.size(), 2);
  durability_.OnDurable("n1", 8192, first);
  durability_.OnDurable("n2", 8192, std::string(first.size(), '\0') + behind);
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

TEST_F(DurabilityTest, WhatSurvivesUnsyncedIsThereButNoVote) {
  std::string out(storage::kFrameBytes, '\0');
  storage::EncodeBody({.group = kGroup,
                       .hard_state = {{9, 1, 0}},
                       .entries = {Entry(2, 1, raft::EntryType::kNormal, OnePhase())}},
                      {}, &out);
  storage::SealRecord(&out, 0, 99, {.offset = 4096, .batch = 4096, .seq = 1, .group = kGroup});
  HardState("n1", 5, 0);
  durability_.OnSurvived("n1", 4096, out);
  durability_.OnSurvived("n2", 0, std::string(4096, '\0') + out);
  HardState("n1", 6, 0);
  durability_.OnCommitted(kTxn);
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

TEST_F(DurabilityTest, TwoEntriesAtOnePlace) {
  Synced("n1", kGroup, OnePhase());
  Synced("n2", kGroup, Prepare(3, {}));
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("two leaders in one term")));
}

TEST_F(DurabilityTest, ATermGoesBack) {
  HardState("n1", 5, 0);
  HardState("n1", 4, 0);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("after term 5")));
}

TEST_F(DurabilityTest, WhatDamageLeftOfATermIsNoPromise) {
  HardState("n1", 5, 2);
  durability_.OnRecord("n1", {.group = kGroup, .hard_state = {{4, 3, 0}}},
                       {.damaged = true, .copied = true});
  EXPECT_THAT(durability_.violations(), IsEmpty());
  HardState("n1", 5, 3);  // without a snapshot; and what was promised is not forgotten
  EXPECT_THAT(durability_.violations(),
              ElementsAre(HasSubstr("called damaged"), HasSubstr("in term 5")));
}

// The crash came when the snapshot's record was written and not synced.
TEST_F(DurabilityTest, ASnapshotThatSurvivedUnsyncedEndsTheDamage) {
  HardState("n1", 5, 2);
  durability_.OnRecord("n1", {.group = kGroup, .hard_state = {{3, 0, 0}}},
                       {.damaged = true, .copied = true});
  std::string out(storage::kFrameBytes, '\0');
  storage::EncodeBody({.group = kGroup, .hard_state = {{4, 3, 0}}, .mark = {{9, 3}}, .reset = true},
                      {}, &out);
  storage::SealRecord(&out, 0, 99, {.offset = 4096, .batch = 4096, .seq = 1, .group = kGroup});
  durability_.OnSurvived("n1", 4096, out);
  HardState("n1", 4, 3);
  EXPECT_THAT(durability_.violations(), IsEmpty());
  HardState("n1", 4, 2);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("voted for replica 3 and then")));
}

TEST_F(DurabilityTest, TwoVotesInOneTerm) {
  HardState("n1", 5, 2);
  HardState("n1", 5, 2);
  EXPECT_THAT(durability_.violations(), IsEmpty());
  HardState("n1", 5, 3);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("voted for replica 2 and then")));
}

TEST_F(DurabilityTest, AForgottenEntryIsWrittenAgain) {
  Synced("n1", kGroup, OnePhase(), 2);
  Synced("n1", kGroup, Prepare(3, {}), 3);
  EXPECT_THAT(durability_.violations(), IsEmpty());
  Synced("n1", kGroup, Prepare(3, {}), 3);
  EXPECT_THAT(durability_.violations(), ElementsAre(HasSubstr("index 3 of term 1 of group")));
}

TEST_F(DurabilityTest, AnEntryMayTakeThePlaceOfWhatReplacedIt) {
  const auto write = [&](uint64_t term, storage::RecordFlags flags = {}) {
    durability_.OnRecord(
        "n2", {.group = kGroup, .entries = {Entry(2, term, raft::EntryType::kNormal, OnePhase())}},
        flags);
  };
  write(1);
  write(2);
  write(1);
  write(1, {.copied = true});  // from an older segment
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

TEST_F(DurabilityTest, WhoseLogIsDamagedOrReplacedMayWriteEntriesAgain) {
  Synced("n1", kGroup, OnePhase(), 2);
  durability_.OnRecord("n1", {.group = kGroup, .hard_state = {{1, 0, 0}}},
                       {.damaged = true, .copied = true});
  durability_.OnRecord(
      "n1", {.group = kGroup, .hard_state = {{1, 2, 0}}, .mark = {{1, 1}}, .reset = true});
  Synced("n1", kGroup, OnePhase(), 2);
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

TEST_F(DurabilityTest, AnotherDiskMayKnowLess) {
  HardState("n1", 5, 2);
  durability_.OnDiskReplaced("n1");
  HardState("n1", 4, 3);
  EXPECT_THAT(durability_.violations(), IsEmpty());
}

// ---- lineage ------------------------------------------------------------------------------------

class LineageTest : public testing::Test {
 protected:
  // Makes a configuration that is told from others by its only voter.
  void Configuration(uint64_t term, uint64_t index, uint64_t id) {
    lineage_.AddConfiguration(term, index, {.voters = {raft::ReplicaId(id)}}, raft::ReplicaId(1));
  }
  // The voters of those that may commit.
  std::vector<uint64_t> MayCommit(uint64_t term, uint64_t index) {
    std::vector<uint64_t> ids;
    for (const Lineage::Known* found : lineage_.MayCommit(term, index)) {
      ids.push_back(found->configuration.voters.at(0).value());
    }
    return ids;
  }
  Lineage lineage_;
};

TEST_F(LineageTest, TheNewestBeforeTheEntryAndThoseBehindIt) {
  EXPECT_THAT(MayCommit(1, 1), IsEmpty());
  Configuration(1, 1, 11);
  Configuration(1, 3, 13);
  lineage_.Add(1, 4);
  Configuration(2, 5, 25);
  EXPECT_THAT(MayCommit(1, 2), ElementsAre(11, 13, 25));
  EXPECT_THAT(MayCommit(1, 4), ElementsAre(13, 25));
  EXPECT_THAT(MayCommit(2, 6), ElementsAre(25));
}

TEST_F(LineageTest, OnlyThoseOfTheSameLog) {
  Configuration(1, 1, 11);
  Configuration(1, 3, 13);  // replaced
  lineage_.Add(1, 9);
  lineage_.Add(2, 3, 1);
  Configuration(2, 7, 27);
  lineage_.Add(3, 8, 2);
  EXPECT_THAT(MayCommit(3, 8), ElementsAre(27));
  EXPECT_THAT(MayCommit(2, 4), ElementsAre(11, 27));
  EXPECT_THAT(MayCommit(1, 2), ElementsAre(11, 13, 27));
  EXPECT_THAT(MayCommit(1, 4), ElementsAre(13));
}

TEST_F(LineageTest, WhereTheLogBelowIsNotKnownEachMayBe) {
  Configuration(1, 1, 11);
  Configuration(1, 3, 13);
  lineage_.Add(1, 4);
  lineage_.Add(2, 3, 1);
  lineage_.Add(2, 4);
  lineage_.Add(3, 5);
  EXPECT_THAT(MayCommit(3, 6), ElementsAre(13, 11));
  lineage_.Add(3, 5, 2);
  EXPECT_THAT(MayCommit(3, 6), ElementsAre(11));
}

TEST_F(LineageTest, WhatEndsTooSoonIsNotBelow) {
  Configuration(1, 1, 11);
  lineage_.Add(1, 5);
  Configuration(2, 3, 23);  // the only one of its term
  lineage_.Add(3, 6);
  EXPECT_THAT(MayCommit(3, 6), ElementsAre(11));
}

// ---- replicas -----------------------------------------------------------------------------------

class ReplicasTest : public testing::Test {
 protected:
  World world_{1};
  Options options_;
  Cluster cluster_{world_, options_, false};
  Replicas replicas_{cluster_};
};

TEST_F(ReplicasTest, TwoLeadersInOneTerm) {
  replicas_.JudgeReplica({"n1", 7, 4, true, 10});
  replicas_.JudgeReplica({"n2", 7, 5, true, 10});
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeReplica({"n2", 7, 4, true, 10});
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("both lead group 7 in term 4")));
}

TEST_F(ReplicasTest, DifferentStateAtOneIndex) {
  replicas_.JudgeDigest(7, 10, "n1", 1);
  replicas_.JudgeDigest(7, 11, "n2", 2);
  replicas_.JudgeDigest(7, 10, "n3", 1);
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeDigest(7, 11, "n1", 3);
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("differ after applying index 11")));
}

TEST_F(ReplicasTest, AnAppliedEntryIsLost) {
  replicas_.JudgeReplica({"n1", 7, 4, true, 10});
  replicas_.JudgeNothingLost({{"n1", 7, 5, false, 10}, {"n2", 7, 5, true, 12}});
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeNothingLost({{"n2", 7, 5, true, 9}});
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("a committed entry is lost")));
}

Timestamp Slot(uint64_t ms) { return Timestamp::FromParts(ms, 0); }

TEST_F(ReplicasTest, TwoLeasesAtOnce) {
  replicas_.JudgeLeases({{7, 3, "n1"}, {8, 3, "n2"}});
  replicas_.JudgeLeases({{7, 5, "n2"}});
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeLeases({{7, 3, "n1"}, {7, 5, "n2"}});
  EXPECT_THAT(replicas_.violations(),
              ElementsAre("n1 (term 3) and n2 (term 5) hold the lease of group 7 at once"));
}

TEST_F(ReplicasTest, SlotsGoBackOverOracles) {
  replicas_.JudgeOracles({{"n1", true, Slot(10), Slot(20)}, {"n2", false, {}, Slot(20)}});
  replicas_.JudgeOracles({{"n1", false, Slot(10), Slot(20)}, {"n2", true, Slot(20), Slot(30)}});
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeOracles({{"n1", true, Slot(15), Slot(30)}, {"n2", false, Slot(20), Slot(30)}});
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("T2: the oracle of n1 issued")));
}

TEST_F(ReplicasTest, WhatIsNotHandedOutIsNoSlot) {
  replicas_.JudgeOracles({{"n1", true, Slot(10), Slot(20)}, {"n2", true, Slot(20), Slot(30)}});
  replicas_.JudgeOracles({{"n1", false, Slot(11), Slot(20)}, {"n2", true, {}, Slot(30)}});
  EXPECT_THAT(replicas_.violations(), IsEmpty());
}

TEST_F(ReplicasTest, ASlotAboveTheCeiling) {
  replicas_.JudgeOracles({{"n1", true, Slot(21), Slot(20)}});
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("above its logged ceiling")));
}

TEST_F(ReplicasTest, AHoleInTheMap) {
  replicas_.JudgeMap({{2, 1, "", "m"}, {3, 1, "m", ""}, {2, 1, "", "m"}});
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeMap({{2, 1, "", "m"}, {3, 1, "n", ""}});
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("do not tile")));
}

TEST_F(ReplicasTest, TheMapEndsTooSoonOrOverlaps) {
  replicas_.JudgeMap({{2, 1, "", "m"}});
  replicas_.JudgeMap({{2, 1, "", ""}, {3, 1, "", ""}});
  replicas_.JudgeMap({{2, 1, "", ""}, {2, 1, "", "m"}});
  EXPECT_THAT(replicas_.violations(),
              ElementsAre(HasSubstr("no shard owns"), HasSubstr("two shards begin"),
                          HasSubstr("two ranges at version 1")));
}

TEST_F(ReplicasTest, ALogThatOnlyGrows) {
  replicas_.JudgeWal("n1", 22 << 20, 2 << 20, 2 << 20);
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeWal("n1", 23 << 20, 2 << 20, 2 << 20);
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("segments are not let go")));
}

TEST_F(ReplicasTest, LocksOfWhatWasSplitOff) {
  replicas_.JudgeLocks("n1", 2, 0);
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeLocks("n1", 2, 1);
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("keys that were split off")));
}

TEST_F(ReplicasTest, DamageThatAnEarlierStartFoundHarmless) {
  const std::string lost = "damaged log records";
  replicas_.JudgeLog("n1", 2, "", 0, true);
  replicas_.JudgeLog("n1", 2, lost, 1, true);  // found by the first start behind it
  replicas_.JudgeLog("n1", 2, "", 1, false);   // the next harm is done, and not looked at yet
  replicas_.JudgeLog("n1", 2, lost, 1, true);
  replicas_.JudgeLog("n1", 2, "", 1, true);  // repaired
  replicas_.JudgeLog("n1", 2, "of another kind", 1, true);
  replicas_.JudgeLog("n1", 2, lost, 2, true);   // harmed again
  replicas_.JudgeLog("n1", 3, lost, 1, false);  // another replica
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeLog("n1", 2, lost, 1, false);
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("lost records of group 2")));
}

TEST_F(ReplicasTest, AHorizonThatNoSlotExplains) {
  const auto at = [](uint64_t ms) { return Timestamp::FromParts(ms, 0); };
  replicas_.JudgeOracles({{"n1", true, at(200'000), at(203'000)}});
  const auto lifetime = static_cast<uint64_t>(ToMillis(options_.txn_lifetime));
  replicas_.JudgeHorizon("n1", 2, Timestamp());
  replicas_.JudgeHorizon("n1", 2, at(203'000 - lifetime));
  EXPECT_THAT(replicas_.violations(), IsEmpty());
  replicas_.JudgeOracles({{"n2", false, {}, at(203'000)}});
  replicas_.JudgeHorizon("n1", 2, at(203'001 - lifetime));
  EXPECT_THAT(replicas_.violations(), IsEmpty()) << "a later ceiling may be logged";
  replicas_.JudgeOracles({{"n2", true, {}, at(203'000)}});
  replicas_.JudgeHorizon("n1", 2, at(203'001 - lifetime));
  EXPECT_THAT(replicas_.violations(), ElementsAre(HasSubstr("the horizon of shard 2 on n1")));
}

// ---- rest ---------------------------------------------------------------------------------------

TEST(Rest, SomethingIsLeftOver) {
  EXPECT_THAT(JudgeRest("n1", {{"locks of shard 2", 0}}), IsEmpty());
  EXPECT_THAT(JudgeRest("n1", {{"locks of shard 2", 3}}),
              ElementsAre(HasSubstr("n1 still holds 3 locks of shard 2")));
}

}  // namespace
}  // namespace quorate::sim
