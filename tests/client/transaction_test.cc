// Reads and writes inside a transaction.
#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"
#include "base/status_macros.h"
#include "tests/client/library_test.h"

namespace quorate::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TransactionTest : public LibraryTest {};

Task<Status> CopyAToZ(Transaction& txn) {
  auto a = co_await txn.Get("a");
  if (!a.ok()) co_return a.status();
  co_return txn.Put("z", "copy of " + a->value_or("nothing"));
}

TEST_F(TransactionTest, ReadsAndWritesOverShards) {
  cluster_.Write("a", "apple");
  const CommitResult result = Transact(CopyAToZ);
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  EXPECT_EQ(result.attempts, 1);
  EXPECT_EQ(result.shards, 1);
  EXPECT_TRUE(result.commit_ts);
  EXPECT_EQ(cluster_.Read("z"), "copy of apple");
  ASSERT_EQ(cluster_.commits.size(), 1u);
  ASSERT_EQ(cluster_.commits[0].reads_size(), 1);
  EXPECT_EQ(cluster_.commits[0].reads(0).from(), "a");
  EXPECT_EQ(cluster_.commits[0].anchor_key(), "z");
}

TEST_F(TransactionTest, AFirstReadOfOneShardFetchesNoSlot) {
  EXPECT_TRUE(Transact(CopyAToZ).ok());
  EXPECT_EQ(Sent("slot"), 0u);
  EXPECT_EQ(cluster_.commits[0].start_ts(), Timestamp::FromParts(1001, 0).bits())
      << "the slot that the leader took";
}

Task<Status> GetBoth(Transaction& txn) {
  auto both = co_await txn.GetMany({"x", "a", "nothing", "a"});
  if (!both.ok()) co_return both.status();
  EXPECT_THAT(*both, ElementsAre("ex", "apple", std::nullopt, "apple"));
  EXPECT_TRUE(txn.start_ts().is_slot());
  co_return Status::Ok();
}

TEST_F(TransactionTest, AFirstReadOfSeveralShardsFetchesASlotAndReadsInParallel) {
  cluster_.Write("a", "apple");
  cluster_.Write("x", "ex");
  EXPECT_TRUE(Run(database_->GetAsync("a", 1s)).ok()) << "for the map";
  channel_.log.clear();
  const Instant begin = world_.env.Now();
  EXPECT_TRUE(Transact(GetBoth).ok());
  EXPECT_THAT(channel_.log, testing::UnorderedElementsAre("n1:1 slot", "n1:1 read", "n2:1 read"));
  EXPECT_EQ(world_.env.Now() - begin, 2ms) << "one delay for the slot, one for both reads";
  EXPECT_TRUE(cluster_.commits.empty()) << "nothing was written";
}

TEST_F(TransactionTest, AStaleSnapshotIsReadWhereItsFirstShardSays) {
  cluster_.Write("a", "apple");
  cluster_.Write("x", "ex");
  std::vector<Timestamp> floors, later;
  std::set<Timestamp> read_at;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read()) return std::nullopt;
    EXPECT_EQ(request.read().stale().max_age_ms(), 5'000u);
    (request.read().read_ts() == 0 ? floors : later)
        .push_back(Timestamp(request.read().stale().not_before()));
    if (request.read().read_ts() != 0) read_at.insert(Timestamp(request.read().read_ts()));
    return std::nullopt;
  };
  const StaleRead stale{.max_age = 5s, .not_before = Timestamp(7)};
  EXPECT_TRUE(Run(database_->SnapshotAsync(GetBoth, {.stale = stale})).ok());
  EXPECT_EQ(Sent("slot"), 0u);
  EXPECT_FALSE(floors.empty());
  for (const Timestamp none : later) EXPECT_FALSE(none);
  for (const Timestamp floor : floors) EXPECT_EQ(floor, Timestamp(7));
  EXPECT_EQ(read_at.size(), 1u) << "what came first says where all is read";
  EXPECT_EQ(*read_at.begin(), Timestamp::FromParts(1003, 0)) << "behind the two writes";
}

