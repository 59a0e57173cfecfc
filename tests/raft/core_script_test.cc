// The scenario scripts of raft/core: what each verb does. Invariants are checked after every step
// by World. Verbs (ids are replica ids; IDS empty: all):
//
//   cluster voters=1,2,3 [learners=4] [spare=5] [quiesce=TICKS] [first=1] [restarted]   replicas
//                     with a first configuration; a spare one has none; of "first" ones nobody was
//                     before; "restarted" ones have forgotten what they promised
//   tick [IDS] [n=1] [ms=50]   n ticks; the clock runs for all, only IDS notice
//   run [IDS] [n=1] [ms=50]    n times: a tick of IDS, then stabilize IDS
//   wait ms=N         the clock runs, nobody notices
//   campaign ID       propose ID PAYLOAD.. [times=1]   read ID CONTEXT   transfer ID TARGET
//   conf ID voters=1,2,4 [learners=5]             unreachable ID PEER    compact ID INDEX
//   rouse ID          look ID          gone ID PEER
//   stabilize [IDS] [trace]     Ready, writes, messages among IDS, until nothing is left to do
//   take ID [trace]   one Ready: messages leave, the write is queued     persist ID [n=1]
//   deliver|drop|hold|copy [from=A] [to=B] [type=T] [n=N]     of what is in the network; hold takes
//                     messages out, copy duplicates them aside; "release" brings both back
//   isolate ID..      cut A B          heal
//   crash ID          restart ID       slow ID      apply ID INDEX
//   snapshot from=A to=B [fails]       streams A's state
//   status [IDS]      log ID           network      progress ID
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "raft/core/membership.h"
#include "tests/raft/core_world.h"
#include "tests/support/script.h"

namespace quorate::raft {
namespace {

using script::Command;

std::vector<ReplicaId> Ids(const std::vector<uint64_t>& numbers) {
  return {numbers.begin(), numbers.end()};
}

class Session {
 public:
  std::string Run(const Command& c) {
    out_.clear();
    trace_ = false;
    try {
      Dispatch(c);
    } catch (const std::logic_error& violation) {
      script::Fail(violation.what());
    }
    std::string text;
    for (const std::string& line : out_) text += line + "\n";
    return text;
  }

 private:
  void Dispatch(const Command& c) {
    if (c.verb == "cluster") return Cluster(c);
    if (c.verb == "tick") return Tick(c);
    if (c.verb == "run") return RunTicks(c);
    if (c.verb == "wait") return world_.Advance(c.OptionNumber("ms", 0) * 1ms);
    if (c.verb == "stabilize") return Settle(Chosen(c));
    if (c.verb == "deliver" || c.verb == "drop" || c.verb == "hold" || c.verb == "copy") {
      return Pick(c);
    }
    if (c.verb == "release") return Release();
    if (c.verb == "isolate") return Isolate(c);
    if (c.verb == "cut") return world_.SetLink(Id(c, 0), Id(c, 1), false);
    if (c.verb == "heal") return world_.HealLinks();
    if (c.verb == "snapshot") return Snapshot(c);
    if (c.verb == "status") return Status(c);
    if (c.verb == "network") return Network();
    OneReplica(c);
  }

  void OneReplica(const Command& c) {
    ReplicaId id = Id(c, 0);
    if (c.verb == "campaign") return world_.Campaign(id);
    if (c.verb == "propose") return Propose(id, c);
    if (c.verb == "read") return Say(world_.Read(id, Number(c, 1)));
    if (c.verb == "transfer") return Say(world_.Transfer(id, Id(c, 1)));
    if (c.verb == "unreachable") return world_.PeerUnreachable(id, Id(c, 1));
    if (c.verb == "compact") return world_.Compact(id, LogIndex(Number(c, 1)));
    if (c.verb == "conf") {
      return Say(world_.ProposeConfiguration(id, Ids(c.OptionNumbers("voters")),
                                             Ids(c.OptionNumbers("learners"))));
    }
    if (c.verb == "take") return Take(id, c.words.size() > 1 && c.Word(1) == "trace");
    if (c.verb == "persist") {
      for (int64_t i = 0; i < c.OptionNumber("n", 1); ++i) {
        if (!world_.Persist(id)) script::Fail("nothing to persist");
      }
      return;
    }
    if (c.verb == "rouse") return world_.Rouse(id);
    if (c.verb == "look") return world_.LookAgain(id);
    if (c.verb == "gone") return world_.PeerGone(id, Id(c, 1));
    if (c.verb == "crash") return world_.Crash(id);
    if (c.verb == "restart") return world_.Restart(id);
    if (c.verb == "slow") {
      world_.replica(id).slow = true;
      return;
    }
    if (c.verb == "apply") return world_.Apply(id, LogIndex(Number(c, 1)));
    if (c.verb == "log") return PrintLog(id);
    if (c.verb == "progress") return PrintProgress(id);
    script::Fail("no verb " + c.verb);
  }

