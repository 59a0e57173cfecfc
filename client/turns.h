// Turns: who changes rows in a transaction waits until who came before has buffered its change.
//
// A change reads the row and the unique keys that it takes, and then buffers what follows from
// them. Another change between the two would make entries without a row, or two rows with one
// unique value; and several at once are natural (WhenAll of inserts).
//
// Threads: executor's thread only. A turn may outlive the queue.
#pragma once

#include <list>
#include <memory>

#include "base/mutant.h"
#include "base/task.h"

namespace quorate::client {

class Turns {
  // Who is first may change rows.
  struct Queue {
    Executor& executor;
    std::list<Promise<bool>> list;
  };

 public:
  explicit Turns(Executor& executor) : queue_(std::make_shared<Queue>(Queue{executor, {}})) {}

  // A place at the end of the queue, given up when it is destroyed, reached or not.
  class Turn {
   public:
    explicit Turn(Turns* turns)
        : queue_(turns->queue_),
          place_(queue_->list.insert(queue_->list.end(), Promise<bool>(queue_->executor))) {
      if (First() || MUTANT("table-changes-not-queued")) place_->Set(true);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      const bool first = First();
      queue_->list.erase(place_);
      if (first && !queue_->list.empty()) queue_->list.front().Set(true);
    }
    // Awaited once: all who came before are gone.
    Future<bool> Reached() const { return place_->future(); }

   private:
    bool First() const { return place_ == queue_->list.begin(); }

    std::shared_ptr<Queue> queue_;
    std::list<Promise<bool>>::iterator place_;
  };

 private:
  std::shared_ptr<Queue> queue_;
};

}  // namespace quorate::client
