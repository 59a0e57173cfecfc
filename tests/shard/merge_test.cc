// Merges: what a shard has that absorbed its neighbour, and what a frozen one does not do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/coding.h"
#include "base/crc32c.h"
#include "quorate/v1/shard.pb.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "shard/state_machine.h"
#include "shard/table.h"
#include "tests/shard/shard_fixture.h"
#include "txn/footprint.h"
#include "txn/judge.h"

namespace quorate::shard {
namespace {

using ::testing::IsEmpty;

v1::Resolution Committed(const v1::PrepareRequest& part, Timestamp at) {
  v1::Resolution resolution;
  resolution.set_txn_id(part.txn_id());
  resolution.set_digest(part.digest());
  resolution.set_marker_key(part.marker_key());
  resolution.set_start_ts(part.start_ts());
  resolution.set_outcome(v1::COMMITTED);
  resolution.set_commit_ts(at.bits());
  return resolution;
}

// Shard 7 has the keys up to "y", shard 9 those behind it; each has stores of its own.
class MergeTest : public ShardTest {
 protected:
  static constexpr ShardId kRight{9};

  MergeTest() {
    v1::ShardDescriptor descriptor;
    descriptor.set_shard_id(kRight.value());
    descriptor.set_from("y");
    descriptor.set_version(6);
    for (int i = 1; i <= 2; ++i) descriptor.add_replicas()->set_node_id(static_cast<uint64_t>(i));
    right_group_ = std::make_unique<testing::FakeGroup>(env_.env, GroupId(9), 2);
    for (size_t i = 0; i < 2; ++i) {
      Shard::Deps deps{env_.env, right_group_->store(i), *this, *this, *this, nullptr,
                       nullptr,  &parts_logged_};
      right_.push_back(std::make_unique<Shard>(deps, Settings(), descriptor));
      right_[i]->Attach(right_group_->handle(i));
      right_group_->Start(i, right_[i].get());
    }
    right_group_->Elect(0);
    Run();
    CommitRight();
  }
  void CommitRight() {
    while (!right_group_->pending().empty()) {
      right_group_->CommitOne();
      Run();
    }
  }
  void CommitBoth() {
    Commit();
    CommitRight();
  }
  Shard& right() { return *right_[right_group_->leader()]; }

  template <class T>
  T Done(const std::shared_ptr<std::optional<T>>& result) {
    CHECK(result->has_value());
    return **result;
  }
  v1::PrepareResponse Prepare(Shard& shard, const v1::PrepareRequest& part) {
    const auto answer = Start(shard.Prepare(part, Deadline()));
    CommitBoth();
    return Done(answer);
  }
  static Task<Applied> Await(Future<Applied> applied) { co_return co_await std::move(applied); }
  Applied Commit1(Shard& shard, v1::PrepareRequest part) {
    auto evaluation = Done(Start(shard.CommitOnePhase(std::move(part), Deadline())));
    CHECK(evaluation.ok(), "{}", evaluation.status.ToString());
    CommitBoth();
    return Done(Start(Await(*evaluation.applied)));
  }
  v1::ReadResponse Read(Shard& shard, const std::string& key) {
    v1::ReadRequest read;
    read.add_keys(key);
    const auto answer = Start(shard.Read(read, Deadline()));
    CommitBoth();
    return Done(answer);
  }
  TxnState Query(Shard& shard, const v1::PrepareRequest& part) {
    v1::QueryPrepareRequest query;
    query.set_txn_id(part.txn_id());
    query.set_digest(part.digest());
    query.set_marker_key(part.marker_key());
    query.set_start_ts(part.start_ts());
    const auto answer = Start(shard.QueryPrepare(query, Deadline()));
    CommitBoth();
    return static_cast<TxnState>(Done(answer).state());
  }
  Status Freeze() {
    const auto frozen = Start(right().Freeze(ShardId(7), Deadline()));
    CommitRight();
    return Done(frozen);
  }
  v1::FrozenShard Contents() {
    auto contents = right().Contents();
    CHECK(contents.ok(), "{}", contents.status().ToString());
    return *std::move(contents);
  }
  Status Absorb(v1::FrozenShard frozen) {
    const auto absorbed = Start(
        leader().Absorb(std::move(frozen), leader().descriptor().membership_version(), Deadline()));
    Commit();
    return Done(absorbed);
  }
  Status Abandon(uint64_t version) {
    v1::AbandonMerge merge;
    merge.set_shard_id(kRight.value());
    merge.set_version(version);
    merge.set_from("y");
    const auto abandoned = Start(leader().Abandon(std::move(merge)));
    Commit();
    return Done(abandoned);
  }

