// The simulated network between processes, addressed by "host:port".
//
// Fault model. Everything crosses as bytes and is parsed again at the other end. Latency is drawn
// per message; what else happens to messages of a direction is said by rules (LinkRule), which come
// and go: loss, copies soon or minutes late, reordering, delays, a limited rate, blocks, messages
// held back and released at once, broken connections, frames that are damaged, cut, foreign or too
// large. A request that is lost or blocked is not answered: the caller's deadline ends it. When a
// process is killed its kernel closes the connections: callers and peers learn it soon; a machine
// without power says nothing.
//
// Frames carry no checksum of their own beyond that of a snapshot's chunks: that is TCP's job, and
// gRPC's, which sends the length of each message first. So a damaged or cut frame is given to the
// decoders, which must stand it, and then the connection breaks; what they made of it is dropped.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/task.h"
#include "client/route/channel.h"
#include "raft/host/transport.h"
#include "tests/sim/world.h"

namespace quorate::sim {

struct NetworkOptions {
  Duration latency_min = std::chrono::microseconds(50);
  Duration latency_max = std::chrono::milliseconds(2);
};

// What happens to messages of one direction; several rules add up.
struct LinkRule {
  std::string from;  // an address; empty: any node or client
  std::string to;
  bool block = false;             // nothing arrives
  bool block_peers = false;       // no peer messages; requests have connections of their own
  bool refuse_calls = false;      // connections for requests are closed at once; peers' go on
  bool hold = false;              // nothing arrives until the rule goes; then everything, in order
  bool half_open = false;         // nobody hears that the other side is gone
  Duration delay{0};              // added to each message
  uint64_t bytes_per_second = 0;  // 0: no limit
  // Probabilities, of one message.
  double loss = 0;
  double duplicate_soon = 0;
  double duplicate_late = 0;  // up to two minutes
  double reorder = 0;         // overtaken by what is sent in the next 20 ms
  double tail = 0;            // up to `tail_max`
  Duration tail_max{0};
  double reset_call = 0;      // a call fails early though the other side may act
  double reset_message = 0;   // the connection breaks in the middle of it
  double refuse_request = 0;  // the node is too busy, or has failed, before it looks at a request
  double bit_flip = 0;
  double truncate = 0;
  double oversize = 0;
  double flip_chunk = 0;  // in a snapshot's data: the chunk's checksum is all that can tell
  // Frames sent besides, which have to be refused without any effect.
  double stray_garbage = 0;
  double stray_cluster = 0;
  double stray_node = 0;
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
  // Bytes on their way, shared by the copies that a rule makes: the last of them may be moved from.
  template <class T>
  static T TakeOrCopy(std::shared_ptr<T>&& shared) {
    return shared.use_count() == 1 ? std::move(*shared) : *shared;
  }
  enum class Ending : uint8_t { kConnectionsClosed, kSilent };

  SimNetwork(World& world, NetworkOptions options);

  // ---- processes ------------------------------------------------------------------------------
  void Listen(const std::string& address, Process& process, Serve serve);
  // The process is gone: what is under way to it is dropped.
  void Close(const std::string& address, Ending ending);
  bool Listening(const std::string& address) const { return endpoints_.contains(address); }

  std::unique_ptr<client::Channel> MakeChannel(Process& process, const std::string& address);
  std::unique_ptr<raft::Transport> MakeTransport(Process& process, const std::string& address);
  // One request and its answer, with the faults of both ways. What comes after the caller's frame
  // is gone is dropped.
  Task<Result<std::string>> Exchange(Process* process, std::string from, std::string to,
                                     Request request);

