// What is on disk at each step of becoming a member, and the bootstrap message's way. Whole
// clusters: init_test.cc.
#include "server/node/membership.h"

#include <gtest/gtest.h>

#include <map>

#include "server/node/bootstrap_plan.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::server {
namespace {

// The other nodes, as functions of their requests; whoever is not there cannot be reached.
class FakeChannel final : public client::Channel {
 public:
  using Peer = std::function<v1::NodeResponse(const v1::NodeRequest&)>;
  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration) override {
    ++calls;
    const auto peer = peers.find(address);
    if (peer == peers.end()) co_return Unavailable("nobody there");
    co_return peer->second(request);
  }
  void SetClusterId(const std::string& id) override { cluster_id = id; }

  std::map<std::string, Peer> peers;
  std::string cluster_id;
  int calls = 0;
};

class MembershipTest : public testing::Test {
 protected:
  MembershipTest() : files(world.executor, disk) { EXPECT_TRUE(Open().ok()); }

  Status Open() {
    membership.reset();
    directory.reset();
    disk.Kill();
    auto opened = storage::DataDirectory::Open(world.env, files, "data");
    if (!opened.ok()) return opened.status();
    directory = std::move(*opened);
    auto drawn = storage::IncarnationFile::Open(world.env, files, "data");
    if (!drawn.ok()) return drawn.status();
    incarnations = std::move(*drawn);
    v1::NodeInfo self;
    self.set_address("n1:1");
    auto made = Membership::Open(world.env, files, *directory, channel,
                                 {self, incarnations.get(), {"n2:1"}});
    if (!made.ok()) return made.status();
    membership = std::move(*made);
    membership->OnMember([this] { ++told; });
    return Status::Ok();
  }
  // Nodes n1 (this one), n2 and n3; addressed to this one.
  v1::BootstrapRequest Plan(char cluster = 'c') {
    std::vector<v1::NodeInfo> members(3);
    for (int i = 0; i < 3; ++i) {
      members[i].set_address("n" + std::to_string(i + 1) + ":1");
      members[i].set_storage_id(i == 0 ? directory->identity().storage_id
                                       : std::string(32, static_cast<char>('a' + i)));
    }
    v1::BootstrapRequest plan =
        *PlanBootstrap(std::string(32, cluster), members, v1::InitRequest());
    plan.set_node_id(1);
    return plan;
  }
  v1::ErrorCode Accept(const v1::BootstrapRequest& plan) {
    return membership->Accept(plan).error().code();
  }
  static v1::NodeResponse Accepts(const v1::NodeRequest& request) {
    v1::NodeResponse response;
    if (request.has_bootstrap()) response.mutable_bootstrap();
    return response;
  }

  TestEnv world;
  storage::RamDisk disk;
  storage::RamFiles files;
  FakeChannel channel;
  std::unique_ptr<storage::IncarnationFile> incarnations;
  std::unique_ptr<storage::DataDirectory> directory;
  std::unique_ptr<Membership> membership;
  int told = 0;
};

TEST_F(MembershipTest, TheMessageMakesAMemberForGood) {
  const v1::BootstrapRequest plan = Plan();
  EXPECT_FALSE(membership->member());
  EXPECT_EQ(Accept(plan), v1::OK);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(channel.cluster_id, plan.cluster_id());
  Random random(1);
  membership.reset();
  directory.reset();
  disk.Crash(random);
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(membership->member());
  EXPECT_EQ(directory->identity().node_id, NodeId(1));
  ASSERT_NE(membership->bootstrap(), nullptr);
  EXPECT_EQ(membership->bootstrap()->nodes_size(), 3);
}

TEST_F(MembershipTest, ACrashBetweenMessageAndIdentityIsRepaired) {
  const std::string before = *disk.Find("data/IDENTITY");
  EXPECT_EQ(Accept(Plan()), v1::OK);
  membership.reset();
  directory.reset();
  *disk.Find("data/IDENTITY") = before;
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(membership->member());
  EXPECT_EQ(directory->identity().cluster_id, std::string(32, 'c'));
}

TEST_F(MembershipTest, ADamagedMessageStopsTheStart) {
  EXPECT_EQ(Accept(Plan()), v1::OK);
  disk.Find("data/BOOTSTRAP")->back() ^= 1;
  const Status status = Open();
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_NE(status.message().find("BOOTSTRAP"), std::string::npos);
}

TEST_F(MembershipTest, CopiesOfTheMessageAreHarmlessAndOthersRefused) {
  EXPECT_EQ(Accept(Plan()), v1::OK);
  EXPECT_EQ(Accept(Plan()), v1::OK);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(Accept(Plan('d')), v1::FAILED_PRECONDITION);
  v1::BootstrapRequest other = Plan();
  other.set_node_id(2);
  EXPECT_EQ(Accept(other), v1::FAILED_PRECONDITION);
  EXPECT_EQ(directory->identity().cluster_id, std::string(32, 'c'));
}

