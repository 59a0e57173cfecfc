#include "server/program/run.h"

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <utility>

#include "base/bytes.h"
#include "base/last_words.h"
#include "base/limits.h"
#include "base/real_descriptors.h"
#include "base/version.h"
#include "client/route/grpc_channel.h"
#include "quorate/v1/admin.pb.h"
#include "server/node/node.h"
#include "server/node/public_api.h"
#include "server/program/config.h"
#include "server/program/http_server.h"
#include "server/program/real_env.h"
#include "server/program/signals.h"
#include "server/wire/grpc_hub.h"
#include "server/wire/grpc_services.h"
#include "server/wire/grpc_transport.h"
#include "storage/lmdb_store.h"
#include "storage/low_space.h"
#include "storage/posix_file.h"

namespace quorate::server {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr Duration kStopTimeout = 10s;
constexpr Duration kHandOverBeforeRepair = 2s;
constexpr Duration kServingInterval = 200ms;
// A node that could take no connection for this long gives its leaderships to others.
constexpr Duration kDeafPatience = 2s;
constexpr Duration kHandOverTimeout = 5s;
constexpr Duration kLogPatience = 1s;
// A wall clock that moves by so much more or less than time went on was set by somebody.
constexpr int64_t kClockStepMs = 500;

int Refuse(const Status& status) {
  // It may quote what was typed or stands in a file, and goes to a terminal.
  const std::string& message = status.message();
  const bool plain = std::none_of(message.begin(), message.end(), [](unsigned char c) {
    return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || c == 0xc2;
  });
  WriteLastWords(
      fmt::format("quorate node: {}\n", plain ? message : Printable(message, message.size())));
  return kExitUsage;
}

// The directory must be there and writable before anything else is tried, so that the message can
// say so.
Status CheckWritable(const std::string& directory) {
  const Status made = storage::CreateDirectories(directory);
  if (!made.ok() || access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    return InvalidArgument(
        fmt::format("data: '{}' cannot be created or written ({}); give a directory that this user "
                    "can write",
                    directory, made.ok() ? std::string(std::strerror(errno)) : made.message()));
  }
  return Status::Ok();
}

// The same program with the same arguments in this process: for what has to be opened anew.
// Nothing that was not acknowledged yet will be.
[[noreturn]] void StartAnew(StderrLogger& log) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string word;
  std::vector<std::string> words;
  while (std::getline(file, word, '\0')) words.push_back(word);
  std::vector<char*> arguments;
  for (std::string& each : words) arguments.push_back(each.data());
  arguments.push_back(nullptr);
  log.Warn("node: starts anew");
  log.Flush(kLogPatience);
  // No lock and no port may outlive this.
  syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  if (!words.empty()) ::execv("/proc/self/exe", arguments.data());
  log.Error("node: cannot start anew: {}", std::strerror(errno));
  log.Flush(kLogPatience);
  std::_Exit(kExitFailed);
}

// Everything of one running node, built and destroyed in this order.
struct Process {
  explicit Process(const NodeConfig& config)
      : data_directory(config.node.data_dir),
        real(config.log_level, hub.loop),
        files(real.executor),
        transport(real.env, hub.loop),
        channel(real.env, hub.loop),
        world{real.env, files,
              [this](const std::string& directory) -> Result<std::unique_ptr<storage::KvStore>> {
                storage::LmdbStore::Options options;
                options.directory = directory;
                options.on_damage = [this](auto by, const Status&) { OnDamage(by); };
                options.make_room = [this] {
                  return storage::RemoveReserve(files, data_directory);
                };
                auto opened = storage::LmdbStore::Open(real.env, std::move(options));
                if (!opened.ok()) return opened.status();
                return std::unique_ptr<storage::KvStore>(std::move(*opened));
              },
              transport, channel} {}

  // Whoever met the damaged page cannot go on; what the scrubber found can wait for a good moment.
  void OnDamage(storage::LmdbStore::Options::FoundBy by) {
    if (by == storage::LmdbStore::Options::FoundBy::kUser) StartAnew(real.log);
    real.executor.Post([this] { scope->Spawn(LeaveAndStartAnew()); });
  }
  Task<void> LeaveAndStartAnew() {
    if (node != nullptr) co_await node->HandOver(kHandOverBeforeRepair);
    StartAnew(real.log);
  }

