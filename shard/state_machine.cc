#include "shard/state_machine.h"

#include <xxhash.h>

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/limits.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/command.h"
#include "shard/intents.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

static_assert(static_cast<int>(TxnState::kPrepared) == v1::PREPARED &&
              static_cast<int>(TxnState::kStaged) == v1::STAGED &&
              static_cast<int>(TxnState::kCommitted) == v1::COMMITTED &&
              static_cast<int>(TxnState::kAborted) == v1::ABORTED_STATE);

Applied Dispatch(ApplyContext context, const v1::ShardCommand& command) {
  switch (command.command_case()) {
    case v1::ShardCommand::kLeaderStart:
      return ApplyLeaderStart(context, command.leader_start());
    case v1::ShardCommand::kCommitOnePhase:
      return ApplyCommitOnePhase(context, command.commit_one_phase());
    case v1::ShardCommand::kPrepare:
      return ApplyPrepare(context, command.prepare());
    case v1::ShardCommand::kDecide:
      return ApplyDecide(context, command.decide());
    case v1::ShardCommand::kResolve:
      return ApplyResolve(context, command.resolve());
    case v1::ShardCommand::kRefuse:
      return ApplyRefuse(context, command.refuse());
    case v1::ShardCommand::kAdvanceHorizon:
      return ApplyAdvanceHorizon(context, command.advance_horizon());
    case v1::ShardCommand::kDone:
      return ApplyDone(context, command.done());
    case v1::ShardCommand::kCloseName:
      return ApplyCloseName(context, command.close_name());
    case v1::ShardCommand::kSplit:
      return ApplySplit(context, command.split());
    case v1::ShardCommand::kSweep:
      return ApplySweep(context);
    case v1::ShardCommand::kFreeze:
      return ApplyFreeze(context, command.freeze());
    case v1::ShardCommand::kThaw:
      return ApplyThaw(context);
    case v1::ShardCommand::kAbsorb:
      return ApplyAbsorb(context, command.absorb());
    case v1::ShardCommand::kAbandonMerge:
      return ApplyAbandonMerge(context, command.abandon_merge());
    case v1::ShardCommand::COMMAND_NOT_SET:
      break;
  }
  // Going on without knowing what it does would make this replica another one.
  context.table.Break("the log holds a command that this version does not know");
  return {};
}

// Void on every replica, and for good: the entry stands in all their logs.
Applied Void(const Status& why) { return Refused(why.code(), "void: " + why.message()); }

class Digester {
 public:
  Digester() : state_(XXH3_createState()) { XXH3_64bits_reset(state_); }
  ~Digester() { XXH3_freeState(state_); }
  void Add(std::string_view bytes) {
    PutFixed64(&gathered_, bytes.size());
    gathered_.append(bytes);
    if (gathered_.size() >= kGatherBytes) Flush();
  }
  uint64_t Take() {
    Flush();
    return XXH3_64bits_digest(state_);
  }

 private:
  // Most pairs are a few dozen bytes, for which the hash has little more than overhead.
  static constexpr size_t kGatherBytes = 16 << 10;
  void Flush() {
    XXH3_64bits_update(state_, gathered_.data(), gathered_.size());
    gathered_.clear();
  }

  XXH3_state_t* state_;
  std::string gathered_;
};

}  // namespace

Applied ApplyEntry(ApplyContext context, raft::Term term, const v1::ShardCommand& command) {
  if (command.term() != term.value()) {
    return Refused(Code::kNotLeader, "evaluated in another term");
  }
  if (command.version() != context.table.version()) {
    return Refused(Code::kStaleEpoch, "evaluated under another version of the shard");
  }
  const bool known = command.command_case() != v1::ShardCommand::COMMAND_NOT_SET;
  if (known && !command.has_thaw() && context.table.frozen_into()) {
    return Refused(Code::kStaleEpoch, "the shard is frozen");
  }
  // Resolutions are judged one by one.
  if (known && !command.has_resolve()) {
    if (const Status judged = CheckCommand(command); !judged.ok()) {
      PROBE("shard: an entry was void for what it holds");
      return Void(judged);
    }
  }
  if (known && command.has_absorb()) {
    InTheWay in_the_way = WhatIsInTheWay(context, command.absorb());
    if (in_the_way.for_good) {
      PROBE("shard: an Absorb came after what followed it");
      context.table.Break(std::move(in_the_way.what));
      return {};
    }
    if (!in_the_way.what.empty()) {
      Applied waits;
      waits.waits = std::move(in_the_way.what);
      return waits;
    }
  }
  if (const Timestamp closed(command.closed()); closed > context.table.closed()) {
    // What is no slot no version has closed.
    if (known && closed.is_slot()) context.table.SetClosed(closed, context.batch);
  }
  if (known && !command.has_advance_horizon()) {
    Collect(context, kCollectPerEntry);
    CollectNames(context, kCollectNamesPerEntry);
  }
  return Dispatch(context, command);
}

