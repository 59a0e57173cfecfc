#include "server/program/run.h"

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "client/route/grpc_channel.h"
#include "server/node/node.h"
#include "server/node/public_api.h"
#include "server/program/config.h"
#include "server/program/http_server.h"
#include "server/program/real_env.h"
#include "server/wire/grpc_hub.h"
#include "server/wire/grpc_services.h"
#include "server/wire/grpc_transport.h"
#include "storage/lmdb_store.h"
#include "storage/posix_file.h"

namespace quorate::server {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr Duration kStopTimeout = 10s;
constexpr Duration kHandOverBeforeRepair = 2s;
constexpr Duration kServingInterval = 200ms;

int Refuse(const Status& status) {
  std::fprintf(stderr, "quorate node: %s\n", status.message().c_str());
  return kExitUsage;
}

// SIGTERM and SIGINT arrive on one thread of their own. Every thread started later inherits the
// blocked mask.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    signal(SIGPIPE, SIG_IGN);
  }
  // `on_first` runs on the signal thread; the second signal ends the process.
  void Watch(std::function<void()> on_first) {
    std::thread([set = set_, on_first = std::move(on_first)] {
      int number = 0;
      sigwait(&set, &number);
      on_first();
      sigwait(&set, &number);
      std::_Exit(kExitFailed);
    }).detach();
  }

 private:
  sigset_t set_;
};

// The directory must be there and writable before anything else is tried, so that the message can
// say so.
Status CheckWritable(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error || access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    return InvalidArgument(
        fmt::format("data: '{}' cannot be created or written ({}); give a directory that this user "
                    "can write",
                    directory, error ? error.message() : std::string(std::strerror(errno))));
  }
  return Status::Ok();
}

// The same program with the same arguments in this process: for a store that has to be opened anew.
// Nothing that was not acknowledged yet will be.
[[noreturn]] void StartAnew(Logger& log) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string word;
  std::vector<std::string> words;
  while (std::getline(file, word, '\0')) words.push_back(word);
  std::vector<char*> arguments;
  for (std::string& each : words) arguments.push_back(each.data());
  arguments.push_back(nullptr);
  log.Warn("node: starts anew");
  std::fflush(nullptr);
  // No lock and no port may outlive this.
  syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  if (!words.empty()) ::execv("/proc/self/exe", arguments.data());
  log.Error("node: cannot start anew: {}", std::strerror(errno));
  std::_Exit(kExitFailed);
}

// Everything of one running node, built and destroyed in this order.
struct Process {
  explicit Process(const NodeConfig& config)
      : real(config.log_level, hub.loop),
        files(real.executor),
        transport(real.env, hub.loop),
        channel(real.env, hub.loop),
        world{real.env, files,
              [this](const std::string& directory) -> Result<std::unique_ptr<storage::KvStore>> {
                storage::LmdbStore::Options options;
                options.directory = directory;
                options.on_damage = [this](auto by, const Status&) { OnDamage(by); };
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
};

Task<void> WatchServing(Process* process) {
  bool serving = false;
  process->grpc->SetServing(serving);
  while (true) {
    const bool now = process->node->ready() && !process->node->stopping();
    if (now != serving) process->grpc->SetServing(now);
    serving = now;
    co_await Sleep(process->real.executor, kServingInterval);
  }
}

Task<void> Stop(Process* process) {
  process->real.log.Info("node: stopping");
  process->grpc->SetServing(false);
  co_await process->node->Stop(kStopTimeout);
  process->grpc->Shutdown([process] { process->real.executor.Stop(); });
}

HttpServer::Health HealthOf(const Node& node) {
  HttpServer::Health health;
  health.alive = !node.stopping();
  health.ready = node.ready() && !node.stopping();
  health.detail = node.stopping()             ? "stopping"
                  : node.cluster_id().empty() ? "not part of a cluster yet: run `quorate init`"
                                              : "a local replica knows no leader yet";
  return health;
}

// Whether Open failed for a reason that the operator mends outside: another directory, another
// flag.
bool IsUsage(Code code) {
  return code == Code::kFailedPrecondition || code == Code::kInvalidArgument ||
         code == Code::kWrongCluster || code == Code::kWrongNode;
}

}  // namespace

int RunNode(const std::map<std::string, std::string>& settings, const std::string& config_file) {
  Settings file;
  if (!config_file.empty()) {
    auto read = ReadConfigFile(config_file);
    if (!read.ok()) return Refuse(read.status());
    file = std::move(*read);
  }
  auto config = MakeConfig(settings, file);
  if (!config.ok()) return Refuse(config.status());
  if (auto status = CheckWritable(config->node.data_dir); !status.ok()) return Refuse(status);

  Signals signals;
  // Debian's absl looks for lock cycles at every lock that gRPC takes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // gRPC's own lines say nothing that ours do not.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  auto process = std::make_unique<Process>(*config);
  auto& log = process->real.log;
  auto opened = Node::Open(process->world, config->node);
  if (!opened.ok()) {
    if (IsUsage(opened.status().code())) return Refuse(opened.status());
    log.Error("node: cannot open '{}': {}", config->node.data_dir, opened.status().ToString());
    return kExitFailed;
  }
  process->node = std::move(*opened);
  process->node->OnFatal([&log](quorate::Status status) {
    log.Error("node: storage failed, stopping at once: {}", status.ToString());
    std::fflush(nullptr);
    // Nothing may be acknowledged any more: no destructor, no goodbye.
    std::_Exit(kExitFailed);
  });
  process->api = std::make_unique<PublicApi>(process->real.env, *process->node);
  auto grpc = GrpcServer::Start(process->real.env, process->hub, *process->node, *process->api,
                                process->transport, config->listen);
  if (!grpc.ok()) return Refuse(grpc.status());
  process->grpc = std::move(*grpc);
  int exit_code = 0;
  if (!config->node.http_address.empty()) {
    auto http = HttpServer::Start(process->real.env, config->node.http_address,
                                  [node = process->node.get()] { return HealthOf(*node); });
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
    signals.Watch(
        [p = process.get()] { p->real.executor.Post([p] { p->scope->Spawn(Stop(p)); }); });
    log.Info("node: serving on {}, data in {}", config->listen, config->node.data_dir);
  } else {
    process->grpc->Shutdown([p = process.get()] { p->real.executor.Stop(); });
  }
  process->real.executor.Run();
  process->http.reset();
  process->scope->Clear();
  process.reset();
  if (exit_code == 0) std::fprintf(stderr, "quorate node: stopped\n");
  return exit_code;
}

}  // namespace quorate::server
