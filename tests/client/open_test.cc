// Database::Open over real gRPC, against one node that is faked in this process: options, hooks,
// fork(), proxies, threads.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "base/address.h"
#include "base/real_clock.h"
#include "base/real_executor.h"
#include "client/blocking.h"
#include "client/database.h"
#include "quorate/v1/rpc.grpc.pb.h"
#include "txn/timestamp.h"

namespace quorate::client {
namespace {

using testing::HasSubstr;

// Serves one shard of all keys, for one client at a time.
class OneNode final : public v1::Node::Service {
 public:
  OneNode() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~OneNode() override { server_->Shutdown(gpr_time_0(GPR_CLOCK_REALTIME)); }
  const std::string& address() const { return address_; }
  // From now on commits are done and not answered; `on_commit` hears of each.
  void SwallowCommits(std::function<void()> on_commit) {
    const std::lock_guard lock(mutex_);
    on_commit_ = std::move(on_commit);
  }

  grpc::Status Calls(grpc::ServerContext*,
                     grpc::ServerReaderWriter<v1::CallBatch, v1::CallBatch>* stream) override {
    v1::CallBatch batch;
    while (stream->Read(&batch)) {
      v1::CallBatch answers;
      for (const v1::Call& call : batch.calls()) {
        if (Swallows(call.request())) continue;
        v1::Call* answer = answers.add_calls();
        answer->set_id(call.id());
        *answer->mutable_response() = Answer(call.request());
      }
      stream->Write(answers);
    }
    return grpc::Status::OK;
  }

 private:
  bool Swallows(const v1::NodeRequest& request) {
    const std::lock_guard lock(mutex_);
    if (!on_commit_ || !request.has_commit()) return false;
    on_commit_();
    return true;
  }
  v1::NodeResponse Answer(const v1::NodeRequest& request) {
    const std::lock_guard lock(mutex_);
    v1::NodeResponse response;
    const uint64_t slot = Timestamp::FromParts(1000 + ++slots_, 0).bits();
    if (request.has_routes()) {
      v1::RoutesResponse* map = response.mutable_routes();
      map->set_cluster_id("one");
      v1::NodeInfo* node = map->add_nodes();
      node->set_node_id(1);
      node->set_address(address_);
      map->add_placement_nodes(1);
      map->set_placement_leader(1);
      v1::ShardRouteInfo* info = map->add_routes();
      info->set_leader_node_id(1);
      info->mutable_shard()->set_shard_id(10);
      info->mutable_shard()->set_version(1);
      v1::Replica* replica = info->mutable_shard()->add_replicas();
      replica->set_node_id(1);
      replica->set_address(address_);
    } else if (request.has_read()) {
      v1::ReadResponse* read = response.mutable_read();
      read->set_read_ts(request.read().read_ts() == 0 ? slot : request.read().read_ts());
      for (const std::string& key : request.read().keys()) {
        v1::KeyValue* got = read->add_gets();
        got->set_key(key);
        got->set_found(rows_.contains(key));
        if (got->found()) got->set_value(rows_[key]);
      }
    } else if (request.has_commit()) {
      for (const v1::Write& write : request.commit().writes()) rows_[write.key()] = write.value();
      response.mutable_commit()->set_commit_ts(slot + 1);
      response.mutable_commit()->set_shards(1);
    } else {
      response.mutable_slot()->set_slot(slot);
    }
    return response;
  }