  std::unique_ptr<testing::FakeGroup> right_group_;
  std::vector<std::unique_ptr<Shard>> right_;
};

TEST_F(MergeTest, TheLeftOneHasAllThatTheRightOneKept) {
  Commit1(leader(), Part("b", NextSlot().bits()));
  Commit1(right(), Part("yb", NextSlot().bits()));
  const v1::PrepareRequest prepared = Part("yc", NextSlot().bits());
  ASSERT_EQ(Prepare(right(), prepared).state(), v1::PREPARED);
  const v1::PrepareRequest refused = Part("yd", NextSlot().bits());
  ASSERT_EQ(Query(right(), refused), TxnState::kAborted);
  const Timestamp read_at(Read(right(), "ye").read_ts());

  ASSERT_TRUE(Freeze().ok());
  EXPECT_FALSE(right().serving());
  EXPECT_EQ(right().frozen_into(), ShardId(7));
  ASSERT_TRUE(Absorb(Contents()).ok());
  EXPECT_EQ(leader().span(), (Span{"", ""}));
  EXPECT_EQ(leader().descriptor().version(), 7u) << "above both";
  EXPECT_TRUE(leader().HasAbsorbed(kRight));
  EXPECT_EQ(leader().prepared_count(), 1u);
  EXPECT_EQ(leader().in_memory().locks, 1u) << "held by who leads it now";
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
  EXPECT_TRUE(Read(leader(), "yb").gets(0).found());
  EXPECT_TRUE(Read(leader(), "b").gets(0).found());
  EXPECT_EQ(Prepare(leader(), refused).state(), v1::ABORTED_STATE) << "refused for good";
  EXPECT_EQ(Query(leader(), prepared), TxnState::kPrepared);
  // Named below what was read there, and committed above it.
  EXPECT_GT(Commit1(leader(), Part("ye", kBase << 12)).commit_ts, read_at);
}

TEST_F(MergeTest, WhatWasReadIsProtectedAtOnceAndByLaterLeaders) {
  const v1::PrepareRequest before = Part("yk", NextSlot().bits());
  const v1::PrepareRequest later = Part("ym", NextSlot().bits());
  for (int i = 0; i < 20; ++i) NextSlot();
  const Timestamp read_at(Read(right(), "yk").read_ts());
  ASSERT_TRUE(Freeze().ok());
  ASSERT_TRUE(Absorb(Contents()).ok());
  EXPECT_GT(Timestamp(Prepare(leader(), before).prepare_ts()), read_at);
  for (size_t i = 0; i < 2; ++i) {
    v1::ShardDescriptor blank;
    blank.set_shard_id(7);
    EXPECT_GE(Table(group_->store(i), blank).floor(), read_at);
  }
}

TEST_F(MergeTest, RecordsOfBothSidesAreResolvedByOne) {
  const v1::PrepareRequest left = Part("c", NextSlot().bits());
  v1::PrepareRequest part = Part("yc", NextSlot().bits());
  ASSERT_EQ(Prepare(leader(), left).state(), v1::PREPARED);
  const Timestamp prepare_ts(Prepare(right(), part).prepare_ts());
  ASSERT_TRUE(Freeze().ok());
  ASSERT_TRUE(Absorb(Contents()).ok());
  EXPECT_EQ(leader().in_memory().locks, 2u);
  const auto resolved = Start(leader().Resolve({Committed(part, prepare_ts)}));
  Commit();
  EXPECT_TRUE(Done(resolved).ok());
  EXPECT_EQ(leader().in_memory().locks, 1u);
  EXPECT_TRUE(Read(leader(), "yc").gets(0).found());
}

TEST_F(MergeTest, AFrozenShardKeepsWhatItHas) {
  const auto under_way = Start(right().Prepare(Part("yq", NextSlot().bits()), Deadline()));
  const auto frozen = Start(right().Freeze(ShardId(7), Deadline()));
  const auto late = Start(right().Prepare(Part("yr", NextSlot().bits()), Deadline()));
  EXPECT_EQ(Done(late).error().code(), v1::NOT_LEADER) << "evaluated by nobody";
  CommitRight();
  EXPECT_EQ(Done(under_way).state(), v1::PREPARED) << "it was logged before";
  EXPECT_TRUE(Done(frozen).ok());
  const uint64_t digest = right().StateDigest();
  // A copy of an entry, and one of a leader that does not know yet.
  v1::ShardCommand command;
  command.set_term(right_group_->term().value());
  command.set_version(6);
  command.mutable_leader_start()->set_floor(NextSlot().bits());
  right_group_->Append(command.SerializeAsString());
  CommitRight();
  EXPECT_EQ(right().StateDigest(), digest);
  // Whoever is elected does not serve it either.
  right_group_->Elect(1);
  Run();
  CommitRight();
  EXPECT_FALSE(right().serving());
  EXPECT_TRUE(right().leads());
  EXPECT_EQ(right().StateDigest(), digest);
}

TEST_F(MergeTest, AThawedShardServesUnderTheNextVersion) {
  const Timestamp read_at(Read(right(), "yq").read_ts());
  ASSERT_TRUE(Freeze().ok());
  const auto waits = Start(right().Prepare(Part("yq", NextSlot().bits()), Deadline()));
  const auto thawed = Start(right().Thaw());
  CommitRight();
  ASSERT_TRUE(Done(thawed).ok());
  EXPECT_TRUE(right().serving());
  EXPECT_EQ(right().descriptor().version(), 7u);
  EXPECT_FALSE(right().frozen_into());
  EXPECT_EQ(right().StateDigest(), right_[1]->StateDigest());
  (void)waits;
  EXPECT_GT(Timestamp(Prepare(right(), Part("yz", NextSlot().bits())).prepare_ts()), read_at);
}

TEST_F(MergeTest, WhatWasAbandonedIsNotAbsorbedAndTheOtherWayRound) {
  ASSERT_TRUE(Freeze().ok());
  const v1::FrozenShard first = Contents();
  ASSERT_TRUE(Abandon(6).ok());
  EXPECT_FALSE(leader().HasAbsorbed(kRight));
  EXPECT_EQ(Absorb(first).code(), Code::kFailedPrecondition);
  EXPECT_EQ(leader().span(), (Span{"", "y"}));
  const auto thawed = Start(right().Thaw());
  CommitRight();
  ASSERT_TRUE(Done(thawed).ok());

  ASSERT_TRUE(Freeze().ok());
  ASSERT_TRUE(Absorb(Contents()).ok());
  EXPECT_TRUE(Abandon(7).ok());
  EXPECT_TRUE(leader().HasAbsorbed(kRight)) << "it came too late";
  const uint64_t version = leader().descriptor().version();
  EXPECT_EQ(Absorb(first).code(), Code::kStaleEpoch);
  EXPECT_EQ(leader().descriptor().version(), version);
}

// The entries are in the log in this order, whatever their proposers knew.
TEST_F(MergeTest, OnlyTheLogDecides) {
  ASSERT_TRUE(Freeze().ok());
  v1::ShardCommand absorb;
  absorb.set_term(group_->term().value());
  absorb.set_version(4);
  *absorb.mutable_absorb()->mutable_frozen() = Contents();
  v1::ShardCommand abandon;
  abandon.set_term(group_->term().value());
  abandon.set_version(4);
  abandon.mutable_abandon_merge()->set_shard_id(kRight.value());
  abandon.mutable_abandon_merge()->set_version(6);
  abandon.mutable_abandon_merge()->set_from("y");
  group_->Append(abandon.SerializeAsString());
  group_->Append(absorb.SerializeAsString());
  Commit();
  EXPECT_EQ(leader().span(), (Span{"", "y"}));
  EXPECT_FALSE(leader().HasAbsorbed(kRight));
}

TEST_F(MergeTest, AnAbsorbIsLoggedOnceAndTakesEffectOnce) {
  ASSERT_TRUE(Freeze().ok());
  v1::ShardCommand absorb;
  absorb.set_term(group_->term().value());
  absorb.set_version(4);
  *absorb.mutable_absorb()->mutable_frozen() = Contents();
  group_->Append(absorb.SerializeAsString());
  Commit();
  ASSERT_TRUE(leader().HasAbsorbed(kRight));
  Commit1(leader(), Part("yb", NextSlot().bits()));
  absorb.set_version(7);
  group_->Append(absorb.SerializeAsString());
  Commit();
  EXPECT_EQ(leader().descriptor().version(), 7u);
  EXPECT_TRUE(Read(leader(), "yb").gets(0).found()) << "it was written since";
}

TEST_F(MergeTest, WhatIsEvaluatedMeanwhileIsLoggedBehindIt) {
  ASSERT_TRUE(Freeze().ok());
  const auto absorbed =
      Start(leader().Absorb(Contents(), leader().descriptor().membership_version(), Deadline()));
  const auto prepared = Start(leader().Prepare(Part("k", NextSlot().bits()), Deadline()));
  EXPECT_FALSE(prepared->has_value());
  Commit();
  EXPECT_TRUE(Done(absorbed).ok());
  Commit();
  EXPECT_EQ(Done(prepared).state(), v1::PREPARED);
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
}

TEST_F(MergeTest, DamagedOrForeignContentsAreNotLogged) {
  ASSERT_TRUE(Freeze().ok());
  v1::FrozenShard frozen = Contents();
  frozen.set_crc32c(frozen.crc32c() + 1);
  EXPECT_EQ(Absorb(frozen).code(), Code::kInvalidArgument);
  frozen.set_pairs("abc");
  frozen.set_crc32c(Crc32c("abc"));
  EXPECT_EQ(Absorb(frozen).code(), Code::kInvalidArgument);
  frozen = Contents();
  frozen.mutable_state()->set_frozen_into(8);
  EXPECT_EQ(Absorb(frozen).code(), Code::kInvalidArgument) << "it is another one's";
  EXPECT_EQ(leader().span(), (Span{"", "y"}));
}

// The left one's entry, as each of its replicas applies it to its own table.
class AbsorbEntryTest : public MergeTest {
 protected:
  v1::ShardCommand AbsorbCommand() {
    v1::ShardCommand command;
    command.set_term(3);
    command.set_version(4);
    *command.mutable_absorb()->mutable_frozen() = Contents();
    return command;
  }
  static v1::ShardDescriptor Blank() {
    v1::ShardDescriptor blank;
    blank.set_shard_id(7);
    return blank;
  }
};

// A replica whose store has something else there waits until that is gone.
TEST_F(AbsorbEntryTest, WhereTheRangeIsNotFreeNothingIsAppliedYet) {
  ASSERT_TRUE(Freeze().ok());
  v1::ShardCommand absorb = AbsorbCommand();
  Table table(group_->store(1), Blank());
  storage::WriteBatch batch;
  InTheWay other{"shard 5 has keys of it"};
  const std::function<InTheWay(const v1::ShardDescriptor&)> room = [&](const v1::ShardDescriptor&) {
    return other;
  };
  const Applied waits = ApplyEntry({table, &batch, nullptr, &room}, raft::Term(3), absorb);
  EXPECT_EQ(waits.waits, other.what);
  EXPECT_EQ(table.broken(), "");
  EXPECT_THAT(batch.ops, IsEmpty());
  EXPECT_EQ(table.span(), (Span{"", "y"}));
  other = {};
  EXPECT_TRUE(ApplyEntry({table, &batch, nullptr, &room}, raft::Term(3), absorb).status.ok());
  EXPECT_EQ(table.span(), (Span{"", ""}));
  // What has no effect does not wait for it either.
  other.what = "shard 5 has keys of it";
  absorb.set_version(table.version());
  EXPECT_EQ(ApplyEntry({table, &batch, nullptr, &room}, raft::Term(3), absorb).status.code(),
            Code::kFailedPrecondition);
}

// A child of what the left one became may be on a node before the left one's entry is applied
// there.
TEST_F(AbsorbEntryTest, WhatCameAfterItIsNotWaitedFor) {
  ASSERT_TRUE(Freeze().ok());
  v1::ShardCommand absorb = AbsorbCommand();
  Table table(group_->store(1), Blank());
  storage::WriteBatch batch;
  const std::function<InTheWay(const v1::ShardDescriptor&)> room = [&](const v1::ShardDescriptor&) {
    return InTheWay{"shard 12 has keys of it", true};
  };
  const Applied applied = ApplyEntry({table, &batch, nullptr, &room}, raft::Term(3), absorb);
  EXPECT_EQ(applied.waits, "");
  EXPECT_EQ(table.broken(), "shard 12 has keys of it") << "and it asks for a snapshot";
  EXPECT_THAT(batch.ops, IsEmpty());
}

// As Contents makes it, of other pairs.
class FrozenTest : public MergeTest {
 protected:
  FrozenTest() {
    Commit1(right(), Part("yb", NextSlot().bits()));
    CHECK(Prepare(right(), Part("yc", NextSlot().bits())).state() == v1::PREPARED);
    CHECK(Freeze().ok());
    good_ = Contents();
    std::string_view left = good_.pairs();
    std::string_view key, value;
    while (GetLengthPrefixed(&left, &key) && GetLengthPrefixed(&left, &value)) {
      pairs_.emplace_back(key, value);
    }
  }
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  v1::FrozenShard With(const Pairs& pairs) const {
    v1::FrozenShard frozen = good_;
    frozen.clear_pairs();
    for (const auto& [key, value] : pairs) {
      PutLengthPrefixed(frozen.mutable_pairs(), key);
      PutLengthPrefixed(frozen.mutable_pairs(), value);
    }
    frozen.set_crc32c(Crc32c(frozen.pairs()));
    return frozen;
  }
  Pairs Without(Tag tag) const {
    Pairs pairs = pairs_;
    std::erase_if(pairs, [tag](const auto& pair) {
      return static_cast<Tag>(storage::KeyBody(pair.first).front()) == tag;
    });
    return pairs;
  }

