// Nodes: three nodes with real shards, coordinators and callers, over FakeGroups whose entries are
// committed round by round, an oracle in memory, and messages that take no time. Shard A owns the
// keys below "m", shard B the rest; node 1 leads both at first.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/route/caller.h"
#include "client/route/channel.h"
#include "client/route/route_cache.h"
#include "coordinator/coordinator.h"
#include "quorate/v1/node.pb.h"
#include "shard/shard.h"
#include "tests/support/fake_group.h"
#include "tests/support/test_env.h"

namespace quorate::coordinator::testing {

using KeyValues = std::map<std::string, std::string>;

// An answer that may still come.
template <class T>
using Awaited = std::shared_ptr<std::optional<T>>;

class Nodes final : public SlotSource {
 public:
  enum ShardName { kA = 0, kB = 1 };

  Nodes();
  ~Nodes() override;

  // A Commit of transaction `id` (one character, repeated). Without reads, start_ts is any slot.
  v1::CommitRequest Request(char id, Timestamp start_ts, const KeyValues& writes,
                            const std::vector<std::string>& reads = {});
  Awaited<v1::CommitResponse> Commit(int node, v1::CommitRequest request, Duration timeout = 10s);
  Awaited<v1::PushResponse> Push(int node, const v1::CommitRequest& of, Duration timeout = 10s);
  // What stands for a name, asked at the leader of `key`, which must be `node`.
  Awaited<v1::PushResponse> AskName(int node, const GivenName& name, const std::string& key,
                                    Duration timeout = 10s);
  // Through shard::Pusher, as a waiting reader on `node` asks.
  Awaited<Result<shard::PushOutcome>> Ask(int node, const v1::CommitRequest& of,
                                          Duration timeout = 10s);
  // Logs and applies AdvanceHorizon.
  void Horizon(ShardName shard, Timestamp horizon, Timestamp names_horizon = Timestamp());
  // What a snapshot read at a fresh slot finds; "" for an absent key.
  std::string Read(const std::string& key);

  // Lets messages travel, without committing anything.
  void Quiet() { env.executor.RunFor(Duration(0)); }
  // Commits what is proposed now, everywhere: one round of consensus.
  void Round();
  // Rounds until the answer is there; -1 if 50 were not enough.
  template <class T>
  int RoundsUntil(const Awaited<T>& answer) {
    Quiet();
    for (int rounds = 0; rounds <= 50; ++rounds) {
      if (answer->has_value()) return rounds;
      Round();
    }
    return -1;
  }
  // Everything that is on its way ends.
  void Settle();

  ::quorate::testing::FakeGroup& group(ShardName shard) { return *groups_[shard]; }
  // `keep`: entries of the old leader that the new one has.
  void Lead(ShardName shard, int node, size_t keep);
  shard::Shard& leader(ShardName shard);
  Coordinator& coordinator(int node) { return *nodes_[node - 1]->coordinator; }
  // Requests that reached a node, by the name of their kind.
  int requests(const std::string& kind) { return requests_[kind]; }
  // What CheckRoom says on a node; OK: there is room.
  void SetRoom(int node, Status status) { room_[node] = std::move(status); }
  // The next `n` requests of this kind get no answer and reach nobody.
  void Lose(const std::string& kind, int n) { lose_[kind] = n; }

  Task<Result<Timestamp>> Fetch(Duration timeout) override;
  Timestamp newest() const override { return newest_; }
  std::optional<uint64_t> UnixMillisAtMost() const override { return newest().physical_ms(); }
  Timestamp NextSlot() { return newest_ = Timestamp::FromParts(newest_.physical_ms() + 1, 0); }

  TestEnv env;

 private:
  struct Node final : ShardDirectory, client::Channel {
    Node(Nodes& n, int i);
    shard::Shard* FindByKey(std::string_view key) override;
    shard::Shard* Find(ShardId id) override;
    Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                        Duration timeout) override;
    void SetClusterId(const std::string&) override {}
    Task<v1::NodeResponse> Handle(v1::NodeRequest request, Instant deadline);

    Nodes& nodes;
    int index;
    client::RouteCache routes;
    client::Caller caller;
    std::unique_ptr<Coordinator> coordinator;
    std::vector<std::unique_ptr<shard::Shard>> shards;
  };

  v1::ShardDescriptor Descriptor(int shard) const;
  Task<void> RunCommit(int node, v1::CommitRequest request, Instant deadline,
                       Awaited<v1::CommitResponse> answer);
  Task<void> RunPush(int node, v1::PushRequest request, Instant deadline,
                     Awaited<v1::PushResponse> answer);
  Task<void> RunAsk(int node, shard::TxnName txn, Instant deadline,
                    Awaited<Result<shard::PushOutcome>> answer);
  Task<void> RunRead(shard::Shard* shard, v1::ReadRequest request,
                     Awaited<v1::ReadResponse> answer);

  Timestamp newest_ = Timestamp::FromParts(1000, 0);
  std::map<std::string, int> requests_;
  std::map<std::string, int> lose_;
  std::map<int, Status> room_;
  std::vector<std::unique_ptr<::quorate::testing::FakeGroup>> groups_;
  std::vector<std::unique_ptr<Node>> nodes_;
  TaskScope scope_;
};

}  // namespace quorate::coordinator::testing
