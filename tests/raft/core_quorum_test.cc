// quorum.h and membership.h against definitions written out by hand: a set of replicas is a quorum
// if it holds more than half of each set of voters; everything else follows by trying all subsets.
#include <gtest/gtest.h>

#include <map>

#include "base/random.h"
#include "raft/core/membership.h"
#include "raft/core/quorum.h"

namespace quorate::raft {
namespace {

constexpr uint64_t kIds = 7;

bool Majority(const std::vector<ReplicaId>& voters, uint64_t set) {
  size_t count = 0;
  for (ReplicaId id : voters) count += (set >> id.value()) & 1;
  return voters.empty() || 2 * count > voters.size();
}

bool IsQuorum(const Configuration& c, uint64_t set) {
  return Majority(c.voters, set) && Majority(c.voters_outgoing, set);
}

std::vector<ReplicaId> RandomIds(Random& random, double chance) {
  std::vector<ReplicaId> ids;
  for (uint64_t id = 1; id <= kIds; ++id) {
    if (random.Chance(chance)) ids.emplace_back(id);
  }
  return ids;
}

Configuration RandomConfiguration(Random& random) {
  Configuration c;
  while (c.voters.empty()) c.voters = RandomIds(random, 0.6);
  if (random.Chance(0.5)) c.voters_outgoing = RandomIds(random, 0.6);
  return c;
}

TEST(Quorum, ValueIsTheLargestThatAQuorumHasReached) {
  Random random(1);
  for (int run = 0; run < 2000; ++run) {
    Configuration c = RandomConfiguration(random);
    std::map<ReplicaId, uint64_t> values;
    for (uint64_t id = 1; id <= kIds; ++id) values[ReplicaId(id)] = random.Below(6);
    uint64_t naive = 0;
    for (uint64_t candidate = 0; candidate < 6; ++candidate) {
      uint64_t reached = 0;
      for (auto [id, value] : values) reached |= uint64_t(value >= candidate) << id.value();
      if (IsQuorum(c, reached)) naive = candidate;
    }
    auto value_of = [&](ReplicaId id) { return values[id]; };
    EXPECT_EQ(QuorumValue<uint64_t>(c, value_of), naive) << ToString(c);
  }
}

TEST(Quorum, VotesAreWonOrLostWhenNothingCanChangeIt) {
  Random random(2);
  for (int run = 0; run < 2000; ++run) {
    Configuration c = RandomConfiguration(random);
    Votes votes;
    uint64_t granted = 0;
    uint64_t refused = 0;
    for (uint64_t id = 1; id <= kIds; ++id) {
      if (random.Chance(0.3)) continue;
      bool yes = random.Chance(0.6);
      votes.Record(ReplicaId(id), yes);
      votes.Record(ReplicaId(id), !yes);  // a second answer changes nothing
      (yes ? granted : refused) |= uint64_t{1} << id;
    }
    Votes::Outcome naive = IsQuorum(c, granted)    ? Votes::Outcome::kWon
                           : IsQuorum(c, ~refused) ? Votes::Outcome::kPending
                                                   : Votes::Outcome::kLost;
    EXPECT_EQ(votes.Tally(c), naive) << ToString(c);
  }
}

TEST(Quorum, QuorumsOfConsecutiveConfigurationsMeet) {
  Random random(3);
  for (int run = 0; run < 500; ++run) {
    Configuration old;
    while (old.voters.empty()) old.voters = RandomIds(random, 0.5);
    std::vector<ReplicaId> voters;
    while (voters.empty()) voters = RandomIds(random, 0.5);
    Configuration entered = *EnterJoint(old, voters, {});
    Configuration left = entered.joint() ? LeaveJoint(entered) : entered;
    for (uint64_t a = 0; a < 256; a += 2) {
      for (uint64_t b = 0; b < 256; b += 2) {
        if (IsQuorum(old, a) && IsQuorum(entered, b)) ASSERT_NE(a & b, 0u);
        if (IsQuorum(entered, a) && IsQuorum(left, b)) ASSERT_NE(a & b, 0u);
      }
    }
  }
}

Configuration Sets(std::vector<uint64_t> voters, std::vector<uint64_t> outgoing,
                   std::vector<uint64_t> learners) {
  return {.voters = {voters.begin(), voters.end()},
          .voters_outgoing = {outgoing.begin(), outgoing.end()},
          .learners = {learners.begin(), learners.end()}};
}

TEST(Membership, EncodingRoundTrips) {
  for (const Configuration& c :
       {Sets({1}, {}, {}), Sets({1, 2, 300}, {1, 4}, {4, 70000}), Sets({2}, {1, 2, 3}, {1, 3})}) {
    Configuration decoded;
    ASSERT_TRUE(DecodeConfiguration(EncodeConfiguration(c), &decoded));
    EXPECT_EQ(decoded, c);
  }
}

TEST(Membership, DecodingRefusesWhatIsNoConfiguration) {
  Configuration decoded;
  for (const Configuration& c : {Sets({}, {}, {}), Sets({2, 1}, {}, {}), Sets({1, 1}, {}, {}),
                                 Sets({0}, {}, {}), Sets({1, 2}, {}, {2}), Sets({1}, {3, 2}, {})}) {
    EXPECT_FALSE(DecodeConfiguration(EncodeConfiguration(c), &decoded)) << ToString(c);
  }
  std::string good = EncodeConfiguration(Sets({1, 2}, {}, {3}));
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(DecodeConfiguration(good.substr(0, n), &decoded)) << n;
  }
  EXPECT_FALSE(DecodeConfiguration(good + "x", &decoded));
  EXPECT_FALSE(DecodeConfiguration("\xff\xff\xff\xff\x0f", &decoded))
      << "a length beyond the input";
}

TEST(Membership, DemotedVoterVotesUntilTheJointConfigurationIsLeft) {
  Configuration joint =
      *EnterJoint(Sets({1, 2, 3}, {}, {}), {ReplicaId(1), ReplicaId(2)}, {ReplicaId(3)});
  EXPECT_EQ(joint, Sets({1, 2}, {1, 2, 3}, {3}));
  EXPECT_TRUE(IsVoter(joint, ReplicaId(3)));
  Configuration left = LeaveJoint(joint);
  EXPECT_EQ(left, Sets({1, 2}, {}, {3}));
  EXPECT_FALSE(IsVoter(left, ReplicaId(3)));
  EXPECT_TRUE(IsMember(left, ReplicaId(3)));
}

TEST(Membership, ChangeOfLearnersAloneNeedsNoJointConfiguration) {
  Configuration next = *EnterJoint(Sets({1, 2}, {}, {3}), {ReplicaId(2), ReplicaId(1)},
                                   {ReplicaId(5), ReplicaId(4)});
  EXPECT_EQ(next, Sets({1, 2}, {}, {4, 5}));
}

}  // namespace
}  // namespace quorate::raft
