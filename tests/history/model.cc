#include "tests/history/model.h"

namespace quorate::history {
namespace {

// The name without its suffix, and what order it needs.
std::pair<std::string_view, Order> Split(std::string_view anomaly) {
  for (const auto& [suffix, order] : {std::pair{std::string_view("-process"), Order::kProcess},
                                      std::pair{std::string_view("-realtime"), Order::kRealtime}}) {
    if (anomaly.ends_with(suffix)) {
      return {anomaly.substr(0, anomaly.size() - suffix.size()), order};
    }
  }
  for (const std::string_view name :
       {"causal-reverse", "lost-element", "stale-read", "non-monotonic-read", "future-read"}) {
    if (anomaly == name) return {anomaly, Order::kRealtime};
  }
  return {anomaly, Order::kNone};
}

}  // namespace

bool Model::Forbids(std::string_view anomaly) const {
  const auto [base, needs] = Split(anomaly);
  if (needs > order) return false;
  for (const std::string_view name : {"G1a", "G1b", "G1c", "dirty-update"}) {
    if (base == name) return g1;
  }
  for (const std::string_view name : {"internal", "lost-update", "G-single"}) {
    if (base == name) return g_single;
  }
  for (const std::string_view name : {"G-nonadjacent", "long-fork"}) {
    if (base == name) return g_nonadjacent;
  }
  return base != "G2-item" || g2_item;
}

const std::vector<Model>& Models() {
  // name, G1, G-single, G-nonadjacent, G2-item, order
  static const std::vector<Model> models = {
      {"read-uncommitted", false, false, false, false, Order::kNone},
      {"read-committed", true, false, false, false, Order::kNone},
      {"parallel-snapshot-isolation", true, true, false, false, Order::kNone},
      {"snapshot-isolation", true, true, true, false, Order::kNone},
      {"repeatable-read", true, true, true, true, Order::kNone},
      {"serializable", true, true, true, true, Order::kNone},
      {"strong-session-snapshot-isolation", true, true, true, false, Order::kProcess},
      {"strong-session-serializable", true, true, true, true, Order::kProcess},
      {"strong-snapshot-isolation", true, true, true, false, Order::kRealtime},
      {"strict-serializable", true, true, true, true, Order::kRealtime},
  };
  return models;
}

std::optional<Model> ModelNamed(std::string_view name) {
  for (const Model& model : Models()) {
    if (model.name == name) return model;
  }
  return std::nullopt;
}

const Model& StrictSerializable() { return Models().back(); }

}  // namespace quorate::history
