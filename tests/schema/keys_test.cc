#include "schema/keys.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/random.h"

namespace quorate::schema {
namespace {

using namespace std::string_literals;

TEST(TableKeys, SortByTableThenByIndex) {
  Random random(1);
  for (int i = 0; i < 50'000; ++i) {
    const auto id = [&] { return static_cast<uint32_t>(random.Next() >> (32 + random.Below(32))); };
    const uint32_t table = id(), index = id(), other_table = random.Chance(0.3) ? table : id();
    const uint32_t other_index = id();
    const std::string a = IndexPrefix(table, index), b = IndexPrefix(other_table, other_index);
    ASSERT_EQ(a < b, std::pair(table, index) < std::pair(other_table, other_index));
    TableKey parsed;
    const std::string longer = a + "xyz";
    ASSERT_TRUE(ParseTableKey(longer, &parsed));
    ASSERT_EQ(parsed.table_id, table);
    ASSERT_EQ(parsed.index_id, index);
    ASSERT_EQ(parsed.tuple, "xyz");
    ASSERT_TRUE(IndexSpan(table, index).Contains(longer));
    ASSERT_TRUE(TableSpan(table).Contains(IndexSpan(table, index)));
    ASSERT_TRUE(TablesSpan().Contains(TableSpan(table)));
    if (a != b) {
      ASSERT_FALSE(IndexSpan(table, index).Overlaps(IndexSpan(other_table, other_index)));
    }
  }
}

TEST(TableKeys, LookAsTheDocumentSays) {
  EXPECT_EQ(ToHex(IndexPrefix(1, kRowsId)),
            "ff74626c"
            "0101"
            "00");
  EXPECT_EQ(ToHex(IndexPrefix(300, 7)),
            "ff74626c"
            "02012c"
            "0107");
}

TEST(TableKeys, OtherKeysAreNone) {
  for (const std::string& key :
       {""s, "a"s, "\xfftb"s, "\xfftbl"s, "\xfftbl\x01"s, "\xfftbl\x01\x05"s, "\xfftbl\x01\0\0"s,
        "\xfftbl\x05\x01\x01\x01\x01\x01\0"s, "\xfftbl\x01\x05\xff"s}) {
    TableKey parsed;
    EXPECT_FALSE(ParseTableKey(key, &parsed)) << ToHex(key);
  }
  EXPECT_FALSE(TablesSpan().Contains("\xfftb"));
  EXPECT_FALSE(TablesSpan().Contains("\xfftbm"));
}

}  // namespace
}  // namespace quorate::schema
