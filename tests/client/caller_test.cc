#include "client/route/caller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/limits.h"
#include "tests/client/fake_cluster.h"

namespace quorate::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CallerTest : public testing::Test {
 protected:
  void SetUp() override { routes_.Update(cluster_.Map()); }

  Task<void> Store(Task<Result<v1::NodeResponse>> call) {
    result_.emplace(co_await std::move(call));
  }

  static v1::NodeRequest ReadOf(std::string key, const Route& route) {
    v1::NodeRequest request;
    SetRoute(route, request.mutable_read()->mutable_route());
    request.mutable_read()->add_keys(std::move(key));
    return request;
  }

  Result<v1::NodeResponse> Read(std::string key, Duration timeout = 10s) {
    result_.reset();
    channel_.log.clear();
    Caller::Fill fill = [key](const Route& route) { return ReadOf(key, route); };
    scope_.Spawn(Store(caller_.CallShard(key, fill, world_.env.Now() + timeout)));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return result_.has_value(); }));
    return *result_;
  }
  // What any replica may answer.
  Result<v1::NodeResponse> ReadAny(std::string key) {
    result_.reset();
    channel_.log.clear();
    Caller::Fill fill = [key](const Route& route) { return ReadOf(key, route); };
    scope_.Spawn(
        Store(caller_.CallShard(key, fill, world_.env.Now() + 10s, Caller::First::kAnyReplica)));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return result_.has_value(); }));
    return *result_;
  }
  Result<v1::NodeResponse> Slot(Duration timeout = 10s) {
    result_.reset();
    channel_.log.clear();
    v1::NodeRequest request;
    request.mutable_slot();
    scope_.Spawn(Store(caller_.CallPlacement(request, world_.env.Now() + timeout)));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return result_.has_value(); }));
    return *result_;
  }
  ShardSpec& shard() { return cluster_.shards[0]; }

  TestEnv world_;
  FakeChannel channel_{world_.env};
  FakeCluster cluster_{world_.env, channel_, 3, {{10, "", "m", 1}, {11, "m", "", 2}}};
  RouteCache routes_{{"n1:1", "n2:1", "n3:1"}};
  Caller caller_{world_.env, channel_, routes_};
  std::optional<Result<v1::NodeResponse>> result_;
  TaskScope scope_{world_.executor};
};

TEST_F(CallerTest, GoesStraightToAKnownLeader) {
  EXPECT_TRUE(Read("x").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n2:1 read"));
}

TEST_F(CallerTest, FollowsTheHintOfADeposedLeaderAndRemembersIt) {
  shard().leader = 3;
  EXPECT_TRUE(Read("a").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n1:1 read", "n3:1 read"));
  EXPECT_TRUE(Read("a").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n3:1 read"));
}

TEST_F(CallerTest, TriesReplicasInTurnWhenTheLeaderIsUnreachable) {
  channel_.Unlisten("n1:1");
  shard().leader = 3;
  routes_.SetPlacementLeader(NodeId(2));
  EXPECT_TRUE(Read("a").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n1:1 read", "n2:1 read", "n3:1 read"));
  EXPECT_EQ(routes_.Find("a")->leader, NodeId(3));
}

TEST_F(CallerTest, WaitsOutAnElectionWithPausesBetweenRounds) {
  shard().leader = 0;
  world_.executor.After(700ms, [this] { shard().leader = 2; });
  const Instant begin = world_.env.Now();
  EXPECT_TRUE(Read("a").ok());
  const Duration took = world_.env.Now() - begin;
  EXPECT_GE(took, 700ms);
  EXPECT_LE(took, 1100ms);
  EXPECT_LT(channel_.log.size(), 60u) << "pauses grow";
}

TEST_F(CallerTest, AsksAReplicaFirstAndGoesOnToTheLeader) {
  std::set<std::string> first;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(ReadAny("a").ok());
    first.insert(channel_.log.front());
    EXPECT_EQ(channel_.log.back(), "n1:1 read") << "only the leader of this fake answers";
    EXPECT_LE(channel_.log.size(), 2u);
  }
  EXPECT_GT(first.size(), 1u);
}

TEST_F(CallerTest, WhatAReplicaAnsweredSaysNothingOfWhoLeads) {
  cluster_.before = [&](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read() || node == 1) return std::nullopt;
    v1::NodeResponse response;
    response.mutable_read()->set_read_ts(node);
    return Answer(std::move(response));
  };
  std::set<std::string> asked;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(ReadAny("a").ok());
    EXPECT_EQ(channel_.log.size(), 1u);
    asked.insert(channel_.log.front());
    ASSERT_EQ(routes_.Find("a")->leader, NodeId(1));
  }
  EXPECT_GT(asked.size(), 1u);
}

TEST_F(CallerTest, WhoAnswersAboutThePastNeedNotLead) {
  ASSERT_TRUE(ReadAny("a").ok());
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read()) return std::nullopt;
    return Answer(v1::NodeResponse());
  };
  routes_.ForgetLeader(routes_.Find("a")->shard);
  result_.reset();
  Caller::Fill fill = [](const Route& route) {
    v1::NodeRequest request = ReadOf("a", route);
    request.mutable_read()->mutable_stale()->set_max_age_ms(1'000);
    return request;
  };
  scope_.Spawn(Store(caller_.CallShard("a", fill, world_.env.Now() + 10s)));
  EXPECT_TRUE(world_.executor.RunUntil([&] { return result_.has_value(); }));
  EXPECT_FALSE(routes_.Find("a")->leader) << "nobody has said who leads";
}

