// The public calls over a whole cluster.
#include "server/node/public_api.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "server/node/execute.h"
#include "tests/server/cluster_fixture.h"
#include "txn/errors.h"

namespace quorate::server {
namespace {

const std::string kLow("\x11key");
const std::string kHigh("\xe1key");

class PublicApiTest : public testing::Test {
 protected:
  PublicApiTest() : cluster(3) {
    cluster.StartAndInit(4);
    api = std::make_unique<PublicApi>(cluster.at(1).process()->env(), cluster.node(1));
  }
  ~PublicApiTest() override { api.reset(); }

  // Runs a call of the API on the client's executor.
  template <class Response>
  Response Run(Task<Response> task) {
    return *cluster.Await(Wrap<Response>(std::move(task)));
  }
  template <class Response>
  static Task<Result<Response>> Wrap(Task<Response> task) {
    co_return co_await std::move(task);
  }

  v1::ExecuteResponse Execute(v1::ExecuteRequest request) {
    return Run(api->Execute(std::move(request), 10s));
  }
  static void AddPut(v1::ExecuteRequest* request, const std::string& key,
                     const std::string& value) {
    v1::Write* put = request->add_operations()->mutable_put();
    put->set_key(key);
    put->set_value(value);
  }
  uint64_t BeginSession(bool read_only = false) {
    v1::BeginRequest request;
    request.set_read_only(read_only);
    const v1::BeginResponse response = Run(api->Begin(request, 10s));
    EXPECT_EQ(response.error().code(), v1::OK);
    return response.session_id();
  }
  // Writes a key at either end, under a new name.
  v1::ExecuteRequest Named(const std::string& value) {
    v1::ExecuteRequest request;
    const auto now = static_cast<uint64_t>(cluster.at(1).process()->WallMillis());
    request.set_txn_id(std::string(GivenName::Make(now, random).bytes()));
    AddPut(&request, kHigh, value);
    AddPut(&request, kLow, value);
    return request;
  }
  v1::TxnState Outcome(const std::string& name, const std::string& key) {
    v1::GetOutcomeRequest ask;
    ask.mutable_txn()->set_txn_id(name);
    ask.mutable_txn()->set_anchor_key(key);
    const v1::GetOutcomeResponse response = Run(api->GetOutcome(ask, 10s));
    EXPECT_EQ(response.error().code(), v1::OK) << response.error().message();
    return response.state();
  }
  static Task<void> Keep(Task<v1::ExecuteResponse> task,
                         std::optional<v1::ExecuteResponse>* answer) {
    answer->emplace(co_await std::move(task));
  }
  v1::SessionReadResponse Read(uint64_t session, const std::string& key) {
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(key);
    return Run(api->Read(request, 10s));
  }
  v1::ErrorCode Write(uint64_t session, const std::string& key, const std::string& value) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(value);
    return Run(api->Write(request, 10s)).error().code();
  }
  v1::SessionCommitResponse Commit(uint64_t session) {
    v1::SessionCommitRequest request;
    request.set_session_id(session);
    return Run(api->Commit(request, 10s));
  }

