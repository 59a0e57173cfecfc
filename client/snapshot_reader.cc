#include "client/snapshot_reader.h"

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "base/status_macros.h"
#include "quorate/v1/node.pb.h"

namespace quorate::client {
namespace {

// Keys in one read request: bounds what one answer may hold beside the leader's own bound.
constexpr size_t kKeysPerRead = 1000;
// Of a bound on a whole GetMany, the least share of one request.
constexpr size_t kRequestBytesMin = 64 << 10;

}  // namespace

Task<Result<v1::ReadResponse>> SnapshotReader::Send(std::string route_key, Fill fill, Timestamp at,
                                                    Instant deadline) {
  Caller::Fill make = [fill = std::move(fill), at, stale = stale_,
                       id = txn_id_](const Route& route) {
    v1::NodeRequest request;
    v1::ReadRequest* read = request.mutable_read();
    SetRoute(route, read->mutable_route());
    read->set_read_ts(at.bits());
    read->set_txn_id(std::string(id.bytes()));
    if (stale.wanted()) {
      read->mutable_stale()->set_max_age_ms(static_cast<uint32_t>(ToMillis(stale.max_age)));
      if (!at) read->mutable_stale()->set_not_before(stale.not_before.bits());
    }
    fill(route, read);
    return request;
  };
  const auto first = stale_.wanted() ? Caller::First::kAnyReplica : Caller::First::kLeader;
  Result<v1::NodeResponse> response =
      co_await core_->Call(std::move(route_key), std::move(make), deadline, first);
  if (!response.ok()) co_return response.status();
  v1::ReadResponse read = std::move(*response->mutable_read());
  const bool same =
      at ? read.read_ts() == at.bits() : Timestamp(read.read_ts()) >= stale_.not_before;
  if (read.read_ts() == 0 || !same) co_return Internal("a leader read at another timestamp");
  co_return read;
}

Task<Result<v1::ReadResponse>> SnapshotReader::Read(std::string route_key, Fill fill,
                                                    Instant deadline) {
  co_await start_->Await();
  if (start_->get() && !MUTANT("client-reads-at-several-timestamps")) {
    co_return co_await Send(std::move(route_key), std::move(fill), start_->get(), deadline);
  }
  const StartTimestamp::Claim claim(start_);
  Result<v1::ReadResponse> response =
      co_await Send(std::move(route_key), std::move(fill), Timestamp(), deadline);
  if (response.ok()) {
    start_->Set(Timestamp(response->read_ts()));
    // An old one is not the newest there is, though it may be the newest known here.
    if (!stale_.wanted()) core_->slots().Observe(start_->get());
  }
  co_return response;
}

Task<Result<SnapshotReader::Value>> SnapshotReader::Get(std::string key, Instant deadline) {
  Fill fill = [key](const Route&, v1::ReadRequest* read) { read->add_keys(key); };
  Result<v1::ReadResponse> response = co_await Read(key, std::move(fill), deadline);
  if (!response.ok()) co_return response.status();
  if (response->gets_size() != 1) co_return Internal("one key was asked, not one answered");
  v1::KeyValue* got = response->mutable_gets(0);
  if (!got->found()) co_return Value();
  co_return Value(std::move(*got->mutable_value()));
}

struct SnapshotReader::Found {
  std::vector<Value> values;
  size_t bytes = 0;
  size_t bytes_max = 0;      // 0: no bound
  size_t request_bytes = 0;  // asked for at once
};

Task<Result<std::vector<SnapshotReader::Value>>> SnapshotReader::GetMany(Keys keys,
                                                                         Instant deadline) {
  auto groups = co_await core_->GroupByShard(keys, deadline);
  if (!groups.ok()) co_return groups.status();
  auto found = std::make_shared<Found>();
  found->values.resize(keys->size());
  found->bytes_max = core_->options().read_bytes_max;
  found->request_bytes = std::max(found->bytes_max / groups->size(), kRequestBytesMin);
  if (groups->size() > 1 && !start_->get() && !stale_.wanted()) {
    CO_RETURN_IF_ERROR(co_await start_->Fetch(deadline));
  }
  // The first of a stale snapshot finds where all of it is read.
  if (groups->size() == 1 || (stale_.wanted() && !start_->get())) {
    CO_RETURN_IF_ERROR(co_await GetGroup(keys, std::move(groups->front()), found, deadline));
    groups->erase(groups->begin());
  }
  std::vector<Task<Status>> reads;
  for (auto& group : *groups) reads.push_back(GetGroup(keys, std::move(group), found, deadline));
  for (Status& status : co_await WhenAll(core_->env().executor, std::move(reads))) {
    if (!status.ok()) co_return std::move(status);
  }
  co_return std::move(found->values);
}

// Reads keys that one shard owned when they were grouped. Should it have been split since, each
// request that comes back stale is cut down to the keys of one shard again.
Task<Status> SnapshotReader::GetGroup(Keys keys, std::vector<size_t> indices,
                                      std::shared_ptr<Found> found, Instant deadline) {
  size_t done = 0;
  size_t keys_max = kKeysPerRead;
  while (done < indices.size()) {
    // What the last sending asked for.
    auto sent = std::make_shared<std::vector<size_t>>();
    std::vector<size_t> rest(indices.begin() + static_cast<long>(done), indices.end());
    Fill fill = [keys, sent, keys_max, found, rest = std::move(rest)](const Route& route,
                                                                      v1::ReadRequest* read) {
      sent->clear();
      if (found->bytes_max != 0) {
        read->set_limit_bytes(static_cast<uint32_t>(found->request_bytes));
      }
      for (const size_t index : rest) {
        if (sent->size() == keys_max) break;
        // In the order asked: a key of another shard ends this request.
        if (!route.span.Contains((*keys)[index])) break;
        read->add_keys((*keys)[index]);
        sent->push_back(index);
      }
    };
    Result<v1::ReadResponse> response =
        co_await Read((*keys)[indices[done]], std::move(fill), deadline);
    if (response.status().code() == Code::kInvalidArgument && sent->size() > 1) {
      // Their values are too much for one answer.
      keys_max = sent->size() / 2;
      continue;
    }
    if (!response.ok()) co_return response.status();
    const auto answered = static_cast<size_t>(response->gets_size());
    if (answered == 0 || answered > sent->size()) {
      co_return Internal(fmt::format("{} keys were asked, {} answered", sent->size(), answered));
    }
    for (size_t i = 0; i < answered; ++i) {
      v1::KeyValue* got = response->mutable_gets(static_cast<int>(i));
      found->bytes += got->value().size();
      if (got->found()) found->values[(*sent)[i]] = std::move(*got->mutable_value());
    }
    if (found->bytes_max != 0 && found->bytes > found->bytes_max) {
      co_return InvalidArgument(fmt::format(
          "the values of {} keys have more than the {} bytes that one answer holds: ask for fewer",
          keys->size(), found->bytes_max));
    }
    done += answered;
  }
  co_return Status::Ok();
}

Task<Result<SnapshotReader::Page>> SnapshotReader::ScanPage(Span rest, ScanOptions options,
                                                            Instant deadline) {
  const bool reverse = options.reverse;
  RouteCache* routes = &core_->caller().routes();
  const auto rows_max = static_cast<uint32_t>(std::min(options.limit, limits::kScanRowsMax));
  const auto bytes_max =
      static_cast<uint32_t>(std::min(options.limit_bytes, limits::kScanBytesMax));
  while (true) {
    std::string route_key = rest.from;
    if (reverse) {
      const Route* route = routes->FindBelow(rest.to);
      if (route == nullptr) {
        auto covered = co_await core_->caller().map().Cover(rest, deadline);
        if (!covered.ok()) co_return covered.status();
        continue;
      }
      route_key = std::max(route->span.from, rest.from);
    }
    // What the last sending asked for.
    auto asked = std::make_shared<Span>();
    Fill fill = [asked, rest, rows_max, bytes_max, options](const Route& route,
                                                            v1::ReadRequest* read) {
      *asked = rest.Clip(route.span);
      v1::ScanSpan* scan = read->add_scans();
      scan->mutable_span()->set_from(asked->from);
      scan->mutable_span()->set_to(asked->to);
      scan->set_limit(rows_max);
      scan->set_reverse(options.reverse);
      scan->set_keys_only(options.keys_only);
      scan->set_limit_bytes(bytes_max);
    };
    Result<v1::ReadResponse> response =
        co_await Read(std::move(route_key), std::move(fill), deadline);
    if (!response.ok()) co_return response.status();
    if (response->scans_size() != 1) co_return Internal("one scan was asked, not one answered");
    // The shard was split meanwhile, and this is not the side to begin with.
    if (reverse && asked->to != rest.to) continue;
    v1::ScanResult* result = response->mutable_scans(0);
    Page page;
    page.covered = *asked;
    for (v1::KeyValue& row : *result->mutable_rows()) {
      page.rows.push_back({std::move(*row.mutable_key()), std::move(*row.mutable_value())});
    }
    std::string resume = std::move(*result->mutable_resume_key());
    const bool full = rows_max != 0 && page.rows.size() >= rows_max;
    if (resume.empty() && full) {
      resume = page.rows.back().key;
      if (!reverse) resume.push_back('\0');
    }
    if (!resume.empty()) (reverse ? page.covered.from : page.covered.to) = std::move(resume);
    co_return page;
  }
}

}  // namespace quorate::client
