#include "schema/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "quorate/v1/schema.pb.h"

namespace quorate::schema {
namespace {

using namespace std::string_literals;

TEST(Value, LiteralsOfEveryKindComeBackAsTheyAreWritten) {
  const struct {
    v1::ColumnType type;
    std::string literal;
    std::string shown;
  } kCases[] = {
      {v1::COLUMN_BOOL, "true", "true"},
      {v1::COLUMN_INT32, "-2147483648", "-2147483648"},
      {v1::COLUMN_INT64, "9223372036854775807", "9223372036854775807"},
      {v1::COLUMN_UINT32, "4294967295", "4294967295"},
      {v1::COLUMN_FIXED64, "18446744073709551615", "18446744073709551615"},
      {v1::COLUMN_ENUM, "-1", "-1"},
      {v1::COLUMN_FLOAT, "0.1", "0.1"},
      {v1::COLUMN_DOUBLE, "-inf", "-inf"},
      {v1::COLUMN_DOUBLE, "1e300", "1e+300"},
      {v1::COLUMN_DOUBLE, "-0", "0"},
      {v1::COLUMN_STRING, "a\\x00", "\"a\\x00\""},
      {v1::COLUMN_BYTES, "a\\x00\\377\\n", "\"a\\x00\\xff\\x0a\""},
  };
  for (const auto& c : kCases) {
    const auto value = ParseLiteral(c.type, c.literal);
    ASSERT_TRUE(value.ok()) << c.literal << ": " << value.status().message();
    if (c.type != v1::COLUMN_STRING) EXPECT_EQ(Format(*value), c.shown);
  }
  EXPECT_TRUE(std::isnan(ParseLiteral(v1::COLUMN_DOUBLE, "nan")->real()));
}

TEST(Value, WhatIsNoLiteralIsRefused) {
  const struct {
    v1::ColumnType type;
    std::string literal;
  } kCases[] = {
      {v1::COLUMN_BOOL, "1"},           {v1::COLUMN_BOOL, ""},
      {v1::COLUMN_INT32, "2147483648"}, {v1::COLUMN_INT32, "1 "},
      {v1::COLUMN_INT64, "+1"},         {v1::COLUMN_INT64, "0x1"},
      {v1::COLUMN_UINT32, "-1"},        {v1::COLUMN_UINT64, "18446744073709551616"},
      {v1::COLUMN_FLOAT, "1e39"},       {v1::COLUMN_DOUBLE, "infinity"},
      {v1::COLUMN_DOUBLE, "NaN"},       {v1::COLUMN_DOUBLE, "1,5"},
      {v1::COLUMN_STRING, "\xff"},      {v1::COLUMN_BYTES, "\\"},
      {v1::COLUMN_BYTES, "\\x"},        {v1::COLUMN_BYTES, "\\777"},
      {v1::COLUMN_TIMESTAMP, "0"},      {v1::COLUMN_MESSAGE, ""},
      {v1::COLUMN_NONE, "0"},           {v1::COLUMN_STRING, std::string(2000, 'a')},
  };
  for (const auto& c : kCases) {
    EXPECT_FALSE(ParseLiteral(c.type, c.literal).ok()) << c.type << " " << c.literal;
  }
}

TEST(Value, Utf8IsWhatProtobufTakes) {
  for (const std::string& good : {""s, "a\0b"s, "\xc2\x80"s, "\xe0\xa0\x80"s, "\xed\x9f\xbf"s,
                                  "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s}) {
    EXPECT_TRUE(IsUtf8(good)) << testing::PrintToString(good);
  }
  for (const std::string& bad :
       {"\x80"s, "\xc0\x80"s, "\xc1\xbf"s, "\xe0\x9f\xbf"s, "\xed\xa0\x80"s, "\xf0\x8f\xbf\xbf"s,
        "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "\xc2"s, "\xe1\x80"s, "\xf1\x80\x80"s,
        "a\xff"s}) {
    EXPECT_FALSE(IsUtf8(bad)) << testing::PrintToString(bad);
  }
}

TEST(Value, TimesAreShownAsPeopleWriteThem) {
  EXPECT_EQ(Format(Value::Timestamp(0, 0)), "1970-01-01T00:00:00Z");
  EXPECT_EQ(Format(Value::Timestamp(951'782'400, 500'000'000)), "2000-02-29T00:00:00.5Z");
  EXPECT_EQ(Format(Value::Timestamp(-1, 999'999'999)), "1969-12-31T23:59:59.999999999Z");
  EXPECT_EQ(Format(Value::Timestamp(-62'135'596'800, 0)), "0001-01-01T00:00:00Z");
  EXPECT_EQ(Format(Value::Timestamp(253'402'300'799, 0)), "9999-12-31T23:59:59Z");
  EXPECT_EQ(Format(Value::Duration(-1, -500'000'000)), "-1.5s");
  EXPECT_EQ(Format(Value::Duration(0, -1)), "-0.000000001s");
  EXPECT_FALSE(IsTimestamp(0, -1));
  EXPECT_FALSE(IsTimestamp(253'402'300'800, 0));
  EXPECT_FALSE(IsDuration(1, -1));
  EXPECT_TRUE(IsDuration(0, -1));
}

TEST(Value, LongTextIsCutWhereItIsShown) {
  EXPECT_LT(Format(Value::String(std::string(10'000, 'x'))).size(), 120u);
}

}  // namespace
}  // namespace quorate::schema
