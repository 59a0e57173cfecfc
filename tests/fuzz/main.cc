#include <cstdlib>
#include <fstream>

#include "tests/fuzz/fuzz.h"

// QUORATE_SEEDS=DIR: writes the seeds there and ends.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* directory = std::getenv("QUORATE_SEEDS");
  if (directory == nullptr) return 0;
  int number = 0;
  for (const std::string& seed : quorate::fuzz::Seeds()) {
    std::ofstream(directory + ("/seed-" + std::to_string(number++)), std::ios::binary) << seed;
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  quorate::fuzz::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