TEST_F(TransactionTest, WhatIsStaleIsJudgedHere) {
  const auto code = [this](StaleRead stale) {
    return Run(database_->SnapshotAsync(GetBoth, {.stale = stale})).code();
  };
  EXPECT_EQ(code({.max_age = 61s}), Code::kInvalidArgument);
  EXPECT_EQ(code({.max_age = -1s}), Code::kInvalidArgument);
  EXPECT_EQ(code({.max_age = 999us}), Code::kInvalidArgument);
  EXPECT_EQ(code({.not_before = Timestamp(7)}), Code::kInvalidArgument);
  EXPECT_EQ(Run(database_->TransactAsync(CopyAToZ, {.stale = {.max_age = 1s}})).status.code(),
            Code::kInvalidArgument);
  EXPECT_EQ(Run(database_->ScanAllAsync("", "", {.stale = {.max_age = 61s}}, nullptr)).code(),
            Code::kInvalidArgument);
  EXPECT_TRUE(channel_.log.empty());
}

Task<Status> GetTwoAtOnce(TestEnv* world, Transaction& txn) {
  std::vector<Task<Result<std::optional<std::string>>>> gets;
  gets.push_back(txn.Get("a"));
  gets.push_back(txn.Get("x"));
  for (auto& got : co_await WhenAll(world->env.executor, std::move(gets))) {
    if (!got.ok()) co_return got.status();
  }
  co_return txn.Put("b", "1");
}

TEST_F(TransactionTest, ConcurrentFirstReadsShareOneTimestamp) {
  std::vector<uint64_t> asked;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_read()) asked.push_back(request.read().read_ts());
    return std::nullopt;
  };
  EXPECT_TRUE(Transact([this](Transaction& txn) { return GetTwoAtOnce(&world_, txn); }).ok());
  EXPECT_THAT(asked, ElementsAre(0u, Timestamp::FromParts(1001, 0).bits()));
}

Task<Status> ReadOwnWrites(Transaction& txn) {
  EXPECT_TRUE(txn.Put("a", "mine").ok());
  EXPECT_TRUE(txn.Delete("b").ok());
  EXPECT_EQ(**co_await txn.Get("a"), "mine");
  EXPECT_EQ(*co_await txn.Get("b"), std::nullopt);
  EXPECT_FALSE(txn.start_ts()) << "nothing was asked of the cluster";
  co_return Status::Ok();
}

TEST_F(TransactionTest, SeesItsOwnWritesWithoutReading) {
  cluster_.Write("b", "old");
  EXPECT_TRUE(Transact(ReadOwnWrites).ok());
  EXPECT_EQ(Sent("read"), 0u);
  EXPECT_EQ(cluster_.Read("b"), std::nullopt);
}

Task<Status> BreakLimits(Transaction& txn, std::vector<Status>* statuses) {
  statuses->push_back(txn.Put("", "x"));
  statuses->push_back(txn.Put(std::string(limits::kKeyBytesMax + 1, 'k'), "x"));
  statuses->push_back(txn.Put("k", std::string(limits::kValueBytesMax + 1, 'v')));
  statuses->push_back((co_await txn.Get(std::string(limits::kKeyBytesMax + 1, 'k'))).status());
  EXPECT_TRUE(txn.Put(std::string(limits::kKeyBytesMax, 'k'), "x").ok());
  EXPECT_TRUE(txn.Put("k", std::string(limits::kValueBytesMax, 'v')).ok());
  Status status;
  for (int i = 0; status.ok() && i < 20; ++i) {
    status = txn.Put("big" + std::to_string(i), std::string(limits::kValueBytesMax, 'v'));
  }
  statuses->push_back(status);
  co_return Status::Ok();
}

