// Order-preserving encoding of values: the order of the bytes is the order of the values, one value
// after the other. No encoding is the beginning of another one's, so tuples of any length compare
// as lists do, and the encoding of the first values is a prefix that bounds a scan.
//
// A value is a tag and what the tag says. There is one encoding per value, and decoders refuse all
// others: equal values are equal bytes, and bytes that were decoded encode to themselves.
//
//   null        01
//   bool        02 false, 03 true
//   integers    18 zero; 18+n and n bytes, big-endian, for positive ones; 18-n and n bytes, the
//               complement of the magnitude, for negative ones; n of 1 to 8, as few as can be.
//               Of all widths and both signs alike
//   float       28 and 4 bytes; double: 29 and 8 bytes. As IEEE 754 has them, big-endian: the sign
//               bit inverted for positive ones, all bits for negative ones. -0 is 0; NaN is last
//   string      30, bytes: 31; then the bytes with 00 as 00 ff, and 00 01 as their end
//   timestamp   38, duration: 39; 8 bytes seconds and 4 bytes nanos, big-endian, sign bit inverted
//
// Descending: every byte of the value is complemented, so null comes last.
//
// A tag that no version has given out is refused, so new kinds can be added between the others.
#pragma once

#include <string>
#include <string_view>

#include "schema/value.h"

namespace quorate::schema {

enum class Order : bool { kAscending, kDescending };

// What a decoder is to find. Ranges make a decoded value one that its field can hold.
struct Expected {
  Kind kind = Kind::kNull;
  bool narrow = false;  // of 32 bits
  Order order = Order::kAscending;
};

// kPresent has no encoding: a CHECK.
void PutValue(std::string* out, const Value& value, Order order);
// Takes one value, or null, off the front. False, with `input` and `value` unspecified, if it is
// not the one encoding of a value of that kind. Allocates no more than the input is long. Whether a
// string is UTF-8, and a timestamp in its range, was asked when it was encoded, and is asked again.
bool GetValue(std::string_view* input, const Expected& expected, Value* value);

// How long PutValue's output is.
size_t EncodedSize(const Value& value);

}  // namespace quorate::schema