  v1::FrozenShard good_;
  Pairs pairs_;
};

TEST_F(FrozenTest, WhatContradictsItselfIsAbsorbedByNobody) {
  ASSERT_EQ(With(pairs_).pairs(), good_.pairs());
  Pairs twice = pairs_;
  twice.insert(twice.begin(), pairs_.front());
  Pairs backwards(pairs_.rbegin(), pairs_.rend());
  Pairs large = pairs_;
  large.back().second += std::string(kAbsorbedBytesMax, 'v');
  const std::vector<v1::FrozenShard> bad = {With(Without(Tag::kIntents)),
                                            With(Without(Tag::kParticipants)), With(twice),
                                            With(backwards), With(large)};
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(Absorb(bad[i]).code(), Code::kInvalidArgument) << i;
    // Nor by a log that has it.
    v1::ShardCommand absorb;
    absorb.set_term(group_->term().value());
    absorb.set_version(4);
    *absorb.mutable_absorb()->mutable_frozen() = bad[i];
    group_->Append(absorb.SerializeAsString());
    Commit();
    EXPECT_EQ(leader().span(), (Span{"", "y"})) << i;
  }
  EXPECT_TRUE(Absorb(good_).ok());
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
}

TEST_F(FrozenTest, NoTimestampIsAboveAllSlots) {
  const uint64_t wild = Timestamp::FromParts(Timestamp::kPhysicalMax, 0).bits();
  const auto with = [&](auto change) {
    v1::FrozenShard frozen = good_;
    change(frozen.mutable_state());
    return Absorb(std::move(frozen)).code();
  };
  EXPECT_EQ(with([&](auto* s) { s->set_horizon(wild); }), Code::kInvalidArgument);
  EXPECT_EQ(with([&](auto* s) { s->set_floor(wild); }), Code::kInvalidArgument);
  EXPECT_EQ(with([&](auto* s) { s->set_names_horizon(wild); }), Code::kInvalidArgument);
  EXPECT_EQ(with([&](auto* s) { s->mutable_sweep()->set_after(wild); }), Code::kInvalidArgument);
  EXPECT_EQ(with([&](auto* s) { s->mutable_shard()->set_version(kShardVersionMax); }),
            Code::kInvalidArgument);
  Pairs late = Without(Tag::kVersions);
  storage::WriteBatch batch;
  PutVersion("yb", Timestamp(wild), false, "v", &batch);
  late.emplace_back(batch.ops[0].key, *batch.ops[0].value);
  EXPECT_EQ(Absorb(With(late)).code(), Code::kInvalidArgument);
}

TEST_F(FrozenTest, WhoBecameAMemberWasNotAsked) {
  const auto absorbed = Start(leader().Absorb(good_, 77, Deadline()));
  Commit();
  EXPECT_EQ(Done(absorbed).code(), Code::kFailedPrecondition);
  EXPECT_EQ(leader().span(), (Span{"", "y"}));
}

// Where it began another shard begins by now, and everything that was known of it is forgotten.
TEST_F(FrozenTest, WhatWasAbsorbedDoesNotComeBack) {
  v1::ShardState* state = good_.mutable_state();
  for (size_t i = 0; i < kSettledMergesMax; ++i) {
    v1::SettledMerge* merge = state->add_merges();
    merge->set_shard_id(1000 + i);
    merge->set_version(2);
    merge->set_absorbed(true);
  }
  ASSERT_TRUE(Absorb(good_).ok());
  EXPECT_TRUE(leader().HasAbsorbed(kRight)) << "whoever leads it is about to ask";
  EXPECT_EQ(leader().absorbed().size(), kSettledMergesMax);
  const auto split = Start(leader().Split("y", ShardId(11), Deadline()));
  Commit();
  ASSERT_TRUE(Done(split).ok());
  v1::AbandonMerge of_child;
  of_child.set_shard_id(11);
  of_child.set_version(8);
  of_child.set_from("y");
  const auto abandoned = Start(leader().Abandon(of_child));
  Commit();
  EXPECT_TRUE(Done(abandoned).ok());
  ASSERT_FALSE(leader().HasAbsorbed(kRight)) << "it was the oldest";
  EXPECT_EQ(Abandon(6).code(), Code::kStaleEpoch);
  EXPECT_EQ(Absorb(good_).code(), Code::kStaleEpoch);
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
}

// Attempts of one name: closed on the left, where it was asked for, and committed on the right.
TEST_F(MergeTest, ANameIsCommittedIfEitherSideSaysSo) {
  const std::string bytes("\x00\x00\x00\x00\x27\x10\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01", 16);
  const auto name = GivenName::FromBytes(bytes);
  ASSERT_TRUE(name.has_value());
  const auto closed = Start(leader().CloseName(*name, "c", Deadline()));
  Commit();
  ASSERT_TRUE(Done(closed).status.ok());
  v1::PrepareRequest named = Part("yn", NextSlot().bits());
  named.set_name(bytes);
  const Timestamp commit_ts = Commit1(right(), named).commit_ts;
  ASSERT_TRUE(Freeze().ok());
  ASSERT_TRUE(Absorb(Contents()).ok());
  const NameStanding standing = leader().LookUp(*name);
  EXPECT_EQ(standing.state, NameStanding::State::kCommitted);
  EXPECT_EQ(standing.commit_ts, commit_ts);
}

// Closed where no part of it was, and prepared in the other half: it ends as its transaction does.
class ClosedAndPreparedTest : public MergeTest, public ::testing::WithParamInterface<bool> {
 protected:
  static constexpr std::string_view kBytes{
      "\x00\x00\x00\x00\x27\x10\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01", 16};
  const GivenName name_ = *GivenName::FromBytes(kBytes);

