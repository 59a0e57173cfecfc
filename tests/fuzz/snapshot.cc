// raft/host/snapshot_chunks: the chunks of a snapshot. What loads is within its own spans, in
// order, and is what a copy of it would be again.
#include "base/check.h"
#include "raft/host/snapshot_chunks.h"
#include "storage/memory_store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test_env.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::raft;

bool Load(const std::vector<std::string>& chunks, Spans* spans, storage::WriteBatch* batch) {
  SnapshotLoad load;
  for (const std::string& chunk : chunks) {
    if (!load.Add(chunk, [](std::string_view, std::string_view) { return true; })) return false;
    for (auto& op : load.TakeBatch().ops) batch->ops.push_back(std::move(op));
  }
  *spans = load.spans();
  return !chunks.empty();
}

std::vector<std::string> Copy(TestEnv& world, storage::WriteBatch batch, const Spans& spans) {
  storage::MemoryDisk disk;
  storage::MemoryStore store(world.env, disk);
  bool committed = false;
  store.Commit(std::move(batch), [&committed](Status status) { committed = status.ok(); });
  world.executor.RunFor(1s);
  CHECK(committed);
  auto source = std::make_shared<SnapshotSource>();
  source->spans = spans;
  source->view = std::move(store.Pin().value());
  ChunkReader reader(source, 64);
  std::vector<std::string> chunks;
  for (bool last = false; !last;) {
    reader.Next([&](Result<ChunkReader::Chunk> chunk) {
      last = chunk->last;
      chunks.push_back(std::move(chunk->data));
    });
    world.executor.RunFor(1ms);
  }
  return chunks;
}

}  // namespace

void Run(std::string_view input) {
  std::vector<std::string> chunks;
  for (int i = 0; i < 8 && !input.empty(); ++i) chunks.emplace_back(TakeFrame(&input));
  Spans spans;
  storage::WriteBatch batch;
  if (!Load(chunks, &spans, &batch)) return;
  for (const auto& op : batch.ops) {
    bool within = false;
    for (const auto& [from, to] : spans) {
      within = within || ((from.empty() || storage::CompareKeys(from, op.key) <= 0) &&
                          (to.empty() || storage::CompareKeys(op.key, to) < 0));
    }
    CHECK(within, "a key outside of the snapshot's spans");
  }
  if (spans.empty()) return;  // no sender's
  // Only if the spans are disjoint and in order, as every sender's are, is the copy the same.
  for (size_t i = 0; i < spans.size(); ++i) {
    const auto& [from, to] = spans[i];
    if (from.empty() || (!to.empty() && storage::CompareKeys(from, to) >= 0)) return;
    if (i > 0 &&
        (spans[i - 1].second.empty() || storage::CompareKeys(spans[i - 1].second, from) > 0)) {
      return;
    }
  }
  std::map<std::string, std::string, storage::KeyLess> pairs;
  for (const auto& op : batch.ops) pairs[op.key] = *op.value;
  TestEnv world;
  Spans same_spans;
  storage::WriteBatch again;
  CHECK(Load(Copy(world, batch, spans), &same_spans, &again));
  CHECK(same_spans == spans);
  std::map<std::string, std::string, storage::KeyLess> same;
  for (const auto& op : again.ops) same[op.key] = *op.value;
  CHECK(same == pairs);
}

std::vector<std::string> Seeds() {
  TestEnv world;
  storage::WriteBatch batch;
  const Spans spans = {{storage::MakeKey("a"), storage::MakeKey("c")},
                       {storage::MakeKey("x"), storage::MakeKey("y")}};
  for (const char* key : {"a", "ab", "b", "x", "xx"}) {
    batch.Put(storage::MakeKey(key, "time"), std::string(40, *key));
  }
  std::string input;
  for (const std::string& chunk : Copy(world, batch, spans)) PutFrame(&input, chunk);
  return {input};
}

}  // namespace quorate::fuzz
