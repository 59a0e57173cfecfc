#include "base/stderr_logger.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <utility>

#include "base/real_log_writer.h"

namespace quorate {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// spdlog formats; the writer's thread waits for standard error.
class QueueingSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void Flush(Duration patience) { writer_.Flush(patience); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    writer_.Write(std::string(line.data(), line.size()));
  }
  void flush_() override {}

 private:
  LogWriter writer_{STDERR_FILENO};
};

}  // namespace

struct StderrLogger::Sink {
  std::shared_ptr<QueueingSink> queue = std::make_shared<QueueingSink>();
  spdlog::logger logger{"quorate", queue};
};

StderrLogger::StderrLogger(LogLevel level) : level_(level), sink_(std::make_unique<Sink>()) {
  sink_->logger.set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
  sink_->logger.set_level(ToSpdlog(level));
}

StderrLogger::~StderrLogger() = default;

void StderrLogger::Flush(Duration patience) { sink_->queue->Flush(patience); }

void StderrLogger::Write(LogLevel level, std::string_view line) {
  sink_->logger.log(ToSpdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

std::optional<LogLevel> ParseLogLevel(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  return std::nullopt;
}

}  // namespace quorate
