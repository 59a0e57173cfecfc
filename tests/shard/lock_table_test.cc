// The lock table against a naive one that reads section 6 line by line, over random asks; and that
// no wake-up is lost. What the verdicts are for is in the scenarios.
#include "shard/lock_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"
#include "txn/footprint.h"

namespace quorate::shard {
namespace {

using Kind = LockVerdict::Kind;

TxnId Id(uint64_t n) {
  Random random(n + 1);
  return TxnId::Make(random);
}

struct Ask {
  Asker asker;
  Owner owner;
  TxnPriority priority;
  std::vector<std::string> writes;
  std::vector<Span> guards;

  LockAsk View() const {
    LockAsk ask;
    ask.asker = asker;
    ask.owner = owner;
    ask.priority = priority;
    ask.writes.assign(writes.begin(), writes.end());
    ask.guards = &guards;
    return ask;
  }
};

bool Touches(const std::vector<Span>& spans, const std::string& key) {
  return std::any_of(spans.begin(), spans.end(), [&](const Span& s) { return s.Contains(key); });
}
bool WritesMeet(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::any_of(a.begin(), a.end(), [&](const std::string& key) {
    return std::find(b.begin(), b.end(), key) != b.end();
  });
}
bool GuardMeets(const std::vector<Span>& guards, const std::vector<std::string>& writes) {
  return std::any_of(writes.begin(), writes.end(),
                     [&](const std::string& key) { return Touches(guards, key); });
}

class Naive {
 public:
  struct Held {
    Ask ask;
    bool one_phase = false, committed = false, freed = false;
  };
  struct Advisory {
    TxnId txn;
    TxnPriority priority;
    std::string key;
  };

  Kind Judge(const Ask& ask, WaiterId self) const {
    Contention worst = Contention::kWound;
    auto weigh = [&](Contention c) { worst = std::max(worst, c); };
    for (const auto& [owner, held] : prepared) {
      if (owner == ask.owner || held.freed) continue;
      if (!WritesMeet(ask.writes, held.ask.writes) && !GuardMeets(held.ask.guards, ask.writes) &&
          !GuardMeets(ask.guards, held.ask.writes)) {
        continue;
      }
      const Holder holder = held.one_phase || held.committed ? Holder::kEnding : Holder::kPrepared;
      weigh(AgainstHolder(ask.asker, ask.priority, holder, held.ask.priority));
    }
    for (const Advisory& advisory : advisories) {
      if (advisory.txn == ask.owner.txn_id || !WritesMeet(ask.writes, {advisory.key})) continue;
      weigh(AgainstHolder(ask.asker, ask.priority, Holder::kAdvisory, advisory.priority));
    }
    for (const auto& [id, waiter] : waiters) {
      if (id == self || waiter.owner == ask.owner || !(waiter.priority < ask.priority)) continue;
      if (WritesMeet(ask.writes, waiter.writes) || GuardMeets(waiter.guards, ask.writes) ||
          GuardMeets(ask.guards, waiter.writes)) {
        weigh(AgainstOlderWaiter(ask.asker));
      }
    }
    return worst == Contention::kWound  ? Kind::kGo
           : worst == Contention::kWait ? Kind::kWait
                                        : Kind::kDie;
  }

  std::map<Owner, Held> prepared;
  std::vector<Advisory> advisories;
  std::map<WaiterId, Ask> waiters;
};

class LockTableTest : public ::testing::Test {
 protected:
  std::string Key() { return std::string(1, static_cast<char>('a' + random_.Below(6))); }

  Ask DrawAsk() {
    Ask ask;
    ask.asker = static_cast<Asker>(random_.Below(3));
    const uint64_t txn = random_.Below(12);
    ask.owner.txn_id = Id(txn);
    ask.priority = {Timestamp::FromParts(1 + txn / 2, 0), Id(txn / 2 * 2)};
    std::set<std::string> writes;
    for (uint64_t i = random_.Below(3); i > 0; --i) writes.insert(Key());
    if (ask.asker == Asker::kAdvisory) {
      writes.insert(Key());
    } else {
      ask.owner.digest = Digest(1 + random_.Below(2));
      for (uint64_t i = random_.Below(3); i > 0; --i) {
        Span span = random_.Chance(0.6) ? Span::OfKey(Key()) : Span{Key(), Key()};
        ask.guards.push_back(span);
      }
      ask.guards = NormalizeSpans(std::move(ask.guards));
    }
    if (writes.empty() && ask.guards.empty()) writes.insert(Key());
    ask.writes.assign(writes.begin(), writes.end());
    return ask;
  }

