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

// An empty answer of the request's kind, so that its error has a place.
v1::Error* ErrorIn(const v1::NodeRequest& request, v1::NodeResponse* response) {
  switch (request.body_case()) {
    case v1::NodeRequest::kRead:
      return response->mutable_read()->mutable_error();
    case v1::NodeRequest::kLock:
      return response->mutable_lock()->mutable_error();
    case v1::NodeRequest::kPrepare:
      return response->mutable_prepare()->mutable_error();
    case v1::NodeRequest::kResolve:
      return response->mutable_resolve()->mutable_error();
    case v1::NodeRequest::kEarlyOutcome:
      return response->mutable_early_outcome()->mutable_error();
    case v1::NodeRequest::kQueryPrepare:
      return response->mutable_query_prepare()->mutable_error();
    case v1::NodeRequest::kCommit:
    case v1::NodeRequest::kPush:
    case v1::NodeRequest::kMerge:
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kRoutes:
    case v1::NodeRequest::kRegisterNode:
    case v1::NodeRequest::kHeartbeat:
    case v1::NodeRequest::kHello:
    case v1::NodeRequest::kInit:
    case v1::NodeRequest::kBootstrap:
    case v1::NodeRequest::kStatus:
    case v1::NodeRequest::kPlacement:
    case v1::NodeRequest::BODY_NOT_SET:
      break;  // not to one shard
  }
  return response->mutable_error();
}

Status NoMember() {
  return Status(Code::kUninitialized, "this node belongs to no cluster: run quorate init");
}

v1::NodeResponse Failed(const Status& why) {
  v1::NodeResponse response;
  StatusToError(why, response.mutable_error());
  return response;
}

}  // namespace

raft::GroupHandle* Handlers::GroupOf(const RequestKind& kind) const {
  Member& member = *deps_.member;
  const shard::Shard* owner = nullptr;
  switch (kind.leader) {
    case RequestKind::Leader::kNobodys:
      return nullptr;
    case RequestKind::Leader::kPlacements:
      return member.FindGroup(placement::kPlacementGroup);
    case RequestKind::Leader::kOwners:
      owner = member.FindByKey(kind.key);
      return owner == nullptr ? nullptr : member.FindGroup(GroupId(owner->id().value()));
    case RequestKind::Leader::kShards:
      return kind.route->shard_id() == 0 ? nullptr
                                         : member.FindGroup(GroupId(kind.route->shard_id()));
  }
  return nullptr;
}

// Whoever looks for a leader during an election learns of it here, as soon as there is one, instead
// of asking again and again.
Task<void> Handlers::AwaitLeader(raft::GroupHandle* group, Instant deadline) {
  if (group == nullptr || !group->leader_in_doubt()) co_return;
  PROBE("server: a request waited for the end of an election");
  const Duration left = deadline - deps_.env.Now();
  co_await group->WaitForLeader(deps_.env.Now() + std::min(kElectionWaitMax, left / 2));
}

Task<v1::NodeResponse> Handlers::Dispatch(v1::NodeRequest request, Instant deadline) {
  const RequestKind kind = KindOf(request);
  if (kind.members) {
    if (deps_.member == nullptr) co_return Failed(NoMember());
    co_await AwaitLeader(GroupOf(kind), deadline);
  }
  v1::NodeResponse response;
  switch (request.body_case()) {
    case v1::NodeRequest::kHello:
      *response.mutable_hello() = deps_.membership.Hello();
      if (deps_.member != nullptr) {
        deps_.member->incarnations().OnHello(request.hello(), response.mutable_hello());
      }
      break;
    case v1::NodeRequest::kInit:
      *response.mutable_init() =
          co_await deps_.membership.Init(std::move(*request.mutable_init()), deadline);
      break;
    case v1::NodeRequest::kBootstrap:
      *response.mutable_bootstrap() = deps_.membership.Accept(request.bootstrap());
      break;
    case v1::NodeRequest::kStatus:
      *response.mutable_status() = deps_.status();
      break;
    case v1::NodeRequest::kPlacement:
      *response.mutable_placement() =
          co_await AskPlacement(std::move(*request.mutable_placement()), deadline);
      break;
    case v1::NodeRequest::kRegisterNode:
      *response.mutable_register_node() =
          co_await Register(std::move(*request.mutable_register_node()), deadline);
      break;
    case v1::NodeRequest::kRoutes:
      *response.mutable_routes() =
          deps_.view.Routes({request.routes().from(), request.routes().to()});
      break;
    case v1::NodeRequest::kCommit: {
      const Timestamp start_ts(request.commit().start_ts());
      *response.mutable_commit() = co_await deps_.member->coordinator().Commit(
          std::move(*request.mutable_commit()), deadline);
      co_await FinishDecided(response.mutable_commit(), start_ts, deadline);
      break;
    }
    case v1::NodeRequest::kPush: {
      const Timestamp start_ts(request.push().txn().start_ts());
      *response.mutable_push() = co_await deps_.member->coordinator().HandlePush(
          std::move(*request.mutable_push()), deadline);
      co_await FinishDecided(response.mutable_push(), start_ts, deadline);
      break;
    }
    case v1::NodeRequest::kMerge:
      co_return co_await OnMerge(std::move(request), deadline);
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kHeartbeat:
      co_return co_await OnPlacement(std::move(request), deadline);
    case v1::NodeRequest::kRead:
    case v1::NodeRequest::kLock:
    case v1::NodeRequest::kPrepare:
    case v1::NodeRequest::kResolve:
    case v1::NodeRequest::kEarlyOutcome:
    case v1::NodeRequest::kQueryPrepare: {
      const ShardId shard(kind.route->shard_id());
      co_return co_await OnShard(std::move(request), shard, deadline);
    }
    case v1::NodeRequest::BODY_NOT_SET:
      co_return Failed(InvalidArgument("the request's body is not known to this version"));
  }
  co_return response;
}

