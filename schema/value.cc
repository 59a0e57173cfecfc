#include "schema/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/bytes.h"
#include "base/check.h"
#include "quorate/v1/schema.pb.h"
#include "schema/limits.h"

namespace quorate::schema {
namespace {

constexpr int64_t kTimestampSecondsMin = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr int64_t kTimestampSecondsMax = 253'402'300'799;  // 9999-12-31T23:59:59Z
constexpr int64_t kDurationSecondsMax = 315'576'000'000;
constexpr int32_t kNanosMax = 999'999'999;
constexpr size_t kShownMax = 60;

template <class T>
Result<T> ParseNumber(std::string_view text, const char* what) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidArgument(fmt::format("'{}' is not {}", Printable(text), what));
  }
  return value;
}

template <class T>
Result<T> ParseFloating(std::string_view text, const char* what) {
  if (text == "nan") return std::numeric_limits<T>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<T>::infinity();
  if (text == "-inf") return -std::numeric_limits<T>::infinity();
  auto value = ParseNumber<T>(text, what);
  if (value.ok() && !std::isfinite(*value)) {  // "infinity", "NAN": one spelling each
    return InvalidArgument(fmt::format("'{}' is not {}", Printable(text), what));
  }
  return value;
}

template <class To, class T>
Result<Value> As(To to, Result<T> number) {
  if (!number.ok()) return number.status();
  return to(std::move(number).value());
}

// The escapes of C, as protoc writes the defaults of bytes fields.
Result<std::string> Unescape(std::string_view text) {
  const auto wrong = [&] {
    return InvalidArgument(fmt::format("'{}' has an escape that C does not have", Printable(text)));
  };
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes.push_back(text[i]);
      continue;
    }
    if (++i == text.size()) return wrong();
    static constexpr std::string_view kLetters = "abfnrtv\\'\"?";
    static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"?";
    if (const size_t at = kLetters.find(text[i]); at != std::string_view::npos) {
      bytes.push_back(kMeanings[at]);
      continue;
    }
    const bool hex = text[i] == 'x' || text[i] == 'X';
    if (hex) ++i;
    unsigned value = 0;
    const size_t digits = std::min<size_t>(hex ? 2 : 3, text.size() - i);
    const char* begin = text.data() + i;
    const auto end = std::from_chars(begin, begin + digits, value, hex ? 16 : 8).ptr;
    if (end == begin || value > 255) return wrong();
    bytes.push_back(static_cast<char>(value));
    i += static_cast<size_t>(end - begin) - 1;
  }
  return bytes;
}

