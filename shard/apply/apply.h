// What a committed entry does: one plain function per command, one file each. They look at the
// entry and the applied state only, and re-check what evaluation checked: Apply is the authority.
// Precondition of all: the command passed CheckCommand (command.h). Where the state contradicts it,
// they break the table instead of going on.
// The commands and their numbers are ShardCommand's (quorate/v1/shard.proto).
//
// Reads see the state before the entry: the batch is stored after Apply returns. A command that
// touches a thing twice keeps track itself.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "shard/applied.h"
#include "shard/table.h"
#include "storage/kv_store.h"

namespace quorate::v1 {
class AbandonMerge;
class AbsorbCommand;
class AdvanceHorizon;
class CloseName;
class CommitOnePhase;
class Decide;
class Done;
class FreezeCommand;
class LeaderStart;
class PrepareCommand;
class Refuse;
class ResolveCommand;
class ShardCommand;
class ShardDescriptor;
class SplitCommand;
}  // namespace quorate::v1

namespace quorate::shard {

struct ApplyContext {
  Table& table;
  storage::WriteBatch* batch;
  // Shard::Deps::may_begin; null: every child may.
  const std::function<bool(ShardId, storage::WriteBatch*)>* may_begin = nullptr;
  // Shard::Deps::make_room; null: there is room.
  const std::function<InTheWay(const v1::ShardDescriptor&)>* make_room = nullptr;
};

Applied ApplyLeaderStart(ApplyContext context, const v1::LeaderStart& command);
Applied ApplyCommitOnePhase(ApplyContext context, const v1::CommitOnePhase& command);
// The participant record and, with `stage`, the transaction record: both or none.
Applied ApplyPrepare(ApplyContext context, const v1::PrepareCommand& command);
Applied ApplyDecide(ApplyContext context, const v1::Decide& command);
Applied ApplyResolve(ApplyContext context, const v1::ResolveCommand& command);
Applied ApplyRefuse(ApplyContext context, const v1::Refuse& command);
Applied ApplyAdvanceHorizon(ApplyContext context, const v1::AdvanceHorizon& command);
Applied ApplyDone(ApplyContext context, const v1::Done& command);
// kCommitted or kAborted: what stands for the name. LOCK_CONFLICT: a part of it is prepared.
Applied ApplyCloseName(ApplyContext context, const v1::CloseName& command);

// The shard becomes two, or nothing happens: INVALID_ARGUMENT, FAILED_PRECONDITION.
Applied ApplySplit(ApplyContext context, const v1::SplitCommand& command);
// Looks at some keys of Table::sweep. FAILED_PRECONDITION: there is nothing to sweep, or not yet.
Applied ApplySweep(ApplyContext context);
inline constexpr size_t kSweepPerEntry = 512;  // versions looked at, and deleted

// Until it is thawed, no other entry has an effect. FAILED_PRECONDITION: members change.
Applied ApplyFreeze(ApplyContext context, const v1::FreezeCommand& command);
Applied ApplyThaw(ApplyContext context);
// Why the entry has to wait, on this node; empty: it has not. Nothing is changed.
InTheWay WhatIsInTheWay(ApplyContext context, const v1::AbsorbCommand& command);
// STALE_EPOCH: it is no neighbour (any more). FAILED_PRECONDITION: settled before.
Applied ApplyAbsorb(ApplyContext context, const v1::AbsorbCommand& command);
// OK, too, if it was absorbed before. STALE_EPOCH: another shard ends where it begins.
Applied ApplyAbandonMerge(ApplyContext context, const v1::AbandonMerge& command);

// Drops what the horizon has passed, oldest first (see Collectable). `budget` bounds the keys
// looked at plus the versions and records deleted. Every entry does a little, so that garbage goes
// as fast as it comes and no entry does much.
inline constexpr size_t kCollectPerEntry = 6;
inline constexpr size_t kCollectPerAdvance = 512;
// Names beside them: an entry adds one at most, but for a ResolveCommand.
inline constexpr size_t kCollectNamesPerEntry = 2;
void Collect(ApplyContext context, size_t budget);
void CollectNames(ApplyContext context, size_t max);

// Refusals shared by the commands.
Applied Refused(Code code, std::string why);
Applied RefusedTooOld(const Table& table, Timestamp start_ts);
// Why no part of `name` may be prepared here any more; nullopt: it may. Its time comes first: below
// the names horizon a record that is not there says nothing.
std::optional<Applied> RefusedByName(const Table& table, const GivenName& name,
                                     std::string_view marker_key);

}  // namespace quorate::shard
