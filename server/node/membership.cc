#include "server/node/membership.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/backoff.h"
#include "base/coding.h"
#include "base/crc32c.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "server/node/bootstrap_plan.h"
#include "server/node/incarnations.h"
#include "server/node/small_file.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

constexpr char kMagic[] = "QBOOT1\n";
constexpr size_t kMagicBytes = sizeof(kMagic) - 1;
constexpr char kBootstrapFile[] = "/BOOTSTRAP";
constexpr Duration kCallTimeout = 2s;
constexpr Duration kJoinInterval = 1s;
constexpr Duration kPoll = 50ms;
// A node that asked to join and was not heard of since is not counted for init.
constexpr Duration kAskedFor = 10s;
constexpr size_t kAskedMax = 256;
// How long an init at a node that is not a member yet waits for another's to reach it.
constexpr Duration kOthersInit = 5s;
// What init keeps of its time for the answer that says whom it waited for in vain.
constexpr Duration kForTheAnswer = 1s;
// The same trouble is logged again after this long.
constexpr Duration kSayAgain = 60s;

std::string Encode(const v1::BootstrapRequest& request) {
  const std::string bytes = request.SerializeAsString();
  std::string out(kMagic, kMagicBytes);
  PutFixed32(&out, Crc32c(bytes));
  return out + bytes;
}

bool Decode(std::string_view in, v1::BootstrapRequest* request) {
  uint32_t crc = 0;
  if (!in.starts_with(std::string_view(kMagic, kMagicBytes))) return false;
  in.remove_prefix(kMagicBytes);
  return GetFixed32(&in, &crc) && Crc32c(in) == crc &&
         request->ParseFromArray(in.data(), static_cast<int>(in.size()));
}

// Equal but for whom it is addressed to. Explicit fields: protobuf bytes are not canonical.
bool SameCluster(const v1::BootstrapRequest& a, const v1::BootstrapRequest& b) {
  return a.cluster_id() == b.cluster_id() && a.nodes_size() == b.nodes_size() &&
         a.shards_size() == b.shards_size();
}

}  // namespace

Membership::Membership(Env& env, storage::FileSystem& files, storage::DataDirectory& directory,
                       client::Channel& channel, Options options)
    : env_(env),
      files_(files),
      directory_(directory),
      channel_(channel),
      options_(std::move(options)),
      scope_(env.executor) {}

Result<std::unique_ptr<Membership>> Membership::Open(Env& env, storage::FileSystem& files,
                                                     storage::DataDirectory& directory,
                                                     client::Channel& channel, Options options) {
  auto membership = std::unique_ptr<Membership>(
      new Membership(env, files, directory, channel, std::move(options)));
  RETURN_IF_ERROR(membership->Load());
  return membership;
}

// ---- what is on disk ----------------------------------------------------------------------------

Result<bool> Membership::Founded(storage::FileSystem& files, const std::string& directory) {
  return files.Exists(directory + kBootstrapFile);
}

Result<std::optional<v1::BootstrapRequest>> Membership::ReadBootstrap(
    storage::FileSystem& files, const std::string& directory) {
  const std::string path = directory + kBootstrapFile;
  ASSIGN_OR_RETURN(const bool exists, files.Exists(path));
  if (!exists) return std::optional<v1::BootstrapRequest>();
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(files, path));
  v1::BootstrapRequest request;
  if (!Decode(bytes, &request)) {
    return Corruption(
        fmt::format("'{}' is damaged; put it back from a copy of this data directory (other "
                    "members have another one), or start the node with an empty directory, as a "
                    "new one, and take the old one out: `quorate node remove ID --lost`",
                    path));
  }
  return std::optional(std::move(request));
}

