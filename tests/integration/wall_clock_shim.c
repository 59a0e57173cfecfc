// A wall clock that a test can set: preloaded into a process, it shifts CLOCK_REALTIME by the
// nanoseconds that the file named by SHIM_CLOCK_SHIFT holds, at any time.
//
// Waits until a moment of the wall clock (futex with FUTEX_CLOCK_REALTIME, which is how Abseil, and
// so gRPC, waits for time to pass) follow it as they do in the kernel: the clock is set back, and
// they last longer. All other clocks stay as they are.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t kSecond = 1000000000;
static const int64_t kSlice = 5000000;

static const volatile int64_t* shift;

static long Raw(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

__attribute__((constructor)) static void Map(void) {
  const char* path = getenv("SHIM_CLOCK_SHIFT");
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* at = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) shift = at;
}

static int64_t Read(clockid_t clock) {
  struct timespec now;
  Raw(SYS_clock_gettime, clock, (long)&now, 0, 0, 0, 0);
  int64_t ns = now.tv_sec * kSecond + now.tv_nsec;
  if (shift != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) ns += *shift;
  return ns;
}

int clock_gettime(clockid_t clock, struct timespec* out) {
  const int64_t ns = Read(clock);
  out->tv_sec = ns / kSecond;
  out->tv_nsec = ns % kSecond;
  return 0;
}

int gettimeofday(struct timeval* restrict out, void* restrict zone) {
  const int64_t ns = Read(CLOCK_REALTIME);
  out->tv_sec = ns / kSecond;
  out->tv_usec = ns % kSecond / 1000;
  return 0;
}

time_t time(time_t* out) {
  const time_t now = Read(CLOCK_REALTIME) / kSecond;
  if (out != NULL) *out = now;
  return now;
}

// In slices, so that a clock that is set meanwhile counts.
static long WaitForWallClock(long word, long op, long value, const struct timespec* until,
                             long mask) {
  const int64_t end = until->tv_sec * kSecond + until->tv_nsec;
  while (1) {
    const int64_t left = end - Read(CLOCK_REALTIME);
    if (left <= 0) return -ETIMEDOUT;
    const int64_t slice_end = Read(CLOCK_MONOTONIC) + (left < kSlice ? left : kSlice);
    const struct timespec slice = {slice_end / kSecond, slice_end % kSecond};
    const long result = Raw(SYS_futex, word, op & ~FUTEX_CLOCK_REALTIME, value, (long)&slice, 0, mask);
    if (result != -ETIMEDOUT) return result;
  }
}

long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
  va_end(list);
  const int timed = number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) != 0 && a[3] != 0;
  const long result = timed ? WaitForWallClock(a[0], a[1], a[2], (const struct timespec*)a[3], a[5])
                            : Raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (result >= 0 || result < -4095) return result;
  errno = (int)-result;
  return -1;
}
