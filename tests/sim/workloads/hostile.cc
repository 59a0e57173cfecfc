// Hostile: what strangers and broken peers send, beside everybody else's work: markers that fit no
// store key, one txn_id at several keys, questions that claim an old start_ts, reads ahead of every
// slot, resolutions and prepares of nothing. Whatever it is, nobody ends, and what was answered is
// true.
#include <fmt/format.h>

#include <deque>

#include "quorate/v1/node.pb.h"
#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/thin_client.h"
#include "txn/footprint.h"
#include "txn/id.h"
#include "txn/timestamp.h"

namespace quorate::sim {
namespace {

constexpr Duration kTimeout = 2s;
constexpr int kKeys = 12;
// Behind which the horizon has passed a start that was claimed to be almost as old as may be.
constexpr Duration kCollectedAfter = 22s;
constexpr uint64_t kClaimMillis = 50'000;
constexpr uint64_t kAheadMillis = 90;

std::string NewId(Random& random) { return std::string(TxnId::Make(random).bytes()); }
std::string SomeKey(Random& random) {
  return SpreadKey("hostile", static_cast<int>(random.Below(kKeys)), kKeys);
}

class Hostile final : public Workload {
 public:
  explicit Hostile(const WorkloadContext& context)
      : Workload(context.world, "hostile"), step_(0), lifetime_(context.options.txn_lifetime) {}

  Task<void> Step(Hands* hands) override {
    const std::string node = hands->thin->Pick(*hands->nodes, *hands->random);
    if (cluster_id_.empty()) {
      v1::NodeRequest hello;
      hello.mutable_hello();
      const auto answer = co_await Send(hands, node, std::move(hello));
      if (answer.ok()) cluster_id_ = answer->hello().cluster_id();
      co_return;
    }
    switch (step_++ % 6) {
      case 0:
        co_return co_await SendMalformed(hands, node);
      case 1:
        co_return co_await AskAtTwoKeys(hands, node);
      case 2:
        co_return co_await ClaimOldStart(hands, node);
      case 3:
        co_return co_await CommitWhatWasAborted(hands, node);
      case 4:
        co_return co_await ReadAhead(hands, node);
      default:
        co_return co_await Honest(hands);
    }
  }

 private:
  struct Claimed {
    v1::NodeRequest commit;
    Instant told;
  };

  Task<Result<v1::NodeResponse>> Send(Hands* hands, std::string node, v1::NodeRequest request) {
    request.set_timeout_ms(static_cast<uint32_t>(kTimeout / 1ms));
    co_return co_await hands->thin->CallNode(std::move(node), cluster_id_, std::move(request),
                                             kTimeout);
  }

  Task<Timestamp> Slot(Hands* hands) {
    for (const std::string& node : *hands->nodes) {
      v1::NodeRequest request;
      request.mutable_slot();
      const auto answer = co_await Send(hands, node, std::move(request));
      if (answer.ok() && answer->slot().slot() != 0) co_return Timestamp(answer->slot().slot());
    }
    co_return Timestamp();
  }

  // Of the shard that owns `key`; its version 0 is nobody's.
  Task<v1::ShardRoute> RouteOf(Hands* hands, std::string node, std::string key) {
    v1::NodeRequest request;
    request.mutable_routes()->set_from(key);
    request.mutable_routes()->set_to(key + '\0');
    const auto answer = co_await Send(hands, std::move(node), std::move(request));
    v1::ShardRoute route;
    if (!answer.ok() || answer->routes().routes().empty()) co_return route;
    route.set_shard_id(answer->routes().routes(0).shard().shard_id());
    route.set_version(answer->routes().routes(0).shard().version());
    co_return route;
  }

  Task<void> SendMalformed(Hands* hands, std::string node) {
    Random& random = *hands->random;
    const std::string key = SomeKey(random);
    const v1::ShardRoute route = co_await RouteOf(hands, node, key);
    const std::string marker = key + std::string(random.Between(470, 700), 'm');
    const Timestamp slot = co_await Slot(hands);
    const auto fill = [&](auto* request) {
      *request->mutable_route() = route;
      return request;
    };
    const auto name = [&](auto* part) {
      part->set_txn_id(NewId(random));
      part->set_digest(random.Next() | 1);
      part->set_marker_key(random.Chance(0.8) ? marker : key);
      part->set_start_ts(random.Chance(0.9) ? slot.bits() : 0);
    };
    v1::NodeRequest request;
    switch (random.Below(4)) {
      case 0:
        name(fill(request.mutable_query_prepare()));
        break;
      case 1: {
        v1::Resolution* resolution = fill(request.mutable_resolve())->add_resolutions();
        name(resolution);
        resolution->set_outcome(v1::ABORTED_STATE);
        break;
      }
      case 2: {
        v1::Resolution* resolution = fill(request.mutable_early_outcome())->add_resolutions();
        name(resolution);
        resolution->set_outcome(v1::COMMITTED);
        resolution->set_commit_ts(slot.bits() + 1);
        break;
      }
      default: {
        v1::PrepareRequest* prepare = fill(request.mutable_prepare());
        name(prepare);
        prepare->mutable_priority()->set_txn_id(prepare->txn_id());
        prepare->set_anchor_key(key);
        prepare->add_writes()->set_key(key);
        break;
      }
    }
    for (const std::string& each : *hands->nodes) (void)co_await Send(hands, each, request);
  }

