#include "tests/sim/witness.h"

#include <fmt/format.h>

#include "client/route/caller.h"
#include "quorate/v1/node.pb.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {

namespace {

constexpr Duration kIntervalMax = 400ms;
constexpr Duration kPatience = 500ms;  // with one node
constexpr int kKeys = 3;               // asked for in one round
constexpr size_t kRecent = 24;         // attempts
constexpr double kLongAgo = 0.2;       // chance of a read at an old timestamp
// Transactions of its own.
constexpr double kCommits = 0.25;  // chance in one round
constexpr int kOwnKeys = 10;
constexpr int kWritesMax = 3;
constexpr double kGuards = 0.5;  // chance that one reads, too
constexpr int kTimesSent = 3;    // to each node
constexpr Duration kCopyAfterMax = 600ms;

std::string OwnKey(int index) { return SpreadKey("witness", index, kOwnKeys); }

// The range of one key.
std::string EndOf(std::string key) {
  key.push_back('\0');
  return key;
}

}  // namespace

Witness::Witness(Cluster& cluster, Record& record)
    : cluster_(cluster),
      record_(record),
      random_(cluster.world().Fork("witness")),
      routes_(cluster.addresses()) {}

void Witness::Start() {
  client_ = cluster_.MakeClient("witness");
  client_->scope().Spawn(Loop());
}

Task<void> Witness::Loop() {
  while (routes_.empty()) co_await LearnRoutes();
  for (;;) {
    co_await Sleep(client_->process(), Duration(random_.Below(kIntervalMax.count())));
    // Not awaited: a node that does not answer must not keep the others from being asked.
    client_->scope().Spawn(Round());
  }
}

Task<void> Witness::LearnRoutes() {
  for (const std::string& address : cluster_.addresses()) {
    v1::NodeRequest request;
    request.mutable_routes();
    const auto response = co_await Call(address, std::move(request), kPatience);
    if (response.ok() && response->routes().error().code() == v1::OK) {
      routes_.Update(response->routes());
      client_->channel().SetClusterId(routes_.cluster_id());
    }
  }
}

Task<void> Witness::Round() {
  Moment moment{{}, record_.Now()};
  auto asked = std::vector<Task<std::optional<Timestamp>>>();
  for (const std::string& address : cluster_.addresses()) asked.push_back(AskForSlot(address));
  for (const auto& slot : co_await WhenAll(client_->process(), std::move(asked))) {
    if (slot) moment.at = std::max(moment.at, *slot);
  }
  const std::optional<Moment> old = random_.Chance(kLongAgo) ? LongAgo() : std::nullopt;
  if (old) moment = *old;
  if (!moment.at) co_return;
  if (!old && random_.Chance(kCommits)) client_->scope().Spawn(CommitEverywhere(moment));
  for (int i = 0; i < kKeys; ++i) {
    const std::optional<std::string> key = RecentKey();
    if (!key) co_return;
    for (const std::string& address : ReplicasOf(*key)) {
      client_->scope().Spawn(Read(address, *key, moment));
    }
  }
}

Task<std::optional<Timestamp>> Witness::AskForSlot(std::string address) {
  const Timestamp before = highest_;
  v1::NodeRequest request;
  request.mutable_slot();
  const auto response = co_await Call(address, std::move(request), kPatience);
  if (!response.ok() || client::ErrorOf(*response).code() != v1::OK) co_return std::nullopt;
  const Timestamp slot(response->slot().slot());
  if (slot <= before) {
    record_.Violation(fmt::format("T2: {} answered slot {}, though {} had been answered before",
                                  address, slot, before));
  }
  highest_ = std::max(highest_, slot);
  ++witnessed_.slots;
  co_return slot;
}

Task<void> Witness::Read(std::string address, std::string key, Moment moment) {
  std::optional<ReadSeen> seen = co_await Ask(address, std::move(key), moment);
  if (!seen) co_return;
  AttemptSeen& attempt = record_.Begin(fmt::format("the witness, at {},", address));
  attempt.began = moment.began;
  attempt.start_ts = moment.at;
  attempt.state = AttemptSeen::State::kAborted;  // it only read
  attempt.reads.push_back(std::move(*seen));
}

Task<std::optional<ReadSeen>> Witness::Ask(std::string address, std::string key, Moment moment) {
  const client::Route* route = routes_.Find(key);
  if (route == nullptr) co_return std::nullopt;
  const std::string end = EndOf(key);
  v1::NodeRequest request;
  v1::ReadRequest& read = *request.mutable_read();
  read.mutable_route()->set_shard_id(route->shard.value());
  read.mutable_route()->set_version(route->version);
  read.set_read_ts(moment.at.bits());
  if (moment.stale) read.mutable_stale();
  const bool scan = random_.Chance(0.5);
  if (scan) {
    v1::KeySpan& span = *read.add_scans()->mutable_span();
    span.set_from(key);
    span.set_to(end);
  } else {
    read.add_keys(key);
  }
  const auto response = co_await Call(std::move(address), std::move(request), kPatience);
  if (!response.ok() || client::ErrorOf(*response).code() != v1::OK) co_return std::nullopt;
  ++witnessed_.reads;
  ReadSeen seen{key, end, 0, false, {}, {}};
  if (scan) {
    for (const auto& row : response->read().scans(0).rows()) {
      seen.rows.emplace_back(row.key(), Keep(row.value()));
    }
  } else {
    const v1::KeyValue& got = response->read().gets(0);
    seen.rows.emplace_back(key, got.found() ? Keep(got.value()) : std::nullopt);
  }
  co_return seen;
}

