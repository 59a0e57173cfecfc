#include "server/node/incarnations.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/mutant.h"
#include "base/probe.h"
#include "placement/heartbeats.h"
#include "quorate/v1/node.pb.h"

namespace quorate::server {

namespace {

constexpr Duration kCallTimeout = 2s;
constexpr Duration kCheckInterval = 100ms;
constexpr Duration kSayAgain = 60s;

bool Lately(Duration ago) { return ago < placement::Heartbeats::kSilentAfter; }

}  // namespace

v1::Incarnation ToProto(const storage::Incarnation& incarnation) {
  v1::Incarnation out;
  out.set_number(incarnation.number);
  out.set_nonce(incarnation.nonce);
  return out;
}

storage::Incarnation FromProto(const v1::Incarnation& incarnation) {
  return {incarnation.number(), incarnation.nonce()};
}

Incarnations::Incarnations(Deps deps, Options options)
    : deps_(deps),
      options_(std::move(options)),
      self_(options_.self.node_id()),
      started_(deps.env.Now()),
      descends_from_(deps.file.previous()),
      scope_(deps.env.executor) {}

void Incarnations::Start() { scope_.Spawn(Greet()); }

Task<void> Incarnations::Greet() {
  std::vector<Task<bool>> greetings;
  for (const auto& [id, node] : deps_.view.nodes()) {
    if (id != self_) greetings.push_back(Verify(id, node.address()));
  }
  (void)co_await WhenAll(deps_.env.executor, std::move(greetings));
}

Instant Incarnations::LastHeard(NodeId node) const {
  const auto it = heard_.find(node);
  return it == heard_.end() ? started_ : it->second;
}

std::string Incarnations::AddressOf(NodeId node) const {
  const v1::NodeInfo* known = deps_.view.FindNode(node);
  return known == nullptr ? std::string() : known->address();
}

// ---- others -------------------------------------------------------------------------------------

bool Incarnations::Listens(NodeId from, const storage::Incarnation& incarnation) {
  if (MUTANT("incarnation-not-checked")) return true;
  // A version that has none cannot be told apart from itself.
  if (!incarnation) return !deps_.view.Allows(Feature::kIncarnations);
  if (deps_.file.Remembered(from) == incarnation) {
    heard_[from] = deps_.env.Now();
    return true;
  }
  scope_.Spawn(Check(from));
  return false;
}

Task<void> Incarnations::Check(NodeId node) {
  const std::string address = AddressOf(node);
  if (address.empty()) co_return;
  Instant& next = check_next_[node];
  if (deps_.env.Now() < next) co_return;
  next = deps_.env.Now() + kCallTimeout + kCheckInterval;
  (void)co_await Verify(node, address);
  check_next_[node] = deps_.env.Now() + kCheckInterval;
}

Task<bool> Incarnations::Verify(NodeId node, std::string address) {
  const storage::Incarnation known = deps_.file.Remembered(node);
  v1::NodeRequest request;
  v1::HelloRequest& ask = *request.mutable_hello();
  ask.set_node_id(self_.value());
  *ask.mutable_incarnation() = ToProto(deps_.file.current());
  if (known) *ask.mutable_remembered() = ToProto(known);
  const Result<v1::NodeResponse> result =
      co_await deps_.channel.Call(address, std::move(request), kCallTimeout);
  if (!result.ok() || result->error().code() != v1::OK) co_return false;
  const v1::HelloResponse& hello = result->hello();
  const v1::NodeInfo* in_view = deps_.view.FindNode(node);
  const bool at_home = in_view != nullptr && in_view->address() == address;
  if (hello.cluster_id() != options_.cluster_id || NodeId(hello.node_id()) != node) co_return false;
  if (in_view != nullptr && in_view->storage_id() != hello.storage_id()) co_return false;
  if (at_home) Judge(hello.remembered());
  const storage::Incarnation incarnation = FromProto(hello.incarnation());
  if (!incarnation || incarnation == known) co_return true;
  const bool elsewhere = !at_home && Lately(deps_.env.Now() - LastHeard(node));
  if (known && (!hello.descends() || elsewhere)) {
    PROBE("incarnations: a start is not listened to");
    SayRefused(node, address);
    co_return false;
  }
  if (deps_.file.Remembered(node) != known) co_return false;  // another answer came first
  const Promise<bool> stored(deps_.env.executor);
  deps_.file.Remember(node, incarnation,
                      [stored](const Status& status) { stored.Set(status.ok()); });
  if (!co_await stored.future()) co_return false;
  heard_[node] = deps_.env.Now();
  co_return true;
}

void Incarnations::SayRefused(NodeId node, const std::string& address) {
  const auto [said, first] = said_.try_emplace(node, deps_.env.Now());
  if (!first && deps_.env.Now() - said->second < kSayAgain) return;
  said->second = deps_.env.Now();
  deps_.env.log.Warn(
      "node: node {} at '{}' is not listened to: its data directory is a copy, or an earlier "
      "state, "
      "of one that was heard of since",
      node, address);
}

void Incarnations::OnHello(const v1::HelloRequest& request, v1::HelloResponse* response) {
  *response->mutable_incarnation() = ToProto(deps_.file.current());
  response->set_descends(deps_.file.Descends(FromProto(request.remembered())));
  const NodeId asker(request.node_id());
  if (asker == self_ || deps_.view.FindNode(asker) == nullptr) return;
  const storage::Incarnation known = deps_.file.Remembered(asker);
  if (known) {
    v1::RememberedNode& remembered = *response->mutable_remembered();
    *remembered.mutable_incarnation() = ToProto(known);
    remembered.set_address(AddressOf(asker));
    remembered.set_heard_ms(static_cast<uint32_t>(
        std::min<int64_t>(ToMillis(deps_.env.Now() - LastHeard(asker)), 1 << 30)));
  }
  if (known != FromProto(request.incarnation()) || !response->descends()) {
    scope_.Spawn(Check(asker));
  }
}

void Incarnations::OnMap() {
  if (deps_.file.others().size() < deps_.view.nodes().size()) return;
  for (const auto& [id, incarnation] : deps_.file.others()) {
    if (deps_.view.FindNode(id) == nullptr) deps_.file.Forget(id);
  }
}

// ---- this node ----------------------------------------------------------------------------------

void Incarnations::Judge(const v1::RememberedNode& remembered) {
  const storage::Incarnation newer = FromProto(remembered.incarnation());
  if (!newer || stale_ || MUTANT("incarnation-not-checked")) return;
  if (deps_.file.Descends(newer)) {
    descends_from_ = newer;
    return;
  }
  stale_ = true;
  const bool lately = Lately(Duration(std::chrono::milliseconds(remembered.heard_ms())));
  if (lately || remembered.address() != options_.self.address()) {
    PROBE("incarnations: another process of this node is newer");
    options_.on_stale(Status(
        Code::kFailedPrecondition,
        fmt::format(
            "this is not the newest state of node {}'s data directory: its start {} was heard at "
            "'{}' {:.1f} s ago. If that process runs, this directory is a copy: remove it. If it "
            "was put back, start it at that address, some seconds after the last process ended",
            self_, newer.number, remembered.address(),
            static_cast<double>(remembered.heard_ms()) / 1000)));
    return;
  }
  deps_.file.Doubt(newer, [this, newer, alive = alive_](const Status& status) {
    if (!*alive) return;
    if (!status.ok()) {
      stale_ = false;  // told again soon
      return;
    }
    PROBE("incarnations: the directory was put back");
    options_.on_stale(Status(
        Code::kFailedPrecondition,
        fmt::format("the data directory of node {} was put back to a state before its start {}: "
                    "what it promised since is lost, and its replicas have to be fetched from the "
                    "other nodes, which the next start does",
                    self_, newer.number)));
  });
}

}  // namespace quorate::server
