#include "schema/fill.h"

#include <gmock/gmock.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "schema/row_codec.h"
#include "schema/wire.h"
#include "tests/schema/protos.h"

namespace quorate::schema {
namespace {

using testing::HasSubstr;

// A table whose field `to` takes over from `from`.
struct Filled {
  Filled(std::string_view from, std::string_view to)
      : table(Make(from, to)), rows(table), codec(CodecOf(table)) {}

  static v1::TableDescriptor Make(std::string_view from, std::string_view to) {
    const auto text = [&](std::string_view options) {
      return Proto3(fmt::format(
          "message Row {{ option (quorate.table) = {{ name: \"rows\" primary_key: \"id\" }};\n"
          "int32 id = 1; {} older = 2; optional {} newer = 3 {}; }}",
          from, to, options));
    };
    // A new table has no fills: its descriptor is put together by hand.
    const Compiled compiled = Compile(FileSetOf(text("[(quorate.field).fill_from = \"older\"]")));
    v1::TableDescriptor table = TableOf(text(""));
    *table.mutable_fills() = compiled.tables[0].table.fills();
    table.mutable_fills(0)->set_fill_id(1);
    table.mutable_fills(0)->set_state(v1::FILL_WRITE_ONLY);
    return table;
  }

  // The row that is written, as text; or what is said.
  std::string Write(std::optional<std::string> before, std::string_view after) const {
    std::optional<std::string> bytes;
    if (before.has_value()) bytes = rows.Bytes(*before);
    const auto change = codec.MakeChange(bytes, rows.Bytes(after));
    if (!change.ok()) return change.violation.ToStatus().message();
    return rows.Parse(*change->value)->ShortDebugString();
  }

