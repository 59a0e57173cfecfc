#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/evaluate_prepare.h"
#include "shard/records.h"

namespace quorate::shard {

Applied ApplyRefuse(ApplyContext context, const v1::Refuse& command) {
  Table& table = context.table;
  const auto txn_id = TxnId::FromBytes(command.txn_id());
  const Owner owner{*txn_id, Digest(command.digest()), command.marker_key()};
  const auto past = table.Participant(owner);
  if (past && !MUTANT("txn-refuse-over-prepared")) {
    PROBE("shard: a refusal was applied behind the record");
    return StandingOf(*past);
  }
  ParticipantRecord refusal;
  refusal.state = NextState(TxnState::kNone, ParticipantEvent::kRefuse);
  refusal.txn_id = owner.txn_id;
  refusal.digest = owner.digest;
  refusal.start_ts = Timestamp(command.start_ts());
  refusal.marker_key = command.marker_key();
  const Applied applied = StandingOf(refusal);
  // Below the horizon nothing can be prepared any more: refused without a record.
  if (refusal.start_ts >= table.horizon()) table.Store(std::move(refusal), context.batch);
  return applied;
}

}  // namespace quorate::shard
