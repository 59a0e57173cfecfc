#include "schema/tuple.h"

#include <bit>

#include "base/check.h"
#include "base/coding.h"

namespace quorate::schema {
namespace {

constexpr uint8_t kNullTag = 0x01;
constexpr uint8_t kFalseTag = 0x02;
constexpr uint8_t kTrueTag = 0x03;
constexpr uint8_t kZeroTag = 0x18;  // of integers: their middle
constexpr uint8_t kFloatTag = 0x28;
constexpr uint8_t kDoubleTag = 0x29;
constexpr uint8_t kStringTag = 0x30;
constexpr uint8_t kBytesTag = 0x31;
constexpr uint8_t kTimestampTag = 0x38;
constexpr uint8_t kDurationTag = 0x39;
constexpr size_t kIntegerBytesMax = 8;

void PutByte(std::string* out, uint8_t byte) { out->push_back(static_cast<char>(byte)); }

void PutBigEndian(std::string* out, uint64_t bits, size_t size) {
  for (size_t i = size; i-- > 0;) PutByte(out, static_cast<uint8_t>(bits >> (8 * i)));
}

size_t BytesOf(uint64_t magnitude) {
  return (static_cast<size_t>(std::bit_width(magnitude)) + 7) / 8;
}

uint64_t Magnitude(int64_t v) {
  return v < 0 ? ~static_cast<uint64_t>(v) + 1 : static_cast<uint64_t>(v);
}

void PutInteger(std::string* out, uint64_t magnitude, bool negative) {
  const size_t size = BytesOf(magnitude);
  PutByte(out, static_cast<uint8_t>(negative ? kZeroTag - size : kZeroTag + size));
  PutBigEndian(out, negative ? ~magnitude : magnitude, size);
}

// IEEE 754 bits so that unsigned order is numeric order, and back.
template <class Bits>
Bits Ordered(Bits bits) {
  constexpr Bits kSign = Bits{1} << (sizeof(Bits) * 8 - 1);
  return (bits & kSign) != 0 ? static_cast<Bits>(~bits) : static_cast<Bits>(bits | kSign);
}
template <class Bits>
Bits Unordered(Bits bits) {
  constexpr Bits kSign = Bits{1} << (sizeof(Bits) * 8 - 1);
  return (bits & kSign) != 0 ? static_cast<Bits>(bits & ~kSign) : static_cast<Bits>(~bits);
}

void PutTime(std::string* out, const Value& value) {
  PutBigEndian(out, value.natural() ^ (uint64_t{1} << 63), 8);
  PutBigEndian(out, static_cast<uint32_t>(value.nanos()) ^ (uint32_t{1} << 31), 4);
}

// Bytes off the front of an input, complemented if the order is descending.
class Source {
 public:
  Source(std::string_view* input, Order order)
      : input_(input), mask_(order == Order::kDescending ? 0xff : 0) {}

  bool Byte(uint8_t* byte) {
    if (input_->empty()) return false;
    *byte = static_cast<uint8_t>(input_->front()) ^ mask_;
    input_->remove_prefix(1);
    return true;
  }
  bool BigEndian(size_t size, uint64_t* bits) {
    *bits = 0;
    for (uint8_t byte = 0; size > 0; --size) {
      if (!Byte(&byte)) return false;
      *bits = *bits << 8 | byte;
    }
    return true;
  }
  bool Text(std::string* text) {
    for (uint8_t byte = 0; Byte(&byte);) {
      if (byte == 0) {
        if (!Byte(&byte)) return false;
        if (byte == 0x01) return true;
        if (byte != 0xff) return false;
        byte = 0;
      }
      text->push_back(static_cast<char>(byte));
    }
    return false;
  }

