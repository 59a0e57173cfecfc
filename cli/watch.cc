#include "cli/watch.h"

#include "base/real_clock.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace quorate::cli {

int Watch(const Context& context, Duration interval, const std::function<int()>& print) {
  constexpr std::string_view kHome = "\x1b[H\x1b[2J";  // the cursor to the corner, all erased
  constexpr std::string_view kApart = "\n";
  if (!Out().is_terminal() || context.json) return print();
  const Interrupt interrupt;
  bool first = true;
  while (true) {
    const Instant next = RealClock::BootNow() + interval;
    Out().Bytes(Out().redraws() ? kHome : kApart.substr(first ? 1 : 0));
    first = false;
    (void)print();  // what is out of reach may come back
    Out().Flush();
    if (Out().error() != 0 || interrupt.SleepUntil(next)) return kExitDone;
  }
}

}  // namespace quorate::cli