  void Take(const Ask& ask) {
    if (ask.asker == Asker::kAdvisory) {
      const LockAsk view = ask.View();
      table_.TakeAdvisory(ask.owner.txn_id, ask.priority, view.writes, Instant(), Instant::max());
      for (const std::string& key : ask.writes) {
        std::erase_if(naive_.advisories, [&](const auto& a) { return a.key == key; });
        naive_.advisories.push_back({ask.owner.txn_id, ask.priority, key});
      }
      return;
    }
    PreparedLock lock;
    lock.owner = ask.owner;
    lock.priority = ask.priority;
    lock.writes = ask.writes;
    lock.guards = ask.guards;
    lock.one_phase = random_.Chance(0.2);
    naive_.prepared[ask.owner] = {ask, lock.one_phase};
    table_.Add(std::move(lock));
    std::erase_if(naive_.advisories, [&](const auto& a) {
      return a.txn == ask.owner.txn_id || WritesMeet({a.key}, ask.writes);
    });
  }

  // Asks as a new request or as waiter `self`; both tables must agree.
  void Try(const Ask& ask, WaiterId self) {
    if (ask.asker != Asker::kAdvisory && naive_.prepared.contains(ask.owner)) {
      if (self != 0) Leave(self);
      return;
    }
    const Kind kind = table_.Judge(ask.View(), Instant(), self).kind;
    ASSERT_EQ(kind, naive_.Judge(ask, self));
    if (kind == Kind::kWait) {
      if (self == 0) naive_.waiters[table_.Enqueue(ask.View())] = ask;
      return;
    }
    if (kind == Kind::kGo) Take(ask);
    if (self != 0) Leave(self);
  }

  void Leave(WaiterId id) {
    table_.Dequeue(id);
    naive_.waiters.erase(id);
  }

  void Change() {
    if (naive_.prepared.empty() || random_.Chance(0.2)) {
      if (naive_.advisories.empty()) return;
      const TxnId txn = naive_.advisories[random_.Below(naive_.advisories.size())].txn;
      table_.ReleaseAdvisory(txn);
      std::erase_if(naive_.advisories, [&](const auto& a) { return a.txn == txn; });
      return;
    }
    auto it = naive_.prepared.begin();
    std::advance(it, random_.Below(naive_.prepared.size()));
    Naive::Held& held = it->second;
    if (!held.one_phase && !held.committed && random_.Chance(0.5)) {
      if (!table_.Find(it->first)->applied) table_.MarkApplied(it->first, Timestamp(1));
      table_.MarkCommitted(it->first, Timestamp(1));
      held.committed = true;
    } else if (held.committed && !held.freed && random_.Chance(0.5)) {
      table_.MarkResolveProposed(it->first, true);
      held.freed = true;
    } else {
      table_.Release(it->first);
      naive_.prepared.erase(it);
    }
  }

