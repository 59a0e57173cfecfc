// Steps that commits on one shard and over several have in common: what a client is told, and what
// a machine is told of its own shard.
#pragma once

#include <string>

#include "coordinator/commit_machine.h"
#include "coordinator/registry.h"
#include "shard/shard.h"

namespace quorate::v1 {
class CommitRequest;
class CommitResponse;
class PrepareRequest;
}  // namespace quorate::v1

namespace quorate::coordinator {

// This sending was not begun: the node has no room for it. UNAVAILABLE, for others may have been.
void FillNoRoom(const shard::TxnName& txn, v1::CommitResponse* response);
shard::TxnName NameOf(const v1::CommitRequest& request, const TxnId& id);

// Codes that leave the outcome open carry the transaction's name, to ask about it.
void FillError(Code code, const shard::TxnName& txn, v1::CommitResponse* response);
// True if the finding answers the Commit.
bool FillFound(const Finding& finding, const shard::TxnName& txn, v1::CommitResponse* response);
// True if what a shard knows of the Commit's name answers it: nothing is to be started.
bool FillByName(const shard::NameStanding& standing, const shard::TxnName& txn,
                v1::CommitResponse* response);
// Tells copies that wait for the Commit what its own client is told, if that is a fact. `staged`:
// null if one shard is all there is.
void TellCopies(const CommitMachine::Action& action, StagedParts staged, int rounds,
                const Status& why, Registration* registration);
// Who is in the way, whose disk is full, or what there is too much of, where `why` is of that code:
// more than that something is. Else empty.
std::string Explained(Code code, const Status& why);
// One of the machine's answers. `why`: what the own part was refused with.
void FillAction(const CommitMachine::Action& action, const shard::TxnName& txn,
                const CommitMachine& machine, const Status& why, v1::CommitResponse* response);

// The part as `shard` is asked for it.
v1::PrepareRequest Routed(const v1::PrepareRequest& part, const shard::Shard& shard,
                          Timestamp min_ts);
// Hands the own evaluation to the machine; true if its entry was proposed.
bool FeedEvaluation(const shard::AnchorEvaluation& evaluation, CommitMachine* machine);
Standing ToStanding(const shard::Applied& applied);

}  // namespace quorate::coordinator
