// shard: what a shard's log holds, as bytes: each frame a ShardCommand, whoever made it. Every
// command is applied on two replicas, one of which starts again from its store after every other
// entry; then the horizon passes everything and all that can go is collected, for it is there that
// records which contradict each other show.
#include <utility>

#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/mvcc.h"
#include "shard/state_machine.h"
#include "tests/fuzz/fuzz.h"
#include "tests/shard/map_reader.h"

namespace quorate::fuzz {
namespace {

using shard::Table;

v1::ShardDescriptor Descriptor() {
  v1::ShardDescriptor descriptor;
  descriptor.set_shard_id(7);
  descriptor.set_version(1);
  return descriptor;
}

class Replica {
 public:
  // False: it cannot go on, and is as it was before the command.
  bool Apply(const v1::ShardCommand& command) {
    storage::WriteBatch batch;
    shard::ApplyEntry({table_, &batch}, raft::Term(1), command);
    if (!table_.broken().empty()) return false;
    store_.Apply(std::move(batch));
    return true;
  }
  void StartAgain() { table_.Load(); }
  const Table& table() const { return table_; }

 private:
  testing::MapReader store_;
  Table table_{store_, Descriptor()};
};

// What is in memory is what the store says.
void CheckSame(const Table& a, const Table& b) {
  CHECK(shard::DigestOf(a) == shard::DigestOf(b), "replicas differ");
  CHECK(a.collectable() == b.collectable());
  CHECK(a.prepared().size() == b.prepared().size());
  CHECK(a.unfinished().size() == b.unfinished().size());
  for (const auto& [owner, record] : a.prepared()) CHECK(b.FindPrepared(owner) != nullptr);
}

}  // namespace

void Run(std::string_view input) {
  Replica goes_on;
  Replica restarts;
  for (int i = 0; i < 64 && !input.empty(); ++i) {
    const std::string_view frame = TakeFrame(&input);
    v1::ShardCommand command;
    if (!command.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) return;
    command.set_term(1);
    command.set_version(goes_on.table().version());
    const bool applied = goes_on.Apply(command);
    CHECK(restarts.Apply(command) == applied, "quarantined on one replica only");
    if (!applied) {
      CHECK(command.command_case() == v1::ShardCommand::COMMAND_NOT_SET,
            "a known command broke a state that was sound: {}", goes_on.table().broken());
      return;
    }
    if (i % 2 == 1) restarts.StartAgain();
    CheckSame(goes_on.table(), restarts.table());
  }
  v1::ShardCommand thaw;  // of a frozen one nothing is collected
  thaw.set_term(1);
  thaw.set_version(goes_on.table().version());
  thaw.mutable_thaw();
  CHECK(goes_on.Apply(thaw) && restarts.Apply(thaw));
  v1::ShardCommand horizon;
  horizon.set_term(1);
  horizon.set_version(goes_on.table().version());
  horizon.mutable_advance_horizon()->set_horizon(~0ull);
  for (int entries = 0; entries < 1000; ++entries) {
    const auto& collectable = goes_on.table().collectable();
    if (collectable.empty() || collectable.begin()->at >= Timestamp(~0ull)) break;
    CHECK(goes_on.Apply(horizon) && restarts.Apply(horizon));
    CHECK(entries < 999, "collection does not end");
  }
  restarts.StartAgain();
  CheckSame(goes_on.table(), restarts.table());
}

std::vector<std::string> Seeds() {
  const std::string id = "0123456789abcdef";
  std::string whole;
  std::vector<std::string> seeds;
  const auto add = [&](auto fill) {
    v1::ShardCommand command;
    fill(&command);
    std::string one;
    PutFrame(&one, command.SerializeAsString());
    whole += one;
    seeds.push_back(one);
  };
  add([&](auto* c) { c->mutable_leader_start()->set_floor(1 << 22); });
  for (const char* key : {"a", "b"}) {
    add([&](auto* c) {
      auto* commit = c->mutable_commit_one_phase();
      commit->set_txn_id(id);
      commit->set_start_ts(2 << 22);
      commit->set_commit_ts((2 << 22) + 1);
      commit->set_anchor_key(key);
      commit->add_writes()->set_key(key);
    });
    add([&](auto* c) {
      auto* prepare = c->mutable_prepare();
      prepare->set_txn_id(id);
      prepare->set_digest(5);
      prepare->set_marker_key(std::string("m") + key);
      prepare->set_start_ts(2 << 22);
      prepare->set_prepare_ts((2 << 22) + 1);
      prepare->mutable_priority()->set_txn_id(id);
      prepare->set_anchor_key("anchor");
      prepare->add_writes()->set_key(std::string("m") + key);
      prepare->add_guards()->set_to("z");
      prepare->set_stage(*key == 'a');
      prepare->add_participants()->set_digest(5);
    });
    add([&](auto* c) {
      auto* refuse = c->mutable_refuse();
      refuse->set_txn_id(id);
      refuse->set_digest(5);
      refuse->set_marker_key(key);
      refuse->set_start_ts(2 << 22);
    });
  }
  add([&](auto* c) {
    auto* decide = c->mutable_decide();
    decide->set_txn_id(id);
    decide->set_start_ts(2 << 22);
    decide->set_anchor_key("anchor");
    decide->set_outcome(v1::COMMITTED);
    decide->set_commit_ts((2 << 22) + 1);
  });
  add([&](auto* c) {
    for (const auto outcome : {v1::COMMITTED, v1::ABORTED_STATE}) {
      auto* resolution = c->mutable_resolve()->add_resolutions();
      resolution->set_txn_id(id);
      resolution->set_digest(5);
      resolution->set_marker_key(outcome == v1::COMMITTED ? "ma" : "mb");
      resolution->set_start_ts(2 << 22);
      resolution->set_outcome(outcome);
      resolution->set_commit_ts((2 << 22) + 1);
    }
  });
  add([&](auto* c) {
    c->mutable_done()->set_txn_id(id);
    c->mutable_done()->set_anchor_key("anchor");
    c->mutable_done()->add_more_txn_ids(id);
    c->mutable_done()->add_more_anchor_keys("a");
  });
  add([&](auto* c) { c->mutable_advance_horizon()->set_horizon((2 << 22) + 2); });
  add([&](auto* c) { c->mutable_refuse()->set_marker_key(std::string(600, 'm')); });
  add([&](auto* c) {
    c->mutable_abandon_merge()->set_shard_id(9);
    c->mutable_abandon_merge()->set_version(1);
    c->mutable_abandon_merge()->set_from("y");
  });
  add([&](auto* c) {
    auto* frozen = c->mutable_absorb()->mutable_frozen();
    frozen->mutable_state()->set_frozen_into(7);
    frozen->mutable_state()->mutable_shard()->set_shard_id(9);
    frozen->mutable_state()->mutable_shard()->set_version(2);
    frozen->mutable_state()->mutable_shard()->set_from("y");
    storage::WriteBatch batch;
    shard::PutVersion("yk", Timestamp(2 << 22), false, "v", &batch);
    PutLengthPrefixed(frozen->mutable_pairs(), batch.ops[0].key);
    PutLengthPrefixed(frozen->mutable_pairs(), *batch.ops[0].value);
    frozen->set_crc32c(Crc32c(frozen->pairs()));
  });
  add([&](auto* c) { c->mutable_freeze()->set_into_shard_id(5); });
  add([&](auto* c) { c->mutable_thaw(); });
  seeds.push_back(whole);
  return seeds;
}

}  // namespace quorate::fuzz
