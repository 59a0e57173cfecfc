// Who goes on alone when a majority is lost, what of, and who must not (survivor.h).
#include "raft/host/survivor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace quorate::raft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Fate = Survivor::Fate;

constexpr GroupId kGroup{7};
constexpr NodeId kSelf{3};

Configuration Members(std::vector<uint64_t> voters, std::vector<uint64_t> outgoing = {}) {
  Configuration configuration;
  for (const uint64_t id : voters) configuration.voters.push_back(NodeId(id));
  for (const uint64_t id : outgoing) configuration.voters_outgoing.push_back(NodeId(id));
  return configuration;
}

// A log behind a mark at 4 of term 2, with a state at 5.
class SurvivorTest : public ::testing::Test {
 protected:
  SurvivorTest() {
    log_.incarnation = 2;
    log_.mark = {4, 2};
    for (const uint64_t term : {2, 2, 3}) Append(term);
    log_.hard_state = {6, 1, 5};
  }
  void Append(uint64_t term) {
    log_.entries.push_back({log_.mark.index + log_.entries.size() + 1, term, 0, "x"});
  }
  void Append(uint64_t term, const Configuration& members) {
    Append(term);
    log_.entries.back().type = static_cast<uint8_t>(EntryType::kConfiguration);
    log_.entries.back().payload = EncodeConfiguration(members);
  }

  Survivor Run(std::set<NodeId> lost) {
    storage::WalGroup log = log_;
    Stored stored;
    stored.wal = &log;
    stored.applied = LogIndex(5);
    stored.meta.emplace();
    stored.meta->applied_term = Term(2);
    stored.meta->changes = {{LogIndex(1), members_}};
    stored.replacing = replacing_;
    return GoOnAlone(kGroup, std::move(stored), kSelf, lost);
  }

  storage::WalGroup log_;
  Configuration members_ = Members({1, 2, 3});
  bool replacing_ = false;
};

TEST_F(SurvivorTest, AMajorityThatIsLeftIsLeftAlone) {
  const Survivor out = Run({NodeId(1)});
  EXPECT_EQ(out.fate, Fate::kUntouched);
  EXPECT_THAT(out.records, IsEmpty());
  EXPECT_EQ(Run({}).fate, Fate::kUntouched);
}

TEST_F(SurvivorTest, ItGoesOnFromAllThatItHasAboveWhateverWasVoted) {
  const Survivor out = Run({NodeId(1), NodeId(2)});
  ASSERT_EQ(out.fate, Fate::kAlone) << out.why;
  EXPECT_EQ(out.members, members_);
  EXPECT_EQ(out.last, LogIndex(7));
  EXPECT_EQ(out.last_term, Term(3));
  EXPECT_EQ(out.committed, LogIndex(5));
  ASSERT_EQ(out.records.size(), 1u);
  const storage::WalRecord& record = out.records[0];
  EXPECT_EQ(record.incarnation, 2u);
  ASSERT_EQ(record.entries.size(), 1u);
  EXPECT_EQ(record.entries[0].index, 8u);
  EXPECT_GT(record.entries[0].term, 6u + 1000);
  Configuration alone;
  ASSERT_TRUE(DecodeConfiguration(record.entries[0].payload, &alone));
  EXPECT_EQ(alone, Members({3}));
  EXPECT_EQ(record.hard_state->term, record.entries[0].term);
  EXPECT_EQ(record.hard_state->vote, 0u);
}

TEST_F(SurvivorTest, TheNewestMembersCountAndBothHalvesOfAChange) {
  Append(3, Members({3, 4, 5}));
  EXPECT_EQ(Run({NodeId(1), NodeId(2)}).fate, Fate::kUntouched) << "they are no members any more";
  EXPECT_EQ(Run({NodeId(4), NodeId(5)}).fate, Fate::kAlone);
  Append(3, Members({3, 4, 6}, {3, 4, 5}));
  EXPECT_EQ(Run({NodeId(5), NodeId(6)}).fate, Fate::kUntouched);
  EXPECT_EQ(Run({NodeId(4), NodeId(6)}).fate, Fate::kStuck) << "node 5 survives";
  EXPECT_EQ(Run({NodeId(4), NodeId(5), NodeId(6)}).fate, Fate::kAlone);
}

TEST_F(SurvivorTest, OnlyOneOfSeveralMayGoOn) {
  members_ = Members({1, 2, 3, 4, 5});
  const Survivor out = Run({NodeId(1), NodeId(2), NodeId(4)});
  EXPECT_EQ(out.fate, Fate::kStuck);
  EXPECT_THAT(out.why, HasSubstr("node 5 survives, too"));
  EXPECT_THAT(out.why, HasSubstr("here (3, 7)"));
  EXPECT_THAT(out.records, IsEmpty());
}

TEST_F(SurvivorTest, WhoHasNoVoteOrIsNotWholeDoesNotGoOn) {
  const std::set<NodeId> lost = {NodeId(1), NodeId(2), NodeId(4)};
  members_ = Members({1, 2, 4});
  EXPECT_THAT(Run(lost).why, HasSubstr("no voter"));
  members_ = Members({1, 2, 3});
  replacing_ = true;
  EXPECT_THAT(Run(lost).why, HasSubstr("not whole"));
  replacing_ = false;
  log_.damaged = true;
  const Survivor out = Run(lost);
  EXPECT_THAT(out.why, HasSubstr("damaged"));
  EXPECT_EQ(out.fate, Fate::kStuck);
  EXPECT_THAT(out.records, IsEmpty());
}

}  // namespace
}  // namespace quorate::raft