  static v1::NodeRequest PushOf(const std::string& id, Timestamp start, const std::string& key) {
    v1::NodeRequest request;
    v1::TxnRef* txn = request.mutable_push()->mutable_txn();
    txn->set_txn_id(id);
    txn->set_start_ts(start.bits());
    txn->set_anchor_key(key);
    return request;
  }

  // ABORTED at both, each for itself, until the horizon has passed them one after the other.
  Task<void> AskAtTwoKeys(Hands* hands, std::string) {
    Random& random = *hands->random;
    const Timestamp slot = co_await Slot(hands);
    if (!slot) co_return;
    const std::string id = NewId(random);
    const std::string key = SomeKey(random);
    for (const char* suffix : {"/1", "/2", "/3"}) {
      const v1::NodeRequest push = PushOf(id, slot, key + suffix);
      for (const std::string& each : *hands->nodes) {
        const auto answer = co_await Send(hands, each, push);
        if (answer.ok() && answer->push().state() == v1::ABORTED_STATE) break;
      }
    }
  }

  // "What became of it?", with a start_ts that the horizon will pass long before the transaction's.
  Task<void> ClaimOldStart(Hands* hands, std::string) {
    Random& random = *hands->random;
    const Timestamp slot = co_await Slot(hands);
    if (!slot || lifetime_ < 55s || claimed_.size() >= 20) co_return;
    const std::string id = NewId(random);
    const std::string key = SomeKey(random) + "/claimed";
    v1::NodeRequest request;
    v1::CommitRequest* commit = request.mutable_commit();
    commit->set_txn_id(id);
    commit->set_start_ts(slot.bits());
    commit->mutable_priority()->set_txn_id(id);
    commit->mutable_priority()->set_start_ts(slot.bits());
    commit->set_anchor_key(key);
    commit->add_writes()->set_key(key);
    const v1::NodeRequest push = PushOf(id, slot.MinusMillis(kClaimMillis), key);
    for (const std::string& each : *hands->nodes) {
      const auto answer = co_await Send(hands, each, push);
      if (answer.ok() && answer->push().state() == v1::ABORTED_STATE) {
        claimed_.push_back({std::move(request), world_.now()});
        co_return;
      }
    }
  }

  Task<void> CommitWhatWasAborted(Hands* hands, std::string) {
    if (claimed_.empty() || world_.now() - claimed_.front().told < kCollectedAfter) co_return;
    const v1::NodeRequest commit = std::move(claimed_.front().commit);
    claimed_.pop_front();
    for (const std::string& each : *hands->nodes) {
      const auto answer = co_await Send(hands, each, commit);
      if (answer.ok() && answer->commit().commit_ts() != 0) {
        Violation("A2: a transaction that was told ABORTED was committed");
      }
    }
  }

  // What is written next must be seen by whoever begins once it is acknowledged.
  Task<void> ReadAhead(Hands* hands, std::string node) {
    const std::string key = SomeKey(*hands->random);
    const v1::ShardRoute route = co_await RouteOf(hands, std::move(node), key);
    const Timestamp slot = co_await Slot(hands);
    if (!slot || route.shard_id() == 0) co_return;
    v1::NodeRequest read;
    *read.mutable_read()->mutable_route() = route;
    read.mutable_read()->add_keys(key);
    read.mutable_read()->set_read_ts(
        Timestamp::FromParts(slot.physical_ms() + kAheadMillis, 0).bits());
    // As whoever is asked first serves the past, too: of what is not closed there is none.
    if (hands->random->Chance(0.5)) read.mutable_read()->mutable_stale();
    for (const std::string& each : *hands->nodes) (void)co_await Send(hands, each, read);
    co_await WriteAndRead(hands, key);
  }

  Task<void> Honest(Hands* hands) { return WriteAndRead(hands, SomeKey(*hands->random)); }

  Task<void> WriteAndRead(Hands* hands, std::string key) {
    const int64_t number = ++written_;
    const auto result = co_await hands->database->TransactAsync(
        [key, number](client::Transaction& txn) { return Write(&txn, key, number); },
        {.timeout = 5s});
    Count(result.status);
    if (!result.status.ok()) co_return;
    const auto now = co_await hands->database->GetAsync(key, 5s);
    if (now.ok()) (void)Count(Status::Ok());
  }
  static Task<Status> Write(client::Transaction* txn, std::string key, int64_t number) {
    co_return txn->Put(key, fmt::format("{}", number));
  }

  uint64_t step_;
  const Duration lifetime_;
  std::string cluster_id_;
  int64_t written_ = 0;
  std::deque<Claimed> claimed_;
};

}  // namespace

std::unique_ptr<Workload> MakeHostile(const WorkloadContext& context) {
  return std::make_unique<Hostile>(context);
}

}  // namespace quorate::sim