  Random random_{11};
  LockTable table_{Random(5)};
  Naive naive_;
};

TEST_F(LockTableTest, JudgesAsTheRulesSayAndLosesNoWakeUp) {
  size_t waited = 0;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t what = random_.Below(10);
    if (what < 4 && naive_.waiters.size() < 8) {
      Try(DrawAsk(), 0);
    } else if (what < 8) {
      Change();
    } else if (!naive_.waiters.empty()) {
      auto it = naive_.waiters.begin();
      std::advance(it, random_.Below(naive_.waiters.size()));
      Leave(it->first);
    }
    ASSERT_FALSE(HasFatalFailure());
    // Those woken look again, until nobody is; then nobody is left who could have gone on.
    while (table_.any_woken()) {
      for (WaiterId id : table_.TakeWoken()) {
        const auto it = naive_.waiters.find(id);
        if (it == naive_.waiters.end()) continue;
        const Ask ask = it->second;
        Try(ask, id);
        ASSERT_FALSE(HasFatalFailure());
      }
    }
    for (const auto& [id, ask] : naive_.waiters) {
      ASSERT_NE(naive_.Judge(ask, id), Kind::kGo) << "a lost wake-up at step " << step;
      ++waited;
    }
    ASSERT_EQ(table_.waiting(), naive_.waiters.size());
    ASSERT_EQ(table_.prepared().size(), naive_.prepared.size());
    ASSERT_EQ(table_.advisory_count(), naive_.advisories.size());
  }
  EXPECT_GT(waited, 10'000u);
}

std::string Numbered(size_t n) { return fmt::format("{:06}", n); }

// n ranges, each with its own key right behind it, and n keys inside them (or the keys behind
// them).
std::vector<Span> Ranges(size_t n) {
  std::vector<Span> spans;
  for (size_t i = 0; i < n; ++i) spans.push_back({Numbered(10 * i), Numbered(10 * i + 5)});
  return spans;
}
std::vector<std::string> Keys(size_t n, size_t offset) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < n; ++i) keys.push_back(Numbered(10 * i + offset));
  return keys;
}

class LockTableCostTest : public LockTableTest {
 protected:
  static constexpr size_t kMany = 10'000;
  // Far below kMany * kMany = 100,000,000; a treap is about 2 ln n deep, twice that for two ends.
  static constexpr uint64_t kStepsMax = 100 * kMany;

  static Ask AskOf(uint64_t txn, std::vector<std::string> writes, std::vector<Span> guards) {
    return {Asker::kPrepareAtAnchor,
            {Id(txn), Digest(1)},
            {Timestamp::FromParts(txn, 0), Id(txn)},
            std::move(writes),
            std::move(guards)};
  }
  template <class Call>
  uint64_t StepsOf(Call call) {
    const uint64_t before = table_.looked_at();
    call();
    return table_.looked_at() - before;
  }
  Kind Judged(const Ask& ask) { return table_.Judge(ask.View(), Instant(), 0).kind; }
};

TEST_F(LockTableCostTest, ManyKeysBesideManyRangesOfOneTransaction) {
  Take(AskOf(1, {}, Ranges(kMany)));
  Kind kind = Kind::kDie;
  EXPECT_LT(StepsOf([&] { kind = Judged(AskOf(2, Keys(kMany, 7), {})); }), kStepsMax);
  EXPECT_EQ(kind, Kind::kGo);
  EXPECT_LT(StepsOf([&] { kind = Judged(AskOf(2, Keys(kMany, 3), {})); }), kStepsMax);
  EXPECT_EQ(kind, Kind::kWait);
  EXPECT_EQ(table_.ranges(), kMany);
  table_.Release({Id(1), Digest(1)});
  EXPECT_EQ(table_.ranges(), 0u);
}

TEST_F(LockTableCostTest, ManyKeysInsideOfManyTransactionsRanges) {
  for (size_t i = 0; i < kMany; ++i) Take(AskOf(i + 1, {}, {{Numbered(i), ""}}));
  Kind kind = Kind::kDie;
  EXPECT_LT(StepsOf([&] { kind = Judged(AskOf(kMany + 2, Keys(kMany, 7), {})); }), kStepsMax);
  EXPECT_EQ(kind, Kind::kWait);
}

TEST_F(LockTableCostTest, ManyWhoWaitForRangesAroundManyKeys) {
  const Ask writer = AskOf(1, Keys(kMany, 3), {});
  Take(writer);
  std::vector<WaiterId> ids;
  for (size_t i = 0; i < kMany; ++i) {
    ids.push_back(table_.Enqueue(AskOf(i + 2, {}, {Span::All()}).View()));
  }
  EXPECT_EQ(table_.places(), kMany);
  EXPECT_LT(StepsOf([&] { table_.Release(writer.owner); }), kStepsMax);
  EXPECT_EQ(table_.TakeWoken(), ids);
  // Those who only read are in nobody's way who reads: each that goes wakes nobody.
  EXPECT_LT(StepsOf([&] {
              for (WaiterId id : ids) table_.Dequeue(id);
            }),
            kStepsMax);
  EXPECT_FALSE(table_.any_woken());
  EXPECT_EQ(table_.places(), 0u);
  EXPECT_EQ(table_.ranges(), 0u);
}

