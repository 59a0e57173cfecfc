// Taker: the other end of a connection of streams, by how much it has not taken of its answers.
// Whoever asks and does not read would have the node read on for it until the answers of others
// have no room. So no read begins for an end that has much to take: it waits, and whoever has taken
// what it asked for is not behind it.
//
// Threads: executor's thread only.
#pragma once

#include <cstddef>
#include <list>
#include <memory>

#include "base/env.h"
#include "base/task.h"

namespace quorate::server {

class Taker {
 public:
  // `env` outlives the object, which outlives its reads. `bytes_max`: no read begins beyond.
  Taker(Env& env, size_t bytes_max) : env_(env), bytes_max_(bytes_max) {}
  Taker(const Taker&) = delete;

  // An answer waits to be taken; it was taken, or never will be.
  void Queued(size_t bytes) { queued_bytes_ += bytes; }
  void Left(size_t bytes);
  bool takes() const { return queued_bytes_ < bytes_max_; }

  // A read that may go on, until the object ends: its answer is queued then, or will not be.
  class Read {
   public:
    explicit Read(Taker* taker) : taker_(taker) { ++taker->going_; }
    Read(const Read&) = delete;
    ~Read();

   private:
    Taker* const taker_;
  };
  // Waits until this end takes what it has. Null: not by `deadline`, or `owner` gave up.
  Task<std::unique_ptr<Read>> Wait(const void* owner, Instant deadline);
  // What `owner` waits for is waited for in vain.
  void GiveUp(const void* owner);

  size_t waiting() const { return waiting_.size(); }

 private:
  // One Wait that has to.
  class Waiting {
   public:
    Waiting(Taker* taker, const void* owner);
    Waiting(const Waiting&) = delete;
    ~Waiting();

    Taker* const taker;
    const void* const owner;
    const Promise<bool> goes;
    bool woken = false;  // it is counted as going, and in the list no longer
    std::list<Waiting*>::iterator at;
  };
  // Some at a time: the answer of the first may be too much for the others to go on.
  void WakeSome();

  Env& env_;
  const size_t bytes_max_;
  size_t queued_bytes_ = 0;
  size_t going_ = 0;
  std::list<Waiting*> waiting_;  // the one that waits for the longest first
};

}  // namespace quorate::server
