#include "tests/raft/core_world.h"

#include <algorithm>
#include <stdexcept>

#include "base/bytes.h"
#include "base/check.h"
#include "raft/core/membership.h"

namespace quorate::raft {
namespace {

std::string DescribeEntry(const Entry& entry) {
  std::string out = fmt::format("{}/{}", entry.index, entry.term);
  if (entry.type == EntryType::kNormal) return out + " " + Printable(entry.payload, 16);
  if (entry.type == EntryType::kEmpty) return out + " empty";
  Configuration configuration;
  CHECK(DecodeConfiguration(entry.payload, &configuration));
  return out + " conf " + ToString(configuration);
}

struct Describer {
  std::string operator()(const RequestVote& m) const {
    return fmt::format("last={}/{}{}{}", m.last_log_index, m.last_log_term,
                       m.pre_vote ? " pre" : "", m.leadership_transfer ? " transfer" : "");
  }
  std::string operator()(const RequestVoteResponse& m) const {
    return fmt::format("{}{}", m.granted ? "granted" : "refused", m.pre_vote ? " pre" : "");
  }
  std::string operator()(const AppendEntries& m) const {
    std::string out =
        fmt::format("prev={}/{} commit={}", m.prev_log_index, m.prev_log_term, m.leader_commit);
    for (const Entry& entry : m.entries) out += " [" + DescribeEntry(entry) + "]";
    return out;
  }
  std::string operator()(const AppendEntriesResponse& m) const {
    if (m.success) return fmt::format("match={}", m.match_index);
    return fmt::format("rejected={} hint={}", m.rejected_index, m.match_index);
  }
  std::string operator()(const Heartbeat& m) const {
    return fmt::format("round={} commit={}", m.round, m.leader_commit);
  }
  std::string operator()(const HeartbeatResponse& m) const {
    return fmt::format("round={}", m.round);
  }
  std::string operator()(const InstallSnapshot& m) const {
    return fmt::format("at={}/{} conf {}", m.meta.index, m.meta.term,
                       ToString(m.meta.configuration));
  }
  std::string operator()(const InstallSnapshotResponse& m) const {
    return fmt::format("{} match={}", m.success ? "installed" : "refused", m.match_index);
  }
  std::string operator()(const TimeoutNow&) const { return ""; }
};

}  // namespace

std::string_view TypeName(const MessageBody& body) {
  static constexpr std::string_view kNames[] = {"RequestVote",     "Vote",
                                                "Append",          "AppendResponse",
                                                "Heartbeat",       "HeartbeatResponse",
                                                "InstallSnapshot", "InstallResponse",
                                                "TimeoutNow"};
  return kNames[body.index()];
}

std::string_view RoleName(Role role) {
  static constexpr std::string_view kNames[] = {"follower", "pre-candidate", "candidate", "leader",
                                                "learner"};
  return kNames[static_cast<size_t>(role)];
}

std::string Describe(const Message& message) {
  return fmt::format("{}>{} {} t{} {}", message.from, message.to, TypeName(message.body),
                     message.term, std::visit(Describer(), message.body));
}

World::World(uint64_t seed) : random(seed) {}

std::vector<ReplicaId> World::ids() const {
  std::vector<ReplicaId> ids;
  for (const auto& [id, replica] : replicas_) ids.push_back(id);
  return ids;
}

Node& World::node(ReplicaId id) {
  Replica& replica = replicas_.at(id);
  CHECK(replica.node != nullptr, "{} is down", id);
  return *replica.node;
}

Instant World::Now(ReplicaId id) const {
  const Replica& replica = replicas_.at(id);
  auto local = static_cast<int64_t>(static_cast<double>(time_.count()) * replica.clock_rate);
  return Instant(Duration(local) + replica.clock_offset);
}

void World::Start(Replica& replica, bool fresh) {
  Config own = config;
  own.self = replica.id;
  InitialState initial{.hard_state = replica.disk.hard_state,
                       .snapshot = replica.disk.snapshot,
                       .entries = replica.disk.entries,
                       .applied = replica.applied};
  replica.node = std::make_unique<Node>(own, std::move(initial), Random(random.Next()), fresh);
  replica.given = replica.applied;
  replica.delta = DeltaCheck();
  Check(replica);
}

void World::Create(ReplicaId id, const Configuration& bootstrap, bool fresh) {
  Replica& replica = replicas_[id];
  CHECK(!replica.id, "{} was there before", id);
  replica.id = id;
  replica.disk.snapshot.configuration = bootstrap;
  if (!bootstrap.voters.empty()) checker_.OnBootstrap(bootstrap);
  Start(replica, fresh);
}

void World::Crash(ReplicaId id) {
  Replica& replica = replicas_.at(id);
  // Reads that were asked there are never answered, like anything a crashed node was asked.
  replica.node.reset();
  replica.writes.clear();
  // Entries are applied before this replica's own copy is durable; its disk may still hold others.
  LogIndex mark = replica.disk.snapshot.index;
  while (replica.applied > mark && !checker_.HasCommitted(replica.disk, replica.applied)) {
    replica.applied = replica.applied - 1;
  }
  replica.applied = std::max(replica.applied, mark);
}

void World::Restart(ReplicaId id) { Start(replicas_.at(id), false); }

void World::Check(Replica& replica) {
  replica.node->CheckInvariants();
  replica.delta.Observe(*replica.node);
  std::vector<Checker::Seen> view;
  for (const auto& [id, r] : replicas_) view.push_back({id, r.node.get(), &r.disk, Now(id)});
  checker_.AfterStep(view, replica.id);
}

void World::Tick(ReplicaId id) {
  node(id).Tick(Now(id));
  Check(replica(id));
}

void World::Campaign(ReplicaId id) {
  node(id).Campaign(Now(id));
  Check(replica(id));
}

Result<Entry> World::Propose(ReplicaId id, std::string payload) {
  Result<Entry> result = node(id).Propose(std::move(payload));
  Check(replica(id));
  return result;
}

Status World::ProposeConfiguration(ReplicaId id, const std::vector<ReplicaId>& voters,
                                   const std::vector<ReplicaId>& learners) {
  Status status = node(id).ProposeConfiguration(voters, learners);
  Check(replica(id));
  return status;
}

Status World::Read(ReplicaId id, uint64_t context) {
  Status status = node(id).ReadIndex(context);
  if (status.ok()) checker_.OnReadAsked(context);
  return status;
}

Status World::Transfer(ReplicaId id, ReplicaId target) {
  Status status = node(id).TransferLeadership(target);
  Check(replica(id));
  return status;
}

void World::Compact(ReplicaId id, LogIndex index) {
  Replica& r = replica(id);
  LogIndex before = r.node->first_index();
  r.node->Compact(std::min(index, r.applied));
  if (r.node->first_index() == before) return;
  LogIndex mark = r.node->first_index() - 1;
  SnapshotMeta meta{mark, *r.node->TermAt(mark), r.node->ConfigurationAt(mark)};
  checker_.OnSnapshot(meta);
  CHECK(mark <= r.disk.last(), "{} compacted what is not durable", id);
  r.disk.entries.erase(r.disk.entries.begin(),
                       r.disk.entries.begin() + (mark - r.disk.snapshot.index));
  r.disk.snapshot = std::move(meta);
  Check(r);
}

void World::PeerUnreachable(ReplicaId id, ReplicaId peer) {
  node(id).PeerUnreachable(peer);
  Check(replica(id));
}

void World::Rouse(ReplicaId id) {
  node(id).Rouse();
  Check(replica(id));
}

void World::LookAgain(ReplicaId id) {
  node(id).LookAgain();
  Check(replica(id));
}

void World::PeerGone(ReplicaId id, ReplicaId peer) {
  node(id).PeerGone(peer);
  Check(replica(id));
}

void World::Take(ReplicaId id, Log* log) {
  Replica& r = replica(id);
  Ready ready = r.node->TakeReady();
  if (ready.soft_state) {
    const SoftState& s = *ready.soft_state;
    log->push_back(fmt::format("{}: {} t{} leader {}", id, RoleName(s.role), s.term, s.leader));
  }
  for (Message& message : ready.messages) {
    CHECK(message.from == id && message.to != id);
    checker_.OnSend(*r.node, r.disk, message);
    if (std::holds_alternative<InstallSnapshot>(message.body)) {
      snapshots_wanted.emplace(id, message.to);
    }
    if (!cut_.contains({id, message.to})) network.push_back(std::move(message));
  }
  CHECK((ready.persist_id != 0) == (ready.hard_state || ready.snapshot || !ready.entries.empty()));
  if (ready.persist_id != 0) {
    r.writes.push_back({ready.persist_id, ready.hard_state, ready.snapshot, ready.entries});
  }
  checker_.OnCommitted(id, ready.committed);
  for (const Entry& entry : ready.committed) {
    CHECK(entry.index == r.given + 1, "{} gave out {} after {}", id, entry.index, r.given);
    r.given = entry.index;
  }
  for (const ReadState& read : ready.reads) {
    checker_.OnRead(read);
    log->push_back(fmt::format("{}: read {} at {}", id, read.context, read.index));
  }
  for (uint64_t context : ready.reads_failed) {
    checker_.OnReadFailed(context);
    log->push_back(fmt::format("{}: read {} failed", id, context));
  }
  Check(r);
  if (!r.slow) Apply(id, r.given);
}

bool World::Persist(ReplicaId id) {
  Replica& r = replica(id);
  if (r.writes.empty()) return false;
  Write write = std::move(r.writes.front());
  r.writes.pop_front();
  if (write.hard_state) r.disk.hard_state = *write.hard_state;
  if (write.snapshot) {
    r.disk.snapshot = *write.snapshot;
    r.disk.entries.clear();
  }
  r.disk.Append(write.entries);
  r.node->Persisted(write.id);
  Check(r);
  return true;
}

void World::Apply(ReplicaId id, LogIndex index) {
  Replica& r = replica(id);
  if (index <= r.applied) return;
  r.applied = std::min(index, r.given);
  r.node->Applied(r.applied);
  Check(r);
}

void World::Deliver(const Message& message) {
  auto to = replicas_.find(message.to);
  if (to == replicas_.end() || to->second.node == nullptr) return;
  to->second.node->Step(Now(message.to), message);
  Check(to->second);
}

bool World::SendSnapshot(ReplicaId from, ReplicaId to, bool arrives, Log* log) {
  snapshots_wanted.erase({from, to});
  if (!up(from)) return false;
  Replica& source = replica(from);
  Replica& target = replica(to);
  LogIndex at = source.applied;
  bool works = arrives && target.node != nullptr && !cut_.contains({from, to});
  if (works) {
    SnapshotMeta meta{at, *source.node->TermAt(at), source.node->ConfigurationAt(at)};
    checker_.OnSnapshot(meta);
    if (target.node->StepSnapshot(Now(to), from, source.node->term(), meta)) {
      target.applied = target.given = at;
      log->push_back(fmt::format("{}: snapshot at {}", to, at));
    } else {
      log->push_back(fmt::format("{}: snapshot at {} is not needed", to, at));
    }
    Check(target);
  }
  source.node->SnapshotSent(to, works, at);
  Check(source);
  return works;
}

void World::SetLink(ReplicaId a, ReplicaId b, bool works) {
  if (works) {
    cut_.erase({a, b});
    cut_.erase({b, a});
  } else {
    cut_.emplace(a, b);
    cut_.emplace(b, a);
  }
}

}  // namespace quorate::raft
