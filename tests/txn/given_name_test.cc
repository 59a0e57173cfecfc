#include "txn/given_name.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

TEST(GivenName, CarriesItsTimeAndIsLaidOutAsAUuidOfVersion7) {
  Random random(1);
  const GivenName name = GivenName::Make(0x0193'7a1b'2c3d, random);
  EXPECT_TRUE(name.given());
  EXPECT_EQ(name.unix_ms(), 0x0193'7a1b'2c3du);
  EXPECT_EQ(name.ToString().substr(0, 13), "01937a1b2c3d7");
  EXPECT_EQ(GivenName::FromBytes(name.bytes()), name);
  EXPECT_NE(GivenName::Make(0x0193'7a1b'2c3d, random), name);
}

TEST(GivenName, ComesInTheOrderOfItsTime) {
  Random random(1);
  EXPECT_LT(GivenName::Make(1, random), GivenName::Make(2, random));
  EXPECT_LT(GivenName::Make(255, random), GivenName::Make(256, random));
}

TEST(GivenName, OtherBytesAreNone) {
  Random random(1);
  std::string bytes(GivenName::Make(5, random).bytes());
  EXPECT_FALSE(GivenName::FromBytes(bytes.substr(1)));
  EXPECT_FALSE(GivenName::FromBytes(bytes + "x"));
  EXPECT_FALSE(GivenName::FromBytes(""));
  std::string version = bytes, variant = bytes;
  version[6] = 0x4f;
  variant[8] = 0x00;
  EXPECT_FALSE(GivenName::FromBytes(version));
  EXPECT_FALSE(GivenName::FromBytes(variant));
  EXPECT_FALSE(GivenName::FromBytes(std::string(16, '\0')));
}

TEST(GivenName, NoneIsLeftOut) {
  EXPECT_FALSE(GivenName().given());
  EXPECT_EQ(GivenName().bytes(), "");
}

}  // namespace
}  // namespace quorate
