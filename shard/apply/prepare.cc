#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/evaluate_prepare.h"
#include "shard/intents.h"
#include "shard/records.h"

namespace quorate::shard {
namespace {

ParticipantRecord PreparedRecord(const v1::PrepareCommand& command, const Owner& owner) {
  ParticipantRecord record;
  record.state = NextState(TxnState::kNone, ParticipantEvent::kPrepare);
  record.txn_id = owner.txn_id;
  record.digest = owner.digest;
  record.start_ts = Timestamp(command.start_ts());
  record.prepare_ts = Timestamp(command.prepare_ts());
  const auto first_id = TxnId::FromBytes(command.priority().txn_id());
  record.priority = {Timestamp(command.priority().start_ts()), *first_id};
  record.marker_key = command.marker_key();
  record.anchor_key = command.anchor_key();
  record.writes.reserve(command.writes_size());
  for (const v1::Write& write : command.writes()) record.writes.push_back(write.key());
  record.guards.reserve(command.guards_size());
  for (const v1::KeySpan& guard : command.guards()) {
    record.guards.push_back({guard.from(), guard.to()});
  }
  record.name = GivenName::FromBytes(command.name()).value_or(GivenName());
  return record;
}

TransactionRecord StagedRecord(const v1::PrepareCommand& command, const TxnId& txn_id) {
  TransactionRecord record;
  record.state = NextState(TxnState::kNone, TransactionEvent::kStage);
  record.txn_id = txn_id;
  record.start_ts = Timestamp(command.start_ts());
  record.anchor_key = command.anchor_key();
  record.participants.reserve(command.participants_size());
  for (const v1::Participant& participant : command.participants()) {
    record.participants.push_back({participant.marker_key(), Digest(participant.digest())});
  }
  return record;
}

}  // namespace

Applied ApplyPrepare(ApplyContext context, const v1::PrepareCommand& command) {
  Table& table = context.table;
  const auto txn_id = TxnId::FromBytes(command.txn_id());
  const Owner owner{*txn_id, Digest(command.digest()), command.marker_key()};

  if (command.stage()) {
    if (const auto past = table.Transaction(command.anchor_key(), *txn_id)) {
      return StandingOf(*past);
    }
  }
  const auto past = table.Participant(owner);
  const bool resolved = past && past->state != TxnState::kPrepared;
  if (past && !(resolved && MUTANT("txn-outcome-forgotten"))) {
    PROBE("shard: a prepare was applied behind its own record");
    // A stage without its own prepare would stage what others can refuse: both or none.
    if (command.stage()) return Refused(Code::kLockConflict, "prepared elsewhere");
    return StandingOf(*past);
  }
  const Timestamp start_ts(command.start_ts());
  if (start_ts < table.horizon()) return RefusedTooOld(table, start_ts);
  const GivenName name = GivenName::FromBytes(command.name()).value_or(GivenName());
  if (auto refused = RefusedByName(table, name, command.marker_key())) return *std::move(refused);
  for (const v1::Write& write : command.writes()) {
    if (table.IntentOn(write.key()) != nullptr) {
      return Refused(Code::kLockConflict, "another transaction's intent came first");
    }
  }

  for (const v1::Write& write : command.writes()) {
    PutIntent(write.key(), owner, Timestamp(command.prepare_ts()), write.deletion(), write.value(),
              context.batch);
  }
  ParticipantRecord record = PreparedRecord(command, owner);
  Applied applied = StandingOf(record);
  table.Store(std::move(record), context.batch);
  if (command.stage()) {
    table.Store(StagedRecord(command, *txn_id), context.batch);
    applied.state = TxnState::kStaged;
  }
  return applied;
}

}  // namespace quorate::shard
