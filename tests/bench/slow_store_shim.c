// A disk whose syncs of the store take long, beside a log that is as fast as it is: preloaded into a
// process, it holds each sync of a file named data.mdb for SHIM_SYNC_MS milliseconds more.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static long delay_ms;

__attribute__((constructor)) static void Read(void) {
  const char* ms = getenv("SHIM_SYNC_MS");
  delay_ms = ms == NULL ? 0 : atol(ms);
}

static void Hold(void) {
  const struct timespec wait = {delay_ms / 1000, delay_ms % 1000 * 1000000};
  nanosleep(&wait, NULL);
}

static int IsStore(int fd) {
  static const char kName[] = "/data.mdb";
  char link[64];
  char path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof path);
  const ssize_t name = sizeof kName - 1;
  return size >= name && memcmp(path + size - name, kName, name) == 0;
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "fdatasync");
  if (IsStore(fd)) Hold();
  return real(fd);
}

int fsync(int fd) {
  static int (*real)(int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "fsync");
  if (IsStore(fd)) Hold();
  return real(fd);
}

// Of mapped files LMDB's is the only one that is synced so.
int msync(void* at, size_t size, int flags) {
  static int (*real)(void*, size_t, int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "msync");
  if (flags & MS_SYNC) Hold();
  return real(at, size, flags);
}