raft::ApplyResult EncodeApplied(const Applied& applied) {
  v1::ShardApplyResult result;
  result.set_code(static_cast<v1::ErrorCode>(applied.status.code()));
  result.set_state(static_cast<v1::TxnState>(applied.state));
  result.set_prepare_ts(applied.prepare_ts.bits());
  result.set_commit_ts(applied.commit_ts.bits());
  return {applied.status, result.SerializeAsString()};
}

Applied DecodeApplied(const raft::ApplyResult& encoded) {
  v1::ShardApplyResult result;
  CHECK(result.ParseFromString(encoded.payload), "an apply result of our own does not parse");
  Applied applied;
  applied.status = encoded.status;
  applied.state = static_cast<TxnState>(result.state());
  applied.prepare_ts = Timestamp(result.prepare_ts());
  applied.commit_ts = Timestamp(result.commit_ts());
  return applied;
}

bool Understands(std::string_view store_key, std::string_view stored) {
  if (store_key.size() > limits::kLmdbKeyBytesMax) return false;
  const std::string_view body = storage::KeyBody(store_key);
  if (body.empty()) return false;
  // Store keys are made of these.
  const auto fit = [](const std::vector<std::string>& keys) {
    return std::all_of(keys.begin(), keys.end(),
                       [](const std::string& key) { return CheckKey(key).ok(); });
  };
  ParticipantRecord participant;
  TransactionRecord transaction;
  NameRecord name;
  Intent intent;
  v1::ShardState state;
  switch (static_cast<Tag>(body.front())) {
    case Tag::kVersions:
      return IsVersion(store_key, stored);
    case Tag::kIntents:
      return IntentKey(UserKey(store_key)) == store_key && DecodeIntent(stored, &intent);
    case Tag::kNames:
      return DecodeRecord(store_key, stored, &name);
    case Tag::kParticipants:
      return DecodeRecord(store_key, stored, &participant) && participant.digest != Digest() &&
             fit(participant.writes);
    case Tag::kTransactions:
      return DecodeRecord(store_key, stored, &transaction) && fit(transaction.writes);
    case Tag::kShardState:
      return state.ParseFromArray(stored.data(), static_cast<int>(stored.size())) &&
             ShardStateKey(ShardId(state.shard().shard_id())) == store_key;
  }
  return false;  // of a later version
}

std::vector<std::pair<std::string, std::string>> SpansOf(const Table& table) {
  std::vector<std::pair<std::string, std::string>> spans;
  for (Tag tag : kKeyedTags) {
    spans.push_back(StoreSpan(tag, table.span().from, table.span().to));
  }
  const std::string own = ShardStateKey(table.id());
  spans.push_back(StoreSpanOfKey(Tag::kShardState, UserKey(own)));
  return spans;
}

uint64_t DigestOf(const Table& table) {
  Digester digester;
  for (Tag tag : kKeyedTags) {
    const auto [from, to] = StoreSpan(tag, table.span().from, table.span().to);
    // Their encodings are canonical: bytes are fields.
    const Status status = table.store().Scan(from, to, [&](std::string_view k, std::string_view v) {
      digester.Add(k);
      digester.Add(v);
      return true;
    });
    CHECK(status.ok(), "reading the store: {}", status.ToString());
  }
  digester.Add(fmt::format("{} {} {} {} {}", table.id(), table.version(), table.horizon(),
                           table.floor(), table.names_horizon()));
  if (table.sweep()) {
    digester.Add(fmt::format("{} {}", table.sweep()->after, table.sweep()->next));
  }
  digester.Add(fmt::format("{} {}", table.frozen_into(), table.right()));
  for (const auto& [shard, merge] : table.merges()) {
    digester.Add(fmt::format("{} {} {}", shard, merge.version, merge.absorbed));
  }
  return digester.Take();
}

}  // namespace quorate::shard