  std::mutex mutex_;
  std::function<void()> on_commit_;
  uint64_t slots_ = 0;
  std::map<std::string, std::string> rows_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

std::unique_ptr<Database> MustOpen(const std::string& address) {
  auto database = Database::Open({.cluster = {address}});
  EXPECT_TRUE(database.ok()) << database.status().ToString();
  return std::move(*database);
}

TEST(Open, ChecksItsOptionsAndReportsAWrongAddressInTheFirstCall) {
  Options options;
  // As for nodes and the program: one judgement.
  for (const std::string text :
       {"", "host", "host:", ":7400", "host:0", "host:70000", "host:x", "host:+1", "host: 1",
        "http://host:7400", "user@host:7400", "ho st:7400", "::1:7400", "[]:7400", "host:0065536",
        "127.0.0.1:021001", "[::1]:7400", "a-b.c_d:07400", "host:1", "host:65535"}) {
    options.cluster = {text};
    const Status opened = Database::Open(options).status();
    EXPECT_EQ(opened.code(), ParseHostPort(text).status().code()) << text;
    if (!opened.ok()) EXPECT_THAT(opened.message(), HasSubstr("'" + text + "'"));
  }
  for (const std::string good : {"127.0.0.1:021001", "[::1]:7400", "host:65535"}) {
    EXPECT_TRUE(ParseHostPort(good).ok()) << good;
  }
  options.cluster = {"127.0.0.1:1"};
  options.timeout = 61s;
  EXPECT_EQ(Database::Open(options).status().code(), Code::kInvalidArgument);
  options.timeout = 10s;
  auto database = Database::Open(options);
  ASSERT_TRUE(database.ok());
  const Instant begin = RealClock::BootNow();
  const CommitResult result = (*database)->Put("a", "1");
  EXPECT_EQ(result.status.code(), Code::kUnavailable) << result.status.ToString();
  EXPECT_THAT(result.status.message(), HasSubstr("127.0.0.1:1"));
  EXPECT_LT(RealClock::BootNow() - begin, 5s);
}

TEST(Open, ABlockingCallOnTheLibrarysThreadIsRefused) {
  OneNode node;
  const auto database = MustOpen(node.address());
  Parcel<Status> refused;
  database->GetAsync("a", {}, [&](Result<std::optional<std::string>> value) {
    EXPECT_TRUE(value.ok()) << value.status().ToString();
    refused.Put(database->Put("a", "1").status);
  });
  EXPECT_EQ(refused.Take()->code(), Code::kFailedPrecondition);
}

TEST(Open, TheServicesSinkTakesTheLogAndItsVisitorTheMetrics) {
  OneNode node;
  Options options{.cluster = {node.address()}};
  Parcel<std::string> line;
  options.log = [&line](LogLevel level, std::string_view text) {
    EXPECT_EQ(level, LogLevel::kError);
    line.Put(std::string(text));
    throw std::runtime_error("a sink that throws");
  };
  auto database = Database::Open(options);
  ASSERT_TRUE(database.ok());
  EXPECT_TRUE((*database)->Put("a", "1").ok());
  (*database)->PutAsync("a", "2", {}, [](CommitResult) { throw std::runtime_error("luckless"); });
  EXPECT_THAT(*line.Take(), HasSubstr("luckless"));
  EXPECT_TRUE((*database)->Put("a", "3").ok());
  std::map<std::string, int64_t> counted;
  (*database)->VisitMetrics([&](const MetricSample& sample) {
    EXPECT_FALSE(sample.help.empty());
    counted[std::string(sample.name)] = sample.value;
  });
  EXPECT_EQ(counted.at("quorate_client_commits_total"), 3);
  EXPECT_THAT((*database)->MetricsText(), HasSubstr("\nquorate_client_commits_total 3\n"));
}

// The handle goes while another thread is inside of a call whose answer never comes.
TEST(Open, DestroyingTheDatabaseEndsTheCallOfAnotherThread) {
  for (int round = 0; round < 10; ++round) {
    OneNode node;
    auto database = MustOpen(node.address());
    ASSERT_TRUE(database->Put("a", "1").ok());
    Parcel<bool> sent;
    node.SwallowCommits([&sent] { sent.Put(true); });
    Parcel<CommitResult> told;
    RealExecutor caller;
    caller.Post([&told, handle = database.get()] { told.Put(handle->Put("a", "2")); });
    caller.Start();
    sent.Take();
    database.reset();
    const auto result = told.Take();
    caller.Stop();
    caller.Join();
    EXPECT_EQ(result->status.code(), Code::kUnknownOutcome) << result->status.ToString();
    EXPECT_TRUE(result->unknown.has_value());
  }
}

// What the child finds is told by its exit code; it must not hang, whatever it does.
int InTheChild(std::unique_ptr<Database> database, const std::string& address) {
  ::alarm(20);
  if (database->Get("a").status().code() != Code::kFailedPrecondition) return 1;
  if (database->Put("a", "child").status.code() != Code::kFailedPrecondition) return 2;
  const auto closure = [](SyncTransaction&) { return Status::Ok(); };
  if (database->Transact(closure).status.code() != Code::kFailedPrecondition) return 3;
  database->Spawn([]() -> Task<void> { co_return; });
  database->PutAsync("a", "child", {}, [](CommitResult) {});
  database.reset();
  if (Database::Open({.cluster = {address}}).status().code() != Code::kFailedPrecondition) {
    return 4;
  }
  return 0;
}

TEST(Open, AChildIsRefusedAndItsParentGoesOn) {
  OneNode node;
  auto database = MustOpen(node.address());
  ASSERT_TRUE(database->Put("a", "parent").ok());
  for (int round = 0; round < 3; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(InTheChild(std::move(database), node.address()));
    EXPECT_TRUE(database->Put("b", "parent").ok());
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(**database->Get("a"), "parent");
  }
}

TEST(Open, ProxiesOfTheEnvironmentAreNotAsked) {
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"}) {
    ::setenv(name, "http://127.0.0.1:1", 1);
  }
  OneNode node;
  EXPECT_TRUE(MustOpen(node.address())->Put("a", "1").ok());
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"}) {
    ::unsetenv(name);
  }
}

size_t Threads() {
  size_t n = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    n += task.is_directory() ? 1 : 0;
  }
  return n;
}

TEST(Open, EveryDatabaseHasOneThread) {
  OneNode node;
  constexpr size_t kDatabases = 16;
  std::vector<std::unique_ptr<Database>> databases;
  const auto open_one = [&] {
    databases.push_back(MustOpen(node.address()));
    EXPECT_TRUE(databases.back()->Put("a", "1").ok());
  };
  open_one();  // and with it gRPC's own, for all of them
  const size_t with_one = Threads();
  while (databases.size() < kDatabases) open_one();
  // Each has a stream at the node, whose synchronous service keeps a thread for it in this process;
  // gRPC starts and ends a few more as it likes.
  EXPECT_LE(Threads(), with_one + 2 * (kDatabases - 1) + 8);
}

}  // namespace
}  // namespace quorate::client
