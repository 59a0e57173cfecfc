// Random logs through ApplyEntry: what is in memory is what Load would read (so replicas that
// restarted agree with those that did not), all or none of a transaction is visible (A3), nothing
// needed above the horizon is dropped (G1), records keep their outcome (P1), and garbage goes.
#include "shard/apply/apply.h"

#include <gtest/gtest.h>

#include <set>

#include "base/bytes.h"
#include "base/random.h"
#include "quorate/v1/shard.pb.h"
#include "shard/command.h"
#include "shard/intents.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "shard/state_machine.h"
#include "tests/shard/map_reader.h"

namespace quorate::shard {
namespace {

class ApplyTest : public ::testing::Test {
 protected:
  ApplyTest() : table_(store_, Descriptor()) {}

  static v1::ShardDescriptor Descriptor() {
    v1::ShardDescriptor descriptor;
    descriptor.set_shard_id(7);
    descriptor.set_version(1);
    return descriptor;
  }

  Applied Apply(v1::ShardCommand command, uint64_t entry_term = 1) {
    if (command.term() == 0) command.set_term(1);
    if (command.version() == 0) command.set_version(1);
    storage::WriteBatch batch;
    Applied applied = ApplyEntry({table_, &batch}, raft::Term(entry_term), command);
    ops_max_ = std::max(ops_max_, batch.ops.size());
    store_.Apply(std::move(batch));
    return applied;
  }

  struct Txn {
    TxnId id;
    uint64_t start;
    std::map<std::string, bool> writes;  // key -> deletion
    std::string digest_key;
    bool staged = false;
    GivenName name;
  };

  Txn Draw() {
    Txn txn;
    txn.id = TxnId::Make(random_);
    now_ += 1 + random_.Below(3);
    txn.start = now_;
    for (uint64_t i = 1 + random_.Below(3); i > 0; --i) {
      txn.writes[std::string(1, static_cast<char>('a' + random_.Below(8)))] = random_.Chance(0.3);
    }
    return txn;
  }
  void FillWrites(const Txn& txn, google::protobuf::RepeatedPtrField<v1::Write>* writes) {
    for (const auto& [key, deletion] : txn.writes) {
      v1::Write* write = writes->Add();
      write->set_key(key);
      write->set_value(txn.id.ToString());
      write->set_deletion(deletion);
    }
  }
  // What a committed transaction writes is what every read from its commit_ts on must find.
  void Committed(const Txn& txn, uint64_t ts) {
    for (const auto& [key, deletion] : txn.writes) {
      naive_[key][ts] = deletion ? "" : txn.id.ToString();
    }
  }

