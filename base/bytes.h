// Byte strings: owned ones are std::string, borrowed ones std::string_view.
#pragma once

#include <string>
#include <string_view>

namespace quorate {

// Lower-case hexadecimal, two digits per byte.
std::string ToHex(std::string_view bytes);
// Inverse of ToHex; false if `hex` has an odd length or another character.
bool FromHex(std::string_view hex, std::string* bytes);
// For messages and logs: printable ASCII as it is, other bytes as \xNN, cut at `max` bytes.
std::string Printable(std::string_view bytes, size_t max = 64);
// The smallest key that is greater than every key with this prefix; empty: there is none.
std::string PrefixEnd(std::string_view prefix);

}  // namespace quorate
