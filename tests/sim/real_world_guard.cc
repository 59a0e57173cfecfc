#include "tests/sim/real_world_guard.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace quorate::sim {

namespace {

int guards = 0;

// `caller`: where the call returns to.
[[maybe_unused]] void Forbid(const char* name, const void* caller) {
  if (guards == 0) return;
  Dl_info info;
  const bool known = dladdr(caller, &info) != 0 && info.dli_fname != nullptr;
  if (known && std::strstr(info.dli_fname, "jemalloc") != nullptr) return;
  guards = 0;
  std::fprintf(stderr, "simulated code must not call %s\n", name);
  void* frames[32];
  backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
  std::abort();
}

}  // namespace

RealWorldGuard::RealWorldGuard() { ++guards; }
RealWorldGuard::~RealWorldGuard() {
  if (guards > 0) --guards;
}

}  // namespace quorate::sim

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)

// Defined under another name in C++, since the headers declare these with attributes of their own.
#define GUARDED(result, name, parameters, arguments)                                           \
  extern "C" __attribute__((visibility("default")))                                            \
  result guarded_##name parameters __asm__(#name);                                             \
  result guarded_##name parameters {                                                           \
    static auto* const real = reinterpret_cast<result(*) parameters>(dlsym(RTLD_NEXT, #name)); \
    quorate::sim::Forbid(#name, __builtin_return_address(0));                                  \
    return real arguments;                                                                     \
  }

GUARDED(int, clock_gettime, (clockid_t clock, timespec* out), (clock, out))
GUARDED(int, gettimeofday, (timeval* __restrict out, void* __restrict zone), (out, zone))
GUARDED(time_t, time, (time_t * out), (out))
GUARDED(int, nanosleep, (const timespec* wanted, timespec* left), (wanted, left))
GUARDED(int, clock_nanosleep, (clockid_t clock, int flags, const timespec* wanted, timespec* left),
        (clock, flags, wanted, left))
GUARDED(int, usleep, (useconds_t us), (us))
GUARDED(int, pthread_create,
        (pthread_t * thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument),
        (thread, attributes, run, argument))
GUARDED(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
GUARDED(ssize_t, getrandom, (void* out, size_t size, unsigned flags), (out, size, flags))
GUARDED(int, fsync, (int file), (file))
GUARDED(int, fdatasync, (int file), (file))

// The mode is read whether it was given or not, as the C library's own wrappers do.
GUARDED(int, open, (const char* path, int flags, mode_t mode), (path, flags, mode))
GUARDED(int, open64, (const char* path, int flags, mode_t mode), (path, flags, mode))
GUARDED(int, openat, (int directory, const char* path, int flags, mode_t mode),
        (directory, path, flags, mode))

#endif