TEST_F(LockTableCostTest, ManyWhoWaitToReadOneKeyAndAWriterBehindThem) {
  Take(AskOf(1, {"k"}, {}));
  const std::vector<Span> key{Span::OfKey("k")};
  std::vector<WaiterId> ids;
  for (size_t i = 0; i < kMany; ++i) ids.push_back(table_.Enqueue(AskOf(i + 2, {}, key).View()));
  const WaiterId writer = table_.Enqueue(AskOf(kMany + 2, {"k"}, {}).View());
  EXPECT_LT(StepsOf([&] { table_.Release({Id(1), Digest(1)}); }), kStepsMax);
  std::vector<WaiterId> all = ids;
  all.push_back(writer);
  EXPECT_EQ(table_.TakeWoken(), all);
  // Each looks again, and nobody who reads looks at the others; what it leaves wakes the writer.
  EXPECT_LT(StepsOf([&] {
              for (size_t i = 0; i < kMany; ++i) {
                const Ask ask = AskOf(i + 2, {}, key);
                ASSERT_EQ(table_.Judge(ask.View(), Instant(), ids[i]).kind, Kind::kGo);
                table_.Dequeue(ids[i]);
              }
            }),
            kStepsMax);
  EXPECT_EQ(table_.TakeWoken(), std::vector<WaiterId>{writer});
}

TEST_F(LockTableCostTest, ManyRangesLeftByWhoWaitedBesideManyOthers) {
  const Ask writer = AskOf(1, Keys(kMany, 3), {});
  Take(writer);
  const WaiterId many = table_.Enqueue(AskOf(2, {}, Ranges(kMany)).View());
  for (size_t i = 0; i < kMany; ++i) table_.Enqueue(AskOf(i + 3, {}, {Span::All()}).View());
  EXPECT_LT(StepsOf([&] { table_.Dequeue(many); }), kStepsMax);
}

TEST_F(LockTableCostTest, ManyAdvisoryLocksOfOneTransactionEnd) {
  const Ask ask = AskOf(1, Keys(kMany, 0), {});
  table_.TakeAdvisory(ask.owner.txn_id, ask.priority, ask.View().writes, Instant(),
                      Instant() + 1ms);
  for (size_t i = 0; i < kMany; ++i) table_.Enqueue(AskOf(i + 2, {}, {Span::All()}).View());
  // Nobody who reads waits for them.
  EXPECT_LT(StepsOf([&] { EXPECT_EQ(table_.ExpireAdvisory(Instant() + 1ms), 0u); }), kStepsMax);
  EXPECT_FALSE(table_.any_woken());
}

TEST_F(LockTableTest, TellsWhoseRangeIsInTheWay) {
  const Ask reader{
      Asker::kPrepareAtAnchor, {Id(1), Digest(1)}, {Timestamp(1), Id(1)}, {}, {{"c", "e"}}};
  Take(reader);
  const Ask writer{Asker::kPrepareAtAnchor, {Id(2), Digest(1)}, {Timestamp(2), Id(2)}, {"d"}, {}};
  EXPECT_EQ(table_.Explain(writer.View(), table_.Find(reader.owner)->since + 7ms),
            fmt::format("a range around one of the keys is read by transaction {}, which has been "
                        "committing for 7 ms",
                        Id(1)));
}

TEST_F(LockTableTest, TellsWhoWritesInARangeThatIsRead) {
  const Ask writer{Asker::kPrepareAtAnchor, {Id(1), Digest(1)}, {Timestamp(1), Id(1)}, {"d"}, {}};
  Take(writer);
  const std::string told =
      fmt::format("key d is being committed by transaction {} since 7 ms", Id(1));
  for (const Span& read : {Span{"c", "e"}, Span::OfKey("d")}) {
    const Ask reader{
        Asker::kPrepareAtAnchor, {Id(2), Digest(1)}, {Timestamp(2), Id(2)}, {"x"}, {read}};
    EXPECT_EQ(table_.Explain(reader.View(), table_.Find(writer.owner)->since + 7ms), told);
  }
}

