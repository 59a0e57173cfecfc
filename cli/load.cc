#include "cli/load.h"

#include <algorithm>

namespace quorate::cli {
namespace {

uint64_t Since(const std::map<uint64_t, uint64_t>& before, uint64_t shard, uint64_t now) {
  const auto then = before.find(shard);
  return then == before.end() || then->second > now ? now : now - then->second;
}

}  // namespace

LoadSample SampleOf(const ClusterView& view, Instant at) {
  LoadSample sample;
  sample.at = at;
  for (const auto& [id, status] : view.nodes) {
    if (!status) continue;
    LoadSample::Node& node = sample.nodes[id];
    node.cpu_us = status->process().cpu_us();
    for (const v1::ReplicaStatus& replica : status->replicas()) {
      if (!replica.has_shard()) continue;
      node.reads[replica.group_id()] = replica.reads();
      node.prepares[replica.group_id()] = replica.prepares();
    }
  }
  return sample;
}

Load LoadBetween(const LoadSample& before, const LoadSample& after) {
  Load load;
  const double seconds =
      std::max(std::chrono::duration<double>(after.at - before.at).count(), 0.001);
  for (const auto& [id, now] : after.nodes) {
    const auto then = before.nodes.find(id);
    if (then == before.nodes.end()) continue;
    Load::Node& node = load.nodes[id];
    const uint64_t cpu_before = then->second.cpu_us;
    const uint64_t cpu_us = cpu_before > now.cpu_us ? now.cpu_us : now.cpu_us - cpu_before;
    node.cpu = static_cast<double>(cpu_us) / 1e6 / seconds;
    for (const auto& [shard, count] : now.reads) {
      const double rate = static_cast<double>(Since(then->second.reads, shard, count)) / seconds;
      node.rates.reads += rate;
      load.shards[shard].reads += rate;
    }
    for (const auto& [shard, count] : now.prepares) {
      const double rate = static_cast<double>(Since(then->second.prepares, shard, count)) / seconds;
      node.rates.prepares += rate;
      load.shards[shard].prepares += rate;
    }
  }
  return load;
}

std::vector<uint64_t> Load::Hottest(size_t count) const {
  std::vector<std::pair<double, uint64_t>> order;  // hottest first, then by id
  for (const auto& [shard, rates] : shards) {
    if (rates.both() > 0) order.emplace_back(-rates.both(), shard);
  }
  std::sort(order.begin(), order.end());
  std::vector<uint64_t> hottest;
  for (size_t i = 0; i < std::min(count, order.size()); ++i) hottest.push_back(order[i].second);
  return hottest;
}

std::vector<uint64_t> Load::Hottest(size_t count, const std::vector<uint64_t>& shown) const {
  constexpr double kClearly = 1.25;
  const auto rate = [this](uint64_t id) { return shards.at(id).both(); };
  const std::vector<uint64_t> candidates = Hottest(count + shown.size());
  std::vector<uint64_t> order;
  const auto add = [&](uint64_t id) {
    size_t at = order.size();
    while (at > 0 && rate(id) > kClearly * rate(order[at - 1])) --at;
    order.insert(order.begin() + static_cast<ptrdiff_t>(at), id);
  };
  for (const uint64_t id : shown) {
    const auto found = shards.find(id);
    if (found != shards.end() && found->second.both() > 0) add(id);
  }
  for (const uint64_t id : candidates) {
    if (std::find(order.begin(), order.end(), id) == order.end()) add(id);
  }
  order.resize(std::min(order.size(), count));
  return order;
}

}  // namespace quorate::cli
