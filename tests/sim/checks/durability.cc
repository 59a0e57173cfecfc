#include "tests/sim/checks/durability.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/arena.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "placement/service.h"
#include "quorate/v1/shard.pb.h"
#include "raft/core/types.h"

namespace quorate::sim {

namespace {

constexpr uint64_t kOnePart = 0;
constexpr size_t kViolationsMax = 5;

// The record at the start of `bytes`, which lie at `offset` of their segment; empty: none. The
// segment's seed is not known here, so the body's own checksum has to do.
std::string_view TakeBody(std::string_view bytes, uint64_t offset, GroupId* group) {
  if (bytes.size() < storage::kFrameBytes) return {};
  uint32_t body_crc, length, own_offset;
  uint64_t id;
  std::memcpy(&body_crc, bytes.data() + 4, 4);
  std::memcpy(&length, bytes.data() + 8, 4);
  std::memcpy(&own_offset, bytes.data() + 12, 4);
  std::memcpy(&id, bytes.data() + 24, 8);
  if (own_offset != offset || length == 0) return {};
  if (length > bytes.size() - storage::kFrameBytes) return {};
  const std::string_view body = bytes.substr(storage::kFrameBytes, length);
  if (Crc32c(body) != body_crc) return {};
  *group = GroupId(id);
  return body;
}

struct Parsed {
  storage::WalRecord record;
  storage::RecordFlags flags;
};

// The records in bytes that lie at `offset` of a file; none if it is no segment. What lies behind
// a damaged one is found, as it is at a start.
std::vector<Parsed> Parse(uint64_t offset, std::string_view bytes) {
  std::vector<Parsed> records;
  if (offset == 0 && bytes.size() > storage::kSegmentHeaderBytes) {
    offset = storage::kSegmentHeaderBytes;
    bytes.remove_prefix(offset);
  }
  while (offset >= storage::kSegmentHeaderBytes) {
    GroupId group;
    const std::string_view body = TakeBody(bytes, offset, &group);
    if (body.empty()) {
      if (bytes.size() <= storage::kFrameBytes) break;
      ++offset;
      bytes.remove_prefix(1);
      continue;
    }
    Parsed parsed;
    if (group != storage::kNoteGroup && storage::DecodeBody(body, &parsed.record, &parsed.flags)) {
      parsed.record.group = group;
      records.push_back(std::move(parsed));
    }
    const size_t size = storage::kFrameBytes + body.size();
    offset += size;
    bytes.remove_prefix(size);
  }
  return records;
}

// Node nK is member K of the cluster, and so replica K of its groups, on whichever disk.
raft::ReplicaId ReplicaOf(std::string_view node) {
  uint64_t id = 0;
  const char* end = node.data() + node.size();
  CHECK(node.starts_with('n') && std::from_chars(node.data() + 1, end, id).ptr == end && id != 0,
        "node {} has no number", node);
  return raft::ReplicaId(id);
}

bool IsMajority(const std::set<raft::ReplicaId>& some, const std::vector<raft::ReplicaId>& voters) {
  const auto among =
      std::count_if(voters.begin(), voters.end(), [&](auto voter) { return some.contains(voter); });
  return 2 * static_cast<size_t>(among) > voters.size();
}

bool IsMajorityOf(const raft::Configuration& configuration, const std::set<raft::ReplicaId>& some) {
  return IsMajority(some, configuration.voters) &&
         (!configuration.joint() || IsMajority(some, configuration.voters_outgoing));
}

// Whether the voters may have decided on what these replicas have. Once a joint configuration is
// committed its leader goes on by the new voters alone, which its own log says and, for a moment,
// nobody's disk.
bool Decides(const Lineage::Known& known, const std::set<raft::ReplicaId>& copies) {
  if (IsMajorityOf(known.configuration, copies)) return true;
  std::set<raft::ReplicaId> holders = known.holders;
  holders.insert(copies.begin(), copies.end());  // they have what lies below
  return IsMajorityOf(known.configuration, holders) &&
         IsMajority(copies, known.configuration.voters);
}

}  // namespace

void Durability::Violation(std::string text) {
  if (violations_.size() < kViolationsMax) violations_.push_back(std::move(text));
}

void Durability::OnDurable(const std::string& node, uint64_t offset, std::string_view bytes) {
  for (const Parsed& parsed : Parse(offset, bytes)) OnRecord(node, parsed.record, parsed.flags);
}

// Terms and votes that were not synced are no promise, but where they end one.
void Durability::OnSurvived(const std::string& node, uint64_t offset, std::string_view bytes) {
  for (const auto& [record, flags] : Parse(offset, bytes)) {
    // They may have replaced entries that were synced.
    logs_.erase({node, record.group});
    for (const storage::WalEntry& entry : record.entries) OnEntry(node, record.group, entry);
    // What replaced a damaged log was written once its snapshot was synced: it is found, and what
    // it says goes on from there.
    if (record.hard_state && record.reset && damaged_.erase({node, record.group}) != 0) {
      hard_states_[{node, record.group}] = *record.hard_state;
    }
  }
}

void Durability::OnDiskReplaced(const std::string& node) {
  std::erase_if(hard_states_, [&](const auto& entry) { return entry.first.first == node; });
  std::erase_if(damaged_, [&](const auto& replica) { return replica.first == node; });
  std::erase_if(logs_, [&](const auto& log) { return log.first.first == node; });
}

void Durability::OnRecord(const std::string& node, const storage::WalRecord& record,
                          storage::RecordFlags flags) {
  // A destroyed replica's successor has forgotten its log, and whether that was damaged; its term
  // goes on from there.
  uint64_t& incarnation = incarnations_[{node, record.group}];
  if (record.incarnation > incarnation) {
    incarnation = record.incarnation;
    damaged_.erase({node, record.group});
    logs_.erase({node, record.group});
  }
  // What a damaged replica has left may be older than what it has synced. It is silent until a
  // snapshot replaces its log.
  if (record.hard_state && flags.damaged) {
    damaged_.insert({node, record.group});
  } else if (record.hard_state) {
    const bool silent = damaged_.erase({node, record.group}) != 0;
    if (silent && !record.reset) {
      Violation(fmt::format("{} goes on in term {} of group {}, which it has called damaged", node,
                            record.hard_state->term, record.group));
    }
    JudgeHardState(node, record);
  }
  JudgeLog(node, record, flags);
  for (const storage::WalEntry& entry : record.entries) OnEntry(node, record.group, entry);
}

void Durability::JudgeLog(const std::string& node, const storage::WalRecord& record,
                          storage::RecordFlags flags) {
  if (record.reset || record.destroy || flags.damaged) logs_.erase({node, record.group});
  if (flags.copied || record.entries.empty()) return;
  Log& log = logs_[{node, record.group}];
  for (const storage::WalEntry& entry : record.entries) {
    const uint64_t end = log.first + log.terms.size();
    if (entry.index < log.first || entry.index > end) {
      log = {entry.index, {entry.term}};
      continue;
    }
    const size_t place = entry.index - log.first;
    if (entry.index < end && log.terms[place] == entry.term) {
      Violation(
          fmt::format("{} synced the entry at index {} of term {} of group {} once more: it "
                      "had forgotten it, and did not call its log damaged",
                      node, entry.index, entry.term, record.group));
    }
    if (place > 0) {
      lineages_[record.group].Add(entry.term, entry.index, log.terms[place - 1]);
    }
    log.terms.resize(place);
    log.terms.push_back(entry.term);
  }
}

void Durability::JudgeHardState(const std::string& node, const storage::WalRecord& record) {
  const storage::WalHardState& now = *record.hard_state;
  const auto [known, fresh] = hard_states_.try_emplace({node, record.group}, now);
  storage::WalHardState& before = known->second;
  // A snapshot that replaces a damaged log comes with a vote for the leader that sent it.
  if (!fresh && !record.reset) {
    if (now.term < before.term) {
      Violation(fmt::format("{} synced term {} of group {} after term {}", node, now.term,
                            record.group, before.term));
    }
    if (now.term == before.term && before.vote != 0 && now.vote != before.vote) {
      Violation(fmt::format("{} voted for replica {} and then for {} in term {} of group {}", node,
                            before.vote, now.vote, now.term, record.group));
    }
  }
  before = now;
}

void Durability::OnEntry(const std::string& node, GroupId group, const storage::WalEntry& entry) {
  const uint32_t sum = Crc32c(entry.payload, entry.type);
  const auto [known, fresh] =
      entries_.try_emplace({group.value(), entry.term, entry.index}, Entry{sum});
  const bool alike = known->second.checksum == sum;
  if (!alike) {
    Violation(
        fmt::format("two different entries are synced at index {} of term {} of group {}, "
                    "one of them by {}: two leaders in one term",
                    entry.index, entry.term, group, node));
  }
  Lineage& lineage = lineages_[group];
  lineage.Add(entry.term, entry.index);
  if (entry.type == static_cast<uint8_t>(raft::EntryType::kConfiguration)) {
    raft::Configuration configuration;
    if (!raft::DecodeConfiguration(entry.payload, &configuration)) return;
    lineage.AddConfiguration(entry.term, entry.index, std::move(configuration), ReplicaOf(node));
    return;
  }
  if (entry.type != static_cast<uint8_t>(raft::EntryType::kNormal)) return;
  if (group == placement::kPlacementGroup) return;
  Part* part = fresh || !alike ? PartOf(entry) : known->second.part;
  if (fresh) known->second.part = part;
  if (part == nullptr) return;
  part->group = group;
  part->copies[{entry.term, entry.index}].insert(ReplicaOf(node));
}

Durability::Part* Durability::PartOf(const storage::WalEntry& entry) {
  google::protobuf::Arena arena;
  auto& command = *google::protobuf::Arena::CreateMessage<v1::ShardCommand>(&arena);
  if (!command.ParseFromString(entry.payload)) return nullptr;
  uint64_t digest = kOnePart;
  std::string txn;
  if (command.has_commit_one_phase()) {
    txn = command.commit_one_phase().txn_id();
  } else if (command.has_prepare()) {
    const v1::PrepareCommand& prepare = command.prepare();
    txn = prepare.txn_id();
    digest = prepare.digest();
    if (prepare.stage()) {
      std::vector<uint64_t> staged;
      for (const auto& participant : prepare.participants()) staged.push_back(participant.digest());
      transactions_[txn].stages.insert(std::move(staged));
    }
  } else {
    return nullptr;
  }
  return &transactions_[txn].parts[digest];
}

bool Durability::Majority(const Synced& synced, uint64_t digest) const {
  const auto part = synced.parts.find(digest);
  if (part == synced.parts.end()) return false;
  const auto lineage = lineages_.find(part->second.group);
  if (lineage == lineages_.end()) return false;
  return std::any_of(part->second.copies.begin(), part->second.copies.end(), [&](const auto& copy) {
    const auto [term, index] = copy.first;
    const auto deciders = lineage->second.MayCommit(term, index);
    return std::any_of(deciders.begin(), deciders.end(),
                       [&](const Lineage::Known* known) { return Decides(*known, copy.second); });
  });
}

void Durability::OnCommitted(const std::string& txn_id) {
  ++judged_;
  const Synced& synced = transactions_[txn_id];
  if (Majority(synced, kOnePart)) return;
  for (const std::vector<uint64_t>& stage : synced.stages) {
    if (std::all_of(stage.begin(), stage.end(),
                    [&](uint64_t digest) { return Majority(synced, digest); })) {
      return;
    }
  }
  std::string where;
  for (const auto& [digest, part] : synced.parts) {
    for (const auto& [entry, nodes] : part.copies) {
      where += fmt::format(" group {} index {} of term {} on nodes {};", part.group, entry.second,
                           entry.first, fmt::join(nodes, " "));
    }
  }
  Violation(
      fmt::format("durable before ack: transaction {} was answered COMMITTED, but no majority "
                  "has synced all of it:{}",
                  ToHex(txn_id), where.empty() ? " nowhere" : where));
}

}  // namespace quorate::sim
