// Fixed-width and variable-length integers, and an order-preserving escape for byte strings.
// Decoders take what they read off the front of `input` and return false, with `input` unspecified,
// when it is malformed or too short; they never allocate by an unchecked length.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quorate {

void PutFixed32(std::string* out, uint32_t v);  // little-endian
void PutFixed64(std::string* out, uint64_t v);  // little-endian
bool GetFixed32(std::string_view* input, uint32_t* v);
bool GetFixed64(std::string_view* input, uint64_t* v);

void PutVarint(std::string* out, uint64_t v);
bool GetVarint(std::string_view* input, uint64_t* v);
void PutLengthPrefixed(std::string* out, std::string_view bytes);
// `bytes` borrows from the input.
bool GetLengthPrefixed(std::string_view* input, std::string_view* bytes);

// Big-endian: the order of the bytes is the order of the numbers.
void PutOrdered64(std::string* out, uint64_t v);
bool GetOrdered64(std::string_view* input, uint64_t* v);
// Descending: a larger number sorts first (newest version first).
inline void PutOrderedDescending64(std::string* out, uint64_t v) { PutOrdered64(out, ~v); }
bool GetOrderedDescending64(std::string_view* input, uint64_t* v);

// Escaped so that a terminator ends it and order is kept: 0x00 -> 00 ff, end -> 00 01.
void PutOrderedBytes(std::string* out, std::string_view bytes);
bool GetOrderedBytes(std::string_view* input, std::string* bytes);

}  // namespace quorate
