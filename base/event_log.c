/* SPDX-License-Identifier: MIT
 *
 * A line is put together on the stack and leaves in one write. On a local file system O_APPEND alone keeps
 * lines apart; over NFS it does not, hence the lock. It is asked for and never waited for without end: a
 * process that was stopped while it held the lock must not silence the one that reports it.
 */
#include "base/event_log.h"

#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES_MAX = 16384,
    TEXT_BYTES_MAX = 2000, /* six times as many in the line at most */
    WORD_BYTES_MAX = 200,
    TAIL_BYTES_MAX = 65536,
    LOCK_TRIES = 50,
    LOCK_PAUSE_MS = 10
};

struct line {
    char data[LINE_BYTES_MAX];
    size_t length;
};

static void line_print(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line_print(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(line->data + line->length, sizeof line->data - line->length, format, arguments);
    va_end(arguments);
    if (wanted > 0 && (size_t)wanted < sizeof line->data - line->length)
        line->length += (size_t)wanted;
}

/* Bytes of the UTF-8 sequence that begins here, 0 for none. */
static size_t sequence_bytes(const unsigned char *at, size_t left)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t first;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t extra = 0; extra < 4 && extra < left; extra++) {
        if ((at[0] & forms[extra].mask) != forms[extra].lead)
            continue;
        uint32_t code = at[0] & (unsigned char)~forms[extra].mask;
        for (size_t i = 1; i <= extra; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (at[i] & 0x3f);
        }
        bool is_character =
            code >= forms[extra].first && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        return is_character ? extra + 1 : 0;
    }
    return 0;
}

static void string_print(struct line *line, const char *key, const char *value, size_t bytes_max)
{
    if (value == NULL)
        return;
    line_print(line, ", \"%s\": \"", key);
    size_t length = strnlen(value, bytes_max);
    for (size_t i = 0; i < length;) {
        const unsigned char *at = (const unsigned char *)value + i;
        size_t bytes = sequence_bytes(at, length - i);
        if (bytes == 0)
            line_print(line, "?");
        else if (bytes == 1 && (*at < 0x20 || *at == 0x7f))
            line_print(line, "\\u%04x", *at);
        else if (*at == '"' || *at == '\\')
            line_print(line, "\\%c", *at);
        else
            line_print(line, "%.*s", (int)bytes, value + i);
        i += bytes > 0 ? bytes : 1;
    }
    line_print(line, "\"");
}

/* What makes two events the same for append_once. */
static void identity_print(struct line *line, const struct event *event)
{
    string_print(line, "kind", event->kind, WORD_BYTES_MAX);
    if (event->epoch >= 0)
        line_print(line, ", \"epoch\": %lld", (long long)event->epoch);
    if (event->rank >= 0)
        line_print(line, ", \"rank\": %d", event->rank);
}

static void event_print(struct line *line, const struct event *event)
{
    char when[32];
    clock_format_utc(clock_unix_ms(), when, sizeof when);
    line_print(line, "{\"time\": \"%s\"", when);
    identity_print(line, event);
    string_print(line, "host", event->host, WORD_BYTES_MAX);
    if (event->step >= 0)
        line_print(line, ", \"step\": %lld", (long long)event->step);
    string_print(line, "phase", event->phase, WORD_BYTES_MAX);
    string_print(line, "text", event->text, TEXT_BYTES_MAX);
    line_print(line, "}\n");
}

static bool lock_try(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK)
            return false;
        nanosleep(&pause, NULL);
    }
    return false;
}

/* The last line lacks its end. */
static bool is_torn(int fd, int64_t size)
{
    char last = '\n';
    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* \param locked  otherwise the last line may lack its end because it is just being written */
static enum muster_status line_add(int fd, const char *path, const struct event *event, int64_t size,
                                   bool locked, struct muster_error *err)
{
    struct line line = {.length = 0};
    if (locked && is_torn(fd, size))
        line_print(&line, "\n");
    event_print(&line, event);
    ssize_t written;
    do
        written = write(fd, line.data, line.length);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return muster_error_set_errno(err, errno, "write %s", path);
    if ((size_t)written < line.length)
        return muster_error_set(err, MUSTER_ERR_NO_SPACE, "write %s: %zd of %zu bytes", path, written,
                                line.length);
    return MUSTER_OK;
}

/* Whether a line with the event's kind, epoch and rank stands behind byte `since`. */
static bool is_told(int fd, const struct event *event, int64_t since, int64_t size)
{
    char tail[TAIL_BYTES_MAX];
    struct line wanted = {.length = 0};
    identity_print(&wanted, event);
    int64_t from = size - TAIL_BYTES_MAX > since ? size - TAIL_BYTES_MAX : since;
    ssize_t got = from < size ? pread(fd, tail, (size_t)(size - from), from) : 0;
    for (const char *at = tail; got > 0;) {
        const char *found = memmem(at, (size_t)(tail + got - at), wanted.data, wanted.length);
        if (found == NULL)
            return false;
        at = found + wanted.length;
        if (at < tail + got && (*at == ',' || *at == '}'))
            return true;
    }
    return false;
}

static enum muster_status log_open(const char *folder, char path[FS_PATH_MAX], int *fd, bool *locked,
                                   struct muster_error *err)
{
    enum muster_status status = fs_path_join(path, folder, EVENT_LOG_NAME, err);
    if (status != MUSTER_OK)
        return status;
    *fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (*fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    *locked = lock_try(*fd);
    return MUSTER_OK;
}

enum muster_status event_log_append_once(const char *folder, const struct event *event, int64_t since_bytes,
                                         bool *added, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    int fd = -1;
    bool locked = false, told = false;
    enum muster_status status = log_open(folder, path, &fd, &locked, err);
    if (status == MUSTER_OK) {
        int64_t size = lseek(fd, 0, SEEK_END);
        told = since_bytes >= 0 && is_told(fd, event, since_bytes, size);
        if (!told)
            status = line_add(fd, path, event, size, locked, err);
        close(fd);
    }
    if (added != NULL)
        *added = status == MUSTER_OK && !told;
    return status;
}

enum muster_status event_log_append(const char *folder, const struct event *event, struct muster_error *err)
{
    return event_log_append_once(folder, event, -1, NULL, err);
}

int64_t event_log_size(const char *folder)
{
    char path[FS_PATH_MAX];
    int64_t size = fs_path_join(path, folder, EVENT_LOG_NAME, NULL) == MUSTER_OK ? fs_file_size(path) : 0;
    return size > 0 ? size : 0;
}
