// Peer messages over the simulated network: batches per peer and turn, as the real transport makes
// them, as bytes.
#include <google/protobuf/arena.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "quorate/v1/raft.pb.h"
#include "raft/host/wire.h"
#include "tests/sim/sim_network.h"

namespace quorate::sim {

// Before the transport of the program connects anew.
constexpr Duration kPauseAfterBreak = 15ms;

class SimTransport final : public raft::Transport {
 public:
  SimTransport(SimNetwork& network, Process& process, std::string address)
      : network_(network), process_(process), address_(std::move(address)) {}
  ~SimTransport() override {
    *alive_ = false;
    const auto it = network_.endpoints_.find(address_);
    if (it != network_.endpoints_.end() && it->second.process == &process_) {
      it->second.raft = nullptr;
      it->second.reset = nullptr;
    }
  }

  void SetReceiver(raft::TransportReceiver* receiver) override { receiver_ = receiver; }
  void SetIdentity(const std::string& cluster_id, NodeId self,
                   const storage::Incarnation& incarnation) override;
  void SetAddress(NodeId node, const std::string& address) override {
    Peer& peer = PeerOf(node);
    if (peer.address == address) return;
    peer.address = address;
    peer.link = nullptr;
  }

  void Send(NodeId to, raft::GroupMessage message) override {
    if (!Silent(message.group)) raft::AddMessage(std::move(message), &BatchTo(to));
  }
  void SendAlive(NodeId to, raft::Alive alive) override { raft::AddAlive(alive, &BatchTo(to)); }
  void SendChunk(NodeId to, raft::SnapshotChunk chunk) override {
    if (!Silent(chunk.group)) raft::AddChunk(std::move(chunk), &BatchTo(to));
  }
  void SendAck(NodeId to, raft::SnapshotAck ack) override {
    if (!Silent(ack.group)) raft::AddAck(ack, &BatchTo(to));
  }

 private:
  // How a batch gets to its receiver.
  enum class Condition : uint8_t { kWhole, kDamaged, kStray };

  bool Silent(GroupId group) const { return network_.silent_.contains(group); }
  v1::PeerBatch& BatchTo(NodeId to);
  void Flush();
  // False: nobody is there, or the connection broke.
  bool SendBatch(SimNetwork::Link& link, v1::PeerBatch* batch);
  void SendStrays(const std::string& address, const LinkRule& rule, const std::string& bytes);
  void Receive(std::shared_ptr<const std::string> bytes, Condition condition);
  void Take(const std::string& bytes, Condition condition);

  SimNetwork& network_;
  Process& process_;
  const std::string address_;
  std::string cluster_id_;
  NodeId self_;
  storage::Incarnation incarnation_;
  raft::TransportReceiver* receiver_ = nullptr;
  struct Peer {
    NodeId node;
    std::string address;
    SimNetwork::Link* link = nullptr;  // to `address`, once it was needed
    v1::PeerBatch* batch = nullptr;    // in sending_; what leaves with the next flush
    Instant pauses_until{};            // the connection broke a moment ago: what is sent is dropped
  };
  void OnBroken(Peer* peer) { peer->pauses_until = process_.Now() + kPauseAfterBreak; }
  Peer& PeerOf(NodeId node);
  using Block = char[8 << 10];
  static google::protobuf::ArenaOptions WithBlock(Block& block) {
    google::protobuf::ArenaOptions options;
    options.initial_block = block;
    options.initial_block_size = sizeof(block);
    return options;
  }

