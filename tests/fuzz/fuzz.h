// What every fuzz target defines. The engine is libFuzzer (main.cc); a broken promise is a CHECK,
// so that it stops the process like any other finding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quorate::fuzz {

// One input. Must do the same for the same input, and keep nothing for the next one.
void Run(std::string_view input);

// Real encodings: what mutation starts from. `tests/fuzz/run --seeds` writes them to the corpus.
std::vector<std::string> Seeds();

// Takes bytes off the front of an input; short inputs read as zeros.
inline uint8_t TakeByte(std::string_view* input) {
  if (input->empty()) return 0;
  const auto byte = static_cast<uint8_t>(input->front());
  input->remove_prefix(1);
  return byte;
}
// Up to 65535 bytes behind their length; what is missing at the end is left out.
inline std::string_view TakeFrame(std::string_view* input) {
  const size_t low = TakeByte(input), high = TakeByte(input);
  const std::string_view frame = input->substr(0, low + high * 256);
  input->remove_prefix(frame.size());
  return frame;
}
inline void PutFrame(std::string* out, std::string_view bytes) {
  out->push_back(static_cast<char>(bytes.size() % 256));
  out->push_back(static_cast<char>(bytes.size() / 256));
  out->append(bytes);
}

}  // namespace quorate::fuzz
