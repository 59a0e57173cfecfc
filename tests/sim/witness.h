// Witness: a client of its own in every run that asks every node the same, whoever leads: for a
// slot, and, where there are replicas, for what it holds of keys that were just written. Clients
// find one leader and stay with it; two nodes that both take themselves for the leader are only
// seen by who asks both. Now and then it commits something, by copies of one Commit to every
// replica, several times.
//
// Judged here: a slot lies above all that the witness had been answered when it asked (T2). What
// was read goes into the record, for the contents check (S2): most reads are at a fresh slot, some
// at one that a transaction used long ago. So does what was committed; whoever answers a copy must
// say the same (A1).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/task.h"
#include "client/route/route_cache.h"
#include "tests/sim/checks/record.h"
#include "tests/sim/cluster.h"

namespace quorate::sim {

class Witness {
 public:
  // Both outlive it.
  Witness(Cluster& cluster, Record& record);

  // Asks until Stop. The cluster serves.
  void Start();
  // Forgets what is under way.
  void Stop() { client_.reset(); }
  const Witnessed& witnessed() const { return witnessed_; }

 private:
  // A timestamp, and since when the witness may expect to see what was committed.
  struct Moment {
    Timestamp at;
    int64_t began = 0;
    bool stale = false;  // whoever has a replica may answer by it
  };

  Task<void> Loop();
  Task<void> Round();
  Task<void> LearnRoutes();
  Task<std::optional<Timestamp>> AskForSlot(std::string address);
  Task<void> Read(std::string address, std::string key, Moment moment);
  Task<std::optional<ReadSeen>> Ask(std::string address, std::string key, Moment moment);
  Task<void> CommitEverywhere(Moment moment);
  Task<void> SendCommit(std::string address, std::shared_ptr<const v1::NodeRequest> request,
                        Duration patience, AttemptSeen* attempt);
  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration patience);
  // Where the key's shard has replicas: nobody else could answer.
  std::vector<std::string> ReplicasOf(const std::string& key) const;
  // What somebody wrote lately; nullopt: nothing yet.
  std::optional<std::string> RecentKey();
  std::optional<Moment> LongAgo();

  Cluster& cluster_;
  Record& record_;
  Random random_;
  client::RouteCache routes_;
  Timestamp highest_;     // slot that was answered
  uint64_t commits_ = 0;  // begun
  Witnessed witnessed_;
  std::unique_ptr<SimClient> client_;
};

}  // namespace quorate::sim
