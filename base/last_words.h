// Last words: what a process says on standard error when it is about to end, or may not get to say
// it in any other way.
//
// Standard error may be a pipe that nobody reads: then a plain write waits for good, and a process
// that should end does not. This one gives up instead.
#pragma once

#include <string_view>

namespace quorate {

// Writes `text` to standard error, as far as it is taken within a second in all. Any thread, signal
// handlers too: system calls only.
void WriteLastWords(std::string_view text) noexcept;

}  // namespace quorate
