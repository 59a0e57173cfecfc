// LogWriter: writes lines to a file descriptor on a thread of its own, so that who logs never waits
// for a reader: a pipe may be full, a terminal stopped, a disk busy. Lines beyond a bound are
// dropped, and once there is room again a line says how many.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"

namespace quorate {

class LogWriter {
 public:
  // `fd` stays open as long as the process.
  explicit LogWriter(int fd);
  // Waits for what is queued, but no longer than a second: a thread that hangs in its write is left
  // behind.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;

  // `line` ends with a line feed. Any thread. The first one starts the writer's thread.
  void Write(std::string line);
  // Returns once all lines so far are written, or after `patience`. Any thread.
  void Flush(Duration patience);

 private:
  struct State;
  static void Run(std::shared_ptr<State> state);

  const std::shared_ptr<State> state_;
};

}  // namespace quorate