TEST_F(CallerTest, KeepsToReplicasThatAnswerSoon) {
  int silent = 0;
  cluster_.before = [&](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read()) return std::nullopt;
    if (node == 2) {
      ++silent;
      return Answer(std::nullopt);
    }
    return Answer(v1::NodeResponse());
  };
  for (int i = 0; i < 200; ++i) {
    const Instant begun = world_.env.Now();
    ASSERT_TRUE(ReadAny("a").ok());
    EXPECT_LT(world_.env.Now() - begun, 400ms) << "it waits for nobody's lock";
  }
  EXPECT_GE(silent, 1);
  EXPECT_LT(silent, 20) << "now and then it is looked at again";
}

TEST_F(CallerTest, SaysWhatReplicasSaidOfThemselvesIfNobodyCan) {
  shard().leader = 0;
  cluster_.before = [&](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read()) return std::nullopt;
    if (node == 2) return Answer(ErrorResponse(v1::NOT_LEADER, "7 s old"));
    return Answer(Result<v1::NodeResponse>(Unavailable("gone")));
  };
  const auto result = ReadAny("a");
  EXPECT_THAT(result.status().message(), HasSubstr("7 s old"));
}

TEST_F(CallerTest, AnswersStaleEpochAfterRepairingTheCache) {
  shard() = {10, "", "f", 1, 2};
  cluster_.shards.push_back({12, "f", "m", 3, 2});
  const Result<v1::NodeResponse> result = Read("g");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(ErrorOf(*result).code(), v1::STALE_EPOCH);
  EXPECT_EQ(routes_.Find("g")->shard, ShardId(12));
  EXPECT_TRUE(Read("g").ok());
  EXPECT_THAT(channel_.log, ElementsAre("n1:1 read", "n3:1 read"))
      << "the new shard's leader is found by asking a replica";
}

TEST_F(CallerTest, AsksForTheMapWhenAStaleEpochBringsNothingNewer) {
  shard().version = 2;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read() || request.read().route().version() == 2) return std::nullopt;
    return Answer(ErrorResponse(v1::STALE_EPOCH));
  };
  EXPECT_EQ(ErrorOf(*Read("a")).code(), v1::STALE_EPOCH);
  EXPECT_EQ(routes_.Find("a")->version, 2u);
}

TEST_F(CallerTest, ManyWhoNeedTheMapAskOnce) {
  RouteCache empty({"n1:1"});
  Caller caller(world_.env, channel_, empty);
  int done = 0;
  for (int i = 0; i < 20; ++i) {
    scope_.Spawn([](Caller* c, int* n, Instant end) -> Task<void> {
      Caller::Fill fill = [](const Route& route) { return ReadOf("a", route); };
      EXPECT_TRUE((co_await c->CallShard("a", fill, end)).ok());
      ++*n;
    }(&caller, &done, world_.env.Now() + 5s));
  }
  world_.executor.RunUntil([&] { return done == 20; });
  EXPECT_EQ(done, 20);
  EXPECT_EQ(std::count(channel_.log.begin(), channel_.log.end(), "n1:1 routes"), 1);
  EXPECT_EQ(channel_.cluster_id, "fake");
}