TEST_F(TransactionTest, LimitsAreNamedAndNothingIsBuffered) {
  std::vector<Status> statuses;
  const CommitResult result =
      Transact([&](Transaction& txn) { return BreakLimits(txn, &statuses); });
  EXPECT_TRUE(result.ok()) << result.status.ToString();
  ASSERT_EQ(statuses.size(), 5u);
  for (const Status& status : statuses) EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(statuses[1].message(), HasSubstr("480"));
  EXPECT_THAT(statuses[2].message(), HasSubstr("1048576"));
  EXPECT_THAT(statuses[4].message(), HasSubstr("16777216"));
  EXPECT_EQ(cluster_.commits[0].writes_size(), 2 + 14);
}

Task<Status> WriteMany(Transaction& txn, Status* last) {
  for (size_t i = 0; i <= limits::kTxnKeysMax && last->ok(); ++i) {
    *last = txn.Put("key" + std::to_string(i), "");
  }
  co_return Status(Code::kFailedPrecondition, "the closure's own");
}

TEST_F(TransactionTest, TheNumberOfKeysIsBounded) {
  Status last;
  const CommitResult result = Transact([&](Transaction& txn) { return WriteMany(txn, &last); });
  EXPECT_EQ(last.code(), Code::kInvalidArgument);
  EXPECT_THAT(last.message(), HasSubstr("50000"));
  EXPECT_EQ(result.status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(result.attempts, 1) << "a closure's own error is final";
  EXPECT_TRUE(cluster_.commits.empty());
}

// A scan that touches none before it, and one that goes on where the last one ended.
Task<Status> ScanInSteps(Transaction& txn, size_t scans, bool apart, Status* last) {
  CO_RETURN_IF_ERROR(txn.Put("written", "1"));
  for (size_t i = 0; i < scans && last->ok(); ++i) {
    *last = (co_await txn.Scan(fmt::format("k{:06}", 2 * i),
                               fmt::format("k{:06}", 2 * i + (apart ? 1 : 2)), {}))
                .status();
  }
  co_return Status::Ok();
}

TEST_F(TransactionTest, TheNumberOfRangesIsBoundedAndPagesAreOneRange) {
  Status last;
  EXPECT_TRUE(Transact([&](Transaction& txn) {
                return ScanInSteps(txn, 2 * limits::kTxnRangesMax, false, &last);
              }).ok());
  EXPECT_TRUE(last.ok()) << last.ToString();
  ASSERT_EQ(cluster_.commits.size(), 1u);
  EXPECT_EQ(cluster_.commits[0].reads_size(), 1);

  // Whoever goes on without what it was refused has not seen it.
  EXPECT_TRUE(Transact([&](Transaction& txn) {
                return ScanInSteps(txn, 2 * limits::kTxnRangesMax, true, &last);
              }).ok());
  EXPECT_EQ(last.code(), Code::kInvalidArgument);
  EXPECT_THAT(last.message(), HasSubstr("reads 1025 ranges apart from each other"));
  ASSERT_EQ(cluster_.commits.size(), 2u);
  EXPECT_EQ(cluster_.commits[1].reads_size(), static_cast<int>(limits::kTxnRangesMax));
}

// Page after page of [a, z), beside own writes.
Task<Status> ReadOnAndOn(Transaction& txn, ScanOptions options, size_t* seen) {
  CO_RETURN_IF_ERROR(txn.Put("bb", "own"));
  CO_RETURN_IF_ERROR(txn.Delete("d"));
  std::optional<Span> rest = Span{"a", "z"};
  while (rest) {
    CO_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                        co_await txn.Scan(rest->from, rest->to, options));
    if (rows.empty()) break;
    *seen += rows.size();
    rest = rest->Behind(rows.back().key, options.reverse);
  }
  co_return Status::Ok();
}

