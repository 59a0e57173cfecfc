#include "base/real_log_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/limits.h"

namespace quorate {
namespace {

constexpr Duration kPatience = 1s;

// False: nobody will read it, ever.
bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    // Somebody who shares the descriptor made it non-blocking.
    if (n < 0 && errno == EAGAIN) std::this_thread::sleep_for(10ms);
    if (n > 0) text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

// Outlives the object while the thread hangs in a write.
struct LogWriter::State {
  explicit State(int f) : fd(f) {}

  const int fd;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> lines;
  size_t bytes = 0;
  uint64_t dropped = 0;
  bool started = false;
  bool writing = false;
  bool ending = false;
};

LogWriter::LogWriter(int fd) : state_(std::make_shared<State>(fd)) {}

LogWriter::~LogWriter() {
  Flush(kPatience);
  const std::lock_guard lock(state_->mutex);
  state_->ending = true;
  state_->changed.notify_all();
}

void LogWriter::Write(std::string line) {
  const std::lock_guard lock(state_->mutex);
  if (state_->bytes + line.size() > limits::kLogQueueBytesMax) {
    ++state_->dropped;
    return;
  }
  state_->bytes += line.size();
  state_->lines.push_back(std::move(line));
  if (!std::exchange(state_->started, true)) std::thread(Run, state_).detach();
  state_->changed.notify_all();
}

void LogWriter::Flush(Duration patience) {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, patience,
                           [this] { return state_->lines.empty() && !state_->writing; });
}

void LogWriter::Run(std::shared_ptr<State> state) {
  std::unique_lock lock(state->mutex);
  while (true) {
    state->changed.wait(lock, [&] { return state->ending || !state->lines.empty(); });
    if (state->lines.empty()) return;
    std::string text = std::move(state->lines.front());
    const size_t bytes = text.size();
    state->lines.pop_front();
    // What was dropped came behind all that is queued.
    if (state->lines.empty() && state->dropped > 0) {
      text += fmt::format("{} log lines were dropped here: standard error was not read\n",
                          std::exchange(state->dropped, 0));
    }
    state->writing = true;
    lock.unlock();
    (void)WriteAll(state->fd, text);
    lock.lock();
    state->bytes -= bytes;
    state->writing = false;
    state->changed.notify_all();
  }
}

}  // namespace quorate
