// SessionAnswers: what the Commits of a node's sessions were answered, so that one repeated after a
// lost answer hears the same. In memory: a repetition that finds nothing here (the node restarted,
// it is another node, more sessions have ended since than are kept) is answered by the session's
// name and a key, if it brings them.
//
// Threads: executor's thread only.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"
#include "quorate/v1/client.pb.h"

namespace quorate::server {

class SessionAnswers {
 public:
  explicit SessionAnswers(size_t max = limits::kSessionAnswersMax) : max_(max) {}

  // A Commit of `session` begins; until Finish its answer is nullopt.
  void Begin(uint64_t session, Instant now);
  void Finish(uint64_t session, v1::SessionCommitResponse response);

  struct Found {
    bool known = false;                                 // else: nothing is kept of it
    std::optional<v1::SessionCommitResponse> response;  // nullopt: under way
  };
  Found Find(uint64_t session) const;

  // Those of sessions that ended before `now` less the retention of names.
  void Expire(Instant now);
  size_t size() const { return answers_.size(); }

 private:
  void DropOldest();

  const size_t max_;
  std::map<uint64_t, std::optional<v1::SessionCommitResponse>> answers_;
  std::deque<std::pair<Instant, uint64_t>> order_;  // by when they began
};

}  // namespace quorate::server
