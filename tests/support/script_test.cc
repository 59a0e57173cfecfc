#include "tests/support/script.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace quorate::script {
namespace {

class Script : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "script_test_" + std::to_string(::getpid()) + ".txt";
    unsetenv("REWRITE");
  }
  void TearDown() override {
    unsetenv("REWRITE");
    std::filesystem::remove(path_);
  }
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  std::string Read() {
    std::ostringstream out;
    out << std::ifstream(path_).rdbuf();
    return out.str();
  }
  static std::string Echo(const Command& command) {
    if (command.verb == "quiet") return "";
    std::string out = command.verb;
    for (const std::string& word : command.words) out += " [" + word + "]";
    return out + " n=" + std::to_string(command.OptionNumber("n", -1)) + "\n\n";
  }

  std::string path_;
};

TEST_F(Script, RunsBlocksAndSkipsProse) {
  Write(
      "Some prose.\nMore of it.\n\nsay a \"b c\" n=7\nsay\n----\nsay [a] [b c] n=7\nsay n=-1\n\n"
      "quiet\n----\nok\n");
  RunFile(path_, Echo);
}

TEST_F(Script, ShowsWhatDiffers) {
  Write("say a\n----\nsay [b] n=-1\n");
  EXPECT_NONFATAL_FAILURE(RunFile(path_, Echo), "say [a] n=-1");
}

TEST_F(Script, RefusesUnknownOptionsAndBadNumbers) {
  Write("say typo=3\n----\nsay n=-1\n");
  EXPECT_NONFATAL_FAILURE(RunFile(path_, Echo), "line 1: option 'typo' is not known");
  Write("\n\nsay n=x\n----\nsay n=-1\n");
  EXPECT_NONFATAL_FAILURE(RunFile(path_, Echo), "line 3: not a number: 'x'");
}

TEST_F(Script, RewriteKeepsProseAndReplacesOutput) {
  Write("Prose.\n\nsay a\n----\nold\n\nMore prose.\n");
  setenv("REWRITE", "1", 1);
  RunFile(path_, Echo);
  EXPECT_EQ(Read(), "Prose.\n\nsay a\n----\nsay [a] n=-1\n\nMore prose.\n");
}

TEST(Command, ReadsLists) {
  Command command = ParseCommand("voters 1 2 3 learners=4,5 name=\"x y\"", 1);
  EXPECT_EQ(command.Numbers(0), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(command.OptionNumbers("learners"), (std::vector<uint64_t>{4, 5}));
  EXPECT_EQ(command.Option("name"), "x y");
  EXPECT_TRUE(command.OptionNumbers("absent").empty());
}

}  // namespace
}  // namespace quorate::script
