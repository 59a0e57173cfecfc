// The parts of the core by themselves: log.h, progress.h, read_index.h, lease.h, config.h. What
// they do together is in the scripts.
#include <gtest/gtest.h>

#include "raft/core/config.h"
#include "raft/core/lease.h"
#include "raft/core/log.h"
#include "raft/core/membership.h"
#include "raft/core/progress.h"
#include "raft/core/read_index.h"

namespace quorate::raft {
namespace {

const Configuration kThree{.voters = {ReplicaId(1), ReplicaId(2), ReplicaId(3)}};

Entry Normal(uint64_t index, uint64_t term, std::string payload = "x") {
  return {LogIndex(index), Term(term), EntryType::kNormal, std::move(payload)};
}

Log MakeLog(std::vector<uint64_t> terms, uint64_t mark = 0, uint64_t mark_term = 0) {
  std::vector<Entry> entries;
  for (size_t i = 0; i < terms.size(); ++i) entries.push_back(Normal(mark + 1 + i, terms[i]));
  return Log({LogIndex(mark), Term(mark_term), kThree}, std::move(entries));
}

TEST(Log, TermIsUnknownBelowTheMarkAndBeyondTheEnd) {
  Log log = MakeLog({3, 4}, 10, 2);
  EXPECT_FALSE(log.TermAt(LogIndex(9)).has_value());
  EXPECT_EQ(log.TermAt(LogIndex(10)), Term(2));
  EXPECT_EQ(log.TermAt(LogIndex(12)), Term(4));
  EXPECT_FALSE(log.TermAt(LogIndex(13)).has_value());
}

// Thesis 3.6.1: the later term wins, then the longer log.
TEST(Log, UpToDateComparesTermThenIndex) {
  Log log = MakeLog({1, 1, 3});
  EXPECT_TRUE(log.UpToDate(LogIndex(1), Term(4)));
  EXPECT_TRUE(log.UpToDate(LogIndex(3), Term(3)));
  EXPECT_TRUE(log.UpToDate(LogIndex(4), Term(3)));
  EXPECT_FALSE(log.UpToDate(LogIndex(2), Term(3)));
  EXPECT_FALSE(log.UpToDate(LogIndex(9), Term(2)));
}

TEST(Log, CopyIsBoundedByBytesButNeverEmpty) {
  Log log = MakeLog({});
  for (uint64_t i = 1; i <= 5; ++i) log.Append(Normal(i, 1, std::string(10, 'p')));
  EXPECT_EQ(log.Copy(LogIndex(1), LogIndex(5), 25).size(), 2u);
  EXPECT_EQ(log.Copy(LogIndex(1), LogIndex(5), 1).size(), 1u);
  EXPECT_EQ(log.Copy(LogIndex(2), LogIndex(5), 1000).size(), 4u);
  EXPECT_TRUE(log.Copy(LogIndex(6), LogIndex(5), 1000).empty());
}

TEST(Log, HintSkipsAWholeTerm) {
  Log log = MakeLog({1, 1, 2, 2, 2, 4});
  EXPECT_EQ(log.LastWithTermUpTo(LogIndex(6), Term(3)), LogIndex(5));
  EXPECT_EQ(log.LastWithTermUpTo(LogIndex(5), Term(1)), LogIndex(2));
  EXPECT_EQ(log.LastWithTermUpTo(LogIndex(5), Term(0)), LogIndex(0));
}

// RC49: entries 31 and 32 are written, truncated, and written anew while the first write runs. That
// it ends says nothing about the second.
TEST(Log, WriteOfTruncatedEntriesMakesNothingStable) {
  Log log = MakeLog({1});
  log.Append(Normal(2, 1));
  log.Append(Normal(3, 1));
  EXPECT_EQ(log.TakeUnwritten().size(), 2u);
  uint64_t first_write = log.truncations();
  log.TruncateFrom(LogIndex(2));
  log.Append(Normal(2, 2));
  EXPECT_EQ(log.TakeUnwritten().size(), 1u);
  log.TruncateFrom(LogIndex(2));
  log.Append(Normal(2, 3));
  log.Append(Normal(3, 3));
  EXPECT_EQ(log.TakeUnwritten().size(), 2u);
  uint64_t third_write = log.truncations();
  log.MarkStable(LogIndex(3), first_write);
  EXPECT_EQ(log.stable(), LogIndex(1));
  log.MarkStable(LogIndex(3), third_write);
  EXPECT_EQ(log.stable(), LogIndex(3));
}

Entry ConfigurationEntry(uint64_t index, std::vector<uint64_t> voters) {
  Configuration c{.voters = {voters.begin(), voters.end()}};
  return {LogIndex(index), Term(1), EntryType::kConfiguration, EncodeConfiguration(c)};
}

// RC15.
TEST(Log, ConfigurationFollowsAppendTruncateAndCompact) {
  Log log = MakeLog({1});
  log.Append(ConfigurationEntry(2, {1, 2}));
  log.Append(Normal(3, 1));
  log.Append(ConfigurationEntry(4, {1}));
  EXPECT_EQ(ToString(log.configuration()), "1");
  EXPECT_EQ(ToString(log.ConfigurationAt(LogIndex(3))), "1 2");
  EXPECT_EQ(ToString(log.ConfigurationAt(LogIndex(1))), "1 2 3");
  log.TruncateFrom(LogIndex(4));
  EXPECT_EQ(ToString(log.configuration()), "1 2");
  EXPECT_EQ(log.configuration_index(), LogIndex(2));
  log.Compact(LogIndex(3));
  EXPECT_EQ(ToString(log.ConfigurationAt(LogIndex(3))), "1 2");
  EXPECT_EQ(log.first(), LogIndex(4));
}

// RC45: what the log agrees with may have been acknowledged and stays; what it contradicts goes.
TEST(Log, SnapshotKeepsOnlyATailThatAgrees) {
  Log agrees = MakeLog({1, 1, 2, 2});
  agrees.ResetTo({LogIndex(3), Term(2), kThree});
  EXPECT_EQ(agrees.last(), LogIndex(4));
  EXPECT_EQ(agrees.written(), LogIndex(3)) << "the tail is written again with the snapshot";
  EXPECT_EQ(agrees.TakeUnwritten().size(), 1u);
  Log contradicts = MakeLog({1, 1, 2, 2});
  contradicts.ResetTo({LogIndex(3), Term(3), kThree});
  EXPECT_EQ(contradicts.last(), LogIndex(3));
  EXPECT_EQ(contradicts.last_term(), Term(3));
}

TEST(Log, CompactionInSmallStepsKeepsEntriesInPlace) {
  Log log = MakeLog({});
  for (uint64_t i = 1; i <= 1000; ++i) log.Append(Normal(i, 1 + i / 100, std::to_string(i)));
  for (uint64_t i = 7; i < 1000; i += 7) {
    log.Compact(LogIndex(i));
    ASSERT_EQ(log.At(LogIndex(i + 1)).payload, std::to_string(i + 1));
    ASSERT_EQ(log.TermAt(LogIndex(i)), Term(1 + i / 100));
    ASSERT_EQ(log.last(), LogIndex(1000));
  }
}

Instant At(int milliseconds) { return Instant() + milliseconds * 1ms; }

Progress Replicating(uint64_t match) {
  Progress p(ReplicaId(2), LogIndex(match + 1), LogIndex(match), 0);
  p.Acknowledged(LogIndex(match));
  p.BecomeReplicate();
  return p;
}

TEST(Progress, WindowClosesAndOpens) {
  Progress p = Replicating(0);
  for (uint64_t i = 1; i <= 3; ++i) p.Sent(At(1), LogIndex(i), true, 10);
  EXPECT_TRUE(p.Paused(3, 1000));
  EXPECT_EQ(p.next, LogIndex(4));
  EXPECT_TRUE(p.Acknowledged(LogIndex(2)));
  EXPECT_FALSE(p.Paused(3, 1000));
  EXPECT_TRUE(p.Paused(3, 10)) << "one append of 10 bytes is on its way";
  EXPECT_EQ(p.inflight.size(), 1u);
  EXPECT_FALSE(p.Acknowledged(LogIndex(1))) << "an older answer";
  EXPECT_EQ(p.match, LogIndex(2));
}

TEST(Progress, WhoIsSatedIsSentNothing) {
  Progress p = Replicating(0);
  EXPECT_FALSE(p.Paused(3, 1000));
  p.sated = true;
  EXPECT_TRUE(p.Paused(3, 1000));
  p.BecomeProbe();
  EXPECT_TRUE(p.Paused(3, 1000));
  p.sated = false;
  EXPECT_FALSE(p.Paused(3, 1000));
}

TEST(Progress, RejectionMeansProbingFromWhatIsKnown) {
  Progress p = Replicating(5);
  p.Sent(At(1), LogIndex(8), true, 10);
  EXPECT_TRUE(p.Rejected(LogIndex(8), LogIndex(5)));
  EXPECT_EQ(p.state, Progress::State::kProbe);
  EXPECT_EQ(p.next, LogIndex(6));
  p.Sent(At(2), LogIndex(8), true, 10);
  EXPECT_TRUE(p.Paused(3, 1000));
  EXPECT_FALSE(p.Rejected(LogIndex(8), LogIndex(5))) << "answers an older append";
  EXPECT_TRUE(p.Paused(3, 1000));
}

// ST5: a follower that lost what it had acknowledged is found out and fed again.
TEST(Progress, LostLogIsNoticed) {
  Progress p = Replicating(5);
  EXPECT_TRUE(p.Rejected(LogIndex(5), LogIndex(2)));
  EXPECT_EQ(p.match, LogIndex(2));
  EXPECT_EQ(p.next, LogIndex(3));
}

// The lease may rest on an acknowledgement only from the first time that its last entry was sent.
TEST(Progress, OnlyTheFirstSendingDatesAnAnswer) {
  Progress p = Replicating(5);
  p.Sent(At(10), LogIndex(6), true, 10);
  p.BecomeProbe();
  p.Sent(At(500), LogIndex(6), true, 10);
  p.Acknowledged(LogIndex(6));
  EXPECT_EQ(p.contact, Instant::min()) << "the answer may belong to the sending that was forgotten";
  p.BecomeReplicate();
  p.Sent(At(600), LogIndex(7), true, 10);
  p.Sent(At(601), LogIndex(8), true, 10);
  p.Acknowledged(LogIndex(7));
  EXPECT_EQ(p.contact, At(600));
  p.Acknowledged(LogIndex(8));
  EXPECT_EQ(p.contact, At(601));
}

// RC47.
TEST(Progress, OlderSnapshotThanOfferedWillDo) {
  Progress p = Replicating(1);
  p.BecomeSnapshot(LogIndex(9));
  EXPECT_TRUE(p.Paused(100, 1000));
  p.snapshot_index = LogIndex(7);
  p.BecomeProbe();
  EXPECT_EQ(p.next, LogIndex(8));
}

TEST(ReadIndexQueue, RoundConfirmsWhatWasAskedBeforeIt) {
  ReadIndexQueue queue;
  queue.Ask(7);
  queue.Ask(8);
  queue.Start(1, LogIndex(10));
  queue.Ask(7);  // the same context again: another read
  std::vector<ReadState> reads;
  queue.Confirm(1, &reads);
  ASSERT_EQ(reads.size(), 2u);
  EXPECT_EQ(reads[0].context, 7u);
  EXPECT_EQ(reads[1].index, LogIndex(10));
  queue.Start(2, LogIndex(11));
  queue.Confirm(1, &reads);
  EXPECT_EQ(reads.size(), 2u) << "a late answer to the first round";
  queue.Ask(9);
  std::vector<uint64_t> failed;
  queue.Fail(&failed);
  EXPECT_EQ(failed, (std::vector<uint64_t>{7, 9}));
  EXPECT_FALSE(queue.HasPending() || queue.HasAsked());
}

TEST(RoundTimes, RoundIsNeverDatedLaterThanItWasSent) {
  RoundTimes times;
  EXPECT_EQ(times.SentAt(1), Instant::min());
  for (uint64_t round = 1; round <= 1000; ++round) {
    times.Sent(round, At(static_cast<int>(round)), 600ms);
    ASSERT_LE(times.SentAt(round), At(static_cast<int>(round)));
    ASSERT_GE(times.SentAt(round), At(static_cast<int>(round) - 10));
  }
  EXPECT_EQ(times.SentAt(1), Instant::min()) << "forgotten: it gives no lease any more";
  EXPECT_LE(times.SentAt(900), At(900));
}

TEST(VotePromise, HoldsInTicksAndInTime) {
  VotePromise promise(600ms, 16);
  promise.Make(At(0), ReplicaId(1));
  for (int i = 0; i < 16; ++i) promise.Tick();
  EXPECT_TRUE(promise.Forbids(At(666), ReplicaId(2)));
  EXPECT_FALSE(promise.Forbids(At(667), ReplicaId(2)));
  promise.Make(At(1000), ReplicaId(1));
  EXPECT_TRUE(promise.Forbids(At(5000), ReplicaId(2))) << "no tick has passed";
  EXPECT_FALSE(promise.Forbids(At(1000), ReplicaId(1))) << "RC25";
  promise.Make(At(6000), ReplicaId());
  EXPECT_TRUE(promise.Forbids(At(6000), ReplicaId(1))) << "after a start: to whom is not known";
}

TEST(Config, ValidateNamesWhatIsWrong) {
  Config good{.self = ReplicaId(1)};
  EXPECT_TRUE(good.Validate().ok());
  auto message = [&](auto change) {
    Config config = good;
    change(config);
    Status status = config.Validate();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return status.message();
  };
  EXPECT_EQ(message([](Config& c) { c.self = ReplicaId(); }).substr(0, 4), "self");
  EXPECT_EQ(message([](Config& c) { c.lease = 750ms; }).substr(0, 5), "lease");
  EXPECT_EQ(message([](Config& c) { c.heartbeat_ticks = 4; }).substr(0, 15), "heartbeat_ticks");
  EXPECT_EQ(message([](Config& c) { c.election_ticks_min = 6; }).substr(0, 18),
            "election_ticks_min");
  EXPECT_EQ(message([](Config& c) { c.inflight_appends_max = 0; }).substr(0, 8), "inflight");
}

}  // namespace
}  // namespace quorate::raft
