// World: several cores, a network and a disk for each, all driven by hand. Used by the scripts and
// by the random runs. Every operation ends with the checks of core_checker.h.
//
// Model. A Ready's messages enter the network at once; its write is durable when Persist says so,
// in order; a crash loses every write that is not. The state machine is a number, the applied
// index: it survives a crash up to what the durable log holds. Each replica has its own clock, with
// its own rate. A snapshot is its meta.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "raft/core/invariants.h"
#include "raft/core/node.h"
#include "tests/raft/core_checker.h"

namespace quorate::raft {

std::string Describe(const Message& message);
std::string_view TypeName(const MessageBody& body);
std::string_view RoleName(Role role);

class World {
 public:
  struct Write {
    uint64_t id;
    std::optional<HardState> hard_state;
    std::optional<SnapshotMeta> snapshot;
    std::vector<Entry> entries;
  };
  struct Replica {
    ReplicaId id;
    std::unique_ptr<Node> node;  // null: down
    Disk disk;
    std::deque<Write> writes;
    LogIndex applied;   // of the state machine, durable or not
    LogIndex given;     // last committed entry given out
    bool slow = false;  // applies only when told to
    double clock_rate = 1;
    Duration clock_offset{};
    DeltaCheck delta;
  };
  // What happened that a reader may want to see; the script prints it.
  using Log = std::vector<std::string>;

  explicit World(uint64_t seed);

  Config config;  // for replicas started from now on; `self` is filled in

  // A replica that was never there before.
  void Create(ReplicaId id, const Configuration& bootstrap, bool fresh);
  void Crash(ReplicaId id);
  void Restart(ReplicaId id);
  bool up(ReplicaId id) const { return replicas_.at(id).node != nullptr; }
  Node& node(ReplicaId id);
  Replica& replica(ReplicaId id) { return replicas_.at(id); }
  std::vector<ReplicaId> ids() const;
  Instant Now(ReplicaId id) const;

  void Advance(Duration d) { time_ += d; }
  void Tick(ReplicaId id);
  void Campaign(ReplicaId id);
  Result<Entry> Propose(ReplicaId id, std::string payload);
  Status ProposeConfiguration(ReplicaId id, const std::vector<ReplicaId>& voters,
                              const std::vector<ReplicaId>& learners);
  Status Read(ReplicaId id, uint64_t context);
  Status Transfer(ReplicaId id, ReplicaId target);
  void Compact(ReplicaId id, LogIndex index);
  void PeerUnreachable(ReplicaId id, ReplicaId peer);
  void Rouse(ReplicaId id);
  void LookAgain(ReplicaId id);
  void PeerGone(ReplicaId id, ReplicaId peer);
  // Takes one Ready and does its first step: messages enter the network, the write is queued.
  void Take(ReplicaId id, Log* log);
  // Makes the oldest queued write durable. False if there is none.
  bool Persist(ReplicaId id);
  // Applies up to `index`, at most what was given out.
  void Apply(ReplicaId id, LogIndex index);
  void Deliver(const Message& message);
  // Streams the state of `from` at its applied index to `to`.
  bool SendSnapshot(ReplicaId from, ReplicaId to, bool arrives, Log* log);

  // A cut link loses what is sent from now on.
  void SetLink(ReplicaId a, ReplicaId b, bool works);
  void HealLinks() { cut_.clear(); }
  std::deque<Message> network;  // sent, not delivered; in the order of sending
  std::set<std::pair<ReplicaId, ReplicaId>> snapshots_wanted;  // (from, to)

  const Checker& checker() const { return checker_; }
  Random random;

 private:
  void Start(Replica& replica, bool fresh);
  void Check(Replica& replica);

  Duration time_ = 1s;
  std::map<ReplicaId, Replica> replicas_;
  std::set<std::pair<ReplicaId, ReplicaId>> cut_;
  Checker checker_;
};

}  // namespace quorate::raft