template <class Response>
Task<void> Handlers::FinishDecided(Response* response, Timestamp start_ts, Instant deadline) {
  if (const auto ts = Timestamp(response->commit_ts())) {
    if (const Status issued = co_await AwaitIssued(ts, start_ts, deadline); !issued.ok()) {
      response->Clear();
      StatusToError(issued, response->mutable_error());
    }
  }
  v1::Error* error = response->mutable_error();
  if (error->code() == v1::NOT_LEADER && error->leader().address().empty()) {
    Hint(NodeId(error->leader().node_id()), error);
  }
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

Task<v1::NodeResponse> Handlers::OnShard(v1::NodeRequest request, ShardId id, Instant deadline) {
  v1::NodeResponse response;
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
    case v1::NodeRequest::kCommit:
    case v1::NodeRequest::kPush:
    case v1::NodeRequest::kMerge:
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kRoutes:
    case v1::NodeRequest::kRegisterNode:
    case v1::NodeRequest::kHeartbeat:
    case v1::NodeRequest::kHello:
    case v1::NodeRequest::kInit:
    case v1::NodeRequest::kBootstrap:
    case v1::NodeRequest::kStatus:
    case v1::NodeRequest::kPlacement:
    case v1::NodeRequest::BODY_NOT_SET:
      break;  // not to one shard
  }
  v1::Error* error = client::MutableErrorOf(&response);
  if (error->code() == v1::NOT_LEADER && error->leader().address().empty()) {
    Hint(deps_.view.LeaderOf(id), error);
  }
  co_return response;
}

Task<v1::NodeResponse> Handlers::OnMerge(v1::NodeRequest request, Instant deadline) {
  const ShardId shard(request.merge().route().shard_id());
  v1::NodeResponse response;
  *response.mutable_merge() =
      co_await deps_.member->merges().OnRequest(std::move(*request.mutable_merge()), deadline);
  v1::Error* error = response.mutable_merge()->mutable_error();
  if (error->code() == v1::NOT_LEADER && error->leader().address().empty()) {
    Hint(deps_.view.LeaderOf(shard), error);
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
  deps_.member->peers().OnIntroduced(request.node());
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
  const Status status = result.ok() ? StatusFromError(result->error()) : result.status();
  if (status.ok()) co_return std::move(*result->mutable_register_node());
  StatusToError(status, response.mutable_error());
  co_return response;
}

// Operators ask any node; who does not lead placement passes it on, once.
Task<v1::PlacementResponse> Handlers::AskPlacement(v1::PlacementRequest request, Instant deadline) {
  v1::PlacementResponse response;
  placement::Placement* placement = deps_.member->placement();
  if (placement != nullptr && request.forwarded()) {
    co_return co_await placement->Ask(std::move(request), deadline);
  }
  if (placement != nullptr && placement->leading()) {
    response = co_await placement->Ask(request, deadline);
    // Deposed meanwhile, and nothing was done: whoever leads next is looked for.
    if (response.error().code() != v1::NOT_LEADER) co_return response;
    response.Clear();
  }
  if (request.forwarded()) {
    NotPlacement(response.mutable_error());
    co_return response;
  }
  v1::NodeRequest forward;
  *forward.mutable_placement() = std::move(request);
  forward.mutable_placement()->set_forwarded(true);
  Result<v1::NodeResponse> result =
      co_await deps_.member->caller().CallPlacement(std::move(forward), deadline);
  const Status status = result.ok() ? StatusFromError(result->error()) : result.status();
  if (status.ok()) co_return std::move(*result->mutable_placement());
  StatusToError(status, response.mutable_error());
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
