// PublicApi: the public service (client.proto) without gRPC: what any language can call, run
// on the node's own client library. Execute and the sessions are transactions like any other; any
// node answers for the whole cluster.
//
// Every response's error says what happened (txn.proto, ErrorCode); a call answers within its
// timeout. A session belongs to the node that began it, serves one call at a time (but Rollback
// ends the one under way), and ends with Commit or Rollback, or after a minute without a call.
//
// The door, before anything else: a request is judged, then held against the bounds that clients
// share (shared_bound.h). Whoever holds too much is told OVERLOADED, and if sessions are what the
// node is full of, those that nobody has used for a while end first. Large reads take turns
// (base/byte_turns.h).
//
// Threads: executor's thread only.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>

#include "base/byte_turns.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/task.h"
#include "client/database.h"
#include "quorate/v1/admin.pb.h"
#include "quorate/v1/client.pb.h"
#include "server/node/execute.h"
#include "server/node/public_call.h"
#include "server/node/session_answers.h"
#include "server/node/shared_bound.h"

namespace quorate::server {

class Node;

// Where the pages of a stream go.
class PageSink {
 public:
  // Ends when the page has left, so that whoever is slow holds one. False: nobody reads any more.
  virtual Task<bool> Write(v1::ScanAllResponse page) = 0;

 protected:
  ~PageSink() = default;
};

class PublicApi {
 public:
  // Both outlive the object; it outlives its calls. `held_max`: bytes that it holds for clients.
  PublicApi(Env& env, Node& node, size_t held_max = limits::kClientBytesMax);
  ~PublicApi();

  Task<v1::ExecuteResponse> Execute(v1::ExecuteRequest request, PublicCall call);

  Task<v1::BeginResponse> Begin(v1::BeginRequest request, PublicCall call);
  Task<v1::SessionReadResponse> Read(v1::SessionReadRequest request, PublicCall call);
  Task<v1::SessionScanResponse> Scan(v1::SessionScanRequest request, PublicCall call);
  Task<v1::SessionWriteResponse> Write(v1::SessionWriteRequest request, PublicCall call);
  Task<v1::SessionCommitResponse> Commit(v1::SessionCommitRequest request, PublicCall call);
  Task<v1::SessionRollbackResponse> Rollback(v1::SessionRollbackRequest request, PublicCall call);

  // `sink` outlives the call. An error is the last page; none is written when the client is gone.
  Task<void> ScanAll(v1::ScanAllRequest request, PublicCall call, PageSink* sink);

  Task<v1::GetOutcomeResponse> GetOutcome(v1::GetOutcomeRequest request, PublicCall call);
  Task<v1::InitResponse> Init(v1::InitRequest request, PublicCall call);
  Task<v1::StatusResponse> Status(v1::StatusRequest request, PublicCall call);

  size_t sessions() const { return sessions_.size(); }
  // That run in the background.
  size_t tasks() const { return scope_.size(); }
  // Bytes held for clients.
  size_t held() const { return memory_->used(); }
  size_t held_max() const { return memory_->total(); }

 private:
  struct Pages;
  struct Session;
  using Sessions = std::map<uint64_t, std::shared_ptr<Session>>;
  // Marks a session as used for the length of one call.
  class Use;

  // The door. False: `response` says why, and nothing happened.
  template <class Request, class Response>
  bool Enter(const Request& request, PublicCall* call, Response* response);
  quorate::Status Hold(PublicCall* call, size_t bytes);
  // For as long as the session lives. False: its client holds too much.
  bool Keep(Session* session, size_t bytes);

  // The session for one call. NOT_FOUND: none of that id (any more); FAILED_PRECONDITION: busy.
  Result<std::shared_ptr<Session>> Find(uint64_t id);
  // The answer of a Commit whose session is not here (any more), or is being committed.
  Task<v1::SessionCommitResponse> CommitAgain(v1::SessionCommitRequest request, Duration timeout);
  // A call that is one step of a session's transaction, for which the session keeps `bytes`. Broken
  // off, it leaves the transaction as it was.
  template <class Response, class Request, class Body>
  Task<Response> Step(Body body, Request request, size_t bytes, PublicCall call);
  // What became of a transaction. An error says nothing of it.
  Task<Result<client::Outcome>> Ask(v1::TxnRef txn, Duration timeout);
  Task<quorate::Status> ReadStep(Session* session, v1::SessionReadRequest request, AnswerRoom* room,
                                 v1::SessionReadResponse* response);
  Task<quorate::Status> ScanStep(Session* session, v1::SessionScanRequest request, AnswerRoom* room,
                                 v1::SessionScanResponse* response);
  // For what its transaction writes.
  Task<quorate::Status> TakeTurn(Session* session, PublicCall call,
                                 std::unique_ptr<ByteTurns::Turn>* turn);
  Task<quorate::Status> SendPages(v1::ScanAllRequest request, PublicCall call, PageSink* sink);
  Task<quorate::Status> SendPage(AnswerRoom* room, PublicCall call, PageSink* sink, Pages* pages,
                                 client::ScanPage page);
  void End(Sessions::iterator session);
  // A session is listed as unused from now on, and not while it is in a call.
  void List(Session* session);
  void Unlist(const Session& session);
  // Ends sessions that nobody has used for a while, the longest unused first: this client's own, or
  // anybody's if clients hold more than half of `bound`. False: there was none.
  bool MakeRoom(const SharedBound& bound, const std::string& client);
  Task<void> ExpireLoop();
  // By the oracle's clock, by which names are made and judged: this machine's may be wrong.
  // UNAVAILABLE: no slot of the oracle's has been seen here, and none came in time.
  Task<Result<uint64_t>> UnixMillis(Duration timeout);

  Env& env_;
  Node& node_;
  const std::shared_ptr<SharedBound> memory_;
  const std::shared_ptr<SharedBound> places_;  // of sessions
  PublicTurns turns_;
  Sessions sessions_;
  // Those that are in no call, the longest unused first.
  std::list<uint64_t> by_use_;
  std::map<std::string, std::list<uint64_t>> by_own_use_;  // by client
  bool expiring_ = false;
  SessionAnswers answers_;
  TaskScope scope_;
};

}  // namespace quorate::server
