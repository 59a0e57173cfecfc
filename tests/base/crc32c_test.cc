#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace quorate {
namespace {

TEST(Crc32c, KnownVectors) {  // RFC 3720, B.4
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Crc32c, FastAndPortableAgreeAndContinue) {
  Random random(3);
  for (int i = 0; i < 500; ++i) {
    std::string s(random.Below(200), '\0');
    for (char& c : s) c = static_cast<char>(random.Next());
    EXPECT_EQ(Crc32c(s), Crc32cPortable(s));
    const size_t cut = random.Below(s.size() + 1);
    EXPECT_EQ(Crc32c(s), Crc32c(s.substr(cut), Crc32c(s.substr(0, cut))));
  }
}

}  // namespace
}  // namespace quorate
