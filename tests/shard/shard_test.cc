// The facade's edges: limits and malformed requests, errors and their hints, read modes, what the
// observer hears, and what a leader does by itself. The stories are in the scenarios.
#include "shard/shard.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "quorate/v1/shard.pb.h"
#include "tests/shard/shard_fixture.h"
#include "txn/footprint.h"

namespace quorate::shard {
namespace {

// A log of an earlier version, which let a marker of any length pass: it starts, what cannot be
// done is void, and what comes behind it counts.
TEST_F(ShardTest, AnOldLogWithAMarkerThatFitsNoKeyStartsAgain) {
  const std::string id(16, 'x');
  const uint64_t term = group_->term().value();
  const auto log = [&](v1::ShardCommand command) {
    command.set_term(term);
    command.set_version(leader().descriptor().version());
    group_->Append(command.SerializeAsString());
    Commit();
  };
  v1::ShardCommand refuse;
  refuse.mutable_refuse()->set_txn_id(id);
  refuse.mutable_refuse()->set_digest(1);
  refuse.mutable_refuse()->set_marker_key(std::string(600, 'm'));
  refuse.mutable_refuse()->set_start_ts(NextSlot().bits());
  log(refuse);
  v1::ShardCommand resolve;
  for (const size_t size : {600, 5}) {
    v1::Resolution* resolution = resolve.mutable_resolve()->add_resolutions();
    resolution->set_txn_id(id);
    resolution->set_digest(2);
    resolution->set_marker_key(std::string(size, 'm'));
    resolution->set_start_ts(NextSlot().bits());
    resolution->set_outcome(v1::ABORTED_STATE);
  }
  log(resolve);
  EXPECT_EQ(leader().StateDigest(), shards_[1]->StateDigest());
  v1::QueryPrepareRequest query;
  query.set_txn_id(id);
  query.set_digest(2);
  query.set_marker_key("mmmmm");
  query.set_start_ts(newest_.bits());
  const auto answer = Start(leader().QueryPrepare(query, Deadline()));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->state(), v1::ABORTED_STATE) << "of the resolution that was sound";
}

TEST_F(ShardTest, WhatItCannotUnderstandItDoesNotPassOver) {
  v1::ShardCommand unknown;
  unknown.set_term(group_->term().value());
  unknown.set_version(leader().descriptor().version());
  std::string later = unknown.SerializeAsString();
  later += std::string("\xc2\x3e\x00", 3);  // field 1000, of a later version
  for (const std::string& payload : {later, std::string("\xff\xff\xff")}) {
    storage::WriteBatch batch;
    const raft::ApplyResult result =
        leader().Apply(raft::LogIndex(9), group_->term(), payload, &batch);
    EXPECT_FALSE(result.stuck.empty());
  }
}

// What others wait for is found again at every release: its sum is bounded beside its number.
TEST_F(ShardTest, RefusesMoreRangesThanOneShardGuards) {
  const auto ranges = [this](size_t shift) {
    v1::PrepareRequest request = Part("k", NextSlot().bits());
    std::vector<Span> guards;
    for (size_t i = 0; i < limits::kTxnRangesMax; ++i) {
      guards.push_back({fmt::format("g{:06}{}", i, shift), fmt::format("g{:06}{}x", i, shift)});
      v1::KeySpan* guard = request.add_guards();
      guard->set_from(guards.back().from);
      guard->set_to(guards.back().to);
    }
    request.clear_writes();
    request.set_marker_key(guards.front().from);
    request.set_digest(DigestOf(request.marker_key(), {}, guards).value());
    return request;
  };
  constexpr size_t kFit = limits::kShardRangesMax / limits::kTxnRangesMax;
  for (size_t i = 0; i < kFit; ++i) {
    const auto answer = Start(leader().Prepare(ranges(i), Deadline()));
    Commit();
    ASSERT_TRUE(answer->has_value());
    ASSERT_EQ((*answer)->state(), v1::PREPARED) << i << (*answer)->error().message();
  }
  const auto refused = Start(leader().Prepare(ranges(kFit), Deadline()));
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->error().code(), v1::OVERLOADED);
  EXPECT_NE((*refused)->error().message().find("65536"), std::string::npos);
  EXPECT_EQ(leader().prepared_count(), kFit);
  EXPECT_TRUE(group_->pending().empty());
  // Who read no range has nothing to do with it.
  const auto other = Start(leader().Prepare(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  EXPECT_EQ((*other)->state(), v1::PREPARED);
}

TEST_F(ShardTest, RefusesMoreWaitersThanFitTheirKeys) {
  const auto all_keys = [this] {
    v1::PrepareRequest request = Part("k", NextSlot().bits());
    request.clear_writes();
    std::vector<std::string> keys;
    for (size_t i = 0; i < limits::kTxnKeysMax; ++i) keys.push_back(fmt::format("k{:05}", i));
    for (const std::string& key : keys) request.add_writes()->set_key(key);
    request.set_marker_key(keys.front());
    request.set_digest(DigestOf(keys.front(), {keys.begin(), keys.end()}, {}).value());
    return request;
  };
  const auto held = Start(leader().Prepare(all_keys(), Deadline()));
  Commit();
  ASSERT_EQ((*held)->state(), v1::PREPARED);
  // Older than the holder, so that it waits.
  v1::PrepareRequest older = all_keys();
  older.mutable_priority()->set_start_ts(1);
  constexpr size_t kFit = limits::kShardPlacesMax / limits::kTxnKeysMax;
  for (size_t i = 0; i <= kFit; ++i) {
    older.set_txn_id(std::string(TxnId::Make(env_.random).bytes()));
    const auto answer = Start(leader().Prepare(older, Deadline()));
    ASSERT_EQ(answer->has_value(), i == kFit) << i;
    if (i < kFit) continue;
    EXPECT_EQ((*answer)->error().code(), v1::OVERLOADED);
    EXPECT_NE((*answer)->error().message().find("the limits are 20000 requests and 1048576 keys"),
              std::string::npos)
        << (*answer)->error().message();
  }
  EXPECT_EQ(leader().in_memory().waiting, kFit);
}

TEST_F(ShardTest, RefusesWhatBreaksALimitWithoutAnyEffect) {
  const uint64_t start = NextSlot().bits();
  std::vector<v1::PrepareRequest> bad;
  auto add = [&](auto change) {
    v1::PrepareRequest request = Part("k", start);
    change(&request);
    bad.push_back(std::move(request));
  };
  add([](auto* r) { r->set_txn_id("short"); });
  add([](auto* r) { r->set_txn_id(std::string(16, '\0')); });
  add([](auto* r) { r->mutable_priority()->set_txn_id(""); });
  add([](auto* r) { r->set_start_ts(0); });
  add([](auto* r) { r->set_start_ts(~0ull); });
  add([](auto* r) { r->set_min_ts(~0ull); });
  add([](auto* r) { r->set_digest(0); });
  add([](auto* r) { r->set_digest(r->digest() + 1); });
  add([](auto* r) { r->set_marker_key(std::string(600, 'm')); });
  add([](auto* r) { r->set_marker_key("j"); });
  add([](auto* r) { r->set_anchor_key(""); });
  add([](auto* r) { r->clear_writes(); });
  add([](auto* r) { r->mutable_writes(0)->set_key(""); });
  add([](auto* r) { r->mutable_writes(0)->set_key(std::string(limits::kKeyBytesMax + 1, 'k')); });
  add([](auto* r) {
    r->mutable_writes(0)->set_value(std::string(limits::kValueBytesMax + 1, 'v'));
  });
  add([](auto* r) { r->add_writes()->set_key("k"); });
  add([](auto* r) { r->add_writes()->set_key("a"); });
  add([](auto* r) {
    v1::KeySpan* guard = r->add_guards();
    guard->set_from("b");
    guard->set_to("a");
  });
  add([](auto* r) {
    for (size_t i = 0; i <= limits::kTxnKeysMax; ++i) r->add_guards()->set_from("a");
  });
  for (size_t i = 0; i < bad.size(); ++i) {
    const auto answer = Start(leader().Prepare(bad[i], Deadline()));
    ASSERT_TRUE(answer->has_value()) << i;
    EXPECT_EQ((*answer)->error().code(), v1::INVALID_ARGUMENT) << i;
    EXPECT_FALSE((*answer)->error().message().empty());
  }
  EXPECT_TRUE(group_->pending().empty());
  v1::ReadRequest read;
  for (size_t i = 0; i <= limits::kScanRowsMax; ++i) read.add_keys("k");
  EXPECT_EQ((*Start(leader().Read(read, Deadline())))->error().code(), v1::INVALID_ARGUMENT);
  v1::QueryPrepareRequest query;
  query.set_txn_id("x");
  EXPECT_EQ((*Start(leader().QueryPrepare(query, Deadline())))->error().code(),
            v1::INVALID_ARGUMENT);
  query.set_txn_id(std::string(16, 'x'));
  query.set_digest(1);
  query.set_start_ts(start);
  query.set_marker_key(std::string(600, 'm'));
  EXPECT_EQ((*Start(leader().QueryPrepare(query, Deadline())))->error().code(),
            v1::INVALID_ARGUMENT);
  query.set_marker_key("m");
  query.set_start_ts(0);
  EXPECT_EQ((*Start(leader().QueryPrepare(query, Deadline())))->error().code(),
            v1::INVALID_ARGUMENT);
  v1::Resolution good;
  good.set_txn_id(std::string(16, 'x'));
  good.set_digest(1);
  good.set_start_ts(start);
  good.set_marker_key("m");
  good.set_outcome(v1::COMMITTED);
  good.set_commit_ts(start + 1);
  std::vector<v1::Resolution> resolutions(6, good);
  resolutions[0].set_txn_id("x");
  resolutions[1].set_digest(0);
  resolutions[2].set_marker_key(std::string(600, 'm'));
  resolutions[3].set_commit_ts(start);
  resolutions[4].set_outcome(v1::PREPARED);
  resolutions[5].set_start_ts(0);
  for (const v1::Resolution& resolution : resolutions) {
    EXPECT_EQ((*Start(leader().Resolve({good, resolution})))->code(), Code::kInvalidArgument);
    leader().EarlyOutcome({resolution});
  }
  EXPECT_TRUE(group_->pending().empty());
}

TEST_F(ShardTest, TheSubBitsOfASlotRunOutWithoutCarry) {
  const uint64_t start = NextSlot().bits();
  for (uint64_t i = 1; i <= Timestamp::kSubMax; ++i) {
    const auto evaluation = Start(leader().CommitOnePhase(Part("k", start), Deadline()));
    ASSERT_TRUE((*evaluation)->ok());
    EXPECT_EQ((*evaluation)->prepare_ts.bits(), start + i);
    Commit();
  }
  const auto exhausted = Start(leader().CommitOnePhase(Part("k", start), Deadline()));
  EXPECT_EQ((*exhausted)->status.code(), Code::kTimestampExhausted);
  // T1: the next slot is above all of them, and with it as min_ts it goes on.
  v1::PrepareRequest again = Part("k", start);
  again.set_min_ts(NextSlot().bits());
  const auto evaluation = Start(leader().CommitOnePhase(again, Deadline()));
  EXPECT_EQ((*evaluation)->prepare_ts.bits(), newest_.bits() + 1);
}

TEST_F(ShardTest, ErrorsBringWhatTheCallerNeeds) {
  v1::ReadRequest read;
  read.add_keys("k");
  const auto follower = Start(shards_[1]->Read(read, Deadline()));
  EXPECT_EQ((*follower)->error().code(), v1::NOT_LEADER);
  EXPECT_EQ((*follower)->error().leader().node_id(), 1u);
  EXPECT_EQ((*follower)->error().leader().address(), "host:1");

  read.add_keys("z");
  const auto stale = Start(leader().Read(read, Deadline()));
  EXPECT_EQ((*stale)->error().code(), v1::STALE_EPOCH);
  ASSERT_EQ((*stale)->error().descriptors_size(), 1);
  EXPECT_EQ((*stale)->error().descriptors(0).version(), 4u);
  EXPECT_EQ((*stale)->gets_size(), 0);
}

// A former leader that is cut off reaches no oracle either. Any other answer than this one would
// bring its clients back, again and again.
TEST_F(ShardTest, WhoeverDoesNotLeadSaysSoEvenWithoutAnOracle) {
  slots_ = DeadlineExceeded("no oracle");
  v1::ReadRequest read;
  read.add_keys("k");
  EXPECT_EQ((*Start(shards_[1]->Read(read, Deadline())))->error().code(), v1::NOT_LEADER);
  const uint64_t newer = Timestamp::FromParts(2 * kBase, 0).bits();  // than this node knows
  read.set_read_ts(newer);
  EXPECT_EQ((*Start(shards_[1]->Read(read, Deadline())))->error().code(), v1::NOT_LEADER);
  EXPECT_EQ((*Start(shards_[1]->Prepare(Part("k", newer), Deadline())))->error().code(),
            v1::NOT_LEADER);

  EXPECT_EQ((*Start(leader().Read(read, Deadline())))->error().code(), v1::DEADLINE_EXCEEDED);
  Shard& old_leader = leader();
  while_fetching_ = [this] { group_->Elect(1); };
  EXPECT_EQ((*Start(old_leader.Read(read, Deadline())))->error().code(), v1::NOT_LEADER);
}

TEST_F(ShardTest, OnANearlyFullDiskOnlyDeletionsGoOn) {
  low_space_ = true;
  const uint64_t start = NextSlot().bits();
  const auto put = Start(leader().CommitOnePhase(Part("k", start), Deadline()));
  EXPECT_EQ((*put)->status.code(), Code::kNoSpace);
  v1::PrepareRequest deletion = Part("k", start);
  deletion.mutable_writes(0)->set_deletion(true);
  EXPECT_TRUE((*Start(leader().CommitOnePhase(deletion, Deadline())))->ok());
}

TEST_F(ShardTest, AReadWithoutTimestampTakesASlotAndOneWithDoesNot) {
  v1::ReadRequest read;
  read.add_keys("k");
  const int before = fetches_;
  const auto fresh = Start(leader().Read(read, Deadline()));
  EXPECT_EQ((*fresh)->read_ts(), newest_.bits());
  EXPECT_EQ(fetches_, before + 1);
  read.set_read_ts(newest_.bits());
  EXPECT_EQ((*Start(leader().Read(read, Deadline())))->error().code(), v1::OK);
  EXPECT_EQ(fetches_, before + 1);
  slots_ = Unavailable("no oracle");
  read.set_read_ts(0);
  EXPECT_EQ((*Start(leader().Read(read, Deadline())))->error().code(), v1::UNAVAILABLE);
}

TEST_F(ShardTest, WithoutALeaseEveryReadIsConfirmed) {
  group_->SetLease(Instant());
  v1::ReadRequest read;
  read.add_keys("k");
  EXPECT_EQ((*Start(leader().Read(read, Deadline())))->error().code(), v1::OK);
  // Deposed without knowing it.
  group_->Elect(1, 0, true);
  Run();
  EXPECT_EQ((*Start(shards_[0]->Read(read, Deadline())))->error().code(), v1::NOT_LEADER);
}

TEST_F(ShardTest, TheObserverHearsOfServingOnceItCanBeUsed) {
  EXPECT_EQ(events_, (std::vector<std::string>{"+1"}));
  EXPECT_EQ(leader().serving_term(), raft::Term(1));
  group_->Elect(1);
  EXPECT_EQ(events_.back(), "-");
  EXPECT_FALSE(shards_[0]->serving());
  EXPECT_FALSE(shards_[1]->serving());
  Run();
  Commit();
  EXPECT_EQ(events_, (std::vector<std::string>{"+1", "-", "+2"}));
  EXPECT_TRUE(shards_[1]->serving());
  // A term that ends before it served is not heard of.
  group_->Elect(0);
  group_->Elect(1);
  Run();
  Commit();
  EXPECT_EQ(events_, (std::vector<std::string>{"+1", "-", "+2", "-", "+4"}));
}

// A read a little above all slots raised a commit above them. What that one read must not change
// below it: not even under a leader whose floor is lower.
TEST_F(ShardTest, ANewLeaderStartsAboveEveryCommit) {
  const Timestamp start = NextSlot();
  v1::ReadRequest ahead;
  ahead.add_keys("a");
  ahead.set_read_ts(Timestamp::FromParts(newest_.physical_ms() + 90, 0).bits());
  ASSERT_EQ((*Start(leader().Read(ahead, Deadline())))->error().code(), v1::OK);
  v1::PrepareRequest reads_k = Part("a", start.bits());
  v1::KeySpan* guard = reads_k.add_guards();
  guard->set_from("k");
  guard->set_to(std::string("k\0", 2));
  reads_k.set_digest(DigestOf("a", {"a"}, {{guard->from(), guard->to()}}).value());
  const auto first = Start(leader().CommitOnePhase(reads_k, Deadline()));
  Commit();
  ASSERT_TRUE((*first)->ok()) << (*first)->status.ToString();
  group_->Elect(1);
  Run();
  Commit();
  ASSERT_TRUE(leader().serving());
  const auto second = Start(leader().CommitOnePhase(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  ASSERT_TRUE((*second)->ok());
  EXPECT_GT((*second)->prepare_ts, (*first)->prepare_ts);
}

TEST_F(ShardTest, OnlySlotsAreReadAt) {
  v1::ReadRequest read;
  read.add_keys("k");
  read.set_read_ts(newest_.bits() | Timestamp::kSubMax);
  EXPECT_EQ((*Start(leader().Read(read, Deadline())))->error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(ShardTest, WhatBeginsBetweenSlotsIsBelowOne) {
  const Timestamp told = NextSlot();
  const auto known = Start(leader().CommitOnePhase(Part("k", told.bits() + 1), Deadline()));
  Commit();
  EXPECT_TRUE((*known)->ok()) << (*known)->status.ToString();
  const uint64_t ahead = Timestamp::FromParts(newest_.physical_ms() + 90, 0).bits() + 1022;
  const auto wild = Start(leader().CommitOnePhase(Part("k", ahead), Deadline()));
  EXPECT_EQ((*wild)->status.code(), Code::kInvalidArgument);
}

TEST_F(ShardTest, NothingIsRememberedOfAStartAboveAllSlots) {
  v1::QueryPrepareRequest query;
  query.set_txn_id(std::string(TxnId::Make(env_.random).bytes()));
  query.set_digest(7);
  query.set_marker_key("k");
  query.set_start_ts(Timestamp::FromParts(kBase + 3'600'000, 0).bits());
  const auto asked = Start(leader().QueryPrepare(query, Deadline()));
  Commit();
  EXPECT_EQ((*asked)->error().code(), v1::INVALID_ARGUMENT);
  v1::Resolution abort;
  abort.set_txn_id(query.txn_id());
  abort.set_digest(7);
  abort.set_marker_key("k");
  abort.set_start_ts(query.start_ts());
  abort.set_outcome(v1::ABORTED_STATE);
  const auto resolved = Start(leader().Resolve({abort}));
  Commit();
  EXPECT_EQ((*resolved)->code(), Code::kInvalidArgument);
}

TEST_F(ShardTest, ANewLeaderAsksForItsFloorUntilItGetsOne) {
  slots_ = Unavailable("no oracle");
  group_->Elect(1);
  env_.executor.RunFor(3s);
  EXPECT_FALSE(shards_[1]->serving());
  slots_ = Status::Ok();
  env_.executor.RunFor(1s);
  Commit();
  EXPECT_TRUE(shards_[1]->serving());
  // A request that came a little early is served then.
  group_->Elect(0);
  v1::ReadRequest read;
  read.add_keys("k");
  const auto early = Start(leader().Read(read, Deadline()));
  EXPECT_FALSE(early->has_value());
  Commit();
  EXPECT_EQ((*early)->error().code(), v1::OK);
}

TEST_F(ShardTest, OldPreparedRecordsArePushedUntilTheyAreResolved) {
  const auto answer = Start(leader().Prepare(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  ASSERT_EQ((*answer)->state(), v1::PREPARED);
  EXPECT_EQ(leader().prepared_count(), 1u);
  env_.executor.RunFor(10s);
  EXPECT_GT(pushed_.size(), 2u);  // silence: asked again
  push_outcome_.emplace();        // ABORTED
  env_.executor.RunFor(2s);
  Commit();
  EXPECT_EQ(leader().prepared_count(), 0u);
  const size_t pushes = pushed_.size();
  env_.executor.RunFor(60s);
  EXPECT_EQ(pushed_.size(), pushes);
}

TEST_F(ShardTest, APartPreparedAboveTheCommitIsNotWhatWasCommitted) {
  const auto answer = Start(leader().Prepare(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  ASSERT_EQ((*answer)->state(), v1::PREPARED);
  push_outcome_.emplace();
  push_outcome_->state = PushOutcome::State::kCommitted;
  push_outcome_->commit_ts = Timestamp((*answer)->prepare_ts() - 1);
  push_outcome_->participants = {{"k", DigestOf("k", {"k"}, {})}};
  env_.executor.RunFor(10s);
  Commit();
  EXPECT_EQ(leader().prepared_count(), 0u);
}

v1::LockRequest LockOf(Random& random, const std::string& key, Timestamp since) {
  v1::LockRequest request;
  const TxnId id = TxnId::Make(random);
  request.set_txn_id(std::string(id.bytes()));
  request.mutable_priority()->set_txn_id(std::string(id.bytes()));
  request.mutable_priority()->set_start_ts(since.bits());
  request.add_keys(key);
  return request;
}

TEST_F(ShardTest, AnIdleHolderKeepsWhatNobodyWaitsForAndNeverTakesAnything) {
  v1::LockRequest older = LockOf(env_.random, "k", NextSlot());
  v1::LockRequest younger = LockOf(env_.random, "k", NextSlot());
  const auto ask = [this](const v1::LockRequest& request) {
    return Start(leader().Lock(request, Deadline()));
  };
  EXPECT_EQ((*ask(older))->error().code(), v1::OK);
  older.set_idle(true);
  EXPECT_EQ((*ask(older))->error().code(), v1::OK);
  const auto waiting = ask(younger);
  EXPECT_FALSE(waiting->has_value());
  EXPECT_EQ((*ask(older))->error().code(), v1::LOCK_CONFLICT) << "given up, and it is told";
  Run();
  ASSERT_TRUE(waiting->has_value());
  EXPECT_EQ((*waiting)->error().code(), v1::OK);
  // Older wounds younger, but not in its sleep.
  EXPECT_EQ((*ask(older))->error().code(), v1::LOCK_CONFLICT);
  younger.set_idle(true);
  EXPECT_EQ((*ask(younger))->error().code(), v1::OK) << "it still holds it";
  older.set_idle(false);
  EXPECT_EQ((*ask(older))->error().code(), v1::OK);
  EXPECT_EQ((*ask(younger))->error().code(), v1::LOCK_CONFLICT);
}

TEST_F(ShardTest, WhoHoldsMostOfTheLocksCanRenewThem) {
  v1::LockRequest request = LockOf(env_.random, "a", NextSlot());
  const auto lock = [&](int from, int keys) {
    request.clear_keys();
    for (int i = from; i < from + keys; ++i) request.add_keys("a" + std::to_string(i));
    return (*Start(leader().Lock(request, Deadline())))->error().code();
  };
  for (int i = 0; i < 99; ++i) ASSERT_EQ(lock(i * 1000, 1000), v1::OK);
  EXPECT_EQ(lock(99'000, 500), v1::OK);
  EXPECT_EQ(lock(0, 1000), v1::OK) << "renewed";
  EXPECT_EQ(lock(99'000, 1000), v1::OK) << "half of them were held";
  EXPECT_EQ(lock(100'000, 1), v1::OVERLOADED);
  EXPECT_EQ(lock(99'000, 1000), v1::OK);
}

TEST_F(ShardTest, AnIdleShardDoesNothingByItself) {
  const auto evaluation = Start(leader().CommitOnePhase(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  // The horizon passes what was written; then nothing is left to do, for ever.
  newest_ = Timestamp::FromParts(kBase + 200'000, 0);
  for (int i = 0; i < 800; ++i) {
    env_.executor.RunFor(100ms);
    Commit();
  }
  EXPECT_GT(leader().horizon(), Timestamp::FromParts(kBase, 0));
  const int fetched = fetches_;
  EXPECT_FALSE(env_.executor.Step()) << "a timer is left on an idle shard";
  EXPECT_EQ(fetches_, fetched);
}

TEST_F(ShardTest, AWaitEndsAtItsDeadlineAndLeavesTheQueue) {
  Start(leader().Prepare(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  const auto waiting =
      Start(leader().CommitOnePhase(Part("k", NextSlot().bits()), env_.executor.Now() + 100ms));
  EXPECT_FALSE(waiting->has_value());
  env_.executor.RunFor(100ms);
  EXPECT_EQ((*waiting)->status.code(), Code::kLockConflict) << "who is in the way, in time";
  EXPECT_NE((*waiting)->status.message().find("key k is being committed by transaction"),
            std::string::npos)
      << (*waiting)->status.message();
  // Whoever is gone does not hold up the others: a younger one elsewhere dies of the holder only.
  v1::ReadRequest read;
  read.add_keys("k");
  const auto reading = Start(leader().Read(read, env_.executor.Now() + 100ms));
  env_.executor.RunFor(100ms);
  EXPECT_EQ((*reading)->error().code(), v1::DEADLINE_EXCEEDED);
}

// A long range: 40 keys, of which one part looks at a few.
class LongRangeTest : public ShardTest {
 protected:
  LongRangeTest() {
    Settings settings;
    settings.step_versions = 8;
    Build(settings);
    for (int i = 0; i < 40; ++i) Put(Key(i));
    request_ = Part("x", NextSlot().bits());
    request_.add_guards()->set_from("a");
    request_.mutable_guards(0)->set_to("b");
    request_.set_marker_key("a");
    request_.set_digest(DigestOf("a", {"x"}, {{"a", "b"}}).value());
  }
  static std::string Key(int i) { return fmt::format("a{:02}", i); }
  void Put(const std::string& key) {
    Start(leader().CommitOnePhase(Part(key, NextSlot().bits()), Deadline()));
    Commit();
  }
  // Until its reads are validated in part.
  std::shared_ptr<std::optional<AnchorEvaluation>> StartInPart() {
    auto result = std::make_shared<std::optional<AnchorEvaluation>>();
    scope_.Spawn(Into(leader().CommitOnePhase(request_, Deadline()), result));
    while (leader().in_memory().locks == 0 && env_.executor.Step()) {
    }
    EXPECT_TRUE(group_->pending().empty());
    EXPECT_FALSE(result->has_value());
    return result;
  }

  v1::PrepareRequest request_;
};

TEST_F(LongRangeTest, WhatIsValidatedStaysAsItIs) {
  const auto reading = StartInPart();
  // Into the part that was looked at first, while the last one was not looked at.
  const auto write = Start(leader().CommitOnePhase(Part(Key(0), NextSlot().bits()), Deadline()));
  ASSERT_TRUE(reading->has_value() && (*reading)->ok());
  EXPECT_FALSE(write->has_value()) << "it waits for the guard";
  Commit();
  ASSERT_TRUE(write->has_value() && (*write)->ok());
  EXPECT_GT((*write)->prepare_ts, (*reading)->prepare_ts);
}

TEST_F(LongRangeTest, AReadMeanwhileWaitsForNobodyAndIsNotPassed) {
  const auto writing = StartInPart();
  v1::ReadRequest read;
  read.add_keys("x");
  read.set_read_ts(NextSlot().bits());
  auto answer = std::make_shared<std::optional<v1::ReadResponse>>();
  scope_.Spawn(Into(leader().Read(read, Deadline()), answer));
  while (!answer->has_value() && env_.executor.Step()) {
  }
  EXPECT_EQ((*answer)->error().code(), v1::OK);
  Run();
  ASSERT_TRUE(writing->has_value() && (*writing)->ok());
  EXPECT_GT((*writing)->prepare_ts, Timestamp(read.read_ts()));
}

TEST_F(LongRangeTest, AConflictAtTheEndFreesWhatWasLocked) {
  Put(Key(39));
  const auto reading = StartInPart();
  Run();
  ASSERT_TRUE(reading->has_value());
  EXPECT_EQ((*reading)->status.code(), Code::kReadConflict);
  EXPECT_EQ(leader().in_memory().locks, 0u);
}

TEST_F(LongRangeTest, EndsWithTheTermTheDeadlineAndTheHorizon) {
  auto reading = StartInPart();
  group_->Elect(1);
  Run();
  ASSERT_TRUE(reading->has_value());
  EXPECT_EQ((*reading)->status.code(), Code::kNotLeader);
  Commit();

  request_.set_txn_id(std::string(16, 'h'));
  reading = StartInPart();
  v1::ShardCommand horizon;
  horizon.set_term(group_->term().value());
  horizon.set_version(leader().descriptor().version());
  horizon.mutable_advance_horizon()->set_horizon(NextSlot().bits());
  group_->Append(horizon.SerializeAsString());
  group_->CommitOne();
  Run();
  ASSERT_TRUE(reading->has_value());
  EXPECT_EQ((*reading)->status.code(), Code::kTooOld);
  EXPECT_EQ(leader().in_memory().locks, 0u);
}

TEST_F(LongRangeTest, AReadInPartsFindsWhatOneInOneDoes) {
  v1::ReadRequest read;
  read.set_read_ts(NextSlot().bits());
  for (const bool reverse : {false, true}) {
    v1::ScanSpan* scan = read.add_scans();
    scan->mutable_span()->set_to("y");
    scan->set_reverse(reverse);
  }
  v1::ScanSpan* last = read.add_scans();
  last->mutable_span()->set_to("y");
  last->set_reverse(true);
  last->set_limit(1);
  const auto answer = Start(leader().Read(read, Deadline()));
  ASSERT_EQ((*answer)->error().code(), v1::OK);
  ASSERT_EQ((*answer)->scans_size(), 3);
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ((*answer)->scans(0).rows(i).key(), Key(i));
    EXPECT_EQ((*answer)->scans(1).rows(i).key(), Key(39 - i));
  }
  ASSERT_EQ((*answer)->scans(2).rows_size(), 1);
  EXPECT_EQ((*answer)->scans(2).rows(0).key(), Key(39));
  EXPECT_EQ((*answer)->scans(2).resume_key(), Key(39));
}

TEST_F(LongRangeTest, TheScansOfOneReadShareWhatItMayLookAt) {
  Settings settings;
  settings.step_versions = 8;
  settings.read_versions_max = 60;
  Build(settings);
  for (int i = 0; i < 40; ++i) Put(Key(i));
  v1::ReadRequest read;
  read.set_read_ts(NextSlot().bits());
  for (const bool reverse : {false, false, true}) {
    read.add_scans()->set_reverse(reverse);
    read.mutable_scans(read.scans_size() - 1)->mutable_span()->set_to("y");
  }
  const auto answer = Start(leader().Read(read, Deadline()));
  ASSERT_EQ((*answer)->error().code(), v1::OK);
  EXPECT_EQ((*answer)->scans(0).rows_size(), 40);
  EXPECT_TRUE((*answer)->scans(0).resume_key().empty());
  EXPECT_LT((*answer)->scans(1).rows_size(), 40);
  EXPECT_FALSE((*answer)->scans(1).resume_key().empty());
  EXPECT_EQ((*answer)->scans(2).rows_size(), 0);
  EXPECT_EQ((*answer)->scans(2).resume_key(), "y");
}

TEST_F(ShardTest, ADestroyedWaiterLeavesTheQueue) {
  Start(leader().Prepare(Part("k", NextSlot().bits()), Deadline()));
  Commit();
  push_outcome_.emplace();
  {
    TaskScope gone(env_.executor);
    auto result = std::make_shared<std::optional<AnchorEvaluation>>();
    gone.Spawn(Into(leader().CommitOnePhase(Part("k", NextSlot().bits()), Deadline()), result));
    Run();
  }
  const auto next = Start(leader().CommitOnePhase(Part("k", NextSlot().bits()), Deadline()));
  EXPECT_FALSE(next->has_value());
  env_.executor.RunFor(1s);  // pushed
  Commit();                  // resolved
  ASSERT_TRUE(next->has_value());
  EXPECT_TRUE((*next)->ok());
}

TEST_F(ShardTest, ReplicasAndRestartedReplicasAgree) {
  for (int i = 0; i < 50; ++i) {
    const std::string key(1, static_cast<char>('a' + env_.random.Below(5)));
    if (env_.random.Chance(0.5)) {
      Start(leader().CommitOnePhase(Part(key, NextSlot().bits()), env_.executor.Now() + 1ms));
    } else {
      Start(leader().Prepare(Part(key, NextSlot().bits()), env_.executor.Now() + 1ms));
    }
    Commit();
    EXPECT_EQ(shards_[0]->StateDigest(), shards_[1]->StateDigest());
  }
  Shard::Deps deps{env_.env, group_->store(1), *this, *this, *this, nullptr};
  v1::ShardDescriptor other;
  other.set_shard_id(7);
  const Shard restarted(deps, Settings(), other);
  EXPECT_EQ(restarted.StateDigest(), shards_[0]->StateDigest());
  EXPECT_EQ(restarted.prepared_count(), shards_[0]->prepared_count());
  EXPECT_EQ(restarted.descriptor().version(), 4u);
  EXPECT_EQ(restarted.Spans(), shards_[0]->Spans());
}

}  // namespace
}  // namespace quorate::shard
