// Core: what all transactions of one Database share: routes, slots, background tasks, and calls to
// the owner of a key that outlast redirects and overload.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/metrics.h"
#include "client/options.h"
#include "client/route/caller.h"
#include "client/route/slots.h"
#include "client/table_cache.h"
#include "client/transaction.h"
#include "txn/id.h"

namespace quorate::v1 {
class CommitRequest;
class TxnRef;
}  // namespace quorate::v1

namespace quorate::client {

class Core {
 public:
  // `env` and `channel` outlive it. Awaiters of its calls are gone before it is.
  Core(Env& env, Channel& channel, Options options);

  Env& env() { return env_; }
  const Options& options() const { return options_; }
  Caller& caller() { return caller_; }
  Slots& slots() { return slots_; }
  TableCache& tables() { return tables_; }
  // For work that nobody waits for.
  TaskScope& background() { return background_; }

  // The end of a call that may take `timeout` (0: the default). INVALID_ARGUMENT above the limit.
  Result<Instant> DeadlineFor(Duration timeout) const;

  // Caller::CallShard, sent again after STALE_EPOCH and OVERLOADED until the deadline. Any other
  // error of the answer becomes the result's status.
  // OVERLOADED: still refused at the deadline.
  Task<Result<v1::NodeResponse>> Call(std::string key, Caller::Fill fill, Instant deadline,
                                      Caller::First first = Caller::First::kLeader);

  // Divides indices of `keys` by owning shard; shards not known yet are asked for.
  Task<Result<std::vector<std::vector<size_t>>>> GroupByShard(
      std::shared_ptr<const std::vector<std::string>> keys, Instant deadline);

  struct Counters {
    explicit Counters(Metrics& metrics);
    Counter& commits;
    Counter& conflicts;
    Counter& unknown;
  };
  Counters& counters() { return counters_; }

 private:
  Env& env_;
  const Options options_;
  Counters counters_;
  RouteCache routes_;
  Caller caller_;
  Slots slots_;
  TableCache tables_;
  TaskScope background_;
};

// INVALID_ARGUMENT: a bound that is outside of 1 ms to 60 s.
Status CheckStale(const StaleRead& stale);

// What the outcome question answers, and a commit.
struct Settled {
  enum class State : uint8_t { kCommitted, kAborted, kUnknown } state = State::kUnknown;
  Status status;        // kAborted: why, and whether another attempt may help; kUnknown: last error
  Timestamp commit_ts;  // kCommitted
  int shards = 0;
  Duration retry_after{0};  // kAborted: the least pause before another attempt
  bool earlier = false;     // kCommitted: by another attempt of the same name
};

// Asks the anchor's leader until the deadline. kUnknown: no answer, or TOO_OLD.
Task<Settled> AskOutcome(Core* core, TxnHandle txn, Instant deadline);

// Sends the Commit, again and again while it stays unanswered, and asks for the outcome when that
// does not help. Routes and timeouts of `request` are filled in here. kAborted is a fact: no copy
// of the Commit that was ever sent can take effect. `times_sent` is counted up just before each
// sending; it outlives the call.
Task<Settled> SendCommit(Core* core, std::shared_ptr<v1::CommitRequest> request, Instant deadline,
                         int* times_sent);

// The key that should anchor these writes: one in the shard that owns most of them, so that the
// coordinator has most of the work at hand. `keys` is not empty.
std::string ChooseAnchor(const RouteCache& routes, const std::vector<std::string_view>& keys);

}  // namespace quorate::client
