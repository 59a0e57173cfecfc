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
  raft::ApplyResult Apply(v1::PlacementCommand command, uint64_t entry_term = 1) {
    storage::WriteBatch batch;
    ++index;
    raft::ApplyResult result = machine->Apply(raft::LogIndex(index), raft::Term(entry_term),
                                              command.SerializeAsString(), &batch);
    store->Apply(GroupId(1), index, std::move(batch));
    return result;
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
  storage::WriteBatch image;
  const auto spans = leader.machine->Spans();
  ASSERT_TRUE(leader.store
                  ->Scan(spans[0].first, spans[0].second,
                         [&](std::string_view key, std::string_view value) {
                           image.Put(std::string(key), std::string(value));
                           return true;
                         })
                  .ok());
  learner.store->Replace(GroupId(1), 1, spans, std::move(image));
  learner.machine->OnSnapshotInstalled(raft::LogIndex(1));
  learner.index = 1;
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
  storage::WriteBatch image;
  const auto spans = leader.machine->Spans();
  ASSERT_TRUE(leader.store
                  ->Scan(spans[0].first, spans[0].second,
                         [&](std::string_view key, std::string_view value) {
                           image.Put(std::string(key), std::string(value));
                           return true;
                         })
                  .ok());
  learner.store->Replace(GroupId(1), 2, spans, std::move(image));
  learner.machine->OnSnapshotInstalled(raft::LogIndex(2));
  EXPECT_EQ(learner.machine->StateDigest(), leader.machine->StateDigest());
}

}  // namespace
}  // namespace quorate::placement
