#include "base/bytes.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

TEST(Bytes, HexRoundTripsAndRefusesOthers) {
  std::string back;
  ASSERT_TRUE(FromHex(ToHex(std::string("\x00\xff\x10", 3)), &back));
  EXPECT_EQ(back, std::string("\x00\xff\x10", 3));
  EXPECT_FALSE(FromHex("abc", &back));
  EXPECT_FALSE(FromHex("zz", &back));
}

TEST(Bytes, PrefixEndIsTheNextKeyAfterAllWithThePrefix) {
  EXPECT_EQ(PrefixEnd("ab"), "ac");
  EXPECT_EQ(PrefixEnd("a\xff"), "b");
  EXPECT_EQ(PrefixEnd("\xff\xff"), "");
}

TEST(Bytes, PrintableEscapesAndCuts) {
  EXPECT_EQ(Printable("a\n"), "a\\x0a");
  EXPECT_EQ(Printable("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace quorate
