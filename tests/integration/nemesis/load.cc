// nemesis_load: the clients of a nemesis run, in one process, over the client library.
//
//   nemesis_load --cluster HOST:PORT,... --shards 8 --directory DIR
//
// Works until SIGTERM (or --seconds), then reads everything once more and ends. Standard output has
// one JSON object a line: {"event": "ready"}, one of counts every second, the violations that it
// saw itself, {"event": "done"}. DIR gets a Jepsen EDN history per workload, the times of
// acknowledged writes (acks) and what the bank's audit needs (ledger, outcomes).
// Exit codes: 0, 1 a violation, 2 usage, 3 set-up or final reads could not be had in time.
#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "base/real_clock.h"
#include "base/status_macros.h"
#include "tests/integration/nemesis/workloads.h"

namespace quorate::nemesis {

std::string ShardKey(int shard, std::string_view rest) {
  return fmt::format("s{:02}/{}", shard, rest);
}

void RecordEnd(const Shared& shared, OpLog* log, Worker* worker, std::string_view f,
               std::string_view invoked, const Ended& ended, std::string_view more) {
  if (ended.status.ok()) {
    log->Write("ok", worker->process, f, ended.value, more);
    if (ended.shards.empty()) {
      shared.acks.Read();
    } else {
      shared.acks.Acknowledged(ended.shards);
    }
    return;
  }
  const bool unknown = ended.status.code() == Code::kUnknownOutcome;
  log->Write(unknown ? "info" : "fail", worker->process, f, invoked,
             fmt::format("{}:error :{}, ", more, CodeName(ended.status.code())));
  if (unknown) {
    shared.acks.Unknown();
    worker->process += shared.workers_total;
  } else {
    shared.acks.Refused();
  }
}

namespace {

struct Flags {
  std::vector<std::string> cluster;
  std::string directory;
  int shards = 8;
  int bank = 3;
  int list_append = 3;
  int rw_register = 3;
  int probes = 1;
  int pause_ms = 10;
  int probe_pause_ms = 5;
  int timeout_ms = 5000;
  int seconds = 0;
  uint64_t seed = 1;
};

// Set-up and final reads come when the cluster may still be finding its feet.
constexpr auto kRetryFor = std::chrono::seconds(60);

void Say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

// `what` until it succeeds.
template <class F>
Status Insist(F what) {
  const int64_t end = MonotonicNanos() + std::chrono::nanoseconds(kRetryFor).count();
  while (true) {
    Status status = what();
    if (status.ok() || MonotonicNanos() > end) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

class Load {
 public:
  Load(const Flags& flags, client::Database& database)
      : flags_(flags),
        database_(database),
        acks_(flags.directory + "/acks", flags.shards),
        random_(flags.seed) {
    const int probes = flags.probes * flags.shards;
    const Shared shared{flags.directory, flags.shards,
                        flags.bank + flags.list_append + flags.rw_register + probes, acks_};
    Add(MakeBank(shared), flags.bank, flags.pause_ms);
    Add(MakeListAppend(shared), flags.list_append, flags.pause_ms);
    Add(MakeRegister(shared), flags.rw_register, flags.pause_ms);
    Add(MakeProbe(shared, probes), probes, flags.probe_pause_ms);
  }

  Status Setup() {
    for (auto& part : parts_) {
      RETURN_IF_ERROR(Insist([&] { return part.workload->Setup(database_); }));
    }
    return Status::Ok();
  }

  void Start() {
    int process = 0;
    for (auto& part : parts_) {
      for (int i = 0; i < part.workers; ++i) {
        threads_.emplace_back([this, &part, worker = MakeWorker(part, i, process)]() mutable {
          Work(part, &worker);
        });
        ++process;
      }
    }
  }

  void Second() {
    Say(acks_.Second());
    for (auto& part : parts_) part.workload->Flush();
  }

  void Stop() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
  }

  // The final reads, as one more worker of each workload that has any.
  Status Finish() {
    for (auto& part : parts_) {
      if (part.workers == 0) continue;
      Worker worker = MakeWorker(part, 0, kFinalProcess);
      RETURN_IF_ERROR(Insist([&] { return part.workload->Finish(&worker); }));
      part.workload->Flush();
    }
    return Status::Ok();
  }

  std::vector<std::string> Violations() const {
    std::vector<std::string> all;
    for (const auto& part : parts_) {
      for (auto& violation : part.workload->Violations()) all.push_back(std::move(violation));
    }
    return all;
  }

 private:
  // Above every process number that a worker can reach.
  static constexpr int kFinalProcess = 1'000'000'000;

  struct Part {
    std::unique_ptr<Workload> workload;
    int workers;
    int pause_ms;
  };

  void Add(std::unique_ptr<Workload> workload, int workers, int pause_ms) {
    parts_.push_back({std::move(workload), workers, pause_ms});
  }

  Worker MakeWorker(const Part& part, int index, int process) const {
    return {database_, index, process,
            random_.Fork(fmt::format("{} {}", part.workload->name(), process))};
  }

  void Work(const Part& part, Worker* worker) {
    while (!stop_) {
      part.workload->Step(worker);
      const auto pause = worker->random.Between(0, 2'000 * part.pause_ms);
      std::this_thread::sleep_for(std::chrono::microseconds(pause));
    }
  }

  const Flags flags_;
  client::Database& database_;
  AckLog acks_;
  const Random random_;
  std::vector<Part> parts_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stop_{false};
};

// Counts every second until SIGTERM, SIGINT or the end of --seconds. The signals are blocked.
void RunUntilTold(Load* load, const Flags& flags, const sigset_t& signals) {
  int64_t next = MonotonicNanos();
  for (int second = 0; flags.seconds == 0 || second < flags.seconds; ++second) {
    next += 1'000'000'000;
    const int64_t left = std::max<int64_t>(next - MonotonicNanos(), 0);
    const timespec timeout{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    if (sigtimedwait(&signals, nullptr, &timeout) > 0) return;
    load->Second();
  }
}

int Run(const Flags& flags) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::filesystem::create_directories(flags.directory);
  auto database = client::Database::Open(
      {.cluster = flags.cluster, .timeout = std::chrono::milliseconds(flags.timeout_ms)});
  if (!database.ok()) {
    std::fprintf(stderr, "nemesis_load: %s\n", database.status().ToString().c_str());
    return 2;
  }
  Load load(flags, **database);
  if (const Status status = load.Setup(); !status.ok()) {
    std::fprintf(stderr, "nemesis_load: set-up: %s\n", status.ToString().c_str());
    return 3;
  }
  Say(R"({"event": "ready"})");
  load.Start();
  RunUntilTold(&load, flags, signals);
  load.Stop();
  load.Second();
  if (const Status status = load.Finish(); !status.ok()) {
    std::fprintf(stderr, "nemesis_load: final reads: %s\n", status.ToString().c_str());
    return 3;
  }
  const auto violations = load.Violations();
  for (const auto& violation : violations) {
    Say(fmt::format(R"({{"event": "violation", "words": "{}"}})", violation));
  }
  Say(R"({"event": "done"})");
  return violations.empty() ? 0 : 1;
}

}  // namespace
}  // namespace quorate::nemesis

int main(int argc, char** argv) {
  quorate::nemesis::Flags flags;
  CLI::App app("Clients for a nemesis run.");
  app.add_option("--cluster", flags.cluster, "addresses of nodes")->delimiter(',')->required();
  app.add_option("--directory", flags.directory, "where histories go")->required();
  app.add_option("--shards", flags.shards, "the cluster's shards, split at s01, s02, ...");
  app.add_option("--bank", flags.bank, "clients of the bank");
  app.add_option("--list-append", flags.list_append, "clients of list-append");
  app.add_option("--rw-register", flags.rw_register, "clients of rw-register");
  app.add_option("--probes", flags.probes, "writers of the steady load, for each shard");
  app.add_option("--pause-ms", flags.pause_ms, "mean pause between a client's operations");
  app.add_option("--probe-pause-ms", flags.probe_pause_ms, "the same, of the steady load");
  app.add_option("--timeout-ms", flags.timeout_ms, "of every operation, all attempts together");
  app.add_option("--seconds", flags.seconds, "end by itself; 0: at SIGTERM");
  app.add_option("--seed", flags.seed, "of what the clients do");
  CLI11_PARSE(app, argc, argv);
  return quorate::nemesis::Run(flags);
}
