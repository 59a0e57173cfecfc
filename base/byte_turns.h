// ByteTurns: bounds how much of something large is under way at once, however many ask: what a node
// fetches from shards for its clients, what they write, what its logs take in. What is small goes
// at once. What may be large waits for its turn, and the next turn is that of the client which had
// the least so far: whoever asks for everything is in nobody's way but its own. (Start-time fair
// queueing: Goyal, Vin, Cheng 1996.)
//
// How much a read brings is known when it is there. A client is taken to go on as it did: as much
// as its largest fetch of late, and a whole value before the first.
//
// A turn ends by itself after a while: what takes so long waits for something else than bytes.
//
// While others ask for what is small, they are left room: after a turn nothing large begins for
// some times as long as it took. How fast the machine is, and how busy, is in that time; not in
// that of a turn that ended by itself.
//
// Threads: executor's thread only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/env.h"
#include "base/limits.h"
#include "base/task.h"

namespace quorate {

// Who asked for something small of late. Two are enough to say whether somebody else did.
class SmallAskers {
 public:
  void Saw(std::string_view client, Instant now);
  bool OthersThan(std::string_view client, Instant now) const;

 private:
  struct Seen {
    size_t client = 0;  // its hash
    Instant at = Instant::min();
  };
  Seen last_;
  Seen other_;  // the last that is not that one
};

class ByteTurns {
 public:
  // Given back with the object; waited for in vain if destroyed before it was granted.
  class Turn {
   public:
    Turn(ByteTurns* turns, std::string client, size_t bytes, Duration ends_after);
    Turn(const Turn&) = delete;
    ~Turn() { End(); }
    // What the fetch is taken to bring.
    size_t bytes() const { return bytes_; }
    // It is over, and brought so much.
    void Brought(size_t bytes);

   private:
    friend class ByteTurns;
    void End();

    ByteTurns* const turns_;
    const std::string client_;
    const size_t bytes_;
    const Duration ends_after_;
    std::pair<uint64_t, uint64_t> place_;   // in the queue
    std::optional<Promise<bool>> granted_;  // while it waits
    std::optional<size_t> brought_;
    bool timed_out_ = false;
    bool held_ = false;
    Instant since_;      // it is held
    TimerId timer_ = 0;  // while it is held
  };

  // `env` outlives the object, which outlives its turns. `small`, which outlives it too: whom it
  // leaves room; null: nobody.
  ByteTurns(Env& env, size_t bytes_max, SmallAskers* small = nullptr)
      : env_(env), bytes_max_(bytes_max), small_(small) {}
  ByteTurns(const ByteTurns&) = delete;
  ~ByteTurns() { env_.executor.Cancel(pause_timer_); }

  // Waits for the turn to fetch something of at most `at_most` bytes for `client`. It ends by
  // itself after `ends_after`: soon, if what is fetched has to wait for a lock first.
  Task<std::unique_ptr<Turn>> Take(std::string client, size_t at_most, Duration ends_after);
  // As Take, for what is known to have so many bytes.
  Task<std::unique_ptr<Turn>> TakeExactly(std::string client, size_t bytes, Duration ends_after);

  // What a fetch of at most `at_most` bytes for `client` is taken to bring.
  size_t Expected(const std::string& client, size_t at_most) {
    return std::min(at_most, Find(client).bytes);
  }
  // What has so many bytes goes at once.
  static bool NeedsNone(size_t bytes) { return bytes <= kSmallBytes; }

  size_t waiting() const { return waiting_.size(); }
  size_t held_bytes() const { return held_bytes_; }

 private:
  struct Client {
    uint64_t finish = 0;  // in virtual time, which goes on with the bytes of granted turns
    size_t bytes = limits::kValueBytesMax;  // of its largest fetch of late
  };
  Task<std::unique_ptr<Turn>> Wait(std::unique_ptr<Turn> turn);
  Client& Find(const std::string& client);
  void Grant();
  void LeaveRoom(const Turn& turn);

  static constexpr size_t kSmallBytes = 64 << 10;

  Env& env_;
  const size_t bytes_max_;
  SmallAskers* const small_;
  size_t held_bytes_ = 0;
  Instant pause_ends_ = Instant::min();
  TimerId pause_timer_ = 0;  // while somebody waits for that
  uint64_t now_ = 0;  // virtual
  uint64_t last_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, Turn*> waiting_;  // by start in virtual time, then age
  // Those seen of late, in two halves: the older one is forgotten when the newer is full.
  std::map<std::string, Client> clients_;
  std::map<std::string, Client> older_;
};

}  // namespace quorate
