#include "placement/state_machine.h"

#include <gtest/gtest.h>

#include "tests/placement/fake_group.h"

namespace quorate::placement {
namespace {

// One replica: machine, store, and what survives.
struct Fixture {
  explicit Fixture(const v1::BootstrapRequest* seed = nullptr) : kv(world.env, disk) {
    Reopen(seed);
  }
  void Reopen(const v1::BootstrapRequest* seed) {
    if (store != nullptr) {
      bool flushed = false;
      store->Flush([&](Status status) { flushed = status.ok(); });
      EXPECT_TRUE(world.executor.RunUntil([&] { return flushed; }));
    }
    machine.reset();
    store =
        std::make_unique<storage::OrderedStore>(world.env, kv, storage::OrderedStore::Options{});
    machine = std::make_unique<StateMachine>(*store, seed);
  }
  raft::ApplyResult Apply(const v1::PlacementCommand& command, uint64_t entry_term = 1) {
    return ApplyBytes(command.SerializeAsString(), entry_term);
  }
  raft::ApplyResult ApplyBytes(const std::string& payload, uint64_t entry_term = 1) {
    storage::WriteBatch batch;
    raft::ApplyResult result =
        machine->Apply(raft::LogIndex(index + 1), raft::Term(entry_term), payload, &batch);
    if (result.stuck.empty()) store->Apply(GroupId(1), ++index, std::move(batch));
    return result;
  }
  // As a snapshot of `other`, with one more pair.
  void Install(Fixture& other, const std::string& key = {}, const std::string& value = {}) {
    storage::WriteBatch image;
    const auto spans = other.machine->Spans();
    const auto copy = [&](std::string_view k, std::string_view v) {
      image.Put(std::string(k), std::string(v));
      return true;
    };
    ASSERT_TRUE(other.store->Scan(spans[0].first, spans[0].second, copy).ok());
    if (!key.empty()) image.Put(key, value);
    index = std::max(index, other.index);
    bool erased = false;
    store->BeginReplace(GroupId(1), spans, [&erased] { erased = true; });
    ASSERT_TRUE(world.executor.RunUntil([&] { return erased; }));
    store->EndReplace(GroupId(1), index, std::move(image));
    machine->OnSnapshotInstalled(raft::LogIndex(index));
  }
  TestEnv world;
  storage::MemoryDisk disk;
  storage::MemoryStore kv;
  std::unique_ptr<storage::OrderedStore> store;
  std::unique_ptr<StateMachine> machine;
  uint64_t index = 0;
};

v1::PlacementCommand Ceiling(uint64_t ms) {
  v1::PlacementCommand command;
  command.set_term(1);
  command.mutable_raise_ceiling()->set_ceiling(Timestamp::FromParts(ms, 0).bits());
  return command;
}

v1::PlacementCommand NewNode(char disk) {
  v1::PlacementCommand command;
  command.set_term(1);
  v1::NodeInfo* node = command.mutable_put_node()->mutable_node();
  node->set_address("new:1");
  node->set_storage_id(std::string(32, disk));
  return command;
}

uint64_t NodeIdIn(const raft::ApplyResult& result) {
  v1::PlacementApplyResult decoded;
  EXPECT_TRUE(decoded.ParseFromString(result.payload));
  return decoded.node_id();
}

v1::PlacementCommand Raise(uint32_t version) {
  v1::PlacementCommand command;
  command.set_term(1);
  command.mutable_raise_cluster_version()->set_version(version);
  return command;
}

v1::PlacementCommand Level(const v1::NodeInfo& node, uint32_t level) {
  v1::PlacementCommand command;
  command.set_term(1);
  *command.mutable_put_node()->mutable_node() = node;
  command.mutable_put_node()->mutable_node()->set_feature_level(level);
  return command;
}

TEST(PlacementStateMachine, TheClusterVersionIsWhatAllMembersUnderstand) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  EXPECT_FALSE(f.machine->Allows(Feature::kIncarnations));
  for (const v1::NodeInfo& node : seed.nodes()) {
    EXPECT_EQ(f.machine->CommonFeatureLevel(), 0u);
    EXPECT_EQ(f.Apply(Raise(1)).status.code(), Code::kFailedPrecondition);
    ASSERT_TRUE(f.Apply(Level(node, kFeatureLevel)).status.ok());
  }
  EXPECT_EQ(f.machine->CommonFeatureLevel(), kFeatureLevel);
  EXPECT_TRUE(f.Apply(Raise(1)).status.ok());
  EXPECT_TRUE(f.machine->Allows(Feature::kIncarnations));
  EXPECT_EQ(f.machine->root().unmarked_shards_below(), 0u);
  EXPECT_TRUE(f.Apply(Raise(static_cast<uint32_t>(Feature::kMerges))).status.ok());
  EXPECT_EQ(f.machine->root().unmarked_shards_below(), f.machine->next_shard_id());
  EXPECT_TRUE(f.Apply(Raise(0)).status.ok()) << "of the past";
  f.Reopen(nullptr);
  EXPECT_TRUE(f.machine->Allows(Feature::kIncarnations)) << "it never falls";
  // Whoever does not understand it is no member any more, and none comes.
  EXPECT_EQ(f.Apply(Level(seed.nodes(0), 0)).status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(f.Apply(NewNode('e')).status.code(), Code::kFailedPrecondition);
}

TEST(PlacementStateMachine, RulesAreJudgedKeptAndTakenAway) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  v1::PlacementCommand put;
  put.set_term(1);
  v1::PlacementRule& rule = *put.mutable_put_rule()->mutable_rule();
  rule.set_from("c");
  rule.set_to("k");
  rule.set_replicas(5);
  rule.add_require()->set_name("zone");
  rule.mutable_require(0)->set_value("a");
  ASSERT_TRUE(f.Apply(put).status.ok());
  const uint64_t digest = f.machine->StateDigest();
  rule.set_from("d");
  EXPECT_EQ(f.Apply(put).status.code(), Code::kInvalidArgument) << "overlaps";
  rule.set_from(std::string(1000, 'd'));
  rule.clear_to();
  EXPECT_EQ(f.Apply(put).status.code(), Code::kInvalidArgument) << "fits no store key";
  EXPECT_EQ(f.machine->StateDigest(), digest);
  f.Reopen(nullptr);
  EXPECT_EQ(f.machine->StateDigest(), digest);
  ASSERT_EQ(f.machine->rules().rules().size(), 1u);
  EXPECT_EQ(f.machine->rules().Find("c")->require, (Labels{{"zone", "a"}}));
  v1::PlacementCommand take;
  take.set_term(1);
  take.mutable_delete_rule()->set_from("d");
  EXPECT_EQ(f.Apply(take).status.code(), Code::kNotFound);
  take.mutable_delete_rule()->set_from("c");
  EXPECT_TRUE(f.Apply(take).status.ok());
  f.Reopen(nullptr);
  EXPECT_TRUE(f.machine->rules().rules().empty());
}

v1::PlacementCommand NewTable(uint64_t catalog_version, uint32_t id, const std::string& name) {
  v1::PlacementCommand command;
  command.set_term(1);
  v1::CatalogChange* change = command.mutable_change_catalog();
  change->set_version(catalog_version);
  v1::TableDescriptor* table = change->add_tables();
  table->set_table_id(id);
  table->set_name(name);
  table->set_version(1);
  return command;
}

TEST(PlacementStateMachine, TablesAreKeptAndOfOneVersion) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  const uint64_t empty = f.machine->StateDigest();
  ASSERT_TRUE(f.Apply(NewTable(0, 1, "accounts")).status.ok());
  EXPECT_EQ(f.Apply(NewTable(0, 2, "late")).status.code(), Code::kFailedPrecondition);
  ASSERT_TRUE(f.Apply(NewTable(1, 2, "orders")).status.ok());
  const uint64_t digest = f.machine->StateDigest();
  EXPECT_NE(digest, empty);
  const auto check = [digest](const StateMachine& machine) {
    EXPECT_EQ(machine.StateDigest(), digest);
    EXPECT_EQ(machine.catalog().version(), 2u);
    EXPECT_EQ(machine.catalog().next_table_id(), 3u);
    ASSERT_NE(machine.catalog().Find("orders"), nullptr);
    EXPECT_EQ(machine.catalog().Find("orders")->table_id(), 2u);
  };
  check(*f.machine);
  f.Reopen(nullptr);
  check(*f.machine);
  Fixture other(&seed);
  other.Install(f);
  check(*other.machine);
  const auto spans = f.machine->Spans();
  ASSERT_TRUE(f.store
                  ->Scan(spans[0].first, spans[0].second,
                         [&](std::string_view key, std::string_view value) {
                           EXPECT_TRUE(f.machine->Understands(key, value));
                           return true;
                         })
                  .ok());
}

