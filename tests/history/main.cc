#include <iostream>

#include "tests/history/judge.h"

int main(int argc, char** argv) {
  return quorate::history::Judge({argv + 1, argv + argc}, std::cout, std::cerr);
}
