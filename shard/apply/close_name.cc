#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"

namespace quorate::shard {
namespace {

Applied RefusedNameTooOld(const Table& table, const GivenName& name) {
  return Refused(Code::kTooOld,
                 fmt::format("name {} is of {} ms, below the horizon of names {} ms", name,
                             name.unix_ms(), table.names_horizon().physical_ms()));
}

Applied StandingOf(const Names::Entry& entry) {
  Applied standing;
  const bool committed = entry.state == NameRecord::State::kCommitted;
  standing.state = committed ? TxnState::kCommitted : TxnState::kAborted;
  standing.commit_ts = entry.commit_ts;
  return standing;
}

}  // namespace

std::optional<Applied> RefusedByName(const Table& table, const GivenName& name,
                                     std::string_view marker_key) {
  if (!name.given()) return std::nullopt;
  if (Names::TooOld(name, table.names_horizon())) return RefusedNameTooOld(table, name);
  const Names::Entry* entry = table.names().Find(name);
  if (entry == nullptr) return std::nullopt;
  const bool committed = entry->state == NameRecord::State::kCommitted;
  if (committed && MUTANT("name-attempts-joined-by-id")) return std::nullopt;
  if (!committed && entry->key != marker_key && MUTANT("name-closed-at-marker-only")) {
    return std::nullopt;
  }
  return Refused(Code::kAlreadyExists,
                 committed ? "committed by another attempt of its name" : "its name is closed");
}

Applied ApplyCloseName(ApplyContext context, const v1::CloseName& command) {
  Table& table = context.table;
  const auto name = GivenName::FromBytes(command.name());
  if (Names::TooOld(*name, table.names_horizon()) && !MUTANT("name-too-old-after-records")) {
    return RefusedNameTooOld(table, *name);
  }
  const Names::Entry* entry = table.names().Find(*name);
  // What was closed before a merge may be prepared on the other side, and end as either.
  const bool stands = entry != nullptr && (entry->state == NameRecord::State::kCommitted ||
                                           table.names().Prepared(*name).empty());
  if (stands) {
    PROBE("shard: a name was closed behind its record");
    return StandingOf(*entry);
  }
  if (!table.names().Prepared(*name).empty()) {
    PROBE("shard: a name was closed behind a prepare");
    return Refused(Code::kLockConflict, "a part of a transaction of this name is prepared");
  }
  table.names().Store({.state = NameRecord::State::kClosed,
                       .name = *name,
                       .key = command.key(),
                       .last_key = command.key()},
                      context.batch);
  return StandingOf(*table.names().Find(*name));
}

}  // namespace quorate::shard
