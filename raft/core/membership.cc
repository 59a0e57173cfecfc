#include "raft/core/membership.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/coding.h"

namespace quorate::raft {
namespace {

bool Contains(const std::vector<ReplicaId>& sorted, ReplicaId id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

bool StrictlyAscending(const std::vector<ReplicaId>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!ids[i] || (i > 0 && ids[i] <= ids[i - 1])) return false;
  }
  return true;
}

bool Disjoint(const std::vector<ReplicaId>& a, const std::vector<ReplicaId>& b) {
  return std::none_of(a.begin(), a.end(), [&b](ReplicaId id) { return Contains(b, id); });
}

void PutIds(std::string* out, const std::vector<ReplicaId>& ids) {
  PutVarint(out, ids.size());
  for (ReplicaId id : ids) PutVarint(out, id.value());
}

bool GetIds(std::string_view* input, std::vector<ReplicaId>* ids) {
  uint64_t count = 0;
  // Each id takes a byte at least: bounds the allocation by what is there.
  if (!GetVarint(input, &count) || count > input->size()) return false;
  ids->clear();
  ids->reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t id = 0;
    if (!GetVarint(input, &id)) return false;
    ids->emplace_back(id);
  }
  return true;
}

}  // namespace

std::string EncodeConfiguration(const Configuration& configuration) {
  std::string out;
  PutIds(&out, configuration.voters);
  PutIds(&out, configuration.voters_outgoing);
  PutIds(&out, configuration.learners);
  return out;
}

bool DecodeConfiguration(std::string_view bytes, Configuration* configuration) {
  return GetIds(&bytes, &configuration->voters) &&
         GetIds(&bytes, &configuration->voters_outgoing) &&
         GetIds(&bytes, &configuration->learners) && bytes.empty() && IsValid(*configuration);
}

bool IsVoter(const Configuration& configuration, ReplicaId id) {
  return Contains(configuration.voters, id) || Contains(configuration.voters_outgoing, id);
}

bool IsMember(const Configuration& configuration, ReplicaId id) {
  return IsVoter(configuration, id) || Contains(configuration.learners, id);
}

std::vector<ReplicaId> Members(const Configuration& configuration) {
  std::vector<ReplicaId> members = configuration.voters;
  const auto& outgoing = configuration.voters_outgoing;
  const auto& learners = configuration.learners;
  members.insert(members.end(), outgoing.begin(), outgoing.end());
  members.insert(members.end(), learners.begin(), learners.end());
  std::sort(members.begin(), members.end());
  members.erase(std::unique(members.begin(), members.end()), members.end());
  return members;
}

bool IsValid(const Configuration& c) {
  return !c.voters.empty() && StrictlyAscending(c.voters) && StrictlyAscending(c.voters_outgoing) &&
         StrictlyAscending(c.learners) && Disjoint(c.voters, c.learners);
}

Result<Configuration> EnterJoint(const Configuration& current, std::vector<ReplicaId> voters,
                                 std::vector<ReplicaId> learners) {
  CHECK(!current.joint());
  std::sort(voters.begin(), voters.end());
  std::sort(learners.begin(), learners.end());
  Configuration next{.voters = std::move(voters), .learners = std::move(learners)};
  if (next.voters.empty()) return InvalidArgument("voters: there must be one at least");
  if (!StrictlyAscending(next.voters)) return InvalidArgument("voters: 0 or named twice");
  if (!StrictlyAscending(next.learners)) return InvalidArgument("learners: 0 or named twice");
  if (!Disjoint(next.voters, next.learners)) {
    return InvalidArgument("learners: one of them is also a voter");
  }
  if (next.voters != current.voters) next.voters_outgoing = current.voters;
  return next;
}

Configuration LeaveJoint(const Configuration& joint) {
  CHECK(joint.joint());
  Configuration next = joint;
  next.voters_outgoing.clear();
  return next;
}

std::string ToString(const Configuration& configuration) {
  std::string out = fmt::format("{}", fmt::join(configuration.voters, " "));
  if (configuration.joint()) {
    out += fmt::format(" & {}", fmt::join(configuration.voters_outgoing, " "));
  }
  if (!configuration.learners.empty()) {
    out += fmt::format(" learners {}", fmt::join(configuration.learners, " "));
  }
  return out;
}

}  // namespace quorate::raft
