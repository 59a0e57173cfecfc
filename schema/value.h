// One value of a row, as keys, indexes and checks know it: its kind, and nothing of how protobuf
// encodes it. The order of values (Compare) is what tuple encoding keeps.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace quorate::v1 {
enum ColumnType : int;
}

namespace quorate::schema {

enum class Kind : uint8_t {
  kNull,
  kBool,
  kInt,   // signed, of 32 or 64 bits; enums
  kUint,  // unsigned, of 32 or 64 bits
  kFloat,
  kDouble,
  kString,
  kBytes,
  kTimestamp,
  kDuration,
  kPresent,  // a message that is there: for not-null alone, in no key
};

// What kind a column's values are of; kNull for a number that is no type.
Kind KindOf(v1::ColumnType type);
// Whether it is a number of 32 bits.
bool IsNarrow(v1::ColumnType type);

class Value {
 public:
  Value() = default;  // null
  static Value Bool(bool v) { return Value(Kind::kBool, v); }
  static Value Int(int64_t v) { return Value(Kind::kInt, static_cast<uint64_t>(v)); }
  static Value Uint(uint64_t v) { return Value(Kind::kUint, v); }
  // -0 becomes 0, and every NaN the same one.
  static Value Float(float v);
  static Value Double(double v);
  static Value String(std::string v) { return Value(Kind::kString, std::move(v)); }
  static Value Bytes(std::string v) { return Value(Kind::kBytes, std::move(v)); }
  static Value Timestamp(int64_t seconds, int32_t nanos);
  static Value Duration(int64_t seconds, int32_t nanos);
  static Value Present() { return Value(Kind::kPresent, uint64_t{0}); }

  Kind kind() const { return kind_; }
  bool null() const { return kind_ == Kind::kNull; }
  bool boolean() const { return number_ != 0; }
  int64_t integer() const { return static_cast<int64_t>(number_); }
  uint64_t natural() const { return number_; }
  float single() const;
  double real() const;
  const std::string& text() const { return text_; }  // of kString and kBytes
  int64_t seconds() const { return integer(); }      // of kTimestamp and kDuration
  int32_t nanos() const { return nanos_; }

  friend bool operator==(const Value& a, const Value& b);

 private:
  Value(Kind kind, uint64_t number) : kind_(kind), number_(number) {}
  Value(Kind kind, std::string text) : kind_(kind), text_(std::move(text)) {}

  Kind kind_ = Kind::kNull;
  int32_t nanos_ = 0;
  uint64_t number_ = 0;  // bits of a float or double, otherwise the number
  std::string text_;
};

// The order of values of one kind, and of null, which is less than all others. NaN equals itself
// and is above +inf. Strings and bytes go by their bytes, which for UTF-8 is the order of code
// points.
std::strong_ordering Compare(const Value& a, const Value& b);

// A literal of quorate/options.proto as a value of a column of this type, in the range of that
// type. Enums by number; names are the compiler's affair (schema/compile.h). INVALID_ARGUMENT: says
// what was expected. Timestamps, durations and messages have no literals.
Result<Value> ParseLiteral(v1::ColumnType type, std::string_view literal);
// For people and messages: 12, 1.5, "text", 2026-01-31T10:00:00.5Z, 1.5s, null. At most about 100
// bytes: longer texts are cut.
std::string Format(const Value& value);

// Whether protobuf would take it for a string: no overlong forms, no surrogates, at most U+10FFFF.
bool IsUtf8(std::string_view text);

// Whether protobuf's own limits hold: years 1 to 9999 and 0 <= nanos < 10^9; +-10,000 years and
// nanos of the same sign.
bool IsTimestamp(int64_t seconds, int32_t nanos);
bool IsDuration(int64_t seconds, int32_t nanos);

}  // namespace quorate::schema
