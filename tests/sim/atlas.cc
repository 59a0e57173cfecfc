#include "tests/sim/atlas.h"

#include <algorithm>

namespace quorate::sim {

bool Atlas::Sound(SimNode& node) const {
  const bool sound = node.up() && node.incarnations() > incarnation_ && node.node()->ready() &&
                     node.quarantined() == 0;
  if (!sound || !reverted_) return sound;
  return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [&](const auto& other) {
    return other->index() == node.index() ||
           (other->up() && other->node()->incarnations().Remembered(node.node()->id()) ==
                               node.node()->incarnations().current());
  });
}

std::optional<int> Atlas::damaged() {
  if (damaged_ && Sound(*cluster_.nodes()[static_cast<size_t>(*damaged_)])) damaged_.reset();
  return damaged_;
}

bool Atlas::MayDamage(SimNode& node) {
  const std::optional<int> now = damaged();
  if (now && *now != node.index()) return false;
  return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [&](const auto& other) {
    return other->index() == node.index() || other->quarantined() == 0;
  });
}

void Atlas::Damaged(SimNode& node) {
  node.Harm();
  damaged_ = node.index();
  incarnation_ = node.incarnations();
  reverted_ = false;
}

void Atlas::Reverted(SimNode& node) {
  Damaged(node);
  reverted_ = true;
  reverted_ever_.insert(node.index());
}

}  // namespace quorate::sim