Status Membership::Load() {
  ASSIGN_OR_RETURN(bootstrap_, ReadBootstrap(files_, directory_.path()));
  if (!bootstrap_) {
    finished_ = true;
    return Status::Ok();
  }
  if (!member()) PROBE("membership: identity repaired");
  const Status assigned =
      directory_.Assign(bootstrap_->cluster_id(), NodeId(bootstrap_->node_id()));
  if (assigned.code() == Code::kNoSpace) {
    directory_.Assume(bootstrap_->cluster_id(), NodeId(bootstrap_->node_id()));
  } else {
    RETURN_IF_ERROR(assigned);
  }
  ASSIGN_OR_RETURN(finished_, files_.Exists(directory_.path() + "/BOOTSTRAPPED"));
  return Status::Ok();
}

Status Membership::StoreBootstrap(const v1::BootstrapRequest& request) {
  RETURN_IF_ERROR(ReplaceFile(files_, directory_.path(), "BOOTSTRAP", Encode(request)));
  return directory_.Assign(request.cluster_id(), NodeId(request.node_id()));
}

v1::NodeInfo Membership::self() const {
  v1::NodeInfo self = options_.self;
  self.set_node_id(directory_.identity().node_id.value());
  self.set_storage_id(directory_.identity().storage_id);
  *self.mutable_incarnation() = ToProto(options_.incarnations->current());
  *self.mutable_descends_from() =
      ToProto(descends_from_ ? descends_from_ : options_.incarnations->previous());
  return self;
}

v1::HelloResponse Membership::Hello() const {
  const v1::NodeInfo self = this->self();
  v1::HelloResponse hello;
  hello.set_cluster_id(directory_.identity().cluster_id);
  hello.set_node_id(self.node_id());
  hello.set_address(self.address());
  hello.set_storage_id(self.storage_id());
  hello.set_version(self.version());
  hello.set_http_address(self.http_address());
  return hello;
}

// ---- receiving the bootstrap message ------------------------------------------------------------

Status Membership::CheckForMe(const v1::BootstrapRequest& request) const {
  const storage::NodeIdentity& identity = directory_.identity();
  if (member() && (identity.cluster_id != request.cluster_id() ||
                   identity.node_id != NodeId(request.node_id()))) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("'{}' already belongs to cluster {} as node {}",
                              options_.self.address(), identity.cluster_id, identity.node_id));
  }
  RETURN_IF_ERROR(CheckBootstrap(request));
  for (const v1::NodeInfo& node : request.nodes()) {
    if (node.node_id() != request.node_id()) continue;
    if (node.storage_id() == identity.storage_id) return Status::Ok();
    return Status(Code::kWrongNode, fmt::format("'{}' has another data directory than node {} had "
                                                "when the cluster was made",
                                                options_.self.address(), node.node_id()));
  }
  return InvalidArgument("the message does not name its receiver");
}

v1::BootstrapResponse Membership::Accept(const v1::BootstrapRequest& request) {
  v1::BootstrapResponse response;
  Status status = CheckForMe(request);
  // A copy of what is known already changes nothing.
  if (status.ok() && !bootstrap_) {
    status = StoreBootstrap(request);
    if (status.ok()) {
      bootstrap_ = request;
      finished_ = false;
      if (started_) scope_.Spawn(FinishLoop());
      NotifyMember();
    }
  } else if (status.ok() && !SameCluster(*bootstrap_, request)) {
    status = Status(Code::kFailedPrecondition, "this cluster was made with another message");
  }
  if (!status.ok()) StatusToError(status, response.mutable_error());
  return response;
}

void Membership::NotifyMember() {
  channel_.SetClusterId(directory_.identity().cluster_id);
  env_.log.Info("node: member {} of cluster {}", directory_.identity().node_id,
                directory_.identity().cluster_id);
  if (on_member_) on_member_();
}

void Membership::Start() {
  started_ = true;
  if (member()) {
    channel_.SetClusterId(directory_.identity().cluster_id);
    if (!finished_) scope_.Spawn(FinishLoop());
  } else if (!options_.join.empty()) {
    scope_.Spawn(JoinLoop());
  }
}

