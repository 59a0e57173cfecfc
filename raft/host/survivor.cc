#include "raft/host/survivor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"

namespace quorate::raft {
namespace {

// Nobody holds so many elections that a term between is one that somebody voted in.
constexpr uint64_t kTermsAhead = 1 << 20;

using Ids = std::vector<ReplicaId>;

Configuration Newest(const InitialState& state) {
  Configuration newest = state.snapshot.configuration;
  for (const Entry& entry : state.entries) {
    Configuration found;
    if (entry.type == EntryType::kConfiguration && DecodeConfiguration(entry.payload, &found)) {
      newest = std::move(found);
    }
  }
  return newest;
}

bool MajorityRemains(const Ids& voters, const std::set<NodeId>& lost) {
  const auto remains = [&](ReplicaId id) { return !lost.contains(id); };
  const auto left = std::count_if(voters.begin(), voters.end(), remains);
  return voters.empty() || static_cast<size_t>(left) > voters.size() / 2;
}

// Who votes, of a joint configuration in either half.
std::set<NodeId> VotersOf(const Configuration& members) {
  std::set<NodeId> voters(members.voters.begin(), members.voters.end());
  voters.insert(members.voters_outgoing.begin(), members.voters_outgoing.end());
  return voters;
}

// Why the replica must not go on alone; empty: it may.
std::string WhyNot(const Survivor& survivor, const Recovered& recovered, bool replacing,
                   NodeId self, const std::set<NodeId>& lost) {
  if (!recovered.quarantine.empty()) {
    return fmt::format("the replica here is damaged: {}", recovered.quarantine);
  }
  if (replacing) return "the replica here was being fetched from another node and is not whole";
  std::set<NodeId> voters = VotersOf(survivor.members);
  if (voters.erase(self) == 0) return "the replica here is no voter";
  std::vector<uint64_t> others;
  for (const NodeId id : voters) {
    if (!lost.contains(id)) others.push_back(id.value());
  }
  if (others.empty()) return {};
  return fmt::format(
      "node {} survives, too. Only one of them may go on, the one whose log ends at the higher "
      "(term, index), here ({}, {}): see there with --dry-run, and on that one call the others "
      "lost",
      fmt::join(others, ", "), survivor.last_term, survivor.last);
}

}  // namespace

Survivor GoOnAlone(GroupId group, Stored stored, NodeId self, const std::set<NodeId>& lost) {
  Survivor out;
  out.group = group;
  const bool replacing = stored.replacing;
  const uint64_t applied = stored.applied.value();
  Recovered recovered = Recover(group, std::move(stored), std::nullopt);
  const InitialState& state = recovered.initial;
  out.members = Newest(state);
  // A damaged log names no members, but the store's record of them may.
  if (out.members.voters.empty()) out.members = recovered.meta.At(LogIndex(applied));
  out.last = state.snapshot.index + state.entries.size();
  out.last_term = state.entries.empty() ? state.snapshot.term : state.entries.back().term;
  out.committed = state.hard_state.commit;
  if (MajorityRemains(out.members.voters, lost) &&
      MajorityRemains(out.members.voters_outgoing, lost)) {
    return out;
  }
  out.why = WhyNot(out, recovered, replacing, self, lost);
  out.fate = out.why.empty() ? Survivor::Fate::kAlone : Survivor::Fate::kStuck;
  if (!out.why.empty()) return out;

  if (recovered.record) out.records.push_back(std::move(*recovered.record));
  const Term term = std::max(state.hard_state.term, out.last_term) + kTermsAhead;
  Configuration alone;
  alone.voters = {self};
  storage::WalRecord record;
  record.group = group;
  record.incarnation = recovered.incarnation;
  record.entries.push_back({out.last.value() + 1, term.value(),
                            static_cast<uint8_t>(EntryType::kConfiguration),
                            EncodeConfiguration(alone)});
  record.hard_state.emplace();
  record.hard_state->term = term.value();
  record.hard_state->commit = out.committed.value();
  out.records.push_back(std::move(record));
  return out;
}

}  // namespace quorate::raft
