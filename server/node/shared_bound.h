// SharedBound: a bound that clients share without being in each other's way. A client may hold as
// much as is left free, and so never more than half: however much some take, something is left for
// who comes next, and with many who take all they get, all get the same.
//
// Threads: executor's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace quorate::server {

class SharedBound {
 public:
  explicit SharedBound(size_t total) : total_(total) {}

  // False: `client` would hold more than is left; it got nothing.
  bool Take(const std::string& client, size_t amount);
  // Of what it took.
  void Give(const std::string& client, size_t amount);

  size_t total() const { return total_; }
  size_t used() const { return used_; }
  size_t HeldBy(const std::string& client) const;

 private:
  const size_t total_;
  size_t used_ = 0;
  std::map<std::string, size_t> held_;  // of clients that hold something
};

// What one call or session holds of a bound; given back with the object.
class Holding {
 public:
  Holding() = default;
  Holding(std::shared_ptr<SharedBound> bound, std::string client)
      : bound_(std::move(bound)), client_(std::move(client)) {}
  Holding(const Holding&) = delete;
  Holding& operator=(const Holding&) = delete;
  ~Holding() { Clear(); }

  // The first that says whose it is; before that nothing is counted.
  void Open(std::shared_ptr<SharedBound> bound, std::string client);
  bool Grow(size_t amount);
  void Shrink(size_t amount);
  void Clear() { Shrink(amount_); }
  size_t amount() const { return amount_; }
  size_t total() const { return bound_ == nullptr ? SIZE_MAX : bound_->total(); }

 private:
  std::shared_ptr<SharedBound> bound_;
  std::string client_;
  size_t amount_ = 0;
};

}  // namespace quorate::server