TEST_F(TransactionTest, WhoReadsOnAndOnHasReadOneRangeWhateverItAsksFor) {
  for (char c = 'a'; c < 'i'; ++c) cluster_.Write(std::string(1, c), "value");
  for (const bool reverse : {false, true}) {
    for (const bool keys_only : {false, true}) {
      for (const bool by_bytes : {false, true}) {
        const ScanOptions options{.limit = by_bytes ? 0u : 1u,
                                  .reverse = reverse,
                                  .keys_only = keys_only,
                                  .limit_bytes = by_bytes ? 5u : 0u};
        size_t seen = 0;
        EXPECT_TRUE(
            Transact([&](Transaction& txn) { return ReadOnAndOn(txn, options, &seen); }).ok());
        EXPECT_EQ(seen, 8u);
        const v1::CommitRequest& commit = cluster_.commits.back();
        std::vector<Span> reads;
        for (const v1::KeySpan& read : commit.reads()) reads.push_back({read.from(), read.to()});
        cluster_.Write("d", "value");
        cluster_.Write("bb", std::nullopt);
        // A page of one row that begins at that row has read one key.
        const bool first_is_key = !reverse && !(by_bytes && keys_only);
        if (first_is_key) {
          EXPECT_THAT(reads, ElementsAre(Span::OfKey("a"), Span{Span::OfKey("a").to, "z"}));
        } else {
          EXPECT_THAT(reads, ElementsAre(Span{"a", "z"}));
        }
      }
    }
  }
}

Task<Status> WriteInSnapshot(Transaction& txn) { co_return txn.Put("a", "1"); }

TEST_F(TransactionTest, ASnapshotRefusesWrites) {
  EXPECT_EQ(Run(database_->SnapshotAsync(WriteInSnapshot, {})).code(), Code::kInvalidArgument);
}

Task<Status> ScanAll(Transaction& txn, std::vector<Row>* rows) {
  auto all = co_await txn.Scan("", "", {});
  if (!all.ok()) co_return all.status();
  *rows = std::move(*all);
  co_return Status::Ok();
}

TEST_F(TransactionTest, ASnapshotReadsEverythingAtOneSlot) {
  for (char c = 'a'; c <= 'z'; ++c) cluster_.Write(std::string(1, c), "1");
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    // Someone overwrites the last key between any two pages.
    if (request.has_read() && request.read().read_ts() != 0) cluster_.Write("z", "2");
    return std::nullopt;
  };
  std::vector<Row> rows;
  EXPECT_TRUE(
      Run(database_->SnapshotAsync([&](Transaction& txn) { return ScanAll(txn, &rows); }, {}))
          .ok());
  ASSERT_EQ(rows.size(), 26u);
  EXPECT_EQ(rows.back().value, "1");
  EXPECT_EQ(Sent("slot"), 0u);
}

Task<Status> ScanLimited(Transaction& txn, bool reverse, std::vector<Row>* rows) {
  ScanOptions options;
  options.limit = 5;
  options.reverse = reverse;
  auto got = co_await txn.Scan("b", "y", options);
  if (!got.ok()) co_return got.status();
  *rows = std::move(*got);
  co_return txn.Put("out", "1");
}

TEST_F(TransactionTest, ALimitedScanDependsOnlyOnWhatItSaw) {
  for (char c = 'a'; c <= 'z'; ++c) cluster_.Write(std::string(1, c), "1");
  std::vector<Row> rows;
  EXPECT_TRUE(Transact([&](Transaction& t) { return ScanLimited(t, false, &rows); }).ok());
  EXPECT_EQ(rows.back().key, "f");
  EXPECT_EQ(cluster_.commits[0].reads(0).from(), "b");
  EXPECT_EQ(cluster_.commits[0].reads(0).to(), std::string("f\0", 2));
  EXPECT_TRUE(Transact([&](Transaction& t) { return ScanLimited(t, true, &rows); }).ok());
  EXPECT_EQ(rows.front().key, "x");
  EXPECT_EQ(cluster_.commits[1].reads(0).from(), "t");
  EXPECT_EQ(cluster_.commits[1].reads(0).to(), "y");
}

Task<Status> GetTen(Transaction& txn) {
  std::vector<std::string> keys;
  for (char c = '0'; c <= '9'; ++c) keys.push_back(std::string(1, c));
  auto values = co_await txn.GetMany(keys);
  if (!values.ok()) co_return values.status();
  EXPECT_EQ(values->size(), 10u);
  EXPECT_EQ((*values)[7], "seven");
  co_return Status::Ok();
}

