// FakeChannel: requests answered by functions in the test, in virtual time. FakeCluster: a whole
// cluster of naive nodes behind it: a map of versions, a counter of slots, commits in one step.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/route/channel.h"
#include "quorate/v1/node.pb.h"
#include "tests/support/test_env.h"
#include "txn/key_span.h"
#include "txn/timestamp.h"

namespace quorate::client {

// nullopt: silence.
using Answer = std::optional<Result<v1::NodeResponse>>;
using Handler = std::function<Answer(const v1::NodeRequest&)>;

class FakeChannel final : public Channel {
 public:
  explicit FakeChannel(Env& env, Duration delay = 1ms) : env_(env), delay_(delay) {}

  void Listen(const std::string& address, Handler handler) { nodes_[address] = handler; }
  void Unlisten(const std::string& address) { nodes_.erase(address); }

  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration timeout) override;
  void SetClusterId(const std::string& id) override { cluster_id = id; }

  // What was sent, in order: "address body".
  std::vector<std::string> log;
  std::string cluster_id;

 private:
  Env& env_;
  Duration delay_;
  std::map<std::string, Handler> nodes_;
};

v1::NodeResponse ErrorResponse(v1::ErrorCode code, const std::string& message = {});
v1::NodeResponse NotLeader(uint64_t node_id, const std::string& address);

struct ShardSpec {
  uint64_t id;
  std::string from;
  std::string to;
  uint64_t leader;
  uint64_t version = 1;
};

class FakeCluster {
 public:
  // Nodes 1..n at "n1:1".."nn:1"; node 1 leads placement; every node holds every shard.
  FakeCluster(Env& env, FakeChannel& channel, size_t nodes, std::vector<ShardSpec> shards);

  v1::RoutesResponse Map(const Span& span = Span::All()) const;
  v1::ShardDescriptor Descriptor(const ShardSpec& shard) const;
  // Seen before the node's own behaviour; an answer from here is the node's.
  std::function<std::optional<Answer>(uint64_t node, const v1::NodeRequest&)> before;
  // May change or swallow what the node answers.
  std::function<Answer(uint64_t node, const v1::NodeRequest&, Answer)> after;

  std::optional<std::string> Read(const std::string& key) const;
  void Write(const std::string& key, std::optional<std::string> value);

  std::vector<ShardSpec> shards;
  uint32_t page_rows = 3;  // of a scan without limit
  uint64_t slots = 0;
  std::vector<v1::CommitRequest> commits;     // that were evaluated, copies too
  std::map<std::string, Timestamp> outcomes;  // of txn ids: zero is aborted
  std::map<std::string, std::string> locks;   // key to txn id
  std::vector<std::string> lock_log;

 private:
  using Versions = std::map<Timestamp, std::optional<std::string>>;
  Answer Handle(uint64_t node, const v1::NodeRequest& request);
  v1::NodeResponse HandleRead(const v1::ReadRequest& request);
  v1::NodeResponse HandleCommit(const v1::CommitRequest& request);
  v1::NodeResponse HandlePush(const v1::PushRequest& request);
  v1::NodeResponse HandleLock(const v1::LockRequest& request);
  const ShardSpec* Find(const v1::ShardRoute& route) const;
  std::optional<v1::NodeResponse> CheckRoute(uint64_t node, const v1::ShardRoute& route) const;
  Timestamp NextSlot() { return Timestamp::FromParts(1000 + ++slots, 0); }
  std::optional<std::string> ReadAt(const std::string& key, Timestamp at) const;
  void FillScan(const v1::ScanSpan& scan, Timestamp at, v1::ScanResult* result) const;

  size_t nodes_;
  std::map<std::string, Versions> versions_;
};

}  // namespace quorate::client
