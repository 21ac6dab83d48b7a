/* Preloaded into a command: counts what it changes below one folder, and makes one of these calls fail or fatal.
 *
 * FAULTS_UNDER  folder whose changes count
 * FAULTS_AT     number of the change that is hit, from 1; 0 hits none
 * FAULTS_HOW    an errno, or "kill" (before the change), "late" (after it), "short" (half of a write, then ENOSPC)
 * FAULTS_LOG    file that gets one line per change: pid, call, path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int count;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int ours(const char *path) {
    const char *under = setting("FAULTS_UNDER");
    return *under && path && !strncmp(path, under, strlen(under));
}

static const char *of(int fd, char *room, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, room, size - 1);
    room[length > 0 ? length : 0] = 0;
    return room;
}

/* Counts one change; returns 0 to go on, 1 to fail with errno set, 2 to write half. */
static int change(const char *call, const char *path) {
    if (!ours(path)) return 0;
    int number = ++count;
    const char *log = setting("FAULTS_LOG");
    if (*log) {
        int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        char line[4600];
        int length = snprintf(line, sizeof line, "%d %s %s\n", getpid(), call, path);
        if (fd >= 0) { if (syscall(SYS_write, fd, line, (size_t)length) < 0) {} syscall(SYS_close, fd); }
    }
    if (number != atoi(setting("FAULTS_AT"))) return 0;
    const char *how = setting("FAULTS_HOW");
    if (!strcmp(how, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(how, "short")) return 2;
    if (!strcmp(how, "late")) return 0;
    errno = atoi(how);
    return 1;
}

static void late(const char *path) {
    if (ours(path) && count == atoi(setting("FAULTS_AT")) && !strcmp(setting("FAULTS_HOW"), "late")) kill(getpid(), SIGKILL);
}

#define NEXT(name) (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CHANGE(call, path) switch (change(call, path)) { case 0: break; case 2: errno = ENOSPC; return -1; default: return -1; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if (flags & (O_CREAT | O_TRUNC)) { CHANGE("create", path) } \
        int fd = (NEXT(name))(path, flags, mode); \
        if (flags & (O_CREAT | O_TRUNC)) late(path); \
        return fd; \
    }
OPEN(open)
OPEN(open64)

#define WRITE(name, arguments, call, half) \
    ssize_t name arguments { \
        char room[4200]; const char *path = of(fd, room, sizeof room); \
        switch (change("write", path)) { case 1: return -1; case 2: if (half > 0) return syscall(SYS_write, fd, data, (size_t)(half)); errno = ENOSPC; return -1; default: break; } \
        ssize_t done = call; late(path); return done; \
    }
WRITE(write, (int fd, const void *data, size_t size), (NEXT(write))(fd, data, size), size / 2)

#define SYNC(name) \
    int name(int fd) { \
        char room[4200]; const char *path = of(fd, room, sizeof room); \
        CHANGE("sync", path) \
        int done = (NEXT(name))(fd); late(path); return done; \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    char both[9000]; snprintf(both, sizeof both, "%s %s", from, to);
    CHANGE("rename", ours(from) ? both : to)
    int done = (NEXT(rename))(from, to); late(from); return done;
}

int mkdir(const char *path, mode_t mode) {
    CHANGE("mkdir", path)
    int done = (NEXT(mkdir))(path, mode); late(path); return done;
}

int symlink(const char *target, const char *path) {
    CHANGE("symlink", path)
    int done = (NEXT(symlink))(target, path); late(path); return done;
}

int unlink(const char *path) {
    CHANGE("unlink", path)
    int done = (NEXT(unlink))(path); late(path); return done;
}

int chmod(const char *path, mode_t mode) {
    CHANGE("chmod", path)
    int done = (NEXT(chmod))(path, mode); late(path); return done;
}
