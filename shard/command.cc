#include "shard/command.h"

#include <string_view>

#include "base/check.h"
#include "base/mutant.h"
#include "base/status_macros.h"
#include "shard/apply/frozen.h"
#include "shard/keys.h"
#include "txn/errors.h"
#include "txn/given_name.h"
#include "txn/id.h"
#include "txn/judge.h"

namespace quorate::shard {
namespace {

// Whatever becomes part of a store key.
Status CheckStored(std::string_view key, std::string_view what) {
  if (key.size() <= kStoredKeyBytesMax || MUTANT("txn-marker-unbounded")) return Status::Ok();
  return InvalidArgument(
      fmt::format("{} of {} bytes: the limit is {} bytes", what, key.size(), kStoredKeyBytesMax));
}

Status CheckName(std::string_view name) {
  if (GivenName::FromBytes(name)) return Status::Ok();
  return InvalidArgument("name is no UUIDv7 of 16 bytes");
}

Status CheckWrites(const google::protobuf::RepeatedPtrField<v1::Write>& writes) {
  for (const v1::Write& write : writes) RETURN_IF_ERROR(CheckStored(write.key(), "key"));
  return Status::Ok();
}

// A participant's name: digest 0 is the transaction record's.
Status CheckOwner(std::string_view txn_id, uint64_t digest, std::string_view marker_key) {
  RETURN_IF_ERROR(CheckTxnId(txn_id));
  if (digest == 0) return InvalidArgument("digest is missing");
  return CheckStored(marker_key, "marker_key");
}

Status Check(const v1::CommitOnePhase& command) {
  RETURN_IF_ERROR(CheckTxnId(command.txn_id()));
  RETURN_IF_ERROR(CheckStored(command.anchor_key(), "anchor_key"));
  if (!command.name().empty()) RETURN_IF_ERROR(CheckName(command.name()));
  if (command.writes().empty()) return InvalidArgument("a one-phase commit of nothing");
  return CheckWrites(command.writes());
}

Status Check(const v1::PrepareCommand& command) {
  RETURN_IF_ERROR(CheckOwner(command.txn_id(), command.digest(), command.marker_key()));
  RETURN_IF_ERROR(CheckStored(command.anchor_key(), "anchor_key"));
  if (!TxnId::FromBytes(command.priority().txn_id())) {
    return InvalidArgument("priority.txn_id has 16 bytes");
  }
  if (!command.name().empty()) RETURN_IF_ERROR(CheckName(command.name()));
  if (command.stage() && command.participants().empty()) {
    return InvalidArgument("a stage without participants");
  }
  return CheckWrites(command.writes());
}

Status Check(const v1::Decide& command) {
  RETURN_IF_ERROR(CheckTxnId(command.txn_id()));
  return CheckStored(command.anchor_key(), "anchor_key");
}

Status Check(const v1::ResolveCommand& command) {
  for (const v1::Resolution& resolution : command.resolutions()) {
    RETURN_IF_ERROR(CheckResolution(resolution));
  }
  return Status::Ok();
}

Status Check(const v1::CloseName& command) {
  RETURN_IF_ERROR(CheckName(command.name()));
  return CheckStored(command.key(), "key");
}

Status Check(const v1::Done& command) {
  RETURN_IF_ERROR(CheckTxnId(command.txn_id()));
  if (command.more_txn_ids_size() != command.more_anchor_keys_size()) {
    return InvalidArgument("each transaction that is done has its anchor_key");
  }
  for (const std::string& txn_id : command.more_txn_ids()) RETURN_IF_ERROR(CheckTxnId(txn_id));
  return Status::Ok();
}

Status Check(const v1::SplitCommand& command) {
  if (command.child_shard_id() == 0) return InvalidArgument("child_shard_id is missing");
  return CheckKey(command.at());
}

}  // namespace

Status CheckResolution(const v1::Resolution& resolution) {
  return CheckOwner(resolution.txn_id(), resolution.digest(), resolution.marker_key());
}

Status CheckCommand(const v1::ShardCommand& command) {
  switch (command.command_case()) {
    case v1::ShardCommand::kLeaderStart:
      return command.leader_start().floor() != 0 ? Status::Ok()
                                                 : InvalidArgument("a LeaderStart without floor");
    case v1::ShardCommand::kCommitOnePhase:
      return Check(command.commit_one_phase());
    case v1::ShardCommand::kPrepare:
      return Check(command.prepare());
    case v1::ShardCommand::kDecide:
      return Check(command.decide());
    case v1::ShardCommand::kResolve:
      return Check(command.resolve());
    case v1::ShardCommand::kRefuse:
      return CheckOwner(command.refuse().txn_id(), command.refuse().digest(),
                        command.refuse().marker_key());
    case v1::ShardCommand::kAdvanceHorizon:
      return Status::Ok();
    case v1::ShardCommand::kDone:
      return Check(command.done());
    case v1::ShardCommand::kCloseName:
      return Check(command.close_name());
    case v1::ShardCommand::kSplit:
      return Check(command.split());
    case v1::ShardCommand::kFreeze:
      return command.freeze().into_shard_id() != 0 ? Status::Ok()
                                                   : InvalidArgument("into_shard_id is missing");
    case v1::ShardCommand::kAbsorb:
      return CheckFrozen(command.absorb().frozen());
    case v1::ShardCommand::kAbandonMerge:
      return quorate::Check(command.abandon_merge());
    case v1::ShardCommand::kSweep:
    case v1::ShardCommand::kThaw:
      return Status::Ok();
    case v1::ShardCommand::COMMAND_NOT_SET:
      break;
  }
  CHECK(false, "a command that this version does not know");
}

Result<JudgedCommand> JudgedCommand::Judge(v1::ShardCommand command) {
  RETURN_IF_ERROR(CheckCommand(command));
  return JudgedCommand(std::move(command));
}

std::string JudgedCommand::Encode(raft::Term term, uint64_t version) && {
  command_.set_term(term.value());
  command_.set_version(version);
  return command_.SerializeAsString();
}

}  // namespace quorate::shard
