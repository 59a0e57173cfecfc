// Status and Result<T>: what every fallible call in quorate returns.
//
// A code says what the caller may conclude, not only what went wrong. Each belongs to one class:
//
//   kNothingHappened  the request had no effect and never will; safe to send again
//   kDone             success
//   kUnknown          the request may or may not have taken effect; ask before repeating
//
// Exceptions are not used across our own functions. A broken invariant is a CHECK, not a Status.
// What returns early on an error is in base/status_macros.h, which no public header may reach.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace quorate {

// The numbers are on the wire (quorate/v1/txn.proto, ErrorCode): never renumber.
enum class Code : uint8_t {
  kOk = 0,
  kInvalidArgument = 1,     // the request is wrong; the message names the field and the limit
  kNotFound = 2,            // asked-for thing does not exist
  kAlreadyExists = 3,       // e.g. a second `init`
  kFailedPrecondition = 4,  // a `check` line did not hold; nothing was written
  kNotLeader = 5,           // ask the hinted leader; nothing happened
  kStaleEpoch = 6,          // routed with an old map; current descriptors come with the answer
  kOverloaded = 7,          // a bound was reached; retry after a while
  kUnavailable = 8,         // no answer from the other side: it may have acted
  kDeadlineExceeded = 9,    // out of time: it may have acted
  kWrongCluster = 10,       // the other side belongs to another cluster
  kWrongNode = 11,          // address reached, but another node lives there
  kReadConflict = 12,       // something read was overwritten before commit
  kLockConflict = 13,       // an older transaction holds or waits for a key
  kTooOld = 14,             // start_ts is below the horizon
  kTimestampExhausted = 15, // sub bits of the slot ran out; take a new slot
  kSnapshotTooOld = 16,     // read timestamp is below the horizon
  kSchemaFenced = 17,       // written under a schema version that is no longer allowed
  kAborted = 18,            // the transaction is ABORTED, for good
  kUnknownOutcome = 19,     // the transaction's outcome could not be learned in time
  kIoError = 20,            // a file operation failed; the node stops serving from it
  kCorruption = 21,         // stored bytes do not match their checksum
  kNoSpace = 22,            // low-space watermark: growth is refused, reads go on
  kCancelled = 23,          // the component is stopping
  kInternal = 24,           // a bug; the message says where
  kUninitialized = 25,      // the cluster has not been initialised yet (`quorate init`)
};

enum class Effect : uint8_t { kNothingHappened, kDone, kUnknown };

// What a caller may conclude about the request's effect from the code alone.
Effect EffectOf(Code code);
// Upper-case name as printed by the CLI and used in docs: "STALE_EPOCH".
std::string_view CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return Status(); }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  // "STALE_EPOCH: shard 7 is at version 3, request named 2".
  std::string ToString() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string m) { return {Code::kInvalidArgument, std::move(m)}; }
inline Status NotFound(std::string m) { return {Code::kNotFound, std::move(m)}; }
inline Status Unavailable(std::string m) { return {Code::kUnavailable, std::move(m)}; }
inline Status DeadlineExceeded(std::string m) { return {Code::kDeadlineExceeded, std::move(m)}; }
inline Status IoError(std::string m) { return {Code::kIoError, std::move(m)}; }
inline Status Corruption(std::string m) { return {Code::kCorruption, std::move(m)}; }
inline Status Cancelled(std::string m) { return {Code::kCancelled, std::move(m)}; }
inline Status Internal(std::string m) { return {Code::kInternal, std::move(m)}; }

namespace status_internal {
// What a Result must not be used for: ends the process.
[[noreturn]] void OkWithoutValue();
[[noreturn]] void NoValue(const Status& status);
}  // namespace status_internal

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit by design
    if (status_.ok()) [[unlikely]] status_internal::OkWithoutValue();
  }
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit by design

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & { return Checked(); }
  const T& value() const& { return const_cast<Result*>(this)->Checked(); }
  T&& value() && { return std::move(Checked()); }
  T& operator*() & { return Checked(); }
  const T& operator*() const& { return const_cast<Result*>(this)->Checked(); }
  T&& operator*() && { return std::move(Checked()); }
  T* operator->() { return &Checked(); }
  const T* operator->() const { return &const_cast<Result*>(this)->Checked(); }

 private:
  T& Checked() {
    if (!value_.has_value()) [[unlikely]] status_internal::NoValue(status_);
    return *value_;
  }

  Status status_;
  std::optional<T> value_;
};

}  // namespace quorate
