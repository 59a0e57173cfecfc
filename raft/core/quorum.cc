#include "raft/core/quorum.h"

#include "base/mutant.h"

namespace quorate::raft {

void Votes::Record(ReplicaId from, bool granted) {
  if (!Answered(from)) votes_.emplace_back(from, granted);
}

bool Votes::Answered(ReplicaId from) const {
  return std::any_of(votes_.begin(), votes_.end(),
                     [from](const auto& vote) { return vote.first == from; });
}

Votes::Outcome Votes::TallyOf(const std::vector<ReplicaId>& voters) const {
  size_t granted = 0;
  size_t refused = 0;
  for (const auto& [from, yes] : votes_) {
    if (!std::binary_search(voters.begin(), voters.end(), from)) continue;
    ++(yes ? granted : refused);
  }
  size_t majority = voters.size() / 2 + (MUTANT("raft-elected-by-minority") ? 0 : 1);
  if (granted >= majority) return Outcome::kWon;
  return voters.size() - refused < majority ? Outcome::kLost : Outcome::kPending;
}

Votes::Outcome Votes::Tally(const Configuration& configuration) const {
  Outcome incoming = TallyOf(configuration.voters);
  if (!configuration.joint()) return incoming;
  Outcome outgoing = TallyOf(configuration.voters_outgoing);
  if (incoming == Outcome::kLost || outgoing == Outcome::kLost) return Outcome::kLost;
  return incoming == outgoing ? incoming : Outcome::kPending;
}

}  // namespace quorate::raft
