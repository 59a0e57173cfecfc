// PublicApiFixture: the public calls of one node of a whole cluster.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "server/node/public_api.h"
#include "tests/server/cluster_fixture.h"
#include "txn/given_name.h"

namespace quorate::server {

inline const std::string kLow("\x11key");
inline const std::string kHigh("\xe1key");

class PublicApiFixture : public testing::Test {
 protected:
  PublicApiFixture() : cluster(3) {
    cluster.StartAndInit(4);
    api = std::make_unique<PublicApi>(cluster.at(1).process()->env(), cluster.node(1));
  }
  ~PublicApiFixture() override { api.reset(); }

  // Runs a call of the API on the client's executor.
  template <class Response>
  Response Run(Task<Response> task) {
    return *cluster.Await(Wrap<Response>(std::move(task)));
  }
  template <class Response>
  static Task<Result<Response>> Wrap(Task<Response> task) {
    co_return co_await std::move(task);
  }

  v1::ExecuteResponse Execute(v1::ExecuteRequest request) {
    return Run(api->Execute(std::move(request), 10s));
  }
  static void AddPut(v1::ExecuteRequest* request, const std::string& key,
                     const std::string& value) {
    v1::Write* put = request->add_operations()->mutable_put();
    put->set_key(key);
    put->set_value(value);
  }
  uint64_t BeginSession(bool read_only = false) {
    v1::BeginRequest request;
    request.set_read_only(read_only);
    const v1::BeginResponse response = Run(api->Begin(request, 10s));
    EXPECT_EQ(response.error().code(), v1::OK);
    return response.session_id();
  }
  // Writes a key at either end, under a new name.
  v1::ExecuteRequest Named(const std::string& value) {
    v1::ExecuteRequest request;
    const auto now = static_cast<uint64_t>(cluster.at(1).process()->WallMillis());
    request.set_txn_id(std::string(GivenName::Make(now, random).bytes()));
    AddPut(&request, kHigh, value);
    AddPut(&request, kLow, value);
    return request;
  }
  v1::TxnState Outcome(const std::string& name, const std::string& key) {
    v1::GetOutcomeRequest ask;
    ask.mutable_txn()->set_txn_id(name);
    ask.mutable_txn()->set_anchor_key(key);
    const v1::GetOutcomeResponse response = Run(api->GetOutcome(ask, 10s));
    EXPECT_EQ(response.error().code(), v1::OK) << response.error().message();
    EXPECT_EQ(response.commit_ts() != 0, response.state() == v1::COMMITTED);
    return response.state();
  }
  static Task<void> Keep(Task<v1::ExecuteResponse> task,
                         std::optional<v1::ExecuteResponse>* answer) {
    answer->emplace(co_await std::move(task));
  }
  v1::SessionReadResponse Read(uint64_t session, const std::string& key) {
    v1::SessionReadRequest request;
    request.set_session_id(session);
    request.add_keys(key);
    return Run(api->Read(request, 10s));
  }
  v1::ErrorCode Write(uint64_t session, const std::string& key, const std::string& value) {
    v1::SessionWriteRequest request;
    request.set_session_id(session);
    v1::Write* write = request.add_writes();
    write->set_key(key);
    write->set_value(value);
    return Run(api->Write(request, 10s)).error().code();
  }
  v1::SessionCommitResponse Commit(uint64_t session) {
    v1::SessionCommitRequest request;
    request.set_session_id(session);
    return Run(api->Commit(request, 10s));
  }

  ClusterFixture cluster;
  std::unique_ptr<PublicApi> api;
  Random random{5};
};

}  // namespace quorate::server