// Writes some of its own keys, perhaps after reading another.
Task<void> Witness::CommitEverywhere(Moment moment) {
  const int first = static_cast<int>(random_.Below(kOwnKeys));
  std::vector<ReadSeen> reads;
  if (random_.Chance(kGuards)) {
    auto asked = std::vector<Task<std::optional<ReadSeen>>>();
    const std::string key = OwnKey((first + kOwnKeys / 2) % kOwnKeys);
    for (const std::string& address : ReplicasOf(key)) {
      asked.push_back(Ask(address, key, moment));
    }
    for (auto& seen : co_await WhenAll(client_->process(), std::move(asked))) {
      if (seen && reads.empty()) reads.push_back(std::move(*seen));
    }
    if (reads.empty()) co_return;
  }
  std::map<std::string, Value> writes;
  const int count = static_cast<int>(random_.Between(1, kWritesMax));
  for (int i = 0; i < count; ++i) {
    writes[OwnKey((first + 3 * i) % kOwnKeys)] = fmt::format("witness/{}", ++commits_);
  }
  const client::Route* route = routes_.Find(writes.begin()->first);
  if (route == nullptr) co_return;

  AttemptSeen& attempt = record_.Begin("the witness's transaction");
  attempt.began = moment.began;
  attempt.id = TxnId::Make(random_);
  if (!reads.empty()) attempt.start_ts = moment.at;
  attempt.state = AttemptSeen::State::kCommitting;
  attempt.reads = std::move(reads);
  attempt.writes = std::move(writes);

  auto request = std::make_shared<v1::NodeRequest>();
  v1::CommitRequest& commit = *request->mutable_commit();
  commit.mutable_route()->set_shard_id(route->shard.value());
  commit.mutable_route()->set_version(route->version);
  commit.set_txn_id(std::string(attempt.id.bytes()));
  commit.set_start_ts(moment.at.bits());
  commit.mutable_priority()->set_txn_id(std::string(attempt.id.bytes()));
  commit.mutable_priority()->set_start_ts(moment.at.bits());
  commit.set_anchor_key(attempt.writes.begin()->first);
  for (const ReadSeen& read : attempt.reads) {
    v1::KeySpan& span = *commit.add_reads();
    span.set_from(read.from);
    span.set_to(read.to);
  }
  for (const auto& [key, value] : attempt.writes) {
    v1::Write& write = *commit.add_writes();
    write.set_key(key);
    write.set_value(*value);
  }
  const Duration patience(random_.Between(200'000'000, 4'000'000'000));
  for (int time = 0; time < kTimesSent; ++time) {
    for (const std::string& address : ReplicasOf(commit.anchor_key())) {
      client_->scope().Spawn(SendCommit(address, request, patience, &attempt));
    }
    co_await Sleep(client_->process(), Duration(random_.Below(kCopyAfterMax.count())));
  }
}

Task<void> Witness::SendCommit(std::string address, std::shared_ptr<const v1::NodeRequest> request,
                               Duration patience, AttemptSeen* attempt) {
  const auto response = co_await Call(std::move(address), *request, patience);
  if (!response.ok() || response->error().code() != v1::OK) co_return;
  switch (response->commit().error().code()) {
    case v1::OK:
      ++witnessed_.commits;
      record_.Committed(attempt, Timestamp(response->commit().commit_ts()));
      // Nobody may answer without it from now on: whoever did not take part in it least of all.
      for (const std::string& node : ReplicasOf(attempt->writes.begin()->first)) {
        client_->scope().Spawn(Read(node, attempt->writes.begin()->first,
                                    {Timestamp(response->commit().commit_ts()), attempt->began}));
      }
      break;
    // Facts; whatever else is answered says nothing about the outcome.
    case v1::READ_CONFLICT:
    case v1::LOCK_CONFLICT:
    case v1::ABORTED:
    case v1::OVERLOADED:
    case v1::NO_SPACE:
      record_.Aborted(attempt);
      break;
    default:
      break;
  }
}

Task<Result<v1::NodeResponse>> Witness::Call(std::string address, v1::NodeRequest request,
                                             Duration patience) {
  request.set_timeout_ms(static_cast<uint32_t>(patience / 1ms));
  return client_->channel().Call(std::move(address), std::move(request), patience);
}

std::vector<std::string> Witness::ReplicasOf(const std::string& key) const {
  std::vector<std::string> addresses;
  const client::Route* route = routes_.Find(key);
  if (route == nullptr) return addresses;
  for (const client::Endpoint& replica : route->replicas) addresses.push_back(replica.address);
  return addresses;
}

std::optional<std::string> Witness::RecentKey() {
  const auto& attempts = record_.attempts();
  const size_t recent = std::min(kRecent, attempts.size());
  for (size_t tries = 0; tries < recent; ++tries) {
    const AttemptSeen& attempt = attempts[attempts.size() - 1 - random_.Below(recent)];
    if (attempt.writes.empty()) continue;
    auto write = attempt.writes.begin();
    std::advance(write, random_.Below(std::min<size_t>(attempt.writes.size(), 8)));
    return write->first;
  }
  return std::nullopt;
}

std::optional<Witness::Moment> Witness::LongAgo() {
  const auto& attempts = record_.attempts();
  if (attempts.empty()) return std::nullopt;
  const AttemptSeen& attempt = attempts[random_.Below(attempts.size())];
  if (!attempt.start_ts) return std::nullopt;
  // Who read the past could not expect to see anything.
  const int64_t began = attempt.stale.wanted() ? 0 : attempt.began;
  return Moment{attempt.start_ts, began, random_.Chance(0.5)};
}

}  // namespace quorate::sim