  v1::TableDescriptor table;
  Rows rows;
  RowCodec codec;
};

TEST(Fill, WhoWritesOneFieldHasTheOtherWritten) {
  const Filled f("optional int32", "string");
  const std::string both = "id: 1 older: 5 newer: \"5\"";
  EXPECT_EQ(f.Write({}, "id: 1 older: 5"), both);      // an older program
  EXPECT_EQ(f.Write({}, "id: 1 newer: \"5\""), both);  // a newer one
  EXPECT_EQ(f.Write({}, "id: 1"), "id: 1");
  EXPECT_EQ(f.Write("id: 1 older: 5", "id: 1 older: 5"), both);  // not filled yet
  EXPECT_EQ(f.Write(both, "id: 1 older: 6 newer: \"5\""), "id: 1 older: 6 newer: \"6\"");
  EXPECT_EQ(f.Write(both, "id: 1 older: 5 newer: \"6\""), "id: 1 older: 6 newer: \"6\"");
  EXPECT_EQ(f.Write(both, "id: 1 older: 7 newer: \"8\""), "id: 1 older: 8 newer: \"8\"");
  EXPECT_EQ(f.Write(both, both), both);
  EXPECT_EQ(f.Write(both, "id: 1 newer: \"5\""), "id: 1");  // taken away by an older one
  EXPECT_EQ(f.Write(both, "id: 1 older: 5"), "id: 1");      // .. by a newer one
}

TEST(Fill, AFieldWithoutPresenceIsZeroWhereTheOtherIsAbsent) {
  const Filled f("int64", "int32");
  EXPECT_EQ(f.Write({}, "id: 1"), "id: 1 newer: 0");
  EXPECT_EQ(f.Write("id: 1 older: 5 newer: 5", "id: 1 older: 5"), "id: 1 newer: 0");
  EXPECT_EQ(f.Write("id: 1 older: 5 newer: 5", "id: 1 newer: 5"), "id: 1 newer: 0");
}

TEST(Fill, WhatHasNoCounterpartIsRefusedWithBothFields) {
  const Filled narrow("int64", "int32");
  EXPECT_THAT(narrow.Write({}, "id: 1 older: 2147483648"),
              HasSubstr("older and newer are kept in step, and 2147483648 has no counterpart"));
  const Filled text("string", "int64");
  EXPECT_THAT(text.Write({}, "id: 1 older: \"05\""), HasSubstr("\"05\" has no counterpart"));
  EXPECT_THAT(text.Write({}, "id: 1 older: \"five\""), HasSubstr("no counterpart"));
  const Filled real("double", "float");
  EXPECT_THAT(real.Write({}, "id: 1 older: 0.1"), HasSubstr("0.1 has no counterpart"));
  EXPECT_EQ(real.Write({}, "id: 1 older: 0.5"), "id: 1 older: 0.5 newer: 0.5");
}

TEST(Fill, BytesOfOthersAreNotTouched) {
  const Filled f("int32", "int64");
  std::string row = f.rows.Bytes("id: 1 older: 5");
  AppendBytesField(&row, 77, "unknown");
  const auto change = f.codec.MakeChange({}, row);
  ASSERT_TRUE(change.ok());
  EXPECT_TRUE(change->value->starts_with(row));
  EXPECT_EQ(change->value->size(), row.size() + 2);
}

constexpr v1::ColumnType kTypes[] = {
    v1::COLUMN_DOUBLE,   v1::COLUMN_FLOAT,    v1::COLUMN_INT64,   v1::COLUMN_UINT64,
    v1::COLUMN_INT32,    v1::COLUMN_FIXED64,  v1::COLUMN_FIXED32, v1::COLUMN_BOOL,
    v1::COLUMN_STRING,   v1::COLUMN_BYTES,    v1::COLUMN_UINT32,  v1::COLUMN_ENUM,
    v1::COLUMN_SFIXED32, v1::COLUMN_SFIXED64, v1::COLUMN_SINT32,  v1::COLUMN_SINT64,
    v1::COLUMN_MESSAGE,  v1::COLUMN_TIMESTAMP};

TEST(Fill, WhateverIsConvertedComesBackAsItWas) {
  Random random(1);
  int converted = 0, refused = 0;
  for (const v1::ColumnType from : kTypes) {
    for (const v1::ColumnType to : kTypes) {
      ASSERT_EQ(Convertible(from, to), Convertible(to, from)) << from << " " << to;
      if (!Convertible(from, to)) continue;
      for (int i = 0; i < 300; ++i) {
        std::string literal;
        switch (KindOf(from)) {
          case Kind::kBool:
            literal = i % 2 == 0 ? "true" : "false";
            break;
          case Kind::kFloat:
          case Kind::kDouble:
            literal = fmt::format("{}.{}", random.Below(99), random.Below(99));
            break;
          case Kind::kString:
            literal = random.Chance(0.7) ? fmt::format("{}", random.Below(300)) : "\xc3\xa9";
            break;
          case Kind::kBytes:
            literal = random.Chance(0.5) ? "\\xff" : "abc";
            break;
          default:
            literal = fmt::format("{}", random.Next() >> random.Below(64));
            if (KindOf(from) == Kind::kInt && random.Chance(0.5)) literal = "-" + literal;
        }
        const auto value = ParseLiteral(from, literal);
        if (!value.ok()) continue;
        const auto there = Convert(*value, to);
        if (!there.ok()) {
          ++refused;
          continue;
        }
        const auto back = Convert(*there, from);
        ASSERT_TRUE(back.ok()) << from << " " << to << " " << literal;
        ASSERT_EQ(*back, *value) << from << " " << to << " " << literal;
        ++converted;
      }
    }
  }
  EXPECT_GT(converted, 10'000);
  EXPECT_GT(refused, 1'000);
  EXPECT_FALSE(Convertible(v1::COLUMN_MESSAGE, v1::COLUMN_MESSAGE));
}

// Every type as it is written, read back by protobuf.
TEST(Fill, WritesEveryTypeAsProtobufReadsIt) {
  for (const char* type : {"int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32",
                           "fixed64", "sfixed32", "sfixed64"}) {
    const Filled f("int64", type);
    EXPECT_EQ(f.Write({}, "id: 1 older: 70000"), "id: 1 older: 70000 newer: 70000") << type;
    if (type[0] == 'u' || type[0] == 'f') continue;
    EXPECT_EQ(f.Write({}, "id: 1 older: -3"), "id: 1 older: -3 newer: -3") << type;
  }
  EXPECT_EQ(Filled("int64", "bool").Write({}, "id: 1 older: 1"), "id: 1 older: 1 newer: true");
  EXPECT_EQ(Filled("float", "double").Write({}, "id: 1 older: 1.5"), "id: 1 older: 1.5 newer: 1.5");
  EXPECT_EQ(Filled("string", "bytes").Write({}, "id: 1 older: \"x\""),
            "id: 1 older: \"x\" newer: \"x\"");
}

}  // namespace
}  // namespace quorate::schema
