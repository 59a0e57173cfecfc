#include "server/node/handlers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/mutant.h"
#include "base/probe.h"
#include "client/route/caller.h"
#include "placement/service.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

// Not longer, since this replica may be the one that is cut off, and half of the time that the
// caller has: it wants an answer.
constexpr Duration kElectionWaitMax = 100ms;
constexpr Duration kSlotPause = 5ms;

// The route of a request to one shard; nullptr for all others.
const v1::ShardRoute* RouteOf(const v1::NodeRequest& request) {
  switch (request.body_case()) {
    case v1::NodeRequest::kRead:
      return &request.read().route();
    case v1::NodeRequest::kLock:
      return &request.lock().route();
    case v1::NodeRequest::kPrepare:
      return &request.prepare().route();
    case v1::NodeRequest::kResolve:
      return &request.resolve().route();
    case v1::NodeRequest::kEarlyOutcome:
      return &request.early_outcome().route();
    case v1::NodeRequest::kQueryPrepare:
      return &request.query_prepare().route();
    case v1::NodeRequest::kCommit:
    case v1::NodeRequest::kPush:
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kRoutes:
    case v1::NodeRequest::kRegisterNode:
    case v1::NodeRequest::kHeartbeat:
    case v1::NodeRequest::kHello:
    case v1::NodeRequest::kInit:
    case v1::NodeRequest::kBootstrap:
    case v1::NodeRequest::kStatus:
    case v1::NodeRequest::BODY_NOT_SET:
      return nullptr;
  }
  return nullptr;
}

// An empty answer of the request's kind, so that its error has a place. Precondition: it has a
// route.
v1::Error* ErrorIn(const v1::NodeRequest& request, v1::NodeResponse* response) {
  if (request.has_read()) return response->mutable_read()->mutable_error();
  if (request.has_lock()) return response->mutable_lock()->mutable_error();
  if (request.has_prepare()) return response->mutable_prepare()->mutable_error();
  if (request.has_resolve()) return response->mutable_resolve()->mutable_error();
  if (request.has_early_outcome()) return response->mutable_early_outcome()->mutable_error();
  if (request.has_query_prepare()) return response->mutable_query_prepare()->mutable_error();
  return response->mutable_error();
}

}  // namespace

raft::GroupHandle* Handlers::GroupOf(const v1::NodeRequest& request) const {
  Member& member = *deps_.member;
  const auto owner = [&member](std::string_view key) {
    const shard::Shard* shard = member.FindByKey(key);
    return shard == nullptr ? ShardId() : shard->id();
  };
  ShardId shard;
  switch (request.body_case()) {
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kHeartbeat:
      return member.FindGroup(placement::kPlacementGroup);
    case v1::NodeRequest::kCommit:
      shard = owner(request.commit().anchor_key());
      break;
    case v1::NodeRequest::kPush:
      shard = owner(request.push().name().empty() ? request.push().txn().anchor_key()
                                                  : request.push().key());
      break;
    default:
      if (const v1::ShardRoute* route = RouteOf(request)) shard = ShardId(route->shard_id());
  }
  return shard ? member.FindGroup(GroupId(shard.value())) : nullptr;
}

