// Long scans: page after page at one timestamp, each read by an attempt of its own.
#include <algorithm>

#include "base/limits.h"
#include "base/status_macros.h"
#include "client/attempt.h"
#include "client/database_impl.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

size_t BytesOf(const std::vector<Row>& rows) {
  size_t bytes = 0;
  for (const Row& row : rows) bytes += row.key.size() + row.value.size();
  return bytes;
}

Status Explained(Status status, Timestamp read_ts) {
  if (status.code() != Code::kSnapshotTooOld) return status;
  return Status(
      Code::kSnapshotTooOld,
      fmt::format("the snapshot of this scan, {}, is older than the {} s for which "
                  "versions are kept: begin again with a fresh one, or ask for less "
                  "({})",
                  read_ts.bits(), ToMillis(limits::kTxnLifetimeMax) / 1000, status.message()));
}

}  // namespace

Result<std::shared_ptr<DatabaseImpl::LongScan>> DatabaseImpl::BeginLongScan(
    Span span, const ScanAllOptions& options) const {
  RETURN_IF_ERROR(CheckSpan(span));
  RETURN_IF_ERROR(CheckStale(options.stale));
  if (options.read_ts && options.read_ts < options.stale.not_before) {
    return InvalidArgument(fmt::format("a scan at {} is none of not before {}", options.read_ts,
                                       options.stale.not_before));
  }
  if (options.page_bytes == 0 || options.page_bytes > limits::kScanBytesMax) {
    return InvalidArgument(fmt::format("page_bytes of {} is outside of 1..{}", options.page_bytes,
                                       limits::kScanBytesMax));
  }
  auto scan = std::make_shared<LongScan>();
  scan->rest = std::move(span);
  scan->options = options;
  scan->rows_left = options.limit == 0 ? SIZE_MAX : options.limit;
  scan->read_ts = options.read_ts;
  return scan;
}

Task<Result<ScanPage>> DatabaseImpl::NextPage(std::shared_ptr<LongScan> scan) {
  const Result<Instant> deadline = core_.DeadlineFor(scan->options.page_timeout);
  if (!deadline.ok()) co_return deadline.status();
  if (!scan->chosen_here && scan->read_ts > core_.slots().newest()) {
    // Reading above the slots would raise commits above them, too, and hold up their answers.
    const Result<Timestamp> slot = co_await core_.slots().Fetch(*deadline - core_.env().Now());
    if (!slot.ok()) co_return slot.status();
    if (scan->read_ts > *slot) {
      co_return InvalidArgument(
          fmt::format("read_ts {} is above every slot issued ({}): give that of a page, or none",
                      scan->read_ts.bits(), slot->bits()));
    }
  }
  Attempt::Spec spec;
  spec.read_only = true;
  spec.txn_id = TxnId::Make(core_.env().random);
  spec.read_ts = scan->read_ts;
  spec.stale = scan->options.stale;
  spec.deadline = *deadline;
  Attempt attempt(&core_, std::move(spec));
  const bool reverse = scan->options.reverse;
  const ScanOptions ask{.limit = std::min(scan->rows_left, limits::kScanRowsMax),
                        .reverse = reverse,
                        .keys_only = scan->options.keys_only,
                        .limit_bytes = scan->options.page_bytes};
  Result<std::vector<Row>> rows = co_await attempt.Scan(scan->rest.from, scan->rest.to, ask);
  if (!rows.ok()) co_return Explained(rows.status(), scan->read_ts);
  scan->read_ts = attempt.start_ts();
  scan->chosen_here = true;
  scan->rows_left -= rows->size();
  const bool cut = rows->size() == ask.limit || BytesOf(*rows) >= ask.limit_bytes;
  std::optional<Span> behind;
  if (cut) behind = scan->rest.Behind(rows->back().key, reverse);
  ScanPage page{scan->read_ts, std::move(*rows), {}};
  if (behind) page.resume_key = reverse ? behind->to : behind->from;
  scan->ended = !behind || scan->rows_left == 0;
  if (behind) scan->rest = *std::move(behind);
  co_return page;
}

Task<Status> DatabaseImpl::ScanAllAsync(std::string from, std::string to, ScanAllOptions options,
                                        TakePage take) {
  CO_ASSIGN_OR_RETURN(const auto scan, BeginLongScan({std::move(from), std::move(to)}, options));
  while (!scan->ended) {
    CO_ASSIGN_OR_RETURN(ScanPage page, co_await NextPage(scan));
    CO_RETURN_IF_ERROR(co_await take(std::move(page)));
  }
  co_return Status::Ok();
}

}  // namespace quorate::client
