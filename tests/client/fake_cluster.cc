#include "tests/client/fake_cluster.h"

#include <fmt/format.h>

#include <algorithm>

namespace quorate::client {
namespace {

std::string BodyName(const v1::NodeRequest& request) {
  const auto* descriptor = v1::NodeRequest::descriptor();
  const auto* field = descriptor->FindFieldByNumber(request.body_case());
  return field == nullptr ? "nothing" : field->name();
}

std::string AddressOfNode(uint64_t node) { return fmt::format("n{}:1", node); }

}  // namespace

Task<Result<v1::NodeResponse>> FakeChannel::Call(std::string address, v1::NodeRequest request,
                                                 Duration timeout) {
  log.push_back(address + " " + BodyName(request));
  const Instant end = env_.Now() + timeout;
  co_await Sleep(env_.executor, std::min(delay_, timeout));
  const auto node = nodes_.find(address);
  if (node == nodes_.end()) co_return Unavailable("connection refused");
  const Handler handler = node->second;
  Answer answer = handler(request);
  if (!answer.has_value()) {
    co_await Sleep(env_.executor, end - env_.Now());
    co_return DeadlineExceeded("silence");
  }
  co_return std::move(*answer);
}

v1::NodeResponse ErrorResponse(v1::ErrorCode code, const std::string& message) {
  v1::NodeResponse response;
  response.mutable_error()->set_code(code);
  response.mutable_error()->set_message(message);
  return response;
}

v1::NodeResponse NotLeader(uint64_t node_id, const std::string& address) {
  v1::NodeResponse response = ErrorResponse(v1::NOT_LEADER);
  if (node_id != 0) {
    response.mutable_error()->mutable_leader()->set_node_id(node_id);
    response.mutable_error()->mutable_leader()->set_address(address);
  }
  return response;
}

FakeCluster::FakeCluster(Env& env, FakeChannel& channel, size_t nodes, std::vector<ShardSpec> s)
    : shards(std::move(s)), nodes_(nodes) {
  for (uint64_t node = 1; node <= nodes; ++node) {
    channel.Listen(AddressOfNode(node), [this, node](const v1::NodeRequest& request) -> Answer {
      if (before) {
        if (auto answer = before(node, request)) return std::move(*answer);
      }
      Answer answer = Handle(node, request);
      return after ? after(node, request, std::move(answer)) : answer;
    });
  }
}

v1::ShardDescriptor FakeCluster::Descriptor(const ShardSpec& shard) const {
  v1::ShardDescriptor descriptor;
  descriptor.set_shard_id(shard.id);
  descriptor.set_from(shard.from);
  descriptor.set_to(shard.to);
  descriptor.set_version(shard.version);
  descriptor.set_membership_version(1);
  for (uint64_t node = 1; node <= nodes_; ++node) {
    v1::Replica* replica = descriptor.add_replicas();
    replica->set_node_id(node);
    replica->set_address(AddressOfNode(node));
  }
  return descriptor;
}

v1::RoutesResponse FakeCluster::Map(const Span& span) const {
  v1::RoutesResponse map;
  map.set_cluster_id("fake");
  for (const ShardSpec& shard : shards) {
    if (!span.Overlaps({shard.from, shard.to})) continue;
    v1::ShardRouteInfo* info = map.add_routes();
    *info->mutable_shard() = Descriptor(shard);
    info->set_leader_node_id(shard.leader);
  }
  for (uint64_t node = 1; node <= nodes_; ++node) {
    v1::NodeInfo* info = map.add_nodes();
    info->set_node_id(node);
    info->set_address(AddressOfNode(node));
    map.add_placement_nodes(node);
  }
  map.set_placement_leader(1);
  return map;
}

const ShardSpec* FakeCluster::Find(const v1::ShardRoute& route) const {
  for (const ShardSpec& shard : shards) {
    if (shard.id == route.shard_id()) return &shard;
  }
  return nullptr;
}

std::optional<v1::NodeResponse> FakeCluster::CheckRoute(uint64_t node,
                                                        const v1::ShardRoute& route) const {
  const ShardSpec* shard = Find(route);
  if (shard != nullptr && shard->leader != node) {
    return NotLeader(shard->leader, shard->leader == 0 ? "" : AddressOfNode(shard->leader));
  }
  if (shard == nullptr || shard->version != route.version()) {
    v1::NodeResponse stale = ErrorResponse(v1::STALE_EPOCH);
    for (const ShardSpec& s : shards) *stale.mutable_error()->add_descriptors() = Descriptor(s);
    return stale;
  }
  return std::nullopt;
}

Answer FakeCluster::Handle(uint64_t node, const v1::NodeRequest& request) {
  v1::NodeResponse response;
  std::optional<v1::NodeResponse> refused;
  switch (request.body_case()) {
    case v1::NodeRequest::kRoutes:
      *response.mutable_routes() = Map({request.routes().from(), request.routes().to()});
      return response;
    case v1::NodeRequest::kSlot:
      if (node != 1) return NotLeader(1, AddressOfNode(1));
      response.mutable_slot()->set_slot(NextSlot().bits());
      return response;
    case v1::NodeRequest::kRead:
      refused = CheckRoute(node, request.read().route());
      return refused.has_value() ? std::move(*refused) : HandleRead(request.read());
    case v1::NodeRequest::kCommit:
      refused = CheckRoute(node, request.commit().route());
      return refused.has_value() ? std::move(*refused) : HandleCommit(request.commit());
    case v1::NodeRequest::kPush:
      refused = CheckRoute(node, request.push().route());
      return refused.has_value() ? std::move(*refused) : HandlePush(request.push());
    case v1::NodeRequest::kLock:
      refused = CheckRoute(node, request.lock().route());
      return refused.has_value() ? std::move(*refused) : HandleLock(request.lock());
    default:
      return ErrorResponse(v1::INTERNAL, "not faked");
  }
}

std::optional<std::string> FakeCluster::ReadAt(const std::string& key, Timestamp at) const {
  const auto versions = versions_.find(key);
  if (versions == versions_.end()) return std::nullopt;
  auto it = versions->second.upper_bound(at);
  if (it == versions->second.begin()) return std::nullopt;
  return std::prev(it)->second;
}

std::optional<std::string> FakeCluster::Read(const std::string& key) const {
  return ReadAt(key, Timestamp(~0ull));
}

void FakeCluster::Write(const std::string& key, std::optional<std::string> value) {
  versions_[key][*NextSlot().NextSub()] = std::move(value);
}

void FakeCluster::FillScan(const v1::ScanSpan& scan, Timestamp at, v1::ScanResult* result) const {
  const Span span{scan.span().from(), scan.span().to()};
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& [key, versions] : versions_) {
    if (!span.Contains(key)) continue;
    if (auto value = ReadAt(key, at)) rows.emplace_back(key, *value);
  }
  if (scan.reverse()) std::reverse(rows.begin(), rows.end());
  const uint32_t limit = scan.limit() == 0 ? page_rows : std::min(scan.limit(), page_rows);
  size_t bytes = 0;
  for (const auto& [key, value] : rows) {
    const bool cut = scan.limit_bytes() != 0 && bytes >= scan.limit_bytes();
    if (result->rows_size() == static_cast<int>(limit) || cut) {
      const std::string& last = result->rows(result->rows_size() - 1).key();
      result->set_resume_key(scan.reverse() ? last : last + '\0');
      return;
    }
    v1::KeyValue* row = result->add_rows();
    row->set_key(key);
    if (!scan.keys_only()) row->set_value(value);
    row->set_found(true);
    bytes += key.size() + row->value().size();
  }
}