Task<v1::NodeResponse> Handlers::Dispatch(v1::NodeRequest request, Instant deadline) {
  v1::NodeResponse response;
  switch (request.body_case()) {
    case v1::NodeRequest::kHello:
      *response.mutable_hello() = deps_.membership.Hello();
      co_return response;
    case v1::NodeRequest::kInit:
      *response.mutable_init() =
          co_await deps_.membership.Init(std::move(*request.mutable_init()), deadline);
      co_return response;
    case v1::NodeRequest::kBootstrap:
      *response.mutable_bootstrap() = deps_.membership.Accept(request.bootstrap());
      co_return response;
    case v1::NodeRequest::kStatus:
      *response.mutable_status() = deps_.status();
      co_return response;
    case v1::NodeRequest::kRegisterNode:
      *response.mutable_register_node() =
          co_await Register(std::move(*request.mutable_register_node()), deadline);
      co_return response;
    default:
      break;
  }
  if (deps_.member == nullptr) {
    StatusToError(Status(Code::kUninitialized, "this node belongs to no cluster: run quorate init"),
                  response.mutable_error());
    co_return response;
  }
  // Whoever looks for a leader during an election learns of it here, as soon as there is one,
  // instead of asking again and again.
  if (raft::GroupHandle* group = GroupOf(request); group != nullptr && group->leader_in_doubt()) {
    PROBE("server: a request waited for the end of an election");
    const Duration left = deadline - deps_.env.Now();
    co_await group->WaitForLeader(deps_.env.Now() + std::min(kElectionWaitMax, left / 2));
  }
  coordinator::Coordinator& coordinator = deps_.member->coordinator();
  switch (request.body_case()) {
    case v1::NodeRequest::kCommit: {
      const Timestamp start_ts(request.commit().start_ts());
      *response.mutable_commit() =
          co_await coordinator.Commit(std::move(*request.mutable_commit()), deadline);
      if (const auto ts = Timestamp(response.commit().commit_ts())) {
        if (const Status issued = co_await AwaitIssued(ts, start_ts, deadline); !issued.ok()) {
          response.mutable_commit()->Clear();
          StatusToError(issued, response.mutable_commit()->mutable_error());
        }
      }
      break;
    }
    case v1::NodeRequest::kPush: {
      const Timestamp start_ts(request.push().txn().start_ts());
      *response.mutable_push() =
          co_await coordinator.HandlePush(std::move(*request.mutable_push()), deadline);
      if (const auto ts = Timestamp(response.push().commit_ts())) {
        if (const Status issued = co_await AwaitIssued(ts, start_ts, deadline); !issued.ok()) {
          response.mutable_push()->Clear();
          StatusToError(issued, response.mutable_push()->mutable_error());
        }
      }
      break;
    }
    case v1::NodeRequest::kRoutes:
      *response.mutable_routes() =
          deps_.view.Routes({request.routes().from(), request.routes().to()});
      break;
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kHeartbeat:
      co_return co_await OnPlacement(std::move(request), deadline);
    default:
      co_return co_await OnShard(std::move(request), deadline);
  }
  v1::Error* error = client::MutableErrorOf(&response);
  if (error->code() == v1::NOT_LEADER && error->leader().address().empty()) {
    Hint(NodeId(error->leader().node_id()), error);
  }
  co_return response;
}

// T1: what is acknowledged is below every slot issued from then on. A timestamp that a request
// named was taken for a slot if it was little above the newest one known (txn/errors.h), and may
// have raised the commit timestamps of others above all there are: they are waited for before
// anybody is told. Who named a slot of the future as its own start_ts has itself to blame.
Task<Status> Handlers::AwaitIssued(Timestamp commit_ts, Timestamp start_ts, Instant deadline) {
  SlotSource& slots = deps_.member->slots();
  const Timestamp slot(commit_ts.bits() & ~Timestamp::kSubMax);
  if (slot <= start_ts || MUTANT("txn-commit-above-slots-told")) co_return Status::Ok();
  while (slots.newest() < slot) {
    const Duration left = deadline - deps_.env.Now();
    if (left <= Duration(0)) co_return Unavailable("no slot was issued that covers the commit");
    const Result<Timestamp> fetched = co_await slots.Fetch(left);
    if (fetched.ok() && *fetched >= slot) break;
    PROBE("server: a commit above every slot issued waited for its slot");
    co_await Sleep(deps_.env.executor, kSlotPause);
  }
  co_return Status::Ok();
}