TEST_F(TransactionTest, ValuesTooLargeForOneAnswerAreReadInParts) {
  cluster_.Write("7", "seven");
  std::vector<int> asked;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read()) return std::nullopt;
    asked.push_back(request.read().keys_size());
    if (request.read().keys_size() <= 3) return std::nullopt;
    return Answer(ErrorResponse(v1::INVALID_ARGUMENT, "ask for fewer keys"));
  };
  EXPECT_TRUE(Transact(GetTen).ok());
  EXPECT_THAT(asked, ElementsAre(10, 5, 2, 2, 2, 2, 2));
}

struct Script {
  std::vector<std::pair<std::string, std::optional<std::string>>> writes;
  Span span;
  ScanOptions options;
  std::vector<Row> got;
};

Task<Status> WriteThenScan(Transaction& txn, Script* script) {
  for (const auto& [key, value] : script->writes) {
    const Status status = value.has_value() ? txn.Put(key, *value) : txn.Delete(key);
    if (!status.ok()) co_return status;
  }
  auto rows = co_await txn.Scan(script->span.from, script->span.to, script->options);
  if (!rows.ok()) co_return rows.status();
  script->got = std::move(*rows);
  co_return Status(Code::kFailedPrecondition, "roll back");
}

TEST_F(TransactionTest, ScansOverOwnWritesAgreeWithANaiveModel) {
  Random random(5);
  const auto key = [&] { return std::string(1, static_cast<char>('a' + random.Below(26))); };
  for (int run = 0; run < 400; ++run) {
    cluster_.Write(key(), random.Chance(0.3) ? std::nullopt : std::optional("s" + key()));
    cluster_.page_rows = 1 + static_cast<uint32_t>(random.Below(5));
    if (run % 50 == 49) {
      // The first boundary moves, under the library's feet.
      cluster_.shards[0].to = cluster_.shards[1].from = key();
      for (ShardSpec& shard : cluster_.shards) ++shard.version;
    }
    Script script;
    std::map<std::string, std::string> model;
    for (char c = 'a'; c <= 'z'; ++c) {
      if (auto value = cluster_.Read(std::string(1, c))) model[std::string(1, c)] = *value;
    }
    for (uint64_t i = random.Below(8); i > 0; --i) {
      const std::string k = key();
      if (random.Chance(0.5)) {
        script.writes.emplace_back(k, std::nullopt);
        model.erase(k);
      } else {
        script.writes.emplace_back(k, "w");
        model[k] = "w";
      }
    }
    script.span = {random.Chance(0.2) ? "" : key(), random.Chance(0.3) ? "" : key()};
    if (script.span.empty()) continue;
    script.options.limit = random.Chance(0.5) ? 0 : 1 + random.Below(8);
    script.options.reverse = random.Chance(0.5);
    script.options.keys_only = random.Chance(0.2);
    script.options.limit_bytes = random.Chance(0.7) ? 0 : 1 + random.Below(20);
    std::vector<Row> want;
    for (const auto& [k, v] : model) {
      if (script.span.Contains(k)) want.push_back({k, v});
    }
    if (script.options.reverse) std::reverse(want.begin(), want.end());
    if (script.options.limit != 0 && want.size() > script.options.limit) {
      want.resize(script.options.limit);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      if (script.options.keys_only) want[i].value.clear();
      bytes += want[i].key.size() + want[i].value.size();
      if (script.options.limit_bytes != 0 && bytes >= script.options.limit_bytes)
        want.resize(i + 1);
    }
    const CommitResult result =
        Transact([&](Transaction& txn) { return WriteThenScan(txn, &script); });
    ASSERT_EQ(result.status.code(), Code::kFailedPrecondition) << result.status.ToString();
    ASSERT_EQ(script.got, want) << "run " << run << (script.options.reverse ? " reverse" : "");
  }
}

