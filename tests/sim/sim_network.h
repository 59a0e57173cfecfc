// The simulated network between processes, addressed by "host:port".
//
// Fault model. Everything crosses as bytes and is parsed again at the other end. Per direction of a
// pair: latency drawn per batch, loss, duplication (also much later), reordering beyond what the
// latency does, and blocks (partitions, possibly one-way, and isolation). A request whose way is
// blocked or lost is not answered: the caller's deadline ends it, or an early UNAVAILABLE, as a
// broken stream would. To a process that is down the caller gets UNAVAILABLE soon.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/route/channel.h"
#include "raft/host/transport.h"
#include "tests/sim/world.h"

namespace quorate::v1 {
class PeerBatch;
}

namespace quorate::sim {

struct NetworkOptions {
  Duration latency_min = std::chrono::microseconds(50);
  Duration latency_max = std::chrono::milliseconds(2);
  double tail_chance = 0;  // a message takes up to `tail`
  Duration tail = std::chrono::milliseconds(300);
  double loss = 0;
  double duplicate = 0;  // delivered again, soon or up to a minute later
  double reset = 0;      // a call fails early though the other side may act
};

class SimNetwork {
 public:
  // What a listening process does with a request; answers through `reply` (at most once).
  using Reply = std::function<void(std::string response)>;
  struct Request {
    std::string cluster_id;
    std::string method;  // of the public service; empty: a NodeRequest of the cluster's own stream
    std::string bytes;
    Duration timeout{0};
  };
  using Serve = std::function<void(Request request, Reply reply)>;

  SimNetwork(World& world, NetworkOptions options);

  NetworkOptions& options() { return options_; }

  // ---- processes
  // ---------------------------------------------------------------------------------
  void Listen(const std::string& address, Process& process, Serve serve);
  // The process is gone: what is under way to it is dropped.
  void Close(const std::string& address);
  bool Listening(const std::string& address) const { return endpoints_.contains(address); }

  std::unique_ptr<client::Channel> MakeChannel(Process& process, const std::string& address);
  std::unique_ptr<raft::Transport> MakeTransport(Process& process, const std::string& address);
  // One request and its answer, with the faults of both ways. What comes after the caller's frame
  // is gone is dropped.
  Task<Result<std::string>> Exchange(Process* process, std::string from, std::string to,
                                     Request request);

  // ---- faults
  // ------------------------------------------------------------------------------------
  void Block(const std::string& from, const std::string& to) { blocked_.insert({from, to}); }
  void HealAll() { blocked_.clear(); }

  // ---- what was sent, for counting messages per commit
  // --------------------------------------------
  uint64_t calls() const { return calls_; }
  uint64_t peer_batches() const { return peer_batches_; }

 private:
  friend class SimTransport;

  struct Endpoint {
    Process* process;
    uint64_t incarnation;
    Serve serve;
    std::function<void(std::string batch)> raft;  // set by the transport
    std::function<void(const std::string& address)> reset;
  };

  bool Blocked(const std::string& from, const std::string& to) const {
    return blocked_.contains({from, to});
  }
  Duration Latency();
  // Delivers `deliver` to the process that listens at `to` when it arrives, unless faults prevent
  // it or another incarnation lives there by then. Returns false if nobody listens (connection
  // refused).
  bool Transfer(const std::string& from, const std::string& to,
                std::function<void(Endpoint&)> deliver);

  World& world_;
  NetworkOptions options_;
  std::map<std::string, Endpoint> endpoints_;
  std::set<std::pair<std::string, std::string>> blocked_;
  uint64_t last_incarnation_ = 0;
  uint64_t calls_ = 0;
  uint64_t peer_batches_ = 0;
};

}  // namespace quorate::sim
