#include "coordinator/admission.h"

#include <algorithm>

#include "base/bytes.h"
#include "proto/shard.pb.h"
#include "txn/errors.h"
#include "txn/given_name.h"
#include "txn/id.h"

namespace quorate::coordinator {
namespace {

constexpr size_t kDropFactor = 2;
constexpr Duration kAnswerTimeMax = 250ms;

}  // namespace

Admission::Admission(Metrics& metrics, size_t live_max)
    : live_max_(live_max),
      gauge_(metrics.GetGauge("quorate_txn_live", "Transactions coordinated by this node.")) {}

Admission::Ticket::Ticket(Admission& admission) : admission_(admission) {
  const size_t live = ++admission_.live_;
  verdict_ = live <= admission_.live_max_                 ? Verdict::kAdmit
             : live <= kDropFactor * admission_.live_max_ ? Verdict::kAbort
                                                          : Verdict::kDrop;
  admission_.gauge_.Set(static_cast<int64_t>(live));
}

Admission::Ticket::~Ticket() { admission_.gauge_.Set(static_cast<int64_t>(--admission_.live_)); }

Instant Admission::WorkDeadline(Instant now, Instant deadline) {
  const Instant end = std::min(deadline, now + limits::kRequestTimeoutMax);
  return end - std::min<Duration>((end - now) / 10, kAnswerTimeMax);
}

Status CheckCommit(const v1::CommitRequest& request) {
  const auto id = TxnId::FromBytes(request.txn_id());
  if (!id.has_value() || !id->valid()) {
    return InvalidArgument("txn_id must be 16 random bytes");
  }
  const TxnPriority priority{Timestamp(request.priority().start_ts()),
                             TxnId::FromBytes(request.priority().txn_id()).value_or(TxnId())};
  if (!priority.start_ts || !priority.txn_id.valid() ||
      priority.start_ts > Timestamp(request.start_ts())) {
    return InvalidArgument("priority must be (start_ts, txn_id) of this attempt or an earlier one");
  }
  if (!request.name().empty() && !GivenName::FromBytes(request.name())) {
    return InvalidArgument("name is no UUIDv7 of 16 bytes");
  }
  if (request.writes().empty()) {
    return InvalidArgument("nothing is written: a read-only transaction has no commit step");
  }
  size_t bytes = 0;
  bool anchor_written = false;
  const std::string* previous = nullptr;
  for (const v1::Write& write : request.writes()) {
    RETURN_IF_ERROR(CheckKey(write.key()));
    RETURN_IF_ERROR(CheckValue(write.value()));
    if (previous != nullptr && *previous >= write.key()) {
      return InvalidArgument(fmt::format("writes must be sorted by key without duplicates: \"{}\"",
                                         Printable(write.key())));
    }
    previous = &write.key();
    anchor_written |= write.key() == request.anchor_key();
    bytes += write.key().size() + write.value().size();
  }
  for (const v1::KeySpan& read : request.reads()) {
    RETURN_IF_ERROR(CheckSpan(read.from(), read.to()));
    bytes += read.from().size() + read.to().size();
  }
  if (!anchor_written) return InvalidArgument("anchor_key must be one of the written keys");
  return CheckTxnSize(bytes, static_cast<size_t>(request.writes_size() + request.reads_size()));
}

}  // namespace quorate::coordinator
