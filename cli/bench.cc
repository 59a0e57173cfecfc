#include "cli/bench.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <charconv>
#include <functional>
#include <future>

#include "base/random.h"
#include "base/real_clock.h"
#include "base/status_macros.h"

namespace quorate::cli {
namespace {

constexpr int64_t kInitialBalance = 1000;
constexpr uint64_t kLoadBatch = 200;

// Spread over the first byte, by which `init --shards` divides the keys.
std::string BenchKey(std::string_view table, uint64_t id) {
  const char first = static_cast<char>((id * 0x9e3779b97f4a7c15u) >> 56);
  return fmt::format("{}{}/{:08}", first, table, id);
}
std::string_view TableOf(Workload workload) {
  return workload == Workload::kTransfer ? "bench-account" : "bench";
}

std::optional<int64_t> ParseBalance(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  int64_t balance = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), balance);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return balance;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Shared by the clients; touched on the library's thread only, but for `finished`.
struct Run {
  client::Database& database;
  BenchOptions options;
  BenchResult result;
  std::string value;
  Instant measure_from;
  Instant end;
  int running = 0;
  std::promise<void> finished;
};

Task<Status> TransferBody(client::Transaction* txn, std::string from, std::string to,
                          int64_t amount) {
  std::vector<std::string> keys{from, to};
  auto values = co_await txn->GetMany(std::move(keys));
  if (!values.ok()) co_return values.status();
  const auto a = ParseBalance((*values)[0]);
  const auto b = ParseBalance((*values)[1]);
  if (!a || !b) co_return Status(Code::kFailedPrecondition, "an account is missing");
  CO_RETURN_IF_ERROR(txn->Put(from, std::to_string(*a - amount)));
  co_return txn->Put(to, std::to_string(*b + amount));
}

Task<client::CommitResult> OneOperation(Run* run, Random* random) {
  const auto& options = run->options;
  auto key = [&] { return BenchKey(TableOf(options.workload), random->Below(options.keys)); };
  switch (options.workload) {
    case Workload::kPut:
      co_return co_await run->database.PutAsync(key(), run->value, Duration(0));
    case Workload::kGet: {
      auto value = co_await run->database.GetAsync(key(), Duration(0));
      client::CommitResult result;
      if (!value.ok()) result.status = value.status();
      result.attempts = 1;
      co_return result;
    }
    case Workload::kTransfer:
      break;
  }
  std::string from = key();
  std::string to = key();
  while (to == from) to = key();
  const int64_t amount = random->Between(1, 10);
  client::Database::Closure closure = [from, to, amount](client::Transaction& txn) {
    return TransferBody(&txn, from, to, amount);
  };
  co_return co_await run->database.TransactAsync(std::move(closure), client::TransactOptions{});
}

Task<void> Client(Run* run, uint64_t seed) {
  Random random(seed);
  while (true) {
    const Instant start = RealClock::BootNow();
    if (start >= run->end) break;
    auto done = co_await OneOperation(run, &random);
    const Instant now = RealClock::BootNow();
    if (now < run->measure_from || now > run->end) continue;
    auto& result = run->result;
    if (done.ok()) {
      result.latencies.Add(now - start);
      result.retries += static_cast<uint64_t>(std::max(done.attempts - 1, 0));
      result.cross_shard += done.shards > 1 ? 1 : 0;
    } else if (done.unknown) {
      ++result.unknown;
    } else {
      ++result.failed;
    }
  }
  if (--run->running == 0) run->finished.set_value();
}

}  // namespace

namespace {

// `write` for each key, some in each transaction.
Status ForEachKey(client::Database& database, const BenchOptions& options,
                  const std::function<Status(client::SyncTransaction&, std::string)>& write) {
  const auto table = TableOf(options.workload);
  for (uint64_t next = 0; next < options.keys; next += kLoadBatch) {
    auto result = database.Transact([&](client::SyncTransaction& txn) -> Status {
      for (uint64_t id = next; id < std::min(next + kLoadBatch, options.keys); ++id) {
        RETURN_IF_ERROR(write(txn, BenchKey(table, id)));
      }
      return Status::Ok();
    });
    RETURN_IF_ERROR(result.status);
  }
  return Status::Ok();
}

}  // namespace

Status LoadBench(client::Database& database, const BenchOptions& options) {
  const std::string value = options.workload == Workload::kTransfer
                                ? std::to_string(kInitialBalance)
                                : std::string(options.value_bytes, 'v');
  return ForEachKey(database, options, [&value](client::SyncTransaction& txn, std::string key) {
    return txn.Put(std::move(key), value);
  });
}

Status CleanBench(client::Database& database, const BenchOptions& options) {
  return ForEachKey(database, options, [](client::SyncTransaction& txn, std::string key) {
    return txn.Delete(std::move(key));
  });
}

BenchResult RunBench(client::Database& database, const BenchOptions& options) {
  Run run{.database = database, .options = options, .result = {}, .value = {}, .finished = {}};
  run.value.assign(options.value_bytes, 'v');
  auto seconds = [](double s) { return Duration(static_cast<int64_t>(s * 1e9)); };
  run.measure_from = RealClock::BootNow() + seconds(options.warmup_seconds);
  run.end = run.measure_from + seconds(options.seconds);
  run.running = options.concurrency;
  auto finished = run.finished.get_future();
  const uint64_t seed = EntropySeed();
  for (int i = 0; i < options.concurrency; ++i) {
    database.Spawn([&run, seed, i] { return Client(&run, seed + static_cast<uint64_t>(i)); });
  }
  const auto warmup = std::chrono::duration<double>(options.warmup_seconds);
  const bool ended_early = finished.wait_for(warmup) == std::future_status::ready;
  const double cpu_before = CpuSeconds();
  if (!ended_early) finished.wait();
  run.result.client_cpu_seconds = CpuSeconds() - cpu_before;
  run.result.seconds = options.seconds;
  return std::move(run.result);
}

Status CheckBenchTotal(client::Database& database, const BenchOptions& options) {
  int64_t total = 0;
  auto status = database.Snapshot([&](client::SyncTransaction& txn) -> Status {
    total = 0;
    std::vector<std::string> keys;
    for (uint64_t id = 0; id < options.keys; ++id) {
      keys.push_back(BenchKey(TableOf(options.workload), id));
      if (keys.size() < 1000 && id + 1 < options.keys) continue;
      auto values = txn.GetMany(std::exchange(keys, {}));
      if (!values.ok()) return values.status();
      for (const auto& value : *values) total += ParseBalance(value).value_or(0);
    }
    return Status::Ok();
  });
  RETURN_IF_ERROR(status);
  const int64_t expected = static_cast<int64_t>(options.keys) * kInitialBalance;
  if (total == expected) return Status::Ok();
  return Corruption(fmt::format("the balances sum to {}, not {}", total, expected));
}

}  // namespace quorate::cli
