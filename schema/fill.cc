#include "schema/fill.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/status_macros.h"
#include "schema/wire.h"

namespace quorate::schema {
namespace {

bool IsWhole(Kind kind) { return kind == Kind::kInt || kind == Kind::kUint || kind == Kind::kBool; }
bool IsReal(Kind kind) { return kind == Kind::kFloat || kind == Kind::kDouble; }
bool IsText(Kind kind) { return kind == Kind::kString || kind == Kind::kBytes; }

Value ZeroOf(v1::ColumnType type) {
  switch (KindOf(type)) {
    case Kind::kBool:
      return Value::Bool(false);
    case Kind::kInt:
      return Value::Int(0);
    case Kind::kUint:
      return Value::Uint(0);
    case Kind::kFloat:
      return Value::Float(0);
    case Kind::kDouble:
      return Value::Double(0);
    case Kind::kString:
      return Value::String("");
    default:
      return Value::Bytes("");
  }
}

Status NoCounterpart(const Value& value) {
  return InvalidArgument(fmt::format("{} has no counterpart in the other type", Format(value)));
}

// A whole number into a type of whole numbers: its magnitude and sign.
Result<Value> ConvertWhole(const Value& value, v1::ColumnType to) {
  const bool negative = value.kind() == Kind::kInt && value.integer() < 0;
  switch (KindOf(to)) {
    case Kind::kBool:
      if (value.natural() > 1) return NoCounterpart(value);
      return Value::Bool(value.natural() == 1);
    case Kind::kUint:
      if (negative || (IsNarrow(to) && value.natural() > UINT32_MAX)) return NoCounterpart(value);
      return Value::Uint(value.natural());
    default: {
      if (!negative && value.natural() > uint64_t{INT64_MAX}) return NoCounterpart(value);
      const int64_t whole = value.integer();
      if (IsNarrow(to) && (whole < INT32_MIN || whole > INT32_MAX)) return NoCounterpart(value);
      return Value::Int(whole);
    }
  }
}

// Only the decimal that Format would write: otherwise the way back would change the string.
Result<Value> ConvertDecimal(const Value& text, v1::ColumnType to) {
  auto number = ParseLiteral(to, text.text());
  if (!number.ok() || Format(*number) != text.text()) return NoCounterpart(text);
  return number;
}

void Append(std::string* out, const FillSide& side, const Value& value) {
  switch (side.type) {
    case v1::COLUMN_DOUBLE:
      return AppendFixed64Field(out, side.number, value.natural());
    case v1::COLUMN_FIXED64:
    case v1::COLUMN_SFIXED64:
      return AppendFixed64Field(out, side.number, value.natural());
    case v1::COLUMN_FLOAT:
    case v1::COLUMN_FIXED32:
    case v1::COLUMN_SFIXED32:
      return AppendFixed32Field(out, side.number, static_cast<uint32_t>(value.natural()));
    case v1::COLUMN_STRING:
    case v1::COLUMN_BYTES:
      return AppendBytesField(out, side.number, value.text());
    case v1::COLUMN_SINT32:  // in 32 bits, as parsers read it
      return AppendVarintField(out, side.number, static_cast<uint32_t>(ZigZag(value.integer())));
    case v1::COLUMN_SINT64:
      return AppendVarintField(out, side.number, ZigZag(value.integer()));
    default:
      return AppendVarintField(out, side.number, value.natural());
  }
}

// `bytes` with this value in this field; null: without it.
std::string Written(const FillSide& side, const Value& value, std::string bytes) {
  if (value.null()) return WithoutField(bytes, side.number);
  Append(&bytes, side, value);
  return bytes;
}

}  // namespace

bool Convertible(v1::ColumnType from, v1::ColumnType to) {
  const Kind a = KindOf(from), b = KindOf(to);
  if (IsWhole(a)) return IsWhole(b) || (b == Kind::kString && a != Kind::kBool);
  if (IsReal(a)) return IsReal(b);
  if (IsText(a)) return IsText(b) || (a == Kind::kString && IsWhole(b) && b != Kind::kBool);
  return false;
}

Result<Value> Convert(const Value& value, v1::ColumnType to) {
  if (value.null()) return Value();
  const Kind kind = KindOf(to);
  if (IsWhole(value.kind()) && IsWhole(kind)) return ConvertWhole(value, to);
  if (IsWhole(value.kind()) && kind == Kind::kString) return Value::String(Format(value));
  if (value.kind() == Kind::kString && IsWhole(kind)) return ConvertDecimal(value, to);
  if (value.kind() == kind) return value;
  if (kind == Kind::kDouble) return Value::Double(value.single());
  if (kind == Kind::kFloat) {
    const Value narrow = Value::Float(static_cast<float>(value.real()));
    if (Value::Double(narrow.single()) != value) return NoCounterpart(value);
    return narrow;
  }
  if (kind == Kind::kBytes) return Value::Bytes(value.text());
  CHECK(kind == Kind::kString, "types without counterparts are refused before");
  if (!IsUtf8(value.text())) return NoCounterpart(value);
  return Value::String(value.text());
}

Result<std::string> KeepInStep(const Fill& fill, const RowReader::Row* before,
                               const RowReader::Row& row, std::string_view bytes) {
  const auto at = [](const RowReader::Row& of, const FillSide& side) {
    return of.columns[side.column].front();
  };
  const Value older = at(row, fill.from), newer = at(row, fill.to);
  const Value older_before = before == nullptr ? Value() : at(*before, fill.from);
  const Value newer_before = before == nullptr ? Value() : at(*before, fill.to);
  const bool newer_counts = newer != newer_before;
  if (!newer_counts && before != nullptr && older == older_before && !newer.null()) {
    return std::string(bytes);
  }
  const FillSide& source = newer_counts ? fill.to : fill.from;
  const FillSide& target = newer_counts ? fill.from : fill.to;
  auto counterpart = Convert(newer_counts ? newer : older, target.type);
  if (!counterpart.ok()) {
    return InvalidArgument(fmt::format("{} and {} are kept in step, and {}", source.path,
                                       target.path, counterpart.status().message()));
  }
  if (counterpart->null() && !target.has_presence) {
    // The newer one was taken away, and the older one cannot be absent: both are zero.
    counterpart = ZeroOf(target.type);
    auto zero = Convert(*counterpart, source.type);
    if (!zero.ok()) return zero.status();
    return Written(source, *zero, Written(target, *counterpart, std::string(bytes)));
  }
  const Value& there = newer_counts ? older : newer;
  if (*counterpart == there) return std::string(bytes);
  return Written(target, *counterpart, std::string(bytes));
}

}  // namespace quorate::schema