// Days since 1970-01-01 as year, month, day (proleptic Gregorian).
struct Date {
  int64_t year;
  int64_t month, day;
};
Date DateOf(int64_t days) {
  const int64_t shifted = days + 719'468;  // since 0000-03-01, so that leap days end a year
  const int64_t era = (shifted >= 0 ? shifted : shifted - 146'096) / 146'097;
  const int64_t of_era = shifted - era * 146'097;
  const int64_t year = (of_era - of_era / 1'460 + of_era / 36'524 - of_era / 146'096) / 365;
  const int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
  const int64_t month = (5 * of_year + 2) / 153;
  const int64_t day = of_year - (153 * month + 2) / 5 + 1;
  const int64_t calendar = month < 10 ? month + 3 : month - 9;
  return {year + era * 400 + (calendar <= 2 ? 1 : 0), calendar, day};
}

std::string FormatFraction(int32_t nanos) {
  if (nanos == 0) return "";
  std::string digits = fmt::format(".{:09}", std::abs(nanos));
  digits.erase(digits.find_last_not_of('0') + 1);
  return digits;
}

std::string FormatTimestamp(int64_t seconds, int32_t nanos) {
  int64_t days = seconds / 86'400;
  int64_t rest = seconds % 86'400;
  if (rest < 0) {
    rest += 86'400;
    --days;
  }
  const Date date = DateOf(days);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", date.year, date.month, date.day,
                     rest / 3'600, rest / 60 % 60, rest % 60, FormatFraction(nanos));
}

template <class T>
std::string FormatFloating(T v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  return fmt::format("{}", v);
}

template <class T>
std::strong_ordering OrderOf(T a, T b) {
  return a < b   ? std::strong_ordering::less
         : b < a ? std::strong_ordering::greater
                 : std::strong_ordering::equal;
}

// NaN above everything.
template <class T>
std::strong_ordering OrderOfFloating(T a, T b) {
  if (std::isnan(a) || std::isnan(b)) return OrderOf(std::isnan(a), std::isnan(b));
  return OrderOf(a, b);
}

}  // namespace

Kind KindOf(v1::ColumnType type) {
  switch (type) {
    case v1::COLUMN_BOOL:
      return Kind::kBool;
    case v1::COLUMN_INT32:
    case v1::COLUMN_SINT32:
    case v1::COLUMN_SFIXED32:
    case v1::COLUMN_INT64:
    case v1::COLUMN_SINT64:
    case v1::COLUMN_SFIXED64:
    case v1::COLUMN_ENUM:
      return Kind::kInt;
    case v1::COLUMN_UINT32:
    case v1::COLUMN_FIXED32:
    case v1::COLUMN_UINT64:
    case v1::COLUMN_FIXED64:
      return Kind::kUint;
    case v1::COLUMN_FLOAT:
      return Kind::kFloat;
    case v1::COLUMN_DOUBLE:
      return Kind::kDouble;
    case v1::COLUMN_STRING:
      return Kind::kString;
    case v1::COLUMN_BYTES:
      return Kind::kBytes;
    case v1::COLUMN_TIMESTAMP:
      return Kind::kTimestamp;
    case v1::COLUMN_DURATION:
      return Kind::kDuration;
    case v1::COLUMN_GROUP:
    case v1::COLUMN_MESSAGE:
      return Kind::kPresent;
    default:
      return Kind::kNull;
  }
}

bool IsNarrow(v1::ColumnType type) {
  switch (type) {
    case v1::COLUMN_INT32:
    case v1::COLUMN_SINT32:
    case v1::COLUMN_SFIXED32:
    case v1::COLUMN_ENUM:
    case v1::COLUMN_UINT32:
    case v1::COLUMN_FIXED32:
      return true;
    default:
      return false;
  }
}

Value Value::Float(float v) {
  if (std::isnan(v)) v = std::bit_cast<float>(uint32_t{0x7fc00000});
  return Value(Kind::kFloat, std::bit_cast<uint32_t>(v == 0 ? 0.0f : v));
}
Value Value::Double(double v) {
  if (std::isnan(v)) v = std::bit_cast<double>(uint64_t{0x7ff8000000000000});
  return Value(Kind::kDouble, std::bit_cast<uint64_t>(v == 0 ? 0.0 : v));
}
Value Value::Timestamp(int64_t seconds, int32_t nanos) {
  Value value(Kind::kTimestamp, static_cast<uint64_t>(seconds));
  value.nanos_ = nanos;
  return value;
}
Value Value::Duration(int64_t seconds, int32_t nanos) {
  Value value(Kind::kDuration, static_cast<uint64_t>(seconds));
  value.nanos_ = nanos;
  return value;
}
float Value::single() const { return std::bit_cast<float>(static_cast<uint32_t>(number_)); }
double Value::real() const { return std::bit_cast<double>(number_); }

bool operator==(const Value& a, const Value& b) {
  return a.kind_ == b.kind_ && a.number_ == b.number_ && a.nanos_ == b.nanos_ && a.text_ == b.text_;
}

std::strong_ordering Compare(const Value& a, const Value& b) {
  if (a.null() || b.null()) return OrderOf(!a.null(), !b.null());
  CHECK(a.kind() == b.kind(), "values of two kinds have no order");
  switch (a.kind()) {
    case Kind::kInt:
      return OrderOf(a.integer(), b.integer());
    case Kind::kNull:
    case Kind::kPresent:
    case Kind::kBool:
    case Kind::kUint:
      return OrderOf(a.natural(), b.natural());
    case Kind::kFloat:
      return OrderOfFloating(a.single(), b.single());
    case Kind::kDouble:
      return OrderOfFloating(a.real(), b.real());
    case Kind::kString:
    case Kind::kBytes:
      return OrderOf(a.text().compare(b.text()), 0);
    case Kind::kTimestamp:
    case Kind::kDuration:
      if (a.seconds() != b.seconds()) return OrderOf(a.seconds(), b.seconds());
      return OrderOf(a.nanos(), b.nanos());
  }
  CHECK(false, "no such kind");
}

Result<Value> ParseLiteral(v1::ColumnType type, std::string_view literal) {
  if (literal.size() > kLiteralBytesMax) {
    return InvalidArgument(fmt::format("a literal has {} bytes at most", kLiteralBytesMax));
  }
  switch (KindOf(type)) {
    case Kind::kBool:
      if (literal == "true" || literal == "false") return Value::Bool(literal == "true");
      return InvalidArgument(fmt::format("'{}' is neither true nor false", Printable(literal)));
    case Kind::kInt:
      if (IsNarrow(type)) return As(Value::Int, ParseNumber<int32_t>(literal, "an int32"));
      return As(Value::Int, ParseNumber<int64_t>(literal, "an int64"));
    case Kind::kUint:
      if (IsNarrow(type)) return As(Value::Uint, ParseNumber<uint32_t>(literal, "a uint32"));
      return As(Value::Uint, ParseNumber<uint64_t>(literal, "a uint64"));
    case Kind::kFloat:
      return As(Value::Float, ParseFloating<float>(literal, "a float"));
    case Kind::kDouble:
      return As(Value::Double, ParseFloating<double>(literal, "a double"));
    case Kind::kString:
      if (!IsUtf8(literal)) return InvalidArgument("the literal is not UTF-8");
      return Value::String(std::string(literal));
    case Kind::kBytes:
      return As(Value::Bytes, Unescape(literal));
    default:
      return InvalidArgument("values of this type have no literals");
  }
}

std::string Format(const Value& value) {
  switch (value.kind()) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return value.boolean() ? "true" : "false";
    case Kind::kInt:
      return fmt::format("{}", value.integer());
    case Kind::kUint:
      return fmt::format("{}", value.natural());
    case Kind::kFloat:
      return FormatFloating(value.single());
    case Kind::kDouble:
      return FormatFloating(value.real());
    case Kind::kString:
    case Kind::kBytes:
      return fmt::format("\"{}\"", Printable(value.text(), kShownMax));
    case Kind::kTimestamp:
      return FormatTimestamp(value.seconds(), value.nanos());
    case Kind::kDuration:
      return fmt::format("{}{}{}s", value.seconds() < 0 || value.nanos() < 0 ? "-" : "",
                         std::abs(value.seconds()), FormatFraction(value.nanos()));
    case Kind::kPresent:
      return "present";
  }
  return "";
}

