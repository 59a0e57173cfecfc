#include "txn/errors.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "quorate/v1/txn.pb.h"

namespace quorate {
namespace {

template <Code code, v1::ErrorCode wire>
constexpr bool kSame = static_cast<int>(code) == static_cast<int>(wire);

static_assert(
    kSame<Code::kOk, v1::OK> && kSame<Code::kInvalidArgument, v1::INVALID_ARGUMENT> &&
    kSame<Code::kNotFound, v1::NOT_FOUND> && kSame<Code::kAlreadyExists, v1::ALREADY_EXISTS> &&
    kSame<Code::kFailedPrecondition, v1::FAILED_PRECONDITION> &&
    kSame<Code::kNotLeader, v1::NOT_LEADER> && kSame<Code::kStaleEpoch, v1::STALE_EPOCH> &&
    kSame<Code::kOverloaded, v1::OVERLOADED> && kSame<Code::kUnavailable, v1::UNAVAILABLE> &&
    kSame<Code::kDeadlineExceeded, v1::DEADLINE_EXCEEDED> &&
    kSame<Code::kWrongCluster, v1::WRONG_CLUSTER> && kSame<Code::kWrongNode, v1::WRONG_NODE> &&
    kSame<Code::kReadConflict, v1::READ_CONFLICT> &&
    kSame<Code::kLockConflict, v1::LOCK_CONFLICT> && kSame<Code::kTooOld, v1::TOO_OLD> &&
    kSame<Code::kTimestampExhausted, v1::TIMESTAMP_EXHAUSTED> &&
    kSame<Code::kSnapshotTooOld, v1::SNAPSHOT_TOO_OLD> &&
    kSame<Code::kSchemaFenced, v1::SCHEMA_FENCED> && kSame<Code::kAborted, v1::ABORTED> &&
    kSame<Code::kUnknownOutcome, v1::UNKNOWN_OUTCOME> && kSame<Code::kIoError, v1::IO_ERROR> &&
    kSame<Code::kCorruption, v1::CORRUPTION> && kSame<Code::kNoSpace, v1::NO_SPACE> &&
    kSame<Code::kCancelled, v1::CANCELLED> && kSame<Code::kInternal, v1::INTERNAL> &&
    kSame<Code::kUninitialized, v1::UNINITIALIZED>);
static_assert(v1::ErrorCode_MAX == static_cast<int>(Code::kUninitialized));

}  // namespace

RetryClass RetryClassOf(Code code) {
  switch (code) {
    case Code::kNotLeader:
    case Code::kStaleEpoch:
      return RetryClass::kRedirect;
    case Code::kOverloaded:
      return RetryClass::kLater;
    case Code::kTimestampExhausted:
      return RetryClass::kNewSlot;
    case Code::kReadConflict:
    case Code::kLockConflict:
    case Code::kSnapshotTooOld:
    case Code::kAborted:
      return RetryClass::kNewAttempt;
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
    case Code::kTooOld:
    case Code::kUnknownOutcome:
    case Code::kCancelled:
    case Code::kIoError:
    case Code::kCorruption:
    case Code::kInternal:
      return RetryClass::kAskOutcome;
    case Code::kOk:
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
    case Code::kWrongCluster:
    case Code::kWrongNode:
    case Code::kSchemaFenced:
    case Code::kNoSpace:
    case Code::kUninitialized:
      return RetryClass::kNone;
  }
  CHECK(false, "code {}", static_cast<int>(code));
}

void StatusToError(const Status& status, v1::Error* error) {
  error->set_code(static_cast<v1::ErrorCode>(status.code()));
  error->set_message(status.message());
  if (status.code() == Code::kOverloaded) {
    error->set_retry_after_ms(static_cast<uint32_t>(ToMillis(limits::kOverloadedRetry)));
  }
}

Status StatusFromError(const v1::Error& error) {
  if (error.code() == v1::OK) return Status::Ok();
  if (!v1::ErrorCode_IsValid(error.code())) {
    return Internal(fmt::format("error code {} of a newer version: {}",
                                static_cast<int>(error.code()), error.message()));
  }
  return Status(static_cast<Code>(error.code()), error.message());
}

Status CheckKey(std::string_view key, std::string_view what) {
  if (key.empty())
    return InvalidArgument(
        fmt::format("{} is empty: keys have 1 to {} bytes", what, limits::kKeyBytesMax));
  if (key.size() > limits::kKeyBytesMax) {
    return InvalidArgument(fmt::format("{} of {} bytes: the limit is {} bytes", what, key.size(),
                                       limits::kKeyBytesMax));
  }
  return Status::Ok();
}

Status CheckValue(std::string_view value) {
  if (value.size() <= limits::kValueBytesMax) return Status::Ok();
  return InvalidArgument(fmt::format("value of {} bytes: the limit is {} bytes", value.size(),
                                     limits::kValueBytesMax));
}

Status CheckSpan(std::string_view from, std::string_view to) {
  if (from.size() > limits::kKeyBytesMax + 1 || to.size() > limits::kKeyBytesMax + 1) {
    return InvalidArgument(fmt::format("range bound of {} bytes: the limit is {} bytes",
                                       std::max(from.size(), to.size()), limits::kKeyBytesMax + 1));
  }
  if (!to.empty() && to <= from) {
    return InvalidArgument("range is empty: `to` must be greater than `from`");
  }
  return Status::Ok();
}
Status CheckSpan(const Span& span) { return CheckSpan(span.from, span.to); }

Status CheckMaxAge(uint64_t ms) {
  const auto most = static_cast<uint64_t>(ToMillis(limits::kTxnLifetimeMax));
  if (ms >= 1 && ms <= most) return Status::Ok();
  return InvalidArgument(fmt::format(
      "max_age_ms of {} is outside of 1..{} ms, for which versions are kept", ms, most));
}

Status CheckTxnSize(size_t bytes, size_t keys, size_t ranges) {
  if (bytes > limits::kTxnBytesMax) {
    return InvalidArgument(
        fmt::format("transaction of {} bytes: the limit is {} bytes", bytes, limits::kTxnBytesMax));
  }
  if (keys > limits::kTxnKeysMax) {
    return InvalidArgument(fmt::format("transaction of {} keys and ranges: the limit is {}", keys,
                                       limits::kTxnKeysMax));
  }
  if (ranges > limits::kTxnRangesMax) {
    return InvalidArgument(
        fmt::format("transaction that reads {} ranges apart from each other: the limit is {}; scan "
                    "larger ranges, read single keys, or use several transactions",
                    ranges, limits::kTxnRangesMax));
  }
  return Status::Ok();
}

bool NeedsFreshSlot(Timestamp named, Timestamp newest_known) {
  return named > newest_known &&
         named.physical_ms() > newest_known.physical_ms() + kUnseenSlotMillisMax;
}

}  // namespace quorate
