#include "server/node/shared_bound.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"

namespace quorate::server {

bool SharedBound::Take(const std::string& client, size_t amount) {
  const size_t held = HeldBy(client);
  const size_t left = total_ - std::min(used_, total_);
  const bool fits = held <= left && amount <= left - held;
  if (!fits && !MUTANT("server-clients-unbounded")) return false;
  used_ += amount;
  held_[client] = held + amount;
  return true;
}

void SharedBound::Give(const std::string& client, size_t amount) {
  if (amount == 0) return;
  const auto it = held_.find(client);
  CHECK(it != held_.end() && it->second >= amount && used_ >= amount, "given back, never taken");
  used_ -= amount;
  it->second -= amount;
  if (it->second == 0) held_.erase(it);
}

size_t SharedBound::HeldBy(const std::string& client) const {
  const auto it = held_.find(client);
  return it == held_.end() ? 0 : it->second;
}

void Holding::Open(std::shared_ptr<SharedBound> bound, std::string client) {
  if (bound_ != nullptr) return;
  bound_ = std::move(bound);
  client_ = std::move(client);
}

bool Holding::Grow(size_t amount) {
  if (bound_ == nullptr) return true;
  if (!bound_->Take(client_, amount)) return false;
  amount_ += amount;
  return true;
}

void Holding::Shrink(size_t amount) {
  CHECK(amount <= amount_, "given back, never taken");
  if (bound_ != nullptr) bound_->Give(client_, amount);
  amount_ -= amount;
}

}  // namespace quorate::server