// A shard without a leader must not cost the whole map of a large cluster in every round.
TEST_F(CallerTest, AsksForThePartOfTheMapThatItNeeds) {
  std::vector<Span> asked;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (request.has_routes()) asked.push_back({request.routes().from(), request.routes().to()});
    return std::nullopt;
  };
  shard().leader = 0;
  EXPECT_FALSE(Read("a", 500ms).ok());
  ASSERT_FALSE(asked.empty());
  for (const Span& span : asked) EXPECT_EQ(span, Span::OfKey("a"));

  asked.clear();
  int done = 0;
  const auto refresh = [&](Span span) {
    scope_.Spawn([](Caller* c, Span span, int* n) -> Task<void> {
      EXPECT_TRUE((co_await c->map().Refresh(span, Instant::max())).ok());
      ++*n;
    }(&caller_, std::move(span), &done));
  };
  refresh(Span::OfKey("z"));
  world_.executor.RunUntil([&] { return asked.size() == 1; });
  refresh({"b", "d"});
  refresh({"c", "f"});
  world_.executor.RunUntil([&] { return done == 3; });
  EXPECT_THAT(asked, ElementsAre(Span::OfKey("z"), Span{"b", "f"}))
      << "who comes while another part is asked for waits, and then asks with the others";
}

TEST_F(CallerTest, EndsByItsDeadlineWhateverHappens) {
  cluster_.before = [](uint64_t, const v1::NodeRequest&) { return Answer(std::nullopt); };
  const Instant begin = world_.env.Now();
  const Result<v1::NodeResponse> result = Read("a", 3s);
  EXPECT_EQ(result.status().code(), Code::kDeadlineExceeded);
  EXPECT_LE(world_.env.Now() - begin, 3s);
}

// Every node that may know the map is cut off; each would be waited for longer than the call may.
TEST_F(CallerTest, EndsByItsDeadlineWhileTheMapIsAskedFor) {
  for (const char* silent : {"n1:1", "n2:1", "n3:1"}) {
    channel_.Listen(silent, [](const v1::NodeRequest&) { return Answer(std::nullopt); });
  }
  for (const Duration timeout : {Duration(300ms), Duration(700ms), Duration(1200ms)}) {
    RouteCache empty({"n1:1", "n2:1", "n3:1"});
    Caller caller(world_.env, channel_, empty);
    const Instant begin = world_.env.Now();
    Caller::Fill fill = [](const Route& route) { return ReadOf("a", route); };
    result_.reset();
    scope_.Spawn(Store(caller.CallShard("a", fill, begin + timeout)));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return result_.has_value(); }));
    EXPECT_EQ(result_->status().code(), Code::kUnavailable) << result_->status().ToString();
    EXPECT_LE(world_.env.Now() - begin, timeout);
    EXPECT_GE(world_.env.Now() - begin, std::min<Duration>(timeout, 1s));

    std::optional<Result<std::vector<Route>>> covered;
    const Instant again = world_.env.Now();
    scope_.Spawn([](Caller* c, Instant end, auto* out) -> Task<void> {
      out->emplace(co_await c->map().Cover(Span::OfKey("a"), end));
    }(&caller, again + timeout, &covered));
    EXPECT_TRUE(world_.executor.RunUntil([&] { return covered.has_value(); }));
    EXPECT_FALSE(covered->ok());
    EXPECT_LE(world_.env.Now() - again, timeout);
  }
}

TEST_F(CallerTest, WhoHasMoreTimeGoesOnAskingForTheMap) {
  for (const char* silent : {"n1:1", "n2:1"}) {
    channel_.Listen(silent, [](const v1::NodeRequest&) { return Answer(std::nullopt); });
  }
  RouteCache empty({"n1:1", "n2:1", "n3:1"});
  Caller caller(world_.env, channel_, empty);
  std::vector<std::string> ended;
  const auto refresh = [&](std::string who, Duration timeout) {
    scope_.Spawn([](Caller* c, std::string who, Instant end, auto* ended) -> Task<void> {
      const Status status = co_await c->map().Refresh(Span::All(), end);
      ended->push_back(who + (status.ok() ? " has it" : " gave up"));
    }(&caller, std::move(who), world_.env.Now() + timeout, &ended));
  };
  refresh("the hasty", 200ms);
  refresh("the patient", 5s);
  world_.executor.RunUntil([&] { return ended.size() == 2; });
  EXPECT_THAT(ended, ElementsAre("the hasty gave up", "the patient has it"));
}

