// Features: what a version adds to what nodes say to each other or write to their logs, so that a
// cluster of two versions does not say what one of them does not understand.
//
// A feature's number never changes, and who has a number has all below it. A node tells the highest
// that its version has (its feature level) with each heartbeat; placement logs the highest that all
// members have as the cluster version, which never falls. Nothing that needs a feature is sent or
// logged before Allows(cluster version, feature); a node below the cluster version is refused. Who
// asks: ClusterView::Allows on any node, placement::StateMachine::Allows in the placement group.
#pragma once

#include <cstdint>

namespace quorate {

enum class Feature : uint32_t {
  kIncarnations = 1,  // starts of nodes are told apart (docs/decisions/0021)
  kRules = 2,         // rules of placement by key range (docs/decisions/0026)
  kMerges = 3,        // shards freeze, absorb and thaw (docs/decisions/0022)
  kTables = 4,        // keys of tables are written through tables alone (docs/decisions/0029)
};

// Of this version: the highest above.
inline constexpr uint32_t kFeatureLevel = static_cast<uint32_t>(Feature::kTables);

constexpr bool Allows(uint32_t cluster_version, Feature feature) {
  return cluster_version >= static_cast<uint32_t>(feature);
}

}  // namespace quorate