  std::vector<Peer> peers_;  // in order of their nodes
  alignas(16) Block sending_block_;
  alignas(16) Block receiving_block_;
  // One batch is a few dozen small messages: an arena makes and drops them at once.
  google::protobuf::Arena sending_{WithBlock(sending_block_)};
  google::protobuf::Arena receiving_{WithBlock(receiving_block_)};
  bool flush_posted_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

void SimTransport::SetIdentity(const std::string& cluster_id, NodeId self,
                               const storage::Incarnation& incarnation) {
  incarnation_ = incarnation;
  cluster_id_ = cluster_id;
  self_ = self;
  const auto it = network_.endpoints_.find(address_);
  if (it == network_.endpoints_.end()) return;  // it died while it started
  it->second.raft = [this, alive = alive_](std::shared_ptr<const std::string> bytes,
                                           int condition) {
    if (*alive) Receive(std::move(bytes), static_cast<Condition>(condition));
  };
  it->second.reset = [this, alive = alive_](const std::string& peer) {
    process_.Post([this, alive, peer] {
      if (!*alive || receiver_ == nullptr) return;
      std::vector<NodeId> lost;
      for (Peer& each : peers_) {
        if (each.address != peer) continue;
        OnBroken(&each);
        lost.push_back(each.node);
      }
      for (const NodeId node : lost) receiver_->OnUnreachable(node);
    });
  };
}

// ---- sending ------------------------------------------------------------------------------------

SimTransport::Peer& SimTransport::PeerOf(NodeId node) {
  const auto it = std::lower_bound(peers_.begin(), peers_.end(), node,
                                   [](const Peer& peer, NodeId id) { return peer.node < id; });
  if (it != peers_.end() && it->node == node) return *it;
  return *peers_.insert(it, Peer{node, {}});
}

v1::PeerBatch& SimTransport::BatchTo(NodeId to) {
  Peer& peer = PeerOf(to);
  if (peer.batch == nullptr) {
    peer.batch = google::protobuf::Arena::CreateMessage<v1::PeerBatch>(&sending_);
    raft::StartBatch(cluster_id_, self_, incarnation_, to, peer.batch);
  }
  if (!flush_posted_) {
    flush_posted_ = true;
    process_.Post([this, alive = alive_] {
      if (*alive) Flush();
    });
  }
  return *peer.batch;
}

void SimTransport::Flush() {
  flush_posted_ = false;
  if (!network_.Listening(address_)) return;  // dead, and does not know
  // Telling of an unreachable peer may have more sent, in a later flush.
  std::vector<NodeId> unreachable;
  for (Peer& peer : peers_) {
    v1::PeerBatch* batch = std::exchange(peer.batch, nullptr);
    if (batch == nullptr || peer.address.empty() || !self_) continue;
    if (process_.Now() < peer.pauses_until) continue;
    if (peer.link == nullptr) peer.link = &network_.LinkOf(address_, peer.address);
    network_.Refreshed(*peer.link);
    if (SendBatch(*peer.link, batch)) continue;
    OnBroken(&peer);
    unreachable.push_back(peer.node);
  }
  sending_.Reset();
  for (const NodeId node : unreachable) {
    if (receiver_ != nullptr) receiver_->OnUnreachable(node);
  }
}

bool SimTransport::SendBatch(SimNetwork::Link& link, v1::PeerBatch* batch) {
  ++network_.peer_batches_;
  Random& random = network_.random_;
  const std::string& address = link.to;
  const LinkRule& rule = link.rule;
  for (auto& chunk : *batch->mutable_chunks()) {
    if (rule.flip_chunk == 0 || chunk.data().empty() || !random.Chance(rule.flip_chunk)) continue;
    (*chunk.mutable_data())[random.Below(chunk.data().size())] ^= 1;
  }
  if (rule.block_peers) return true;  // nobody hears that it is lost
  auto bytes = std::make_shared<std::string>(batch->SerializeAsString());
  network_.world_.Trace(Crc32c(*bytes), bytes->size());
  SendStrays(address, rule, *bytes);
  std::string altered;
  const bool damaged = network_.MaybeDamage(rule, *bytes, &altered);
  if (damaged) *bytes = std::move(altered);
  const auto condition = damaged ? Condition::kDamaged : Condition::kWhole;
  const size_t size = bytes->size();
  const SimNetwork::Sent sent =
      network_.Transfer(link, size,
                        [bytes = std::shared_ptr<const std::string>(std::move(bytes)), condition,
                         &link](SimNetwork::Endpoint& endpoint) {
                          if (link.rule.block_peers) return;
                          if (endpoint.raft) endpoint.raft(bytes, static_cast<int>(condition));
                        });
  if (damaged) {
    network_.BreakConnection(address_, address);
    network_.BreakConnection(address, address_);
  }
  return sent == SimNetwork::Sent::kUnderWay;
}

// Frames that nobody here sent: of another cluster, for another node, or no batch at all.
void SimTransport::SendStrays(const std::string& address, const LinkRule& rule,
                              const std::string& bytes) {
  Random& random = network_.random_;
  const auto send = [&](std::string stray) {
    const auto target = network_.endpoints_.find(address);
    if (target == network_.endpoints_.end()) return;
    network_.Arrive(network_.LinkOf(address_, address), target->second.incarnation,
                    network_.Latency(rule),
                    [bytes = std::make_shared<const std::string>(std::move(stray))](
                        SimNetwork::Endpoint& endpoint) {
                      if (!endpoint.raft) return;
                      endpoint.raft(bytes, static_cast<int>(Condition::kStray));
                    });
  };
  if (rule.stray_garbage > 0 && random.Chance(rule.stray_garbage)) {
    std::string garbage = bytes;
    for (char& c : garbage) {
      if (random.Chance(0.2)) c = static_cast<char>(random.Next());
    }
    send(std::move(garbage));
  }
  const bool foreign = rule.stray_cluster > 0 && random.Chance(rule.stray_cluster);
  const bool other = rule.stray_node > 0 && random.Chance(rule.stray_node);
  if (!foreign && !other) return;
  v1::PeerBatch stray;
  CHECK(stray.ParseFromString(bytes));
  if (foreign) stray.set_cluster_id(std::string(32, 'f'));
  if (other) stray.set_to_node(stray.to_node() + 1);
  send(stray.SerializeAsString());
}

// ---- receiving ----------------------------------------------------------------------------------

void SimTransport::Receive(std::shared_ptr<const std::string> bytes, Condition condition) {
  process_.Post([this, alive = alive_, bytes = std::move(bytes), condition] {
    if (*alive && receiver_ != nullptr) Take(*bytes, condition);
  });
}

void SimTransport::Take(const std::string& bytes, Condition condition) {
  receiving_.Reset();
  v1::PeerBatch& batch = *google::protobuf::Arena::CreateMessage<v1::PeerBatch>(&receiving_);
  const bool parsed = batch.ParseFromString(bytes);
  CHECK(parsed || condition != Condition::kWhole, "a peer batch does not parse");
  if (!parsed) return;
  raft::PeerParts parts;
  const bool foreign = batch.cluster_id() != cluster_id_ || batch.to_node() != self_.value();
  const raft::BatchCheck check = raft::TakeParts(cluster_id_, self_, &batch, &parts);
  // What nobody takes deafens its receiver to all that is in one batch with it.
  CHECK(check != raft::BatchCheck::kMalformed || condition != Condition::kWhole,
        "a node sent a malformed peer batch");
  if (check != raft::BatchCheck::kOk) return;
  network_.Refused(address_, !foreign, "a batch for another cluster or node");
  if (condition != Condition::kWhole) return;
  if (!receiver_->Listens(parts.from, parts.incarnation)) return;
  if (!parts.messages.empty()) receiver_->OnMessages(std::move(parts.messages));
  if (parts.alive) receiver_->OnAlive(parts.from, *parts.alive);
  for (auto& chunk : parts.chunks) receiver_->OnSnapshotChunk(std::move(chunk));
  for (auto& ack : parts.acks) receiver_->OnSnapshotAck(ack);
}

std::unique_ptr<raft::Transport> SimNetwork::MakeTransport(Process& process,
                                                           const std::string& address) {
  return std::make_unique<SimTransport>(*this, process, address);
}

}  // namespace quorate::sim