TEST_F(CallerTest, SaysUnavailableWhenNothingCanHaveHappened) {
  shard().leader = 0;
  const Result<v1::NodeResponse> result = Read("a", 2s);
  EXPECT_EQ(result.status().code(), Code::kUnavailable);
}

TEST_F(CallerTest, ASilentLeaderIsAskedAgainAndNotForgotten) {
  int reads = 0;
  cluster_.before = [&](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (node == 1 && request.has_read() && ++reads == 1) return Answer(std::nullopt);
    return std::nullopt;
  };
  EXPECT_TRUE(Read("a").ok());
  EXPECT_EQ(reads, 2);
  EXPECT_EQ(routes_.Find("a")->leader, NodeId(1));
}

// A stopped process keeps its connections and never answers.
TEST_F(CallerTest, WhatIsLargeIsNotSentAgainBeforeItCanHaveBeenDone) {
  channel_.Listen("n1:1", [](const v1::NodeRequest&) { return Answer(std::nullopt); });
  Caller::Fill fill = [](const Route& route) {
    v1::NodeRequest request;
    SetRoute(route, request.mutable_commit()->mutable_route());
    for (int i = 0; i < 12; ++i) {
      request.mutable_commit()->add_writes()->set_value(std::string(limits::kValueBytesMax, 'v'));
    }
    return request;
  };
  scope_.Spawn(Store(caller_.CallShard("a", fill, world_.env.Now() + 10s)));
  world_.executor.RunFor(3s);
  EXPECT_THAT(channel_.log, ElementsAre("n1:1 commit"));
  world_.executor.RunFor(2s);
  EXPECT_GT(channel_.log.size(), 1u) << "it may have been lost";
}

TEST_F(CallerTest, FindsTheSuccessorOfASilentLeaderSoonAfterItsElection) {
  cluster_.before = [](uint64_t node, const v1::NodeRequest&) -> std::optional<Answer> {
    if (node == 1) return Answer(std::nullopt);
    return std::nullopt;
  };
  world_.executor.After(1300ms, [this] { shard().leader = 2; });
  const Instant begin = world_.env.Now();
  EXPECT_TRUE(Read("a").ok());
  EXPECT_LE(world_.env.Now() - begin, 1700ms);
  EXPECT_EQ(routes_.Find("a")->leader, NodeId(2));
}

TEST_F(CallerTest, ASilentLeaderIsNotAskedWhileAReplicaKnowsThatThereIsNone) {
  cluster_.before = [](uint64_t node, const v1::NodeRequest&) -> std::optional<Answer> {
    if (node == 1) return Answer(std::nullopt);
    return std::nullopt;
  };
  world_.executor.After(800ms, [this] { shard().leader = 0; });
  world_.executor.After(1800ms, [this] { shard().leader = 3; });
  const Instant begin = world_.env.Now();
  EXPECT_TRUE(Read("a").ok());
  EXPECT_LE(world_.env.Now() - begin, 2000ms);
}

// The leader lets the request wait for a lock, and one replica is cut off from it.
TEST_F(CallerTest, ASilentLeaderIsAskedAgainWhateverOneReplicaSays) {
  const Instant begin = world_.env.Now();
  cluster_.before = [&](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_read()) return std::nullopt;
    if (node == 2) return Answer(NotLeader(0, ""));
    if (node == 1 && world_.env.Now() - begin < 3s) return Answer(std::nullopt);
    return std::nullopt;
  };
  EXPECT_TRUE(Read("a").ok());
  EXPECT_LE(world_.env.Now() - begin, 5s);
}

