/* SPDX-License-Identifier: MIT
 *
 * Every call is looked up once in the next library and counted only for watched files. A close that fails has
 * closed, as on Linux. Not for programs that share descriptors with others.
 */
#include "io_shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS = 1024, ERROR_SHORT = -1 };

static const char *const call_names[IO_CALLS] = {"open",   "write", "fsync",     "close",
                                                 "rename", "mkdir", "fallocate", "ftruncate"};

static struct {
    pthread_mutex_t lock;
    bool ready, armed, ever;
    const char *watch;
    int fault_call, fault_number, fault_error;
    int counts[IO_CALLS];
    int record_fd;
    char paths[FDS][PATH_MAX]; /* of open watched files; empty otherwise */
} shim = {.lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP, .fault_call = -1, .record_fd = -1};

#define REAL(name) real_##name
#define FIND(name) (*(void **)&REAL(name) = dlsym(RTLD_NEXT, #name))
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_close)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_unlinkat)(int, const char *, int);

static void fault_read(const char *text)
{
    static const struct {
        const char *name;
        int value;
    } errors[] = {
        {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR}, {"SHORT", ERROR_SHORT}};
    char call[32], error[32], how[32];
    if (text == NULL || sscanf(text, "%31[^:]:%d:%31[^:]:%31s", call, &shim.fault_number, error, how) != 4)
        return;
    for (int i = 0; i < IO_CALLS; i++)
        if (strcmp(call, call_names[i]) == 0)
            shim.fault_call = i;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(error, errors[i].name) == 0)
            shim.fault_error = errors[i].value;
    shim.ever = strcmp(how, "ever") == 0;
}

static void shim_enter(void)
{
    pthread_mutex_lock(&shim.lock);
    if (shim.ready)
        return;
    shim.ready = true;
    FIND(openat), FIND(write), FIND(fsync), FIND(close), FIND(rename), FIND(mkdir), FIND(fallocate);
    FIND(ftruncate), FIND(unlinkat);
    shim.watch = getenv("MUSTER_IO_WATCH");
    fault_read(getenv("MUSTER_IO_FAULT"));
    shim.armed = getenv("MUSTER_IO_ARMED") != NULL;
    const char *record = getenv("MUSTER_IO_RECORD");
    if (record != NULL)
        shim.record_fd = real_openat(AT_FDCWD, record, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void shim_leave(void)
{
    int kept = errno;
    pthread_mutex_unlock(&shim.lock);
    errno = kept;
}

/* The watched path that `path` means relative to `fd`, or "". */
static const char *watched_at(int fd, const char *path, char out[PATH_MAX])
{
    out[0] = '\0';
    if (fd != AT_FDCWD && path[0] != '/') {
        if (fd >= 0 && fd < FDS && shim.paths[fd][0] != '\0')
            snprintf(out, PATH_MAX, "%.2000s/%.2000s", shim.paths[fd], path);
    } else if (shim.watch != NULL && strncmp(path, shim.watch, strlen(shim.watch)) == 0) {
        snprintf(out, PATH_MAX, "%s", path);
    }
    return out;
}

static const char *watched_fd(int fd)
{
    return fd >= 0 && fd < FDS ? shim.paths[fd] : "";
}

/* 0: goes through. Otherwise the error it fails with. */
static int fault_due(enum io_call call, const char *path)
{
    if (!shim.armed || path[0] == '\0')
        return 0;
    int number = ++shim.counts[call];
    if ((int)call != shim.fault_call || number < shim.fault_number ||
        (number > shim.fault_number && !shim.ever))
        return 0;
    return shim.fault_error;
}

static void record(enum io_op op, const char *path, const char *other, int64_t offset, const void *data,
                   int64_t bytes)
{
    if (shim.record_fd < 0 || (path[0] == '\0' && op != IO_OP_MARK))
        return;
    struct io_record head = {(uint32_t)op, (uint32_t)strlen(path), (uint32_t)strlen(other), 0, offset, bytes};
    bool written = real_write(shim.record_fd, &head, sizeof head) == (ssize_t)sizeof head &&
                   real_write(shim.record_fd, path, head.path_bytes) == (ssize_t)head.path_bytes &&
                   real_write(shim.record_fd, other, head.other_bytes) == (ssize_t)head.other_bytes &&
                   (data == NULL || real_write(shim.record_fd, data, (size_t)bytes) == (ssize_t)bytes);
    if (!written)
        abort();
}

void io_shim_arm(int on)
{
    shim_enter();
    shim.armed = on != 0;
    memset(shim.counts, 0, sizeof shim.counts);
    shim_leave();
}

int io_shim_count(enum io_call call)
{
    return shim.counts[call];
}

void io_shim_mark(int64_t value)
{
    shim_enter();
    record(IO_OP_MARK, "", "", value, NULL, 0);
    shim_leave();
}

#define EXPORTED __attribute__((visibility("default")))

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    shim_enter();
    const char *watched = watched_at(at, path, full);
    struct stat before;
    bool creates = flags & O_CREAT && watched[0] != '\0' && fstatat(at, path, &before, 0) != 0;
    int fd = -1, error = fault_due(IO_OPEN, watched);
    if (error == 0)
        fd = real_openat(at, path, flags, mode);
    else
        errno = error;
    if (fd >= 0 && fd < FDS)
        strcpy(shim.paths[fd], watched);
    if (fd >= 0 && creates)
        record(IO_OP_CREATE, watched, "", 0, NULL, 0);
    shim_leave();
    return fd;
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(arguments, int) : 0;
}

EXPORTED int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(AT_FDCWD, path, flags, mode);
}