  ClusterFixture cluster;
  std::unique_ptr<PublicApi> api;
  Random random{5};
};

TEST_F(PublicApiTest, ExecutesOperationsInOrderAndSeesItsOwnWrites) {
  v1::ExecuteRequest request;
  request.add_operations()->set_get(kLow);
  AddPut(&request, kLow, "1");
  AddPut(&request, kHigh, "2");
  request.add_operations()->set_get(kLow);
  request.add_operations()->mutable_scan();
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  ASSERT_EQ(response.results_size(), 5);
  EXPECT_FALSE(response.results(0).value().found());
  EXPECT_EQ(response.results(3).value().value(), "1");
  ASSERT_EQ(response.results(4).rows_size(), 2);
  EXPECT_EQ(response.results(4).rows(1).value(), "2");
  EXPECT_FALSE(response.results(4).more());
  EXPECT_GT(response.commit_ts(), response.read_ts());
}

TEST_F(PublicApiTest, WritesNothingIfAConditionDoesNotHold) {
  v1::ExecuteRequest request;
  v1::Condition* equals = request.add_conditions();
  equals->set_key(kLow);
  equals->set_equals("1");
  v1::Condition* absent = request.add_conditions();
  absent->set_key(kHigh);
  absent->set_absent(true);
  AddPut(&request, kHigh, "x");
  v1::ExecuteResponse response = Execute(request);
  EXPECT_EQ(response.error().code(), v1::FAILED_PRECONDITION);
  ASSERT_EQ(response.failed_conditions_size(), 1);
  EXPECT_EQ(response.failed_conditions(0), 0u);
  EXPECT_EQ(*cluster.Get(kHigh), std::nullopt);
  ASSERT_TRUE(cluster.Put(kLow, "1").ok());
  EXPECT_EQ(Execute(request).error().code(), v1::OK);
  EXPECT_EQ(Execute(request).failed_conditions(0), 1u) << "it is there now";
}

TEST_F(PublicApiTest, RefusesWhatIsMalformed) {
  v1::ExecuteRequest request;
  request.add_operations();
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  request.add_conditions()->set_key("k");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  request.set_txn_id("short");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  AddPut(&request, "", "v");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.Clear();
  AddPut(&request, std::string(limits::kKeyBytesMax + 1, 'k'), "v");
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(PublicApiTest, AnExecutionOfANamedTransactionCanBeAskedAbout) {
  v1::ExecuteRequest request = Named("1");
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  EXPECT_EQ(response.txn().txn_id(), request.txn_id());
  EXPECT_FALSE(response.earlier());
  EXPECT_EQ(Outcome(request.txn_id(), kLow), v1::COMMITTED);
  EXPECT_EQ(Outcome(request.txn_id(), kHigh), v1::COMMITTED) << "any key will do";
}

TEST_F(PublicApiTest, ANameOfWhichNothingIsKnownIsClosedByAsking) {
  const v1::ExecuteRequest request = Named("1");
  EXPECT_EQ(Outcome(request.txn_id(), kHigh), v1::ABORTED_STATE);
  EXPECT_EQ(Execute(request).error().code(), v1::ABORTED);
  EXPECT_EQ(Outcome(request.txn_id(), kLow), v1::ABORTED_STATE);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
}

TEST_F(PublicApiTest, ANamedExecutionSentAgainTakesEffectOnce) {
  v1::ExecuteRequest request = Named("1");
  request.add_conditions()->set_key(kLow);
  request.mutable_conditions(0)->set_absent(true);
  request.add_operations()->set_get(kLow);
  const v1::ExecuteResponse first = Execute(request);
  ASSERT_EQ(first.error().code(), v1::OK) << first.error().message();
  ASSERT_TRUE(cluster.Put(kHigh, "since").ok());
  PublicApi other(cluster.at(2).process()->env(), cluster.node(2));
  for (PublicApi* node : {api.get(), &other}) {
    const v1::ExecuteResponse again = Run(node->Execute(request, 10s));
    EXPECT_EQ(again.error().code(), v1::OK) << again.error().message();
    EXPECT_TRUE(again.earlier());
    EXPECT_EQ(again.commit_ts(), first.commit_ts());
    EXPECT_EQ(again.results_size(), 0) << "what was read then is not kept";
    EXPECT_EQ(again.failed_conditions_size(), 0);
  }
  EXPECT_EQ(*cluster.Get(kHigh), "since");
}

TEST_F(PublicApiTest, ANameWhoseConditionFailedStaysFailed) {
  v1::ExecuteRequest request = Named("1");
  request.add_conditions()->set_key(kLow);
  request.mutable_conditions(0)->set_absent(false);
  EXPECT_EQ(Execute(request).error().code(), v1::FAILED_PRECONDITION);
  ASSERT_TRUE(cluster.Put(kLow, "there now").ok());
  EXPECT_EQ(Execute(request).error().code(), v1::ABORTED) << "no sending of it may say otherwise";
  EXPECT_EQ(Outcome(request.txn_id(), kHigh), v1::ABORTED_STATE);
  EXPECT_EQ(*cluster.Get(kHigh), std::nullopt);
}

TEST_F(PublicApiTest, ManyNodesMaySendOneNameAtOnce) {
  for (int round = 0; round < 5; ++round) {
    const v1::ExecuteRequest request = Named(std::to_string(round));
    std::vector<std::unique_ptr<PublicApi>> nodes;
    std::vector<std::optional<v1::ExecuteResponse>> answers(6);
    for (size_t i = 0; i < answers.size(); ++i) {
      const size_t node = 1 + i % 3;
      nodes.push_back(
          std::make_unique<PublicApi>(cluster.at(node).process()->env(), cluster.node(node)));
      cluster.client().scope().Spawn(Keep(nodes.back()->Execute(request, 10s), &answers[i]));
    }
    ASSERT_TRUE(cluster.RunUntil([&] {
      return std::all_of(answers.begin(), answers.end(), [](const auto& a) { return !!a; });
    }));
    for (const auto& answer : answers) {
      EXPECT_EQ(answer->error().code(), v1::OK) << answer->error().message();
      EXPECT_EQ(answer->commit_ts(), answers[0]->commit_ts());
    }
  }
}

TEST_F(PublicApiTest, AReferenceWithoutANameIsTakenAsItWasHandedOutOnly) {
  Random own(3);
  v1::GetOutcomeRequest ask;
  FillTxn({TxnId::Make(own), Timestamp::FromParts(1'700'000'000'000, 0), kLow}, ask.mutable_txn());
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).error().code(), v1::OK);
  ask.mutable_txn()->set_anchor_key(kHigh);
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(PublicApiTest, ANameOfAnotherTimeIsRefused) {
  v1::ExecuteRequest request = Named("1");
  Random random(9);
  const auto now = static_cast<uint64_t>(cluster.at(1).process()->WallMillis());
  request.set_txn_id(std::string(GivenName::Make(now + 400'000, random).bytes()));
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT);
  request.set_txn_id(std::string(GivenName::Make(now - 4'000'000, random).bytes()));
  EXPECT_EQ(Execute(request).error().code(), v1::TOO_OLD);
  v1::GetOutcomeRequest ask;
  ask.mutable_txn()->set_txn_id(request.txn_id());
  ask.mutable_txn()->set_anchor_key(kLow);
  EXPECT_EQ(Run(api->GetOutcome(ask, 10s)).error().code(), v1::TOO_OLD);
  request.set_txn_id(std::string(16, 'T'));
  EXPECT_EQ(Execute(request).error().code(), v1::INVALID_ARGUMENT) << "no UUIDv7";
}

TEST_F(PublicApiTest, ASessionCommitsWhatItWrote) {
  const uint64_t session = BeginSession();
  EXPECT_FALSE(Read(session, kLow).values(0).found());
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  EXPECT_EQ(Write(session, kHigh, "t"), v1::OK);
  EXPECT_EQ(Read(session, kLow).values(0).value(), "s");
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt) << "not before its commit";
  const v1::SessionCommitResponse committed = Commit(session);
  EXPECT_EQ(committed.error().code(), v1::OK) << committed.error().message();
  EXPECT_EQ(*cluster.Get(kHigh), "t");
  const v1::SessionCommitResponse again = Commit(session);
  EXPECT_EQ(again.error().code(), v1::OK) << again.error().message();
  EXPECT_EQ(again.commit_ts(), committed.commit_ts());
}

TEST_F(PublicApiTest, ASessionsCommitRepeatedElsewhereFindsItsOutcome) {
  v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  EXPECT_EQ(Write(begun.session_id(), kHigh, "t"), v1::OK);
  ASSERT_EQ(Commit(begun.session_id()).error().code(), v1::OK);
  PublicApi other(cluster.at(3).process()->env(), cluster.node(3));
  v1::SessionCommitRequest request;
  request.set_session_id(begun.session_id());
  EXPECT_EQ(Run(other.Commit(request, 10s)).error().code(), v1::UNKNOWN_OUTCOME) << "by whom?";
  *request.mutable_txn() = begun.txn();
  request.mutable_txn()->set_anchor_key(kHigh);
  EXPECT_EQ(Run(other.Commit(request, 10s)).error().code(), v1::OK);
}

TEST_F(PublicApiTest, ASessionAskedAboutBeforeItsCommitCannotCommit) {
  v1::BeginResponse begun = Run(api->Begin({}, 10s));
  EXPECT_EQ(Write(begun.session_id(), kLow, "s"), v1::OK);
  EXPECT_EQ(Outcome(begun.txn().txn_id(), kLow), v1::ABORTED_STATE);
  EXPECT_EQ(Commit(begun.session_id()).error().code(), v1::ABORTED);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
}

TEST_F(PublicApiTest, ASessionThatReadWhatChangedIsRefused) {
  const uint64_t session = BeginSession();
  Read(session, kLow);
  ASSERT_TRUE(cluster.Put(kLow, "other").ok());
  EXPECT_EQ(Write(session, kLow, "mine"), v1::OK);
  EXPECT_EQ(Commit(session).error().code(), v1::READ_CONFLICT);
  EXPECT_EQ(*cluster.Get(kLow), "other");
}

TEST_F(PublicApiTest, ARolledBackSessionLeavesNothing) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  v1::SessionRollbackRequest request;
  request.set_session_id(session);
  EXPECT_EQ(Run(api->Rollback(request, 10s)).error().code(), v1::OK);
  EXPECT_EQ(Write(session, kLow, "s"), v1::NOT_FOUND);
  EXPECT_EQ(*cluster.Get(kLow), std::nullopt);
}

TEST_F(PublicApiTest, AForgottenSessionEndsAfterAMinute) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kLow, "s"), v1::OK);
  cluster.RunFor(50s);
  EXPECT_EQ(api->sessions(), 1u);
  cluster.RunFor(20s);
  EXPECT_EQ(api->sessions(), 0u);
  EXPECT_EQ(Write(session, kLow, "s"), v1::NOT_FOUND);
}

