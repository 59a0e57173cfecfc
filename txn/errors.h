// Errors on the wire, what to do about them, and the checks of what a request may contain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "txn/key_span.h"
#include "txn/timestamp.h"

namespace quorate::v1 {
class Error;
}

namespace quorate {

// What a caller that wants its request done may do about an error.
enum class RetryClass : uint8_t {
  kNone,        // OK, or final: repeating cannot help, or nobody knows that it would
  kRedirect,    // send the same request again, routed anew
  kLater,       // send the same request again after a pause
  kNewSlot,     // send it again with a fresh slot as min_ts
  kNewAttempt,  // begin the transaction again: new id, new start_ts, old priority
  kAskOutcome,  // it may have taken effect: ask before anything else
};
RetryClass RetryClassOf(Code code);

// OVERLOADED comes with a time to wait.
void StatusToError(const Status& status, v1::Error* error);
// A code this build does not know is INTERNAL.
Status StatusFromError(const v1::Error& error);

// INVALID_ARGUMENT that names the limit, or OK. `what` says which key is meant.
Status CheckKey(std::string_view key, std::string_view what = "key");
Status CheckValue(std::string_view value);
// Bounds of spans may be one byte longer than a key (the end of a single-key span).
Status CheckSpan(const Span& span);
Status CheckSpan(std::string_view from, std::string_view to);
// How old a snapshot may be: 1 ms to limits::kTxnLifetimeMax.
Status CheckMaxAge(uint64_t ms);
// `bytes`: keys and values written, and keys read. `keys`: written keys plus read keys and ranges.
// `ranges`: those of them that are no single keys.
Status CheckTxnSize(size_t bytes, size_t keys, size_t ranges);

// A timestamp named by a client must not be above every slot issued (T1: it would raise commit
// timestamps above future slots). Up to this far above the newest slot known here it is taken as a
// slot that the client got and we have not seen; beyond, it is checked against a fresh slot.
inline constexpr uint64_t kUnseenSlotMillisMax = 100;
bool NeedsFreshSlot(Timestamp named, Timestamp newest_known);

}  // namespace quorate