  Applied OnePhase(const Txn& txn, uint64_t ts) {
    v1::ShardCommand command;
    v1::CommitOnePhase* commit = command.mutable_commit_one_phase();
    commit->set_txn_id(std::string(txn.id.bytes()));
    commit->set_start_ts(txn.start);
    commit->set_commit_ts(ts);
    commit->set_anchor_key(txn.writes.begin()->first);
    commit->set_name(std::string(txn.name.bytes()));
    FillWrites(txn, commit->mutable_writes());
    return Apply(std::move(command));
  }
  Applied Prepare(const Txn& txn, uint64_t ts) {
    v1::ShardCommand command;
    v1::PrepareCommand* prepare = command.mutable_prepare();
    prepare->set_txn_id(std::string(txn.id.bytes()));
    prepare->set_digest(9);
    prepare->set_marker_key(txn.writes.begin()->first);
    prepare->set_anchor_key(txn.writes.begin()->first);
    prepare->set_start_ts(txn.start);
    prepare->set_prepare_ts(ts);
    prepare->mutable_priority()->set_txn_id(std::string(txn.id.bytes()));
    prepare->set_stage(txn.staged);
    prepare->set_name(std::string(txn.name.bytes()));
    if (txn.staged) {
      v1::Participant* self = prepare->add_participants();
      self->set_marker_key(txn.writes.begin()->first);
      self->set_digest(9);
    }
    FillWrites(txn, prepare->mutable_writes());
    return Apply(std::move(command));
  }
  void Finish(const Txn& txn, bool commit, uint64_t ts) {
    if (txn.staged) {
      v1::ShardCommand decide;
      decide.mutable_decide()->set_txn_id(std::string(txn.id.bytes()));
      decide.mutable_decide()->set_start_ts(txn.start);
      decide.mutable_decide()->set_anchor_key(txn.writes.begin()->first);
      decide.mutable_decide()->set_outcome(commit ? v1::COMMITTED : v1::ABORTED_STATE);
      decide.mutable_decide()->set_commit_ts(ts);
      EXPECT_TRUE(Apply(std::move(decide)).status.ok());
    }
    v1::ShardCommand command;
    for (int copies = 0; copies < 2; ++copies) {
      v1::Resolution* resolution = command.mutable_resolve()->add_resolutions();
      resolution->set_txn_id(std::string(txn.id.bytes()));
      resolution->set_digest(9);
      resolution->set_marker_key(txn.writes.begin()->first);
      resolution->set_start_ts(txn.start);
      resolution->set_outcome(commit ? v1::COMMITTED : v1::ABORTED_STATE);
      resolution->set_commit_ts(ts);
    }
    EXPECT_TRUE(Apply(std::move(command)).status.ok());
    if (!txn.staged) return;
    v1::ShardCommand done;
    done.mutable_done()->set_txn_id(std::string(txn.id.bytes()));
    done.mutable_done()->set_anchor_key(txn.writes.begin()->first);
    Apply(std::move(done));
  }
  void Advance(uint64_t horizon, uint64_t names_ms = 0) {
    v1::ShardCommand command;
    command.mutable_advance_horizon()->set_horizon(horizon);
    command.mutable_advance_horizon()->set_names_horizon(Timestamp::FromParts(names_ms, 0).bits());
    Apply(std::move(command));
  }
  // A transaction that writes "k", under a name of `ms`.
  Txn OfName(const GivenName& name) {
    Txn txn;
    txn.id = TxnId::Make(random_);
    txn.start = ++now_;
    txn.writes["k"] = false;
    txn.name = name;
    return txn;
  }
  Applied Close(const GivenName& name, const std::string& key = "k") {
    v1::ShardCommand command;
    command.mutable_close_name()->set_name(std::string(name.bytes()));
    command.mutable_close_name()->set_key(key);
    return Apply(std::move(command));
  }

  void Check() {
    for (int i = 0; i < 4; ++i) {
      const uint64_t at =
          table_.horizon().bits() + random_.Below(now_ + 5 - table_.horizon().bits());
      for (const auto& [key, versions] : naive_) {
        auto it = versions.upper_bound(at);
        const std::string expected = it == versions.begin() ? "" : std::prev(it)->second;
        const auto version = VersionAt(store_, key, Timestamp(at));
        ASSERT_EQ(version && !version->deletion ? version->value : "", expected)
            << key << " at " << at << ", horizon " << table_.horizon().bits();
      }
    }
    Table reloaded(store_, Descriptor());
    ASSERT_EQ(reloaded.horizon(), table_.horizon());
    ASSERT_TRUE(reloaded.collectable() == table_.collectable());
    ASSERT_EQ(reloaded.prepared().size(), table_.prepared().size());
    for (const auto& [owner, record] : table_.prepared()) {
      const ParticipantRecord* other = reloaded.FindPrepared(owner);
      ASSERT_NE(other, nullptr);
      EXPECT_EQ(other->writes, record.writes);
      for (const std::string& key : record.writes) {
        ASSERT_NE(reloaded.IntentOn(key), nullptr);
        EXPECT_EQ(*reloaded.IntentOn(key), owner);
      }
    }
    ASSERT_EQ(reloaded.unfinished().size(), table_.unfinished().size());
    ASSERT_EQ(DigestOf(reloaded), DigestOf(table_));
  }

