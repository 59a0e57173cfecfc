// Cluster: server/node over the simulated world, several times, and client processes beside it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/database.h"
#include "server/node.h"
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

  // Boots the node. An error is a finding: recovery must cope with whatever the disk model left.
  Status Start(std::vector<std::string> join);
  // The process is gone; the machine keeps what the kernel had.
  void Crash();
  void PowerLoss();
  bool up() const { return incarnation_ != nullptr; }

  const std::string& address() const { return address_; }
  Process* process();
  server::Node* node();
  server::PublicApi* api();
  ClockModel& clock() { return clock_; }
  SimDisk& disk() { return disk_; }
  // Told what becomes durable and what is answered here; outlives the node's use of it.
  void Watch(Observer* observer) {
    observer_ = observer;
    disk_.Watch(observer);
  }

 private:
  struct Incarnation;

  World& world_;
  SimNetwork& network_;
  const Options& options_;
  std::string name_;
  std::string address_;
  SimLogger log_;
  ClockModel clock_;
  SimDisk disk_;
  storage::MemoryDisk store_disk_;
  Random crash_random_;
  Observer* observer_ = nullptr;
  int incarnations_ = 0;
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
  std::unique_ptr<SimClient> MakeClient(const std::string& name);
  // The node that leads most shards now; nullptr if none does.
  SimNode* BusiestLeader();

 private:
  World& world_;
  const Options& options_;
  bool trace_;
  SimNetwork network_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  int clients_ = 0;
};

}  // namespace quorate::sim