TEST_F(PublicApiTest, AReadOnlySessionRefusesWrites) {
  const uint64_t session = BeginSession(true);
  EXPECT_FALSE(Read(session, kLow).values(0).found());
  EXPECT_NE(Write(session, kLow, "s"), v1::OK);
}

TEST_F(PublicApiTest, AScanIsCutByItsLimit) {
  v1::ExecuteRequest fill;
  for (int i = 0; i < 300; ++i)
    AddPut(&fill, std::string(1, static_cast<char>(i / 2)) + std::to_string(i), "v");
  ASSERT_EQ(Execute(fill).error().code(), v1::OK);
  v1::ExecuteRequest scan;
  scan.add_operations()->mutable_scan()->set_limit(250);
  scan.add_operations()->mutable_scan()->set_limit(300);
  scan.add_operations()->mutable_scan();
  const v1::ExecuteResponse response = Execute(scan);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  EXPECT_EQ(response.results(0).rows_size(), 250);
  EXPECT_TRUE(response.results(0).more());
  EXPECT_EQ(response.results(1).rows_size(), 300);
  EXPECT_FALSE(response.results(1).more());
  EXPECT_EQ(response.results(2).rows_size(), 300);
  EXPECT_EQ(response.commit_ts(), 0u) << "it wrote nothing";
}

