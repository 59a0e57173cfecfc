// What signals do to the process of a node. Nothing ends it without a sentence on standard error.
//
//   SIGTERM, SIGINT   stop; SIGHUP too, unless it was ignored at the start (nohup). Once more while
//                     it stops: a sentence, and nothing else, as they come twice from `timeout` and
//                     from terminals whose shell passes them on. SIGKILL is what ends it at once
//   SIGXCPU           the limit of CPU time is reached: stop
//   SIGPIPE, SIGXFSZ  ignored: the call that met the limit fails, and says so
//   SIGBUS, SIGABRT   a sentence, then the end that they mean
//
// Memory that is not to be had, and an exception that nobody expects (a thread that cannot be
// started), end the process with a sentence, too.
#pragma once

#include <signal.h>

#include <functional>

namespace quorate::server {

class Signals {
 public:
  // Before any other thread is started: threads inherit that these signals are blocked. What came
  // before Watch waits for it.
  Signals();
  // `stop` runs once, on a thread of its own, for the first signal.
  void Watch(std::function<void(int signal)> stop);

 private:
  sigset_t set_;
};

}  // namespace quorate::server
