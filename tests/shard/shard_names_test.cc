// How many names a shard and a node remember, and what whoever meets the bound is told.
#include <gtest/gtest.h>

#include "shard/keys.h"
#include "tests/shard/shard_fixture.h"

namespace quorate::shard {
namespace {

class ShardNamesTest : public ShardTest {
 protected:
  void Build(NameBounds names) {
    Settings settings;
    settings.names = std::move(names);
    ShardTest::Build(settings);
  }
  v1::PrepareRequest Named(const std::string& key, const GivenName& name) {
    v1::PrepareRequest part = Part(key, NextSlot().bits());
    part.set_name(std::string(name.bytes()));
    return part;
  }
  GivenName NewName() { return GivenName::Make(kBase, env_.random); }
  Status Put(v1::PrepareRequest part) {
    const auto evaluated = Start(leader().CommitOnePhase(std::move(part), Deadline()));
    Commit();
    return (*evaluated)->status;
  }
};

TEST_F(ShardNamesTest, BeyondTheirBoundNothingIsDoneForANewOneUntilOldOnesAreCollected) {
  Build({.shard = 2});
  const GivenName first = NewName();
  ASSERT_TRUE(Put(Named("a", first)).ok());
  ASSERT_TRUE(Put(Named("b", NewName())).ok());
  const uint64_t digest = leader().StateDigest();
  EXPECT_EQ(Put(Named("c", NewName())).code(), Code::kOverloaded);
  const auto asked = Start(leader().CloseName(NewName(), "d", Deadline()));
  EXPECT_EQ((*asked)->status.code(), Code::kOverloaded);
  v1::PrepareResponse part = **Start(leader().Prepare(Named("c", NewName()), Deadline()));
  EXPECT_EQ(part.error().code(), v1::OVERLOADED);
  EXPECT_GT(part.error().retry_after_ms(), 0u);
  Commit();
  EXPECT_EQ(leader().StateDigest(), digest) << "nothing was logged, or locked";
  EXPECT_EQ(Put(Named("c", first)).code(), Code::kAlreadyExists) << "what is known is answered";
  EXPECT_TRUE(Put(Part("c", NextSlot().bits())).ok()) << "without a name";

  v1::ShardCommand collect;
  collect.set_term(group_->term().value());
  collect.set_version(leader().descriptor().version());
  collect.mutable_advance_horizon()->set_names_horizon(Timestamp::FromParts(kBase + 1, 0).bits());
  group_->Append(collect.SerializeAsString());
  Commit();
  EXPECT_TRUE(Put(Named("d", GivenName::Make(kBase + 2, env_.random))).ok());
}

// A name record goes with its key when the shard is divided.
TEST_F(ShardNamesTest, EveryPartOfACommittedTransactionKeepsTheNameAtItsOwnKey) {
  Build({});
  const GivenName name = NewName();
  const std::string id(TxnId::Make(env_.random).bytes());
  v1::ResolveRequest resolve;
  std::vector<v1::Resolution> resolutions;
  Timestamp commit_ts;
  for (const char* key : {"c", "f", "k"}) {
    v1::PrepareRequest part = Named(key, name);
    part.set_txn_id(id);
    part.mutable_priority()->set_txn_id(id);
    part.set_anchor_key("c");
    const auto prepared = Start(leader().Prepare(part, Deadline()));
    Commit();
    ASSERT_EQ((*prepared)->state(), v1::PREPARED) << (*prepared)->error().message();
    commit_ts = std::max(commit_ts, Timestamp((*prepared)->prepare_ts()));
    v1::Resolution& resolution = resolutions.emplace_back();
    resolution.set_txn_id(id);
    resolution.set_digest(part.digest());
    resolution.set_marker_key(key);
    resolution.set_start_ts(part.start_ts());
    resolution.set_outcome(v1::COMMITTED);
  }
  for (v1::Resolution& resolution : resolutions) resolution.set_commit_ts(commit_ts.bits());
  // Two in one entry, one in another.
  for (const auto& some :
       {std::vector{resolutions[1], resolutions[0]}, std::vector{resolutions[2]}}) {
    const auto resolved = Start(leader().Resolve(some));
    Commit();
    ASSERT_TRUE((*resolved)->ok()) << (*resolved)->ToString();
  }
  const auto kept = [&] {
    std::vector<std::string> keys;
    const auto [from, to] = StoreSpan(Tag::kNames, "", "");
    EXPECT_TRUE(group_->store(0)
                    .Scan(from, to,
                          [&](std::string_view key, std::string_view) {
                            keys.emplace_back(UserKey(key));
                            return true;
                          })
                    .ok());
    return keys;
  };
  EXPECT_EQ(kept(), (std::vector<std::string>{"c", "f", "k"}));
  EXPECT_EQ(leader().LookUp(name).state, NameStanding::State::kCommitted);
  EXPECT_EQ(shards_[0]->StateDigest(), shards_[1]->StateDigest());
  shards_[1]->OnSnapshotInstalled(raft::LogIndex(1));  // a follower that reads all anew

  v1::ShardCommand collect;
  collect.set_term(group_->term().value());
  collect.set_version(leader().descriptor().version());
  collect.mutable_advance_horizon()->set_names_horizon(Timestamp::FromParts(kBase + 1, 0).bits());
  group_->Append(collect.SerializeAsString());
  Commit();
  EXPECT_TRUE(kept().empty());
  EXPECT_EQ(shards_[0]->StateDigest(), shards_[1]->StateDigest());
}

// The two replicas stand for two shards of one node.
TEST_F(ShardNamesTest, ANodesShardsAreBoundedTogether) {
  const auto kept = std::make_shared<size_t>(0);
  Build({.node = 4, .on_node = kept});
  ASSERT_TRUE(Put(Named("a", NewName())).ok());
  ASSERT_TRUE(Put(Named("b", NewName())).ok());
  EXPECT_EQ(*kept, 4u);
  const Status refused = Put(Named("c", NewName()));
  EXPECT_EQ(refused.code(), Code::kOverloaded);
  EXPECT_EQ(refused.message(), "the node remembers 4 names, the most it may");
  shards_[1]->OnSnapshotInstalled(raft::LogIndex(1));  // a follower that reads all anew
  EXPECT_EQ(*kept, 4u);
  group_.reset();
  shards_.clear();
  EXPECT_EQ(*kept, 0u);
}

}  // namespace
}  // namespace quorate::shard
