// MiniCluster: a few hosts over simulated processes, disks and a lossy network, for tests of the
// host. The network carries encoded batches, so that wire.h is in the path.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "raft/host/host.h"
#include "storage/memory_store.h"
#include "tests/sim/world.h"
#include "tests/support/ram_files.h"

namespace quorate::raft {

// Entries are "key=value", or "key+=value", which appends to the value and so shows every entry
// that is applied twice or not at all. Keys live under 'k' + group.
class KvMachine final : public StateMachine {
 public:
  // A value that no machine of this version stores.
  static constexpr std::string_view kForeign = "of another version";

  KvMachine(GroupId group, storage::OrderedStore& store) : group_(group), store_(store) {}

  ApplyResult Apply(LogIndex index, Term term, std::string_view payload,
                    storage::WriteBatch* batch) override;
  void ApplyMembers(LogIndex index, const Configuration& configuration,
                    storage::WriteBatch* batch) override {
    members = configuration;
  }
  void OnSoftState(const SoftState& state) override { states.push_back(state); }
  std::vector<std::pair<std::string, std::string>> Spans() const override;
  bool HasState() const override { return has_state; }
  bool Understands(std::string_view key, std::string_view value) const override {
    return value != kForeign;
  }
  void StoreFirstState(storage::WriteBatch* batch) override {
    batch->Put(storage::MakeKey(fmt::format("first{}", group_)), "state");
  }
  void OnSnapshotInstalled(LogIndex index) override { installed.push_back(index); }

  std::map<std::string, std::string> Dump() const;

  bool has_state = true;
  std::string waits;  // why no entry can be applied yet
  std::vector<SoftState> states;
  std::vector<LogIndex> installed;
  Configuration members;          // as applied last, since the last start
  std::vector<LogIndex> applied;  // since the last start

 private:
  std::string Prefix() const;

  const GroupId group_;
  storage::OrderedStore& store_;
};

// What became of a proposal.
struct Outcome {
  std::string payload;
  int answers = 0;
  std::optional<Status> status;
  LogIndex index;
  std::string result;
  bool ok() const { return status.has_value() && status->ok(); }
};

class MiniCluster {
 public:
  struct Options {
    int nodes = 3;
    int groups = 1;
    int founders = 0;  // the first of the nodes are a group's first members; 0: all
    int blank = 0;     // the founder that begins empty, as the others do not; 0: none
    uint64_t seed = 1;
    double loss = 0;
    double duplicate = 0;
    Host::Options host = {};  // `self` is filled in
    storage::OrderedStore::Options store = {};
    storage::MemoryStore::Options kv = {};
    int slow = 0;  // the node whose store has slow_kv instead
    storage::MemoryStore::Options slow_kv = {};
    uint64_t wal_segment_bytes = 256 << 10;
  };
  explicit MiniCluster(Options options);
  ~MiniCluster();

  static constexpr GroupId kGroup{1};

  // ---- nodes 1..n
  void Start(int node);
  enum class Loss : uint8_t { kProcess, kPower };
  void Crash(int node, Loss loss);
  bool up(int node) const { return nodes_.at(node)->process != nullptr; }
  // Whether the node is up and has a replica of the group.
  bool runs(int node, GroupId id = kGroup) { return up(node) && group(node, id) != nullptr; }
  GroupHandle* group(int node, GroupId id = kGroup);
  KvMachine& machine(int node, GroupId id = kGroup);
  Host& host(int node) { return *nodes_.at(node)->host; }
  Metrics& metrics(int node) { return nodes_.at(node)->process->metrics(); }
  uint64_t Count(int node, std::string_view counter);
  storage::RamDisk& disk(int node) { return nodes_.at(node)->files; }
  // The store's files are gone; the node is down.
  void WipeStore(int node) { nodes_.at(node)->store_disk = storage::MemoryDisk(); }
  // So is a part of it, and the store says so.
  void LoseRange(int node, const std::string& from, const std::string& to) {
    nodes_.at(node)->store_disk.Lose(from, to);
  }
  storage::Wal& wal(int node) { return *nodes_.at(node)->wal; }
  std::vector<GroupId> stored_at_start(int node) { return nodes_.at(node)->stored_at_start; }
  storage::OrderedStore& store(int node) { return *nodes_.at(node)->store; }
  Transport& transport(int node);
  sim::Process& process(int node) { return *nodes_.at(node)->process; }
  std::optional<Status> fatal(int node) { return nodes_.at(node)->fatal; }

  // ---- members: the leader is asked again until it agrees
  void ChangeMembers(std::vector<int> voters, std::vector<int> learners);
  // The node's replica goes; a later Start makes an empty one.
  void Destroy(int node, GroupId id = kGroup);
  void StartReplica(int node, GroupId id = kGroup);
  bool destroyed(int node) const { return nodes_.at(node)->destroyed; }

  // ---- network
  void Isolate(int node) { isolated_.insert(node); }
  void Heal() { isolated_.clear(); }
  void set_loss(double loss) { options_.loss = loss; }
  uint64_t malformed() const { return malformed_; }

  // ---- time
  void RunFor(Duration duration);
  // False if `done` did not hold within `limit`.
  bool RunUntil(const std::function<bool()>& done, Duration limit = 20s);
  sim::World& world() { return world_; }

  // ---- clients
  std::shared_ptr<Outcome> Propose(int node, std::string payload, GroupId id = kGroup,
                                   std::optional<Term> term = std::nullopt);
  // The one node that leads and is ready, 0: none.
  int Leader(GroupId id = kGroup);
  int WaitForLeader(GroupId id = kGroup);
  // Every replica that is up has applied the same, and all of it.
  bool Agree(GroupId id = kGroup);

 private:
  class MiniTransport;
  struct Node {
    explicit Node(sim::World& world);

    storage::RamDisk files;
    storage::MemoryDisk store_disk;
    sim::ClockModel clock;
    int incarnation = 0;
    std::unique_ptr<sim::Process> process;
    std::unique_ptr<storage::RamFiles> file_system;
    std::unique_ptr<storage::Wal> wal;
    std::unique_ptr<storage::MemoryStore> kv;
    std::unique_ptr<storage::OrderedStore> store;
    std::unique_ptr<MiniTransport> transport;
    std::map<GroupId, std::unique_ptr<KvMachine>> machines;
    std::vector<std::unique_ptr<KvMachine>> retired_machines;
    std::vector<std::unique_ptr<GroupHandle>> retired;
    bool destroyed = false;
    std::unique_ptr<Host> host;
    std::optional<Status> fatal;
    std::vector<GroupId> stored_at_start;
  };

  void Deliver(int from, int to, std::string batch);
  Configuration Everyone() const;

  Options options_;
  NullLogger log_;
  sim::World world_;
  std::map<int, std::unique_ptr<Node>> nodes_;
  std::set<int> isolated_;
  uint64_t malformed_ = 0;
};

}  // namespace quorate::raft