  Random random_{3};
  testing::MapReader store_;
  Table table_;
  uint64_t now_ = 10;
  std::map<std::string, std::map<uint64_t, std::string>> naive_;
  size_t ops_max_ = 0;
};

TEST_F(ApplyTest, RandomLogsKeepTheInvariants) {
  std::vector<std::pair<Txn, uint64_t>> prepared;
  for (int step = 0; step < 4000; ++step) {
    const uint64_t what = random_.Below(10);
    if (what < 4) {
      const Txn txn = Draw();
      const Applied applied = OnePhase(txn, ++now_);
      bool blocked = false;
      for (const auto& [other, ts] : prepared) {
        for (const auto& [key, deletion] : other.writes) blocked |= txn.writes.contains(key);
      }
      ASSERT_EQ(applied.status.code(), blocked ? Code::kLockConflict : Code::kOk);
      if (!blocked) Committed(txn, now_);
      // A copy of it gets what stands; of a refused one, the same refusal or a later success.
      if (!blocked) EXPECT_EQ(OnePhase(txn, now_ + 5).commit_ts, Timestamp(now_));
    } else if (what < 7) {
      Txn txn = Draw();
      txn.staged = random_.Chance(0.5);
      const uint64_t ts = ++now_;
      if (Prepare(txn, ts).status.ok()) prepared.emplace_back(txn, ts);
    } else if (what < 9 && !prepared.empty()) {
      const size_t i = random_.Below(prepared.size());
      const auto [txn, ts] = prepared[i];
      prepared.erase(prepared.begin() + static_cast<ptrdiff_t>(i));
      const bool commit = random_.Chance(0.7);
      const uint64_t commit_ts = ts + random_.Below(3);
      now_ = std::max(now_, commit_ts);
      // Only then is the history below the horizon still told apart by reads above it.
      if (commit) Committed(txn, commit_ts);
      Finish(txn, commit, commit_ts);
      const Applied again = Prepare(txn, now_ + 9);
      EXPECT_TRUE(again.status.code() == Code::kTooOld ||
                  again.state == (commit ? TxnState::kCommitted : TxnState::kAborted));
    } else if (what == 9 && random_.Chance(0.5)) {
      // Held back by what is prepared, as a lifetime does in the large.
      uint64_t horizon = now_ > 30 ? now_ - 30 : 1;
      for (const auto& [txn, ts] : prepared) horizon = std::min(horizon, txn.start);
      if (horizon > table_.horizon().bits()) Advance(horizon);
    }
    Check();
    ASSERT_FALSE(HasFatalFailure()) << "step " << step;
  }
  // At the end everything is resolved, and what is left is one version per key that is there.
  for (const auto& [txn, ts] : prepared) Finish(txn, false, 0);
  now_ += 100;
  for (int i = 0; i < 2000 && !table_.collectable().empty(); ++i) Advance(now_ - 1);
  Check();
  EXPECT_TRUE(table_.collectable().empty());
  size_t present = 0;
  for (const auto& [key, versions] : naive_) present += versions.rbegin()->second.empty() ? 0 : 1;
  EXPECT_EQ(store_.pairs().size(), present + 1) << "one version per key, and the shard's scalars";
}

// One txn_id on different keys of one shard, as its client or a question at another key sends it:
// each record is found, kept and collected by its key and id, never by its id alone.
TEST_F(ApplyTest, OneIdAtSeveralKeysIsSeveralRecords) {
  Txn a = Draw();
  a.writes = {{"a", false}};
  Txn b = a;
  b.writes = {{"b", false}};
  ASSERT_TRUE(OnePhase(a, ++now_).status.ok());
  Committed(a, now_);
  ++now_;
  ASSERT_EQ(OnePhase(b, now_).commit_ts, Timestamp(now_)) << "not what stands for the other";
  Committed(b, now_);
  v1::ShardCommand decide;
  decide.mutable_decide()->set_txn_id(std::string(a.id.bytes()));
  decide.mutable_decide()->set_start_ts(a.start);
  decide.mutable_decide()->set_anchor_key("c");
  decide.mutable_decide()->set_outcome(v1::ABORTED_STATE);
  ASSERT_EQ(Apply(decide).state, TxnState::kAborted);
  Check();

  // The first of them goes; the others stand, and are found.
  Advance(a.start + 1);
  EXPECT_FALSE(table_.Transaction("c", a.id).has_value());
  EXPECT_TRUE(table_.Transaction("a", a.id).has_value());
  EXPECT_TRUE(table_.Transaction("b", a.id).has_value());
  Check();
  Advance(now_ + 1);
  EXPECT_TRUE(table_.collectable().empty());
  EXPECT_FALSE(table_.Transaction("a", a.id).has_value());
  EXPECT_FALSE(table_.Transaction("b", a.id).has_value());
  Check();
}

TEST_F(ApplyTest, OneIdStagedAtTwoAnchorsIsTwoUnfinishedTransactions) {
  Txn a = Draw();
  a.writes = {{"a", false}};
  a.staged = true;
  Txn b = a;
  b.writes = {{"b", false}};
  const uint64_t ts = ++now_;
  ASSERT_EQ(Prepare(a, ts).state, TxnState::kStaged);
  ASSERT_EQ(Prepare(b, ts).state, TxnState::kStaged);
  EXPECT_EQ(table_.unfinished().size(), 2u);
  EXPECT_EQ(table_.prepared().size(), 2u);
  Check();
  Finish(a, true, ts);
  Committed(a, ts);
  ASSERT_EQ(table_.unfinished().size(), 1u) << "the other one still wants its recovery";
  EXPECT_EQ(table_.unfinished().begin()->second.anchor_key, "b");
  EXPECT_EQ(table_.prepared().size(), 1u);
  Check();
  Finish(b, false, 0);
  EXPECT_TRUE(table_.unfinished().empty());
  now_ += 100;
  while (!table_.collectable().empty()) Advance(now_);
  Check();
}

// Replicas may have applied the same entry under another version: each finds in the entry itself
// what it is over a STAGED record.
TEST_F(ApplyTest, AnAbortForWantOfARecordMeansWhatItMeantWhenItWasLogged) {
  for (const bool unless_staged : {false, true}) {
    Txn a = Draw();
    a.writes = {{unless_staged ? "a" : "b", false}};
    a.staged = true;
    const uint64_t ts = ++now_;
    ASSERT_EQ(Prepare(a, ts).state, TxnState::kStaged);
    v1::ShardCommand decide;
    decide.mutable_decide()->set_txn_id(std::string(a.id.bytes()));
    decide.mutable_decide()->set_start_ts(a.start);
    decide.mutable_decide()->set_anchor_key(a.writes.begin()->first);
    decide.mutable_decide()->set_outcome(v1::ABORTED_STATE);
    decide.mutable_decide()->set_keep_ts(++now_);
    decide.mutable_decide()->set_unless_staged(unless_staged);
    EXPECT_EQ(Apply(decide).state, unless_staged ? TxnState::kStaged : TxnState::kAborted);
    Check();
  }
}

TEST_F(ApplyTest, WhatNoVersionCouldApplyIsVoid) {
  const std::string id(16, 'x');
  std::vector<v1::ShardCommand> bad;
  const auto add = [&](auto fill) { fill(&bad.emplace_back()); };
  add([&](auto* c) { c->mutable_leader_start(); });
  add([&](auto* c) { c->mutable_commit_one_phase()->set_txn_id("short"); });
  add([&](auto* c) {
    c->mutable_commit_one_phase()->set_txn_id(id);
    c->mutable_commit_one_phase()->add_writes()->set_key(std::string(600, 'k'));
  });
  add([&](auto* c) { c->mutable_prepare()->set_txn_id(id); });
  add([&](auto* c) {
    c->mutable_prepare()->set_txn_id(id);
    c->mutable_prepare()->set_digest(1);
    c->mutable_prepare()->mutable_priority()->set_txn_id(id);
    c->mutable_prepare()->set_stage(true);
  });
  add([&](auto* c) {
    c->mutable_decide()->set_txn_id(id);
    c->mutable_decide()->set_anchor_key(std::string(600, 'k'));
  });
  add([&](auto* c) { c->mutable_resolve()->add_resolutions()->set_txn_id("short"); });
  add([&](auto* c) { c->mutable_refuse()->set_txn_id(id); });
  add([&](auto* c) {
    c->mutable_refuse()->set_txn_id(id);
    c->mutable_refuse()->set_digest(1);
    c->mutable_refuse()->set_marker_key(std::string(486, 'k'));
  });
  add([&](auto* c) {
    c->mutable_done()->set_txn_id(id);
    c->mutable_done()->add_more_txn_ids(id);
  });
  for (const v1::ShardCommand& command : bad) {
    Apply(command);
    EXPECT_TRUE(store_.pairs().empty()) << command.ShortDebugString().substr(0, 100);
    EXPECT_TRUE(table_.broken().empty());
    EXPECT_FALSE(JudgedCommand::Judge(command).ok()) << "nor is it logged";
  }
  // The longest that fits is stored.
  v1::ShardCommand longest;
  longest.mutable_refuse()->set_txn_id(id);
  longest.mutable_refuse()->set_digest(1);
  longest.mutable_refuse()->set_marker_key(std::string(kStoredKeyBytesMax, 'k'));
  EXPECT_EQ(Apply(longest).state, TxnState::kAborted);
}

TEST_F(ApplyTest, AStateThatContradictsTheLogBreaksTheTable) {
  Txn txn = Draw();
  txn.writes = {{"a", false}};
  ASSERT_TRUE(Prepare(txn, ++now_).status.ok());
  storage::WriteBatch damage;
  damage.Delete(IntentKey("a"));
  store_.Apply(std::move(damage));
  v1::ShardCommand command;
  v1::Resolution* resolution = command.mutable_resolve()->add_resolutions();
  resolution->set_txn_id(std::string(txn.id.bytes()));
  resolution->set_digest(9);
  resolution->set_marker_key("a");
  resolution->set_start_ts(txn.start);
  resolution->set_outcome(v1::COMMITTED);
  resolution->set_commit_ts(now_);
  Apply(command);
  EXPECT_FALSE(table_.broken().empty());

  storage::WriteBatch garbage;
  garbage.Put(ParticipantKey({txn.id, Digest(3), "b"}), "garbage");
  store_.Apply(std::move(garbage));
  EXPECT_FALSE(Table(store_, Descriptor()).broken().empty());
}

// What a snapshot brings: pairs one by one, then what they say together.
TEST_F(ApplyTest, OnlyPairsThatItCouldHaveStoredAreUnderstood) {
  Txn txn = Draw();
  txn.name = GivenName::Make(100, random_);
  OnePhase(txn, ++now_);
  Txn other = Draw();
  other.writes = {{"x", false}, {"y", true}};
  other.staged = true;
  Prepare(other, ++now_);
  std::set<char> tables;
  for (const auto& [key, value] : store_.pairs()) {
    EXPECT_TRUE(Understands(key, value)) << ToHex(key);
    tables.insert(key.front());
    EXPECT_FALSE(Understands(key, "")) << ToHex(key);
    const std::string_view body = storage::KeyBody(key);
    EXPECT_FALSE(Understands(storage::MakeKey(body, "suffix"), value)) << ToHex(key);
  }
  EXPECT_EQ(tables, (std::set<char>{'i', 'n', 'p', 't', 'v'}));
  const std::string version = VersionKey("k", Timestamp(9));
  EXPECT_TRUE(Understands(version, std::string("\0v", 2)));
  EXPECT_FALSE(Understands(version, "\x02v")) << "neither value nor deletion";
  ParticipantRecord too_long;
  too_long.state = TxnState::kCommitted;
  too_long.digest = Digest(1);
  too_long.marker_key = "k";
  too_long.writes = {std::string(limits::kKeyBytesMax + 1, 'k')};
  storage::WriteBatch record;
  PutRecord(too_long, &record);
  EXPECT_FALSE(Understands(record.ops[0].key, *record.ops[0].value)) << "no intent has this key";
  EXPECT_FALSE(Understands(storage::MakeKey(""), "v"));
  EXPECT_FALSE(Understands(storage::MakeKey("w", "12345678"), std::string(1, '\0')));
  v1::ShardState state;
  state.mutable_shard()->set_shard_id(8);
  EXPECT_TRUE(Understands(ShardStateKey(ShardId(8)), state.SerializeAsString()));
  EXPECT_FALSE(Understands(ShardStateKey(ShardId(7)), state.SerializeAsString()));
  EXPECT_FALSE(Understands(ShardStateKey(ShardId(8)), "\xff"));
}

TEST_F(ApplyTest, AStoreThatContradictsItselfBreaksTheTable) {
  Txn txn = Draw();
  txn.writes = {{"a", false}, {"b", false}};
  txn.staged = true;
  Prepare(txn, ++now_);
  const auto sound = store_.pairs();
  const auto broken_by = [&](auto change) {
    storage::WriteBatch batch;
    for (const auto& [key, value] : sound) batch.Put(key, value);
    change(&batch);
    store_.Apply(std::move(batch));
    table_.Load();
    return table_.broken();
  };
  EXPECT_EQ(broken_by([](auto*) {}), "");
  EXPECT_NE(broken_by([](auto* batch) { batch->Delete(IntentKey("b")); }), "");
  EXPECT_NE(broken_by([](auto* batch) { batch->Put(IntentKey("b"), "cut"); }), "");
  const auto of_another_part = [&](auto* batch) {
    PutIntent("b", {txn.id, Digest(10), "a"}, Timestamp(1), false, "", batch);
  };
  EXPECT_NE(broken_by(of_another_part), "");
  const auto staged_by_nobody = [&](auto* batch) {
    TransactionRecord record;
    record.state = TxnState::kStaged;
    record.txn_id = txn.id;
    record.anchor_key = "a";
    PutRecord(record, batch);
  };
  EXPECT_NE(broken_by(staged_by_nobody), "");
}

TEST_F(ApplyTest, NoEntryCollectsMuch) {
  // One key with thousands of versions, and records that name many keys.
  Txn txn = Draw();
  for (int i = 0; i < 3000; ++i) {
    txn.id = TxnId::Make(random_);
    txn.start = ++now_;
    ASSERT_TRUE(OnePhase(txn, ++now_).status.ok());
    Committed(txn, now_);
  }
  ops_max_ = 0;
  int entries = 0;
  for (; !table_.collectable().empty(); ++entries) Advance(now_ + 1);
  EXPECT_LE(ops_max_, 2 * kCollectPerAdvance);
  EXPECT_LE(entries, 100);
  EXPECT_EQ(table_.collectable().size(), 0u);
}

TEST_F(ApplyTest, OrdinaryEntriesKeepUpWithTheGarbageTheyMake) {
  for (int i = 0; i < 5000; ++i) {
    Txn txn;
    txn.id = TxnId::Make(random_);
    txn.start = ++now_;
    txn.writes[fmt::format("k{}", random_.Below(20))] = false;
    ASSERT_TRUE(OnePhase(txn, ++now_).status.ok());
    if (i % 100 == 0 && now_ > 400) Advance(now_ - 400);
  }
  // 200 transactions live above the horizon, 50 came since it moved; the rest was collected by the
  // way.
  EXPECT_LE(table_.collectable().size(), 300u);
}

TEST_F(ApplyTest, ANameIsCommittedOnce) {
  const GivenName name = GivenName::Make(100, random_);
  ASSERT_EQ(OnePhase(OfName(name), 50).state, TxnState::kCommitted);
  EXPECT_EQ(OnePhase(OfName(name), 60).status.code(), Code::kAlreadyExists);
  EXPECT_EQ(Prepare(OfName(name), 60).status.code(), Code::kAlreadyExists);
  const Applied asked = Close(name, "elsewhere");
  EXPECT_EQ(asked.state, TxnState::kCommitted);
  EXPECT_EQ(asked.commit_ts, Timestamp(50));
  EXPECT_TRUE(OnePhase(OfName(GivenName::Make(100, random_)), 60).status.ok()) << "another name";
}

TEST_F(ApplyTest, APreparedPartLeavesItsNameWhenItIsCommitted) {
  const GivenName name = GivenName::Make(100, random_);
  const Txn first = OfName(name);
  ASSERT_TRUE(Prepare(first, 50).status.ok());
  EXPECT_EQ(Close(name).status.code(), Code::kLockConflict) << "it may still commit";
  Finish(first, false, 0);
  const Txn second = OfName(name);
  ASSERT_TRUE(Prepare(second, 60).status.ok()) << "an attempt that was aborted is no outcome";
  Finish(second, true, 70);
  EXPECT_EQ(Prepare(OfName(name), 80).status.code(), Code::kAlreadyExists);
  EXPECT_EQ(Close(name).commit_ts, Timestamp(70));
  EXPECT_TRUE(table_.names().Prepared(name).empty());
}

TEST_F(ApplyTest, AClosedNameStaysClosedWhateverIsAsked) {
  const GivenName name = GivenName::Make(100, random_);
  EXPECT_EQ(Close(name, "a").state, TxnState::kAborted);
  EXPECT_EQ(OnePhase(OfName(name), 50).status.code(), Code::kAlreadyExists);
  EXPECT_EQ(Prepare(OfName(name), 50).status.code(), Code::kAlreadyExists);
  EXPECT_EQ(Close(name, "z").state, TxnState::kAborted);
}

TEST_F(ApplyTest, NamesOutliveTheHorizonAndEndAtTheirOwn) {
  const GivenName committed = GivenName::Make(100, random_), closed = GivenName::Make(101, random_);
  ASSERT_TRUE(OnePhase(OfName(committed), 50).status.ok());
  ASSERT_EQ(Close(closed).state, TxnState::kAborted);
  now_ = 1000;
  Advance(900, 100);
  EXPECT_EQ(table_.collectable().size(), 0u) << "the attempt's record is gone";
  EXPECT_EQ(OnePhase(OfName(committed), 950).status.code(), Code::kAlreadyExists);
  Advance(900, 101);
  EXPECT_EQ(table_.names().size(), 1u);
  // Before any look for records: there is none, and that says nothing.
  EXPECT_EQ(Close(committed).status.code(), Code::kTooOld);
  EXPECT_EQ(OnePhase(OfName(committed), 950).status.code(), Code::kTooOld);
  EXPECT_EQ(Prepare(OfName(committed), 950).status.code(), Code::kTooOld);
  EXPECT_EQ(Close(closed).state, TxnState::kAborted);
}

TEST_F(ApplyTest, NamesAreReadBackFromTheStore) {
  const GivenName committed = GivenName::Make(100, random_), prepared = GivenName::Make(7, random_);
  ASSERT_TRUE(OnePhase(OfName(committed), 50).status.ok());
  Txn other = OfName(prepared);
  other.writes = {{"m", false}};
  ASSERT_TRUE(Prepare(other, 60).status.ok());
  Advance(5, 3);
  const uint64_t before = DigestOf(table_);
  table_.Load();
  EXPECT_EQ(DigestOf(table_), before);
  EXPECT_EQ(table_.names_horizon().physical_ms(), 3u);
  EXPECT_EQ(Close(committed).commit_ts, Timestamp(50));
  EXPECT_EQ(Close(prepared).status.code(), Code::kLockConflict);
  Finish(other, true, 70);
  EXPECT_EQ(Close(prepared).commit_ts, Timestamp(70));
}

TEST_F(ApplyTest, AnEntryOfAnotherTermOrVersionIsVoid) {
  v1::ShardCommand command;
  command.mutable_advance_horizon()->set_horizon(5);
  command.set_term(2);
  EXPECT_EQ(Apply(command, 3).status.code(), Code::kNotLeader);
  command.set_version(2);
  EXPECT_EQ(Apply(command, 2).status.code(), Code::kStaleEpoch);
  EXPECT_TRUE(store_.pairs().empty());
  command.set_version(1);
  EXPECT_TRUE(Apply(command, 2).status.ok());
  EXPECT_EQ(table_.horizon(), Timestamp(5));
}

}  // namespace
}  // namespace quorate::shard
