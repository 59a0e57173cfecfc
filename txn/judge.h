// Judge: the door of the protocol. Everything that another process can send is judged here, by its
// content alone: sizes, counts, bounds, alphabets, and which fields must be there. What passes may
// be allocated for, locked and logged; what does not has had no effect and never will, wherever
// else it is sent (INVALID_ARGUMENT names the field and its bound).
//
// Behind the door stand types: what locks or logs takes a Judged<Request>, which nobody else can
// make. What depends on state (ownership, horizon, slots issued) is asked where that state is.
//
// What a shard's log may hold is judged once more, as a command (shard/command.h).
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "base/limits.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace quorate::v1 {
class AbandonMerge;
class CommitRequest;
class EarlyOutcomeRequest;
class FrozenShard;
class LockRequest;
class NodeInfo;
class NodeRequest;
class PrepareRequest;
class PushRequest;
class QueryPrepareRequest;
class ReadRequest;
class ResolveRequest;
}  // namespace quorate::v1

namespace quorate {

// ---- bounds of what peers send; those of transactions are in base/limits.h ----------------------
// A marker is a written key, or the start of a guard, which may be just behind the longest key.
inline constexpr size_t kMarkerBytesMax = limits::kKeyBytesMax + 1;
inline constexpr size_t kResolutionsMax = 1024;  // in one request, and in one entry of a log
inline constexpr size_t kAdvisoryKeysMax = 1000;
inline constexpr size_t kTextBytesMax = 256;  // addresses, versions, localities
inline constexpr size_t kLocalityMax = 16;
inline constexpr size_t kLocalityBytesMax = 512;  // of one node: names and values together
inline constexpr size_t kStorageIdDigits = 32;
inline constexpr size_t kReplicasMax = 16;
// No shard divides and merges so often, nor does a log have so many entries.
inline constexpr uint64_t kShardVersionMax = uint64_t{1} << 53;
inline constexpr size_t kAbsorbedBytesMax = 1 << 20;  // what a shard keeps that is absorbed
// Of neighbours, that a shard remembers, and hands on.
inline constexpr size_t kSettledMergesMax = 256;

template <class Request>
class Judged {
 public:
  const Request& operator*() const { return request_; }
  const Request* operator->() const { return &request_; }
  // The request itself, to be taken apart.
  Request Take() && { return std::move(request_); }

 private:
  template <class R>
  friend Result<Judged<R>> Judge(R request);
  explicit Judged(Request request) : request_(std::move(request)) {}

  Request request_;
};

// ---- the rules, by kind -------------------------------------------------------------------------
// 16 bytes, not all 0.
Status CheckTxnId(std::string_view txn_id);
Status CheckMarker(std::string_view marker_key);
// What a node says of itself; where it is, which its operator wrote.
Status CheckNode(const v1::NodeInfo& node);
Status CheckLocality(const std::map<std::string, std::string>& locality);
Status Check(const v1::AbandonMerge& merge);
Status Check(const v1::CommitRequest& request);
Status Check(const v1::EarlyOutcomeRequest& request);
// What can be told without looking at what it keeps (shard/apply/frozen.h).
Status Check(const v1::FrozenShard& frozen);
Status Check(const v1::LockRequest& request);
Status Check(const v1::PrepareRequest& request);
Status Check(const v1::PushRequest& request);
Status Check(const v1::QueryPrepareRequest& request);
Status Check(const v1::ReadRequest& request);
Status Check(const v1::ResolveRequest& request);
// Whichever it is; one without a body that this version knows is refused.
Status Check(const v1::NodeRequest& request);

template <class Request>
Result<Judged<Request>> Judge(Request request) {
  RETURN_IF_ERROR(Check(request));
  return Judged<Request>(std::move(request));
}

}  // namespace quorate