bool IsUtf8(std::string_view text) {
  const auto continues = [&](size_t i) {
    return i < text.size() && (static_cast<uint8_t>(text[i]) & 0xc0) == 0x80;
  };
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t size = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (size == 0) return false;
    for (size_t k = 1; k < size; ++k) {
      if (!continues(i + k)) return false;
    }
    const auto second = static_cast<uint8_t>(text[i + 1]);
    if (lead == 0xe0 && second < 0xa0) return false;   // overlong
    if (lead == 0xed && second >= 0xa0) return false;  // a surrogate
    if (lead == 0xf0 && second < 0x90) return false;   // overlong
    if (lead == 0xf4 && second >= 0x90) return false;  // beyond U+10FFFF
    i += size;
  }
  return true;
}

bool IsTimestamp(int64_t seconds, int32_t nanos) {
  return seconds >= kTimestampSecondsMin && seconds <= kTimestampSecondsMax && nanos >= 0 &&
         nanos <= kNanosMax;
}

bool IsDuration(int64_t seconds, int32_t nanos) {
  return seconds >= -kDurationSecondsMax && seconds <= kDurationSecondsMax && nanos >= -kNanosMax &&
         nanos <= kNanosMax && !(seconds > 0 && nanos < 0) && !(seconds < 0 && nanos > 0);
}

}  // namespace quorate::schema
