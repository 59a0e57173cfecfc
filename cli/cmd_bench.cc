#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "cli/arguments.h"
#include "cli/bench.h"
#include "cli/cluster_view.h"
#include "cli/command.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

constexpr size_t kMetricsBytesMax = 16 << 20;

// The body of http://ADDRESS/metrics; empty if it cannot be had.
std::string FetchMetrics(const std::string& address) {
  auto parsed = ParseHostPort(address);
  if (!parsed.ok()) return {};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(parsed->host.c_str(), std::to_string(parsed->port).c_str(), &hints, &found) !=
      0) {
    return {};
  }
  std::string body;
  const int fd = socket(found->ai_family, SOCK_STREAM, 0);
  const timeval patience{.tv_sec = 2, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      char buffer[16384];
      for (ssize_t n;
           body.size() < kMetricsBytesMax && (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
        body.append(buffer, static_cast<size_t>(n));
      }
    }
  }
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  return body;
}

// CPU seconds of all nodes so far; nullopt unless every node has an HTTP address and answers.
std::optional<double> NodesCpuSeconds(const ClusterView& view) {
  constexpr std::string_view kName = "\nprocess_cpu_seconds_total ";
  double total = 0;
  for (const auto& node : view.map.nodes()) {
    const std::string metrics = FetchMetrics(node.http_address());
    const size_t at = metrics.find(kName);
    if (at == std::string::npos) return std::nullopt;
    total += std::atof(metrics.c_str() + at + kName.size());
  }
  return total;
}

struct BenchFlags {
  BenchOptions options;
  std::string workload = "put";
  bool no_load = false;
  bool clean = false;
};

// `kept`: whether transfers kept the sum of all balances; nothing: no transfers.
void Print(const Context& context, const BenchFlags& flags, BenchResult& result,
           std::optional<double> server_cpu, std::optional<bool> kept) {
  const auto ops = static_cast<double>(result.latencies.count());
  const double per_second = ops / result.seconds;
  auto micros = [&](double seconds) { return ops > 0 ? seconds * 1e6 / ops : 0; };
  const uint32_t p50 = result.latencies.Percentile(0.50);
  const uint32_t p95 = result.latencies.Percentile(0.95);
  const uint32_t p99 = result.latencies.Percentile(0.99);
  const uint32_t p999 = result.latencies.Percentile(0.999);
  if (context.json) {
    nlohmann::ordered_json json = {{"workload", flags.workload},
                                   {"concurrency", flags.options.concurrency},
                                   {"seconds", result.seconds},
                                   {"keys", flags.options.keys},
                                   {"value_bytes", flags.options.value_bytes},
                                   {"ops", result.latencies.count()},
                                   {"ops_per_second", per_second},
                                   {"p50_us", p50},
                                   {"p95_us", p95},
                                   {"p99_us", p99},
                                   {"p999_us", p999},
                                   {"retries", result.retries},
                                   {"cross_shard", result.cross_shard},
                                   {"failed", result.failed},
                                   {"unknown", result.unknown},
                                   {"client_cpu_us_per_op", micros(result.client_cpu_seconds)}};
    if (kept) json["sum_kept"] = *kept;
    if (server_cpu) json["server_cpu_us_per_op"] = micros(*server_cpu);
    PrintJson(json);
    return;
  }
  Say("{} with {} clients for {:g} s\n", flags.workload, flags.options.concurrency, result.seconds);
  Say("  throughput   {:.0f} per second\n", per_second);
  Say("  latency      p50 {} us, p95 {} us, p99 {} us, p99.9 {} us\n", p50, p95, p99, p999);
  Say("  retries      {}\n", result.retries);
  if (flags.options.workload == Workload::kTransfer) {
    Say("  cross-shard  {:.1f} %\n",
        ops > 0 ? 100.0 * static_cast<double>(result.cross_shard) / ops : 0);
  }
  Say("  failed       {}, unknown {}\n", result.failed, result.unknown);
  if (kept) {
    Say("  sum          {}\n", *kept ? "of all balances is what it was" : "is off: see below");
  }
  Say("  CPU per op   client {:.1f} us{}\n", micros(result.client_cpu_seconds),
      server_cpu ? fmt::format(", all nodes {:.1f} us", micros(*server_cpu)) : "");
}

int Bench(Context& context, BenchFlags& flags) {
  flags.options.workload = flags.workload == "get"        ? Workload::kGet
                           : flags.workload == "transfer" ? Workload::kTransfer
                                                          : Workload::kPut;
  auto& database = context.database();
  if (!flags.no_load) {
    if (auto status = LoadBench(database, flags.options); !status.ok()) {
      return Fail(context, status);
    }
  }
  auto view = ViewCluster(context.admin(), context.addresses(), context.timeout());
  if (!view.ok()) return Fail(context, view.status());
  const auto cpu_before = NodesCpuSeconds(*view);
  BenchResult result = RunBench(database, flags.options);
  const auto cpu_after = NodesCpuSeconds(*view);
  std::optional<double> server_cpu;
  if (cpu_before && cpu_after) {
    // The nodes also worked during the warm-up, which is not counted in the operations.
    server_cpu = (*cpu_after - *cpu_before) * flags.options.seconds /
                 (flags.options.seconds + flags.options.warmup_seconds);
  }
  const bool transfers = flags.options.workload == Workload::kTransfer;
  const Status total = transfers ? CheckBenchTotal(database, flags.options) : Status::Ok();
  // Of a sum that could not be read nothing is known.
  const bool judged = transfers && (total.ok() || total.code() == Code::kCorruption);
  Print(context, flags, result, server_cpu, judged ? std::optional(total.ok()) : std::nullopt);
  if (!total.ok()) return Fail(context, total);
  if (flags.clean) {
    if (auto status = CleanBench(database, flags.options); !status.ok()) {
      return Fail(context, status);
    }
  }
  return result.latencies.count() > 0 ? kExitDone : kExitFailed;
}

}  // namespace

void RegisterBench(CLI::App& app, Context& context) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = AddCommand(
      app, context, "bench", "Measure throughput and latency, closed loop.",
      "  quorate bench --workload put -c 64 --seconds 10\n"
      "  quorate bench --workload transfer -c 64 --json\n"
      "put: one key durably on a majority. get: one key, strictly serializable. "
      "transfer: reads and\n"
      "writes two accounts; afterwards the sum of all balances is checked.\n"
      "Its keys (a byte, then bench/ or bench-account/ and a number) are all over the "
      "key space and\n"
      "stay there, for a next run with --no-load; --clean deletes them at the end, but not\n"
      "while the sum is off or could not be read.",
      CommonOptions::kCluster, [&context, flags] { return Bench(context, *flags); });
  auto& options = flags->options;
  command->add_option("--workload", flags->workload, "put, get or transfer")
      ->check(CLI::IsMember({"put", "get", "transfer"}))
      ->capture_default_str();
  AddNumber(command, "-c,--concurrency", &options.concurrency, 1, 10000, "clients");
  AddNumber(command, "--seconds", &options.seconds, 0.1, 3600.0, "measured time");
  AddNumber(command, "--warmup", &options.warmup_seconds, 0.0, 600.0, "seconds before it");
  AddNumber(command, "--keys", &options.keys, 2, 100'000'000, "keys, or accounts");
  AddNumber(command, "--value-size", &options.value_bytes, 0, 1 << 20, "bytes of a value of put");
  command->add_flag("--clean", flags->clean, "afterwards delete the keys, of which --keys tells");
  command->add_flag("--no-load", flags->no_load, "the keys are there from an earlier run");
}

}  // namespace quorate::cli