// ---- handing it to the others -------------------------------------------------------------------

Task<void> Membership::FinishLoop() {
  const v1::BootstrapRequest plan = *bootstrap_;
  Backoff backoff(200ms, 5s);
  std::set<uint64_t> confirmed = {plan.node_id()};
  Instant say_again;
  while (confirmed.size() < static_cast<size_t>(plan.nodes_size())) {
    std::vector<v1::NodeInfo> asked;
    std::vector<Task<Status>> sending;
    for (const v1::NodeInfo& node : plan.nodes()) {
      if (confirmed.contains(node.node_id())) continue;
      asked.push_back(node);
      sending.push_back(SendBootstrap(node));
    }
    const std::vector<Status> done = co_await WhenAll(env_.executor, std::move(sending));
    for (size_t i = 0; i < asked.size(); ++i) {
      const std::string& address = asked[i].address();
      if (done[i].ok()) {
        confirmed.insert(asked[i].node_id());
        unconfirmed_.erase(address);
        continue;
      }
      std::string& reason = unconfirmed_[address];
      if (reason != done[i].message() || env_.Now() >= say_again) {
        say_again = env_.Now() + kSayAgain;
        env_.log.Warn("node: member {} at '{}' has not confirmed its part of the cluster: {}",
                      asked[i].node_id(), address, done[i].message());
      }
      reason = done[i].message();
    }
    if (confirmed.size() < static_cast<size_t>(plan.nodes_size())) {
      co_await Sleep(env_.executor, backoff.Next(env_.random));
    }
  }
  const Status status = ReplaceFile(files_, directory_.path(), "BOOTSTRAPPED", "all members\n");
  // Without the mark the message is handed out once more after a restart, which is harmless.
  if (!status.ok()) env_.log.Warn("node: BOOTSTRAPPED: {}", status.ToString());
  finished_ = true;
}

Task<Status> Membership::SendBootstrap(v1::NodeInfo to) {
  v1::NodeRequest request;
  *request.mutable_bootstrap() = *bootstrap_;
  request.mutable_bootstrap()->set_node_id(to.node_id());
  const Result<v1::NodeResponse> result =
      co_await channel_.Call(to.address(), std::move(request), kCallTimeout);
  if (!result.ok()) co_return result.status();
  if (result->error().code() != v1::OK) co_return StatusFromError(result->error());
  co_return StatusFromError(result->bootstrap().error());
}

// ---- init ---------------------------------------------------------------------------------------

Task<v1::InitResponse> Membership::Init(v1::InitRequest request, Instant deadline) {
  v1::InitResponse response;
  Status status;
  if (member() && finished_) {
    status = Status(Code::kAlreadyExists, fmt::format("the cluster is initialised already, as {}",
                                                      directory_.identity().cluster_id));
  } else if (init_running_) {
    status = Status(Code::kFailedPrecondition, "an init is under way on this node");
  } else {
    init_running_ = true;
    status = member() ? Status::Ok() : co_await RunInit(std::move(request), deadline);
    if (status.ok()) status = co_await WaitUntilFinished(deadline);
    init_running_ = false;
  }
  response.set_cluster_id(directory_.identity().cluster_id);
  if (bootstrap_) {
    response.set_nodes(static_cast<uint32_t>(bootstrap_->nodes_size()));
    response.set_replication_factor(static_cast<uint32_t>(bootstrap_->shards(0).replicas_size()));
  }
  if (!status.ok()) StatusToError(status, response.mutable_error());
  co_return response;
}

Task<Status> Membership::RunInit(v1::InitRequest request, Instant deadline) {
  Members members = co_await Gather(request, deadline);
  if (member()) co_return Status::Ok();  // another's init reached this node meanwhile
  if (!members.ok()) co_return members.status();
  v1::BootstrapRequest plan;
  CO_ASSIGN_OR_RETURN(plan,
                      PlanBootstrap(storage::NewId(env_.random), std::move(*members), request));
  CO_RETURN_IF_ERROR(co_await SendFirst(plan));
  for (const v1::NodeInfo& node : plan.nodes()) {
    if (node.storage_id() == directory_.identity().storage_id) plan.set_node_id(node.node_id());
  }
  co_return StatusFromError(Accept(plan).error());
}

