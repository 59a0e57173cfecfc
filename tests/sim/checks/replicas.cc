#include "tests/sim/checks/replicas.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "server/node/member.h"
#include "tests/sim/cluster.h"

namespace quorate::sim {

namespace {

constexpr size_t kViolationsMax = 5;
// Segments beside those that live records need: the target below which nothing is copied forward,
// and those that are being filled or wait for a note (storage/wal.h).
constexpr uint64_t kSpareSegments = 4 + 4;

}  // namespace

const server::Member* Replicas::MemberOn(SimNode& node) {
  const server::Member* member = node.up() ? node.node()->member() : nullptr;
  if (member == nullptr) return nullptr;
  // The cluster is made before any fault.
  if (cluster_id_.empty()) cluster_id_ = node.node()->cluster_id();
  return node.node()->cluster_id() == cluster_id_ ? member : nullptr;
}

template <class Visit>
void Replicas::ForEachReplica(Visit visit) {
  for (const auto& node : cluster_.nodes()) {
    const server::Member* member = MemberOn(*node);
    if (member == nullptr) continue;
    for (const auto& [group, handle] : member->groups()) {
      const raft::SoftState soft = handle->soft_state();
      visit(*member,
            ReplicaSeen{node->address(), group.value(), soft.term.value(),
                        soft.role == raft::Role::kLeader, handle->applied_index().value()});
    }
  }
}

// One whose range another replica here has not left yet, when a neighbour is absorbed, waits for a
// snapshot; and one that was absorbed goes with the end of the turn.
bool Replicas::Quarantines(const server::Member& member) {
  return std::any_of(member.groups().begin(), member.groups().end(), [](const auto& entry) {
    const std::string& why = entry.second->quarantine();
    return !why.empty() && why.find("of an absorbed shard is not free here") == why.npos &&
           why.find("another shard has absorbed it here") == why.npos;
  });
}

void Replicas::Violation(std::string text) {
  if (violations_.size() < kViolationsMax) violations_.push_back(std::move(text));
}

// ---- looking ------------------------------------------------------------------------------------

void Replicas::Look() {
  ForEachReplica([this](const server::Member&, const ReplicaSeen& seen) { JudgeReplica(seen); });
  std::vector<OracleSeen> oracles;
  std::vector<LeaseSeen> leases;
  for (const auto& node : cluster_.nodes()) {
    const server::Member* member = MemberOn(*node);
    if (member == nullptr) continue;
    const server::Node::WalUse wal = node->node()->wal();
    JudgeWal(node->address(), wal.file_bytes, wal.live_bytes, wal.segment_bytes);
    // A crash is no damage, nor are writes that it lost or tore.
    if (!node->harmed() && Quarantines(*member)) {
      Violation(fmt::format("{} quarantines replicas, and nothing it had synced was ever damaged",
                            node->address()));
    }
    for (const auto& [id, shard] : member->shards()) {
      if (shard->serving()) JudgeLocks(node->address(), id.value(), shard->in_memory().foreign);
    }
    for (const auto& [group, handle] : member->groups()) {
      JudgeLog(node->address(), group.value(), handle->quarantine(), node->harms(),
               node->has_seen_harm());
      const raft::SoftState soft = handle->soft_state();
      if (soft.role != raft::Role::kLeader) continue;
      if (node->process()->Now() >= handle->lease_until()) continue;
      leases.push_back({group.value(), soft.term.value(), node->address()});
    }
    if (member->placement() == nullptr) continue;
    const placement::Oracle& oracle = member->placement()->oracle();
    // Without its lease it may still take slots, which it then does not hand out.
    const raft::GroupHandle* group = member->FindGroup(placement::kPlacementGroup);
    const bool active =
        oracle.active() && group != nullptr && node->process()->Now() < group->lease_until();
    // The ceiling as applied: what the oracle believes is not what is logged.
    oracles.push_back(
        {node->address(), active, oracle.issued(), member->placement()->machine().ceiling()});
  }
  JudgeOracles(oracles);
  JudgeLeases(leases);
  LookAtAbsorbed();
}

// What any log says was absorbed is so for good: nobody serves it, whatever a replica of it knows.
void Replicas::LookAtAbsorbed() {
  for (const auto& node : cluster_.nodes()) {
    if (MemberOn(*node) == nullptr) continue;
    for (const shard::Shard* shard : node->node()->shards()) {
      if (!shard->HasState()) continue;
      for (const ShardId id : shard->absorbed()) absorbed_.insert(id.value());
    }
  }
  if (absorbed_.empty()) return;
  for (const auto& node : cluster_.nodes()) {
    const server::Member* member = MemberOn(*node);
    if (member == nullptr) continue;
    for (const auto& [id, shard] : member->shards()) {
      const raft::GroupHandle* group = member->FindGroup(GroupId(id.value()));
      if (!absorbed_.contains(id.value()) || !shard->serving() || group == nullptr) continue;
      if (node->process()->Now() >= group->lease_until()) continue;
      Violation(
          fmt::format("{} serves shard {}, although another one absorbed it", node->address(), id));
    }
  }
}

void Replicas::LookDeep(uint64_t parts) {
  const uint64_t part = ++deep_looks_ % parts;
  std::map<std::pair<uint64_t, uint64_t>, int> at;  // replicas by (group, applied index)
  ForEachReplica([&](const server::Member&, const ReplicaSeen& seen) {
    ++at[{seen.group, seen.applied}];
  });
  ForEachReplica([&](const server::Member& member, const ReplicaSeen& seen) {
    const auto shard = member.shards().find(ShardId(seen.group));
    if (shard == member.shards().end()) return;
    // One that has lost even what its group began with, and waits for a snapshot, is at no index.
    if (!shard->second->HasState()) return;
    // Nor is one that has lost a part of it, or is given another one in steps: it answers nothing
    // meanwhile.
    const raft::GroupHandle* group = member.FindGroup(GroupId(seen.group));
    if (group == nullptr || !group->has_state()) return;
    if (seen.group % parts != part || at[{seen.group, seen.applied}] < 2) return;
    JudgeDigest(seen.group, seen.applied, seen.node, shard->second->StateDigest());
  });
  std::vector<ShardSeen> shards;
  for (const auto& node : cluster_.nodes()) {
    if (MemberOn(*node) == nullptr) continue;
    for (const shard::Shard* shard : node->node()->shards()) {
      const Span span = shard->span();
      if (absorbed_.contains(shard->id().value())) continue;
      shards.push_back({shard->id().value(), shard->descriptor().version(), span.from, span.to});
      JudgeHorizon(node->address(), shard->id().value(), shard->horizon());
    }
  }
  // Some shards may have no replica up right now; the tiling is judged when all have.
  if (std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [this](const auto& node) {
        const server::Member* member = MemberOn(*node);
        return member != nullptr && node->node()->ready() && !member->awaits_child();
      })) {
    JudgeMap(std::move(shards));
  }
}

