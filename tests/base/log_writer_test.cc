// base/real_log_writer.h over a pipe that is read late, or never.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/limits.h"
#include "base/real_log_writer.h"

namespace quorate {
namespace {

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reader = ends[0];
    writer = ends[1];
  }
  ~Pipe() {
    ::close(reader);
    ::close(writer);
  }
  // Everything up to a line that contains `last`.
  std::string ReadUntil(const std::string& last) const {
    std::string all;
    char bytes[65536];
    while (all.find(last) == std::string::npos || all.back() != '\n') {
      const ssize_t n = ::read(reader, bytes, sizeof bytes);
      if (n <= 0) break;
      all.append(bytes, static_cast<size_t>(n));
    }
    return all;
  }
  int reader = -1;
  int writer = -1;
};

TEST(LogWriter, WritesLinesInOrder) {
  Pipe pipe;
  LogWriter writer(pipe.writer);
  for (int i = 0; i < 100; ++i) writer.Write(std::to_string(i) + "\n");
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(pipe.ReadUntil("99"), expected);
}

TEST(LogWriter, DropsWhatNobodyReadsAndSaysHowMuch) {
  Pipe pipe;
  LogWriter writer(pipe.writer);
  const std::string line(1023, 'x');
  const size_t lines = 3 * limits::kLogQueueBytesMax / 1024;
  for (size_t i = 0; i < lines; ++i) writer.Write(line + "\n");  // returns each time
  const std::string all = pipe.ReadUntil("were dropped here");
  const size_t kept = static_cast<size_t>(std::count(all.begin(), all.end(), '\n')) - 1;
  EXPECT_GE(kept, limits::kLogQueueBytesMax / 1024);
  const std::string notice = all.substr(all.rfind('\n', all.size() - 2) + 1);
  EXPECT_EQ(std::stoul(notice), lines - kept) << notice;
}

TEST(LogWriter, EndsThoughItsThreadHangs) {
  Pipe pipe;
  {
    LogWriter writer(pipe.writer);
    for (int i = 0; i < 999; ++i) writer.Write(std::string(1023, 'x') + "\n");
    writer.Write("last\n");
  }
  // Its thread writes on once somebody reads. Read to the last byte: the thread outlives the object
  // and the pipe must outlive its writes.
  const std::string all = pipe.ReadUntil("last");
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 1000);
}

}  // namespace
}  // namespace quorate
