#include "placement/map_feed.h"

#include <utility>

#include "base/mutant.h"

namespace quorate::placement {

void MapFeed::BeginTerm(raft::Term term) {
  *this = MapFeed();
  term_ = term;
}

void MapFeed::PieceChanged(const std::string& from) {
  if (MUTANT("placement-map-change-lost") && change_ % 8 == 7) return;
  const uint64_t change = ++change_;
  const auto [it, first] = pieces_.try_emplace(from, change);
  if (!first) by_change_.erase(std::exchange(it->second, change));
  by_change_[change] = from;
}

void MapFeed::PieceGone(const std::string& from) {
  const auto it = pieces_.find(from);
  if (it == pieces_.end()) return;
  by_change_.erase(it->second);
  pieces_.erase(it);
}

void MapFeed::SetNodes(std::string text) {
  if (text == nodes_) return;
  nodes_ = std::move(text);
  nodes_change_ = ++change_;
}

v1::MapPosition MapFeed::position() const {
  v1::MapPosition position;
  position.set_term(term_.value());
  position.set_change(change_);
  return position;
}

bool MapFeed::Continues(const v1::MapPosition& known) const {
  return term_ && known.term() == term_.value() && known.change() <= change_;
}

bool MapFeed::NodesChangedSince(const v1::MapPosition& known) const {
  return nodes_change_ > known.change();
}

void MapFeed::PiecesSince(const v1::MapPosition& known,
                          const std::function<void(const std::string& from)>& visit) const {
  for (auto it = by_change_.upper_bound(known.change()); it != by_change_.end(); ++it) {
    visit(it->second);
  }
}

}  // namespace quorate::placement