void Replicas::LookAtRest() {
  std::vector<ReplicaSeen> all;
  ForEachReplica([&](const server::Member&, const ReplicaSeen& seen) { all.push_back(seen); });
  JudgeNothingLost(all);
}

// ---- judging ------------------------------------------------------------------------------------

void Replicas::JudgeReplica(const ReplicaSeen& seen) {
  if (seen.leads) {
    const auto [leader, fresh] = leaders_.try_emplace({seen.group, seen.term}, seen.node);
    if (!fresh && leader->second != seen.node) {
      Violation(fmt::format("{} and {} both lead group {} in term {}", leader->second, seen.node,
                            seen.group, seen.term));
    }
  }
  const auto [furthest, fresh] = furthest_.try_emplace(seen.group, seen);
  if (!fresh && seen.applied > furthest->second.applied) furthest->second = seen;
}

void Replicas::JudgeDigest(uint64_t group, uint64_t applied, const std::string& node,
                           uint64_t digest) {
  const auto [known, fresh] = digests_.try_emplace({group, applied}, Digest{node, digest});
  if (fresh) return;
  ++digests_compared_;
  if (known->second.digest == digest) return;
  Violation(
      fmt::format("replicas of group {} differ after applying index {}: {} has {:016x}, {} has "
                  "{:016x}",
                  group, applied, known->second.node, known->second.digest, node, digest));
}

void Replicas::JudgeOracles(const std::vector<OracleSeen>& seen) {
  Timestamp highest;  // issued by anyone when looked at last
  std::string by;
  for (const auto& [node, oracle] : oracles_) {
    if (oracle.issued <= highest) continue;
    highest = oracle.issued;
    by = node;
  }
  oracle_active_ = false;
  for (const OracleSeen& oracle : seen) {
    highest_ceiling_ = std::max(highest_ceiling_, oracle.ceiling);
    oracle_active_ |= oracle.active;
    if (oracle.active && oracle.issued > oracle.ceiling) {
      Violation(fmt::format("T2: the oracle of {} issued {}, above its logged ceiling {}",
                            oracle.node, oracle.issued, oracle.ceiling));
    }
    const auto before = oracles_.find(oracle.node);
    const bool issued = oracle.active && oracle.issued &&
                        (before == oracles_.end() || oracle.issued != before->second.issued);
    if (issued && oracle.issued <= highest) {
      Violation(fmt::format("T2: the oracle of {} issued {}, but {} had already issued {}",
                            oracle.node, oracle.issued, by, highest));
    }
  }
  // What an oracle issued counts when its process is gone, too; the next one begins at zero.
  for (const OracleSeen& oracle : seen) {
    if (oracle.issued) oracles_[oracle.node] = oracle;
  }
}