TEST_F(TransactionTest, AGetManyBeyondItsBoundIsRefusedAndDoesNoHarm) {
  options_.read_bytes_max = 100'000;
  database_ = Database::Create(world_.env, channel_, options_);
  for (char c = 'a'; c <= 'z'; ++c) cluster_.Write(std::string(1, c), std::string(10'000, c));
  const auto closure = [](Transaction& txn) -> Task<Status> {
    std::vector<std::string> keys;
    for (char c = 'a'; c <= 'z'; ++c) keys.push_back(std::string(1, c));
    const auto all = co_await txn.GetMany(keys);
    EXPECT_EQ(all.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(all.status().message(), HasSubstr("100000"));
    keys.resize(9);
    const auto some = co_await txn.GetMany(keys);
    EXPECT_TRUE(some.ok());
    EXPECT_EQ((*some)[8], std::string(10'000, 'i'));
    co_return txn.Put("out", "1");
  };
  EXPECT_TRUE(Transact(closure).ok());
  EXPECT_EQ(cluster_.Read("out"), "1");
}

struct Pages {
  std::vector<Row> rows;
  std::vector<Timestamp> read_ts;
  std::string resume_key;
  size_t take_max = 1000;
};

Task<Status> TakePage(FakeCluster* cluster, Pages* pages, ScanPage page) {
  for (Row& row : page.rows) pages->rows.push_back(std::move(row));
  pages->read_ts.push_back(page.read_ts);
  pages->resume_key = page.resume_key;
  // What is written meanwhile is not of the snapshot.
  cluster->Write("m" + std::to_string(pages->rows.size()), "later");
  if (pages->read_ts.size() == pages->take_max) co_return Unavailable("the reader broke off");
  co_return Status::Ok();
}

TEST_F(TransactionTest, ALongScanIsOneSnapshotAndGoesOnAfterABreak) {
  for (const bool reverse : {false, true}) {
    std::vector<Row> want;
    for (char c = 'a'; c <= 'z'; ++c) cluster_.Write(std::string(1, c), "1");
    EXPECT_TRUE(
        Run(database_->SnapshotAsync([&](Transaction& txn) { return ScanAll(txn, &want); }, {}))
            .ok());
    if (reverse) std::reverse(want.begin(), want.end());
    Pages pages;
    pages.take_max = 3;
    const auto take = [&](ScanPage page) { return TakePage(&cluster_, &pages, std::move(page)); };
    ScanAllOptions options;
    options.reverse = reverse;
    options.page_bytes = 7;
    const Status broken = Run(database_->ScanAllAsync("", "", options, take));
    EXPECT_EQ(broken.code(), Code::kUnavailable);
    ASSERT_FALSE(pages.resume_key.empty());
    options.read_ts = pages.read_ts.back();
    pages.take_max = 1000;
    const std::string from = reverse ? "" : pages.resume_key;
    const std::string to = reverse ? pages.resume_key : "";
    EXPECT_TRUE(Run(database_->ScanAllAsync(from, to, options, take)).ok());
    EXPECT_EQ(pages.rows, want);
    EXPECT_EQ(pages.resume_key, "");
    EXPECT_EQ(std::set<Timestamp>(pages.read_ts.begin(), pages.read_ts.end()).size(), 1u);
  }
}

TEST_F(TransactionTest, ALongScanEndsAtItsLimitAndSaysWhenItIsTooOld) {
  for (char c = 'a'; c <= 'z'; ++c) cluster_.Write(std::string(1, c), "1");
  Pages pages;
  const auto take = [&](ScanPage page) { return TakePage(&cluster_, &pages, std::move(page)); };
  ScanAllOptions options;
  options.limit = 5;
  options.keys_only = true;
  EXPECT_TRUE(Run(database_->ScanAllAsync("a", "z", options, take)).ok());
  EXPECT_THAT(pages.rows, testing::SizeIs(5));
  EXPECT_EQ(pages.rows.back(), (Row{"e", ""}));
  EXPECT_EQ(pages.resume_key, std::string("e\0", 2));
  options.page_bytes = 0;
  EXPECT_EQ(Run(database_->ScanAllAsync("a", "z", options, take)).code(), Code::kInvalidArgument);
  options.page_bytes = 1000;
  FailNext(v1::NodeRequest::kRead, v1::SNAPSHOT_TOO_OLD, 1);
  const Status old = Run(database_->ScanAllAsync("a", "z", options, take));
  EXPECT_EQ(old.code(), Code::kSnapshotTooOld);
  EXPECT_THAT(old.message(), HasSubstr("60 s"));
}

TEST_F(TransactionTest, ReadsGoOnAfterOverloadAndAMovedBoundary) {
  cluster_.Write("k", "v");
  EXPECT_TRUE(Run(database_->GetAsync("k", 1s)).ok());
  FailNext(v1::NodeRequest::kRead, v1::OVERLOADED, 3);
  EXPECT_EQ(**Run(database_->GetAsync("k", 1s)), "v");
  cluster_.before = nullptr;
  cluster_.shards = {{10, "", "f", 3, 2}, {12, "f", "m", 2, 2}, {11, "m", "", 2}};
  EXPECT_EQ(**Run(database_->GetAsync("k", 1s)), "v");
}

Task<Status> LockThenWrite(Transaction& txn) {
  auto a = co_await txn.GetForUpdate("a");
  if (!a.ok()) co_return a.status();
  co_return txn.Put("a", "2");
}

TEST_F(TransactionTest, GetForUpdateLocksBeforeItReadsAndReleasesAtTheEnd) {
  EXPECT_TRUE(Transact(LockThenWrite).ok());
  Settle();
  EXPECT_THAT(cluster_.lock_log, ElementsAre("lock a", "release"));
  const auto& log = channel_.log;
  EXPECT_LT(std::find(log.begin(), log.end(), "n1:1 lock"),
            std::find(log.begin(), log.end(), "n1:1 read"));
}

Task<Status> LockAndWait(TestEnv* world, Transaction& txn) {
  auto a = co_await txn.GetForUpdate("a");
  co_await Sleep(world->env.executor, 4s);
  co_return txn.Put("a", "2");
}

TEST_F(TransactionTest, LocksAreRenewedWhileTheTransactionLives) {
  EXPECT_TRUE(Transact([this](Transaction& txn) { return LockAndWait(&world_, txn); }).ok());
  Settle();
  EXPECT_GE(std::count(cluster_.lock_log.begin(), cluster_.lock_log.end(), "lock a"), 4);
  EXPECT_EQ(cluster_.lock_log.back(), "release");
}

Task<Status> LockTwice(TestEnv* world, Transaction& txn) {
  auto a = co_await txn.GetForUpdate("a");
  co_await Sleep(world->env.executor, 1500ms);
  co_return (co_await txn.GetForUpdate("a")).status();
}

TEST_F(TransactionTest, ALockThatWasLostIsTakenAgain) {
  int locks = 0;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    // The renewal.
    if (!request.has_lock() || request.lock().release() || ++locks != 2) return std::nullopt;
    v1::NodeResponse response;
    response.mutable_lock()->mutable_error()->set_code(v1::LOCK_CONFLICT);
    return response;
  };
  EXPECT_TRUE(Transact([this](Transaction& txn) { return LockTwice(&world_, txn); }).ok());
  EXPECT_EQ(locks, 3);
}

Task<Status> LockMany(TestEnv* world, Transaction& txn) {
  for (int i = 0; i < 1500; ++i) {
    if (auto value = co_await txn.GetForUpdate("a" + std::to_string(i)); !value.ok()) {
      co_return value.status();
    }
  }
  co_await Sleep(world->env.executor, 1500ms);
  co_return Status::Ok();
}

TEST_F(TransactionTest, ManyLocksAreRenewedInParts) {
  std::vector<int> keys;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    const int count = request.lock().keys_size();
    if (count > 1 && !request.lock().release()) keys.push_back(count);
    return std::nullopt;
  };
  TransactOptions options;
  options.timeout = 50s;
  EXPECT_TRUE(Transact([this](Transaction& txn) { return LockMany(&world_, txn); }, options).ok());
  ASSERT_GE(keys.size(), 2u);
  EXPECT_EQ(*std::max_element(keys.begin(), keys.end()), 1000) << "what one request may have";
}

}  // namespace
}  // namespace quorate::client
