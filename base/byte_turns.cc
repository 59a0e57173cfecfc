#include "base/byte_turns.h"

#include <algorithm>
#include <functional>

namespace quorate {
namespace {

constexpr size_t kClientsMax = 4096;
constexpr Duration kOfLate = 250ms;
constexpr Duration kTurnTimeMax = 100ms;  // of its time, what others are left room for
// With one, what is small still waits for what is large half of the time.
constexpr int kRoom = 4;

}  // namespace

void SmallAskers::Saw(std::string_view client, Instant now) {
  const size_t hash = std::hash<std::string_view>()(client);
  if (last_.client != hash) other_ = last_;
  last_ = {hash, now};
}

bool SmallAskers::OthersThan(std::string_view client, Instant now) const {
  const Seen& seen = last_.client == std::hash<std::string_view>()(client) ? other_ : last_;
  return seen.at != Instant::min() && now - seen.at <= kOfLate;
}

ByteTurns::Turn::Turn(ByteTurns* turns, std::string client, size_t bytes, Duration ends_after)
    : turns_(turns), client_(std::move(client)), bytes_(bytes), ends_after_(ends_after) {}

void ByteTurns::Turn::Brought(size_t bytes) {
  Client& client = turns_->Find(client_);
  client.bytes = std::max(bytes, client.bytes / 2);
  brought_ = bytes;
  // What was more than expected is on its account.
  if (bytes > bytes_) client.finish = std::max(client.finish, turns_->now_) + (bytes - bytes_);
  End();
}

void ByteTurns::Turn::End() {
  turns_->env_.executor.Cancel(std::exchange(timer_, 0));
  if (granted_ && !held_) {
    turns_->waiting_.erase(place_);
    // What was waited for in vain costs nothing: whoever always gives up before its turn would be
    // ever further behind.
    Client& client = turns_->Find(client_);
    client.finish -= std::min<uint64_t>(bytes_, client.finish);
  }
  granted_.reset();
  if (!std::exchange(held_, false)) return;
  turns_->held_bytes_ -= bytes_;
  turns_->LeaveRoom(*this);
  turns_->Grant();
}

ByteTurns::Client& ByteTurns::Find(const std::string& client) {
  if (const auto found = clients_.find(client); found != clients_.end()) return found->second;
  if (clients_.size() >= kClientsMax / 2) older_ = std::exchange(clients_, {});
  Client& made = clients_[client];
  if (const auto found = older_.find(client); found != older_.end()) made = found->second;
  return made;
}

Task<std::unique_ptr<ByteTurns::Turn>> ByteTurns::Take(std::string client, size_t at_most,
                                                       Duration ends_after) {
  const size_t bytes = Expected(client, at_most);
  return TakeExactly(std::move(client), bytes, ends_after);
}

Task<std::unique_ptr<ByteTurns::Turn>> ByteTurns::TakeExactly(std::string client, size_t bytes,
                                                              Duration ends_after) {
  return Wait(std::make_unique<Turn>(this, std::move(client), bytes, ends_after));
}

Task<std::unique_ptr<ByteTurns::Turn>> ByteTurns::Wait(std::unique_ptr<Turn> turn) {
  if (NeedsNone(turn->bytes())) {
    if (small_ != nullptr) small_->Saw(turn->client_, env_.Now());
    co_return turn;
  }
  Client& asking = Find(turn->client_);
  turn->place_ = {std::max(asking.finish, now_), ++last_};
  asking.finish = turn->place_.first + turn->bytes();
  turn->granted_.emplace(env_.executor);
  Future<bool> granted = turn->granted_->future();
  waiting_.emplace(turn->place_, turn.get());
  Grant();
  co_await std::move(granted);
  co_return turn;
}

// Several turns at once each count for as much of their time as they had of the bound.
void ByteTurns::LeaveRoom(const Turn& turn) {
  const Instant now = env_.Now();
  if (small_ == nullptr || turn.timed_out_ || !small_->OthersThan(turn.client_, now)) return;
  const size_t bytes = std::min(turn.brought_.value_or(turn.bytes_), bytes_max_);
  const Duration took = std::min<Duration>(now - turn.since_, kTurnTimeMax);
  pause_ends_ = std::max(pause_ends_, now) + kRoom * took * bytes / bytes_max_;
}

void ByteTurns::Grant() {
  if (waiting_.empty() || pause_timer_ != 0) return;
  if (const Instant now = env_.Now(); now < pause_ends_) {
    pause_timer_ = env_.executor.After(pause_ends_ - now, [this] {
      pause_timer_ = 0;
      Grant();
    });
    return;
  }
  while (!waiting_.empty()) {
    Turn* turn = waiting_.begin()->second;
    // One that is larger than the bound goes alone.
    if (held_bytes_ > 0 && held_bytes_ + turn->bytes() > bytes_max_) return;
    waiting_.erase(waiting_.begin());
    held_bytes_ += turn->bytes();
    now_ = std::max(now_, turn->place_.first);
    turn->held_ = true;
    turn->since_ = env_.Now();
    turn->timer_ = env_.executor.After(turn->ends_after_, [turn] {
      turn->timer_ = 0;
      turn->timed_out_ = true;
      turn->End();
    });
    turn->granted_->Set(true);
  }
}

}  // namespace quorate
