// Participants: a Commit's keys grouped by shard, and the messages to those shards. Everything is
// addressed by key: to the shard here if it serves, else through client/route to whoever leads.
//
// What is much for one entry of a log (limits::kPartBytesMax) is divided further, as if its shard
// were several that follow each other: each part has the keys, and the pieces of ranges, of an
// interval of its own. The protocol knows parts by their markers, not by their shards.
//
// STALE_EPOCH: if the repaired map still puts the whole part into one shard, its digest holds and
// it is sent again; if not, the answer is the refusal STALE_EPOCH and the transaction aborts. It is
// never staged again in another grouping (DX20).
//
// Executor's thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/task.h"
#include "client/route/caller.h"
#include "coordinator/commit_machine.h"
#include "coordinator/shard_directory.h"
#include "shard/pusher.h"

namespace quorate::v1 {
class CommitRequest;
class PrepareRequest;
class PrepareResponse;
class QueryPrepareResponse;
}  // namespace quorate::v1

namespace quorate::coordinator {

// One participant's Prepare, complete but for route and min_ts.
using Part = std::shared_ptr<const v1::PrepareRequest>;

class Participants {
 public:
  Participants(client::Caller& caller, ShardDirectory& directory, size_t part_bytes_max);

  // Whether all of the commit's keys and ranges are in `span`.
  static bool Within(const v1::CommitRequest& commit, const Span& span);
  // Whether what it writes is more than one part may have.
  bool TooMuchForOne(const v1::CommitRequest& commit) const;
  // The whole commit as one part. Takes the writes and reads out of `commit`.
  static v1::PrepareRequest OnePart(v1::CommitRequest* commit);

  // The parts in order of shards, but for the anchor's own, which comes first; `own` is its shard.
  // Takes the writes out of `commit`. STALE_EPOCH: the map does not agree that the anchor key is in
  // `own`. Others: the map could not be had.
  Task<Result<std::vector<Part>>> Group(std::shared_ptr<v1::CommitRequest> commit, ShardId own,
                                        Instant deadline);

  Task<PartAnswer> Prepare(Part part, Timestamp min_ts, Instant deadline);
  Task<PartAnswer> Query(shard::TxnName txn, shard::StagedParticipant participant,
                         Instant deadline);

 private:
  // Whether one shard, by the map, owns all of the part.
  bool Undivided(const v1::PrepareRequest& part) const;
  Task<Result<std::vector<client::Route>>> RoutesOf(std::shared_ptr<v1::CommitRequest> commit,
                                                    Instant deadline);

  client::Caller& caller_;
  ShardDirectory& directory_;
  const size_t part_bytes_max_;
};

PartAnswer ToAnswer(const v1::PrepareResponse& response);
PartAnswer ToAnswer(const v1::QueryPrepareResponse& response);

}  // namespace quorate::coordinator