  static uint64_t Number(const Command& c, size_t i) { return static_cast<uint64_t>(c.Number(i)); }
  static ReplicaId Id(const Command& c, size_t i) { return ReplicaId(Number(c, i)); }

  void Say(const quorate::Status& status) {
    if (!status.ok()) out_.push_back(status.ToString());
  }

  void Cluster(const Command& c) {
    Configuration first{.voters = Ids(c.OptionNumbers("voters")),
                        .learners = Ids(c.OptionNumbers("learners"))};
    bool fresh = c.words.empty() || c.Word(0) != "restarted";
    world_.config.quiesce_ticks = static_cast<int>(c.OptionNumber("quiesce", 0));
    world_.config.first_here = c.OptionNumber("first", 0) != 0;
    for (ReplicaId id : Members(first)) world_.Create(id, first, fresh);
    for (ReplicaId id : Ids(c.OptionNumbers("spare"))) world_.Create(id, {}, fresh);
  }

  std::vector<ReplicaId> Chosen(const Command& c) {
    std::vector<ReplicaId> ids;
    for (const std::string& word : c.words) {
      if (word == "trace") {
        trace_ = true;
      } else {
        ids.emplace_back(std::stoull(word));
      }
    }
    return ids.empty() ? world_.ids() : ids;
  }

  void TickOnce(const std::vector<ReplicaId>& ids, Duration tick) {
    world_.Advance(tick);
    for (ReplicaId id : ids) {
      if (world_.up(id)) world_.Tick(id);
    }
  }

  void Tick(const Command& c) {
    std::vector<ReplicaId> ids = Chosen(c);
    for (int64_t i = 0; i < c.OptionNumber("n", 1); ++i)
      TickOnce(ids, c.OptionNumber("ms", 50) * 1ms);
  }

  void RunTicks(const Command& c) {
    std::vector<ReplicaId> ids = Chosen(c);
    for (int64_t i = 0; i < c.OptionNumber("n", 1); ++i) {
      TickOnce(ids, c.OptionNumber("ms", 50) * 1ms);
      Settle(ids);
    }
  }

  void Propose(ReplicaId id, const Command& c) {
    for (int64_t n = 0; n < c.OptionNumber("times", 1); ++n) {
      for (size_t i = 1; i < c.words.size(); ++i) Say(world_.Propose(id, c.Word(i)).status());
    }
  }

  void Take(ReplicaId id, bool trace) {
    size_t before = world_.network.size();
    world_.Take(id, &out_);
    if (!trace) return;
    for (size_t i = before; i < world_.network.size(); ++i) {
      out_.push_back("  " + Describe(world_.network[i]));
    }
  }

