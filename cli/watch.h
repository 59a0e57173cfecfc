// Watch: a command that shows the same again and again.
#pragma once

#include <functional>

#include "base/clock.h"
#include "cli/command.h"

namespace quorate::cli {

// On a terminal, prints anew every `interval`, until Ctrl-C: exit code 0. Otherwise, and for JSON,
// once: the exit code of `print`. Called before the context's connections are used.
int Watch(const Context& context, Duration interval, const std::function<int()>& print);

}  // namespace quorate::cli
