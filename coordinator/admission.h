// Admission: how many transactions this node coordinates at once, and how long each may take.
//
// A Commit above the bound is still aborted for good (Decide{ABORTED}, a small entry) before it is
// answered OVERLOADED, since a copy of it might be let in later; far above the bound it is dropped
// with UNAVAILABLE, which says nothing. A malformed Commit (txn/judge.h) is refused before anything
// is looked at: every copy of it is.
#pragma once

#include "base/env.h"
#include "base/limits.h"

namespace quorate::coordinator {

class Admission {
 public:
  explicit Admission(Metrics& metrics, size_t live_max = limits::kLiveTxnsMax);

  enum class Verdict : uint8_t { kAdmit, kAbort, kDrop };

  // Counts one transaction as long as it lives: until answered (one shard), or closed with Done.
  class Ticket {
   public:
    explicit Ticket(Admission& admission);
    Ticket(const Ticket&) = delete;
    ~Ticket();
    Verdict verdict() const { return verdict_; }

   private:
    Admission& admission_;
    Verdict verdict_;
  };

  size_t live() const { return live_; }

  // When to stop working on a request: early enough that its answer, ABORTED if need be, still
  // reaches a client that waits until `deadline`.
  static Instant WorkDeadline(Instant now, Instant deadline);

 private:
  const size_t live_max_;
  size_t live_ = 0;
  Gauge& gauge_;
};

}  // namespace quorate::coordinator
