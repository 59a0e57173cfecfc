// server/node/public_api: what anybody may send: frames of a byte that names the call, and its
// request.
#include <functional>

#include "base/check.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/test_node.h"

namespace quorate::fuzz {
namespace {

using Start = std::function<void(TestNode&)>;

template <class Response>
Task<void> Finish(Task<Response> call) {
  const Response response = co_await std::move(call);
  CHECK(response.ByteSizeLong() <= (4u << 20), "an answer that a stock client cannot take");
  const v1::Error& error = response.error();
  CHECK((error.code() == v1::OVERLOADED) == (error.retry_after_ms() > 0));
}

// The request parsed, ready to be sent; none if the bytes are not one.
template <class Request, class Response>
Start Parse(std::string_view bytes,
            Task<Response> (server::PublicApi::*call)(Request, server::PublicCall)) {
  Request request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return nullptr;
  return [request, call](TestNode& node) {
    node.scope().Spawn(Finish((node.api().*call)(request, 10s)));
  };
}

class Pages final : public server::PageSink {
 public:
  Task<bool> Write(v1::ScanAllResponse page) override {
    CHECK(page.ByteSizeLong() <= limits::kAnswerBytesMax);
    co_return true;
  }
};

Task<void> ScanAll(server::PublicApi* api, v1::ScanAllRequest request) {
  Pages pages;
  co_await api->ScanAll(std::move(request), 10s, &pages);
}

Start ParseScanAll(std::string_view bytes) {
  v1::ScanAllRequest request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return nullptr;
  return [request](TestNode& node) { node.scope().Spawn(ScanAll(&node.api(), request)); };
}

Start ParseCall(uint8_t call, std::string_view bytes) {
  using Api = server::PublicApi;
  switch (call) {
    case 0:
      return Parse(bytes, &Api::Execute);
    case 1:
      return Parse(bytes, &Api::Begin);
    case 2:
      return Parse(bytes, &Api::Read);
    case 3:
      return Parse(bytes, &Api::Scan);
    case 4:
      return Parse(bytes, &Api::Write);
    case 5:
      return Parse(bytes, &Api::Commit);
    case 6:
      return Parse(bytes, &Api::Rollback);
    case 7:
      return Parse(bytes, &Api::GetOutcome);
    case 8:
      return Parse(bytes, &Api::Init);
    case 9:
      return Parse(bytes, &Api::Status);
    default:
      return ParseScanAll(bytes);
  }
}

}  // namespace

void Run(std::string_view input) {
  std::vector<Start> calls;
  while (!input.empty() && calls.size() < 8) {
    const uint8_t call = TakeByte(&input) % 11;
    if (!calls.emplace_back(ParseCall(call, TakeFrame(&input)))) return;
  }
  if (calls.empty()) return;
  TestNode node;
  for (const Start& start : calls) {
    start(node);
    node.world().executor.RunFor(100ms);
  }
  node.world().executor.RunFor(15s);
  CHECK(node.scope().size() == 0, "a call without an answer");
  node.CheckServes();
  // What was taken must still be harmless when it is collected, and when it is replayed.
  node.world().executor.RunFor(90s);
  node.CheckServes();
  node.Restart();
  node.CheckServes();
}

std::vector<std::string> Seeds() {
  const auto frame = [](char call, const auto& request) {
    std::string out(1, call);
    PutFrame(&out, request.SerializeAsString());
    return out;
  };
  v1::ExecuteRequest execute;
  execute.add_conditions()->set_key("a");
  execute.mutable_conditions(0)->set_absent(true);
  auto* put = execute.add_operations()->mutable_put();
  put->set_key("a");
  put->set_value("1");
  execute.add_operations()->set_get("a");
  execute.add_operations()->mutable_scan()->set_limit(3);
  // A name of the time at which the test node's world begins.
  const std::string name(
      "\x01\x8b\xcf\xe5\x68\x00\x70"
      "9\x89"
      "9abcdef",
      16);
  execute.set_txn_id(name);
  v1::GetOutcomeRequest outcome;
  outcome.mutable_txn()->set_txn_id(name);
  outcome.mutable_txn()->set_anchor_key("a");
  // The test node's sessions are numbered by its random source, which always starts the same.
  TestNode node;
  const uint64_t session = node.Await(node.api().Begin({}, 10s)).session_id();
  v1::SessionReadRequest read;
  read.set_session_id(session);
  read.add_keys("a");
  read.set_for_update(true);
  v1::SessionScanRequest scan;
  scan.set_session_id(session);
  scan.set_to("z");
  v1::SessionWriteRequest write;
  write.set_session_id(session);
  auto* written = write.add_writes();
  written->set_key("b");
  written->set_value("2");
  v1::SessionCommitRequest commit;
  commit.set_session_id(session);
  v1::SessionRollbackRequest rollback;
  rollback.set_session_id(session);
  v1::ScanAllRequest scan_all;
  scan_all.set_page_bytes(1);
  scan_all.set_reverse(true);
  v1::ExecuteRequest again = execute;
  again.mutable_operations(0)->mutable_put()->set_key("z");
  v1::InitRequest init;
  init.set_shards(2);
  return {frame(0, execute) + frame(10, scan_all) + frame(0, again),
          frame(0, execute) + frame(7, outcome),
          frame(1, v1::BeginRequest()) + frame(2, read) + frame(3, scan) + frame(4, write) +
              frame(5, commit),
          frame(1, v1::BeginRequest()) + frame(4, write) + frame(6, rollback),
          frame(8, init) + frame(9, v1::StatusRequest())};
}

}  // namespace quorate::fuzz