  // ---- faults ---------------------------------------------------------------------------------
  using RuleId = uint64_t;
  RuleId AddRule(LinkRule rule);
  void RemoveRule(RuleId rule);
  // Sees every request of the cluster's own stream when it is sent; what it returns is added to the
  // time that the request takes.
  using Tap = std::function<Duration(const std::string& from, const std::string& to,
                                     const v1::NodeRequest& request)>;
  using TapId = uint64_t;
  TapId AddTap(Tap tap);
  void RemoveTap(TapId tap) { taps_.erase(tap); }
  // Peer messages of this group are lost, until as many calls of Unsilence.
  void Silence(GroupId group) { silent_.insert(group); }
  void Unsilence(GroupId group) { silent_.extract(group); }
  // Frames that had to be refused and were not.
  const std::vector<std::string>& violations() const { return violations_; }

  // ---- what was sent, for counting messages per commit ----------------------------------------
  uint64_t calls() const { return calls_; }
  // Of the process that listens there now.
  uint64_t CallsOf(const std::string& address) const;
  uint64_t peer_batches() const { return peer_batches_; }

 private:
  friend class SimTransport;

  struct PendingCall {
    std::string to;
    Promise<Result<std::string>> answer;
  };
  struct Endpoint {
    Process* process;
    uint64_t incarnation;
    Serve serve;
    // Set by the transport.
    std::function<void(std::shared_ptr<const std::string> batch, int condition)> raft;
    std::function<void(const std::string& address)> reset;
    std::map<uint64_t, PendingCall> pending;
    uint64_t calls = 0;  // so far
  };
  struct Link {
    std::string from;
    std::string to;
    uint64_t version = 0;  // of the rules that `rule` adds up
    LinkRule rule;
    uint64_t target_version = 0;  // of the endpoints in which `target` was looked up
    Endpoint* target = nullptr;   // who listens at `to`; nullptr: nobody
    Link* back = nullptr;         // from `to` to `from`, once it was needed
    Instant busy_until{};
    std::deque<Closure> held;
  };
  // Copied only where a rule makes copies of the message.
  using Deliver = std::function<void(Endpoint&)>;
  enum class Sent : uint8_t { kUnderWay, kRefused, kBroken };

  Link& LinkOf(const std::string& from, const std::string& to);
  Link& BackOf(Link& link);
  Endpoint* TargetOf(Link& link);
  const LinkRule& Refreshed(Link& link);
  Duration Latency(const LinkRule& rule);
  Duration Queueing(Link& link, size_t bytes);
  // Delivers to the process that listens at `to` when it arrives, unless faults prevent it or
  // another incarnation lives there by then. kRefused: nobody listens; kBroken: both sides will
  // hear that the connection broke.
  Sent Transfer(Link& link, size_t bytes, Deliver deliver, Duration later = Duration(0));
  // What the taps add to it.
  Duration Tapped(const std::string& from, const std::string& to, const Request& request);
  void Arrive(Link& link, uint64_t incarnation, Duration delay, Deliver deliver);
  void BreakConnection(const std::string& from, const std::string& to);
  void Answer(Link& back, std::string response, Promise<Result<std::string>> answer,
              std::shared_ptr<bool> alive);
  // Whether this message is damaged on its way: then `damaged` is what arrives.
  bool MaybeDamage(const LinkRule& rule, const std::string& bytes, std::string* damaged);
  void SendStrayRequest(const std::string& to, const LinkRule& rule, const Request& request);
  void Refused(const std::string& to, bool refused, std::string_view what);

  World& world_;
  const NetworkOptions options_;
  Random& random_;
  std::map<std::string, Endpoint> endpoints_;
  std::vector<std::unique_ptr<Link>> all_links_;
  absl::flat_hash_map<std::string, Link*> links_;  // by "from>to"; looked up only
  std::map<RuleId, LinkRule> rules_;
  std::map<TapId, Tap> taps_;
  std::multiset<GroupId> silent_;
  std::vector<std::string> violations_;
  uint64_t rules_version_ = 1;
  uint64_t endpoints_version_ = 1;
  RuleId last_rule_ = 0;
  TapId last_tap_ = 0;
  uint64_t last_incarnation_ = 0;
  uint64_t calls_ = 0;
  uint64_t peer_batches_ = 0;
};

}  // namespace quorate::sim
