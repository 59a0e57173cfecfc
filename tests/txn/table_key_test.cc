#include "txn/table_key.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

std::string KeyOf(uint32_t id, std::string_view rest = "row") {
  std::string key(kTablePrefix);
  PutTableId(&key, id);
  return key.append(rest);
}

TEST(TableKey, TellsTheTable) {
  uint32_t before = 0;
  std::string last;
  for (const uint32_t id : {1u, 2u, 255u, 256u, 65'535u, 65'536u, 1u << 24, ~0u}) {
    EXPECT_EQ(TableIdOf(KeyOf(id)), id);
    EXPECT_EQ(TableIdOf(KeyOf(id, "")), id);
    if (before != 0) EXPECT_LT(last, KeyOf(id, "")) << "ids sort by number";
    before = id;
    last = KeyOf(id, "zzz");
  }
}

TEST(TableKey, KnowsWhatNoTableHas) {
  const std::string prefix(kTablePrefix);
  for (const std::string& key :
       {std::string("accounts"), std::string(), std::string("\xfftb"), prefix, prefix + "\x01",
        prefix + std::string("\x00x", 2), prefix + std::string("\x02\x00\x01", 3),
        prefix + "\x05" + "12345", prefix + "text", prefix + "\xff"}) {
    EXPECT_FALSE(TableIdOf(key).has_value()) << testing::PrintToString(key);
  }
}

TEST(TableKey, OnlyWhatNoTableHasMayBeWrittenRaw) {
  EXPECT_TRUE(CheckRawWrite("a", WriteKind::kPut).ok());
  EXPECT_TRUE(CheckRawWrite("\xfftb", WriteKind::kPut).ok());
  EXPECT_TRUE(CheckRawWrite("\xfftbm", WriteKind::kPut).ok());
  for (const std::string& key : {KeyOf(1), std::string("\xfftbl"), std::string("\xfftbl\xff")}) {
    const Status put = CheckRawWrite(key, WriteKind::kPut);
    EXPECT_EQ(put.code(), Code::kInvalidArgument);
    EXPECT_NE(put.message().find("quorate table"), std::string::npos) << put.message();
  }
  EXPECT_FALSE(CheckRawWrite(KeyOf(1), WriteKind::kDeletion).ok());
  EXPECT_TRUE(CheckRawWrite("\xfftbl", WriteKind::kDeletion).ok()) << "of before";
  EXPECT_TRUE(CheckRawWrite("\xfftbltext", WriteKind::kDeletion).ok());
}

}  // namespace
}  // namespace quorate