// The decision: see the file comment of the header.
Task<Status> Membership::SendFirst(v1::BootstrapRequest plan) {
  const v1::NodeInfo first = plan.nodes(0);
  plan.set_node_id(first.node_id());
  if (first.storage_id() == directory_.identity().storage_id) {
    co_return StatusFromError(Accept(plan).error());
  }
  v1::NodeRequest request;
  *request.mutable_bootstrap() = std::move(plan);
  Result<v1::NodeResponse> result =
      co_await channel_.Call(first.address(), std::move(request), kCallTimeout);
  Status status = !result.ok() ? result.status() : StatusFromError(result->error());
  if (status.ok()) status = StatusFromError(result->bootstrap().error());
  if (status.ok()) co_return status;
  co_return Status(status.code(), fmt::format("'{}' did not take part: {}; run init again",
                                              first.address(), status.message()));
}

Task<Membership::Members> Membership::Gather(v1::InitRequest request, Instant deadline) {
  const Instant until = deadline - kForTheAnswer;
  while (true) {
    Members members = co_await GatherOnce(request, until);
    const bool named = !request.addresses().empty();
    const bool enough = !members.ok() || members->size() >= WantedReplicas(request);
    if (named || enough || member() || env_.Now() >= until) co_return members;
    co_await Sleep(env_.executor, kPoll);
  }
}

Task<Membership::Members> Membership::GatherOnce(v1::InitRequest request, Instant deadline) {
  std::set<std::string> addresses(request.addresses().begin(), request.addresses().end());
  if (addresses.empty()) {
    addresses.insert(options_.join.begin(), options_.join.end());
    for (const auto& [address, asked] : asked_to_join_) {
      if (env_.Now() - asked.at <= kAskedFor) addresses.insert(address);
    }
  }
  addresses.erase(options_.self.address());
  std::vector<std::string> order(addresses.begin(), addresses.end());
  std::vector<Task<Result<v1::NodeInfo>>> greetings;
  for (const std::string& address : order) greetings.push_back(Reach(address, deadline));
  const auto greeted = co_await WhenAll(env_.executor, std::move(greetings));

  std::map<std::string, v1::NodeInfo> by_storage;
  by_storage[self().storage_id()] = self();
  for (size_t i = 0; i < order.size(); ++i) {
    if (greeted[i].ok()) {
      by_storage[greeted[i]->storage_id()] = *greeted[i];
      continue;
    }
    if (greeted[i].status().code() == Code::kAlreadyExists) {
      // Perhaps an init that is still on its way to this node.
      const Instant until = std::min(deadline, env_.Now() + kOthersInit);
      while (!member() && env_.Now() < until) co_await Sleep(env_.executor, kPoll);
      co_return greeted[i].status();
    }
    co_return Status(Code::kFailedPrecondition,
                     fmt::format("nothing was done: member '{}' cannot be reached ({}); start it, "
                                 "or name the members",
                                 order[i], greeted[i].status().message()));
  }
  std::vector<v1::NodeInfo> members;
  for (auto& [storage_id, node] : by_storage) members.push_back(node);
  co_return members;
}

Task<Result<v1::NodeInfo>> Membership::Reach(std::string address, Instant until) {
  for (;;) {
    Result<v1::NodeInfo> greeted = co_await Greet(address);
    const bool unreached = !greeted.ok() && greeted.status().code() == Code::kUnavailable;
    if (!unreached || env_.Now() >= until) co_return greeted;
    co_await Sleep(env_.executor, kPoll);
  }
}