// ---- scans --------------------------------------------------------------------------------------

class PublicScanTest : public PublicApiTest {
 protected:
  // Rows "a000" .. over all shards' boundaries, values of `bytes`.
  void Fill(int rows, size_t bytes) {
    for (int i = 0; i < rows;) {
      v1::ExecuteRequest fill;
      for (size_t n = 0; i < rows && n + bytes < (8u << 20); n += bytes + 8, ++i) {
        AddPut(&fill, KeyOf(i), std::string(bytes, static_cast<char>('a' + i % 26)));
      }
      ASSERT_EQ(Execute(fill).error().code(), v1::OK);
    }
  }
  static std::string KeyOf(int i) {
    return std::string(1, static_cast<char>(i % 250 + 1)) + std::to_string(i);
  }
  static std::vector<std::string> Keys(const KeyValues& rows) {
    std::vector<std::string> keys;
    for (const auto& row : rows) keys.push_back(row.key());
    return keys;
  }
  // All rows of a range, scan by scan, each going on where the one before was cut.
  std::vector<std::string> Follow(v1::ScanOperation scan) {
    std::vector<std::string> keys;
    for (int pages = 0; pages < 1000; ++pages) {
      v1::ExecuteRequest request;
      *request.add_operations()->mutable_scan() = scan;
      const v1::ExecuteResponse response = Execute(request);
      EXPECT_EQ(response.error().code(), v1::OK) << response.error().message();
      EXPECT_LE(response.ByteSizeLong(), size_t{4} << 20);
      if (response.results_size() != 1) return keys;
      const v1::OperationResult& result = response.results(0);
      for (auto& key : Keys(result.rows())) keys.push_back(key);
      if (!result.more()) return keys;
      (scan.reverse() ? *scan.mutable_to() : *scan.mutable_from()) = result.resume_key();
    }
    ADD_FAILURE() << "it never ends";
    return keys;
  }
};

TEST_F(PublicScanTest, APageThatEndsAtTheLastKeyOfItsRangeIsTheLast) {
  // As many rows as a first page asks for, in a range that ends right behind the last of them.
  std::vector<std::string> keys;
  v1::ExecuteRequest fill;
  for (int i = 0; i < 64; ++i) {
    keys.push_back("k" + std::to_string(100 + i));
    AddPut(&fill, keys.back(), "v");
  }
  ASSERT_EQ(Execute(fill).error().code(), v1::OK);
  for (const uint32_t limit : {0u, 64u, 65u, 1000u}) {
    for (const bool reverse : {false, true}) {
      v1::ExecuteRequest request;
      v1::ScanOperation* scan = request.add_operations()->mutable_scan();
      scan->set_from(keys.front());
      scan->set_to(keys.back() + '\0');
      scan->set_limit(limit);
      scan->set_reverse(reverse);
      const v1::ExecuteResponse response = Execute(request);
      ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
      EXPECT_EQ(response.results(0).rows_size(), 64);
      EXPECT_FALSE(response.results(0).more());
    }
  }
}

