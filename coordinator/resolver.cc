#include "coordinator/resolver.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/probe.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::coordinator {
namespace {

constexpr size_t kBatchMax = 512;  // resolutions in one entry
constexpr int kInFlightMax = 2;    // requests per shard: one travels while one is applied
constexpr Duration kAttempt = 2s;  // for one request, redirects included
constexpr Duration kEarlyAttempt = 500ms;
constexpr Duration kPause = 50ms;  // after a failed request
// Done matters to garbage collection only; waiting makes one entry of many.
constexpr Duration kDoneDelay = 100ms;
constexpr size_t kDoneBatchMax = 1024;

}  // namespace

struct Resolver::Job {
  DecidedTxn txn;
  bool commit;
  Timestamp commit_ts;
  Closure done;
  size_t left;
  uint64_t batch = 0;  // the newest that has a part of it
};

Resolver::Resolver(Env& env, client::Caller& caller, ShardDirectory& directory)
    : env_(env), caller_(caller), directory_(directory), scope_(env.executor) {}

v1::Resolution Resolver::MakeResolution(const DecidedTxn& txn, size_t participant, bool commit,
                                        Timestamp commit_ts) {
  const shard::StagedParticipant& part = (*txn.participants)[participant];
  v1::Resolution resolution;
  resolution.set_txn_id(std::string(txn.id.bytes()));
  resolution.set_digest(part.digest.value());
  resolution.set_marker_key(part.marker_key);
  resolution.set_outcome(commit ? v1::COMMITTED : v1::ABORTED_STATE);
  resolution.set_commit_ts(commit_ts.bits());
  resolution.set_start_ts(txn.start_ts.bits());
  return resolution;
}

ShardId Resolver::ShardOf(std::string_view key) {
  if (shard::Shard* shard = directory_.FindServing(key)) return shard->id();
  const client::Route* route = caller_.routes().Find(key);
  return route == nullptr ? ShardId() : route->shard;
}

// ---- early outcomes -----------------------------------------------------------------------------

void Resolver::Early(const DecidedTxn& txn, Timestamp commit_ts) {
  for (size_t i = 0; i < txn.participants->size(); ++i) {
    early_[ShardOf((*txn.participants)[i].marker_key)].push_back(
        MakeResolution(txn, i, true, commit_ts));
  }
  if (!std::exchange(early_scheduled_, true)) scope_.Spawn(SendEarly());
}

Task<void> Resolver::SendEarly() {
  early_scheduled_ = false;
  for (auto& [shard, batch] : std::exchange(early_, {})) {
    if (shard::Shard* here = directory_.FindServing(batch.front().marker_key())) {
      here->EarlyOutcome(batch);
    } else {
      scope_.Spawn(SendEarlyTo(std::move(batch)));
    }
  }
  co_return;
}

Task<void> Resolver::SendEarlyTo(std::vector<v1::Resolution> batch) {
  const std::string key = batch.front().marker_key();
  auto fill = [batch = std::move(batch)](const client::Route& route) {
    v1::NodeRequest request;
    v1::EarlyOutcomeRequest* early = request.mutable_early_outcome();
    client::SetRoute(route, early->mutable_route());
    for (const v1::Resolution& resolution : batch) *early->add_resolutions() = resolution;
    return request;
  };
  // Lost: the Resolve tells the same a little later.
  (void)co_await caller_.CallShard(key, fill, env_.Now() + kEarlyAttempt);
}

// ---- resolutions --------------------------------------------------------------------------------

void Resolver::Resolve(DecidedTxn txn, bool commit, Timestamp commit_ts, Closure done) {
  const size_t count = txn.participants->size();
  CHECK(count > 0);
  auto job = std::make_shared<Job>(Job{std::move(txn), commit, commit_ts, std::move(done), count});
  pending_ += count;
  for (size_t i = 0; i < count; ++i) Enqueue({job, i});
}

void Resolver::Enqueue(Item item) {
  const ShardId shard = ShardOf((*item.job->txn.participants)[item.participant].marker_key);
  Queue& queue = queues_[shard];
  queue.waiting.push_back(std::move(item));
  if (queue.in_flight == kInFlightMax) return;
  // The batch is taken when the task runs, so whatever comes in this turn joins it.
  if (queue.in_flight == 0 || queue.waiting.size() == 1) {
    ++queue.in_flight;
    scope_.Spawn(SendBatch(shard));
  }
}

