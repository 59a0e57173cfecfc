#include "tests/coordinator/nodes.h"

#include <gtest/gtest.h>

#include "quorate/v1/placement.pb.h"
#include "txn/errors.h"

namespace quorate::coordinator::testing {
namespace {

constexpr int kNodes = 3;
constexpr int kShards = 2;

ShardId IdOf(int shard) { return ShardId(11 + static_cast<uint64_t>(shard)); }
std::string AddressOf(int node) { return fmt::format("n{}:1", node); }

std::string KindOf(const v1::NodeRequest& request) {
  switch (request.body_case()) {
    case v1::NodeRequest::kPrepare:
      return "prepare";
    case v1::NodeRequest::kQueryPrepare:
      return "query";
    case v1::NodeRequest::kResolve:
      return "resolve";
    case v1::NodeRequest::kEarlyOutcome:
      return "early";
    case v1::NodeRequest::kPush:
      return "push";
    case v1::NodeRequest::kRoutes:
      return "routes";
    default:
      return "other";
  }
}

}  // namespace

// ---- one node -----------------------------------------------------------------------------------

Nodes::Node::Node(Nodes& n, int i)
    : nodes(n), index(i), routes({AddressOf(1)}), caller(n.env.env, *this, routes) {
  coordinator = std::make_unique<Coordinator>(Coordinator::Deps{n.env.env, caller, n, *this});
}

shard::Shard* Nodes::Node::FindByKey(std::string_view key) {
  for (const auto& shard : shards) {
    if (shard->span().Contains(key)) return shard.get();
  }
  return nullptr;
}

shard::Shard* Nodes::Node::Find(ShardId id) {
  for (const auto& shard : shards) {
    if (shard->id() == id) return shard.get();
  }
  return nullptr;
}

Task<Result<v1::NodeResponse>> Nodes::Node::Call(std::string address, v1::NodeRequest request,
                                                 Duration timeout) {
  const std::string kind = KindOf(request);
  if (nodes.lose_[kind] > 0) {
    --nodes.lose_[kind];
    co_await Sleep(nodes.env.executor, timeout);
    co_return DeadlineExceeded("lost");
  }
  ++nodes.requests_[kind];
  const int to = address[1] - '0';
  co_return co_await nodes.nodes_[static_cast<size_t>(to - 1)]->Handle(
      std::move(request), nodes.env.executor.Now() + timeout);
}

Task<v1::NodeResponse> Nodes::Node::Handle(v1::NodeRequest request, Instant deadline) {
  v1::NodeResponse response;
  const auto at = [this](uint64_t id) { return Find(ShardId(id)); };
  switch (request.body_case()) {
    case v1::NodeRequest::kPrepare:
      *response.mutable_prepare() = co_await at(request.prepare().route().shard_id())
                                        ->Prepare(std::move(*request.mutable_prepare()), deadline);
      break;
    case v1::NodeRequest::kQueryPrepare:
      *response.mutable_query_prepare() =
          co_await at(request.query_prepare().route().shard_id())
              ->QueryPrepare(std::move(*request.mutable_query_prepare()), deadline);
      break;
    case v1::NodeRequest::kResolve: {
      std::vector<v1::Resolution> batch(request.resolve().resolutions().begin(),
                                        request.resolve().resolutions().end());
      const Status status =
          co_await at(request.resolve().route().shard_id())->Resolve(std::move(batch));
      StatusToError(status, response.mutable_resolve()->mutable_error());
      break;
    }
    case v1::NodeRequest::kEarlyOutcome: {
      const std::vector<v1::Resolution> batch(request.early_outcome().resolutions().begin(),
                                              request.early_outcome().resolutions().end());
      at(request.early_outcome().route().shard_id())->EarlyOutcome(batch);
      response.mutable_early_outcome();
      break;
    }
    case v1::NodeRequest::kPush:
      *response.mutable_push() =
          co_await coordinator->HandlePush(std::move(*request.mutable_push()), deadline);
      break;
    case v1::NodeRequest::kRoutes:
      for (int shard = 0; shard < kShards; ++shard) {
        auto* route = response.mutable_routes()->add_routes();
        *route->mutable_shard() = nodes.Descriptor(shard);
        route->set_leader_node_id(nodes.groups_[static_cast<size_t>(shard)]->leader() + 1);
      }
      break;
    default:
      ADD_FAILURE() << "a request of this kind is not expected: " << request.DebugString();
  }
  co_return response;
}

// ---- all of them --------------------------------------------------------------------------------

Nodes::Nodes() : scope_(env.executor) {
  for (int shard = 0; shard < kShards; ++shard) {
    groups_.push_back(std::make_unique<::quorate::testing::FakeGroup>(
        env.env, GroupId(IdOf(shard).value()), kNodes));
  }
  for (int node = 1; node <= kNodes; ++node) {
    nodes_.push_back(std::make_unique<Node>(*this, node));
    Node& n = *nodes_.back();
    for (int shard = 0; shard < kShards; ++shard) {
      auto& group = *groups_[static_cast<size_t>(shard)];
      const auto replica = static_cast<size_t>(node - 1);
      n.shards.push_back(std::make_unique<shard::Shard>(
          shard::Shard::Deps{env.env, group.store(replica), *this, n.coordinator->pusher(),
                             n.coordinator->observer(),
                             [this, node](raft::Growth) { return room_[node]; }},
          shard::Settings(), Descriptor(shard)));
      n.shards.back()->Attach(group.handle(replica));
      group.Start(replica, n.shards.back().get());
    }
  }
  Lead(kA, 1, 0);
  Lead(kB, 1, 0);
}

Nodes::~Nodes() {
  scope_.Clear();
  for (auto& node : nodes_) node->coordinator.reset();
  for (auto& node : nodes_) node->shards.clear();
  env.executor.Clear();
}

v1::ShardDescriptor Nodes::Descriptor(int shard) const {
  v1::ShardDescriptor descriptor;
  descriptor.set_shard_id(IdOf(shard).value());
  descriptor.set_from(shard == 0 ? "" : "m");
  descriptor.set_to(shard == 0 ? "m" : "");
  descriptor.set_version(1);
  for (int node = 1; node <= kNodes; ++node) {
    v1::Replica* replica = descriptor.add_replicas();
    replica->set_node_id(static_cast<uint64_t>(node));
    replica->set_address(AddressOf(node));
  }
  return descriptor;
}

void Nodes::Lead(ShardName shard, int node, size_t keep) {
  groups_[shard]->Elect(static_cast<size_t>(node - 1), keep);
  Quiet();
  // LeaderStart, behind which the new leader serves.
  while (!groups_[shard]->pending().empty()) groups_[shard]->CommitOne();
  Quiet();
}

shard::Shard& Nodes::leader(ShardName shard) {
  return *nodes_[groups_[shard]->leader()]->shards[static_cast<size_t>(shard)];
}

Task<Result<Timestamp>> Nodes::Fetch(Duration) {
  ++requests_["slot"];
  co_return NextSlot();
}

v1::CommitRequest Nodes::Request(char id, Timestamp start_ts, const KeyValues& writes,
                                 const std::vector<std::string>& reads) {
  v1::CommitRequest request;
  request.set_txn_id(std::string(TxnId::kBytes, id));
  request.set_start_ts(start_ts.bits());
  request.mutable_priority()->set_start_ts(start_ts.bits());
  request.mutable_priority()->set_txn_id(request.txn_id());
  request.set_anchor_key(writes.begin()->first);
  for (const auto& [key, value] : writes) {
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(value);
  }
  for (const std::string& key : reads) {
    const Span span = Span::OfKey(key);
    v1::KeySpan* read = request.add_reads();
    read->set_from(span.from);
    read->set_to(span.to);
  }
  return request;
}

Awaited<v1::CommitResponse> Nodes::Commit(int node, v1::CommitRequest request, Duration timeout) {
  auto answer = std::make_shared<std::optional<v1::CommitResponse>>();
  scope_.Spawn(RunCommit(node, std::move(request), env.executor.Now() + timeout, answer));
  return answer;
}

Task<void> Nodes::RunCommit(int node, v1::CommitRequest request, Instant deadline,
                            Awaited<v1::CommitResponse> answer) {
  *answer = co_await coordinator(node).Commit(std::move(request), deadline);
}

Awaited<v1::PushResponse> Nodes::Push(int node, const v1::CommitRequest& of, Duration timeout) {
  v1::PushRequest request;
  request.mutable_txn()->set_txn_id(of.txn_id());
  request.mutable_txn()->set_start_ts(of.start_ts());
  request.mutable_txn()->set_anchor_key(of.anchor_key());
  auto answer = std::make_shared<std::optional<v1::PushResponse>>();
  scope_.Spawn(RunPush(node, std::move(request), env.executor.Now() + timeout, answer));
  return answer;
}

Awaited<v1::PushResponse> Nodes::AskName(int node, const GivenName& name, const std::string& key,
                                         Duration timeout) {
  v1::PushRequest request;
  request.set_name(std::string(name.bytes()));
  request.set_key(key);
  auto answer = std::make_shared<std::optional<v1::PushResponse>>();
  scope_.Spawn(RunPush(node, std::move(request), env.executor.Now() + timeout, answer));
  return answer;
}

Task<void> Nodes::RunPush(int node, v1::PushRequest request, Instant deadline,
                          Awaited<v1::PushResponse> answer) {
  *answer = co_await coordinator(node).HandlePush(std::move(request), deadline);
}

Awaited<Result<shard::PushOutcome>> Nodes::Ask(int node, const v1::CommitRequest& of,
                                               Duration timeout) {
  auto answer = std::make_shared<std::optional<Result<shard::PushOutcome>>>();
  scope_.Spawn(RunAsk(node,
                      {*TxnId::FromBytes(of.txn_id()), Timestamp(of.start_ts()), of.anchor_key()},
                      env.executor.Now() + timeout, answer));
  return answer;
}

Task<void> Nodes::RunAsk(int node, shard::TxnName txn, Instant deadline,
                         Awaited<Result<shard::PushOutcome>> answer) {
  answer->emplace(co_await coordinator(node).pusher().Push(std::move(txn), deadline));
}

void Nodes::Horizon(ShardName shard, Timestamp horizon, Timestamp names_horizon) {
  v1::ShardCommand command;
  command.set_term(group(shard).term().value());
  command.set_version(1);
  command.mutable_advance_horizon()->set_horizon(horizon.bits());
  command.mutable_advance_horizon()->set_names_horizon(names_horizon.bits());
  group(shard).Append(command.SerializeAsString());
  Quiet();
  while (!group(shard).pending().empty()) group(shard).CommitOne();
  Quiet();
}

std::string Nodes::Read(const std::string& key) {
  v1::ReadRequest request;
  request.set_read_ts(NextSlot().bits());
  request.add_keys(key);
  auto answer = std::make_shared<std::optional<v1::ReadResponse>>();
  scope_.Spawn(RunRead(&leader(key < "m" ? kA : kB), std::move(request), answer));
  EXPECT_GE(RoundsUntil(answer), 0) << "a read waits for ever";
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  return (*answer)->gets_size() == 1 ? (*answer)->gets(0).value() : "";
}

Task<void> Nodes::RunRead(shard::Shard* shard, v1::ReadRequest request,
                          Awaited<v1::ReadResponse> answer) {
  *answer = co_await shard->Read(std::move(request), env.executor.Now() + 10s);
}

void Nodes::Round() {
  std::vector<size_t> counts;
  for (const auto& group : groups_) counts.push_back(group->pending().size());
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (size_t n = 0; n < counts[i]; ++n) groups_[i]->CommitOne();
  }
  Quiet();
}

void Nodes::Settle() {
  for (int i = 0; i < 40; ++i) {
    Round();
    env.executor.RunFor(50ms);
  }
}

}  // namespace quorate::coordinator::testing