  const std::string data_directory;
  GrpcHub hub;
  RealEnv real;
  storage::PosixFileSystem files;
  GrpcTransport transport;
  client::GrpcChannel channel;
  World world;
  std::unique_ptr<Node> node;
  std::unique_ptr<PublicApi> api;
  std::unique_ptr<GrpcServer> grpc;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<TaskScope> scope = std::make_unique<TaskScope>(real.executor);
  bool giving_up = false;  // handing leaderships over, since no connection can be taken
  int64_t wall_ahead_ms = real.clock.WallMillis() - ToMillis(real.clock.Now().time_since_epoch());
};

std::string BootId() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

uint64_t ResidentBytes() {
  uint64_t pages_total = 0;
  uint64_t pages_resident = 0;
  std::ifstream("/proc/self/statm") >> pages_total >> pages_resident;
  return pages_resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t CpuMicros() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

bool IsDeaf(const Process& process, Duration for_at_least) {
  const Instant since = process.grpc->deaf_since();
  return since != Instant::max() && process.real.clock.Now() - since >= for_at_least;
}

// Others cannot reach this node: who leads must be somebody else.
Task<void> GiveUpLeaderships(Process* process) {
  process->real.log.Error(
      "node: no connection could be taken for {} s: handing leaderships over; raise the limit of "
      "open files, or find out who uses them up",
      kDeafPatience / 1s);
  while (IsDeaf(*process, Duration(0)) && !process->node->stopping()) {
    co_await process->node->HandOver(kHandOverTimeout);
    co_await Sleep(process->real.executor, kHandOverTimeout);
  }
  process->giving_up = false;
}

// Operators look for the cause of what a step does elsewhere; nothing here waits on this clock.
void WatchClock(Process* process) {
  const int64_t ahead_ms =
      process->real.clock.WallMillis() - ToMillis(process->real.clock.Now().time_since_epoch());
  const int64_t step_ms = ahead_ms - std::exchange(process->wall_ahead_ms, ahead_ms);
  if (std::abs(step_ms) < kClockStepMs) return;
  process->real.log.Warn("node: the wall clock was set {} by {:.1f} s",
                         step_ms < 0 ? "back" : "ahead",
                         static_cast<double>(std::abs(step_ms)) / 1000);
}

Task<void> WatchServing(Process* process) {
  bool serving = false;
  process->grpc->SetServing(serving);
  while (true) {
    const bool deaf = IsDeaf(*process, kDeafPatience);
    if (deaf && !std::exchange(process->giving_up, true)) {
      process->scope->Spawn(GiveUpLeaderships(process));
    }
    const bool now = process->node->ready() && !process->node->stopping() && !deaf;
    if (now != serving) process->grpc->SetServing(now);
    serving = now;
    WatchClock(process);
    co_await Sleep(process->real.executor, kServingInterval);
  }
}

Task<void> Stop(Process* process) {
  process->real.log.Info("node: stopping");
  process->grpc->SetServing(false);
  co_await process->node->Stop(kStopTimeout);
  process->grpc->Shutdown([process] { process->real.executor.Stop(); });
}

// What the first signal does, by how far the process has come.
class StopOnSignal {
 public:
  explicit StopOnSignal(Process* process) : process_(process) {}

  void Ask(int signal) {
    const std::lock_guard lock(mutex_);
    if (process_ == nullptr) return;  // it ends anyway
    if (signal == SIGXCPU) process_->real.log.Error("node: the limit of CPU time is reached");
    if (serving_) return process_->real.executor.Post([p = process_] { p->scope->Spawn(Stop(p)); });
    // Nothing was served, and opening may take minutes: a start that is cut off is as a crash.
    process_->real.log.Info("node: stopped before it served");
    process_->real.log.Flush(kLogPatience);
    std::_Exit(0);
  }
  void Serving() {
    const std::lock_guard lock(mutex_);
    serving_ = true;
  }
  void Ended() {
    const std::lock_guard lock(mutex_);
    process_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Process* process_;
  bool serving_ = false;
};

HttpServer::Health HealthOf(const Process& process) {
  const Node& node = *process.node;
  const bool deaf = IsDeaf(process, Duration(0));
  HttpServer::Health health;
  health.alive = !node.stopping();
  health.ready = node.ready() && !node.stopping() && !deaf;
  const std::string excluded = node.excluded();
  health.detail = node.stopping()             ? "stopping"
                  : deaf                      ? "no connection can be taken: out of descriptors"
                  : node.cluster_id().empty() ? "not part of a cluster yet: run `quorate init`"
                  : !excluded.empty()
                      ? excluded
                      : "a local replica knows no leader yet, or placement does not take "
                        "this process for the node (yet)";
  return health;
}

// Whether Open failed for a reason that the operator mends outside: another directory, another
// flag.
bool IsUsage(Code code) {
  return code == Code::kFailedPrecondition || code == Code::kInvalidArgument ||
         code == Code::kWrongCluster || code == Code::kWrongNode;
}

void FillStatus(const Process& process, v1::ProcessStatus* status) {
  status->set_open_files(OpenDescriptors());
  status->set_open_files_max(DescriptorLimit());
  status->set_resident_bytes(ResidentBytes());
  status->set_cpu_us(CpuMicros());
  status->set_takes_connections(process.grpc != nullptr && !IsDeaf(process, Duration(0)));
}

void PrepareLibraries() {
  // Debian's absl looks for lock cycles at every lock that gRPC takes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // gRPC's own lines say nothing that ours do not.
  setenv("GRPC_VERBOSITY", "NONE", 0);
}

// Whether `file` could be read, or there is none.
quorate::Status ReadSettings(const std::string& file, Settings* settings) {
  if (file.empty()) return quorate::Status::Ok();
  auto read = ReadConfigFile(file);
  if (read.ok()) *settings = std::move(*read);
  return read.status();
}

}  // namespace

int RunNode(const std::map<std::string, std::string>& settings, const std::string& config_file) {
  Signals signals;
  Settings file;
  if (auto status = ReadSettings(config_file, &file); !status.ok()) return Refuse(status);
  auto config = MakeConfig(settings, file);
  if (!config.ok()) return Refuse(config.status());
  AddHost(BootId(), &config->node.locality);
  if (auto status = CheckWritable(config->node.data_dir); !status.ok()) return Refuse(status);
  auto descriptors = RaiseDescriptorLimit(limits::kDescriptorsMin);
  if (!descriptors.ok()) return Refuse(descriptors.status());

  PrepareLibraries();
  auto process = std::make_unique<Process>(*config);
  auto& log = process->real.log;
  auto stopping = std::make_shared<StopOnSignal>(process.get());
  signals.Watch([stopping](int signal) { stopping->Ask(signal); });
  config->node.process_status = [p = process.get()](v1::ProcessStatus* status) {
    FillStatus(*p, status);
  };
  auto opened = Node::Open(process->world, config->node);
  if (!opened.ok()) {
    stopping->Ended();
    if (IsUsage(opened.status().code())) return Refuse(opened.status());
    log.Error("node: cannot open '{}': {}", config->node.data_dir, opened.status().ToString());
    return kExitFailed;
  }
  process->node = std::move(*opened);
  process->node->OnFatal([&log, p = process.get()](quorate::Status status) {
    if (p->node->incarnations().doubted()) StartAnew(log);
    log.Error("node: stopping at once: {}", status.ToString());
    log.Flush(kLogPatience);
    // Nothing may be acknowledged any more: no destructor, no goodbye.
    std::_Exit(kExitFailed);
  });
  process->api = std::make_unique<PublicApi>(process->real.env, *process->node);
  auto grpc = GrpcServer::Start(process->real.env, process->hub, *process->node, *process->api,
                                process->transport, config->listen);
  if (!grpc.ok()) {
    stopping->Ended();
    return Refuse(grpc.status());
  }
  process->grpc = std::move(*grpc);
  int exit_code = 0;
  if (!config->http_listen.empty()) {
    auto http = HttpServer::Start(process->real.env, config->http_listen,
                                  [p = process.get()] { return HealthOf(*p); });
    if (http.ok()) {
      process->http = std::move(*http);
    } else {
      exit_code = Refuse(http.status());
    }
  }
  // The executor must run for gRPC to shut down, even if this start has failed.
  if (exit_code == 0) {
    process->node->Start();
    process->scope->Spawn(WatchServing(process.get()));
    stopping->Serving();
    log.Info("node: serving on {}, data in {}; version {}, {} files may be open", config->listen,
             config->node.data_dir, Version(), *descriptors);
  } else {
    process->grpc->Shutdown([p = process.get()] { p->real.executor.Stop(); });
  }
  process->real.executor.Run();
  stopping->Ended();
  process->http.reset();
  process->scope->Clear();
  process.reset();
  if (exit_code == 0) WriteLastWords("quorate node: stopped\n");
  return exit_code;
}

}  // namespace quorate::server
