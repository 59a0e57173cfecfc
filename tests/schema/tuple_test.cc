#include "schema/tuple.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"

namespace quorate::schema {
namespace {

using namespace std::string_literals;

struct Column {
  Expected expected;
};

constexpr Kind kKinds[] = {Kind::kBool,  Kind::kInt,       Kind::kUint,
                           Kind::kFloat, Kind::kDouble,    Kind::kString,
                           Kind::kBytes, Kind::kTimestamp, Kind::kDuration};

uint64_t Bits(Random& random) {
  static constexpr uint64_t kEdges[] = {0,
                                        1,
                                        0x7f,
                                        0x80,
                                        0xff,
                                        0x100,
                                        0xffff,
                                        0x10000,
                                        0x7fffffff,
                                        0x80000000,
                                        0xffffffff,
                                        0x100000000,
                                        0x7fffffffffffffff,
                                        0x8000000000000000,
                                        0xffffffffffffffff};
  const uint64_t edge = kEdges[random.Below(std::size(kEdges))];
  switch (random.Below(4)) {
    case 0:
      return edge;
    case 1:
      return edge + random.Below(5) - 2;
    case 2:
      return random.Next() >> random.Below(64);
    default:
      return ~(random.Next() >> random.Below(64));
  }
}

double Floating(Random& random) {
  static const double kEdges[] = {0.0,
                                  -0.0,
                                  1,
                                  -1,
                                  INFINITY,
                                  -INFINITY,
                                  NAN,
                                  -NAN,
                                  5e-324,
                                  -5e-324,
                                  1e-45,
                                  3.4028234e38,
                                  -3.4028234e38,
                                  std::numeric_limits<double>::max(),
                                  std::numeric_limits<double>::lowest()};
  if (random.Chance(0.5)) return kEdges[random.Below(std::size(kEdges))];
  return std::bit_cast<double>(Bits(random));
}

std::string Text(Random& random, bool utf8) {
  static const std::string kUtf8[] = {
      "\0"s, "\x01"s, "a"s, "b"s, "\x7f"s, "\xc3\xa9"s, "\xef\xbf\xbf"s, "\xf0\x9f\x98\x80"s};
  static const std::string kBytes[] = {"\0"s,   "\x01"s,   "a"s,     "\xfe"s,
                                       "\xff"s, "\0\xff"s, "\0\x01"s};
  std::string text;
  for (uint64_t left = random.Below(6); left > 0; --left) {
    text += utf8 ? kUtf8[random.Below(std::size(kUtf8))] : kBytes[random.Below(std::size(kBytes))];
  }
  return text;
}

Value Draw(Random& random, const Expected& expected) {
  if (random.Chance(0.1)) return Value();
  const uint64_t bits = Bits(random);
  switch (expected.kind) {
    case Kind::kBool:
      return Value::Bool(random.Chance(0.5));
    case Kind::kInt:
      return Value::Int(expected.narrow ? static_cast<int32_t>(bits) : static_cast<int64_t>(bits));
    case Kind::kUint:
      return Value::Uint(expected.narrow ? static_cast<uint32_t>(bits) : bits);
    case Kind::kFloat:
      return Value::Float(static_cast<float>(Floating(random)));
    case Kind::kDouble:
      return Value::Double(Floating(random));
    case Kind::kString:
      return Value::String(Text(random, true));
    case Kind::kBytes:
      return Value::Bytes(Text(random, false));
    case Kind::kTimestamp:
      return Value::Timestamp(random.Between(-5, 5) * 12'000'000'000,
                              static_cast<int32_t>(random.Below(3)));
    default: {
      const int64_t seconds = random.Between(-2, 2);
      const auto nanos = static_cast<int32_t>(random.Below(3));
      return Value::Duration(
          seconds, seconds < 0 || random.Chance(0.5) ? (seconds > 0 ? nanos : -nanos) : nanos);
    }
  }
}

Expected DrawColumn(Random& random) {
  return {kKinds[random.Below(std::size(kKinds))], random.Chance(0.5),
          random.Chance(0.5) ? Order::kAscending : Order::kDescending};
}

// The order that people mean, written down a second time: signs, NaN and nulls by hand.
int Naive(const Value& a, const Value& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.null() || b.null()) return order(!a.null(), !b.null());
  switch (a.kind()) {
    case Kind::kBool:
      return order(a.boolean(), b.boolean());
    case Kind::kInt:
      return order(a.integer(), b.integer());
    case Kind::kUint:
      return order(a.natural(), b.natural());
    case Kind::kFloat:
    case Kind::kDouble: {
      const double x = a.kind() == Kind::kFloat ? double{a.single()} : a.real();
      const double y = b.kind() == Kind::kFloat ? double{b.single()} : b.real();
      if (std::isnan(x) || std::isnan(y)) return order(std::isnan(x), std::isnan(y));
      return order(x, y);
    }
    case Kind::kString:
    case Kind::kBytes: {
      const std::basic_string<unsigned char> x(a.text().begin(), a.text().end());
      const std::basic_string<unsigned char> y(b.text().begin(), b.text().end());
      return order(x, y);
    }
    default:
      return order(static_cast<__int128>(a.seconds()) * 1'000'000'000 + a.nanos(),
                   static_cast<__int128>(b.seconds()) * 1'000'000'000 + b.nanos());
  }
}

int Sign(int n) { return n < 0 ? -1 : n > 0 ? 1 : 0; }

TEST(Tuple, OrderOfBytesIsOrderOfValues) {
  Random random(1);
  for (int round = 0; round < 200'000; ++round) {
    std::vector<Expected> columns(1 + random.Below(3));
    for (Expected& column : columns) column = DrawColumn(random);
    std::string left, right;
    int expected = 0;
    for (const Expected& column : columns) {
      const Value a = Draw(random, column);
      const Value b = random.Chance(0.3) ? a : Draw(random, column);
      PutValue(&left, a, column.order);
      PutValue(&right, b, column.order);
      const int naive = column.order == Order::kDescending ? -Naive(a, b) : Naive(a, b);
      if (expected == 0) expected = naive;
      ASSERT_EQ(Sign(Compare(a, b) < 0 ? -1 : Compare(a, b) > 0 ? 1 : 0), Naive(a, b));
    }
    ASSERT_EQ(Sign(left.compare(right)), expected) << ToHex(left) << " " << ToHex(right);
  }
}

TEST(Tuple, NoEncodingBeginsAnother) {
  Random random(2);
  for (const Kind kind : kKinds) {
    for (const Order order : {Order::kAscending, Order::kDescending}) {
      std::set<std::string> encodings;
      for (int i = 0; i < 2'000; ++i) {
        std::string bytes;
        PutValue(&bytes, Draw(random, {kind, false, order}), order);
        encodings.insert(bytes);
      }
      // In order, whatever begins with a string comes right behind it.
      for (auto at = encodings.begin(), next = std::next(at); next != encodings.end();
           ++at, ++next) {
        ASSERT_FALSE(next->starts_with(*at)) << ToHex(*at) << " " << ToHex(*next);
      }
    }
  }
}

TEST(Tuple, ComesBack) {
  Random random(3);
  for (int round = 0; round < 100'000; ++round) {
    std::vector<Expected> columns(1 + random.Below(4));
    std::vector<Value> values;
    std::string bytes;
    size_t size = 0;
    for (Expected& column : columns) {
      column = DrawColumn(random);
      values.push_back(Draw(random, column));
      PutValue(&bytes, values.back(), column.order);
      size += EncodedSize(values.back());
    }
    ASSERT_EQ(bytes.size(), size);
    std::string_view rest = bytes;
    for (size_t i = 0; i < columns.size(); ++i) {
      Value value;
      ASSERT_TRUE(GetValue(&rest, columns[i], &value)) << ToHex(bytes);
      ASSERT_EQ(value, values[i]) << Format(value) << " " << Format(values[i]);
    }
    ASSERT_TRUE(rest.empty());
  }
}

// Bytes that were decoded encode to themselves: there is no second encoding of anything.
TEST(Tuple, WhateverIsDecodedIsTheOneEncoding) {
  Random random(4);
  int decoded = 0;
  for (int round = 0; round < 300'000; ++round) {
    const Expected column = DrawColumn(random);
    std::string bytes;
    PutValue(&bytes, Draw(random, column), column.order);
    for (uint64_t left = random.Below(3); left > 0; --left) {
      switch (random.Below(3)) {
        case 0:
          bytes[random.Below(bytes.size())] ^= static_cast<char>(1 << random.Below(8));
          break;
        case 1:
          bytes.insert(random.Below(bytes.size() + 1), 1, static_cast<char>(random.Next()));
          break;
        default:
          bytes.erase(random.Below(bytes.size()), 1);
      }
      if (bytes.empty()) bytes = "\x01";
    }
    std::string_view rest = bytes;
    Value value;
    if (!GetValue(&rest, column, &value)) continue;
    ++decoded;
    std::string again;
    PutValue(&again, value, column.order);
    ASSERT_EQ(ToHex(again), ToHex(bytes.substr(0, bytes.size() - rest.size())));
  }
  EXPECT_GT(decoded, 100'000);
}

TEST(Tuple, OtherEncodingsAreRefused) {
  const struct {
    const char* why;
    Expected expected;
    std::string bytes;
  } kCases[] = {
      {"nothing", {Kind::kInt}, ""},
      {"a tag that nobody gave out", {Kind::kInt}, "\x04"},
      {"another kind", {Kind::kInt}, "\x02"},
      {"a longer integer than needed", {Kind::kInt}, "\x1a\0\x01"s},
      {"a longer negative integer than needed", {Kind::kInt}, "\x16\xff\xfe"s},
      {"beyond int64", {Kind::kInt}, "\x20\x80\0\0\0\0\0\0\0"s},
      {"below int64", {Kind::kInt}, "\x10\x7f\xff\xff\xff\xff\xff\xff\xfe"s},
      {"beyond int32", {Kind::kInt, true}, "\x1c\x80\0\0\0"s},
      {"beyond uint32", {Kind::kUint, true}, "\x1d\x01\0\0\0\0"s},
      {"a negative unsigned", {Kind::kUint}, "\x17\xfe"s},
      {"minus zero", {Kind::kDouble}, "\x29\x7f\xff\xff\xff\xff\xff\xff\xff"s},
      {"another NaN", {Kind::kFloat}, "\x28\xff\xc0\0\x01"s},
      {"a negative NaN", {Kind::kFloat}, "\x28\0\0\0\0"s},
      {"a string without end", {Kind::kString}, "\x30xyz"},
      {"an escape of something else", {Kind::kBytes}, "\x31\0\x02\0\x01"s},
      {"a string that is not UTF-8", {Kind::kString}, "\x30\xff\0\x01"s},
      {"a timestamp with too many nanos",
       {Kind::kTimestamp},
       "\x38\x80\0\0\0\0\0\0\0\xbb\x9a\xca\0"s},
      {"a cut timestamp", {Kind::kTimestamp}, "\x38\x80\0\0"s},
      {"a descending value that is not complemented",
       {Kind::kInt, false, Order::kDescending},
       "\x19\x05"s},
  };
  for (const auto& c : kCases) {
    std::string_view rest = c.bytes;
    Value value;
    EXPECT_FALSE(GetValue(&rest, c.expected, &value)) << c.why << ": " << Format(value);
  }
}

// The bytes that the header promises: data is kept in them.
TEST(Tuple, BytesAreForGood) {
  const struct {
    Value value;
    Order order;
    const char* hex;
  } kCases[] = {
      {Value(), Order::kAscending, "01"},
      {Value(), Order::kDescending, "fe"},
      {Value::Bool(false), Order::kAscending, "02"},
      {Value::Bool(true), Order::kAscending, "03"},
      {Value::Int(0), Order::kAscending, "18"},
      {Value::Int(1), Order::kAscending, "1901"},
      {Value::Uint(256), Order::kAscending, "1a0100"},
      {Value::Int(-1), Order::kAscending, "17fe"},
      {Value::Int(-256), Order::kAscending, "16feff"},
      {Value::Int(INT64_MIN), Order::kAscending, "107fffffffffffffff"},
      {Value::Uint(UINT64_MAX), Order::kAscending, "20ffffffffffffffff"},
      {Value::Int(5), Order::kDescending, "e6fa"},
      {Value::Float(1), Order::kAscending, "28bf800000"},
      {Value::Double(-1), Order::kAscending, "29400fffffffffffff"},
      {Value::Double(NAN), Order::kAscending, "29fff8000000000000"},
      {Value::String("a\0"s), Order::kAscending, "306100ff0001"},
      {Value::Bytes(""), Order::kAscending, "310001"},
      {Value::Timestamp(1, 2), Order::kAscending, "38800000000000000180000002"},
      {Value::Duration(-1, -2), Order::kAscending, "397fffffffffffffff7ffffffe"},
  };
  for (const auto& c : kCases) {
    std::string bytes;
    PutValue(&bytes, c.value, c.order);
    EXPECT_EQ(ToHex(bytes), c.hex) << Format(c.value);
  }
}

}  // namespace
}  // namespace quorate::schema
