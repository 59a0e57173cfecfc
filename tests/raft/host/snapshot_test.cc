// Chunks of snapshots and streams by themselves; with whole nodes they are in host_crash_test.
#include <gtest/gtest.h>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "raft/host/log_window.h"
#include "raft/host/snapshot_stream.h"
#include "storage/memory_store.h"
#include "storage/ordered_store.h"
#include "tests/raft/host/mini_cluster.h"
#include "tests/support/test_env.h"

namespace quorate::raft {
namespace {

SnapshotMeta Meta() {
  SnapshotMeta meta{LogIndex(40), Term(6), {}};
  meta.configuration.voters = {NodeId(1), NodeId(2)};
  return meta;
}

bool Anything(std::string_view, std::string_view) { return true; }

class SnapshotTest : public testing::Test {
 protected:
  void Fill(int pairs, size_t value_bytes) {
    storage::WriteBatch batch;
    for (int i = 0; i < pairs; ++i) {
      batch.Put(storage::MakeKey(fmt::format("k{:05}", i), "s"), std::string(value_bytes, 'v'));
    }
    batch.Put(storage::MakeKey("a"), "outside");
    batch.Put(storage::MakeKey("z"), "outside");
    store_.Apply(GroupId(1), 1, std::move(batch));
  }
  Spans KeySpans() { return {{storage::MakeKey("k"), storage::MakeKey("l")}}; }
  std::shared_ptr<const SnapshotSource> Pinned(Spans spans) {
    auto source = std::make_shared<SnapshotSource>();
    source->meta = Meta();
    source->spans = std::move(spans);
    store_.Pin([&](Result<std::unique_ptr<storage::KvView>> view) {
      source->view = std::move(view.value());
    });
    EXPECT_TRUE(env_.executor.RunUntil([&] { return source->view != nullptr; }));
    return source;
  }
  std::vector<std::string> Chunks(const std::shared_ptr<const SnapshotSource>& source,
                                  size_t chunk_bytes) {
    std::vector<std::string> chunks;
    ChunkReader reader(source, chunk_bytes);
    for (bool last = false; !last;) {
      std::optional<ChunkReader::Chunk> chunk;
      reader.Next([&](Result<ChunkReader::Chunk> read) { chunk = std::move(read.value()); });
      EXPECT_FALSE(chunk.has_value()) << "never within the call";
      EXPECT_TRUE(env_.executor.RunUntil([&] { return chunk.has_value(); }));
      chunks.push_back(std::move(chunk->data));
      last = chunk->last;
    }
    return chunks;
  }

