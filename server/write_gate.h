// WriteGate: who may start the next write on a gRPC stream, which allows one at a time.
//
// A finished write wakes the executor only if something waits for it; else the next one starts
// straight from the turn that made it. Saves a wake-up per batch while a stream is not saturated.
#pragma once

#include <atomic>
#include <cstdint>

namespace quorate::server {

class WriteGate {
 public:
  // Executor's thread: whether a write may start now. If not, Done will tell that someone waits.
  bool TryBegin() {
    State seen = State::kIdle;
    if (state_.compare_exchange_strong(seen, State::kWriting)) return true;
    // Done may come in between and open the gate.
    if (seen == State::kWriting && !state_.compare_exchange_strong(seen, State::kWaiting)) {
      state_.store(State::kWriting);
      return true;
    }
    return false;
  }
  // gRPC's thread: the write has ended; whether the executor waits to be told.
  bool Done() { return state_.exchange(State::kIdle) == State::kWaiting; }

 private:
  enum class State : uint8_t { kIdle, kWriting, kWaiting };
  std::atomic<State> state_{State::kIdle};
};

}  // namespace quorate::server
