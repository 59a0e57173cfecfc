// Cluster: server/node over the simulated world, several times, and client processes beside it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/database.h"
#include "server/node/node.h"
#include "storage/memory_store.h"
#include "tests/sim/options.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/world.h"

namespace quorate::server {
class PublicApi;
}

namespace quorate::sim {

// Log lines of all processes, with virtual time; silent unless tracing.
class SimLogger final : public Logger {
 public:
  SimLogger(World& world, std::string name, bool on)
      : world_(world), name_(std::move(name)), on_(on) {}
  bool Enabled(LogLevel level) const override { return on_ && level >= LogLevel::kInfo; }
  void Write(LogLevel level, std::string_view line) override;

 private:
  World& world_;
  std::string name_;
  bool on_;
};

// One machine: a disk, clocks, and at times an incarnation of the node on it.
class SimNode {
 public:
  SimNode(World& world, SimNetwork& network, const Options& options, int index, bool trace);
  ~SimNode();

  // Boots the node, if nothing of an earlier process is left. `join`: addresses to find others at;
  // none: as a cluster's first nodes know each other once it is initialised.
  Status Start(std::vector<std::string> join = {});
  // The process is gone; the machine keeps what the kernel had, and closes its connections.
  void Crash();
  void PowerLoss(PowerLossMode mode = PowerLossMode::kSome);
  // Dies right here, perhaps called from within the node: nothing that it still does has any
  // effect. It is down when this event and those of the same instant have run.
  void DieHere(std::function<void()> when_down);
  bool up() const { return incarnation_ != nullptr && !dying_; }
  // A second process on the same directory: what opening it says.
  Status StartCopy();
  // Asks the node to give its leaderships away.
  void HandOver(Duration timeout);
  // Asks the node to stop cleanly; `stopped` runs when it is down, unless it dies before.
  void Stop(Duration timeout, std::function<void()> stopped);

  const Options& options() const { return options_; }
  int index() const { return index_; }
  // How often it was started.
  int incarnations() const { return incarnations_; }
  const std::string& address() const { return address_; }
  Process* process();
  server::Node* node();
  server::PublicApi* api();
  ClockModel& clock() { return clock_; }
  SimDisk& disk() { return disk_; }
  // Replicas that lost something and wait for their leader's snapshot.
  int64_t quarantined();
  // Something that was synced here was damaged, lost, or put away for a while.
  void Harm() {
    ++harms_;
    harmed_incarnation_ = incarnations_;
  }
  // As Harm, by what no start finds by itself.
  void HarmUnseen() {
    Harm();
    harmed_unseen_ = true;
  }
  bool harmed() const { return harms_ > 0; }
  int harms() const { return harms_; }
  // Whether this start has looked at all harm that was done, as far as a start can.
  bool has_seen_harm() const { return !harmed_unseen_ && incarnations_ > harmed_incarnation_; }
  // Called once the process has stopped itself because its storage failed.
  void OnFatal(std::function<void(const Status&)> callback) { on_fatal_ = std::move(callback); }
  // Told what becomes durable and what is answered here; outlives the node's use of it.
  void Watch(Observer* observer) {
    observer_ = observer;
    disk_.Watch(observer);
  }

  // ---- the whole of its storage ---------------------------------------------------------------
  struct Image {
    SimDisk::Image disk;
    storage::MemoryDisk store;
  };
  // As a process that starts now would find it.
  Image TakeImage();
  // Precondition: the node is down.
  void Restore(const Image& image);
  storage::MemoryDisk& store_disk() { return store_disk_; }
  // The next start finds a store that cannot be opened.
  // Opening the store fails with this; OK: it does not.
  void BreakStore(Status status) { store_failure_ = std::move(status); }
  // Called when a checkpoint is handed to the store, and when it is durable.
  enum class StorePoint : uint8_t { kCommitBegun, kCommitted };
  void AtStorePoint(std::function<void(StorePoint)> hook) { store_hook_ = std::move(hook); }

 private:
  struct Incarnation;
  class HookedStore;

  Result<std::unique_ptr<storage::KvStore>> OpenStore(Env& env);
  server::NodeOptions MakeNodeOptions(std::vector<std::string> join) const;
  void End(SimNetwork::Ending ending);

  World& world_;
  SimNetwork& network_;
  const Options& options_;
  const int index_;
  const std::string name_;
  const std::string address_;
  int harms_ = 0;
  int harmed_incarnation_ = -1;  // the last one before the newest harm
  bool harmed_unseen_ = false;
  SimLogger log_;
  ClockModel clock_;
  SimDisk disk_;
  storage::MemoryDisk store_disk_;
  Random crash_random_;
  Observer* observer_ = nullptr;
  std::function<void(const Status&)> on_fatal_;
  std::function<void(StorePoint)> store_hook_;
  Status store_failure_;
  bool dying_ = false;  // the incarnation is there, and nothing it does counts
  int incarnations_ = 0;
  int copies_ = 0;
  std::unique_ptr<Incarnation> incarnation_;
};

// One client process: a database handle of its own.
class SimClient {
 public:
  SimClient(World& world, SimNetwork& network, const std::string& name,
            std::vector<std::string> cluster, bool trace);
  ~SimClient();
  client::Database& database() { return *database_; }
  client::Channel& channel() { return *channel_; }
  SimNetwork& network() { return network_; }
  const std::string& address() const { return address_; }
  const std::vector<std::string>& cluster() const { return cluster_; }
  Process& process() { return *process_; }
  TaskScope& scope() { return *scope_; }

 private:
  SimNetwork& network_;
  std::string address_;
  std::vector<std::string> cluster_;
  SimLogger log_;
  ClockModel clock_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<client::Channel> channel_;
  std::unique_ptr<client::Database> database_;
  std::unique_ptr<TaskScope> scope_;
};

class Cluster {
 public:
  Cluster(World& world, const Options& options, bool trace);

  // Boots all nodes and initialises the cluster; runs the world until it serves. An error after
  // `timeout` of virtual time.
  Status Bootstrap(Duration timeout);

  World& world() { return world_; }
  SimNetwork& network() { return network_; }
  const Options& options() const { return options_; }
  std::vector<std::unique_ptr<SimNode>>& nodes() { return nodes_; }
  std::vector<std::string> addresses() const;
  // Has placement move things, or leave them where they are, as the options say.
  Status Direct(Instant deadline);
  // One more machine, at an address of its own, that is not among the nodes.
  std::unique_ptr<SimNode> MakeMachine();
  std::unique_ptr<SimClient> MakeClient(const std::string& name);
  // The node that leads most shards now; nullptr if none does.
  SimNode* BusiestLeader();
  // The node that leads the placement group, and so hands out timestamps; nullptr: none.
  SimNode* PlacementLeader();

 private:
  World& world_;
  const Options& options_;
  bool trace_;
  SimNetwork network_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  int clients_ = 0;
  int machines_ = 0;
};

}  // namespace quorate::sim
