// Command: what a shard's log may hold. Judged twice by one rule: before it is logged, so that
// nothing else can be (Propose takes a JudgedCommand), and when it is applied, because logs outlive
// versions and an earlier one may have let more pass. A command that breaks the rule is void: it
// has no effect, on any replica. Only what every version would have died of may be void; what a
// version does not know at all it must not pass over, so the replica is quarantined (rep.h).
#pragma once

#include <string>
#include <utility>

#include "base/status.h"
#include "quorate/v1/shard.pb.h"
#include "raft/core/types.h"
#include "txn/timestamp.h"

namespace quorate::shard {

// INVALID_ARGUMENT that names the field, or OK. Precondition: it is a command that is known here.
Status CheckCommand(const v1::ShardCommand& command);
// One of a ResolveCommand: they were logged together and stand or fall each for itself.
Status CheckResolution(const v1::Resolution& resolution);

class JudgedCommand {
 public:
  static Result<JudgedCommand> Judge(v1::ShardCommand command);

  const v1::ShardCommand& operator*() const { return command_; }
  // With this entry the shard's leader closes `closed`, a slot.
  void Close(Timestamp closed) { command_.set_closed(closed.bits()); }
  // The bytes to log, for a shard of `version` led in `term`.
  std::string Encode(raft::Term term, uint64_t version) &&;

 private:
  explicit JudgedCommand(v1::ShardCommand command) : command_(std::move(command)) {}

  v1::ShardCommand command_;
};

}  // namespace quorate::shard
