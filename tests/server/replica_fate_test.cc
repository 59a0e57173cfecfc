#include "server/node/replica_fate.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace quorate::server {
namespace {

// A replica on node 3, whose log's newest configuration, at 20, has it and is applied; the map is
// older and has it, too.
ReplicaStanding Member() {
  ReplicaStanding replica;
  replica.self = NodeId(3);
  replica.newest.voters = {NodeId(1), NodeId(2), NodeId(3)};
  replica.newest_index = raft::LogIndex(20);
  replica.applied_index = raft::LogIndex(25);
  replica.in_map = true;
  replica.map_index = 10;
  return replica;
}

bool Goes(const ReplicaStanding& replica) { return !FateOf(replica).gone.empty(); }

TEST(ReplicaFate, AMemberStays) {
  for (const bool led : {false, true}) {
    ReplicaStanding replica = Member();
    replica.led = led;
    EXPECT_FALSE(Goes(replica));
    EXPECT_FALSE(FateOf(replica).look_again);
  }
}

TEST(ReplicaFate, ItsOwnLogIsEnoughOnceTheRemovalIsCommitted) {
  ReplicaStanding replica = Member();
  replica.newest.voters = {NodeId(1), NodeId(2)};
  replica.led = true;  // the one that removes it told it so
  EXPECT_TRUE(Goes(replica));
  replica.applied_index = raft::LogIndex(19);
  EXPECT_FALSE(Goes(replica)) << "another leader may still take the entry back";
}

// A snapshot from before it became a member, with the entry that adds it on its way.
TEST(ReplicaFate, ItsOwnLogIsNotEnoughIfTheMapKnowsALaterEntry) {
  ReplicaStanding replica = Member();
  replica.newest.voters = {NodeId(1), NodeId(2)};
  replica.map_index = 21;
  EXPECT_FALSE(Goes(replica));
  replica.map_index = 20;
  EXPECT_TRUE(Goes(replica));
}

TEST(ReplicaFate, WhoLeavesInAJointChangeStaysUntilItIsOver) {
  ReplicaStanding replica = Member();
  replica.newest.voters = {NodeId(1), NodeId(2), NodeId(4)};
  replica.newest.voters_outgoing = {NodeId(1), NodeId(2), NodeId(3)};
  EXPECT_FALSE(Goes(replica));
}

TEST(ReplicaFate, ALearnerIsAMember) {
  ReplicaStanding replica = Member();
  replica.newest.voters = {NodeId(1), NodeId(2)};
  replica.newest.learners = {NodeId(3)};
  EXPECT_FALSE(Goes(replica));
}

TEST(ReplicaFate, AnEmptyReplicaWaitsForItsSnapshot) {
  ReplicaStanding replica = Member();
  replica.newest = {};
  replica.newest_index = {};
  replica.applied_index = {};
  EXPECT_FALSE(Goes(replica));
}

TEST(ReplicaFate, OneThatWasCutOffAsksTheMap) {
  ReplicaStanding replica = Member();
  replica.in_map = false;
  EXPECT_FALSE(Goes(replica)) << "the map is older than its log";
  for (const uint64_t index : {20, 21}) {
    replica.map_index = index;
    EXPECT_TRUE(Goes(replica)) << index;
  }
  replica.map_index = 0;
  EXPECT_FALSE(Goes(replica)) << "the map does not know the group";
}

TEST(ReplicaFate, TheMapDoesNotTakeOneThatIsLed) {
  ReplicaStanding replica = Member();
  replica.in_map = false;
  replica.map_index = 30;
  replica.led = true;
  EXPECT_FALSE(Goes(replica));
  EXPECT_TRUE(FateOf(replica).look_again) << "its leader may fall silent";
  replica.led = false;
  EXPECT_TRUE(Goes(replica));
}

}  // namespace
}  // namespace quorate::server
