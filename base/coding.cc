#include "base/coding.h"

#include <bit>
#include <cstring>

static_assert(std::endian::native == std::endian::little, "formats are little-endian as stored");

namespace quorate {
namespace {

template <class T>
bool GetRaw(std::string_view* input, T* v) {
  if (input->size() < sizeof(T)) return false;
  std::memcpy(v, input->data(), sizeof(T));
  input->remove_prefix(sizeof(T));
  return true;
}

}  // namespace

void PutFixed32(std::string* out, uint32_t v) {
  out->append(reinterpret_cast<const char*>(&v), sizeof(v));
}
void PutFixed64(std::string* out, uint64_t v) {
  out->append(reinterpret_cast<const char*>(&v), sizeof(v));
}
bool GetFixed32(std::string_view* input, uint32_t* v) { return GetRaw(input, v); }
bool GetFixed64(std::string_view* input, uint64_t* v) { return GetRaw(input, v); }

void PutVarint(std::string* out, uint64_t v) {
  while (v >= 0x80) {
    out->push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out->push_back(static_cast<char>(v));
}

bool GetVarint(std::string_view* input, uint64_t* v) {
  uint64_t result = 0;
  for (size_t i = 0; i < input->size() && i < 10; ++i) {
    const auto byte = static_cast<uint8_t>((*input)[i]);
    if (i == 9 && byte > 1) return false;  // beyond 64 bits
    result |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      input->remove_prefix(i + 1);
      *v = result;
      return true;
    }
  }
  return false;
}

void PutLengthPrefixed(std::string* out, std::string_view bytes) {
  PutVarint(out, bytes.size());
  out->append(bytes);
}

bool GetLengthPrefixed(std::string_view* input, std::string_view* bytes) {
  uint64_t size = 0;
  if (!GetVarint(input, &size) || size > input->size()) return false;
  *bytes = input->substr(0, size);
  input->remove_prefix(size);
  return true;
}

void PutOrdered64(std::string* out, uint64_t v) { PutFixed64(out, __builtin_bswap64(v)); }

bool GetOrdered64(std::string_view* input, uint64_t* v) {
  if (!GetRaw(input, v)) return false;
  *v = __builtin_bswap64(*v);
  return true;
}

bool GetOrderedDescending64(std::string_view* input, uint64_t* v) {
  if (!GetOrdered64(input, v)) return false;
  *v = ~*v;
  return true;
}

void PutOrderedBytes(std::string* out, std::string_view bytes) {
  for (const char c : bytes) {
    out->push_back(c);
    if (c == '\0') out->push_back('\xff');
  }
  out->append("\0\x01", 2);
}

bool GetOrderedBytes(std::string_view* input, std::string* bytes) {
  bytes->clear();
  for (size_t i = 0; i < input->size(); ++i) {
    const char c = (*input)[i];
    if (c != '\0') {
      bytes->push_back(c);
      continue;
    }
    if (++i == input->size()) return false;
    if ((*input)[i] == '\x01') {
      input->remove_prefix(i + 1);
      return true;
    }
    if ((*input)[i] != '\xff') return false;
    bytes->push_back('\0');
  }
  return false;
}

}  // namespace quorate
