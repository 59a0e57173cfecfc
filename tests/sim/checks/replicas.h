// Replicas: looks at the replicas of all nodes from time to time during a run, and at its end.
//
//   one leader per (group, term), as the replicas themselves see it
//   one lease per group at any moment
//   equal digests of the replicated state at equal applied index
//   nothing applied is lost: at the end every replica has applied what any of them ever had
//   T2: slots strictly increase over all oracles, and stay below the logged ceiling
//   the newest descriptors of all shards tile the key space
//   WAL bounded: files no larger than what live records and the allowance for reuse need
//
// The judging functions take what was seen, so that tests can show them something wrong.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/strong_type.h"
#include "txn/timestamp.h"

namespace quorate::server {
class Member;
}

namespace quorate::sim {

class Cluster;
class SimNode;

struct ReplicaSeen {
  std::string node;
  uint64_t group = 0;
  uint64_t term = 0;
  bool leads = false;
  uint64_t applied = 0;
};

struct OracleSeen {
  std::string node;
  bool active = false;  // leads, and its lease holds
  Timestamp issued;     // newest; where a term begins is not issued
  Timestamp ceiling;
};

// A leader whose lease holds by its own clock.
struct LeaseSeen {
  uint64_t group = 0;
  uint64_t term = 0;
  std::string node;
};

struct ShardSeen {
  uint64_t shard = 0;
  uint64_t version = 0;
  std::string from;
  std::string to;
};

class Replicas {
 public:
  explicit Replicas(Cluster& cluster) : cluster_(cluster) {}

  // Cheap, for often.
  void Look();
  // Digests, of every `parts`-th group in turn, and the map: for now and then.
  void LookDeep(uint64_t parts);
  // When everything has converged.
  void LookAtRest();

  void JudgeReplica(const ReplicaSeen& seen);
  // `harms`: how often what the node had synced was harmed; `seen_harm`: whether this start found
  // all of that as it was.
  void JudgeLog(const std::string& node, uint64_t group, const std::string& quarantine, int harms,
                bool seen_harm);
  void JudgeDigest(uint64_t group, uint64_t applied, const std::string& node, uint64_t digest);
  // All oracles at one moment.
  void JudgeOracles(const std::vector<OracleSeen>& seen);
  // All leases at one moment.
  void JudgeLeases(const std::vector<LeaseSeen>& seen);
  // A horizon lies a transaction's lifetime below a slot; nothing else may move it.
  void JudgeHorizon(const std::string& node, uint64_t shard, Timestamp horizon);
  void JudgeMap(std::vector<ShardSeen> shards);
  // A leader holds no locks of keys that are another shard's.
  void JudgeLocks(const std::string& node, uint64_t shard, size_t foreign);
  void JudgeWal(const std::string& node, uint64_t file_bytes, uint64_t live_bytes,
                uint64_t segment_bytes);
  // At the end.
  void JudgeNothingLost(const std::vector<ReplicaSeen>& seen);

  const std::vector<std::string>& violations() const { return violations_; }
  uint64_t digests_compared() const { return digests_compared_; }

 private:
  void Violation(std::string text);
  // What runs there, unless the disk in the machine is another cluster's, and it a stranger.
  const server::Member* MemberOn(SimNode& node);
  static bool Quarantines(const server::Member& member);
  void LookAtAbsorbed();
  template <class Visit>
  void ForEachReplica(Visit visit);

  Cluster& cluster_;
  std::set<uint64_t> absorbed_;                                   // shards
  std::string cluster_id_;                                        // empty: not made yet
  std::map<std::pair<uint64_t, uint64_t>, std::string> leaders_;  // by (group, term)
  std::map<uint64_t, ReplicaSeen> furthest_;                      // by group: the most applied
  // By (node, group): the node's harms when a start had looked at them all, and the log was whole.
  std::map<std::pair<std::string, uint64_t>, int> whole_;
  struct Digest {
    std::string node;
    uint64_t digest = 0;
  };
  std::map<std::pair<uint64_t, uint64_t>, Digest> digests_;  // by (group, applied index)
  std::map<std::string, OracleSeen> oracles_;                // as seen last, by node
  bool oracle_active_ = false;                               // when looked at last
  Timestamp highest_ceiling_;                                // below which all slots lie
  std::map<std::string, uint64_t> most_live_;                // WAL bytes, by node
  std::vector<std::string> violations_;
  uint64_t digests_compared_ = 0;
  uint64_t deep_looks_ = 0;
};

}  // namespace quorate::sim
