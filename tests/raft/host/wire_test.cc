// Peer messages over the wire: everything survives the way, nothing malformed gets in.
#include "raft/host/wire.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "quorate/v1/raft.pb.h"

namespace quorate::raft {
namespace {

constexpr NodeId kFrom{1};
constexpr NodeId kTo{2};

SnapshotMeta Meta() {
  SnapshotMeta meta{LogIndex(40), Term(6), {}};
  meta.configuration.voters = {NodeId(1), NodeId(2)};
  meta.configuration.voters_outgoing = {NodeId(1), NodeId(3)};
  meta.configuration.learners = {NodeId(4)};
  return meta;
}

std::vector<MessageBody> Bodies() {
  AppendEntries append{LogIndex(9), Term(3), {}, LogIndex(8)};
  append.entries = {{LogIndex(10), Term(3), EntryType::kNormal, std::string("a\0b", 3)},
                    {LogIndex(11), Term(5), EntryType::kEmpty, ""}};
  return {RequestVote{true, true, LogIndex(5), Term(4)},
          RequestVoteResponse{true, true},
          append,
          AppendEntriesResponse{true, LogIndex(7), LogIndex(8), LogIndex(6)},
          Heartbeat{LogIndex(4), 99},
          HeartbeatResponse{98, LogIndex(3)},
          InstallSnapshot{Meta()},
          InstallSnapshotResponse{true, LogIndex(40)},
          TimeoutNow{}};
}

v1::PeerBatch Batch() {
  v1::PeerBatch batch;
  StartBatch("c", kFrom, {7, 99}, kTo, &batch);
  return batch;
}

BatchCheck Check(v1::PeerBatch batch) {
  PeerParts parts;
  const BatchCheck check = TakeParts("c", kTo, &batch, &parts);
  if (check != BatchCheck::kOk) {
    EXPECT_TRUE(parts.messages.empty() && parts.chunks.empty() && parts.acks.empty());
  }
  return check;
}

// Encoded again, fields and all: the structs have no comparison of their own.
std::string Bytes(GroupMessage message) {
  v1::PeerBatch batch;
  AddMessage(std::move(message), &batch);
  return batch.SerializeAsString();
}

TEST(Wire, CarriesEveryMessage) {
  v1::PeerBatch batch = Batch();
  std::vector<GroupMessage> sent;
  for (const MessageBody& body : Bodies()) {
    sent.push_back({GroupId(17), Message{kFrom, kTo, Term(6), body}});
    AddMessage(sent.back(), &batch);
  }
  PeerParts parts;
  ASSERT_EQ(TakeParts("c", kTo, &batch, &parts), BatchCheck::kOk);
  EXPECT_EQ(parts.from, kFrom);
  EXPECT_EQ(parts.incarnation, (storage::Incarnation{7, 99}));
  ASSERT_EQ(parts.messages.size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    EXPECT_EQ(parts.messages[i].message.from, kFrom);
    EXPECT_EQ(parts.messages[i].message.to, kTo);
    EXPECT_EQ(parts.messages[i].message.body.index(), sent[i].message.body.index());
    EXPECT_EQ(Bytes(parts.messages[i]), Bytes(sent[i])) << i;
  }
  const auto& append = std::get<AppendEntries>(parts.messages[2].message.body);
  EXPECT_EQ(append.entries, std::get<AppendEntries>(sent[2].message.body).entries);
  EXPECT_EQ(std::get<InstallSnapshot>(parts.messages[6].message.body).meta, Meta());
  EXPECT_GT(ApproximateBytes(sent[2]), ApproximateBytes(sent[4]));
}

TEST(Wire, CarriesHowTheSenderIs) {
  v1::PeerBatch batch = Batch();
  AddMessage({GroupId(17), Message{kFrom, kTo, Term(6), Heartbeat{}}, true}, &batch);
  AddMessage({GroupId(18), Message{kFrom, kTo, Term(6), Heartbeat{}}, false, true}, &batch);
  AddMessage(
      {.group = GroupId(19), .message = Message{kFrom, kTo, Term(6), Heartbeat{}}, .sated = true},
      &batch);
  AddAlive({.generation = 1, .stops = true}, &batch);
  PeerParts parts;
  ASSERT_EQ(TakeParts("c", kTo, &batch, &parts), BatchCheck::kOk);
  EXPECT_TRUE(parts.messages[0].low_space);
  EXPECT_FALSE(parts.messages[0].stops);
  EXPECT_FALSE(parts.messages[1].low_space);
  EXPECT_TRUE(parts.messages[1].stops);
  EXPECT_FALSE(parts.messages[1].sated);
  EXPECT_TRUE(parts.messages[2].sated);
  ASSERT_TRUE(parts.alive);
  EXPECT_TRUE(parts.alive->stops);
}

TEST(Wire, CarriesChunksAndAcks) {
  v1::PeerBatch batch = Batch();
  const SnapshotChunk chunk{GroupId(17), kFrom, kTo,  Term(6),    Meta(),
                            5,           3,     true, 0xabcdef01, "xyz"};
  AddChunk(chunk, &batch);
  AddAck({GroupId(17), kFrom, kTo, 5, 4, true, false, true}, &batch);
  PeerParts parts;
  ASSERT_EQ(TakeParts("c", kTo, &batch, &parts), BatchCheck::kOk);
  ASSERT_EQ(parts.chunks.size(), 1u);
  const SnapshotChunk& got = parts.chunks[0];
  EXPECT_EQ(got.group, chunk.group);
  EXPECT_EQ(got.from, kFrom);
  EXPECT_EQ(got.to, kTo);
  EXPECT_EQ(got.term, chunk.term);
  EXPECT_EQ(got.meta, chunk.meta);
  EXPECT_EQ(got.stream_id, 5u);
  EXPECT_EQ(got.sequence, 3u);
  EXPECT_TRUE(got.last);
  EXPECT_EQ(got.crc32c, 0xabcdef01u);
  EXPECT_EQ(got.data, "xyz");
  ASSERT_EQ(parts.acks.size(), 1u);
  EXPECT_EQ(parts.acks[0].next_sequence, 4u);
  EXPECT_TRUE(parts.acks[0].installed);
  EXPECT_FALSE(parts.acks[0].refused);
  EXPECT_TRUE(parts.acks[0].wanted);
}

TEST(Wire, RefusesOtherClustersAndOtherReceivers) {
  v1::PeerBatch batch = Batch();
  batch.set_cluster_id("d");
  EXPECT_EQ(Check(batch), BatchCheck::kWrongCluster);
  batch = Batch();
  batch.set_to_node(3);
  EXPECT_EQ(Check(batch), BatchCheck::kWrongNode);
  batch = Batch();
  batch.set_from_node(0);
  EXPECT_EQ(Check(batch), BatchCheck::kMalformed);
  batch.set_from_node(kTo.value());
  EXPECT_EQ(Check(batch), BatchCheck::kMalformed) << "from itself";
}

TEST(Wire, RefusesAWholeBatchForOneMalformedMessage) {
  using Spoil = std::function<void(v1::RaftMessage*)>;
  const std::vector<std::pair<std::string, Spoil>> spoilers = {
      {"no body", [](auto* m) { m->clear_body(); }},
      {"group 0", [](auto* m) { m->set_group(0); }},
      {"term 0", [](auto* m) { m->set_term(0); }},
      {"wild term", [](auto* m) { m->set_term(~uint64_t{0}); }},
      {"wild index", [](auto* m) { m->mutable_append()->set_prev_log_index(~uint64_t{0}); }},
      {"wild commit", [](auto* m) { m->mutable_append()->set_leader_commit(~uint64_t{0} - 5); }},
      {"unknown entry type", [](auto* m) { m->mutable_append()->mutable_entries(0)->set_type(3); }},
      {"terms fall", [](auto* m) { m->mutable_append()->mutable_entries(0)->set_term(2); }},
      {"entry newer than sender",
       [](auto* m) { m->mutable_append()->mutable_entries(1)->set_term(7); }},
      {"wild match", [](auto* m) { m->mutable_append_response()->set_match_index(~uint64_t{0}); }},
      {"wild heartbeat", [](auto* m) { m->mutable_heartbeat()->set_leader_commit(~uint64_t{0}); }},
      {"vote newer than its term", [](auto* m) { m->mutable_vote()->set_last_log_term(7); }},
      {"snapshot at 0", [](auto* m) { m->mutable_install_snapshot()->mutable_meta(); }},
  };
  for (const auto& [name, spoil] : spoilers) {
    v1::PeerBatch batch = Batch();
    for (int i = 0; i < 2; ++i) {
      AddMessage({GroupId(17), Message{kFrom, kTo, Term(6), Bodies()[2]}}, &batch);
    }
    EXPECT_EQ(Check(batch), BatchCheck::kOk);
    spoil(batch.mutable_messages(1));
    EXPECT_EQ(Check(batch), BatchCheck::kMalformed) << name;
  }
}

TEST(Wire, RefusesMalformedConfigurations) {
  const auto check = [](const std::function<void(v1::RaftConfiguration*)>& spoil) {
    v1::PeerBatch batch = Batch();
    AddMessage({GroupId(17), Message{kFrom, kTo, Term(6), InstallSnapshot{Meta()}}}, &batch);
    spoil(batch.mutable_messages(0)
              ->mutable_install_snapshot()
              ->mutable_meta()
              ->mutable_configuration());
    return Check(batch);
  };
  EXPECT_EQ(check([](auto*) {}), BatchCheck::kOk);
  EXPECT_EQ(check([](auto* c) { c->clear_voters(); }), BatchCheck::kMalformed);
  EXPECT_EQ(check([](auto* c) { c->add_voters(1); }), BatchCheck::kMalformed) << "not sorted";
  EXPECT_EQ(check([](auto* c) { c->add_voters(2); }), BatchCheck::kMalformed) << "twice";
  EXPECT_EQ(check([](auto* c) { c->set_voters(0, 0); }), BatchCheck::kMalformed);
  EXPECT_EQ(check([](auto* c) {
              for (uint64_t id = 10; id < 200; ++id) c->add_voters(id);
            }),
            BatchCheck::kMalformed)
      << "more members than any group has";
}

TEST(Wire, RefusesMalformedChunks) {
  const auto check = [](const std::function<void(v1::RaftSnapshotChunk*)>& spoil) {
    v1::PeerBatch batch = Batch();
    AddChunk({GroupId(17), kFrom, kTo, Term(6), Meta(), 5, 3, true, 1, "xyz"}, &batch);
    spoil(batch.mutable_chunks(0));
    return Check(batch);
  };
  EXPECT_EQ(check([](auto*) {}), BatchCheck::kOk);
  EXPECT_EQ(check([](auto* c) { c->set_group(0); }), BatchCheck::kMalformed);
  EXPECT_EQ(check([](auto* c) { c->set_sequence(~uint64_t{0}); }), BatchCheck::kMalformed);
  EXPECT_EQ(check([](auto* c) { c->clear_meta(); }), BatchCheck::kMalformed);
  EXPECT_EQ(check([](auto* c) { c->set_term(5); }), BatchCheck::kMalformed)
      << "the snapshot is newer than its sender's term";
}

// Whatever bytes arrive (behind the cluster id): parsed or refused, never worse.
TEST(Wire, SurvivesFlippedBytes) {
  v1::PeerBatch batch = Batch();
  for (const MessageBody& body : Bodies()) {
    AddMessage({GroupId(17), Message{kFrom, kTo, Term(6), body}}, &batch);
  }
  AddChunk({GroupId(17), kFrom, kTo, Term(6), Meta(), 5, 3, true, 1, "xyz"}, &batch);
  AddAck({GroupId(17), kFrom, kTo, 5, 4}, &batch);
  const std::string bytes = batch.SerializeAsString();
  google::protobuf::LogSilencer silence;
  Random random(5);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string spoiled = bytes;
    for (int flips = 0; flips < 3; ++flips) {
      spoiled[3 + random.Below(spoiled.size() - 3)] ^= static_cast<char>(1 << random.Below(8));
    }
    v1::PeerBatch parsed;
    if (!parsed.ParseFromString(spoiled) || Check(parsed) != BatchCheck::kOk) ++refused;
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace quorate::raft
