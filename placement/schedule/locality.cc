#include "placement/schedule/locality.h"

#include <fmt/format.h>

#include <utility>

namespace quorate::placement {

Domains DomainNames::Of(NodeId node, const std::map<std::string, std::string>& locality) {
  const auto label = [&locality](const char* key) -> std::string_view {
    const auto it = locality.find(key);
    return it == locality.end() ? std::string_view() : it->second;
  };
  const std::string_view zone = label("zone"), rack = label("rack"), host = label("host");
  // Labels are printable, so a line feed keeps names of different kinds apart.
  const std::string rack_name = fmt::format("{}\n{}", zone, rack);
  return {NumberOf(fmt::format("zone\n{}", zone)), NumberOf(fmt::format("rack\n{}", rack_name)),
          NumberOf(host.empty() ? fmt::format("node\n{}", node)
                                : fmt::format("host\n{}\n{}", rack_name, host))};
}

uint32_t DomainNames::NumberOf(std::string name) {
  const uint32_t next = static_cast<uint32_t>(numbers_.size()) + 1;
  return numbers_.emplace(std::move(name), next).first->second;
}

Standing Added(const Domains* begin, const Domains* end, const Domains& place) {
  Standing added;
  for (const Domains* other = begin; other != end; ++other) {
    added.zone += other->zone == place.zone;
    added.rack += other->rack == place.rack;
    added.host += other->host == place.host;
  }
  return added;
}

std::string ToString(const Standing& standing) {
  std::string text;
  if (standing.outside != 0) {
    text += fmt::format("replicas where the rule wants none: {}; ", standing.outside);
  }
  if (standing.unpreferred != 0) {
    text += fmt::format("replicas where the rule rather has none: {}; ", standing.unpreferred);
  }
  if (standing.host + standing.zone + standing.rack == 0) {
    return text + "no two replicas share a zone, rack or host";
  }
  return text + fmt::format("pairs of replicas that share a zone: {}, a rack: {}, a host: {}",
                            standing.zone, standing.rack, standing.host);
}

}  // namespace quorate::placement
