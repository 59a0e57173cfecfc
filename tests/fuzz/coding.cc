// base/coding and base/bytes: every decoder, and that it takes back what its encoder makes.
#include "base/coding.h"

#include "base/bytes.h"
#include "base/check.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {
namespace {

// `get` on the input; what it took must be what `put` makes, or stand for the same value.
template <class T, class Get, class Put>
void RoundTrip(std::string_view input, Get get, Put put) {
  T value{};
  std::string_view rest = input;
  if (!get(&rest, &value)) return;
  CHECK(rest.size() <= input.size() && rest.data() + rest.size() == input.data() + input.size());
  std::string encoded;
  put(&encoded, value);
  std::string_view again = encoded;
  T same{};
  CHECK(get(&again, &same) && again.empty() && same == value);
}

void CheckOrder(std::string_view a, std::string_view b) {
  std::string ordered_a, ordered_b;
  PutOrderedBytes(&ordered_a, a);
  PutOrderedBytes(&ordered_b, b);
  CHECK((a < b) == (ordered_a < ordered_b) && (a == b) == (ordered_a == ordered_b));
  const std::string end = PrefixEnd(a);
  if (!end.empty()) CHECK(b.starts_with(a) ? b < end : (b < a || b >= end));
}

}  // namespace

void Run(std::string_view input) {
  RoundTrip<uint32_t>(input, GetFixed32, PutFixed32);
  RoundTrip<uint64_t>(input, GetFixed64, PutFixed64);
  RoundTrip<uint64_t>(input, GetVarint, PutVarint);
  RoundTrip<uint64_t>(input, GetOrdered64, PutOrdered64);
  RoundTrip<uint64_t>(input, GetOrderedDescending64, PutOrderedDescending64);
  RoundTrip<std::string_view>(input, GetLengthPrefixed, PutLengthPrefixed);
  RoundTrip<std::string>(input, GetOrderedBytes, PutOrderedBytes);
  std::string bytes;
  CHECK(FromHex(ToHex(input), &bytes) && bytes == input);
  FromHex(input, &bytes);
  CHECK(Printable(input, 64).size() <= 4 * 64 + 16);
  CheckOrder(input.substr(0, input.size() / 2), input.substr(input.size() / 2));
}

std::vector<std::string> Seeds() {
  std::string numbers, strings, ordered;
  PutVarint(&numbers, 300);
  PutFixed64(&numbers, 1u << 31);
  PutLengthPrefixed(&strings, "hello");
  PutOrderedBytes(&ordered, std::string_view("a\0b\xff", 4));
  return {numbers, strings, ordered, "c0ffee", std::string(4, '\xff')};
}

}  // namespace quorate::fuzz