Task<v1::NodeResponse> Handlers::OnShard(v1::NodeRequest request, Instant deadline) {
  v1::NodeResponse response;
  const v1::ShardRoute* route = RouteOf(request);
  if (route == nullptr) {
    StatusToError(InvalidArgument("the request's body is not known to this version"),
                  response.mutable_error());
    co_return response;
  }
  const ShardId id(route->shard_id());
  shard::Shard* shard = deps_.member->Find(id);
  if (shard == nullptr) {
    NoReplica(id, ErrorIn(request, &response));
    co_return response;
  }
  switch (request.body_case()) {
    case v1::NodeRequest::kRead:
      *response.mutable_read() = co_await shard->Read(std::move(*request.mutable_read()), deadline);
      break;
    case v1::NodeRequest::kLock:
      *response.mutable_lock() = co_await shard->Lock(std::move(*request.mutable_lock()), deadline);
      break;
    case v1::NodeRequest::kPrepare:
      *response.mutable_prepare() =
          co_await shard->Prepare(std::move(*request.mutable_prepare()), deadline);
      break;
    case v1::NodeRequest::kQueryPrepare:
      *response.mutable_query_prepare() =
          co_await shard->QueryPrepare(std::move(*request.mutable_query_prepare()), deadline);
      break;
    case v1::NodeRequest::kResolve: {
      auto* list = request.mutable_resolve()->mutable_resolutions();
      const Status status = co_await shard->Resolve({list->begin(), list->end()});
      StatusToError(status, response.mutable_resolve()->mutable_error());
      break;
    }
    case v1::NodeRequest::kEarlyOutcome: {
      const auto& list = request.early_outcome().resolutions();
      shard->EarlyOutcome({list.begin(), list.end()});
      response.mutable_early_outcome();
      break;
    }
    default:
      break;
  }
  v1::Error* error = client::MutableErrorOf(&response);
  if (error->code() == v1::NOT_LEADER && error->leader().address().empty()) {
    Hint(deps_.view.LeaderOf(id), error);
  }
  co_return response;
}

Task<v1::NodeResponse> Handlers::OnPlacement(v1::NodeRequest request, Instant deadline) {
  v1::NodeResponse response;
  placement::Placement* placement = deps_.member->placement();
  if (request.has_slot()) {
    v1::SlotResponse* slot = response.mutable_slot();
    if (placement == nullptr) {
      NotPlacement(slot->mutable_error());
    } else {
      *slot = co_await placement->Slot(deadline);
    }
  } else {
    v1::HeartbeatResponse* heartbeat = response.mutable_heartbeat();
    if (placement == nullptr) {
      NotPlacement(heartbeat->mutable_error());
    } else {
      *heartbeat = placement->Heartbeat(request.heartbeat());
    }
  }
  co_return response;
}

// A new node asks anybody, without a cluster id; it is passed on with ours to the placement leader,
// who is not passed on again.
Task<v1::RegisterNodeResponse> Handlers::Register(v1::RegisterNodeRequest request,
                                                  Instant deadline) {
  v1::RegisterNodeResponse response;
  if (deps_.member == nullptr) {
    deps_.membership.Remember(request.node());
    StatusToError(Status(Code::kUninitialized, "there is no cluster here yet: run quorate init"),
                  response.mutable_error());
    co_return response;
  }
  placement::Placement* placement = deps_.member->placement();
  if (placement != nullptr && (placement->leading() || !request.cluster_id().empty())) {
    co_return co_await placement->RegisterNode(std::move(request), deadline);
  }
  if (!request.cluster_id().empty()) {
    NotPlacement(response.mutable_error());
    co_return response;
  }
  v1::NodeRequest forward;
  *forward.mutable_register_node() = std::move(request);
  forward.mutable_register_node()->set_cluster_id(deps_.membership.Hello().cluster_id());
  Result<v1::NodeResponse> result =
      co_await deps_.member->caller().CallPlacement(std::move(forward), deadline);
  if (result.ok()) co_return std::move(*result->mutable_register_node());
  StatusToError(result.status(), response.mutable_error());
  co_return response;
}

void Handlers::NoReplica(ShardId shard, v1::Error* error) const {
  StatusToError(
      Status(Code::kNotLeader, fmt::format("shard {} has no replica on this node", shard)), error);
  Hint(deps_.view.LeaderOf(shard), error);
  if (const v1::ShardDescriptor* known = deps_.view.FindShard(shard)) {
    *error->add_descriptors() = *known;
  }
}

void Handlers::NotPlacement(v1::Error* error) const {
  StatusToError(Status(Code::kNotLeader, "this node has no replica of the placement group"), error);
  Hint(deps_.view.PlacementLeader(), error);
}

void Handlers::Hint(NodeId leader, v1::Error* error) const {
  if (leader) deps_.view.FillLeader(leader, error->mutable_leader());
}

}  // namespace quorate::server
