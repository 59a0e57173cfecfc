// Majorities, simple and joint. Commit index, votes, ReadIndex rounds and leases all go through
// here, so that one membership rule holds for all of them (RC11, RC12). Pure functions.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "base/check.h"
#include "raft/core/types.h"

namespace quorate::raft {

namespace internal {

// The largest value that a majority of `voters` has reached.
template <class T, class ValueOf>
T MajorityValue(const std::vector<ReplicaId>& voters, const ValueOf& value_of) {
  CHECK(!voters.empty());
  absl::InlinedVector<T, 9> values;
  for (ReplicaId voter : voters) values.push_back(value_of(voter));
  // With n values in ascending order, position (n - 1) / 2 has a majority at or above it.
  auto middle = values.begin() + (values.size() - 1) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace internal

// The largest value that a quorum has reached: a majority of voters and, in a joint configuration,
// also of the outgoing ones (thesis 4.3). `value_of(ReplicaId)` must be monotone over time for the
// result to be.
template <class T, class ValueOf>
T QuorumValue(const Configuration& configuration, const ValueOf& value_of) {
  T value = internal::MajorityValue<T>(configuration.voters, value_of);
  if (!configuration.joint()) return value;
  return std::min(value, internal::MajorityValue<T>(configuration.voters_outgoing, value_of));
}

// Answers to one vote request, one per replica.
class Votes {
 public:
  void Clear() { votes_.clear(); }
  bool empty() const { return votes_.empty(); }
  // The first answer of a replica stands.
  void Record(ReplicaId from, bool granted);
  bool Answered(ReplicaId from) const;

  enum class Outcome : uint8_t { kPending, kWon, kLost };
  // Answers of replicas that are no voters in `configuration` do not count.
  Outcome Tally(const Configuration& configuration) const;

 private:
  Outcome TallyOf(const std::vector<ReplicaId>& voters) const;
  absl::InlinedVector<std::pair<ReplicaId, bool>, 5> votes_;
};

}  // namespace quorate::raft