void Replicas::JudgeHorizon(const std::string& node, uint64_t shard, Timestamp horizon) {
  const auto lifetime_ms = static_cast<uint64_t>(ToMillis(cluster_.options().txn_lifetime));
  // The last ceiling may be known to nobody who is up: whoever leads next will know it.
  if (!oracle_active_) return;
  if (!horizon || horizon <= highest_ceiling_.MinusMillis(lifetime_ms)) return;
  Violation(fmt::format(
      "the horizon of shard {} on {} is {}, less than {} ms below any slot (the oracle's "
      "ceiling is {})",
      shard, node, horizon, lifetime_ms, highest_ceiling_));
}

void Replicas::JudgeLeases(const std::vector<LeaseSeen>& seen) {
  std::map<uint64_t, const LeaseSeen*> holders;
  for (const LeaseSeen& lease : seen) {
    const auto [other, fresh] = holders.try_emplace(lease.group, &lease);
    if (fresh) continue;
    Violation(fmt::format("{} (term {}) and {} (term {}) hold the lease of group {} at once",
                          other->second->node, other->second->term, lease.node, lease.term,
                          lease.group));
  }
}

void Replicas::JudgeMap(std::vector<ShardSeen> shards) {
  std::map<uint64_t, ShardSeen> newest;
  for (ShardSeen& shard : shards) {
    const auto [known, fresh] = newest.try_emplace(shard.shard, shard);
    if (fresh) continue;
    if (known->second.version == shard.version &&
        (known->second.from != shard.from || known->second.to != shard.to)) {
      Violation(fmt::format("shard {} has two ranges at version {}", shard.shard, shard.version));
    }
    if (shard.version > known->second.version) known->second = std::move(shard);
  }
  std::map<std::string, ShardSeen> by_start;
  for (const auto& [id, shard] : newest) {
    if (!by_start.try_emplace(shard.from, shard).second) {
      Violation(fmt::format("two shards begin at '{}'", Printable(shard.from)));
    }
  }
  std::string reached;
  for (const auto& [from, shard] : by_start) {
    if (from != reached) {
      Violation(
          fmt::format("the shards do not tile the key space: '{}' is reached, shard {} begins "
                      "at '{}'",
                      Printable(reached), shard.shard, Printable(from)));
    }
    reached = shard.to;
  }
  if (!reached.empty()) {
    Violation(fmt::format("no shard owns the keys from '{}' on", Printable(reached)));
  }
}

// Damage stays where it is, and each start finds it again. Whoever it did not concern, or was
// repaired, is not concerned later.
void Replicas::JudgeLog(const std::string& node, uint64_t group, const std::string& quarantine,
                        int harms, bool seen_harm) {
  const std::pair<std::string, uint64_t> replica(node, group);
  if (quarantine.empty() && seen_harm) whole_[replica] = harms;
  const auto whole = whole_.find(replica);
  if (whole == whole_.end() || whole->second != harms || quarantine != "damaged log records")
    return;
  Violation(
      fmt::format("the log of {} has lost records of group {} by damage that an earlier start "
                  "found harmless",
                  node, group));
}

void Replicas::JudgeLocks(const std::string& node, uint64_t shard, size_t foreign) {
  if (foreign == 0) return;
  Violation(fmt::format("{} leads shard {} and holds {} locks of keys that were split off", node,
                        shard, foreign));
}

void Replicas::JudgeWal(const std::string& node, uint64_t file_bytes, uint64_t live_bytes,
                        uint64_t segment_bytes) {
  // The log keeps to twice what is live whenever a segment is begun; what is then copied forward,
  // at most all of it, is there once more until that is durable.
  uint64_t& most = most_live_[node];
  most = std::max(most, live_bytes);
  if (file_bytes <= 3 * most + kSpareSegments * segment_bytes) return;
  Violation(
      fmt::format("the WAL of {} takes {} bytes for at most {} bytes of live records: old "
                  "segments are not let go",
                  node, file_bytes, most));
}

void Replicas::JudgeNothingLost(const std::vector<ReplicaSeen>& seen) {
  for (const ReplicaSeen& replica : seen) {
    const auto furthest = furthest_.find(replica.group);
    if (absorbed_.contains(replica.group)) continue;  // its log has ended
    if (furthest == furthest_.end() || replica.applied >= furthest->second.applied) continue;
    Violation(
        fmt::format("{} has applied group {} to index {}, but {} had applied {}: a committed "
                    "entry is lost",
                    replica.node, replica.group, replica.applied, furthest->second.node,
                    furthest->second.applied));
  }
}

}  // namespace quorate::sim