TEST_F(LockTableTest, AnEmptyTableKeepsNothing) {
  Ask ask = DrawAsk();
  ask.asker = Asker::kPrepareAtAnchor;
  ask.writes = {"a", "b"};
  ask.guards = {Span::OfKey("a"), Span::OfKey("c"), {"d", "f"}};
  Take(ask);
  table_.Enqueue(ask.View());
  table_.Dequeue(1);
  table_.Release(ask.owner);
  EXPECT_FALSE(table_.Judge(ask.View(), Instant(), 0).kind != Kind::kGo);
  EXPECT_EQ(table_.ReadBlocker(Span::All(), Timestamp(~0ull), TxnId()), nullptr);
  EXPECT_TRUE(table_.CommittedIn(Span::All()).empty());
}

TEST_F(LockTableTest, AReaderIsInTheWayOfNobodyAndSeesWriteLocksOnly) {
  Ask ask = DrawAsk();
  ask.asker = Asker::kPrepareAtAnchor;
  ask.writes = {"b"};
  ask.guards = {{"c", "e"}};
  Take(ask);
  EXPECT_NE(table_.ReadBlocker("b", Timestamp(5), TxnId()), nullptr);
  EXPECT_EQ(table_.ReadBlocker("b", Timestamp(5), ask.owner.txn_id), nullptr);
  EXPECT_EQ(table_.ReadBlocker("d", Timestamp(5), TxnId()), nullptr);
  EXPECT_NE(table_.ReadBlocker(Span{"a", "c"}, Timestamp(5), TxnId()), nullptr);
  EXPECT_EQ(table_.ReadBlocker(Span{"c", ""}, Timestamp(5), TxnId()), nullptr);
}

TEST_F(LockTableTest, AdvisoryLocksEnd) {
  const Owner owner{Id(1), Digest()};
  const TxnPriority old{Timestamp::FromParts(1, 0), Id(1)};
  const TxnPriority young{Timestamp::FromParts(2, 0), Id(2)};
  table_.TakeAdvisory(owner.txn_id, old, {"a", "b"}, Instant(), Instant() + 10ms);
  table_.TakeAdvisory(owner.txn_id, old, {"b"}, Instant(), Instant() + 20ms);
  LockAsk ask;
  ask.owner = {Id(2), Digest()};
  ask.priority = young;
  ask.writes = {"a"};
  const LockVerdict verdict = table_.Judge(ask, Instant() + 9ms, 0);
  EXPECT_EQ(verdict.kind, Kind::kWait);
  EXPECT_EQ(verdict.recheck, Instant() + 10ms);
  EXPECT_FALSE(table_.AdvisoryAwaited(owner.txn_id));
  const WaiterId waiter = table_.Enqueue(ask);
  EXPECT_TRUE(table_.AdvisoryAwaited(owner.txn_id));
  EXPECT_FALSE(table_.AdvisoryAwaited(Id(2)));
  EXPECT_EQ(table_.Explain(ask, Instant() + 9ms),
            fmt::format("key a is locked by transaction {} since 9 ms", owner.txn_id));
  table_.Dequeue(waiter);
  EXPECT_FALSE(table_.AdvisoryAwaited(owner.txn_id));
  EXPECT_EQ(table_.Judge(ask, Instant() + 10ms, 0).kind, Kind::kGo);
  EXPECT_EQ(table_.ExpireAdvisory(Instant() + 10ms), 1u);
  EXPECT_FALSE(table_.HoldsAdvisory(owner.txn_id, "a", Instant()));
  EXPECT_TRUE(table_.HoldsAdvisory(owner.txn_id, "b", Instant() + 10ms));
  EXPECT_EQ(table_.ExpireAdvisory(Instant() + 20ms), 0u);
  EXPECT_FALSE(table_.any_advisory());
}

}  // namespace
}  // namespace quorate::shard
