#include "client/table_cache.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/timer_guard.h"
#include "quorate/v1/node.pb.h"
#include "schema/limits.h"
#include "txn/errors.h"

namespace quorate::client {

TableCache::TableCache(Env& env, Caller& caller)
    : env_(env), caller_(caller), scope_(env.executor) {}

Task<Result<OpenTablePtr>> TableCache::Open(std::string name, Instant deadline) {
  if (const auto known = tables_.find(name); known != tables_.end()) co_return known->second;
  if (name.empty() || name.size() > schema::kNameBytesMax) {
    co_return InvalidArgument(
        fmt::format("'{}' is no name of a table: they have 1 to {} characters",
                    Printable(name).substr(0, schema::kNameBytesMax), schema::kNameBytesMax));
  }
  const Duration left = std::max(deadline - env_.Now(), Duration(0));
  Promise<Result<OpenTablePtr>> promise(env_.executor);
  auto [at, first] = waiting_.try_emplace(name);
  at->second.push_back(promise);
  if (first) scope_.Spawn(Fetch(std::move(name)));
  const TimerGuard timer(env_.executor, left, [promise] {
    promise.Set(Result<OpenTablePtr>(
        Unavailable("placement did not tell what the table is in time; nothing was done")));
  });
  co_return co_await promise.future();
}

Task<void> TableCache::Fetch(std::string name) {
  const Result<OpenTablePtr> table = co_await Ask(name);
  if (table.ok()) tables_[name] = *table;
  const auto at = waiting_.find(name);
  const auto waiters = std::move(at->second);
  waiting_.erase(at);
  for (const auto& waiter : waiters) waiter.Set(table);
}

Task<Result<OpenTablePtr>> TableCache::Ask(std::string name) {
  v1::NodeRequest request;
  request.mutable_placement()->mutable_get_catalog()->add_names(name);
  // Of whoever waits longest; the others are told by their own time.
  const Instant deadline = env_.Now() + limits::kRequestTimeoutMax;
  Result<v1::NodeResponse> response = co_await caller_.CallPlacement(std::move(request), deadline);
  if (!response.ok()) co_return response.status();
  if (ErrorOf(*response).code() != v1::OK) co_return StatusFromError(ErrorOf(*response));
  v1::Catalog* catalog = response->mutable_placement()->mutable_catalog();
  if (catalog->tables().empty()) {
    co_return NotFound(fmt::format(
        "there is no table {}: `quorate schema apply FILE.proto` makes the tables of a file",
        name));
  }
  v1::TableDescriptor& descriptor = *catalog->mutable_tables(0);
  auto codec = schema::RowCodec::Make(descriptor);
  if (!codec.ok()) {
    co_return Status(
        Code::kFailedPrecondition,
        fmt::format("this version of quorate cannot work with it: {}", codec.status().message()));
  }
  co_return std::make_shared<const OpenTable>(
      OpenTable{std::move(descriptor), std::move(codec).value(), {}});
}

}  // namespace quorate::client
