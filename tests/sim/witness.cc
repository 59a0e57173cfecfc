#include "tests/sim/witness.h"

#include <fmt/format.h>

#include "client/route/caller.h"
#include "proto/node.pb.h"

namespace quorate::sim {

namespace {

constexpr Duration kIntervalMax = 400ms;
constexpr Duration kPatience = 500ms;  // with one node
constexpr int kKeys = 3;               // asked for in one round
constexpr size_t kRecent = 24;         // attempts
constexpr double kLongAgo = 0.2;       // chance of a read at an old timestamp

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
    const auto response = co_await Call(address, std::move(request));
    if (response.ok() && response->routes().error().code() == v1::OK) {
      routes_.Update(response->routes());
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
  if (const auto old = random_.Chance(kLongAgo) ? LongAgo() : std::nullopt) moment = *old;
  if (!moment.at) co_return;
  for (int i = 0; i < kKeys; ++i) {
    const std::optional<std::string> key = RecentKey();
    if (!key) co_return;
    for (const std::string& address : cluster_.addresses()) {
      client_->scope().Spawn(Read(address, *key, moment));
    }
  }
}

Task<std::optional<Timestamp>> Witness::AskForSlot(std::string address) {
  const Timestamp before = highest_;
  v1::NodeRequest request;
  request.mutable_slot();
  const auto response = co_await Call(address, std::move(request));
  if (!response.ok() || client::ErrorOf(*response).code() != v1::OK) co_return std::nullopt;
  const Timestamp slot(response->slot().slot());
  if (slot <= before) {
    record_.Violation(fmt::format("T2: {} answered slot {}, though {} had been answered before",
                                  address, slot, before));
  }
  highest_ = std::max(highest_, slot);
  co_return slot;
}

Task<void> Witness::Read(std::string address, std::string key, Moment moment) {
  const client::Route* route = routes_.Find(key);
  if (route == nullptr) co_return;
  std::string end = key;
  end.push_back('\0');
  v1::NodeRequest request;
  v1::ReadRequest& read = *request.mutable_read();
  read.mutable_route()->set_shard_id(route->shard.value());
  read.mutable_route()->set_version(route->version);
  read.set_read_ts(moment.at.bits());
  const bool scan = random_.Chance(0.5);
  if (scan) {
    v1::KeySpan& span = *read.add_scans()->mutable_span();
    span.set_from(key);
    span.set_to(end);
  } else {
    read.add_keys(key);
  }
  const auto response = co_await Call(address, std::move(request));
  if (!response.ok() || client::ErrorOf(*response).code() != v1::OK) co_return;
  ReadSeen seen{key, end, 0, false, {}, {}};
  if (scan) {
    for (const auto& row : response->read().scans(0).rows()) {
      seen.rows.emplace_back(row.key(), Keep(row.value()));
    }
  } else {
    const v1::KeyValue& got = response->read().gets(0);
    seen.rows.emplace_back(key, got.found() ? Keep(got.value()) : std::nullopt);
  }
  AttemptSeen& attempt = record_.Begin(fmt::format("the witness, at {},", address));
  attempt.began = moment.began;
  attempt.start_ts = moment.at;
  attempt.state = AttemptSeen::State::kAborted;  // it only read
  attempt.reads.push_back(std::move(seen));
}

Task<Result<v1::NodeResponse>> Witness::Call(std::string address, v1::NodeRequest request) {
  request.set_timeout_ms(static_cast<uint32_t>(kPatience / 1ms));
  return client_->channel().Call(std::move(address), std::move(request), kPatience);
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
  return Moment{attempt.start_ts, attempt.began};
}

}  // namespace quorate::sim
