// StderrLogger: log lines on standard error with time and level. Who logs never waits for a reader
// (base/real_log_writer.h); the end of the object waits a second at most.
#pragma once

#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/log.h"

namespace quorate {

class StderrLogger final : public Logger {
 public:
  explicit StderrLogger(LogLevel level);
  ~StderrLogger() override;
  bool Enabled(LogLevel level) const override { return level >= level_; }
  void Write(LogLevel level, std::string_view line) override;
  // Returns once all lines so far are written, or after `patience`.
  void Flush(Duration patience);

 private:
  struct Sink;
  LogLevel level_;
  std::unique_ptr<Sink> sink_;
};

// "debug", "info", "warn", "error".
std::optional<LogLevel> ParseLogLevel(std::string_view name);

}  // namespace quorate
