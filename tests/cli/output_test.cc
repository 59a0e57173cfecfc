// cli/output.h: what is escaped, and how lost output becomes an exit code. A terminal, closed pipes
// and the whole program: tests/integration/keyboard_test.py.
#include "cli/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/random.h"

namespace quorate::cli {
namespace {

TEST(EscapeBytes, KeepsPrintableTextAndEscapesTheRest) {
  EXPECT_EQ(EscapeBytes("plain \"text\""), "plain \"text\"");
  EXPECT_EQ(EscapeBytes("grün 漢 🙂"), "grün 漢 🙂");
  EXPECT_EQ(EscapeBytes("a\nb\tc\\d"), "a\\nb\\tc\\\\d");
  EXPECT_EQ(EscapeBytes(std::string_view("\0\x1b[31m\x7f\r", 8)), "\\x00\\x1b[31m\\x7f\\x0d");
  // Not UTF-8: stray, cut, overlong, surrogate, beyond the last character.
  EXPECT_EQ(EscapeBytes("\xff"), "\\xff");
  EXPECT_EQ(EscapeBytes("\x9b"), "\\x9b");
  EXPECT_EQ(EscapeBytes("\xc3"), "\\xc3");
  EXPECT_EQ(EscapeBytes("\xc0\x8a"), "\\xc0\\x8a");
  EXPECT_EQ(EscapeBytes("\xe0\x80\x8a"), "\\xe0\\x80\\x8a");
  EXPECT_EQ(EscapeBytes("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(EscapeBytes("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  // UTF-8 that acts on the terminal: CSI, line separator, right-to-left override.
  EXPECT_EQ(EscapeBytes("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(EscapeBytes("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");
  EXPECT_EQ(EscapeBytes("\xe2\x80\xae"), "\\xe2\\x80\\xae");
}

TEST(RangeText, QuotesItsBounds) {
  EXPECT_EQ(RangeText("", ""), "[start, end)");
  EXPECT_EQ(RangeText("", " "), "[start, ' ')");
  EXPECT_EQ(RangeText("m", "\xe0"), "['m', '\\xe0')");
}

TEST(EscapeBytes, TellsAnyTwoValuesApartAndLeavesOneLine) {
  Random random(7);
  std::map<std::string, std::string> by_text;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes;
    for (uint64_t n = random.Below(4); n > 0; --n) {
      bytes += static_cast<char>("\\nx0\n\t\x1b\xc2\x9b\xff"[random.Below(11)]);
    }
    const std::string text = EscapeBytes(bytes);
    EXPECT_EQ(text.find_first_of("\n\t\x1b"), std::string::npos);
    const auto [it, added] = by_text.try_emplace(text, bytes);
    EXPECT_EQ(it->second, bytes) << text;
  }
}

TEST(EscapeControls, LeavesTheShapeOfAText) {
  EXPECT_EQ(EscapeControls("a\tb\\c\nd\x1b[0m\r"), "a\tb\\c\nd\\x1b[0m\\x0d");
}

TEST(Output, KeepsTheFirstErrorAndDropsTheRest) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  Output out(full);
  out.Text("something");
  EXPECT_EQ(out.error(), 0);
  out.Flush();
  EXPECT_EQ(out.error(), ENOSPC);
  close(full);
  out.Bytes(std::string(1 << 20, 'x'));
  out.Flush();
  EXPECT_EQ(out.error(), ENOSPC);
}

TEST(Output, BytesAreExactAndTextIsNot) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Output out(ends[1]);
  EXPECT_FALSE(out.is_terminal());
  out.Bytes("\x1b\n");
  out.Text("\x1b\n");
  out.Flush();
  char read_back[16];
  const ssize_t n = read(ends[0], read_back, sizeof read_back);
  EXPECT_EQ(std::string_view(read_back, static_cast<size_t>(n)), "\x1b\n\\x1b\n");
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace quorate::cli
