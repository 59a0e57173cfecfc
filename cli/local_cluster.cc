#include "cli/local_cluster.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/real_clock.h"
#include "base/status_macros.h"
#include "cli/cluster_view.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {
namespace {

constexpr Duration kPoll = 50ms;
constexpr Duration kStartTimeout = 60s;
constexpr Duration kHealthyTimeout = 60s;
// Nodes of a `dev` that was killed just now end with it, but a moment later.
constexpr Duration kDyingTimeout = 1s;

// Calls `ready` until it is true or the time is over.
template <class F>
bool Poll(Duration timeout, F ready) {
  const Instant end = RealClock::BootNow() + timeout;
  while (!ready()) {
    if (RealClock::BootNow() >= end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

// What a node that has ended said of it, or its last line if it said nothing.
std::string LastWords(const std::string& path, int64_t begin) {
  constexpr std::string_view kSays = "quorate node: ";
  std::ifstream file(path);
  file.seekg(begin);
  std::string last, words;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kSays)) words = line.substr(kSays.size());
    if (!line.empty()) last = line;
  }
  return words.empty() ? last : words;
}

// Whether a node could listen there.
Status CheckPort(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Status::Ok();  // the node will tell
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool taken = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
                     errno == EADDRINUSE;
  close(fd);
  if (!taken) return Status::Ok();
  return InvalidArgument(
      fmt::format("port {} is in use (by another `quorate dev`?): choose another --port", port));
}

// In the child, between fork and exec: system calls only.
[[noreturn]] void BecomeNode(char* const* argv, int log, pid_t parent) {
  // Ctrl-C reaches the parent alone, which then stops its nodes in good order.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  // While its libraries are loaded these wait: a node that is stopped at once stops cleanly.
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  sigprocmask(SIG_SETMASK, &blocked, nullptr);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  close_range(STDERR_FILENO + 1, ~0u, 0);
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

LocalCluster::LocalCluster(Options options)
    : options_(std::move(options)),
      program_(std::filesystem::read_symlink("/proc/self/exe")),
      processes_(static_cast<size_t>(options_.nodes)) {}

LocalCluster::~LocalCluster() {
  for (int node = 1; node <= size(); ++node) {
    if (running(node)) Kill(node);
  }
  if (lock_ >= 0) close(lock_);
}

std::string LocalCluster::address(int node) const {
  return fmt::format("127.0.0.1:{}", options_.port + node - 1);
}
std::string LocalCluster::http_address(int node) const {
  return fmt::format("127.0.0.1:{}", options_.port + 1000 + node - 1);
}
std::vector<std::string> LocalCluster::addresses() const {
  std::vector<std::string> all;
  for (int node = 1; node <= size(); ++node) all.push_back(address(node));
  return all;
}
std::vector<std::string> LocalCluster::running_addresses() const {
  std::vector<std::string> all;
  for (int node = 1; node <= size(); ++node) {
    if (running(node)) all.push_back(address(node));
  }
  return all;
}
std::string LocalCluster::DataPath(int node) const {
  return fmt::format("{}/node-{}", options_.directory, node);
}
std::string LocalCluster::log_path(int node) const {
  return fmt::format("{}/node-{}.log", options_.directory, node);
}

std::string LocalCluster::WhyEnded(int node) const {
  const Process& process = processes_[static_cast<size_t>(node - 1)];
  return fmt::format("node {} {}: {} (see {})", node,
                     process.killed_by == 0
                         ? std::string("has ended")
                         : fmt::format("was ended by signal {}", process.killed_by),
                     LastWords(log_path(node), process.log_begin), log_path(node));
}

Status LocalCluster::StartNode(int node) {
  const int log = open(log_path(node).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return InvalidArgument(fmt::format("--data: cannot write '{}'", log_path(node)));
  Process& process = processes_[static_cast<size_t>(node - 1)];
  process = {.pid = 0, .log_begin = lseek(log, 0, SEEK_END), .killed_by = 0};
  std::vector<std::string> words = {program_,   "node",        "--data", DataPath(node),
                                    "--listen", address(node), "--http", http_address(node)};
  std::string join;
  for (int other = 1; other <= size(); ++other) {
    if (other != node) join += (join.empty() ? "" : ",") + address(other);
  }
  if (!join.empty()) words.insert(words.end(), {"--join", join});
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeNode(argv.data(), log, parent);
  close(log);
  if (pid < 0) return Status(Code::kUnavailable, "cannot start a process");
  process.pid = pid;
  return Status::Ok();
}

Status LocalCluster::WaitAnswer(Admin& admin, int node) {
  v1::NodeRequest hello;
  hello.mutable_hello();
  int dead = 0;
  const bool up = Poll(kStartTimeout, [&] {
    dead = FindDead();
    return dead != 0 || admin.Call(address(node), hello, 1s).ok();
  });
  if (dead != 0) return Status(Code::kFailedPrecondition, WhyEnded(dead));
  if (!up)
    return Unavailable(fmt::format("node {} does not answer (see {})", node, log_path(node)));
  return Status::Ok();
}

// Fewer processes than the data was made for: shards without a majority, or without a replica.
Status LocalCluster::CheckSize() const {
  int made_for = size();
  std::error_code error;
  while (std::filesystem::exists(DataPath(made_for + 1) + "/IDENTITY", error)) ++made_for;
  if (made_for == size()) return Status::Ok();
  return InvalidArgument(fmt::format(
      "'{}' holds the data of {} nodes: start it with --nodes {}, or choose another --data",
      options_.directory, made_for, made_for));
}

Status LocalCluster::CheckPorts() const {
  Status status;
  const auto all_free = [&] {
    for (int i = 0; i < 2 * size(); ++i) {
      status = CheckPort(options_.port + i / 2 + (i % 2 == 0 ? 0 : 1000));
      if (!status.ok()) return false;
    }
    return true;
  };
  (void)Poll(kDyingTimeout, all_free);
  return status;
}

Status LocalCluster::LockDirectory() {
  std::error_code error;
  std::filesystem::create_directories(options_.directory, error);
  if (error) {
    return InvalidArgument(
        fmt::format("--data: cannot create '{}': {}", options_.directory, error.message()));
  }
  const std::string path = options_.directory + "/dev.lock";
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) return InvalidArgument(fmt::format("--data: cannot write '{}'", path));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(lock_, F_SETLK, &lock) == 0) return Status::Ok();
  const bool known = fcntl(lock_, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0;
  return InvalidArgument(fmt::format(
      "--data: nodes of another `quorate dev`{} run on '{}': stop it, or choose another "
      "--data",
      known ? fmt::format(" (process {})", lock.l_pid) : "", options_.directory));
}

Status LocalCluster::Start() {
  RETURN_IF_ERROR(LockDirectory());
  RETURN_IF_ERROR(CheckSize());
  RETURN_IF_ERROR(CheckPorts());
  for (int node = 1; node <= size(); ++node) RETURN_IF_ERROR(StartNode(node));
  return Status::Ok();
}

Status LocalCluster::Init(Admin& admin, int shards, const std::vector<std::string>& split_at,
                          bool* created) {
  for (int node = 1; node <= size(); ++node) RETURN_IF_ERROR(WaitAnswer(admin, node));
  v1::NodeRequest request;
  request.mutable_init()->set_shards(static_cast<uint32_t>(shards));
  // Fewer than three are asked for by who starts them.
  request.mutable_init()->set_replication_factor(static_cast<uint32_t>(std::min(size(), 3)));
  for (const auto& key : split_at) request.mutable_init()->add_split_keys(key);
  for (const auto& a : addresses()) request.mutable_init()->add_addresses(a);
  auto answer = admin.CallUntilAvailable({address(1)}, request, kStartTimeout);
  *created = answer.ok();
  if (!answer.ok() && answer.status().code() != Code::kAlreadyExists) return answer.status();
  return WaitHealthy(admin, kHealthyTimeout);
}

Status LocalCluster::WaitHealthy(Admin& admin, Duration timeout) {
  int dead = 0;
  const bool healthy = Poll(timeout, [&] {
    dead = FindDead();
    if (dead != 0) return true;
    auto view = ViewCluster(admin, addresses(), 2s);
    return view.ok() && view->healthy();
  });
  if (dead != 0) return Status(Code::kFailedPrecondition, WhyEnded(dead));
  if (!healthy) {
    return Unavailable(fmt::format("the cluster does not become healthy (see {})", log_path(1)));
  }
  return Status::Ok();
}

void LocalCluster::Kill(int node) {
  pid_t& pid = processes_[static_cast<size_t>(node - 1)].pid;
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  pid = 0;
}

Result<int> LocalCluster::AddNode(Admin& admin) {
  ++options_.nodes;
  processes_.emplace_back();
  RETURN_IF_ERROR(StartNode(size()));
  RETURN_IF_ERROR(WaitAnswer(admin, size()));
  return size();
}

bool LocalCluster::WaitEnd(int node, Instant end) {
  pid_t& pid = processes_[static_cast<size_t>(node - 1)].pid;
  int status = 0;
  const Duration left = std::max<Duration>(end - RealClock::BootNow(), Duration(0));
  if (!Poll(left, [&] { return waitpid(pid, &status, WNOHANG) == pid; })) {
    Kill(node);
    return false;
  }
  pid = 0;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool LocalCluster::StopNode(int node, Duration timeout) {
  kill(processes_[static_cast<size_t>(node - 1)].pid, SIGTERM);
  return WaitEnd(node, RealClock::BootNow() + timeout);
}

bool LocalCluster::Stop(Duration timeout) {
  bool clean = true;
  for (const Process& process : processes_) {
    if (process.pid > 0) kill(process.pid, SIGTERM);
  }
  const Instant end = RealClock::BootNow() + timeout;
  for (int node = 1; node <= size(); ++node) {
    if (running(node)) clean &= WaitEnd(node, end);
  }
  return clean;
}

int LocalCluster::FindDead() {
  for (int node = 1; node <= size(); ++node) {
    Process& process = processes_[static_cast<size_t>(node - 1)];
    int status = 0;
    if (process.pid > 0 && waitpid(process.pid, &status, WNOHANG) == process.pid) {
      process.pid = 0;
      process.killed_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      return node;
    }
  }
  return 0;
}

}  // namespace quorate::cli
