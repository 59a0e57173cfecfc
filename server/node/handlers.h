// Handlers: what each request of another process does on this node; no gRPC. A body's own error
// tells what became of it; NodeResponse.error is for requests that never reached a handler.
//
// A node that belongs to no cluster answers hello, init, bootstrap, register and status;
// UNINITIALIZED otherwise.
//
// A request for the leader of a group whose replica here is in doubt about its leader is kept for
// up to 100 ms, or until one is heard of: whoever looks for a leader learns of it at once.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <memory>

#include "base/env.h"
#include "base/task.h"
#include "quorate/v1/node.pb.h"
#include "server/node/cluster_view.h"
#include "server/node/member.h"
#include "server/node/membership.h"
#include "server/node/request_kind.h"

namespace quorate::server {

class Handlers {
 public:
  struct Deps {
    Env& env;
    Membership& membership;
    ClusterView& view;
    const std::unique_ptr<Member>& member;  // null until the node belongs to a cluster
    std::function<v1::StatusResponse()> status;
  };
  explicit Handlers(Deps deps) : deps_(std::move(deps)) {}

  // Precondition: the request was judged (txn/judge.h). Answers by `deadline` (but for what storage
  // or Raft hold up longer: then it is too late).
  Task<v1::NodeResponse> Dispatch(v1::NodeRequest request, Instant deadline);

 private:
  // The local replica of the group whose leader can answer; nullptr: none.
  raft::GroupHandle* GroupOf(const RequestKind& kind) const;
  Task<void> AwaitLeader(raft::GroupHandle* group, Instant deadline);
  // Of a Commit or a Push, before anybody is told.
  template <class Response>
  Task<void> FinishDecided(Response* response, Timestamp start_ts, Instant deadline);
  Task<v1::NodeResponse> OnShard(v1::NodeRequest request, ShardId id, Instant deadline);
  Task<v1::NodeResponse> OnMerge(v1::NodeRequest request, Instant deadline);
  Task<v1::NodeResponse> OnPlacement(v1::NodeRequest request, Instant deadline);
  Task<v1::PlacementResponse> AskPlacement(v1::PlacementRequest request, Instant deadline);
  Task<v1::RegisterNodeResponse> Register(v1::RegisterNodeRequest request, Instant deadline);
  // Resumes once a slot at or above that of `commit_ts` is known to have been issued, be it by the
  // start_ts of the transaction; UNAVAILABLE if none is by the deadline.
  Task<Status> AwaitIssued(Timestamp commit_ts, Timestamp start_ts, Instant deadline);
  // NOT_LEADER with what this node knows of the shard.
  void NoReplica(ShardId shard, v1::Error* error) const;
  void NotPlacement(v1::Error* error) const;
  // Completes a NOT_LEADER with who may lead.
  void Hint(NodeId leader, v1::Error* error) const;

  const Deps deps_;
};

}  // namespace quorate::server
