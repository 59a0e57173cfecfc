#include "tests/sim/checks/record.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace quorate::sim {

namespace {

constexpr size_t kKept = 40;

}  // namespace

Value Keep(const Value& value) {
  if (!value || value->size() <= kKept) return value;
  // Two different checksums: of the whole and of all but the first byte.
  return fmt::format("{}...{} bytes {:08x}{:08x}", value->substr(0, 12), value->size(),
                     Crc32c(*value), Crc32c(std::string_view(*value).substr(1)));
}

AttemptSeen& Record::Begin(std::string who) {
  AttemptSeen& attempt = attempts_.emplace_back();
  attempt.who = std::move(who);
  attempt.began = Now();
  return attempt;
}

void Record::Committed(AttemptSeen* attempt, Timestamp commit_ts) {
  if (attempt->state == AttemptSeen::State::kAborted) {
    Violation(fmt::format("A1: {} was told ABORTED, then COMMITTED", Describe(*attempt)));
    return;
  }
  if (commit_ts && attempt->commit_ts && commit_ts != attempt->commit_ts) {
    Violation(fmt::format("A1: {} was told two commit timestamps, {} and {}", Describe(*attempt),
                          attempt->commit_ts, commit_ts));
  }
  if (attempt->settled == 0) attempt->settled = Now();
  attempt->state = AttemptSeen::State::kCommitted;
  if (commit_ts) attempt->commit_ts = commit_ts;
}

void Record::Aborted(AttemptSeen* attempt) {
  if (attempt->state == AttemptSeen::State::kCommitted) {
    Violation(fmt::format("A1: {} was told COMMITTED, then ABORTED", Describe(*attempt)));
    return;
  }
  if (attempt->settled == 0) attempt->settled = Now();
  attempt->state = AttemptSeen::State::kAborted;
}

AttemptSeen* Record::Find(const TxnId& id) {
  for (auto attempt = attempts_.rbegin(); attempt != attempts_.rend(); ++attempt) {
    if (attempt->id == id) return &*attempt;
  }
  return nullptr;
}

std::string Describe(const AttemptSeen& attempt) {
  return fmt::format("{} begun at {:.6f} s", attempt.who,
                     static_cast<double>(attempt.began) / 1e9 - 3600);
}

std::string Describe(const Value& value) {
  return value ? "'" + Printable(*value) + "'" : std::string("absent");
}

}  // namespace quorate::sim
