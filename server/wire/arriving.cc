#include "server/wire/arriving.h"

#include <algorithm>
#include <vector>

namespace quorate::server {
namespace {

// Nearly all requests are whole before anybody looks.
constexpr Duration kSweepInterval = 20ms;

}  // namespace

void ArrivingRequests::Request::Begin(ArrivingRequests* all, const std::string& client,
                                      std::function<void()> give_up) {
  Whole();
  all_ = all;
  client_ = client;
  since_ = all->env_.Now();
  from_.reset();
  give_up_ = std::move(give_up);
  std::list<Request*>& others = all->connections_[client];
  at_ = others.insert(others.end(), this);
  if (all->timer_ == 0) {
    all->timer_ = all->env_.executor.After(kSweepInterval, [all] { all->Sweep(); });
  }
}

void ArrivingRequests::Request::Whole() {
  if (all_ == nullptr) return;
  const auto connection = all_->connections_.find(client_);
  connection->second.erase(at_);
  if (connection->second.empty()) all_->connections_.erase(connection);
  all_ = nullptr;
}

uint64_t ArrivingRequests::HeldFor(const std::string& client,
                                   const std::list<Request*>& oldest_first) {
  const std::optional<uint64_t> received = received_(client);
  if (!received) return 0;
  for (auto request = oldest_first.rbegin(); request != oldest_first.rend(); ++request) {
    if ((*request)->from_) break;
    (*request)->from_ = received;
  }
  uint64_t& from = *oldest_first.front()->from_;
  // Another connection has come from the same address: it may hold all that it has brought.
  if (*received < from) from = 0;
  return *received - from;
}

void ArrivingRequests::GiveUp(Request* request) {
  request->Whole();
  request->give_up_();
}

void ArrivingRequests::Sweep() {
  timer_ = 0;
  struct Held {
    uint64_t bytes;
    std::vector<Request*> requests;
  };
  std::vector<Held> all;
  std::vector<Request*> given_up;
  uint64_t total = 0;
  for (const auto& [client, requests] : connections_) {
    Held& held = all.emplace_back(HeldFor(client, requests));
    total += held.bytes;
    for (Request* request : requests) {
      const bool late = env_.Now() - request->since_ >= limits::kRequestTimeoutMax;
      (late ? given_up : held.requests).push_back(request);
    }
  }
  std::ranges::sort(all, [](const Held& a, const Held& b) { return a.bytes > b.bytes; });
  for (const Held& held : all) {
    if (total <= bytes_max_) break;
    total -= held.bytes;
    given_up.insert(given_up.end(), held.requests.begin(), held.requests.end());
  }
  for (Request* request : given_up) GiveUp(request);
  if (connections_.empty()) return;
  timer_ = env_.executor.After(kSweepInterval, [this] { Sweep(); });
}

}  // namespace quorate::server
