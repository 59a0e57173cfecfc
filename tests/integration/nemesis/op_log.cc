#include "tests/integration/nemesis/op_log.h"

#include <fmt/format.h>

#include <chrono>

#include "base/check.h"

namespace quorate::nemesis {

int64_t MonotonicNanos() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

OpLog::OpLog(const std::string& path) : file_(std::fopen(path.c_str(), "w")) {
  CHECK(file_ != nullptr, "cannot write '{}'", path);
}

OpLog::~OpLog() { std::fclose(file_); }

void OpLog::Write(std::string_view type, int process, std::string_view f, std::string_view value,
                  std::string_view more) {
  const std::lock_guard lock(mutex_);
  fmt::print(file_, "{{:index {}, :type :{}, :process {}, :f :{}, :value {}, {}:time {}}}\n",
             index_++, type, process, f, value, more, MonotonicNanos());
}

void OpLog::Flush() {
  const std::lock_guard lock(mutex_);
  std::fflush(file_);
}

AckLog::AckLog(const std::string& path, int shards)
    : file_(std::fopen(path.c_str(), "w")), by_shard_(static_cast<size_t>(shards)) {
  CHECK(file_ != nullptr, "cannot write '{}'", path);
}

AckLog::~AckLog() { std::fclose(file_); }

void AckLog::Acknowledged(const std::vector<int>& shards) {
  const std::lock_guard lock(mutex_);
  const int64_t now = MonotonicNanos();
  ++writes_;
  for (const int shard : shards) {
    ++by_shard_[static_cast<size_t>(shard)];
    fmt::print(file_, "{} {}\n", now, shard);
  }
}

std::string AckLog::Second() {
  const std::lock_guard lock(mutex_);
  std::fflush(file_);
  std::string line =
      fmt::format(R"({{"time": {:.3f}, "writes": {}, "by_shard": [{}], )"
                  R"("reads": {}, "refused": {}, "unknown": {}}})",
                  static_cast<double>(MonotonicNanos()) / 1e9, writes_, fmt::join(by_shard_, ", "),
                  reads_.exchange(0), refused_.exchange(0), unknown_.exchange(0));
  writes_ = 0;
  by_shard_.assign(by_shard_.size(), 0);
  return line;
}

}  // namespace quorate::nemesis
