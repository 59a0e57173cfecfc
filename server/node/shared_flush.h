// SharedFlush: makes sure that what is so on this node stays so after a restart, for whoever asks.
// Anybody may ask: so all who do share one flush of the store, which begins once a second at most,
// and none is made while nothing has changed since the last one.
//
// Threads: executor's thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/status.h"
#include "base/task.h"

namespace quorate::server {

class SharedFlush {
 public:
  static constexpr Duration kEvery = 1s;
  // Calls `done` once what was applied before the call is durable, or cannot be.
  using Flush = std::function<void(std::function<void(Status)> done)>;
  // Grows with each change of what askers want to be durable.
  using Changes = std::function<uint64_t()>;
  SharedFlush(Executor& executor, const Clock& clock, Flush flush, Changes changes);
  SharedFlush(const SharedFlush&) = delete;
  ~SharedFlush();

  // Once all changes up to now are durable; else why they are not. Waits for the flush under way,
  // the rest of its second, and a further flush.
  Task<Status> Flushed();

 private:
  void BeginNext();
  void Begin();

  Executor& executor_;
  const Clock& clock_;
  const Flush flush_;
  const Changes changes_;
  std::vector<Promise<Status>> waiting_;  // for the next one
  bool under_way_ = false;
  TimerId timer_ = 0;                // of the next one
  std::optional<Instant> began_;     // the last one
  std::optional<uint64_t> flushed_;  // changes() at the beginning of the last one that succeeded
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::server