TEST_F(MembershipTest, AMessageForAnotherDiskOrNobodyIsRefused) {
  v1::BootstrapRequest plan = Plan();
  plan.mutable_nodes(0)->set_storage_id(std::string(32, 'f'));
  EXPECT_EQ(Accept(plan), v1::WRONG_NODE);  // RC21
  plan = Plan();
  plan.set_node_id(9);
  EXPECT_EQ(Accept(plan), v1::INVALID_ARGUMENT);
  plan = Plan();
  plan.clear_shards();
  EXPECT_EQ(Accept(plan), v1::INVALID_ARGUMENT);
  EXPECT_FALSE(membership->member());
  EXPECT_EQ(disk.Find("data/BOOTSTRAP"), nullptr);
}

TEST_F(MembershipTest, TheMessageIsHandedOutUntilAllMembersHaveIt) {
  membership->Start();
  EXPECT_EQ(Accept(Plan()), v1::OK);
  channel.peers["n2:1"] = Accepts;
  world.executor.RunFor(10s);
  EXPECT_EQ(disk.Find("data/BOOTSTRAPPED"), nullptr) << "n3 cannot be reached";
  ASSERT_TRUE(Open().ok());  // restarted meanwhile
  membership->Start();
  int asked = 0;
  channel.peers["n3:1"] = [&asked](const v1::NodeRequest& request) {
    EXPECT_EQ(request.bootstrap().node_id(), 3u);
    ++asked;
    return Accepts(request);
  };
  world.executor.RunFor(10s);
  EXPECT_EQ(asked, 1);
  EXPECT_NE(disk.Find("data/BOOTSTRAPPED"), nullptr);
  ASSERT_TRUE(Open().ok());
  const int calls = channel.calls;
  membership->Start();
  world.executor.RunFor(10s);
  EXPECT_EQ(channel.calls, calls) << "all have it";
}

// Its replicas are missing: whoever asked for the cluster must hear of it.
TEST_F(MembershipTest, AMemberOfAnotherClusterHasNotConfirmed) {
  membership->Start();
  channel.peers["n2:1"] = Accepts;
  channel.peers["n3:1"] = [](const v1::NodeRequest&) {
    v1::NodeResponse response;
    response.mutable_error()->set_code(v1::WRONG_CLUSTER);
    response.mutable_error()->set_message("it belongs to cluster dddd");
    return response;
  };
  EXPECT_EQ(Accept(Plan()), v1::OK);
  world.executor.RunFor(20s);
  EXPECT_EQ(disk.Find("data/BOOTSTRAPPED"), nullptr);
  v1::InitResponse answer;
  TaskScope scope(world.executor);
  const auto ask = [](Membership* m, Instant deadline, v1::InitResponse* out) -> Task<void> {
    *out = co_await m->Init(v1::InitRequest(), deadline);
  };
  scope.Spawn(ask(membership.get(), world.env.Now() + 2s, &answer));
  world.executor.RunFor(5s);
  EXPECT_EQ(answer.error().code(), v1::UNAVAILABLE);
  EXPECT_NE(answer.error().message().find("'n3:1' (it belongs to cluster dddd)"), std::string::npos)
      << answer.error().message();
  channel.peers["n3:1"] = Accepts;
  world.executor.RunFor(10s);
  EXPECT_NE(disk.Find("data/BOOTSTRAPPED"), nullptr);
}

TEST_F(MembershipTest, JoiningGoesOnUntilSomebodyGivesAnId) {
  membership->Start();
  world.executor.RunFor(5s);
  EXPECT_FALSE(membership->member());
  EXPECT_GE(channel.calls, 4);
  channel.peers["n2:1"] = [this](const v1::NodeRequest& request) {
    EXPECT_EQ(request.register_node().node().storage_id(), directory->identity().storage_id);
    v1::NodeResponse response;
    response.mutable_register_node()->set_cluster_id(std::string(32, 'c'));
    response.mutable_register_node()->set_node_id(1);
    return response;
  };
  world.executor.RunFor(3s);
  EXPECT_TRUE(membership->member());
  EXPECT_EQ(told, 1);
  EXPECT_EQ(membership->bootstrap(), nullptr);
  // It was a member of an init that had not reached it yet: its replicas come with the message.
  EXPECT_EQ(Accept(Plan()), v1::OK);
  EXPECT_EQ(told, 2);
}

}  // namespace
}  // namespace quorate::server