TEST(PlacementStateMachine, AClusterVersionThatThisOneDoesNotHaveIsNotGoneOnFrom) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  const std::string stuck = f.Apply(Raise(kFeatureLevel + 1)).stuck;
  EXPECT_NE(stuck.find("start a newer one"), std::string::npos) << stuck;
}

TEST(PlacementStateMachine, BeginsWithTheBootstrapMessage) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  EXPECT_EQ(f.machine->cluster_id(), seed.cluster_id());
  EXPECT_EQ(f.machine->nodes().nodes().size(), 3u);
  EXPECT_EQ(f.machine->map().TilingError(), "");
  EXPECT_EQ(f.disk.size(), 0u) << "nothing is stored before the first entry";
}

TEST(PlacementStateMachine, TheWholeStateEntersTheStoreWithTheFirstEntry) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  f.Apply(Ceiling(1000));
  const uint64_t digest = f.machine->StateDigest();
  f.Reopen(nullptr);
  EXPECT_EQ(f.machine->StateDigest(), digest);
  EXPECT_EQ(f.machine->nodes().nodes().size(), 3u);
  EXPECT_EQ(f.machine->map().TilingError(), "");
}

TEST(PlacementStateMachine, TheStoreWinsOverTheBootstrapMessage) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  EXPECT_EQ(NodeIdIn(f.Apply(NewNode('e'))), 4u);
  f.Reopen(&seed);
  EXPECT_EQ(f.machine->nodes().nodes().size(), 4u);
  EXPECT_EQ(NodeIdIn(f.Apply(NewNode('d'))), 5u) << "an id is never given twice";
}

