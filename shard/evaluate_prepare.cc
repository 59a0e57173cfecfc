#include "shard/evaluate_prepare.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "proto/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

PrepareVerdict Refuse(Code code, std::string why) {
  PrepareVerdict verdict;
  verdict.kind = PrepareVerdict::Kind::kRefuse;
  verdict.status = Status(code, std::move(why));
  return verdict;
}

PrepareVerdict TooOld(const PrepareAsk& ask, const Table& table) {
  return Refuse(Code::kTooOld,
                fmt::format("start_ts {} is below the horizon {}", ask.start_ts, table.horizon()));
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
        return ask.start_ts < table.horizon() ? TooOld(ask, table)
                                              : Refuse(Code::kLockConflict, "prepared elsewhere");
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

// Step 3. A committed intent is a version that is not stored as one yet.
bool ReadsAreValid(const PrepareAsk& ask, const Table& table, const LockTable& locks) {
  if (MUTANT("txn-reads-not-validated")) return true;
  for (const Span& guard : ask.guards) {
    if (locks.any_committed() && !MUTANT("txn-committed-intents-not-validated")) {
      for (const auto& [key, lock] : locks.CommittedIn(guard)) {
        if (lock->commit_ts > ask.start_ts) return false;
      }
    }
    if (HasNewerVersion(table.store(), guard, ask.start_ts)) return false;
  }
  return true;
}

}  // namespace

Applied StandingOf(const ParticipantRecord& record) {
  Applied standing;
  standing.state = static_cast<Applied::State>(record.state);
  standing.prepare_ts = record.prepare_ts;
  standing.commit_ts = record.commit_ts;
  return standing;
}

Applied StandingOf(const TransactionRecord& record) {
  Applied standing;
  standing.state = static_cast<Applied::State>(record.state);
  standing.commit_ts = record.commit_ts;
  return standing;
}

Status StaleEpoch(const Table& table) {
  return Status(Code::kStaleEpoch,
                fmt::format("shard {} at version {} does not own all of the keys", table.id(),
                            table.version()));
}

Result<PrepareAsk> ParsePrepare(const v1::PrepareRequest& request, PrepareKind kind) {
  PrepareAsk ask;
  ask.kind = kind;
  const auto txn_id = TxnId::FromBytes(request.txn_id());
  const auto first_id = TxnId::FromBytes(request.priority().txn_id());
  if (!txn_id || !txn_id->valid()) return InvalidArgument("txn_id has 16 bytes, not all 0");
  if (!first_id) return InvalidArgument("priority.txn_id has 16 bytes");
  // A one-phase commit has no participant record: its lock goes by the transaction alone.
  ask.owner = kind == PrepareKind::kOnePhase
                  ? Owner{*txn_id, Digest(), request.anchor_key()}
                  : Owner{*txn_id, Digest(request.digest()), request.marker_key()};
  ask.priority = {Timestamp(request.priority().start_ts()), *first_id};
  ask.start_ts = Timestamp(request.start_ts());
  ask.min_ts = Timestamp(request.min_ts());
  ask.marker_key = request.marker_key();
  ask.anchor_key = request.anchor_key();
  if (!request.name().empty()) {
    const auto name = GivenName::FromBytes(request.name());
    if (!name) return InvalidArgument("name is no UUIDv7 of 16 bytes");
    ask.name = *name;
  }
  RETURN_IF_ERROR(CheckKey(ask.anchor_key, "anchor_key"));
  if (ask.marker_key.size() > limits::kKeyBytesMax + 1)
    return InvalidArgument("marker_key too long");
  if (!ask.start_ts) return InvalidArgument("start_ts is missing");
  if (kind != PrepareKind::kOnePhase && request.digest() == 0) {
    return InvalidArgument("digest is missing");
  }

  size_t bytes = 0;
  ask.writes.reserve(request.writes_size());
  for (const v1::Write& write : request.writes()) {
    RETURN_IF_ERROR(CheckKey(write.key()));
    RETURN_IF_ERROR(CheckValue(write.value()));
    if (!ask.writes.empty() && write.key() <= ask.writes.back()) {
      return InvalidArgument("writes are not sorted by key, or a key comes twice");
    }
    bytes += write.key().size() + write.value().size();
    ask.writes.push_back(write.key());
  }
  ask.guards.reserve(request.guards_size());
  for (const v1::KeySpan& guard : request.guards()) {
    RETURN_IF_ERROR(CheckSpan(guard.from(), guard.to()));
    bytes += guard.from().size() + guard.to().size();
    ask.guards.push_back({guard.from(), guard.to()});
  }
  RETURN_IF_ERROR(CheckTxnSize(bytes, ask.writes.size() + ask.guards.size()));
  if (ask.writes.empty() && ask.guards.empty()) return InvalidArgument("a prepare of nothing");
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
                               Timestamp read_high, Instant now, WaiterId self) {
  // Records are kept by the owner of their address; nobody else may say that there is none.
  const bool anchored = ask.kind != PrepareKind::kParticipant;
  if (!table.span().Contains(ask.marker_key) ||
      (anchored && !table.span().Contains(ask.anchor_key))) {
    return Refuse(Code::kStaleEpoch, StaleEpoch(table).message());
  }
  if (auto past = OwnPast(ask, table, locks)) return *std::move(past);  // step 0

  if (!OwnsAll(ask, table.span())) {  // step 1
    return Refuse(Code::kStaleEpoch, StaleEpoch(table).message());
  }
  if (ask.start_ts < table.horizon()) {
    return TooOld(ask, table);
  }
  if (const auto refused = RefusedByName(table, ask.name, ask.marker_key)) {
    PROBE("shard: a prepare was refused by its name");
    return Refuse(refused->status.code(), refused->status.message());
  }
  if (ask.name.given() && table.names().size() >= limits::kShardNamesMax) {
    return Refuse(Code::kOverloaded, fmt::format("shard {} remembers {} names, the most it may",
                                                 table.id(), table.names().size()));
  }

  PrepareVerdict verdict;
  verdict.lock = locks.Judge(LocksOf(ask), now, self);  // step 2
  switch (verdict.lock.kind) {
    case LockVerdict::Kind::kWait:
      verdict.kind = PrepareVerdict::Kind::kWait;
      return verdict;
    case LockVerdict::Kind::kDie:
      return Refuse(Code::kLockConflict, "an older transaction holds or waits for a key");
    case LockVerdict::Kind::kGo:
      break;
  }

  if (!ReadsAreValid(ask, table, locks)) {  // step 3
    return Refuse(Code::kReadConflict, "something read was overwritten since start_ts");
  }

  Timestamp base = std::max({ask.start_ts, ask.min_ts, read_high});  // step 4
  for (std::string_view key : ask.writes) {
    base = std::max(base, NewestVersion(table.store(), key));
  }
  const auto prepare_ts = base.NextSub();
  if (!prepare_ts) {
    PROBE("shard: the sub bits of a slot ran out");
    return Refuse(Code::kTimestampExhausted, fmt::format("no timestamp left after {}", base));
  }
  verdict.kind = PrepareVerdict::Kind::kPropose;
  verdict.prepare_ts = *prepare_ts;
  return verdict;
}

}  // namespace quorate::shard