  Applied Close(Shard& shard, const std::string& key) {
    const auto closed = Start(shard.CloseName(name_, key, Deadline()));
    CommitBoth();
    return Done(closed);
  }
  NameStanding::State AfterRestart(size_t replica) {
    v1::ShardDescriptor blank;
    blank.set_shard_id(7);
    const Table table(group_->store(replica), blank);
    const Names::Entry* entry = table.names().Find(name_);
    CHECK(entry != nullptr && table.broken().empty());
    return entry->state == NameRecord::State::kCommitted ? NameStanding::State::kCommitted
                                                         : NameStanding::State::kClosed;
  }
};
INSTANTIATE_TEST_SUITE_P(Halves, ClosedAndPreparedTest, ::testing::Bool());

TEST_P(ClosedAndPreparedTest, EndsAsItsTransactionDoes) {
  const bool prepared_right = GetParam();
  const std::string at = prepared_right ? "yn" : "n";
  ASSERT_TRUE(Close(prepared_right ? leader() : right(), prepared_right ? "c" : "yc").status.ok());
  v1::PrepareRequest part = Part(at, NextSlot().bits());
  part.set_name(std::string(kBytes));
  const Timestamp prepare_ts(Prepare(prepared_right ? right() : leader(), part).prepare_ts());
  ASSERT_TRUE(Freeze().ok());
  ASSERT_TRUE(Absorb(Contents()).ok());

  EXPECT_EQ(leader().LookUp(name_).state, NameStanding::State::kPrepared);
  EXPECT_EQ(Close(leader(), "c").status.code(), Code::kLockConflict);
  const auto resolved = Start(leader().Resolve({Committed(part, prepare_ts)}));
  Commit();
  ASSERT_TRUE(Done(resolved).ok());
  EXPECT_EQ(leader().LookUp(name_).state, NameStanding::State::kCommitted);
  EXPECT_EQ(leader().LookUp(name_).commit_ts, prepare_ts);
  EXPECT_EQ(Close(leader(), "c").state, TxnState::kCommitted);
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());