EXPORTED int openat(int at, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(at, path, flags, mode);
}

EXPORTED ssize_t write(int fd, const void *data, size_t bytes)
{
    shim_enter();
    int error = fault_due(IO_WRITE, watched_fd(fd));
    ssize_t written = -1;
    if (error == 0 || (error == ERROR_SHORT && bytes > 1)) {
        off_t at = watched_fd(fd)[0] != '\0' ? lseek(fd, 0, SEEK_CUR) : 0;
        written = real_write(fd, data, error == 0 ? bytes : bytes / 2);
        if (written > 0)
            record(IO_OP_WRITE, watched_fd(fd), "", at, data, written);
    } else if (error == ERROR_SHORT) {
        written = real_write(fd, data, bytes);
    } else {
        errno = error;
    }
    shim_leave();
    return written;
}

EXPORTED int fsync(int fd)
{
    shim_enter();
    int error = fault_due(IO_FSYNC, watched_fd(fd));
    int result = error == 0 ? real_fsync(fd) : (errno = error, -1);
    if (result == 0)
        record(IO_OP_SYNC, watched_fd(fd), "", 0, NULL, 0);
    shim_leave();
    return result;
}

EXPORTED int close(int fd)
{
    shim_enter();
    int error = fault_due(IO_CLOSE, watched_fd(fd));
    if (fd >= 0 && fd < FDS)
        shim.paths[fd][0] = '\0';
    int result = real_close(fd);
    if (error != 0) {
        errno = error;
        result = -1;
    }
    shim_leave();
    return result;
}

EXPORTED int rename(const char *from, const char *to)
{
    char full[PATH_MAX];
    shim_enter();
    const char *watched = watched_at(AT_FDCWD, from, full);
    int error = fault_due(IO_RENAME, watched);
    int result = error == 0 ? real_rename(from, to) : (errno = error, -1);
    if (result == 0)
        record(IO_OP_RENAME, watched, to, 0, NULL, 0);
    shim_leave();
    return result;
}

EXPORTED int mkdir(const char *path, mode_t mode)
{
    char full[PATH_MAX];
    shim_enter();
    const char *watched = watched_at(AT_FDCWD, path, full);
    int error = fault_due(IO_MKDIR, watched);
    int result = error == 0 ? real_mkdir(path, mode) : (errno = error, -1);
    if (result == 0)
        record(IO_OP_MKDIR, watched, "", 0, NULL, 0);
    shim_leave();
    return result;
}

EXPORTED int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    shim_enter();
    int error = fault_due(IO_FALLOCATE, watched_fd(fd));
    int result = error == 0 ? real_fallocate(fd, mode, offset, bytes) : (errno = error, -1);
    shim_leave();
    return result;
}

EXPORTED int ftruncate(int fd, off_t bytes)
{
    shim_enter();
    int error = fault_due(IO_FTRUNCATE, watched_fd(fd));
    int result = error == 0 ? real_ftruncate(fd, bytes) : (errno = error, -1);
    if (result == 0)
        record(IO_OP_TRUNCATE, watched_fd(fd), "", bytes, NULL, 0);
    shim_leave();
    return result;
}

EXPORTED int unlinkat(int at, const char *path, int flags)
{
    char full[PATH_MAX];
    shim_enter();
    const char *watched = watched_at(at, path, full);
    int result = real_unlinkat(at, path, flags);
    if (result == 0)
        record(IO_OP_REMOVE, watched, "", 0, NULL, 0);
    shim_leave();
    return result;
}

EXPORTED int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}
