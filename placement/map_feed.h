// MapFeed: what changed in the map since somebody last heard of it, so that it travels as changes.
// Of the placement leader, volatile: in a new term everything is new.
//
// A state of the map is named by its position: how often it had changed in the term. Everything
// that can change has the number of its last change.
//
// One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "quorate/v1/placement.pb.h"
#include "raft/core/types.h"

namespace quorate::placement {

class MapFeed {
 public:
  void BeginTerm(raft::Term term);
  // The piece of the map that begins there, or who leads its shard, is another one.
  void PieceChanged(const std::string& from);
  // None begins there any more. That is told to nobody: others were painted over it.
  void PieceGone(const std::string& from);
  // What is said of the nodes, as text that is the same for the same nodes; a change if it is
  // another one than before.
  void SetNodes(std::string text);

  v1::MapPosition position() const;
  // Whether a receiver at `known` needs nothing but changes.
  bool Continues(const v1::MapPosition& known) const;
  bool NodesChangedSince(const v1::MapPosition& known) const;
  // First keys of the pieces that changed since; `known` continues.
  void PiecesSince(const v1::MapPosition& known,
                   const std::function<void(const std::string& from)>& visit) const;

 private:
  raft::Term term_;
  uint64_t change_ = 0;
  std::map<std::string, uint64_t, std::less<>> pieces_;
  std::map<uint64_t, std::string> by_change_;
  std::string nodes_;
  uint64_t nodes_change_ = 0;
};

}  // namespace quorate::placement