  // Each half knows it, from its store.
  const auto split = Start(leader().Split(prepared_right ? "m" : "x", ShardId(11), Deadline()));
  Commit();
  ASSERT_TRUE(Done(split).ok());
  EXPECT_EQ(leader().LookUp(name_).state, NameStanding::State::kCommitted);
  EXPECT_EQ(AfterRestart(1), NameStanding::State::kCommitted);
}

TEST_F(ClosedAndPreparedTest, WhatWasCommittedIsSoAtEveryKeyInTheStore) {
  ASSERT_TRUE(Close(leader(), "c").status.ok());
  v1::PrepareRequest part = Part("yn", NextSlot().bits());
  part.set_name(std::string(kBytes));
  Commit1(right(), part);
  ASSERT_TRUE(Freeze().ok());
  ASSERT_TRUE(Absorb(Contents()).ok());
  const auto split = Start(leader().Split("m", ShardId(11), Deadline()));
  Commit();
  ASSERT_TRUE(Done(split).ok());
  EXPECT_EQ(leader().LookUp(name_).state, NameStanding::State::kCommitted);
  EXPECT_EQ(AfterRestart(1), NameStanding::State::kCommitted);
}

TEST_F(MergeTest, ALargeShardIsNotFrozen) {
  v1::PrepareRequest large = Part("yl", NextSlot().bits());
  large.mutable_writes(0)->set_value(std::string(kAbsorbedBytesMax / 2 + 1, 'v'));
  Commit1(right(), large);
  v1::PrepareRequest more = Part("ym", NextSlot().bits());
  more.mutable_writes(0)->set_value(std::string(kAbsorbedBytesMax / 2 + 1, 'v'));
  Commit1(right(), more);
  EXPECT_EQ(Freeze().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(right().serving());
}

}  // namespace
}  // namespace quorate::shard
