#include "tests/sim/sim_network.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "proto/node.pb.h"
#include "proto/raft.pb.h"
#include "raft/host/wire.h"

namespace quorate::sim {

SimNetwork::SimNetwork(World& world, NetworkOptions options) : world_(world), options_(options) {}

void SimNetwork::Listen(const std::string& address, Process& process, Serve serve) {
  Endpoint& endpoint = endpoints_[address];
  endpoint.process = &process;
  endpoint.incarnation = ++last_incarnation_;
  endpoint.serve = std::move(serve);
}

void SimNetwork::Close(const std::string& address) {
  endpoints_.erase(address);
  // Peers see their connections break, a little later.
  for (auto& [other, endpoint] : endpoints_) {
    if (!endpoint.reset || Blocked(address, other)) continue;
    world_.At(Latency(), [this, other = other, address, incarnation = endpoint.incarnation] {
      const auto it = endpoints_.find(other);
      if (it == endpoints_.end() || it->second.incarnation != incarnation) return;
      it->second.reset(address);
    });
  }
}

Duration SimNetwork::Latency() {
  Random& random = world_.network_random();
  if (random.Chance(options_.tail_chance)) return Duration(random.Below(options_.tail.count()));
  return Duration(random.Between(options_.latency_min.count(), options_.latency_max.count()));
}

bool SimNetwork::Transfer(const std::string& from, const std::string& to,
                          std::function<void(Endpoint&)> deliver) {
  const auto target = endpoints_.find(to);
  if (target == endpoints_.end()) return Blocked(from, to);
  Random& random = world_.network_random();
  if (random.Chance(options_.loss)) return true;
  int copies = 1;
  if (random.Chance(options_.duplicate)) copies = 2;
  for (int copy = 0; copy < copies; ++copy) {
    Duration delay = Latency();
    if (copy > 0 && random.Chance(0.3)) delay = Duration(random.Below(Duration(60s).count()));
    world_.At(delay, [this, from, to, incarnation = target->second.incarnation, deliver] {
      if (Blocked(from, to)) return;
      const auto it = endpoints_.find(to);
      if (it == endpoints_.end() || it->second.incarnation != incarnation) return;
      deliver(it->second);
    });
  }
  return true;
}

// ---- calls --------------------------------------------------------------------------------------

namespace {

Task<void> FailLater(Executor* executor, Promise<Result<std::string>> answer, Duration delay,
                     Status status) {
  co_await Sleep(*executor, delay);
  answer.Set(status);
}

// Tells callbacks that the frame they would answer to is gone.
struct Alive {
  std::shared_ptr<bool> token = std::make_shared<bool>(true);
  ~Alive() { *token = false; }
};

}  // namespace

Task<Result<std::string>> SimNetwork::Exchange(Process* process, std::string from, std::string to,
                                               Request request) {
  ++calls_;
  const Alive alive;
  Promise<Result<std::string>> answer(*process);
  const Duration timeout = request.timeout;
  world_.Trace(Crc32c(request.bytes), request.bytes.size());

  // Runs on the server, perhaps when the caller is gone; the way back has the same faults.
  const auto reply_to = [this, from, to, alive = alive.token, answer](std::string response) {
    Transfer(to, from, [alive, answer, response](Endpoint& e) {
      e.process->Post([alive, answer, response] {
        if (*alive) answer.Set(response);
      });
    });
  };
  // A call of the public service is a stream of a connection: it arrives once or not at all.
  const auto arrived = request.method.empty() ? nullptr : std::make_shared<bool>(false);
  const bool sent = Transfer(from, to, [request, reply_to, arrived](Endpoint& endpoint) {
    if (!endpoint.serve || (arrived && std::exchange(*arrived, true))) return;
    endpoint.process->Post(
        [serve = endpoint.serve, request, reply_to] { serve(request, reply_to); });
  });
  TaskScope timers(*process);
  if (!sent) {
    timers.Spawn(FailLater(process, answer, std::chrono::milliseconds(1),
                           Unavailable(to + ": connection refused")));
  } else if (world_.network_random().Chance(options_.reset)) {
    timers.Spawn(FailLater(process, answer, Latency(), Unavailable(to + ": connection reset")));
  }
  timers.Spawn(FailLater(process, answer, timeout, DeadlineExceeded(to + ": no answer in time")));
  co_return co_await answer.future();
}

class SimChannel final : public client::Channel {
 public:
  SimChannel(SimNetwork& network, Process& process, std::string address)
      : network_(network), process_(process), address_(std::move(address)) {}

