#include "shard/evaluate_prepare.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

PrepareVerdict Refuse(Status why) {
  PrepareVerdict verdict;
  verdict.kind = PrepareVerdict::Kind::kRefuse;
  verdict.status = std::move(why);
  return verdict;
}

PrepareVerdict Existing(Applied existing) {
  PrepareVerdict verdict;
  verdict.kind = PrepareVerdict::Kind::kExisting;
  verdict.existing = std::move(existing);
  return verdict;
}

// Step 0. It comes before every judgement of range or horizon: what happened is a fact, and a copy
// that were refused where the original was prepared would let its coordinator abort what is
// committed.
std::optional<PrepareVerdict> OwnPast(const PrepareAsk& ask, const Table& table,
                                      const LockTable& locks) {
  if (ask.kind != PrepareKind::kParticipant) {
    const auto record = table.Transaction(ask.anchor_key, ask.owner.txn_id);
    const bool staged = record && record->state == TxnState::kStaged;
    if (staged && MUTANT("txn-restart-over-staged")) return std::nullopt;
    const bool again = ask.kind == PrepareKind::kOnePhase && MUTANT("txn-one-phase-twice");
    if (record && !again) {
      PROBE("shard: a copy of a commit found the transaction record");
      return Existing(StandingOf(*record));
    }
  }
  if (ask.kind != PrepareKind::kOnePhase) {
    const auto record = table.Participant(ask.owner);
    const bool resolved = record && record->state != TxnState::kPrepared;
    if (record && !(resolved && MUTANT("txn-outcome-forgotten"))) {
      PROBE("shard: a copy of a prepare found its record");
      // Without transaction record this part was prepared as somebody else's participant: it says
      // nothing about this Commit, and its locks go when it is pushed.
      if (ask.kind == PrepareKind::kStage) {
        return Refuse(ask.start_ts < table.horizon()
                          ? TooOld(ask.start_ts, table)
                          : Status(Code::kLockConflict, "prepared elsewhere"));
      }
      return Existing(StandingOf(*record));
    }
  }
  if (const PreparedLock* own = locks.Find(ask.owner); own != nullptr && !own->applied) {
    PROBE("shard: a copy of a prepare joined the one in flight");
    PrepareVerdict verdict;
    verdict.kind = PrepareVerdict::Kind::kJoin;
    return verdict;
  }
  return std::nullopt;
}

bool OwnsAll(const PrepareAsk& ask, const Span& span) {
  // Written keys are sorted, so the first and the last speak for all.
  if (!ask.writes.empty() &&
      (!span.Contains(ask.writes.front()) || !span.Contains(ask.writes.back()))) {
    return false;
  }
  for (const Span& guard : ask.guards) {
    if (!span.Contains(guard)) return false;
  }
  return true;
}

}  // namespace

Applied StandingOf(const ParticipantRecord& record) {
  Applied standing;
  standing.state = record.state;
  standing.prepare_ts = record.prepare_ts;
  standing.commit_ts = record.commit_ts;
  return standing;
}

Applied StandingOf(const TransactionRecord& record) {
  Applied standing;
  standing.state = record.state;
  standing.commit_ts = record.commit_ts;
  return standing;
}

Status TooOld(Timestamp start_ts, const Table& table) {
  return Status(Code::kTooOld,
                fmt::format("start_ts {} is below the horizon {}", start_ts, table.horizon()));
}

Status StaleEpoch(const Table& table) {
  return Status(Code::kStaleEpoch,
                fmt::format("shard {} at version {} does not own all of the keys", table.id(),
                            table.version()));
}

PrepareAsk AskOf(const Judged<v1::PrepareRequest>& request, PrepareKind kind) {
  PrepareAsk ask;
  ask.kind = kind;
  const TxnId txn_id = *TxnId::FromBytes(request->txn_id());
  // A one-phase commit has no participant record: its lock goes by the transaction.
  ask.owner = kind == PrepareKind::kOnePhase
                  ? Owner{txn_id, Digest(), request->anchor_key()}
                  : Owner{txn_id, Digest(request->digest()), request->marker_key()};
  ask.priority = {Timestamp(request->priority().start_ts()),
                  *TxnId::FromBytes(request->priority().txn_id())};
  ask.start_ts = Timestamp(request->start_ts());
  ask.min_ts = Timestamp(request->min_ts());
  ask.marker_key = request->marker_key();
  ask.anchor_key = request->anchor_key();
  ask.name = GivenName::FromBytes(request->name()).value_or(GivenName());
  ask.writes.reserve(request->writes_size());
  for (const v1::Write& write : request->writes()) ask.writes.push_back(write.key());
  ask.guards.reserve(request->guards_size());
  for (const v1::KeySpan& guard : request->guards())
    ask.guards.push_back({guard.from(), guard.to()});
  return ask;
}