TEST_F(PublicScanTest, ScansOfEveryShapeFollowedToTheirEndAgreeWithASortedList) {
  Fill(400, 20);
  std::vector<std::string> all;
  for (int i = 0; i < 400; ++i) all.push_back(KeyOf(i));
  std::sort(all.begin(), all.end());
  Random random(3);
  for (int run = 0; run < 60; ++run) {
    v1::ScanOperation scan;
    if (random.Chance(0.7)) scan.set_from(all[random.Below(all.size())]);
    if (random.Chance(0.7)) scan.set_to(all[random.Below(all.size())] + (run % 2 ? "" : "\1"));
    if (!scan.to().empty() && scan.to() <= scan.from()) continue;
    scan.set_limit(random.Chance(0.5) ? 0 : static_cast<uint32_t>(1 + random.Below(150)));
    scan.set_limit_bytes(random.Chance(0.5) ? 0 : static_cast<uint32_t>(1 + random.Below(3000)));
    scan.set_reverse(random.Chance(0.5));
    scan.set_keys_only(random.Chance(0.3));
    std::vector<std::string> want;
    for (const std::string& key : all) {
      if (key >= scan.from() && (scan.to().empty() || key < scan.to())) want.push_back(key);
    }
    if (scan.reverse()) std::reverse(want.begin(), want.end());
    ASSERT_EQ(Follow(scan), want) << scan.ShortDebugString();
  }
}

TEST_F(PublicScanTest, KeysOnlyBringsNoValuesAndABoundInBytesCuts) {
  Fill(20, 1000);
  v1::ExecuteRequest request;
  v1::ScanOperation* keys_only = request.add_operations()->mutable_scan();
  keys_only->set_keys_only(true);
  v1::ScanOperation* bounded = request.add_operations()->mutable_scan();
  bounded->set_limit_bytes(5000);
  const v1::ExecuteResponse response = Execute(request);
  ASSERT_EQ(response.error().code(), v1::OK);
  EXPECT_EQ(response.results(0).rows_size(), 20);
  EXPECT_EQ(response.results(0).rows(7).value(), "");
  EXPECT_TRUE(response.results(0).rows(7).found());
  EXPECT_EQ(response.results(1).rows_size(), 5) << "the row that reaches it is the last";
  EXPECT_TRUE(response.results(1).more());
}

TEST_F(PublicScanTest, AnswersFitWhatAStockClientTakes) {
  Fill(12, limits::kValueBytesMax);
  EXPECT_EQ(Follow({}).size(), 12u);
  v1::ScanOperation reverse;
  reverse.set_reverse(true);
  EXPECT_EQ(Follow(reverse).size(), 12u);
  // Refused before anything is written, with the limit.
  v1::ExecuteRequest request;
  AddPut(&request, "mark", "1");
  for (int i = 0; i < 12; ++i) request.add_operations()->set_get(KeyOf(i));
  const v1::ExecuteResponse refused = Execute(request);
  EXPECT_EQ(refused.error().code(), v1::INVALID_ARGUMENT);
  EXPECT_TRUE(refused.error().no_effect());
  EXPECT_NE(refused.error().message().find(std::to_string(limits::kAnswerBytesMax)),
            std::string::npos);
  EXPECT_EQ(*cluster.Get("mark"), std::nullopt);
  // A session goes on after such a refusal.
  const uint64_t session = BeginSession();
  v1::SessionReadRequest read;
  read.set_session_id(session);
  for (int i = 0; i < 5; ++i) read.add_keys(KeyOf(i));
  EXPECT_EQ(Run(api->Read(read, 10s)).error().code(), v1::INVALID_ARGUMENT);
  read.mutable_keys()->DeleteSubrange(3, 2);
  EXPECT_EQ(Run(api->Read(read, 10s)).values_size(), 3);
  v1::SessionScanRequest scan;
  scan.set_session_id(session);
  const v1::SessionScanResponse page = Run(api->Scan(scan, 10s));
  EXPECT_EQ(page.error().code(), v1::OK);
  EXPECT_EQ(page.rows_size(), 3);
  EXPECT_TRUE(page.more());
  EXPECT_EQ(Write(session, "mark", "1"), v1::OK);
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(api->held(), 0u) << "everything held for clients is given back";
}

TEST_F(PublicScanTest, ConditionsOnLargeValuesAreCheckedInParts) {
  Fill(12, limits::kValueBytesMax);
  v1::ExecuteRequest request;
  for (int i = 0; i < 12; ++i) {
    v1::Condition* condition = request.add_conditions();
    condition->set_key(KeyOf(i));
    condition->set_absent(i == 11);
  }
  AddPut(&request, "mark", "1");
  const v1::ExecuteResponse response = Execute(request);
  EXPECT_EQ(response.error().code(), v1::FAILED_PRECONDITION) << response.error().message();
  ASSERT_EQ(response.failed_conditions_size(), 1);
  EXPECT_EQ(response.failed_conditions(0), 11u);
}