  void Settle(const std::vector<ReplicaId>& ids) {
    auto chosen = [&](ReplicaId id) { return std::count(ids.begin(), ids.end(), id) > 0; };
    for (int steps = 0;; ++steps) {
      if (steps > 10'000) script::Fail("does not come to rest");
      bool busy = false;
      for (ReplicaId id : ids) {
        if (!world_.up(id)) continue;
        while (world_.node(id).HasReady()) {
          busy = true;
          Take(id, trace_);
        }
        while (world_.Persist(id)) busy = true;
      }
      auto next = std::find_if(world_.network.begin(), world_.network.end(),
                               [&](const Message& m) { return chosen(m.to); });
      if (next != world_.network.end()) {
        Message message = std::move(*next);
        world_.network.erase(next);
        world_.Deliver(message);
        busy = true;
      }
      if (!busy) return;
    }
  }

  static bool Wanted(const Command& c, const Message& m) {
    std::string type = c.Option("type");
    auto from = static_cast<uint64_t>(c.OptionNumber("from", 0));
    auto to = static_cast<uint64_t>(c.OptionNumber("to", 0));
    return (from == 0 || m.from.value() == from) && (to == 0 || m.to.value() == to) &&
           (type.empty() || type == TypeName(m.body));
  }

  void Pick(const Command& c) {
    int64_t left = c.OptionNumber("n", 1'000'000);
    std::deque<Message> kept;
    std::vector<Message> picked;
    for (Message& m : world_.network) {
      bool wanted = Wanted(c, m) && left-- > 0;
      if (wanted) picked.push_back(m);
      if (!wanted || c.verb == "copy") kept.push_back(std::move(m));
    }
    c.Option("from"), c.Option("to"), c.Option("type");
    world_.network = std::move(kept);
    if (picked.empty()) script::Fail("no such message");
    for (Message& m : picked) {
      out_.push_back(Describe(m));
      if (c.verb == "deliver") world_.Deliver(m);
      if (c.verb == "hold" || c.verb == "copy") held_.push_back(std::move(m));
    }
  }

  void Release() {
    for (Message& m : held_) {
      out_.push_back(Describe(m));
      world_.network.push_back(std::move(m));
    }
    held_.clear();
  }

  void Isolate(const Command& c) {
    for (uint64_t id : c.Numbers(0)) {
      for (ReplicaId other : world_.ids()) {
        if (other.value() != id) world_.SetLink(ReplicaId(id), other, false);
      }
    }
  }

  void Snapshot(const Command& c) {
    bool arrives = c.words.empty() || c.Word(0) != "fails";
    world_.SendSnapshot(ReplicaId(static_cast<uint64_t>(c.OptionNumber("from", 0))),
                        ReplicaId(static_cast<uint64_t>(c.OptionNumber("to", 0))), arrives, &out_);
  }

  void Status(const Command& c) {
    for (ReplicaId id : Chosen(c)) {
      if (!world_.up(id)) {
        out_.push_back(fmt::format("{}: down", id));
        continue;
      }
      Node& node = world_.node(id);
      SoftState soft = node.soft_state();
      std::string line = fmt::format("{}: {} t{} leader {} log {}..{} commit {} applied {} conf {}",
                                     id, RoleName(soft.role), soft.term, soft.leader,
                                     node.first_index(), node.last_index(), node.commit_index(),
                                     node.applied_index(), ToString(node.configuration()));
      if (node.leader()) {
        line += node.lease_until() > world_.Now(id) ? " lease" : " no-lease";
      }
      if (node.quiescent()) line += " quiescent";
      out_.push_back(line);
    }
  }

  void PrintLog(ReplicaId id) {
    Node& node = world_.node(id);
    std::string line = fmt::format("{}:", id);
    for (LogIndex i = node.first_index() - 1; i <= node.last_index(); ++i) {
      line += fmt::format(" {}/{}", i, *node.TermAt(i));
    }
    const Disk& disk = world_.replica(id).disk;
    out_.push_back(line + fmt::format(" durable {}..{}", disk.snapshot.index + 1, disk.last()));
  }

  void PrintProgress(ReplicaId id) {
    for (const ProgressView& p : world_.node(id).progress()) {
      out_.push_back(fmt::format("{}: match {} applied {}{}{}{}", p.id, p.match, p.applied,
                                 p.active ? "" : " inactive", p.learner ? " learner" : "",
                                 p.needs_snapshot ? " needs-snapshot" : ""));
    }
  }

  void Network() {
    for (const Message& m : world_.network) out_.push_back(Describe(m));
  }

  World world_{1};
  World::Log out_;
  bool trace_ = false;
  std::vector<Message> held_;
};

TEST(RaftCore, Scripts) {
  script::RunFolder(SCENARIO_DIR, [] {
    auto session = std::make_shared<Session>();
    return [session](const Command& c) { return session->Run(c); };
  });
}

}  // namespace
}  // namespace quorate::raft
