// Closed-loop load on a cluster: each client has one operation outstanding, all run as coroutines
// on the client library's thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "cli/latencies.h"
#include "client/database.h"

namespace quorate::cli {

enum class Workload : uint8_t { kPut, kGet, kTransfer };

struct BenchOptions {
  Workload workload = Workload::kPut;
  int concurrency = 16;
  double seconds = 10;
  double warmup_seconds = 1;
  uint64_t keys = 10'000;
  size_t value_bytes = 128;
};

struct BenchResult {
  double seconds = 0;
  Latencies latencies;   // of operations that were acknowledged within the window
  uint64_t retries = 0;  // attempts beyond the first, of those
  uint64_t cross_shard = 0;
  uint64_t failed = 0;  // nothing happened
  uint64_t unknown = 0;
  double client_cpu_seconds = 0;
};

// Writes all keys that the workload uses.
Status LoadBench(client::Database& database, const BenchOptions& options);
BenchResult RunBench(client::Database& database, const BenchOptions& options);
// Deletes them: those of `options.keys` ids.
Status CleanBench(client::Database& database, const BenchOptions& options);
// Whether transfers kept the sum of all balances: OK, or what is wrong.
Status CheckBenchTotal(client::Database& database, const BenchOptions& options);

}  // namespace quorate::cli