  void SetClusterId(const std::string& cluster_id) override { cluster_id_ = cluster_id; }

  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration timeout) override {
    request.set_timeout_ms(static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(timeout))));
    const auto response = co_await network_.Exchange(
        &process_, address_, std::move(address),
        {cluster_id_, /*method=*/"", request.SerializeAsString(), timeout});
    if (!response.ok()) co_return response.status();
    v1::NodeResponse parsed;
    CHECK(parsed.ParseFromString(*response), "a response does not parse");
    co_return parsed;
  }

 private:
  SimNetwork& network_;
  Process& process_;
  std::string address_;
  std::string cluster_id_;
};

// ---- peers --------------------------------------------------------------------------------------

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

  void SetIdentity(const std::string& cluster_id, NodeId self) override {
    cluster_id_ = cluster_id;
    self_ = self;
    const auto it = network_.endpoints_.find(address_);
    CHECK(it != network_.endpoints_.end(), "identity before Listen at {}", address_);
    it->second.raft = [this, alive = alive_](std::string batch) {
      if (*alive) Receive(std::move(batch));
    };
    it->second.reset = [this, alive = alive_](const std::string& peer) {
      process_.Post([this, alive, peer] {
        if (!*alive || receiver_ == nullptr) return;
        for (const auto& [node, address] : addresses_) {
          if (address == peer) receiver_->OnUnreachable(node);
        }
      });
    };
  }

  void SetAddress(NodeId node, const std::string& address) override { addresses_[node] = address; }

  void Send(NodeId to, raft::GroupMessage message) override {
    raft::AddMessage(std::move(message), &BatchTo(to));
  }
  void SendChunk(NodeId to, raft::SnapshotChunk chunk) override {
    raft::AddChunk(std::move(chunk), &BatchTo(to));
  }
  void SendAck(NodeId to, raft::SnapshotAck ack) override { raft::AddAck(ack, &BatchTo(to)); }

 private:
  v1::PeerBatch& BatchTo(NodeId to) {
    auto& batch = pending_[to];
    if (batch == nullptr) {
      batch = std::make_unique<v1::PeerBatch>();
      raft::StartBatch(cluster_id_, self_, to, batch.get());
    }
    if (!flush_posted_) {
      flush_posted_ = true;
      process_.Post([this, alive = alive_] {
        if (*alive) Flush();
      });
    }
    return *batch;
  }

  void Flush() {
    flush_posted_ = false;
    const auto pending = std::move(pending_);
    pending_.clear();
    for (const auto& [to, batch] : pending) {
      const auto address = addresses_.find(to);
      if (address == addresses_.end() || !self_) continue;
      ++network_.peer_batches_;
      const std::string bytes = batch->SerializeAsString();
      network_.world_.Trace(Crc32c(bytes), bytes.size());
      const bool sent =
          network_.Transfer(address_, address->second, [bytes](SimNetwork::Endpoint& endpoint) {
            if (endpoint.raft) endpoint.raft(bytes);
          });
      if (!sent && receiver_ != nullptr) receiver_->OnUnreachable(to);
    }
  }

  void Receive(std::string bytes) {
    process_.Post([this, alive = alive_, bytes = std::move(bytes)] {
      if (!*alive || receiver_ == nullptr) return;
      v1::PeerBatch batch;
      CHECK(batch.ParseFromString(bytes), "a peer batch does not parse");
      raft::PeerParts parts;
      if (raft::TakeParts(cluster_id_, self_, &batch, &parts) != raft::BatchCheck::kOk) return;
      if (!parts.messages.empty()) receiver_->OnMessages(std::move(parts.messages));
      for (auto& chunk : parts.chunks) receiver_->OnSnapshotChunk(std::move(chunk));
      for (auto& ack : parts.acks) receiver_->OnSnapshotAck(ack);
    });
  }

  SimNetwork& network_;
  Process& process_;
  std::string address_;
  std::string cluster_id_;
  NodeId self_;
  raft::TransportReceiver* receiver_ = nullptr;
  std::map<NodeId, std::string> addresses_;
  std::map<NodeId, std::unique_ptr<v1::PeerBatch>> pending_;
  bool flush_posted_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

std::unique_ptr<client::Channel> SimNetwork::MakeChannel(Process& process,
                                                         const std::string& address) {
  return std::make_unique<SimChannel>(*this, process, address);
}
std::unique_ptr<raft::Transport> SimNetwork::MakeTransport(Process& process,
                                                           const std::string& address) {
  return std::make_unique<SimTransport>(*this, process, address);
}

}  // namespace quorate::sim
