#include "shard/table.h"

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/mutant.h"
#include "quorate/v1/shard.pb.h"
#include "shard/intents.h"
#include "shard/records.h"
#include "txn/judge.h"

namespace quorate::shard {

Table::Table(const storage::KvReader& store, const v1::ShardDescriptor& descriptor,
             NameBounds names)
    : store_(store),
      id_(descriptor.shard_id()),
      descriptor_(std::make_unique<v1::ShardDescriptor>(descriptor)),
      names_(std::move(names)) {
  Load();
}
Table::~Table() = default;

void Table::Load() {
  const auto stored = store_.Get(ShardStateKey(id_));
  CHECK(stored.ok(), "reading the store: {}", stored.status().ToString());
  broken_.clear();
  sweep_.reset();
  frozen_into_ = {};
  right_ = {};
  merges_.clear();
  closed_ = {};
  if (stored->has_value()) {
    v1::ShardState state;
    if (state.ParseFromString(**stored) && state.shard().shard_id() == id_.value()) {
      LoadScalars(state);
    } else {
      Break("the shard's scalars in the store are not its own, or do not parse");
    }
  }
  version_ = descriptor_->version();
  span_ = {descriptor_->from(), descriptor_->to()};

  prepared_.clear();
  intents_.clear();
  unfinished_.clear();
  collectable_.clear();
  newest_commit_ = {};
  records_.clear();
  names_.Clear();
  if (version_ == 0) return;  // no state, and so no range: what is there is others'
  auto scan = [&](Tag tag, auto record, auto index) {
    const auto [from, to] = StoreSpan(tag, span_.from, span_.to);
    const Status status =
        store_.Scan(from, to, [&](std::string_view store_key, std::string_view value) {
          decltype(record) decoded;
          if (!DecodeRecord(store_key, value, &decoded)) {
            Break("a record in the store does not decode");
            return false;
          }
          index(decoded);
          return true;
        });
    CHECK(status.ok(), "reading the store: {}", status.ToString());
  };
  const auto index = [this](const auto& record) { Index(record); };
  scan(Tag::kParticipants, ParticipantRecord(), index);
  scan(Tag::kTransactions, TransactionRecord(), index);
  LoadIntents();
  scan(Tag::kNames, NameRecord(), [this](const NameRecord& record) { names_.Load(record); });
}

void Table::LoadScalars(const v1::ShardState& state) {
  *descriptor_ = state.shard();
  horizon_ = Timestamp(state.horizon());
  floor_ = Timestamp(state.floor());
  names_horizon_ = Timestamp(state.names_horizon());
  closed_ = Timestamp(state.closed());
  if (state.has_sweep()) {
    sweep_ = SweepAt{Timestamp(state.sweep().after()), state.sweep().next()};
  }
  frozen_into_ = ShardId(state.frozen_into());
  right_ = ShardId(state.right_shard_id());
  for (const v1::SettledMerge& merge : state.merges()) {
    merges_[ShardId(merge.shard_id())] = {merge.version(), merge.absorbed()};
  }
}

// A part that is prepared has its intents: reading at a committed one and resolving it rest on
// that.
void Table::LoadIntents() {
  size_t found = 0;
  const auto [from, to] = StoreSpan(Tag::kIntents, span_.from, span_.to);
  const Status status =
      store_.Scan(from, to, [&](std::string_view store_key, std::string_view stored) {
        Intent intent;
        if (!DecodeIntent(stored, &intent)) {
          Break("an intent in the store does not decode");
          return false;
        }
        const Owner* owner = IntentOn(UserKey(store_key));
        if (owner != nullptr && intent.Of(*owner)) ++found;
        return true;
      });
  CHECK(status.ok(), "reading the store: {}", status.ToString());
  if (found != intents_.size()) Break("a prepared write in the store is without its intent");
}

void Table::Break(std::string why) {
  if (broken_.empty()) broken_ = std::move(why);
}

v1::ShardState Table::Scalars() const {
  v1::ShardState state;
  *state.mutable_shard() = *descriptor_;
  state.set_horizon(horizon_.bits());
  state.set_floor(floor_.bits());
  state.set_names_horizon(names_horizon_.bits());
  state.set_closed(closed_.bits());
  if (sweep_) {
    state.mutable_sweep()->set_after(sweep_->after.bits());
    state.mutable_sweep()->set_next(sweep_->next);
  }
  state.set_frozen_into(frozen_into_.value());
  state.set_right_shard_id(right_.value());
  for (const auto& [shard, merge] : merges_) {
    v1::SettledMerge* settled = state.add_merges();
    settled->set_shard_id(shard.value());
    settled->set_version(merge.version);
    settled->set_absorbed(merge.absorbed);
  }
  return state;
}

void Table::StoreScalars(storage::WriteBatch* batch) const {
  batch->Put(ShardStateKey(id_), Scalars().SerializeAsString());
}

void Table::SetMembers(raft::LogIndex index, const raft::Configuration& members,
                       storage::WriteBatch* batch) {
  if (version_ == 0) return;  // it has no state that could tell
  std::map<uint64_t, v1::Replica> replicas;
  const auto add = [&](const std::vector<raft::ReplicaId>& ids, v1::ReplicaRole role) {
    for (const raft::ReplicaId id : ids) {
      v1::Replica& replica = replicas.try_emplace(id.value()).first->second;
      if (replica.node_id() != 0) continue;
      replica.set_node_id(id.value());
      replica.set_role(role);
    }
  };
  add(members.voters, v1::VOTER);
  add(members.voters_outgoing, v1::OUTGOING);
  add(members.learners, v1::LEARNER);
  bool same = static_cast<size_t>(descriptor_->replicas_size()) == replicas.size();
  for (const v1::Replica& old : descriptor_->replicas()) {
    const auto it = replicas.find(old.node_id());
    same = same && it != replicas.end() && it->second.role() == old.role();
    if (it != replicas.end()) it->second.set_address(old.address());
  }
  if (same) return;  // as the shard began, in its log's first entry
  descriptor_->clear_replicas();
  for (auto& [id, replica] : replicas) *descriptor_->add_replicas() = std::move(replica);
  descriptor_->set_membership_version(index.value());
  StoreScalars(batch);
}

void Table::SetHorizon(Timestamp horizon, storage::WriteBatch* batch) {
  CHECK(horizon >= horizon_, "the horizon never goes down");
  horizon_ = horizon;
  StoreScalars(batch);
}

void Table::SetNamesHorizon(Timestamp horizon, storage::WriteBatch* batch) {
  CHECK(horizon >= names_horizon_, "the names horizon never goes down");
  names_horizon_ = horizon;
  StoreScalars(batch);
}

void Table::SetFloor(Timestamp floor, storage::WriteBatch* batch) {
  floor_ = floor;
  StoreScalars(batch);
}

void Table::SetClosed(Timestamp closed, storage::WriteBatch* batch) {
  CHECK(closed >= closed_, "what was closed stays closed");
  closed_ = closed;
  StoreScalars(batch);
}

void Table::SetSweep(std::optional<SweepAt> sweep, storage::WriteBatch* batch) {
  sweep_ = std::move(sweep);
  StoreScalars(batch);
}

void Table::Freeze(ShardId into, Timestamp read_high, storage::WriteBatch* batch) {
  frozen_into_ = into;
  SetFloor(std::max(floor_, read_high), batch);
}

void Table::Thaw(storage::WriteBatch* batch) {
  frozen_into_ = {};
  descriptor_->set_version(++version_);
  StoreScalars(batch);
}

void Table::Settle(ShardId neighbour, SettledMerge merge, storage::WriteBatch* batch) {
  right_ = neighbour;
  ForgetSettled(kSettledMergesMax - 1);
  merges_[neighbour] = merge;
  StoreScalars(batch);
}

// An Absorb or AbandonMerge of whoever is not the right neighbour has no effect, whatever is known
// of it. Shards that were made first are the least likely to ask.
void Table::ForgetSettled(size_t keep) {
  for (auto it = merges_.begin(); merges_.size() > keep && it != merges_.end();) {
    it = it->first == right_ ? std::next(it) : merges_.erase(it);
  }
}

bool Table::AbsorbPair(std::string_view store_key, std::string_view value,
                       storage::WriteBatch* batch) {
  const auto load = [&](auto record, auto index) {
    const bool decodes = DecodeRecord(store_key, value, &record);
    if (decodes) index(std::move(record));
    return decodes;
  };
  switch (static_cast<Tag>(storage::KeyBody(store_key).front())) {
    case Tag::kParticipants:
      return load(ParticipantRecord(), [this](const ParticipantRecord& r) { Index(r); });
    case Tag::kTransactions:
      return load(TransactionRecord(), [this](const TransactionRecord& r) { Index(r); });
    case Tag::kNames:
      return load(NameRecord(), [&](NameRecord r) { names_.Absorb(std::move(r), batch); });
    case Tag::kVersions:
    case Tag::kIntents:
    case Tag::kShardState:
      break;
  }
  return true;
}

void Table::AbsorbPairs(std::string_view pairs, storage::WriteBatch* batch) {
  std::string_view key, value;
  while (GetLengthPrefixed(&pairs, &key) && GetLengthPrefixed(&pairs, &value)) {
    ParticipantRecord refusal;
    const bool forgotten = MUTANT("merge-forgets-refusals") &&
                           static_cast<Tag>(storage::KeyBody(key).front()) == Tag::kParticipants &&
                           DecodeRecord(key, value, &refusal) &&
                           refusal.state == TxnState::kAborted;
    if (forgotten) continue;
    batch->Put(std::string(key), std::string(value));
    if (!AbsorbPair(key, value, batch)) Break("a record of an absorbed shard does not decode");
  }
}

void Table::Absorb(const v1::FrozenShard& frozen, storage::WriteBatch* batch) {
  const v1::ShardState& other = frozen.state();
  const v1::ShardDescriptor& was = other.shard();
  // A replica of it that was here may be behind what was frozen.
  for (const Tag tag : kKeyedTags) {
    const auto [from, to] = StoreSpan(tag, was.from(), was.to());
    const Status status = store_.Scan(from, to, [batch](std::string_view key, std::string_view) {
      batch->Delete(std::string(key));
      return true;
    });
    CHECK(status.ok(), "reading the store: {}", status.ToString());
  }
  batch->Delete(ShardStateKey(ShardId(was.shard_id())));
  AbsorbPairs(frozen.pairs(), batch);
  // The range grows with the last of it: a replica that broke half-way has no right to delete what
  // lies there.
  if (!broken_.empty()) return;
  span_.to = was.to();
  horizon_ = std::max(horizon_, Timestamp(other.horizon()));
  names_horizon_ = std::max(names_horizon_, Timestamp(other.names_horizon()));
  if (!MUTANT("merge-read-floor-kept")) floor_ = std::max(floor_, Timestamp(other.floor()));
  if (sweep_ || other.has_sweep()) {
    const Timestamp after(other.sweep().after());
    sweep_ = SweepAt{sweep_ ? std::max(sweep_->after, after) : after, span_.from};
  }
  for (const v1::SettledMerge& merge : other.merges()) {
    SettledMerge& known = merges_[ShardId(merge.shard_id())];
    if (merge.version() >= known.version) known = {merge.version(), merge.absorbed()};
  }
  right_ = ShardId(other.right_shard_id());
  ForgetSettled(kSettledMergesMax - 1);
  merges_[ShardId(was.shard_id())] = {was.version(), true};
  version_ = std::max(version_, was.version()) + 1;
  descriptor_->set_to(was.to());
  descriptor_->set_version(version_);
  StoreScalars(batch);
}

bool LiesAcross(std::string_view first, std::string_view last, const std::vector<Span>& spans,
                std::string_view at) {
  bool below = first < at;
  bool above = last >= at;
  for (const Span& span : spans) {
    below |= std::string_view(span.from) < at;
    above |= span.to.empty() || std::string_view(span.to) > at;
  }
  return below && above;
}

bool Table::PreparedAcross(std::string_view at) const {
  return std::any_of(prepared_.begin(), prepared_.end(), [at](const auto& entry) {
    const ParticipantRecord& record = entry.second;
    const std::string& last = record.writes.empty() ? record.marker_key : record.writes.back();
    return LiesAcross(record.marker_key, last, record.guards, at);
  });
}

void Table::Split(std::string_view at, const Child& child, Timestamp read_high,
                  storage::WriteBatch* batch) {
  CHECK(at > span_.from && span_.Contains(at) && !PreparedAcross(at));
  // Whatever the records name was committed below.
  sweep_ = SweepAt{std::max(read_high, floor_), span_.from};
  v1::ShardState state = Scalars();
  v1::ShardDescriptor* descriptor = state.mutable_shard();
  descriptor->set_shard_id(child.id.value());
  descriptor->set_by_hand(child.by_hand);
  descriptor->set_from(std::string(at));
  descriptor->set_version(version_ + 1);
  descriptor->set_membership_version(1);  // of its own log
  state.set_floor(std::max(floor_, read_high).bits());
  state.mutable_sweep()->set_next(std::string(at));
  const std::string key = ShardStateKey(child.id);
  const auto there = store_.Get(key);
  CHECK(there.ok(), "reading the store: {}", there.status().ToString());
  const bool made = child.begins && !there->has_value();
  if (made) batch->Put(key, state.SerializeAsString());
  child_ = std::make_unique<v1::ShardDescriptor>(*descriptor);

  // Alike on replicas of every version: merges are known only where all nodes understand them.
  right_ = merges_.empty() ? ShardId() : child.id;
  descriptor_->set_to(std::string(at));
  descriptor_->set_version(++version_);
  span_.to = at;
  StoreScalars(batch);
  names_.Split(at, made ? batch : nullptr);
  if (MUTANT("split-records-kept")) return;
  const auto leaves = [this](const Owner& owner) {
    if (span_.Contains(owner.key)) return false;
    Uncount(owner);
    return true;
  };
  std::erase_if(prepared_, [&](const auto& entry) {
    const auto& [owner, record] = entry;
    if (!leaves(owner)) return false;
    for (const std::string& write : record.writes) intents_.erase(write);
    if (record.name.given()) names_.RemovePrepared(record.name, owner);
    return true;
  });
  std::erase_if(unfinished_, [&](const auto& entry) { return leaves(entry.first); });
  absl::erase_if(collectable_, [&](const Collectable& each) { return leaves(each.owner); });
}

void Table::Store(ParticipantRecord record, storage::WriteBatch* batch) {
  PutRecord(record, batch);
  Index(record);
}

void Table::Index(const ParticipantRecord& record) {
  Owner owner = OwnerOf(record);
  // Only a PREPARED record is ever stored again.
  const auto before = prepared_.find(owner);
  if (before == prepared_.end()) {
    ++records_[{owner.txn_id, owner.digest}];
  } else if (record.state != TxnState::kPrepared) {
    for (const std::string& key : before->second.writes) intents_.erase(key);
    if (before->second.name.given()) names_.RemovePrepared(before->second.name, before->first);
    prepared_.erase(before);
  }
  switch (record.state) {
    case TxnState::kPrepared: {
      const auto prepared = prepared_.insert_or_assign(std::move(owner), record).first;
      for (const std::string& key : record.writes) {
        const auto [it, inserted] = intents_.emplace(key, &prepared->first);
        if (!inserted && *it->second != prepared->first) Break("two intents on one key");
      }
      if (record.name.given()) names_.AddPrepared(record.name, prepared->first);
      return;
    }
    case TxnState::kCommitted:
      newest_commit_ = std::max(newest_commit_, record.commit_ts);
      collectable_.insert({record.commit_ts, true, std::move(owner)});
      return;
    case TxnState::kAborted:
      collectable_.insert({record.start_ts, true, std::move(owner)});
      return;
    case TxnState::kNone:
    case TxnState::kStaged:
      break;
  }
  Break(fmt::format("a participant record that is {}", TxnStateName(record.state)));
}

void Table::Store(TransactionRecord record, storage::WriteBatch* batch) {
  PutRecord(record, batch);
  Index(record);
}

void Table::Index(const TransactionRecord& record) {
  Owner owner = OwnerOf(record);
  // Only an unfinished record is ever stored again.
  if (unfinished_.erase(owner) == 0) ++records_[{owner.txn_id, owner.digest}];
  switch (record.state) {
    case TxnState::kStaged:
      if (record.participants.empty()) Break("a STAGED record without participants");
      unfinished_.emplace(std::move(owner), record);
      return;
    case TxnState::kCommitted:
      newest_commit_ = std::max(newest_commit_, record.commit_ts);
      if (!record.done && !MUTANT("gc-unresolved-record-dropped")) {
        unfinished_.emplace(std::move(owner), record);
        return;
      }
      collectable_.insert({record.commit_ts, false, std::move(owner)});
      return;
    case TxnState::kAborted:
      collectable_.insert({record.start_ts, false, std::move(owner)});
      return;
    case TxnState::kNone:
    case TxnState::kPrepared:
      break;
  }
  Break(fmt::format("a transaction record that is {}", TxnStateName(record.state)));
}

void Table::ForgetCollected(const Collectable& collected, storage::WriteBatch* batch) {
  CHECK(collected.at < horizon_, "nothing at or above the horizon is collected");
  const Owner& owner = collected.owner;
  batch->Delete(collected.participant ? ParticipantKey(owner)
                                      : TransactionKey(owner.key, owner.txn_id));
  Uncount(owner);
  collectable_.erase(Collectable(collected));
}

void Table::Uncount(const Owner& owner) {
  const auto count = records_.find({owner.txn_id, owner.digest});
  CHECK(count != records_.end(), "a record is counted while it is there");
  if (--count->second == 0 || MUTANT("gc-record-found-by-id-alone")) records_.erase(count);
}

std::optional<ParticipantRecord> Table::Participant(const Owner& owner) const {
  if (!records_.contains({owner.txn_id, owner.digest})) return std::nullopt;
  return GetParticipantRecord(store_, owner);
}

std::optional<TransactionRecord> Table::Transaction(std::string_view anchor_key,
                                                    const TxnId& txn_id) const {
  if (!records_.contains({txn_id, Digest()})) return std::nullopt;
  return GetTransactionRecord(store_, anchor_key, txn_id);
}

const ParticipantRecord* Table::FindPrepared(const Owner& owner) const {
  const auto it = prepared_.find(owner);
  return it == prepared_.end() ? nullptr : &it->second;
}

const Owner* Table::IntentOn(std::string_view key) const {
  const auto it = intents_.find(key);
  return it == intents_.end() ? nullptr : it->second;
}

}  // namespace quorate::shard
