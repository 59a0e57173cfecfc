#include "server/program/signals.h"

#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "base/last_words.h"

namespace quorate::server {
namespace {

constexpr int kExitFailed = 1;

[[noreturn]] void EndWithoutMemory() {
  WriteLastWords(
      "quorate node: no memory is left (a limit of this process, or the machine's): ending at "
      "once; nothing that was acknowledged is lost\n");
  std::_Exit(kExitFailed);
}

[[noreturn]] void EndByException() {
  try {
    if (std::current_exception()) throw;
  } catch (const std::exception& error) {
    // std::system_error: a thread that the limits do not allow, for example.
    WriteLastWords("quorate node: ending at once: ");
    WriteLastWords(error.what());
    WriteLastWords("; nothing that was acknowledged is lost\n");
    std::_Exit(kExitFailed);
  } catch (...) {
  }
  std::abort();
}

// Both run on the thread that failed, in an unknown state: system calls only.
void OnBusError(int) {
  WriteLastWords(
      "quorate node: a mapped file cannot be read (SIGBUS): its disk failed, or it was cut; ending "
      "at once\n");
  std::_Exit(kExitFailed);
}

void OnAbort(int signal) {
  WriteLastWords(
      "quorate node: aborted, by what is said above or by a library that lacks threads or "
      "memory\n");
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

bool IsIgnored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

Signals::Signals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  sigaddset(&set_, SIGXCPU);
  if (!IsIgnored(SIGHUP)) sigaddset(&set_, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGBUS, OnBusError);
  signal(SIGABRT, OnAbort);
  std::set_new_handler(EndWithoutMemory);
  std::set_terminate(EndByException);
}

void Signals::Watch(std::function<void(int signal)> stop) {
  std::thread([set = set_, stop = std::move(stop)] {
    int number = 0;
    sigwait(&set, &number);
    stop(number);
    sigwait(&set, &number);
    WriteLastWords(
        "quorate node: it is stopping already; SIGKILL ends it at once, and nothing that was "
        "acknowledged would be lost\n");
    while (true) sigwait(&set, &number);
  }).detach();
}

}  // namespace quorate::server
