// Random runs of a group of cores: messages lost, repeated, reordered, late; replicas crashed,
// paused, partitioned; slow disks; clocks that drift; membership changes, transfers, compaction,
// snapshots, reads. World checks after every step; at the end everything is healed and must agree
// soon.
//
// SEED=n runs one seed, SEEDS=n so many. A failure names its seed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "raft/core/membership.h"
#include "tests/raft/core_world.h"

namespace quorate::raft {
namespace {

uint64_t seed_running = 0;

void PrintSeed(int) { std::fprintf(stderr, "SEED=%lu failed\n", seed_running); }

// What this seed may do, and how often.
struct Faults {
  double lose;
  double repeat;
  double reorder;
  double late;   // chance to arrive only after up to two seconds
  double crash;  // per millisecond, as the rest
  double power;  // all at once
  double partition;
  double isolate;  // a group of one or some, around a leader
  double pause;
  double membership;
  double transfer;
  double compact;
  double load;  // chance that a leader is asked for something
  double wake;  // of one that may be quiescent, as its host does
  double disk;  // chance that a waiting write completes in a millisecond
};

double Draw(Random& random, std::initializer_list<double> choices) {
  return *(choices.begin() + random.Below(choices.size()));
}

Faults DrawFaults(Random& random) {
  return {.lose = Draw(random, {0, 0, 0.01, 0.05, 0.2}),
          .repeat = Draw(random, {0, 0, 0.05, 0.3}),
          .reorder = Draw(random, {0, 0.1, 0.5, 1}),
          .late = Draw(random, {0, 0.01, 0.1}),
          .crash = Draw(random, {0, 0.001, 0.005}),
          .power = Draw(random, {0, 0, 0.0003}),
          .partition = Draw(random, {0, 0.001, 0.005}),
          .isolate = Draw(random, {0, 0.0005, 0.001}),
          .pause = Draw(random, {0, 0, 0.0005}),
          .membership = Draw(random, {0, 0.0005, 0.005}),
          .transfer = Draw(random, {0, 0, 0.001}),
          .compact = Draw(random, {0, 0.002, 0.02}),
          .load = Draw(random, {0.2, 0.2, 0.001}),
          .wake = 0.002,
          .disk = Draw(random, {0.05, 0.3, 1})};
}

struct Totals {
  size_t entries = 0;
  size_t terms = 0;
  size_t reads = 0;
  size_t quiescent = 0;  // milliseconds in which a leader was
  size_t leases = 0;     // milliseconds in which someone could have read by its lease
};

class Play {
 public:
  explicit Play(uint64_t seed) : world_(seed), random_(Random(seed).Fork("run")) {
    faults_ = DrawFaults(random_);
    world_.config.append_bytes_max = random_.Chance(0.5) ? 64 : limits::kAppendBytesMax;
    world_.config.inflight_appends_max = random_.Chance(0.3) ? 2 : limits::kInflightAppendsMax;
    world_.config.quiesce_ticks = random_.Chance(0.5) ? 2 : 0;
    world_.config.first_here = random_.Chance(0.5);
    Configuration first;
    uint64_t voters = 1 + random_.Below(5);
    for (uint64_t id = 1; id <= voters; ++id) first.voters.emplace_back(id);
    if (random_.Chance(0.3)) first.learners.emplace_back(voters + 1);
    for (uint64_t id = 1; id <= 7; ++id) {
      bool member = IsMember(first, ReplicaId(id));
      world_.Create(ReplicaId(id), member ? first : Configuration(), true);
      World::Replica& r = world_.replica(ReplicaId(id));
      // Within the drift that a lease tolerates, one against the other.
      r.clock_rate = 0.96 + 0.08 * random_.Unit();
      r.clock_offset = Duration(random_.Below(1'000'000'000));
    }
  }

  void Chaos(int milliseconds) {
    for (int i = 0; i < milliseconds; ++i) {
      Millisecond();
      Break();
    }
  }

  // Everybody is up and connected. The group must elect, commit, and agree.
  void HealAndAgree() {
    faults_ = {.load = faults_.load, .wake = faults_.wake, .disk = 1};
    world_.HealLinks();
    for (ReplicaId id : world_.ids()) {
      if (!world_.up(id)) world_.Restart(id);
      state_[id].paused_until = 0;
      world_.replica(id).slow = false;
    }
    for (int i = 0; i < 30'000; ++i) {
      Millisecond();
      if (i > 3'000 && i % 100 == 0 && Agreed()) return;
    }
    std::string status;
    for (ReplicaId id : world_.ids()) {
      Node& n = world_.node(id);
      status += fmt::format("{}: {} t{} commit {} last {} first {} conf {}\n", id,
                            RoleName(n.soft_state().role), n.term(), n.commit_index(),
                            n.last_index(), n.first_index(), ToString(n.configuration()));
    }
    throw std::logic_error("no agreement\n" + status);
  }

  Totals totals() const {
    return {world_.checker().committed().value(), world_.checker().leaders_seen(),
            world_.checker().reads_confirmed(), quiescent_, leases_};
  }

 private:
  struct State {
    int64_t next_tick = 0;
    int64_t paused_until = 0;
  };

  bool Running(ReplicaId id) { return world_.up(id) && now_ >= state_[id].paused_until; }

  ReplicaId Leader() {
    ReplicaId leader;
    Term term;
    for (ReplicaId id : world_.ids()) {
      if (Running(id) && world_.node(id).leader() && world_.node(id).term() > term) {
        leader = id;
        term = world_.node(id).term();
      }
    }
    return leader;
  }

  void Millisecond() {
    ++now_;
    world_.Advance(1ms);
    for (ReplicaId id : world_.ids()) {
      if (!Running(id)) continue;
      if (now_ >= state_[id].next_tick) {
        state_[id].next_tick = now_ + ToMillis(limits::kTick);
        world_.Tick(id);
      }
      while (world_.node(id).HasReady()) world_.Take(id, &log_);
      while (random_.Chance(faults_.disk) && world_.Persist(id)) continue;
      World::Replica& r = world_.replica(id);
      if (r.slow && r.given > r.applied && random_.Chance(0.1)) world_.Apply(id, r.applied + 1);
      if (world_.node(id).lease_until() > world_.Now(id)) ++leases_;
      if (world_.node(id).leader() && world_.node(id).quiescent()) ++quiescent_;
      if (random_.Chance(faults_.wake)) world_.Rouse(id);
      if (random_.Chance(faults_.wake)) world_.LookAgain(id);
      // With or without a reason.
      if (random_.Chance(faults_.wake)) world_.PeerGone(id, ReplicaId(1 + random_.Below(7)));
    }
    log_.clear();
    DeliverSome();
    Load();
    for (auto [from, to] : std::exchange(world_.snapshots_wanted, {})) {
      if (random_.Chance(0.2) || !world_.up(from)) {
        world_.SendSnapshot(from, to, random_.Chance(0.9) || faults_.lose == 0, &log_);
      } else {
        world_.snapshots_wanted.emplace(from, to);
      }
    }
  }

  void DeliverSome() {
    size_t count = world_.network.size();
    if (count > 2000) world_.network.erase(world_.network.begin(), world_.network.begin() + 1000);
    for (size_t i = 0; i < (count + 1) / 2 && !world_.network.empty(); ++i) {
      bool reorder = random_.Chance(faults_.reorder);
      size_t at = reorder ? random_.Below(world_.network.size()) : 0;
      Message message = world_.network[at];
      if (!random_.Chance(faults_.repeat)) {
        world_.network.erase(world_.network.begin() + static_cast<std::ptrdiff_t>(at));
      }
      if (random_.Chance(faults_.lose) || !world_.up(message.to)) continue;
      // A paused process finds what was sent meanwhile when it wakes up.
      int64_t until = state_[message.to].paused_until;
      if (random_.Chance(faults_.late)) {
        late_.emplace(now_ + static_cast<int64_t>(random_.Below(2000)), std::move(message));
      } else if (until > now_) {
        late_.emplace(until, std::move(message));
      } else {
        world_.Deliver(message);
      }
    }
    while (!late_.empty() && late_.begin()->first <= now_) {
      world_.network.push_back(std::move(late_.begin()->second));
      late_.erase(late_.begin());
    }
  }

  // Whoever thinks that it leads is asked, deposed or not.
  void Load() {
    for (ReplicaId id : world_.ids()) {
      if (!Running(id) || !world_.node(id).leader() || !random_.Chance(faults_.load)) {
        continue;
      }
      if (random_.Chance(0.3)) {
        (void)world_.Read(id, ++reads_);
      } else {
        (void)world_.Propose(id, fmt::format("p{}", ++proposals_));
      }
    }
  }

  void Crash(ReplicaId id) {
    if (!world_.up(id)) return;
    world_.Crash(id);
    state_[id].paused_until = now_ + static_cast<int64_t>(random_.Below(3000));
  }

  void CutAround(ReplicaId center) {
    std::vector<ReplicaId> inside = {center};
    std::vector<ReplicaId> outside;
    for (ReplicaId id : world_.ids()) {
      if (id != center) (random_.Chance(0.25) ? inside : outside).push_back(id);
    }
    for (ReplicaId a : inside) {
      for (ReplicaId b : outside) world_.SetLink(a, b, false);
    }
    heal_at_ = now_ + static_cast<int64_t>(random_.Below(4000));
  }

  void Break() {
    ReplicaId any(1 + random_.Below(7));
    State& state = state_[any];
    if (random_.Chance(faults_.crash)) Crash(any);
    if (random_.Chance(faults_.power)) {
      for (ReplicaId id : world_.ids()) Crash(id);
    }
    if (now_ == heal_at_) world_.HealLinks();
    if (!world_.up(any) && now_ >= state.paused_until) world_.Restart(any);
    if (random_.Chance(faults_.pause)) state.paused_until = now_ + random_.Below(2000);
    if (random_.Chance(faults_.partition)) {
      ReplicaId other(1 + random_.Below(7));
      if (other != any) world_.SetLink(any, other, random_.Chance(0.3));
      if (random_.Chance(0.1)) world_.HealLinks();
    }
    if (random_.Chance(faults_.compact) && world_.up(any)) {
      world_.Compact(any, world_.replica(any).applied);
    }
    if (random_.Chance(faults_.crash)) world_.replica(any).slow = random_.Chance(0.5);
    ReplicaId leader = Leader();
    if (!leader) return;
    if (random_.Chance(faults_.isolate)) CutAround(leader);
    if (random_.Chance(faults_.transfer)) (void)world_.Transfer(leader, any);
    if (random_.Chance(faults_.membership)) ChangeMembership(leader);
    if (random_.Chance(faults_.lose / 10)) world_.PeerUnreachable(leader, any);
  }

  void ChangeMembership(ReplicaId leader) {
    std::vector<ReplicaId> voters;
    std::vector<ReplicaId> learners;
    for (ReplicaId id : world_.ids()) {
      // A majority never rests on those that have nothing yet and do not vote (node.h).
      const bool empty = !world_.config.first_here &&
                         (!world_.up(id) || world_.node(id).configuration().voters.empty());
      if (!empty && random_.Chance(0.5)) {
        voters.push_back(id);
      } else if (random_.Chance(0.3)) {
        learners.push_back(id);
      }
    }
    if (!voters.empty()) (void)world_.ProposeConfiguration(leader, voters, learners);
  }

  bool Agreed() {
    ReplicaId leader = Leader();
    if (!leader || !world_.node(leader).leader_ready()) return false;
    Node& node = world_.node(leader);
    const Configuration& configuration = node.configuration();
    if (configuration.joint() || !IsVoter(configuration, leader)) return false;
    LogIndex commit = node.commit_index();
    for (ReplicaId id : Members(configuration)) {
      Node& member = world_.node(id);
      // The load goes on, so that they can only be close.
      if (member.term() != node.term() || member.applied_index() + 30 < commit) return false;
    }
    return true;
  }

  World world_;
  Random random_;
  Faults faults_;
  std::map<ReplicaId, State> state_;
  World::Log log_;
  std::multimap<int64_t, Message> late_;
  int64_t now_ = 0;
  int64_t heal_at_ = 0;
  uint64_t reads_ = 0;
  uint64_t proposals_ = 0;
  size_t quiescent_ = 0;
  size_t leases_ = 0;
};

TEST(RaftCoreRandom, NothingBreaksUnderFaultsAndAllAgreeAfterwards) {
  std::signal(SIGABRT, PrintSeed);
  const char* one = std::getenv("SEED");
  const char* many = std::getenv("SEEDS");
  uint64_t first = one != nullptr ? std::stoull(one) : 1;
  uint64_t last = one != nullptr ? first : many != nullptr ? std::stoull(many) : 150;
  Totals totals;
  for (seed_running = first; seed_running <= last; ++seed_running) {
    try {
      Play run(seed_running);
      run.Chaos(20'000);
      run.HealAndAgree();
      Totals t = run.totals();
      totals.entries += t.entries;
      totals.terms += t.terms;
      totals.reads += t.reads;
      totals.quiescent += t.quiescent;
      totals.leases += t.leases;
    } catch (const std::logic_error& violation) {
      FAIL() << "SEED=" << seed_running << ": " << violation.what();
    }
  }
  std::printf(
      "%lu seeds: %zu entries, %zu terms, %zu reads, %zu ms quiescent, %zu ms under a lease\n",
      last - first + 1, totals.entries, totals.terms, totals.reads, totals.quiescent,
      totals.leases);
  // The runs are worth something only if things happen in them.
  size_t runs = last - first + 1;
  if (runs >= 100) {
    EXPECT_GT(totals.entries, 200 * runs);
    EXPECT_GT(totals.terms, 3 * runs);
    EXPECT_GT(totals.reads, 50 * runs);
    EXPECT_GT(totals.leases, 2000 * runs);
    EXPECT_GT(totals.quiescent, 200 * runs);
  }
  std::signal(SIGABRT, SIG_DFL);
}

}  // namespace
}  // namespace quorate::raft