TEST(PlacementStateMachine, TheCeilingNeverGoesDown) {
  Fixture f;
  f.Apply(Ceiling(1000));
  f.Apply(Ceiling(400));
  EXPECT_EQ(f.machine->ceiling().physical_ms(), 1000u);
}

TEST(PlacementStateMachine, AnEntryOfAnotherTermIsVoid) {
  Fixture f;
  EXPECT_EQ(f.Apply(Ceiling(1000), 2).status.code(), Code::kNotLeader);
  EXPECT_EQ(f.machine->ceiling(), Timestamp());
}

TEST(PlacementStateMachine, ARefusedNodeChangesNothing) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  const uint64_t digest = f.machine->StateDigest();
  v1::PlacementCommand command = NewNode('f');
  command.mutable_put_node()->mutable_node()->set_node_id(2);
  EXPECT_EQ(f.Apply(command).status.code(), Code::kWrongNode);
  EXPECT_EQ(f.machine->StateDigest(), digest);
}

TEST(PlacementStateMachine, PiecesThatVanishFromTheMapVanishFromTheStore) {
  const v1::BootstrapRequest seed = MakeSeed(1);
  Fixture f(&seed);
  v1::PlacementCommand command;
  command.set_term(1);
  v1::ShardDescriptor* merged = command.mutable_put_shards()->add_shards();
  merged->set_shard_id(2);
  merged->set_version(2);
  merged->set_membership_version(1);
  f.Apply(command);
  f.Reopen(nullptr);
  EXPECT_EQ(f.machine->map().pieces().size(), 1u);
  EXPECT_EQ(f.machine->map().TilingError(), "");
}

