// DIR/INCARNATIONS: which start of this node it is, and which starts of the others it listens to
// (docs/decisions/0021-incarnations.md).
//
// Every start draws an incarnation, a number above all before and a random nonce, and makes it
// durable before the node says anything. The history of all of them tells whether this directory
// has been through an incarnation that somebody remembers: one that was copied, or put back to an
// earlier state, has not. Of others it remembers the newest one that was listened to.
//
// Two slots of a fixed size are written in turn, each with a sequence number and a CRC-32C; the
// newest one that is whole counts. Once the file exists it needs no room.
//
//   crash in a write     the other slot is whole
//   a write fails        the same slot is written again; what waits for it is told of the failure
//   both slots damaged   the history is lost: whoever remembers this node finds that out, and its
//                        replicas are fetched again. What was remembered of others is lost, too.
//
// Threads: executor's thread only. Open and Settle block.
#pragma once

#include <absl/functional/any_invocable.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/strong_type.h"
#include "storage/file.h"

namespace quorate::storage {

struct Incarnation {
  uint64_t number = 0;  // 0: none
  uint64_t nonce = 0;
  explicit operator bool() const { return number != 0; }
  friend bool operator==(const Incarnation&, const Incarnation&) = default;
};

class IncarnationFile {
 public:
  using Done = absl::AnyInvocable<void(Status)>;

  // Draws this start's incarnation. NO_SPACE only where the file does not exist yet.
  static Result<std::unique_ptr<IncarnationFile>> Open(Env& env, FileSystem& files,
                                                       const std::string& directory);
  ~IncarnationFile() { *alive_ = false; }

  const Incarnation& current() const { return durable_.history.back(); }
  // The one before; none at the first start.
  Incarnation previous() const;
  // Whether everything that this node promised in `incarnation` is known here, or known to be lost.
  bool Descends(const Incarnation& incarnation) const;

  // The directory was found to be of an earlier state than `newer`: what was promised since is
  // lost. Durable when `done` runs. It stays doubted until Settle.
  void Doubt(const Incarnation& newer, Done done);
  bool doubted() const { return durable_.doubted; }
  // That the replicas are damaged is written down elsewhere.
  Status Settle();

  // What is durable: none, if nothing is.
  Incarnation Remembered(NodeId node) const;
  void Remember(NodeId node, const Incarnation& incarnation, Done done);
  // With the next write, which may come never: ids are not used again.
  void Forget(NodeId node) { wanted_.others.erase(node); }
  const std::map<NodeId, Incarnation>& others() const { return durable_.others; }

 private:
  struct State {
    uint64_t sequence = 0;
    bool doubted = false;
    uint64_t lost_up_to = 0;           // promises of incarnations up to this number count as lost
    std::vector<Incarnation> history;  // ascending; the newest ones
    std::map<NodeId, Incarnation> others;
  };

  IncarnationFile(Env& env, std::unique_ptr<File> file) : env_(env), file_(std::move(file)) {}
  static std::string Encode(const State& state);
  static bool Decode(std::string_view slot, State* state);
  Status Load();
  // What is wanted, as bytes for the slot that comes next.
  std::string Next();
  uint64_t Offset() const;
  Status WriteNow();
  void WriteLater(Done done);
  void StartWrite();

  Env& env_;
  const std::unique_ptr<File> file_;
  State durable_;
  State wanted_;
  bool writing_ = false;
  std::vector<Done> waiting_;  // for a write that has not begun
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::storage
