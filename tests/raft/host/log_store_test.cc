// What a restarted replica knows, case by case (the crash windows of log_store.h), and the record
// beside the state. The order of writes is tested through crashes in host_crash_test.
#include "raft/host/log_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raft/host/log_window.h"

namespace quorate::raft {
namespace {

using ::testing::HasSubstr;

constexpr GroupId kGroup{7};

Configuration Members(std::vector<uint64_t> voters) {
  Configuration configuration;
  for (uint64_t id : voters) configuration.voters.push_back(NodeId(id));
  return configuration;
}

storage::WalGroup Log(uint64_t mark, uint64_t mark_term, std::vector<uint64_t> terms) {
  storage::WalGroup log;
  log.incarnation = 3;
  log.mark = {mark, mark_term};
  uint64_t index = mark;
  for (uint64_t term : terms) log.entries.push_back({++index, term, 0, "x"});
  log.hard_state = {terms.empty() ? mark_term : terms.back(), 2, mark};
  return log;
}

Stored WithState(storage::WalGroup* log, uint64_t applied, uint64_t term, uint64_t since = 1) {
  Stored stored;
  stored.wal = log;
  stored.applied = LogIndex(applied);
  stored.meta.emplace();
  stored.meta->applied_term = Term(term);
  stored.meta->changes = {{LogIndex(since), Members({1, 2, 3})}};
  return stored;
}

TEST(Recover, AFreshGroupStartsFromItsMembersOnEveryNode) {
  const Recovered out = Recover(kGroup, {}, Members({1, 2, 3}));
  EXPECT_TRUE(out.fresh);
  EXPECT_TRUE(out.quarantine.empty());
  ASSERT_EQ(out.initial.entries.size(), 1u);
  EXPECT_EQ(out.initial.entries[0], BootstrapEntry(Members({1, 2, 3})));
  EXPECT_EQ(out.initial.hard_state, (HardState{Term(1), NodeId(), LogIndex(1)}));
  ASSERT_TRUE(out.record.has_value()) << "before anything that depends on it";
  EXPECT_EQ(out.record->entries.size(), 1u);
  EXPECT_EQ(out.record->hard_state->term, 1u);
}

TEST(Recover, AFreshGroupWithoutMembersKnowsNothing) {
  const Recovered out = Recover(kGroup, {}, std::nullopt);
  EXPECT_TRUE(out.fresh);
  EXPECT_TRUE(out.initial.entries.empty());
  ASSERT_TRUE(out.record.has_value()) << "before a state is installed, which is stored first";
  EXPECT_TRUE(out.record->entries.empty());
  EXPECT_EQ(out.record->hard_state->term, 0u);
}

TEST(Recover, AFirstStateThatTheLogDoesNotKnowYetIsNoDamage) {
  storage::WalGroup log;  // what a replica without members begins with
  const Recovered out = Recover(kGroup, WithState(&log, 4, 2), std::nullopt);
  EXPECT_EQ(out.quarantine, "");
  EXPECT_EQ(out.initial.applied, LogIndex(4));
  EXPECT_EQ(out.initial.snapshot.index, LogIndex(4));
  EXPECT_EQ(out.initial.hard_state.term, Term(2));
}

TEST(Recover, ASuccessorOfADestroyedReplicaBeginsAboveItsTerm) {
  for (const bool lost_records : {false, true}) {
    Stored stored;
    stored.tombstone = Tombstone{.incarnation = 3, .term = Term(7)};
    stored.lost_records = lost_records;
    stored.state = false;
    const Recovered out = Recover(kGroup, std::move(stored), Members({1, 2, 3}));
    EXPECT_EQ(out.quarantine, "");
    EXPECT_EQ(out.incarnation, 4u);
    EXPECT_EQ(out.initial.hard_state.term, Term(7));
    EXPECT_TRUE(out.initial.entries.empty());  // whatever the founders were
    ASSERT_TRUE(out.record.has_value());
    EXPECT_EQ(out.record->incarnation, 4u);
    EXPECT_EQ(out.record->hard_state->term, 7u);
  }
}

TEST(Recover, AReplicaThatWasBegunEmptyIsNotDamaged) {
  storage::WalGroup log;
  log.incarnation = 1;
  log.hard_state.term = 5;
  Stored stored;
  stored.wal = &log;
  stored.state = false;
  const Recovered out = Recover(kGroup, std::move(stored), std::nullopt);
  EXPECT_EQ(out.quarantine, "");
  EXPECT_EQ(out.initial.hard_state.term, Term(5));
}

TEST(Recover, GoesOnFromALogThatHoldsTheState) {
  auto log = Log(4, 2, {2, 2, 3});
  const Recovered out = Recover(kGroup, WithState(&log, 6, 2), Members({9}));
  EXPECT_TRUE(out.quarantine.empty());
  EXPECT_FALSE(out.fresh);
  EXPECT_FALSE(out.record.has_value());
  EXPECT_EQ(out.incarnation, 3u);
  EXPECT_EQ(out.initial.snapshot, (SnapshotMeta{LogIndex(4), Term(2), Members({1, 2, 3})}));
  EXPECT_EQ(out.initial.entries.size(), 3u);
  EXPECT_EQ(out.initial.applied, LogIndex(6));
  EXPECT_EQ(out.initial.hard_state, (HardState{Term(3), NodeId(2), LogIndex(6)}))
      << "what is applied is committed";
}

TEST(Recover, AStateAtTheMarkHoldsTheLog) {
  auto log = Log(4, 2, {});
  const Recovered out = Recover(kGroup, WithState(&log, 4, 2), std::nullopt);
  EXPECT_TRUE(out.quarantine.empty());
  EXPECT_FALSE(out.record.has_value());
  EXPECT_EQ(out.initial.snapshot.index, LogIndex(4));
}

TEST(Recover, AStateAheadOfTheLogResetsIt) {
  // Flushed at 9, the log ends at 7: a snapshot's reset, or this node's own copies, did not make
  // it.
  auto log = Log(4, 2, {2, 2, 3});
  const Recovered out = Recover(kGroup, WithState(&log, 9, 5), std::nullopt);
  EXPECT_TRUE(out.quarantine.empty());
  EXPECT_EQ(out.initial.snapshot, (SnapshotMeta{LogIndex(9), Term(5), Members({1, 2, 3})}));
  EXPECT_TRUE(out.initial.entries.empty());
  EXPECT_EQ(out.initial.hard_state, (HardState{Term(5), NodeId(), LogIndex(9)}))
      << "no vote was given in a term that is not in the log's hard state";
  ASSERT_TRUE(out.record.has_value());
  EXPECT_TRUE(out.record->reset);
  EXPECT_EQ(out.record->mark->index, 9u);
  EXPECT_EQ(out.record->mark->term, 5u);
  EXPECT_EQ(out.record->incarnation, 3u);
}

TEST(Recover, AStateThatContradictsTheLogResetsIt) {
  // The log has 6 with another term than the state: its tail lost against what is committed.
  auto log = Log(4, 2, {2, 2, 2});
  const Recovered out = Recover(kGroup, WithState(&log, 6, 3), std::nullopt);
  EXPECT_TRUE(out.initial.entries.empty());
  EXPECT_EQ(out.initial.snapshot.index, LogIndex(6));
  EXPECT_EQ(out.initial.snapshot.term, Term(3));
  EXPECT_TRUE(out.record.has_value());
}

TEST(Recover, AVoteIsKeptWhenTheTermIsNotRaised) {
  auto log = Log(4, 2, {2});
  log.hard_state = {6, 2, 4};
  const Recovered out = Recover(kGroup, WithState(&log, 9, 5), std::nullopt);
  EXPECT_EQ(out.initial.hard_state, (HardState{Term(6), NodeId(2), LogIndex(9)}));
}

TEST(Recover, TheLogStartsWhereItsConfigurationIsKnown) {
  auto log = Log(4, 2, {2, 2, 2});
  const Recovered out = Recover(kGroup, WithState(&log, 7, 2, 6), std::nullopt);
  EXPECT_EQ(out.initial.snapshot, (SnapshotMeta{LogIndex(6), Term(2), Members({1, 2, 3})}));
  ASSERT_EQ(out.initial.entries.size(), 1u);
  EXPECT_EQ(out.initial.entries[0].index, LogIndex(7));
}

TEST(Recover, WhateverMayHaveBeenLostIsQuarantined) {
  auto damaged = Log(4, 2, {2});
  damaged.damaged = true;
  EXPECT_FALSE(Recover(kGroup, WithState(&damaged, 5, 2), std::nullopt).quarantine.empty());
  auto ahead = Log(4, 2, {2});
  EXPECT_FALSE(Recover(kGroup, WithState(&ahead, 3, 2), std::nullopt).quarantine.empty())
      << "the mark is beyond the state";
  EXPECT_FALSE(Recover(kGroup, WithState(nullptr, 3, 2), std::nullopt).quarantine.empty())
      << "the log does not know it";
  auto unreadable = Log(4, 2, {2});
  Stored stored = WithState(&unreadable, 5, 2);
  stored.meta.reset();
  EXPECT_FALSE(Recover(kGroup, std::move(stored), std::nullopt).quarantine.empty());
  auto baseless = Log(0, 0, {1, 2, 2});
  Stored without;
  without.wal = &baseless;
  without.state = false;
  EXPECT_FALSE(Recover(kGroup, std::move(without), std::nullopt).quarantine.empty())
      << "there is nothing to apply the log to";
  auto memberless = Log(2, 2, {2, 2});
  Stored nobody = WithState(&memberless, 3, 2);
  nobody.meta->changes.clear();
  EXPECT_THAT(Recover(kGroup, std::move(nobody), std::nullopt).quarantine,
              HasSubstr("names no members"));
  Stored lost;
  lost.lost_records = true;
  EXPECT_FALSE(Recover(kGroup, std::move(lost), Members({1})).quarantine.empty())
      << "it may have voted";
}

// Right checksums, and no log that a core would have written.
TEST(Recover, ALogThatMakesNoSenseIsQuarantined) {
  auto backwards = Log(4, 2, {3, 2});
  EXPECT_THAT(Recover(kGroup, WithState(&backwards, 5, 3), std::nullopt).quarantine,
              HasSubstr("entry 6 is of term 2"));
  auto unknown = Log(4, 2, {2, 2});
  unknown.entries[1].type = 99;
  EXPECT_THAT(Recover(kGroup, WithState(&unknown, 5, 2), std::nullopt).quarantine,
              HasSubstr("unknown type 99"));
  auto configuration = Log(4, 2, {2, 2});
  configuration.entries[0].type = static_cast<uint8_t>(EntryType::kConfiguration);
  configuration.entries[0].payload = "\xff\xff";
  EXPECT_THAT(Recover(kGroup, WithState(&configuration, 5, 2), std::nullopt).quarantine,
              HasSubstr("entry 5 is no configuration"));
  auto fine = Log(4, 2, {2, 2});
  Stored ahead = WithState(&fine, 5, 2);
  ahead.meta->changes = {{LogIndex(6), Members({1})}};
  EXPECT_THAT(Recover(kGroup, std::move(ahead), std::nullopt).quarantine, HasSubstr("at 6"));
}

TEST(Recover, AQuarantinedReplicaRemembersTheNewestTermItCanProve) {
  auto log = Log(4, 2, {2, 7});
  log.damaged = true;
  log.hard_state.term = 3;
  const Recovered out = Recover(kGroup, WithState(&log, 5, 2), std::nullopt);
  EXPECT_EQ(out.initial.hard_state.term, Term(7));
  EXPECT_FALSE(out.record.has_value()) << "nothing is written before the snapshot";
}

TEST(GroupMeta, SurvivesItsEncoding) {
  GroupMeta meta;
  meta.applied_term = Term(300);
  meta.AddChange(LogIndex(1), Members({1, 2, 3}), LogIndex(0));
  meta.AddChange(LogIndex(90), Members({1, 2}), LogIndex(0));
  GroupMeta decoded;
  ASSERT_TRUE(GroupMeta::Decode(meta.Encode(), &decoded));
  EXPECT_EQ(decoded, meta);
  const std::string bytes = meta.Encode();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(GroupMeta::Decode(bytes.substr(0, size), &decoded)) << size;
  }
  EXPECT_FALSE(GroupMeta::Decode(bytes + "x", &decoded));
}

// Of a log that hardly grows, whose mark stays where it is.
TEST(GroupMeta, KeepsABoundedNumberOfChanges) {
  GroupMeta meta;
  for (uint64_t i = 1; i <= 3000; ++i) {
    meta.AddChange(LogIndex(i), Members({1, 2 + i % 2}), LogIndex(0));
  }
  GroupMeta again;
  ASSERT_TRUE(GroupMeta::Decode(meta.Encode(), &again));
  EXPECT_EQ(again.changes.back().index, LogIndex(3000));
  EXPECT_EQ(again.At(LogIndex(2999)), Members({1, 3}));
}

TEST(GroupMeta, KeepsTheNewestConfigurationAtOrBelowTheMark) {
  GroupMeta meta;
  meta.AddChange(LogIndex(1), Members({1}), LogIndex(0));
  meta.AddChange(LogIndex(10), Members({1, 2}), LogIndex(0));
  meta.AddChange(LogIndex(20), Members({1, 2, 3}), LogIndex(15));
  ASSERT_EQ(meta.changes.size(), 2u);
  EXPECT_EQ(meta.At(LogIndex(15)), Members({1, 2}));
  EXPECT_EQ(meta.At(LogIndex(19)), Members({1, 2}));
  EXPECT_EQ(meta.At(LogIndex(20)), Members({1, 2, 3}));
  EXPECT_TRUE(meta.At(LogIndex(9)).voters.empty()) << "forgotten, and said so";
}

TEST(GroupMetaKey, LiesInItsSpanAndNamesItsGroup) {
  const auto [from, to] = GroupMetaSpan();
  for (uint64_t id : {uint64_t{1}, uint64_t{77}, ~uint64_t{0}}) {
    const std::string key = GroupMetaKey(GroupId(id));
    EXPECT_FALSE(storage::KeyLess()(key, from));
    EXPECT_TRUE(storage::KeyLess()(key, to));
    GroupId group;
    ASSERT_TRUE(ParseGroupMetaKey(key, &group));
    EXPECT_EQ(group, GroupId(id));
  }
  GroupId group;
  EXPECT_FALSE(ParseGroupMetaKey(storage::MakeKey("other"), &group));
}

TEST(LogWindow, SaysWhatExceedsItsBounds) {
  LogWindow window;
  EXPECT_EQ(window.Excess(0, 0), LogIndex());
  for (uint64_t i = 1; i <= 1000; ++i) window.Add(LogIndex(i), Term(1), 100);
  EXPECT_EQ(window.Excess(2000, 1 << 30), LogIndex());
  const LogIndex by_count = window.Excess(300, 1 << 30);
  EXPECT_GE(by_count, LogIndex(600));
  EXPECT_LE(by_count, LogIndex(700));
  const LogIndex by_bytes = window.Excess(2000, 50 * 164);
  EXPECT_GE(by_bytes, LogIndex(850));
  EXPECT_LE(by_bytes, LogIndex(950));
  for (size_t bytes = 0; bytes < 1000 * 164; bytes += 999) {
    const LogIndex gone = window.Excess(bytes);
    EXPECT_LE((1000 - gone.value()) * 164, bytes);
    EXPECT_LT(bytes, (1000 - gone.value() + 17) * 164);
  }
  EXPECT_EQ(window.Excess(1000 * 164), LogIndex());
  window.Drop(by_count);
  EXPECT_EQ(window.Excess(1000, 1 << 30), LogIndex());
  window.Add(LogIndex(5000), Term(1), 1);
  EXPECT_EQ(window.Excess(10, 1 << 30), LogIndex()) << "a jump forgets what was before";
}

TEST(LogWindow, KnowsTheTermsOfPlaces) {
  LogWindow window;
  EXPECT_FALSE(window.UpTo(LogIndex(7)));
  for (uint64_t i = 10; i <= 200; ++i) window.Add(LogIndex(i), Term(i / 50), 100);
  EXPECT_FALSE(window.UpTo(LogIndex(9)));
  using Place = LogWindow::Place;
  EXPECT_EQ(window.UpTo(LogIndex(10)), (Place{LogIndex(10), Term(0)}));
  EXPECT_EQ(window.UpTo(LogIndex(200)), (Place{LogIndex(200), Term(4)}));
  EXPECT_EQ(window.UpTo(LogIndex(999)), (Place{LogIndex(200), Term(4)}));
  for (uint64_t i = 10; i <= 200; ++i) {
    const auto place = window.UpTo(LogIndex(i));
    ASSERT_TRUE(place);
    EXPECT_LE(place->index, LogIndex(i));
    EXPECT_GT(place->index + 16, LogIndex(i));
    EXPECT_EQ(place->term, Term(place->index.value() / 50));
  }
  window.Drop(LogIndex(200));
  EXPECT_EQ(window.UpTo(LogIndex(200)), (Place{LogIndex(200), Term(4)})) << "a log may be empty";
  EXPECT_FALSE(window.UpTo(LogIndex(199)));
}

}  // namespace
}  // namespace quorate::raft