// Entries before the first normal one are of no concern to the machine; what it began with is in
// the store all the same.
TEST(PlacementStateMachine, ASnapshotBeforeTheFirstCommandHasWhatTheGroupBeganWith) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture leader(&seed);
  storage::WriteBatch first;
  leader.machine->StoreFirstState(&first);
  leader.store->Apply(GroupId(1), 1, std::move(first));
  leader.index = 1;
  Fixture learner;
  learner.Install(leader);
  EXPECT_EQ(learner.machine->StateDigest(), leader.machine->StateDigest());
  EXPECT_EQ(NodeIdIn(learner.Apply(NewNode('e'))), 4u) << "ids go on behind the founding members";
  EXPECT_EQ(NodeIdIn(leader.Apply(NewNode('e'))), 4u);
}

// A member that gets the state as a snapshot reads it from the store.
TEST(PlacementStateMachine, LoadsASnapshotThatReplacedTheStore) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture leader(&seed);
  leader.Apply(Ceiling(5000));
  leader.Apply(NewNode('e'));
  Fixture learner;
  learner.Install(leader);
  EXPECT_EQ(learner.machine->StateDigest(), leader.machine->StateDigest());
}

// A command of a later version, or damage: this replica stands still, and its node does not.
TEST(PlacementStateMachine, WhatItDoesNotKnowItDoesNotPassOver) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  for (const std::string& payload :
       {std::string("\xff\xff\xff"), std::string("\x08\x01\xc2\x3e\x00", 5)}) {
    Fixture f(&seed);
    f.Apply(Ceiling(1000));
    const uint64_t digest = f.machine->StateDigest();
    EXPECT_FALSE(f.ApplyBytes(payload).stuck.empty());
    EXPECT_FALSE(f.Apply(Ceiling(2000)).stuck.empty()) << "nor what comes behind it";
    EXPECT_EQ(f.machine->StateDigest(), digest);
    Fixture leader(&seed);
    leader.Apply(Ceiling(3000));
    leader.index = 5;
    f.Install(leader);
    EXPECT_EQ(f.Apply(Ceiling(4000)).stuck, "") << "a snapshot makes it whole";
    EXPECT_EQ(f.machine->ceiling().physical_ms(), 4000u);
  }
}

TEST(PlacementStateMachine, AStateThatItCannotReadIsNotGoneOnFrom) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture leader(&seed);
  leader.Apply(Ceiling(1000));
  const std::vector<std::pair<std::string, std::string>> bad = {
      {storage::MakeKey("Pr"), "\xff"},          {storage::MakeKey("Pn12345678"), "\xff"},
      {storage::MakeKey("Pskey"), "\xff"},       {storage::MakeKey("P"), "no table"},
      {storage::MakeKey("Px"), "another table"},
  };
  for (const auto& [key, value] : bad) {
    EXPECT_FALSE(leader.machine->Understands(key, value)) << key;
    Fixture f(&seed);
    f.Install(leader, key, value);
    EXPECT_FALSE(f.Apply(Ceiling(2000)).stuck.empty()) << key;
    f.Reopen(&seed);
    EXPECT_FALSE(f.Apply(Ceiling(2000)).stuck.empty()) << "after a start, too: " << key;
  }
  const auto spans = leader.machine->Spans();
  size_t pairs = 0;
  const auto understood = [&](std::string_view key, std::string_view value) {
    EXPECT_TRUE(leader.machine->Understands(key, value)) << key;
    ++pairs;
    return true;
  };
  ASSERT_TRUE(leader.store->Scan(spans[0].first, spans[0].second, understood).ok());
  EXPECT_GE(pairs, 5u);
}

TEST(PlacementStateMachine, BoundsThatNoStoreKeyHoldsAreVoid) {
  const v1::BootstrapRequest seed = MakeSeed(3);
  Fixture f(&seed);
  const uint64_t digest = f.machine->StateDigest();
  for (const bool from : {true, false}) {
    v1::PlacementCommand command;
    command.set_term(1);
    v1::ShardDescriptor* shard = command.mutable_put_shards()->add_shards();
    shard->set_shard_id(2);
    shard->set_version(9);
    (from ? shard->mutable_from() : shard->mutable_to())->assign(600, 'k');
    EXPECT_EQ(f.Apply(command).status.code(), Code::kInvalidArgument);
  }
  EXPECT_EQ(f.machine->StateDigest(), digest);
}

}  // namespace
}  // namespace quorate::placement
