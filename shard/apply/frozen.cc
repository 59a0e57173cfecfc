#include "shard/apply/frozen.h"

#include <xxhash.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "shard/intents.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "shard/state_machine.h"
#include "shard/table.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::shard {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

// A store that has nothing but these pairs, in the order of their keys.
class PairsReader final : public storage::KvReader {
 public:
  explicit PairsReader(const std::vector<Pair>& pairs) : pairs_(pairs) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    const auto at = LowerBound(key);
    if (at == pairs_.end() || at->first != key) return std::optional<std::string>();
    return std::optional<std::string>(at->second);
  }
  Status Scan(std::string_view from, std::string_view to,
              storage::ScanVisitor visit) const override {
    for (auto at = LowerBound(from); at != pairs_.end(); ++at) {
      if (!to.empty() && !storage::KeyLess()(at->first, to)) break;
      if (!visit(at->first, at->second)) break;
    }
    return Status::Ok();
  }
  Status ScanBack(std::string_view from, std::string_view to,
                  storage::ScanVisitor visit) const override {
    for (auto at = to.empty() ? pairs_.end() : LowerBound(to); at != pairs_.begin();) {
      --at;
      if (!from.empty() && storage::KeyLess()(at->first, from)) break;
      if (!visit(at->first, at->second)) break;
    }
    return Status::Ok();
  }

 private:
  std::vector<Pair>::const_iterator LowerBound(std::string_view key) const {
    return std::lower_bound(
        pairs_.begin(), pairs_.end(), key,
        [](const Pair& pair, std::string_view k) { return storage::KeyLess()(pair.first, k); });
  }
  const std::vector<Pair>& pairs_;
};

// Versions and the like, at a key of the shard.
bool KeptAt(std::string_view store_key, const Span& span) {
  if (store_key.empty() || static_cast<uint8_t>(store_key.back()) + 2u > store_key.size()) {
    return false;
  }
  const Tag tag = static_cast<Tag>(storage::KeyBody(store_key).front());
  return std::find(std::begin(kKeyedTags), std::end(kKeyedTags), tag) != std::end(kKeyedTags) &&
         span.Contains(UserKey(store_key));
}

// False: it is malformed.
bool PairsOf(const v1::FrozenShard& frozen, std::vector<Pair>* pairs) {
  std::string_view left = frozen.pairs();
  while (!left.empty()) {
    Pair pair;
    if (!GetLengthPrefixed(&left, &pair.first) || !GetLengthPrefixed(&left, &pair.second)) {
      return false;
    }
    pairs->push_back(pair);
  }
  return true;
}

// Whoever is prepared has its keys, and whoever has a key is prepared.
bool Agree(const Table& table, const std::vector<Pair>& pairs, const Span& span) {
  const auto is_intent = [](const Pair& pair) {
    return static_cast<Tag>(storage::KeyBody(pair.first).front()) == Tag::kIntents;
  };
  size_t written = 0;
  for (const auto& [owner, record] : table.prepared()) {
    written += record.writes.size();
    for (const Span& guard : record.guards) {
      const bool inside = guard.from >= span.from &&
                          (span.to.empty() || (!guard.to.empty() && guard.to <= span.to));
      if (!inside || !CheckSpan(guard).ok()) return false;
    }
  }
  return static_cast<size_t>(std::count_if(pairs.begin(), pairs.end(), is_intent)) == written;
}

Status Nothing() { return InvalidArgument("a frozen shard keeps nothing like this"); }

}  // namespace

Status CheckFrozen(const v1::FrozenShard& frozen) {
  RETURN_IF_ERROR(quorate::Check(frozen));
  const v1::ShardDescriptor& shard = frozen.state().shard();
  const Span span{shard.from(), shard.to()};
  if (Crc32c(frozen.pairs()) != frozen.crc32c()) {
    return InvalidArgument("the state of the frozen shard is damaged");
  }
  std::vector<Pair> pairs;
  if (!PairsOf(frozen, &pairs)) return Nothing();
  const std::string_view* before = nullptr;
  for (const auto& [key, value] : pairs) {
    if (!KeptAt(key, span) || !Understands(key, value)) return Nothing();
    if (before != nullptr && !storage::KeyLess()(*before, key)) return Nothing();
    before = &key;
  }
  const PairsReader store(pairs);
  const Table table(store, shard);
  if (table.broken().empty() && Agree(table, pairs, span)) return Status::Ok();
  return InvalidArgument("what the frozen shard keeps contradicts itself");
}

Timestamp NewestNamed(const v1::FrozenShard& frozen) {
  const v1::ShardState& state = frozen.state();
  Timestamp newest(
      std::max({state.horizon(), state.floor(), state.names_horizon(), state.sweep().after()}));
  std::vector<Pair> pairs;
  PairsOf(frozen, &pairs);
  ParticipantRecord participant;
  TransactionRecord transaction;
  NameRecord name;
  for (const auto& [key, value] : pairs) {
    switch (static_cast<Tag>(storage::KeyBody(key).front())) {
      case Tag::kVersions:
        newest = std::max(newest, VersionTimestamp(key));
        break;
      case Tag::kParticipants:
        if (!DecodeRecord(key, value, &participant)) break;
        newest =
            std::max({newest, participant.start_ts, participant.prepare_ts, participant.commit_ts});
        break;
      case Tag::kTransactions:
        if (!DecodeRecord(key, value, &transaction)) break;
        newest = std::max({newest, transaction.start_ts, transaction.commit_ts});
        break;
      case Tag::kNames:
        if (DecodeRecord(key, value, &name)) newest = std::max(newest, name.commit_ts);
        break;
      case Tag::kIntents:  // their records say so
      case Tag::kShardState:
        break;
    }
  }
  return newest;
}

uint64_t HashOf(const v1::FrozenShard& frozen, uint64_t seed) {
  const v1::ShardState& state = frozen.state();
  std::string bytes =
      fmt::format("{} {} {} {} {} {} {} {}", state.shard().shard_id(), state.shard().version(),
                  state.horizon(), state.floor(), state.names_horizon(), state.sweep().after(),
                  state.frozen_into(), state.right_shard_id());
  for (const v1::SettledMerge& merge : state.merges()) {
    bytes += fmt::format(" {} {} {}", merge.shard_id(), merge.version(), merge.absorbed());
  }
  for (const std::string* field :
       {&state.shard().from(), &state.shard().to(), &state.sweep().next(), &frozen.pairs()}) {
    PutLengthPrefixed(&bytes, *field);
  }
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace quorate::shard
