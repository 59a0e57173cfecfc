// Numbers and records of one Raft group. Paper and thesis words throughout (Ongaro 2014).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/strong_type.h"

namespace quorate::raft {

using Term = StrongInt<struct TermTag>;
using LogIndex = StrongInt<struct LogIndexTag>;  // the first entry has index 1
// A group has at most one replica on a node, so a replica is named by its node.
using ReplicaId = NodeId;

enum class EntryType : uint8_t {
  kNormal = 0,  // payload belongs to the state machine
  kConfiguration =
      1,       // payload is an encoded Configuration; takes effect when appended (thesis 4.1)
  kEmpty = 2,  // first entry of a leader's term (thesis 6.4)
};

struct Entry {
  LogIndex index;
  Term term;
  EntryType type = EntryType::kNormal;
  std::string payload;
  friend bool operator==(const Entry&, const Entry&) = default;
};

// What must be durable before any message that depends on it is sent.
struct HardState {
  Term term;
  ReplicaId vote;  // 0: none in this term
  LogIndex commit;
  friend bool operator==(const HardState&, const HardState&) = default;
};

// Members. In a joint configuration `voters_outgoing` is not empty and every decision needs a
// majority of both sets (thesis 4.3). A learner may be an outgoing voter: it is demoted when the
// joint configuration is left. Vectors are sorted and free of duplicates.
struct Configuration {
  std::vector<ReplicaId> voters;
  std::vector<ReplicaId> voters_outgoing;
  std::vector<ReplicaId> learners;
  bool joint() const { return !voters_outgoing.empty(); }
  friend bool operator==(const Configuration&, const Configuration&) = default;
};

std::string EncodeConfiguration(const Configuration& configuration);
// False if malformed, unsorted, empty of voters, or with a learner that also votes.
bool DecodeConfiguration(std::string_view bytes, Configuration* configuration);

struct SnapshotMeta {
  LogIndex index;
  Term term;
  Configuration configuration;
  friend bool operator==(const SnapshotMeta&, const SnapshotMeta&) = default;
};

}  // namespace quorate::raft