v1::NodeResponse FakeCluster::HandleRead(const v1::ReadRequest& request) {
  v1::NodeResponse response;
  v1::ReadResponse* read = response.mutable_read();
  const Timestamp at = request.read_ts() == 0 ? NextSlot() : Timestamp(request.read_ts());
  read->set_read_ts(at.bits());
  const ShardSpec* shard = Find(request.route());
  const Span owned{shard->from, shard->to};
  size_t bytes = 0;
  for (const auto& key : request.keys()) {
    if (!owned.Contains(key)) return ErrorResponse(v1::INTERNAL, "a key of another shard");
    if (request.limit_bytes() != 0 && bytes >= request.limit_bytes()) break;
    v1::KeyValue* got = read->add_gets();
    got->set_key(key);
    if (auto value = ReadAt(key, at)) {
      bytes += value->size();
      got->set_found(true);
      got->set_value(*value);
    }
  }
  for (const auto& scan : request.scans()) {
    if (!owned.Contains(Span{scan.span().from(), scan.span().to()})) {
      return ErrorResponse(v1::INTERNAL, "a span of another shard");
    }
    FillScan(scan, at, read->add_scans());
  }
  return response;
}

v1::NodeResponse FakeCluster::HandleCommit(const v1::CommitRequest& request) {
  commits.push_back(request);
  v1::NodeResponse response;
  const auto known = outcomes.find(request.txn_id());
  if (known != outcomes.end()) {
    if (!known->second) return ErrorResponse(v1::ABORTED, "aborted");
    response.mutable_commit()->set_commit_ts(known->second.bits());
    return response;
  }
  const Timestamp start(request.start_ts());
  for (const auto& read : request.reads()) {
    const Span span{read.from(), read.to()};
    for (const auto& [key, versions] : versions_) {
      if (span.Contains(key) && versions.upper_bound(start) != versions.end()) {
        return ErrorResponse(v1::READ_CONFLICT, "overwritten: " + key);
      }
    }
  }
  const Timestamp commit_ts = *NextSlot().NextSub();
  std::set<uint64_t> participants;
  for (const auto& write : request.writes()) {
    auto& versions = versions_[write.key()];
    versions[commit_ts] = write.deletion() ? std::nullopt : std::optional(write.value());
    for (const ShardSpec& shard : shards) {
      if (Span{shard.from, shard.to}.Contains(write.key())) participants.insert(shard.id);
    }
  }
  outcomes[request.txn_id()] = commit_ts;
  response.mutable_commit()->set_commit_ts(commit_ts.bits());
  response.mutable_commit()->set_shards(static_cast<uint32_t>(participants.size()));
  return response;
}

v1::NodeResponse FakeCluster::HandlePush(const v1::PushRequest& request) {
  v1::NodeResponse response;
  const Timestamp outcome = outcomes.try_emplace(request.txn().txn_id()).first->second;
  response.mutable_push()->set_state(outcome ? v1::COMMITTED : v1::ABORTED_STATE);
  response.mutable_push()->set_commit_ts(outcome.bits());
  return response;
}

v1::NodeResponse FakeCluster::HandleLock(const v1::LockRequest& request) {
  v1::NodeResponse response;
  response.mutable_lock();
  if (request.release()) {
    std::erase_if(locks, [&](const auto& lock) { return lock.second == request.txn_id(); });
    lock_log.push_back("release");
    return response;
  }
  for (const auto& key : request.keys()) {
    locks[key] = request.txn_id();
    lock_log.push_back("lock " + key);
  }
  return response;
}

}  // namespace quorate::client
