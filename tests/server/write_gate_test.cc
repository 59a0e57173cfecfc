// server/write_gate.h: one write at a time, and no waiting batch is forgotten.
#include "server/write_gate.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/real_executor.h"

namespace quorate::server {
namespace {

TEST(WriteGate, OneWriteAtATime) {
  WriteGate gate;
  EXPECT_TRUE(gate.TryBegin());
  EXPECT_FALSE(gate.TryBegin());
  EXPECT_FALSE(gate.TryBegin());
  EXPECT_TRUE(gate.Done()) << "somebody waits";
  EXPECT_TRUE(gate.TryBegin());
  EXPECT_FALSE(gate.Done()) << "nobody waits";
  EXPECT_TRUE(gate.TryBegin());
}

// One thread begins writes, the other ends them, as executor and gRPC do. Whenever a write may not
// begin, the end of the one under way must say that somebody waits; else this never ends.
TEST(WriteGate, AWaiterIsAlwaysTold) {
  constexpr int kWrites = 20'000;
  WriteGate gate;
  std::atomic<int> begun{0};
  std::atomic<int> told{0};
  RealExecutor writer;
  writer.Start();
  writer.Post([&] {
    for (int ended = 0; ended < kWrites; ++ended) {
      while (begun.load() == ended) std::this_thread::yield();
      if (gate.Done()) ++told;
    }
    writer.Stop();
  });
  int waited = 0;
  for (int i = 0; i < kWrites; ++i) {
    while (!gate.TryBegin()) {
      ++waited;
      while (told.load() < waited) std::this_thread::yield();
    }
    ++begun;
  }
  writer.Join();
  EXPECT_EQ(told.load(), waited);
}

}  // namespace
}  // namespace quorate::server
