// PublicApi: the public service (client.proto) without gRPC: what any language can call, run
// on the node's own client library. Execute and the sessions are transactions like any other; any
// node answers for the whole cluster.
//
// Every response's error says what happened (txn.proto, ErrorCode); a call answers within
// `timeout`. A session belongs to the node that began it, serves one call at a time, and ends with
// Commit or Rollback, or after a minute without a call.
//
// Threads: executor's thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "base/env.h"
#include "base/task.h"
#include "client/database.h"
#include "quorate/v1/admin.pb.h"
#include "quorate/v1/client.pb.h"
#include "server/node/session_answers.h"

namespace quorate::server {

class Node;

class PublicApi {
 public:
  // Both outlive the object; it outlives its calls.
  PublicApi(Env& env, Node& node);
  ~PublicApi();

  Task<v1::ExecuteResponse> Execute(v1::ExecuteRequest request, Duration timeout);

  Task<v1::BeginResponse> Begin(v1::BeginRequest request, Duration timeout);
  Task<v1::SessionReadResponse> Read(v1::SessionReadRequest request, Duration timeout);
  Task<v1::SessionScanResponse> Scan(v1::SessionScanRequest request, Duration timeout);
  Task<v1::SessionWriteResponse> Write(v1::SessionWriteRequest request, Duration timeout);
  Task<v1::SessionCommitResponse> Commit(v1::SessionCommitRequest request, Duration timeout);
  Task<v1::SessionRollbackResponse> Rollback(v1::SessionRollbackRequest request, Duration timeout);

  Task<v1::GetOutcomeResponse> GetOutcome(v1::GetOutcomeRequest request, Duration timeout);
  Task<v1::InitResponse> Init(v1::InitRequest request, Duration timeout);
  Task<v1::StatusResponse> Status(v1::StatusRequest request, Duration timeout);

  size_t sessions() const { return sessions_.size(); }

 private:
  struct Session;
  // Marks a session as used for the length of one call.
  class Use;

  // The session for one call. NOT_FOUND: none of that id (any more); FAILED_PRECONDITION: busy.
  Result<std::shared_ptr<Session>> Find(uint64_t id);
  // The answer of a Commit whose session is not here (any more), or is being committed.
  Task<v1::SessionCommitResponse> CommitAgain(v1::SessionCommitRequest request, Duration timeout);
  Task<void> ExpireLoop();
  // By the oracle's clock, as far as it is known: names are judged by it.
  uint64_t UnixMillis() const;
  // OVERLOADED while the node stops: nothing happened, another node can be asked.
  quorate::Status Admit() const;

  Env& env_;
  Node& node_;
  std::map<uint64_t, std::shared_ptr<Session>> sessions_;
  SessionAnswers answers_;
  TaskScope scope_;
};

}  // namespace quorate::server