  TestEnv env_;
  storage::MemoryDisk disk_;
  storage::MemoryStore kv_{env_.env, disk_};
  storage::OrderedStore store_{env_.env, kv_, {}};
};

TEST_F(SnapshotTest, HoldsEveryPairOfItsSpansOnce) {
  Fill(500, 3000);
  const auto source = Pinned(KeySpans());
  const auto chunks = Chunks(source, 100'000);
  EXPECT_GT(chunks.size(), 10u);
  SnapshotLoad load;
  storage::WriteBatch batch;
  for (const std::string& chunk : chunks) {
    EXPECT_LT(chunk.size(), 100'000u + 4000);
    ASSERT_TRUE(load.Add(chunk, Anything));
    for (auto& op : load.TakeBatch().ops) batch.ops.push_back(std::move(op));
  }
  EXPECT_EQ(load.spans(), KeySpans());
  ASSERT_EQ(batch.ops.size(), 500u);
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(batch.ops[i].key, storage::MakeKey(fmt::format("k{:05}", i), "s"));
    EXPECT_EQ(batch.ops[i].value->size(), 3000u);
  }
  EXPECT_EQ(Chunks(source, 100'000), chunks) << "cut again, it is the same";
}

TEST_F(SnapshotTest, IsOfOneMomentWhateverIsWrittenMeanwhile) {
  Fill(50, 100);
  const auto source = Pinned(KeySpans());
  const auto before = Chunks(source, 1000);
  storage::WriteBatch batch;
  batch.Put(storage::MakeKey("k00007", "s"), "later");
  batch.Delete(storage::MakeKey("k00008", "s"));
  store_.Apply(GroupId(1), 2, std::move(batch));
  bool flushed = false;
  store_.Flush([&](const Status&) { flushed = true; });
  ASSERT_TRUE(env_.executor.RunUntil([&] { return flushed; }));
  EXPECT_EQ(Chunks(source, 1000), before);
  EXPECT_NE(Chunks(Pinned(KeySpans()), 1000), before);
}

// A state machine may name its spans in any order; the chunks are in store order all the same.
TEST_F(SnapshotTest, SpansMayComeInAnyOrder) {
  Fill(3, 10);
  for (const size_t chunk_bytes : {size_t{1}, size_t{1000}}) {
    SnapshotLoad load;
    size_t pairs = 0;
    for (const std::string& chunk :
         Chunks(Pinned({{storage::MakeKey("k00001"), storage::MakeKey("l")},
                        {storage::MakeKey("k"), storage::MakeKey("k00001")}}),
                chunk_bytes)) {
      ASSERT_TRUE(load.Add(chunk, Anything));
      pairs += load.TakeBatch().ops.size();
    }
    EXPECT_EQ(pairs, 3u);
  }
}

TEST_F(SnapshotTest, AnEmptyStateIsASnapshotToo) {
  const auto chunks = Chunks(Pinned(KeySpans()), 1000);
  ASSERT_EQ(chunks.size(), 1u);
  SnapshotLoad load;
  EXPECT_TRUE(load.Add(chunks[0], Anything));
  EXPECT_TRUE(load.TakeBatch().ops.empty());
}

std::string Head(std::string_view from, std::string_view to) {
  std::string out;
  PutVarint(&out, 1);
  PutLengthPrefixed(&out, from);
  PutLengthPrefixed(&out, to);
  return out;
}

std::string Pair(std::string_view key) {
  std::string out;
  PutLengthPrefixed(&out, key);
  PutLengthPrefixed(&out, "v");
  return out;
}

TEST_F(SnapshotTest, RefusesKeysThatAreNotItsOwn) {
  const std::string k = storage::MakeKey("k");
  const std::string l = storage::MakeKey("l");
  const auto accepts = [](const std::string& chunk) { return SnapshotLoad().Add(chunk, Anything); };
  EXPECT_TRUE(accepts(Head(k, l) + Pair(storage::MakeKey("k5"))));
  EXPECT_TRUE(accepts(Head(k, l) + Pair(storage::MakeKey("k5")) + Pair(storage::MakeKey("k6"))));
  EXPECT_FALSE(accepts(Head(k, l) + Pair(storage::MakeKey("k5")) + Pair(storage::MakeKey("k5"))));
  EXPECT_FALSE(accepts(Head(k, l) + Pair(storage::MakeKey("k6")) + Pair(storage::MakeKey("k5"))));
  EXPECT_FALSE(accepts(Head(k, l) + Pair(storage::MakeKey("j"))));
  EXPECT_FALSE(accepts(Head(k, l) + Pair(storage::MakeKey("l"))));
  EXPECT_FALSE(accepts(Head(k, l) + Pair("k\x09"))) << "MakeKey never built this";
  EXPECT_FALSE(accepts(Head(k, l) + Pair("")));
  EXPECT_FALSE(accepts(Head(k, l) + Pair("k" + std::string(600, '\0'))));
  EXPECT_FALSE(accepts(Head("", l))) << "the span would hold the node's own keys";
  EXPECT_FALSE(accepts(Head(storage::MakeKey(std::string("\0applied", 8)), l)));
  EXPECT_FALSE(accepts(Head("k\x09", l)));
  EXPECT_FALSE(accepts("")) << "no spans";
  std::string cut = Head(k, l) + Pair(storage::MakeKey("k5"));
  cut.pop_back();
  EXPECT_FALSE(accepts(cut));
  std::string many;
  PutVarint(&many, 1 << 20);
  EXPECT_FALSE(accepts(many));
}

// What a machine of this version could not have stored would meet it in the middle of something.
TEST_F(SnapshotTest, RefusesPairsThatTheMachineDoesNotUnderstand) {
  Fill(10, 10);
  const auto chunks = Chunks(Pinned(KeySpans()), 1000);
  size_t judged = 0;
  const auto all_but_the_last = [&](std::string_view key, std::string_view value) {
    EXPECT_EQ(key, storage::MakeKey(fmt::format("k{:05}", judged), "s"));
    EXPECT_EQ(value, std::string(10, 'v'));
    return ++judged < 10;
  };
  EXPECT_FALSE(SnapshotLoad().Add(chunks[0], all_but_the_last));
  EXPECT_EQ(judged, 10u);
}

TEST_F(SnapshotTest, ARateIsKeptTo) {
  RateLimiter limiter(env_.env, 1000);
  size_t sent = 0;
  std::function<size_t()> turn = [&]() -> size_t {
    sent += 250;
    limiter.Ask(turn);
    return 250;
  };
  limiter.Ask(turn);
  EXPECT_EQ(sent, 0u) << "never inside the call";
  env_.executor.RunFor(9999ms);
  EXPECT_EQ(sent, 10'000u);
}

TEST_F(SnapshotTest, ARateIsSharedInTurns) {
  RateLimiter limiter(env_.env, 1000);
  std::map<int, int> turns;
  std::vector<std::function<size_t()>> turn(3);
  std::vector<uint64_t> tickets(3);
  for (int i = 0; i < 3; ++i) {
    turn[i] = [&, i]() -> size_t {
      ++turns[i];
      tickets[i] = limiter.Ask(turn[i]);
      return 500;
    };
    tickets[i] = limiter.Ask(turn[i]);
  }
  env_.executor.RunFor(5900ms);
  EXPECT_EQ(turns, (std::map<int, int>{{0, 4}, {1, 4}, {2, 4}}));
  limiter.Leave(tickets[1]);
  env_.executor.RunFor(2s);
  EXPECT_EQ(turns, (std::map<int, int>{{0, 6}, {1, 4}, {2, 6}}));
}

// A sender and the messages it made.
class StreamTest : public SnapshotTest, public Transport {
 protected:
  void SetReceiver(TransportReceiver*) override {}
  void SetIdentity(const std::string&, NodeId, const storage::Incarnation&) override {}
  void SetAddress(NodeId, const std::string&) override {}
  void Send(NodeId, GroupMessage) override {}
  void SendAlive(NodeId, Alive) override {}
  void SendChunk(NodeId, SnapshotChunk chunk) override { chunks_.push_back(std::move(chunk)); }
  void SendAck(NodeId, SnapshotAck) override {}

  void StartSender() {
    Fill(1000, 3000);
    StartSenderOf(kStreamWindow + 3);
  }
  void StartSenderOf(size_t chunks_min) {
    source_ = Pinned(KeySpans());
    count_ = Chunks(source_, kChunkBytes).size();
    ASSERT_GE(count_, chunks_min);
    sender_ = std::make_unique<SnapshotSender>(
        env_.env, *this, *limiter_,
        SnapshotSender::Route{GroupId(1), NodeId(1), NodeId(2), Term(6), 77}, source_, kChunkBytes,
        [this](SnapshotSender::Outcome outcome) { outcome_ = outcome; });
    env_.executor.RunFor(1ms);
  }
  SnapshotAck Ack(uint64_t next) { return {GroupId(1), NodeId(2), NodeId(1), 77, next}; }

  std::unique_ptr<RateLimiter> limiter_ =
      std::make_unique<RateLimiter>(env_.env, uint64_t{1} << 40);
  static constexpr size_t kChunkBytes = limits::kSnapshotChunkBytes;
  using Outcome = SnapshotSender::Outcome;

  std::shared_ptr<const SnapshotSource> source_;
  size_t count_ = 0;  // of its chunks
  std::vector<SnapshotChunk> chunks_;
  std::optional<Outcome> outcome_;
  std::unique_ptr<SnapshotSender> sender_;
};

TEST_F(StreamTest, KeepsAWindowAndResumesWhereTheReceiverIs) {
  StartSender();
  ASSERT_EQ(chunks_.size(), kStreamWindow);
  for (size_t i = 0; i < chunks_.size(); ++i) {
    EXPECT_EQ(chunks_[i].sequence, i);
    EXPECT_EQ(chunks_[i].crc32c, Crc32c(chunks_[i].data));
    EXPECT_EQ(chunks_[i].meta, Meta());
  }
  sender_->OnAck(Ack(2));
  env_.executor.RunFor(1ms);
  ASSERT_EQ(chunks_.size(), kStreamWindow + 2);
  EXPECT_EQ(chunks_.back().sequence, kStreamWindow + 1);
  // Silence: everything from the receiver's place again.
  chunks_.clear();
  env_.executor.RunFor(kStreamRetry + 1ms);
  ASSERT_FALSE(chunks_.empty());
  EXPECT_EQ(chunks_.front().sequence, 2u);
  // A receiver that restarted begins anew.
  chunks_.clear();
  sender_->OnAck(Ack(0));
  env_.executor.RunFor(1ms);
  ASSERT_FALSE(chunks_.empty());
  EXPECT_EQ(chunks_.front().sequence, 0u);
}

TEST_F(StreamTest, EndsWithTheReceiversVerdict) {
  StartSender();
  for (uint64_t next = 1; next <= count_; ++next) {
    sender_->OnAck(Ack(next));
    env_.executor.RunFor(1ms);
  }
  EXPECT_TRUE(chunks_.back().last);
  EXPECT_FALSE(outcome_.has_value()) << "arrived is not installed";
  chunks_.clear();
  env_.executor.RunFor(kStreamRetry + 1ms);
  ASSERT_EQ(chunks_.size(), 1u) << "the last chunk asks for the verdict";
  EXPECT_TRUE(chunks_[0].last);
  SnapshotAck ack = Ack(count_);
  ack.installed = true;
  ack.stream_id = 78;
  sender_->OnAck(ack);
  env_.executor.RunFor(1ms);
  EXPECT_FALSE(outcome_.has_value()) << "another stream's";
  ack.stream_id = 77;
  sender_->OnAck(ack);
  EXPECT_FALSE(outcome_.has_value()) << "never inside the call";
  env_.executor.RunFor(1ms);
  EXPECT_EQ(outcome_, Outcome::kInstalled);
}

TEST_F(StreamTest, GivesUpWithoutProgressAndWhenRefused) {
  StartSender();
  env_.executor.RunFor(kStreamTimeout + 1s);
  EXPECT_EQ(outcome_, Outcome::kSilent);
}

// Other streams have the rate for longer than the patience with a silent receiver.
TEST_F(StreamTest, WaitingForTheRateIsNotSilence) {
  limiter_ = std::make_unique<RateLimiter>(env_.env, 1000);
  limiter_->Ask([] { return size_t{30'000}; });  // the rate is taken for 30 s
  StartSender();
  env_.executor.RunFor(29s);
  EXPECT_TRUE(chunks_.empty());
  EXPECT_FALSE(outcome_.has_value());
  env_.executor.RunFor(2s);
  ASSERT_EQ(chunks_.size(), 1u);
  sender_->OnAck(Ack(1));
  env_.executor.RunFor(60s);  // a chunk takes minutes
  EXPECT_FALSE(outcome_.has_value());
}

// Nor does silence hide behind it: each chunk takes longer than the patience.
TEST_F(StreamTest, SilenceIsNoticedHoweverSlowTheRate) {
  limiter_ = std::make_unique<RateLimiter>(env_.env, 10'000);  // a chunk takes half a minute
  StartSender();
  env_.executor.RunFor(50s);
  EXPECT_EQ(chunks_.size(), 2u);
  EXPECT_FALSE(outcome_.has_value()) << "a chunk can be lost";
  env_.executor.RunFor(50s);
  EXPECT_EQ(outcome_, Outcome::kSilent);
  EXPECT_EQ(chunks_.size(), static_cast<size_t>(kStreamTries));
  for (const SnapshotChunk& chunk : chunks_) EXPECT_EQ(chunk.sequence, 0u);
}

TEST_F(StreamTest, GoesOnInALaterTerm) {
  StartSender();
  const KvMachine machine(GroupId(1), store_);
  SnapshotReceiver receiver(chunks_[0], machine);
  EXPECT_TRUE(receiver.Add(chunks_[0]));
  EXPECT_EQ(receiver.term(), Term(6));
  sender_->Continue(Term(9));
  chunks_.clear();
  sender_->OnAck(Ack(1));
  env_.executor.RunFor(kStreamRetry + 1ms);
  ASSERT_FALSE(chunks_.empty());
  const auto next = std::find_if(chunks_.begin(), chunks_.end(),
                                 [](const SnapshotChunk& chunk) { return chunk.sequence == 1; });
  ASSERT_NE(next, chunks_.end());
  EXPECT_EQ(next->term, Term(9));
  EXPECT_TRUE(receiver.Matches(*next));
  EXPECT_TRUE(receiver.Add(*next));
  EXPECT_EQ(receiver.next_sequence(), 2u);
  EXPECT_EQ(receiver.term(), Term(9));
}

TEST_F(StreamTest, IsOverWhenRefused) {
  StartSender();
  SnapshotAck ack = Ack(3);
  ack.refused = true;
  sender_->OnAck(ack);
  env_.executor.RunFor(1ms);
  EXPECT_EQ(outcome_, Outcome::kRefused);
}

TEST_F(StreamTest, AReceiverGivesChunksInOrderAndOnce) {
  StartSender();
  const KvMachine machine(GroupId(1), store_);
  SnapshotReceiver receiver(chunks_[0], machine);
  EXPECT_TRUE(receiver.Add(chunks_[1]));
  EXPECT_EQ(receiver.next_sequence(), 0u) << "kept until the one before it comes";
  EXPECT_FALSE(receiver.HasPart());
  EXPECT_TRUE(receiver.Add(chunks_[0]));
  EXPECT_TRUE(receiver.Add(chunks_[0]));
  EXPECT_EQ(receiver.next_sequence(), 2u);
  EXPECT_EQ(receiver.taken(), 0u);
  EXPECT_EQ(receiver.spans(), KeySpans());
  EXPECT_FALSE(receiver.TakePart().ops.empty());
  EXPECT_FALSE(receiver.TakePart().ops.empty());
  EXPECT_EQ(receiver.taken(), 2u);
  EXPECT_FALSE(receiver.HasPart());
  SnapshotChunk spoiled = chunks_[2];
  spoiled.data[100] ^= 1;
  EXPECT_FALSE(receiver.Add(spoiled));
  SnapshotChunk other = chunks_[1];
  other.meta.index = LogIndex(41);
  EXPECT_FALSE(receiver.Matches(other));
  other = chunks_[1];
  other.stream_id = 78;
  EXPECT_FALSE(receiver.Matches(other));
  EXPECT_TRUE(receiver.Matches(chunks_[1]));
}

TEST_F(StreamTest, AReceiverAsksItsMachine) {
  storage::WriteBatch batch;
  batch.Put(storage::MakeKey("k", "s"), std::string(KvMachine::kForeign));
  store_.Apply(GroupId(1), 1, std::move(batch));
  StartSenderOf(1);
  const KvMachine machine(GroupId(1), store_);
  EXPECT_FALSE(SnapshotReceiver(chunks_[0], machine).Add(chunks_[0]));
}

// Whoever cannot store what comes does not gather it either.
TEST_F(StreamTest, AReceiverHoldsAWindowOnly) {
  StartSender();
  for (size_t next = 1; next < count_; ++next) {
    sender_->OnAck(Ack(next));
    env_.executor.RunFor(1ms);
  }
  ASSERT_EQ(chunks_.size(), count_);
  const KvMachine machine(GroupId(1), store_);
  SnapshotReceiver receiver(chunks_[0], machine);
  for (const SnapshotChunk& chunk : chunks_) EXPECT_TRUE(receiver.Add(chunk));
  EXPECT_EQ(receiver.next_sequence(), kStreamWindow);
  receiver.TakePart();
  for (const SnapshotChunk& chunk : chunks_) EXPECT_TRUE(receiver.Add(chunk));
  EXPECT_EQ(receiver.next_sequence(), kStreamWindow + 1);
  while (receiver.HasPart()) receiver.TakePart();
  EXPECT_FALSE(receiver.complete());
  for (const SnapshotChunk& chunk : chunks_) EXPECT_TRUE(receiver.Add(chunk));
  EXPECT_FALSE(receiver.complete()) << "not taken yet";
  while (receiver.HasPart()) receiver.TakePart();
  EXPECT_TRUE(receiver.complete());
  EXPECT_EQ(receiver.taken(), count_);
}

// It deletes, or its store has no room: it is alive and takes nothing, but not for ever.
TEST_F(StreamTest, WhoAnswersIsNotSilent) {
  StartSender();
  for (Duration passed(0); passed < kStreamStalledMax - 1s; passed += 1s) {
    sender_->OnAck(Ack(0));
    env_.executor.RunFor(1s);
    ASSERT_FALSE(outcome_.has_value());
  }
  // The same chunks are sent all the time, which is no progress.
  sender_->OnAck(Ack(1));
  env_.executor.RunFor(kStreamTimeout + 1s);
  EXPECT_EQ(outcome_, Outcome::kSilent);
}

TEST_F(StreamTest, WhoAnswersAndTakesNothingIsGivenUp) {
  StartSender();
  for (Duration passed(0); passed < kStreamStalledMax + 2s && !outcome_; passed += 1s) {
    sender_->OnAck(Ack(0));
    env_.executor.RunFor(1s);
  }
  EXPECT_EQ(outcome_, Outcome::kSilent);
}

// An ack of the beginning that comes late: the stream goes back, and on from where the receiver is.
TEST_F(StreamTest, GoesBackAndOnFromWhereTheReceiverIs) {
  StartSender();
  for (uint64_t next = 1; next <= 9; ++next) {
    sender_->OnAck(Ack(next));
    env_.executor.RunFor(1ms);
  }
  const std::string tenth = chunks_[9].data;
  sender_->OnAck(Ack(0));
  env_.executor.RunFor(1ms);
  chunks_.clear();
  sender_->OnAck(Ack(9));
  env_.executor.RunFor(kStreamRetry + 1ms);
  ASSERT_FALSE(chunks_.empty());
  for (const SnapshotChunk& chunk : chunks_) EXPECT_GE(chunk.sequence, 8u);
  const auto next = std::find_if(chunks_.begin(), chunks_.end(),
                                 [](const SnapshotChunk& chunk) { return chunk.sequence == 9; });
  ASSERT_NE(next, chunks_.end());
  EXPECT_EQ(next->data, tenth);
}

TEST_F(StreamTest, HurriesAtFourTimesTheRate) {
  limiter_ = std::make_unique<RateLimiter>(env_.env, kChunkBytes);  // a chunk a second
  StartSender();
  sender_->Hurry();
  env_.executor.RunFor(2s);
  EXPECT_GE(chunks_.size(), 4u);
}

TEST(LogWindowTest, KnowsWhatLiesAboveAnIndex) {
  LogWindow window;
  EXPECT_EQ(window.BytesAbove(LogIndex(0)), 0u);
  for (uint64_t i = 1; i <= 1000; ++i) window.Add(LogIndex(i), Term(1), 1000);
  EXPECT_EQ(window.BytesAbove(LogIndex(1000)), 0u);
  EXPECT_NEAR(static_cast<double>(window.BytesAbove(LogIndex(500))), 500e3, 60e3);
  window.Drop(LogIndex(600));
  EXPECT_NEAR(static_cast<double>(window.BytesAbove(LogIndex(900))), 100e3, 40e3);
  EXPECT_NEAR(static_cast<double>(window.BytesAbove(LogIndex(600))), 400e3, 60e3);
  window.Drop(LogIndex(1000));
  EXPECT_EQ(window.BytesAbove(LogIndex(1)), 0u);
  window.Add(LogIndex(1001), Term(1), 1000);
  EXPECT_EQ(window.BytesAbove(LogIndex(1000)), 1064u);
}

}  // namespace
}  // namespace quorate::raft
