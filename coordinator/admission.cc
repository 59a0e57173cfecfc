#include "coordinator/admission.h"

#include <algorithm>

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

}  // namespace quorate::coordinator
