// A directory of its own for tests that need the real disk.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace quorate::storage {

class TempDirectory {
 public:
  TempDirectory() {
    std::string path = ::testing::TempDir() + "/quorate-XXXXXX";
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~TempDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace quorate::storage