TEST_F(CallerTest, GivesUpEarlyWhenNoMapWasEverSeen) {
  RouteCache empty({"nowhere:1"});
  Caller caller(world_.env, channel_, empty);
  const Instant begin = world_.env.Now();
  Caller::Fill fill = [](const Route& route) { return ReadOf("a", route); };
  scope_.Spawn(Store(caller.CallShard("a", fill, begin + 30s)));
  world_.executor.RunUntil([&] { return result_.has_value(); });
  EXPECT_EQ(result_->status().code(), Code::kUnavailable);
  EXPECT_THAT(result_->status().message(), HasSubstr("nowhere:1"));
  EXPECT_LE(world_.env.Now() - begin, 2s);
}

TEST_F(CallerTest, ReportsAnUninitialisedClusterAtOnce) {
  channel_.Listen("fresh:1", [](const v1::NodeRequest&) -> Answer {
    return ErrorResponse(v1::UNINITIALIZED, "run quorate init");
  });
  RouteCache empty({"fresh:1"});
  Caller caller(world_.env, channel_, empty);
  const Instant begin = world_.env.Now();
  Caller::Fill fill = [](const Route& route) { return ReadOf("a", route); };
  scope_.Spawn(Store(caller.CallShard("a", fill, begin + 30s)));
  world_.executor.RunUntil([&] { return result_.has_value(); });
  EXPECT_EQ(result_->status().code(), Code::kUninitialized);
  EXPECT_LE(world_.env.Now() - begin, 100ms);
}

TEST_F(CallerTest, FindsANewPlacementLeader) {
  EXPECT_TRUE(Slot().ok());
  EXPECT_THAT(channel_.log, ElementsAre("n1:1 slot"));
  cluster_.before = [](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_slot()) return std::nullopt;
    if (node != 3) return Answer(NotLeader(node == 2 ? 3 : 0, "n3:1"));
    v1::NodeResponse response;
    response.mutable_slot()->set_slot(1 << 20);
    return Answer(response);
  };
  EXPECT_TRUE(Slot().ok());
  EXPECT_EQ(routes_.placement_leader(), NodeId(3));
  EXPECT_TRUE(Slot().ok());
  EXPECT_THAT(channel_.log, ElementsAre("n3:1 slot"));
}

// As a new leader of a shard does, which serves nobody before it has a slot.
TEST_F(CallerTest, ASilentPlacementLeaderDelaysNobodyForLong) {
  EXPECT_TRUE(Slot().ok());
  cluster_.before = [](uint64_t node, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (node == 1) return Answer(std::nullopt);
    if (!request.has_slot()) return std::nullopt;
    if (node == 2) return Answer(NotLeader(3, "n3:1"));
    v1::NodeResponse response;
    response.mutable_slot()->set_slot(1 << 20);
    return Answer(response);
  };
  const Instant begin = world_.env.Now();
  EXPECT_TRUE(Slot().ok());
  EXPECT_LE(world_.env.Now() - begin, 300ms);
}

// A second answer would be of what the first one did: there is no such node.
TEST_F(CallerTest, AnOperatorsQuestionIsPutOnceToASlowPlacementLeader) {
  FakeChannel slow(world_.env, 400ms);
  FakeCluster cluster(world_.env, slow, 3, {{10, "", "", 1}});
  size_t asked = 0;
  cluster.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    if (!request.has_placement()) return std::nullopt;
    ++asked;
    v1::NodeResponse response;
    response.mutable_placement();
    return Answer(response);
  };
  routes_.SetPlacementLeader(NodeId(1));
  Caller caller(world_.env, slow, routes_);
  v1::NodeRequest remove;
  remove.mutable_placement()->mutable_remove_node()->set_node_id(3);
  scope_.Spawn(Store(caller.CallPlacement(remove, world_.env.Now() + 10s)));
  EXPECT_TRUE(world_.executor.RunUntil([&] { return result_.has_value(); }));
  EXPECT_TRUE(result_->ok());
  EXPECT_EQ(asked, 1u);
  EXPECT_EQ(slow.log.size(), 1u);
}

TEST_F(CallerTest, LeavesItsTimeoutToWhoSetsOne) {
  uint32_t seen = 0;
  cluster_.before = [&](uint64_t, const v1::NodeRequest& request) -> std::optional<Answer> {
    seen = request.timeout_ms();
    return std::nullopt;
  };
  EXPECT_TRUE(Read("a", 4s).ok());
  EXPECT_EQ(seen, 4000u);
}

}  // namespace
}  // namespace quorate::client
