// The wire format of protobuf, as far as a walk over bytes needs it. Never reads past its input,
// and never recurses: nested groups are counted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quorate::schema {

enum class WireType : uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kLengthDelimited = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

// One field as it stands in the bytes.
struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t bits = 0;         // of kVarint, kFixed64, kFixed32
  std::string_view payload;  // of kLengthDelimited, and what is between the tags of a group
  std::string_view whole;    // tag and all
};

// Takes the next field off the front of `input`, which is not empty. False: no message has such
// bytes; `input` is then unspecified. A group is taken whole, up to the tag that ends it.
bool NextField(std::string_view* input, WireField* field);

// Takes one element off the front of a packed list of varints or fixed numbers.
bool NextPacked(std::string_view* input, WireType type, uint64_t* bits);

// Appends a field of a type that is none of messages and groups. `bits`: of a varint as it is
// encoded (zigzag done), of fixed ones their bits.
void AppendVarintField(std::string* out, uint32_t number, uint64_t bits);
void AppendFixed32Field(std::string* out, uint32_t number, uint32_t bits);
void AppendFixed64Field(std::string* out, uint32_t number, uint64_t bits);
void AppendBytesField(std::string* out, uint32_t number, std::string_view bytes);
// `message` without any occurrence of this field. `message` is well-formed.
std::string WithoutField(std::string_view message, uint32_t number);

inline uint64_t ZigZag(int64_t v) {
  return static_cast<uint64_t>(v) << 1 ^ static_cast<uint64_t>(v >> 63);
}
inline int64_t UnZigZag(uint64_t v) {
  return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
}

}  // namespace quorate::schema