std::vector<Resolver::Item> Resolver::TakeBatch(ShardId shard) {
  const uint64_t number = ++batches_;
  std::vector<Item> batch;
  std::vector<Item> later;
  std::vector<Item>& waiting = queues_[shard].waiting;
  auto item = waiting.begin();
  for (; item != waiting.end() && batch.size() < kBatchMax; ++item) {
    const bool another_part = std::exchange(item->job->batch, number) == number;
    (another_part ? later : batch).push_back(std::move(*item));
  }
  // What stays goes on in its order.
  const auto kept = std::move_backward(later.begin(), later.end(), item);
  waiting.erase(waiting.begin(), kept);
  return batch;
}

Task<void> Resolver::SendBatch(ShardId shard) {
  while (!queues_[shard].waiting.empty()) {
    std::vector<Item> batch = TakeBatch(shard);
    std::vector<v1::Resolution> resolutions;
    resolutions.reserve(batch.size());
    for (const Item& item : batch) {
      resolutions.push_back(
          MakeResolution(item.job->txn, item.participant, item.job->commit, item.job->commit_ts));
    }
    const Status status = co_await Send(std::move(resolutions));
    if (!status.ok()) {
      PROBE("resolver: sends again");
      co_await Sleep(env_.executor, kPause);
    }
    Settle(std::move(batch), status.ok());
  }
  Queue& queue = queues_[shard];
  if (--queue.in_flight == 0) queues_.erase(shard);
}

Task<Status> Resolver::Send(std::vector<v1::Resolution> batch) {
  const std::string key = batch.front().marker_key();
  if (shard::Shard* here = directory_.FindServing(key)) {
    co_return co_await here->Resolve(std::move(batch));
  }
  auto fill = [batch = std::move(batch)](const client::Route& route) {
    v1::NodeRequest request;
    v1::ResolveRequest* resolve = request.mutable_resolve();
    client::SetRoute(route, resolve->mutable_route());
    for (const v1::Resolution& resolution : batch) *resolve->add_resolutions() = resolution;
    return request;
  };
  const auto response = co_await caller_.CallShard(key, fill, env_.Now() + kAttempt);
  if (!response.ok()) co_return response.status();
  co_return StatusFromError(client::ErrorOf(*response));
}

void Resolver::Settle(std::vector<Item> batch, bool applied) {
  for (Item& item : batch) {
    Job& job = *item.job;
    if (!applied) {
      const DecidedTxn& txn = job.txn;
      if (directory_.FindServing(txn.anchor_shard, txn.anchor_term) != nullptr) {
        Enqueue(std::move(item));
      } else {
        PROBE("resolver: leaves it to the next leader");
        --pending_;
      }
      continue;
    }
    --pending_;
    if (--job.left == 0 && job.done) std::exchange(job.done, nullptr)();
  }
}

// ---- done ---------------------------------------------------------------------------------------

void Resolver::LogDone(const DecidedTxn& txn, Closure done) {
  const auto [it, first] = finished_.try_emplace(txn.anchor_shard);
  it->second.push_back({txn.id, txn.anchor_key, txn.anchor_term, std::move(done)});
  if (first) scope_.Spawn(LogDoneBatches(txn.anchor_shard));
}

Task<void> Resolver::LogDoneBatches(ShardId anchor) {
  while (!finished_[anchor].empty()) {
    co_await Sleep(env_.executor, kDoneDelay);
    std::vector<Finished> batch = std::exchange(finished_[anchor], {});
    std::vector<Closure> callbacks;
    std::vector<std::pair<TxnId, std::string>> names;
    for (size_t i = 0; i < batch.size(); ++i) {
      // What an earlier term decided is resolved and closed by the leader that came after it.
      if (directory_.FindServing(anchor, batch[i].term) != nullptr) {
        names.emplace_back(batch[i].id, std::move(batch[i].anchor_key));
      }
      callbacks.push_back(std::move(batch[i].done));
      if (names.size() < kDoneBatchMax && i + 1 < batch.size()) continue;
      shard::Shard* here = directory_.Find(anchor);
      if (!names.empty() && here != nullptr) {
        (void)co_await here->Done(std::exchange(names, {}));  // if not, the next leader does it
      }
    }
    for (Closure& done : callbacks) {
      if (done) done();
    }
  }
  finished_.erase(anchor);
}

}  // namespace quorate::coordinator
