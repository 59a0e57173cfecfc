// Splits: what each half has afterwards, and what becomes of what is under way meanwhile.
#include <gtest/gtest.h>

#include "quorate/v1/shard.pb.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "shard/table.h"
#include "tests/shard/shard_fixture.h"
#include "txn/footprint.h"

namespace quorate::shard {
namespace {

class SplitTest : public ShardTest {
 protected:
  static constexpr ShardId kChild{9};

  // A part with several keys, its marker and anchor the first.
  v1::PrepareRequest Several(std::vector<std::string> keys) {
    v1::PrepareRequest part = Part(keys.front(), NextSlot().bits());
    part.clear_writes();
    std::vector<std::string_view> views(keys.begin(), keys.end());
    for (const std::string& key : keys) {
      part.add_writes()->set_key(key);
      part.mutable_writes(part.writes_size() - 1)->set_value("v");
    }
    part.set_digest(DigestOf(keys.front(), views, {}).value());
    return part;
  }
  // Commits in one phase. What applying it gave.
  Applied Commit1(v1::PrepareRequest part) {
    auto evaluation = Start(leader().CommitOnePhase(std::move(part), Deadline()));
    CHECK(evaluation->has_value() && (*evaluation)->ok());
    return CommitAnd(*(*evaluation)->applied);
  }
  static Task<Applied> Await(Future<Applied> applied) { co_return co_await std::move(applied); }
  Applied CommitAnd(Future<Applied> applied) {
    Commit();
    const auto result = Start(Await(std::move(applied)));
    CHECK(result->has_value());
    return **result;
  }
  v1::PrepareResponse Prepare(const v1::PrepareRequest& part) {
    const auto answer = Start(leader().Prepare(part, Deadline()));
    Commit();
    CHECK(answer->has_value());
    return **answer;
  }
  Status Resolve(const v1::PrepareRequest& part, Timestamp commit_ts) {
    v1::Resolution resolution;
    resolution.set_txn_id(part.txn_id());
    resolution.set_digest(part.digest());
    resolution.set_marker_key(part.marker_key());
    resolution.set_start_ts(part.start_ts());
    resolution.set_outcome(commit_ts ? v1::COMMITTED : v1::ABORTED_STATE);
    resolution.set_commit_ts(commit_ts.bits());
    const auto done = Start(leader().Resolve({resolution}));
    Commit();
    CHECK(done->has_value());
    return **done;
  }
  Status Split(const std::string& at, ShardId child = kChild) {
    const auto split = Start(leader().Split(at, child, Deadline()));
    env_.executor.RunFor(5s);  // whatever it waits for
    Commit();
    CHECK(split->has_value());
    return **split;
  }
  // What a replica of the child begins with.
  Table Child(size_t replica, ShardId child = kChild) {
    v1::ShardDescriptor blank;
    blank.set_shard_id(child.value());
    return Table(group_->store(replica), blank);
  }
  // Commits a named part with these keys.
  GivenName CommitNamed(const std::vector<std::string>& keys) {
    std::string bytes(16, '\0');
    uint64_t ms = kBase;
    for (int i = 5; i >= 0; --i, ms >>= 8) bytes[i] = static_cast<char>(ms & 0xff);
    bytes[6] = 0x70;
    bytes[8] = static_cast<char>(0x80);
    v1::PrepareRequest part = Several(keys);
    part.set_name(bytes);
    EXPECT_EQ(Commit1(part).state, TxnState::kCommitted);
    return *GivenName::FromBytes(bytes);
  }
  // The keys at which names are kept in a replica's store.
  std::vector<std::string> NamesAt(size_t replica, const Span& span) {
    std::vector<std::string> keys;
    const auto [from, to] = StoreSpan(Tag::kNames, span.from, span.to);
    CHECK(group_->store(replica)
              .Scan(from, to,
                    [&](std::string_view key, std::string_view) {
                      keys.emplace_back(UserKey(key));
                      return true;
                    })
              .ok());
    return keys;
  }
  v1::ReadResponse Read(const std::string& key) {
    v1::ReadRequest read;
    read.add_keys(key);
    const auto answer = Start(leader().Read(read, Deadline()));
    CHECK(answer->has_value());
    return **answer;
  }
};

TEST_F(SplitTest, EachHalfHasWhatIsKeptAtItsKeys) {
  Commit1(Part("b", NextSlot().bits()));
  Commit1(Part("p", NextSlot().bits()));
  const v1::PrepareRequest left = Part("c", NextSlot().bits());
  const v1::PrepareRequest right = Part("q", NextSlot().bits());
  ASSERT_EQ(Prepare(left).state(), v1::PREPARED);
  ASSERT_EQ(Prepare(right).state(), v1::PREPARED);
  const Timestamp read_at = Timestamp(Read("r").read_ts());

  ASSERT_TRUE(Split("m").ok());
  EXPECT_EQ(leader().span(), (Span{"", "m"}));
  EXPECT_EQ(leader().descriptor().version(), 5u);
  EXPECT_EQ(leader().prepared_count(), 1u);
  EXPECT_EQ(leader().in_memory().locks, 1u) << "the child's leader has the child's";
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
  EXPECT_EQ(events_.back(), "<m") << "coordinators anchored from there on have lost their rights";
  EXPECT_EQ(Read("b").error().code(), v1::OK);
  const v1::ReadResponse elsewhere = Read("p");
  EXPECT_EQ(elsewhere.error().code(), v1::STALE_EPOCH);
  ASSERT_EQ(elsewhere.error().descriptors_size(), 2) << "the shard, and where the key is now";
  EXPECT_EQ(elsewhere.error().descriptors(1).shard_id(), kChild.value());
  for (size_t replica : {0, 1}) {
    const Table child = Child(replica);
    EXPECT_EQ(child.span(), (Span{"m", "y"}));
    EXPECT_EQ(child.version(), 5u);
    EXPECT_EQ(child.descriptor().membership_version(), 1u);
    EXPECT_EQ(child.descriptor().replicas_size(), 2);
    EXPECT_EQ(child.prepared().size(), 1u);
    EXPECT_NE(child.IntentOn("q"), nullptr);
    EXPECT_EQ(child.collectable().size(), 1u);
    EXPECT_EQ(child.broken(), "");
    EXPECT_GE(child.floor(), read_at) << "nothing is committed where the parent has read";
  }
  // Each resolves its own.
  EXPECT_EQ(Resolve(right, NextSlot()).code(), Code::kStaleEpoch);
  EXPECT_TRUE(Resolve(left, NextSlot()).ok());
  EXPECT_EQ(Child(0).prepared().size(), 1u);
}

TEST_F(SplitTest, WhatIsEvaluatedMeanwhileIsLoggedBehindItOrRefused) {
  const auto split = Start(leader().Split("m", kChild, Deadline()));
  ASSERT_EQ(group_->pending().size(), 1u);
  auto left = Start(leader().CommitOnePhase(Part("b", NextSlot().bits()), Deadline()));
  const v1::PrepareRequest part = Part("q", NextSlot().bits());
  const auto right = Start(leader().Prepare(part, Deadline()));
  v1::ReadRequest read;
  read.add_keys("r");
  const auto reads = Start(leader().Read(read, Deadline()));
  EXPECT_EQ(group_->pending().size(), 1u) << "nothing of the version before comes behind it";
  EXPECT_FALSE(reads->has_value()) << "it would raise what was handed down already";
  group_->CommitOne();
  Run();
  ASSERT_TRUE(split->has_value());
  EXPECT_TRUE((*split)->ok());
  EXPECT_EQ(CommitAnd(*(*left)->applied).state, TxnState::kCommitted);
  ASSERT_TRUE(right->has_value());
  EXPECT_EQ((*right)->error().code(), v1::STALE_EPOCH);
  ASSERT_TRUE(reads->has_value());
  EXPECT_EQ((*reads)->error().code(), v1::STALE_EPOCH);
  EXPECT_EQ(leader().in_memory().locks, 0u);
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
}

TEST_F(SplitTest, WhatIsKeptGoesOnIfItIsNotApplied) {
  const auto split = Start(leader().Split("m", kChild, Deadline()));
  auto left = Start(leader().CommitOnePhase(Part("b", NextSlot().bits()), Deadline()));
  auto right = Start(leader().CommitOnePhase(Part("q", NextSlot().bits()), Deadline()));
  group_->Elect(1);
  Commit();
  ASSERT_TRUE(split->has_value());
  EXPECT_EQ((*split)->code(), Code::kNotLeader);
  EXPECT_EQ(CommitAnd(*(*left)->applied).status.code(), Code::kNotLeader);
  ASSERT_TRUE(right->has_value());
  EXPECT_EQ((*right)->status.code(), Code::kNotLeader) << "it was not evaluated yet";
  EXPECT_EQ(leader().descriptor().version(), 4u);
  ASSERT_EQ(Read("q").error().code(), v1::OK) << "and nobody waits for a split any more";
}

TEST_F(SplitTest, WaitsForWhatIsPreparedOnBothSides) {
  const v1::PrepareRequest across = Several({"b", "q"});
  ASSERT_EQ(Prepare(across).state(), v1::PREPARED);
  const auto split = Start(leader().Split("m", kChild, Deadline()));
  env_.executor.RunFor(1s);
  EXPECT_TRUE(group_->pending().empty());
  EXPECT_FALSE(pushed_.empty()) << "somebody has to end it";
  const auto next = Start(leader().Prepare(Several({"c", "r"}), Deadline()));
  EXPECT_TRUE(group_->pending().empty()) << "others across it would hold it up for ever";
  EXPECT_EQ(Prepare(Part("d", NextSlot().bits())).state(), v1::PREPARED);
  ASSERT_TRUE(Resolve(across, NextSlot()).ok());
  env_.executor.RunFor(10ms);
  Commit();
  ASSERT_TRUE(split->has_value());
  EXPECT_TRUE((*split)->ok());
  ASSERT_TRUE(next->has_value());
  EXPECT_EQ((*next)->error().code(), v1::STALE_EPOCH);
}

TEST_F(SplitTest, IsGivenUpRatherThanCuttingAPreparedPart) {
  const v1::PrepareRequest across = Several({"b", "q"});
  ASSERT_EQ(Prepare(across).state(), v1::PREPARED);
  EXPECT_EQ(Split("m").code(), Code::kFailedPrecondition);
  EXPECT_TRUE(Split("r").ok()) << "elsewhere it can be";
  // Nor does an entry cut one that a leader did not see.
  v1::ShardCommand command;
  command.set_term(group_->term().value());
  command.set_version(leader().descriptor().version());
  command.mutable_split()->set_at("m");
  command.mutable_split()->set_child_shard_id(10);
  group_->Append(command.SerializeAsString());
  Commit();
  EXPECT_EQ(leader().span().to, "r");
}

TEST_F(SplitTest, RefusesWhatIsNoPlaceToSplit) {
  for (const std::string& at : {"y", "z"}) {
    EXPECT_EQ(Split(at).code(), Code::kInvalidArgument) << at;
  }
  ASSERT_TRUE(Split("m").ok());
  EXPECT_EQ(Split("m").code(), Code::kInvalidArgument);
  EXPECT_EQ((*Start(shards_[1]->Split("c", kChild, Deadline())))->code(), Code::kNotLeader);
}

TEST_F(SplitTest, ANameIsKnownOnBothSidesOfItsPart) {
  const GivenName name = CommitNamed({"b", "n", "q"});
  ASSERT_TRUE(Split("m").ok());
  EXPECT_EQ(leader().LookUp(name).state, NameStanding::State::kCommitted);
  for (size_t replica : {0, 1}) {
    const Table child = Child(replica);
    const Names::Entry* entry = child.names().Find(name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->state, NameRecord::State::kCommitted);
    EXPECT_EQ(entry->key, "m") << "a split of the child before \"q\" must not take it from \"n\"";
    EXPECT_EQ(entry->last_key, "q");
  }
}

// Of the keys of a part a name record tells the first and the last, which another shard has by
// then.
TEST_F(SplitTest, ASecondSplitWritesNothingBehindTheFirst) {
  const GivenName name = CommitNamed({"b", "g", "q"});
  ASSERT_TRUE(Split("m").ok());
  for (size_t replica : {0, 1}) {
    storage::WriteBatch batch;  // the child has collected it meanwhile
    batch.Delete(NameKey("m", name));
    group_->store(replica).Apply(GroupId(kChild.value()), 1, std::move(batch));
    ASSERT_EQ(NamesAt(replica, {"m", "y"}), std::vector<std::string>{});
  }
  constexpr ShardId kSecond{10};
  ASSERT_TRUE(Split("d", kSecond).ok());
  for (size_t replica : {0, 1}) {
    EXPECT_EQ(NamesAt(replica, {"m", "y"}), std::vector<std::string>{});
    EXPECT_NE(Child(replica, kSecond).names().Find(name), nullptr) << "for \"g\"";
  }
}

// The child's replica came before its parent's log was that far: its own log says what it has.
TEST_F(SplitTest, NothingIsWrittenOverAChildThatIsThere) {
  CommitNamed({"b", "q"});
  const std::string key = ShardStateKey(kChild);
  storage::WriteBatch batch;
  batch.Put(key, v1::ShardState().SerializeAsString());
  group_->store(1).Apply(GroupId(kChild.value()), 1, std::move(batch));
  ASSERT_TRUE(Split("m").ok());
  EXPECT_EQ(NamesAt(0, {"m", "y"}), (std::vector<std::string>{"m"}));
  EXPECT_EQ(NamesAt(1, {"m", "y"}), std::vector<std::string>{});
}

// A record that names keys of both halves collects on its own side only; the rest is swept.
TEST_F(SplitTest, GarbageOnTheOtherSideIsSwept) {
  Commit1(Part("b", NextSlot().bits()));
  Commit1(Part("c", NextSlot().bits()));
  Commit1(Part("q", NextSlot().bits()));
  v1::PrepareRequest across = Several({"c", "q"});
  across.set_anchor_key("q");  // its record goes to the child, with the name of "c"
  Commit1(across);
  ASSERT_TRUE(Split("m").ok());
  const auto versions = [this](const std::string& key) {
    size_t count = 0;
    const auto [from, to] = StoreSpanOfKey(Tag::kVersions, key);
    CHECK(group_->store(0)
              .Scan(from, to,
                    [&](std::string_view, std::string_view) {
                      ++count;
                      return true;
                    })
              .ok());
    return count;
  };
  EXPECT_EQ(versions("c"), 2u);
  newest_ = Timestamp::FromParts(kBase + 200'000, 0);
  for (int i = 0; i < 90; ++i) {
    env_.executor.RunFor(1s);
    Commit();
  }
  EXPECT_EQ(versions("c"), 1u) << "below the newest one";
  EXPECT_EQ(versions("b"), 1u);
  EXPECT_EQ(versions("q"), 2u) << "the child's to collect";
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
  EXPECT_FALSE(Table(group_->store(0), leader().descriptor()).sweep().has_value());
}

}  // namespace
}  // namespace quorate::shard