 private:
  std::string_view* input_;
  uint8_t mask_;
};

bool GetInteger(Source* source, uint8_t tag, const Expected& expected, Value* value) {
  const bool negative = tag < kZeroTag;
  const size_t size = negative ? kZeroTag - tag : tag - kZeroTag;
  uint64_t magnitude = 0;
  if (size > kIntegerBytesMax || !source->BigEndian(size, &magnitude)) return false;
  if (negative) magnitude = ~magnitude & (~uint64_t{0} >> (64 - 8 * size));
  if (BytesOf(magnitude) != size) return false;  // fewer bytes would do
  if (expected.kind == Kind::kUint) {
    if (negative || (expected.narrow && magnitude > UINT32_MAX)) return false;
    *value = Value::Uint(magnitude);
    return true;
  }
  const uint64_t largest =
      (expected.narrow ? uint64_t{INT32_MAX} : uint64_t{INT64_MAX}) + (negative ? 1 : 0);
  if (magnitude > largest) return false;
  *value = Value::Int(static_cast<int64_t>(negative ? ~magnitude + 1 : magnitude));
  return true;
}

bool GetFloating(Source* source, uint8_t tag, Value* value) {
  uint64_t bits = 0;
  if (!source->BigEndian(tag == kFloatTag ? 4 : 8, &bits)) return false;
  // Equal bits only if these are the ones that Value makes of all zeros and all NaNs.
  if (tag == kFloatTag) {
    const auto plain = Unordered(static_cast<uint32_t>(bits));
    *value = Value::Float(std::bit_cast<float>(plain));
    return value->natural() == plain;
  }
  const uint64_t plain = Unordered(bits);
  *value = Value::Double(std::bit_cast<double>(plain));
  return value->natural() == plain;
}

bool GetText(Source* source, uint8_t tag, Value* value) {
  std::string text;
  if (!source->Text(&text)) return false;
  if (tag == kStringTag && !IsUtf8(text)) return false;
  *value = tag == kStringTag ? Value::String(std::move(text)) : Value::Bytes(std::move(text));
  return true;
}

bool GetTime(Source* source, uint8_t tag, Value* value) {
  uint64_t high = 0, low = 0;
  if (!source->BigEndian(8, &high) || !source->BigEndian(4, &low)) return false;
  const auto seconds = static_cast<int64_t>(high ^ (uint64_t{1} << 63));
  const auto nanos = static_cast<int32_t>(static_cast<uint32_t>(low) ^ (uint32_t{1} << 31));
  const bool timestamp = tag == kTimestampTag;
  *value = timestamp ? Value::Timestamp(seconds, nanos) : Value::Duration(seconds, nanos);
  return timestamp ? IsTimestamp(seconds, nanos) : IsDuration(seconds, nanos);
}

}  // namespace

void PutValue(std::string* out, const Value& value, Order order) {
  const size_t begin = out->size();
  switch (value.kind()) {
    case Kind::kNull:
      PutByte(out, kNullTag);
      break;
    case Kind::kBool:
      PutByte(out, value.boolean() ? kTrueTag : kFalseTag);
      break;
    case Kind::kInt:
      PutInteger(out, Magnitude(value.integer()), value.integer() < 0);
      break;
    case Kind::kUint:
      PutInteger(out, value.natural(), false);
      break;
    case Kind::kFloat:
      PutByte(out, kFloatTag);
      PutBigEndian(out, Ordered(static_cast<uint32_t>(value.natural())), 4);
      break;
    case Kind::kDouble:
      PutByte(out, kDoubleTag);
      PutBigEndian(out, Ordered(value.natural()), 8);
      break;
    case Kind::kString:
    case Kind::kBytes:
      PutByte(out, value.kind() == Kind::kString ? kStringTag : kBytesTag);
      PutOrderedBytes(out, value.text());
      break;
    case Kind::kTimestamp:
    case Kind::kDuration:
      PutByte(out, value.kind() == Kind::kTimestamp ? kTimestampTag : kDurationTag);
      PutTime(out, value);
      break;
    case Kind::kPresent:
      CHECK(false, "that a message is there is in no key");
  }
  if (order == Order::kDescending) {
    for (size_t i = begin; i < out->size(); ++i) (*out)[i] = static_cast<char>(~(*out)[i]);
  }
}

bool GetValue(std::string_view* input, const Expected& expected, Value* value) {
  Source source(input, expected.order);
  uint8_t tag = 0;
  if (!source.Byte(&tag)) return false;
  if (tag == kNullTag) {
    *value = Value();
    return true;
  }
  switch (expected.kind) {
    case Kind::kNull:
    case Kind::kPresent:
      return false;
    case Kind::kBool:
      *value = Value::Bool(tag == kTrueTag);
      return tag == kTrueTag || tag == kFalseTag;
    case Kind::kInt:
    case Kind::kUint:
      return tag >= kZeroTag - kIntegerBytesMax && tag <= kZeroTag + kIntegerBytesMax &&
             GetInteger(&source, tag, expected, value);
    case Kind::kFloat:
      return tag == kFloatTag && GetFloating(&source, tag, value);
    case Kind::kDouble:
      return tag == kDoubleTag && GetFloating(&source, tag, value);
    case Kind::kString:
      return tag == kStringTag && GetText(&source, tag, value);
    case Kind::kBytes:
      return tag == kBytesTag && GetText(&source, tag, value);
    case Kind::kTimestamp:
      return tag == kTimestampTag && GetTime(&source, tag, value);
    case Kind::kDuration:
      return tag == kDurationTag && GetTime(&source, tag, value);
  }
  return false;
}

size_t EncodedSize(const Value& value) {
  switch (value.kind()) {
    case Kind::kNull:
    case Kind::kBool:
      return 1;
    case Kind::kInt:
      return 1 + BytesOf(Magnitude(value.integer()));
    case Kind::kUint:
      return 1 + BytesOf(value.natural());
    case Kind::kFloat:
      return 5;
    case Kind::kDouble:
      return 9;
    case Kind::kString:
    case Kind::kBytes: {
      size_t zeros = 0;
      for (const char c : value.text()) zeros += c == '\0' ? 1 : 0;
      return 3 + value.text().size() + zeros;
    }
    case Kind::kTimestamp:
    case Kind::kDuration:
      return 13;
    case Kind::kPresent:
      return 0;
  }
  return 0;
}

}  // namespace quorate::schema