Task<Result<v1::NodeInfo>> Membership::Greet(std::string address) {
  v1::NodeRequest request;
  request.mutable_hello();
  Result<v1::NodeResponse> result =
      co_await channel_.Call(address, std::move(request), kCallTimeout);
  if (!result.ok()) co_return result.status();
  if (result->error().code() != v1::OK) co_return StatusFromError(result->error());
  const v1::HelloResponse& hello = result->hello();
  if (!hello.cluster_id().empty()) {
    co_return Status(Code::kAlreadyExists, fmt::format("'{}' already belongs to cluster {}",
                                                       hello.address(), hello.cluster_id()));
  }
  v1::NodeInfo node;
  node.set_address(hello.address());
  node.set_storage_id(hello.storage_id());
  node.set_version(hello.version());
  node.set_http_address(hello.http_address());
  co_return node;
}

Task<Status> Membership::WaitUntilFinished(Instant deadline) {
  while (!finished_) {
    if (env_.Now() >= deadline) {
      std::string who;
      for (const auto& [address, why] : unconfirmed_)
        who += fmt::format(" '{}' ({});", address, why);
      co_return Unavailable(fmt::format(
          "cluster {} is made, but without:{} it is asked again and again, and its replicas are "
          "missing until it confirms",
          directory_.identity().cluster_id,
          who.empty() ? " a member that has not confirmed;" : who));
    }
    co_await Sleep(env_.executor, kPoll);
  }
  co_return Status::Ok();
}

// ---- joining ------------------------------------------------------------------------------------

void Membership::Remember(const v1::NodeInfo& node) {
  if (node.address().empty() || node.address() == options_.self.address()) return;
  if (!asked_to_join_.contains(node.address()) && asked_to_join_.size() >= kAskedMax) return;
  asked_to_join_[node.address()] = {node, env_.Now()};
}

Task<void> Membership::JoinLoop() {
  while (!member()) {
    for (const std::string& address : options_.join) {
      if (address == options_.self.address()) continue;
      const Status status = co_await RegisterAt(address);
      if (status.ok() || member()) co_return;
      SayCannotJoin(address, status);
    }
    co_await Sleep(env_.executor, kJoinInterval);
  }
}

void Membership::SayCannotJoin(const std::string& address, const Status& why) {
  auto& [said, at] = cannot_join_[address];
  // A new reason at once, the same one again after a while.
  if (said == why.message() && env_.Now() < at + kSayAgain) return;
  said = why.message();
  at = env_.Now();
  if (why.code() == Code::kUninitialized) {
    env_.log.Info("node: '{}' belongs to no cluster yet: waiting for `quorate init`", address);
  } else {
    env_.log.Warn("node: cannot join at '{}': {}; trying again every second", address,
                  why.ToString());
  }
}

Task<Status> Membership::RegisterAt(std::string address) {
  v1::NodeRequest request;
  *request.mutable_register_node()->mutable_node() = self();
  const Result<v1::NodeResponse> result =
      co_await channel_.Call(address, std::move(request), kCallTimeout);
  if (!result.ok()) co_return result.status();
  if (member()) co_return Status::Ok();
  if (result->error().code() != v1::OK) co_return StatusFromError(result->error());
  const v1::RegisterNodeResponse& registered = result->register_node();
  // It was registered at an earlier start, and did not hear of it.
  const storage::Incarnation remembered = FromProto(registered.remembered().incarnation());
  if (remembered && options_.incarnations->Descends(remembered)) descends_from_ = remembered;
  if (registered.error().code() != v1::OK) co_return StatusFromError(registered.error());
  if (registered.node_id() == 0) co_return Internal("it gave no node id");
  const Status status = directory_.Assign(registered.cluster_id(), NodeId(registered.node_id()));
  if (!status.ok()) {
    env_.log.Error("node: cannot keep its identity: {}", status.ToString());
    co_return status;
  }
  finished_ = true;
  NotifyMember();
  co_return Status::Ok();
}

}  // namespace quorate::server