// Takes `most` pages.
class Reader final : public PageSink {
 public:
  explicit Reader(size_t m) : most(m) {}
  Task<bool> Write(v1::ScanAllResponse page) override {
    EXPECT_LE(page.ByteSizeLong(), size_t{4} << 20);
    pages.push_back(std::move(page));
    co_return pages.size() < most;
  }
  size_t most;
  std::vector<v1::ScanAllResponse> pages;
};

Task<Result<bool>> RunScan(PublicApi* api, v1::ScanAllRequest request, PublicCall call,
                           PageSink* sink) {
  co_await api->ScanAll(std::move(request), std::move(call), sink);
  co_return true;
}

TEST_F(PublicScanTest, AScanOfEverythingIsOneSnapshotAndGoesOnAfterABreak) {
  Fill(300, 10'000);
  for (const bool reverse : {false, true}) {
    std::vector<std::string> want;
    for (int i = 0; i < 300; ++i) want.push_back(KeyOf(i));
    std::sort(want.begin(), want.end());
    if (reverse) std::reverse(want.begin(), want.end());
    v1::ScanAllRequest request;
    request.set_page_bytes(200'000);
    request.set_reverse(reverse);
    Reader first(4);
    ASSERT_TRUE(cluster.Await(RunScan(api.get(), request, 10s, &first)).ok());
    ASSERT_EQ(first.pages.size(), 4u) << "nothing is read for who does not read";
    ASSERT_TRUE(cluster.Put("\x7flater", "1").ok());
    request.set_read_ts(first.pages.back().read_ts());
    (reverse ? *request.mutable_to() : *request.mutable_from()) = first.pages.back().resume_key();
    Reader rest(1000);
    ASSERT_TRUE(cluster.Await(RunScan(api.get(), request, 10s, &rest)).ok());
    std::vector<std::string> got;
    for (const Reader* reader : {&first, &rest}) {
      for (const auto& page : reader->pages) {
        EXPECT_EQ(page.error().code(), v1::OK) << page.error().message();
        for (auto& key : Keys(page.rows())) got.push_back(key);
      }
    }
    EXPECT_EQ(got, want);
    EXPECT_EQ(rest.pages.back().resume_key(), "");
    v1::ExecuteRequest remove;
    remove.add_operations()->mutable_put()->set_key("\x7flater");
    remove.mutable_operations(0)->mutable_put()->set_deletion(true);
    ASSERT_EQ(Execute(remove).error().code(), v1::OK);
  }
  // What is too old says so.
  cluster.RunFor(200s);
  v1::ScanAllRequest old;
  old.set_read_ts(Timestamp::FromParts(1, 0).bits());
  Reader reader(10);
  ASSERT_TRUE(cluster.Await(RunScan(api.get(), old, 10s, &reader)).ok());
  ASSERT_EQ(reader.pages.size(), 1u);
  EXPECT_EQ(reader.pages[0].error().code(), v1::SNAPSHOT_TOO_OLD);
  EXPECT_EQ(api->held(), 0u);
}

// ---- time, and clients that go ------------------------------------------------------------------

class PublicTimeTest : public PublicApiTest {
 protected:
  void CrashOthers() {
    cluster.at(2).Crash();
    cluster.at(3).Crash();
  }
  struct Answered {
    std::optional<v1::SessionReadResponse> read;
    Instant at;
  };
  // A read that does not end by itself, begun.
  std::shared_ptr<Answered> StartRead(uint64_t session, PublicCall call) {
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(kLow);
    auto answered = std::make_shared<Answered>();
    cluster.client().scope().Spawn(Keep(this, api->Read(request, std::move(call)), answered));
    cluster.RunFor(50ms);
    EXPECT_FALSE(answered->read.has_value());
    return answered;
  }
  static Task<void> Keep(PublicTimeTest* test, Task<v1::SessionReadResponse> task,
                         std::shared_ptr<Answered> answered) {
    answered->read = co_await std::move(task);
    answered->at = test->cluster.world().now();
  }
};

TEST_F(PublicTimeTest, AReadThatFailsInAnExecutionSaysThatNothingHappened) {
  CrashOthers();
  cluster.RunFor(3s);
  v1::ExecuteRequest request;
  request.set_timeout_ms(1500);
  request.add_operations()->set_get(kLow);
  AddPut(&request, kHigh, "x");
  const v1::ExecuteResponse response = Execute(request);
  EXPECT_NE(response.error().code(), v1::OK);
  EXPECT_NE(response.error().code(), v1::UNKNOWN_OUTCOME);
  EXPECT_TRUE(response.error().no_effect()) << response.error().message();
  EXPECT_FALSE(response.has_txn());
}

TEST_F(PublicTimeTest, AnExpiredDeadlineIsNotTheDefault) {
  CrashOthers();
  v1::ExecuteRequest request;
  AddPut(&request, kLow, "x");
  const Instant begin = cluster.world().now();
  const v1::ExecuteResponse response = Run(api->Execute(request, Duration(0)));
  EXPECT_EQ(response.error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_TRUE(response.error().no_effect());
  EXPECT_LT(cluster.world().now() - begin, Duration(100ms));
}

TEST_F(PublicTimeTest, ASessionIsUsableAgainRightAfterACallsTimeout) {
  const uint64_t session = BeginSession();
  EXPECT_EQ(Write(session, kHigh, "s"), v1::OK);
  CrashOthers();
  cluster.RunFor(3s);
  v1::SessionReadRequest request;
  request.set_session_id(session);
  request.add_keys(kLow);
  request.set_timeout_ms(300);
  const Instant begin = cluster.world().now();
  const v1::SessionReadResponse late = Run(api->Read(request, 10s));
  EXPECT_EQ(late.error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_TRUE(late.error().no_effect());
  EXPECT_LT(cluster.world().now() - begin, Duration(400ms));
  ASSERT_TRUE(cluster.at(2).Start(cluster.addresses()).ok());
  ASSERT_TRUE(cluster.at(3).Start(cluster.addresses()).ok());
  EXPECT_EQ(Read(session, kLow).error().code(), v1::OK) << "once there is a majority again";
  EXPECT_EQ(Commit(session).error().code(), v1::OK);
  EXPECT_EQ(*cluster.Get(kHigh), "s");
}

TEST_F(PublicTimeTest, RollbackEndsTheCallUnderWay) {
  const uint64_t session = BeginSession();
  CrashOthers();
  cluster.RunFor(3s);
  const auto read = StartRead(session, 20s);
  const v1::SessionReadResponse second = Read(session, kLow);
  EXPECT_EQ(second.error().code(), v1::FAILED_PRECONDITION) << "one call at a time";
  v1::SessionRollbackRequest rollback;
  rollback.set_session_id(session);
  EXPECT_EQ(Run(api->Rollback(rollback, 10s)).error().code(), v1::OK);
  cluster.RunFor(50ms);
  ASSERT_TRUE(read->read.has_value());
  EXPECT_EQ(read->read->error().code(), v1::CANCELLED);
  EXPECT_EQ(api->sessions(), 0u);
}

TEST_F(PublicTimeTest, ACallEndsWithItsClient) {
  const uint64_t session = BeginSession();
  CrashOthers();
  cluster.RunFor(3s);
  PublicCall call(20s, "client");
  const auto read = StartRead(session, call);
  EXPECT_GT(api->held(), 0u);
  call.gone->Set();
  cluster.RunFor(50ms);
  ASSERT_TRUE(read->read.has_value());
  EXPECT_EQ(read->read->error().code(), v1::CANCELLED);
  EXPECT_EQ(api->sessions(), 1u) << "the session may be its client's next connection's";
}

// ---- locks
// ----------------------------------------------------------------------------------------

class PublicLockTest : public PublicApiTest {
 protected:
  uint64_t LockBySession(const std::string& key) {
    const uint64_t session = BeginSession();
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(key);
    request.set_for_update(true);
    EXPECT_EQ(Run(api->Read(request, 10s)).error().code(), v1::OK);
    return session;
  }
  v1::ExecuteResponse Put(const std::string& key, uint32_t timeout_ms) {
    v1::ExecuteRequest request;
    request.set_timeout_ms(timeout_ms);
    AddPut(&request, key, "x");
    return Execute(request);
  }
  // A session that is asked something again and again.
  static Task<void> KeepBusy(PublicApi* api, Executor* executor, uint64_t session) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    while (true) {
      co_await Sleep(*executor, 200ms);
      (void)co_await api->Write(request, 10s);
    }
  }
};

TEST_F(PublicLockTest, AnIdleSessionLosesLocksThatOthersWaitForWithinSeconds) {
  const uint64_t holder = LockBySession(kLow);
  const Instant begin = cluster.world().now();
  const v1::ExecuteResponse put = Put(kLow, 20'000);
  EXPECT_EQ(put.error().code(), v1::OK) << put.error().message();
  EXPECT_LT(cluster.world().now() - begin, Duration(6s));
  EXPECT_EQ(api->sessions(), 1u) << "the session itself goes on";
  EXPECT_EQ(Write(holder, kHigh, "s"), v1::OK);
}

TEST_F(PublicLockTest, AnIdleSessionKeepsLocksThatNobodyWaitsFor) {
  const uint64_t holder = LockBySession(kLow);
  cluster.RunFor(10s);
  EXPECT_EQ(Write(holder, kHigh, "s"), v1::OK);
  TaskScope scope(cluster.at(1).process()->env().executor);
  scope.Spawn(KeepBusy(api.get(), &cluster.at(1).process()->env().executor, holder));
  EXPECT_EQ(Put(kLow, 2000).error().code(), v1::LOCK_CONFLICT) << "it is still held";
}

TEST_F(PublicLockTest, WhoWaitsForALockIsToldWhoHoldsItAndSinceWhen) {
  const uint64_t holder = LockBySession(kLow);
  TaskScope scope(cluster.at(1).process()->env().executor);
  scope.Spawn(KeepBusy(api.get(), &cluster.at(1).process()->env().executor, holder));
  const v1::ExecuteResponse put = Put(kLow, 3000);
  EXPECT_EQ(put.error().code(), v1::LOCK_CONFLICT) << put.error().message();
  EXPECT_TRUE(put.error().no_effect());
  const std::string& message = put.error().message();
  EXPECT_NE(message.find(Printable(kLow)), std::string::npos) << message;
  EXPECT_NE(message.find("by transaction "), std::string::npos) << message;
  EXPECT_NE(message.find("since "), std::string::npos) << message;
}

// ---- bounds -------------------------------------------------------------------------------------

class PublicBoundsTest : public PublicApiTest {
 protected:
  v1::BeginResponse BeginAs(const std::string& client) {
    return Run(api->Begin({}, PublicCall(10s, client)));
  }
  v1::Error WriteAs(const std::string& client, uint64_t session, size_t bytes) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    for (int i = 0; bytes > 0; ++i) {
      const size_t part = std::min(bytes, limits::kValueBytesMax);
      v1::Write* write = request.add_writes();
      write->set_key("k" + std::to_string(i));
      write->set_value(std::string(part, 'x'));
      bytes -= part;
    }
    return Run(api->Write(std::move(request), PublicCall(10s, client))).error();
  }
};

TEST_F(PublicBoundsTest, AClientThatHoldsTooMuchIsToldAndNobodyElseNotices) {
  std::vector<uint64_t> sessions;
  v1::Error refused;
  for (int i = 0; i < 20 && refused.code() == v1::OK; ++i) {
    const v1::BeginResponse begun = BeginAs("greedy");
    ASSERT_EQ(begun.error().code(), v1::OK);
    sessions.push_back(begun.session_id());
    refused = WriteAs("greedy", begun.session_id(), 15u << 20);
  }
  EXPECT_EQ(refused.code(), v1::OVERLOADED);
  EXPECT_GT(refused.retry_after_ms(), 0u);
  EXPECT_TRUE(refused.no_effect());
  EXPECT_LE(api->held(), limits::kClientBytesMax / 2);
  // Others do as before.
  const v1::BeginResponse honest = BeginAs("honest");
  ASSERT_EQ(honest.error().code(), v1::OK);
  EXPECT_EQ(WriteAs("honest", honest.session_id(), 4u << 20).code(), v1::OK);
  EXPECT_EQ(Commit(honest.session_id()).error().code(), v1::OK);
  // Once it ends what it has, it may go on.
  for (const uint64_t session : sessions) {
    v1::SessionRollbackRequest rollback;
    rollback.set_session_id(session);
    EXPECT_EQ(Run(api->Rollback(rollback, 10s)).error().code(), v1::OK);
  }
  EXPECT_EQ(api->held(), 0u);
  const v1::BeginResponse again = BeginAs("greedy");
  EXPECT_EQ(WriteAs("greedy", again.session_id(), 15u << 20).code(), v1::OK);
}

TEST_F(PublicBoundsTest, SessionsThatNobodyUsesMakeRoom) {
  // Each from a connection of its own, so that none is over its share.
  int begun = 0;
  for (; begun < 12; ++begun) {
    const std::string client = "c" + std::to_string(begun);
    const v1::BeginResponse session = BeginAs(client);
    if (WriteAs(client, session.session_id(), 14u << 20).code() != v1::OK) break;
  }
  EXPECT_LT(begun, 12);
  const v1::BeginResponse honest = BeginAs("honest");
  EXPECT_EQ(WriteAs("honest", honest.session_id(), 14u << 20).code(), v1::OVERLOADED);
  cluster.RunFor(6s);
  const v1::BeginResponse later = BeginAs("honest");
  EXPECT_EQ(WriteAs("honest", later.session_id(), 14u << 20).code(), v1::OK)
      << "the unused ones go first";
}

TEST_F(PublicBoundsTest, EveryOverloadedAnswerHasATimeToWait) {
  v1::Error error;
  StatusToError(Status(Code::kOverloaded, "full"), &error);
  EXPECT_GT(error.retry_after_ms(), 0u);
}

}  // namespace
}  // namespace quorate::server