LockAsk LocksOf(const PrepareAsk& ask) {
  LockAsk locks;
  locks.asker =
      ask.kind == PrepareKind::kParticipant ? Asker::kPrepareElsewhere : Asker::kPrepareAtAnchor;
  locks.owner = ask.owner;
  locks.priority = ask.priority;
  locks.writes = ask.writes;
  locks.guards = &ask.guards;
  return locks;
}

PrepareVerdict EvaluatePrepare(const PrepareAsk& ask, const Table& table, const LockTable& locks,
                               Instant now, WaiterId self) {
  // Records are kept by the owner of their address; nobody else may say that there is none.
  const bool anchored = ask.kind != PrepareKind::kParticipant;
  if (!table.span().Contains(ask.marker_key) ||
      (anchored && !table.span().Contains(ask.anchor_key))) {
    return Refuse(StaleEpoch(table));
  }
  if (auto past = OwnPast(ask, table, locks)) return *std::move(past);  // step 0

  if (!OwnsAll(ask, table.span())) {  // step 1
    return Refuse(StaleEpoch(table));
  }
  if (ask.start_ts < table.horizon()) {
    return Refuse(TooOld(ask.start_ts, table));
  }
  if (const auto refused = RefusedByName(table, ask.name, ask.marker_key)) {
    PROBE("shard: a prepare was refused by its name");
    return Refuse(refused->status);
  }
  if (ask.name.given()) {
    if (Status room = table.names().CheckRoom(); !room.ok()) return Refuse(std::move(room));
  }

  PrepareVerdict verdict;
  verdict.lock = locks.Judge(LocksOf(ask), now, self);  // step 2
  switch (verdict.lock.kind) {
    case LockVerdict::Kind::kWait:
      verdict.kind = PrepareVerdict::Kind::kWait;
      return verdict;
    case LockVerdict::Kind::kDie:
      return Refuse(Status(Code::kLockConflict, "an older transaction holds or waits for a key"));
    case LockVerdict::Kind::kGo:
      break;
  }

  verdict.kind = PrepareVerdict::Kind::kGo;
  return verdict;
}

bool Validation::SeesCommitted(const LockTable& locks) const {
  if (!locks.any_committed() || MUTANT("txn-committed-intents-not-validated")) return false;
  for (const Span& guard : ask_.guards) {
    for (const auto& [key, lock] : locks.CommittedIn(guard)) {
      if (lock->commit_ts > ask_.start_ts) return true;
    }
  }
  return false;
}

bool Validation::GuardIsValid(const Table& table, size_t* budget) {
  const Span& guard = ask_.guards[guard_];
  if (guard.single()) {
    *budget -= std::min(*budget, kVersionsPerSeek);
    ++guard_;
    return NewestVersion(table.store(), guard.from) <= ask_.start_ts;
  }
  const Span rest{resume_.empty() ? guard.from : resume_, guard.to};
  const size_t max = *budget;
  *budget -= std::min(*budget, kVersionsPerSeek);
  bool newer = false;
  // Every key's first version is its newest, so the whole history is "at" the end of time.
  auto resume = ScanVersions(table.store(), rest, Timestamp(~0ull), max,
                             [&](std::string_view, Timestamp commit_ts, bool, std::string_view) {
                               *budget -= std::min<size_t>(*budget, 1);
                               newer = commit_ts > ask_.start_ts;
                               return !newer;
                             });
  if (newer) return false;
  if (resume) {
    *budget = 0;
    resume_ = *std::move(resume);
  } else {
    resume_.clear();
    ++guard_;
  }
  return true;
}

Validation::State Validation::Step(const Table& table, const LockTable& locks,
                                   size_t versions_max) {
  if (!std::exchange(begun_, true)) {
    if (MUTANT("txn-reads-not-validated")) guard_ = ask_.guards.size();
    // A committed intent is a version that is not stored as one yet.
    else if (SeesCommitted(locks))
      return State::kConflict;
  }
  size_t budget = versions_max;
  while (guard_ < ask_.guards.size()) {
    if (budget == 0) return State::kMore;
    if (!GuardIsValid(table, &budget)) return State::kConflict;
  }
  for (; write_ < ask_.writes.size(); ++write_) {
    if (budget == 0) return State::kMore;
    budget -= std::min(budget, kVersionsPerSeek);
    newest_ = std::max(newest_, NewestVersion(table.store(), ask_.writes[write_]));
  }
  return State::kValid;
}

Result<Timestamp> PrepareTimestamp(const PrepareAsk& ask, Timestamp newest, Timestamp read_high) {
  const Timestamp base = std::max({ask.start_ts, ask.min_ts, read_high, newest});
  const auto prepare_ts = base.NextSub();
  if (prepare_ts) return *prepare_ts;
  PROBE("shard: the sub bits of a slot ran out");
  return Status(Code::kTimestampExhausted, fmt::format("no timestamp left after {}", base));
}

}  // namespace quorate::shard
