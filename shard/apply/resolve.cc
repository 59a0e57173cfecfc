#include <set>

#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/command.h"
#include "shard/evaluate_prepare.h"
#include "shard/intents.h"
#include "shard/mvcc.h"
#include "shard/records.h"

namespace quorate::shard {
namespace {

// Intents become versions at commit_ts, or vanish.
void ResolvePrepared(ApplyContext context, ParticipantRecord record, TxnState outcome,
                     Timestamp commit_ts) {
  const Owner owner = OwnerOf(record);
  for (const std::string& key : record.writes) {
    if (outcome == TxnState::kCommitted) {
      const auto intent = GetIntent(context.table.store(), key);
      if (!intent.has_value() || !intent->Of(owner)) {
        return context.table.Break("a prepared write without its intent");
      }
      const Timestamp at = MUTANT("txn-resolved-at-prepare-ts") ? record.prepare_ts : commit_ts;
      PutVersion(key, at, intent->deletion, intent->value, context.batch);
    }
    context.batch->Delete(IntentKey(key));
  }
  const bool writes = !record.writes.empty();
  const bool remembered =
      context.table.span().Contains(record.anchor_key) || !MUTANT("name-remembered-at-anchor-only");
  if (outcome == TxnState::kCommitted && record.name.given() && remembered) {
    context.table.names().Store({.state = NameRecord::State::kCommitted,
                                 .name = record.name,
                                 .commit_ts = commit_ts,
                                 .key = writes ? record.writes.front() : record.marker_key,
                                 .last_key = writes ? record.writes.back() : record.marker_key},
                                context.batch);
  }
  // The index of prepared ones goes by the record as it was.
  record.name = {};
  record.state = outcome;
  record.priority = {};
  record.anchor_key.clear();
  record.guards.clear();
  if (outcome == TxnState::kCommitted) {
    record.commit_ts = commit_ts;
  } else {
    record.writes.clear();
  }
  context.table.Store(std::move(record), context.batch);
}

// False: the resolution contradicts what is prepared, and is without effect.
bool ResolveOne(ApplyContext context, const v1::Resolution& resolution, const Owner& owner) {
  Table& table = context.table;
  const bool commit = resolution.outcome() == v1::COMMITTED;
  const auto event =
      commit ? ParticipantEvent::kResolveCommitted : ParticipantEvent::kResolveAborted;
  if (const ParticipantRecord* prepared = table.FindPrepared(owner)) {
    const Timestamp commit_ts(resolution.commit_ts());
    if (commit && commit_ts < prepared->prepare_ts) {
      return false;
    }
    ResolvePrepared(context, *prepared, NextState(TxnState::kPrepared, event), commit_ts);
    return true;
  }
  if (commit) return true;
  // Below the horizon nothing can be prepared any more, so there is nothing to prevent.
  if (Timestamp(resolution.start_ts()) < table.horizon()) return true;
  if (table.Participant(owner).has_value()) return true;
  PROBE("shard: an abort came before its prepare");
  ParticipantRecord refusal;
  refusal.state = NextState(TxnState::kNone, event);
  refusal.txn_id = owner.txn_id;
  refusal.digest = owner.digest;
  refusal.start_ts = Timestamp(resolution.start_ts());
  refusal.marker_key = resolution.marker_key();
  table.Store(std::move(refusal), context.batch);
  return true;
}

}  // namespace

Applied ApplyResolve(ApplyContext context, const v1::ResolveCommand& command) {
  // The state does not show yet what this entry has resolved: the first of two copies stands.
  std::set<Owner> resolved;
  bool sound = true;
  for (const v1::Resolution& resolution : command.resolutions()) {
    // Of an earlier version, which let it pass: void, on every replica.
    if (!CheckResolution(resolution).ok()) continue;
    const Owner owner{*TxnId::FromBytes(resolution.txn_id()), Digest(resolution.digest()),
                      resolution.marker_key()};
    if (resolved.insert(owner).second) sound &= ResolveOne(context, resolution, owner);
  }
  // Not OK: the sender must not take the part for resolved.
  if (!sound) return Refused(Code::kFailedPrecondition, "a commit_ts below a prepare_ts");
  return {};
}

}  // namespace quorate::shard
