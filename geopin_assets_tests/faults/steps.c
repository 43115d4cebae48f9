/* Every step by which a process changes files or asks a server, counted, in whatever library it happens: the process is
 * killed at the n-th, or the disk is full, broken or read-only from then on. Preloaded into a test's own processes
 * (`steps.py`). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, FAIL };
static atomic_long steps_made;
static volatile long fail_from;
static volatile int what, with_errno;
static volatile int told = -1; /* a file that each counted step is written to by its path, or the one it is killed at */
static char under[4096]; /* only what is below this folder counts; empty: everything */

void steps_arm(int mode, long from, int code, const char *folder, int tell) {
  strncpy(under, folder, sizeof under - 1);
  steps_made = 0;
  fail_from = from;
  with_errno = code;
  told = tell;
  what = mode;
}
long steps_count(void) { return steps_made; }

static void tell(const char *path) {
  char line[4200];
  int length = snprintf(line, sizeof line, "%s\n", path);
  if (told >= 0) syscall(SYS_write, told, line, length);
}
static int refused(const char *path) {
  long step = ++steps_made;
  if (what == COUNT || step == fail_from) tell(path);
  if (what == COUNT || step < fail_from) return 0;
  if (what == KILL) raise(SIGKILL);
  errno = with_errno;
  return 1;
}
static int counts(const char *path) { return !under[0] || strstr(path, under) == path; }
static int refused_on(int fd) {
  struct stat found;
  if (fd <= 2 || fd == told || fstat(fd, &found) || !S_ISREG(found.st_mode)) return 0;
  char link[32], path[4096] = "";
  if (under[0] || told >= 0) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0 || !counts(path)) return 0;
  }
  return refused(path);
}
/* Before a request is on its way, and after, when nobody has read the answer; disks that fail do not concern it. */
static void asks(int fd) {
  int family = 0;
  socklen_t size = sizeof family;
  if (what == FAIL || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) || family != AF_INET) return;
  refused("network");
}
#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

#define ON_FILE(type, name, fd, parameters, ...)                 \
  type name parameters {                                         \
    static type(*next) parameters;                               \
    if (!next) next = real(#name);                               \
    return refused_on(fd) ? (type)-1 : next(__VA_ARGS__);        \
  }
#define ON_NAME(name, PATH, parameters, ...)                     \
  int name parameters {                                          \
    static int(*next) parameters;                                \
    if (!next) next = real(#name);                               \
    return counts(PATH) && refused(PATH) ? -1 : next(__VA_ARGS__);   \
  }
ON_FILE(ssize_t, write, fd, (int fd, const void *data, size_t size), fd, data, size)
ON_FILE(ssize_t, pwrite, fd, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
ON_FILE(ssize_t, pwrite64, fd, (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
ON_FILE(ssize_t, writev, fd, (int fd, const struct iovec *data, int count), fd, data, count)

/* What becomes shorter needs no room: DuckDB ends the process where that is refused, and no disk does. */
#define SHORTENS(name, size_type)                                \
  int name(int fd, size_type size) {                             \
    static int (*next)(int, size_type);                          \
    if (!next) next = real(#name);                               \
    struct stat found;                                           \
    int is_shorter = !fstat(fd, &found) && size <= found.st_size; \
    return (what == KILL || !is_shorter) && refused_on(fd) ? -1 : next(fd, size); \
  }
SHORTENS(ftruncate, off_t)
SHORTENS(ftruncate64, off64_t)
#define ON_SOCKET(name, parameters, ...)                         \
  ssize_t name parameters {                                      \
    static ssize_t(*next) parameters;                            \
    if (!next) next = real(#name);                               \
    asks(fd);                                                    \
    ssize_t sent = next(__VA_ARGS__);                            \
    if (sent > 0) asks(fd);                                      \
    return sent;                                                 \
  }
ON_SOCKET(send, (int fd, const void *data, size_t size, int flags), fd, data, size, flags)
ON_SOCKET(sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t of), fd, data,
          size, flags, to, of)
ON_SOCKET(sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)
ON_FILE(int, fsync, fd, (int fd), fd)
ON_FILE(int, fdatasync, fd, (int fd), fd)
ON_NAME(rename, to, (const char *from, const char *to), from, to)
ON_NAME(renameat, to, (int a, const char *from, int b, const char *to), a, from, b, to)
ON_NAME(renameat2, to, (int a, const char *from, int b, const char *to, unsigned flags), a, from, b, to, flags)
ON_NAME(link, to, (const char *from, const char *to), from, to)
ON_NAME(linkat, to, (int a, const char *from, int b, const char *to, int flags), a, from, b, to, flags)
ON_NAME(mkdir, path, (const char *path, mode_t mode), path, mode)

/* Removing and creating: a full disk lets one remove, a kill does not ask. */
#define REMOVES(name, parameters, ...)                           \
  int name parameters {                                          \
    static int(*next) parameters;                                \
    if (!next) next = real(#name);                               \
    if ((what == KILL || with_errno == EROFS) && counts(path) && refused(path)) return -1; \
    return next(__VA_ARGS__);                                    \
  }
REMOVES(unlink, (const char *path), path)
REMOVES(unlinkat, (int at, const char *path, int flags), at, path, flags)
REMOVES(rmdir, (const char *path), path)

#define OPENS(name, first, ...)                                  \
  {                                                              \
    mode_t mode = 0;                                             \
    if (flags & (O_CREAT | O_TMPFILE)) {                         \
      va_list rest;                                              \
      va_start(rest, flags);                                     \
      mode = va_arg(rest, mode_t);                               \
      va_end(rest);                                              \
    }                                                            \
    static int(*next) first;                                     \
    if (!next) next = real(#name);                               \
    int writes = (flags & O_CREAT) || (with_errno == EROFS && (flags & O_ACCMODE) != O_RDONLY); \
    if (writes && counts(path) && refused(path)) return -1;                          \
    return next(__VA_ARGS__, flags, mode);                       \
  }
int open(const char *path, int flags, ...) OPENS(open, (const char *, int, ...), path)
int open64(const char *path, int flags, ...) OPENS(open64, (const char *, int, ...), path)
int openat(int at, const char *path, int flags, ...) OPENS(openat, (int, const char *, int, ...), at, path)
int openat64(int at, const char *path, int flags, ...) OPENS(openat64, (int, const char *, int, ...), at, path)
