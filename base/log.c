/* SPDX-License-Identifier: MIT
 *
 * Each line is formatted on the caller's stack and leaves in one write, to the file and to stderr on its own.
 * A log that cannot be written (a full disk) never stops the job: the line is lost and nothing is said about
 * it, because there is nowhere left to say it. Control characters become blanks so that no message can forge
 * a second line.
 */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 4096 };

static struct {
    pthread_mutex_t mutex;
    int fd;
    int rank;
    enum log_level console_level;
} sink = {PTHREAD_MUTEX_INITIALIZER, -1, -1, LOG_WARN};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

enum muster_status log_file_open(const char *path, int rank, struct muster_error *err)
{
    int fd = -1;
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            return muster_error_set_errno(err, errno, "open log file %s", path);
    }
    pthread_mutex_lock(&sink.mutex);
    int old = sink.fd;
    sink.fd = fd;
    sink.rank = rank;
    pthread_mutex_unlock(&sink.mutex);
    if (old >= 0)
        close(old);
    return MUSTER_OK;
}

void log_file_close(void)
{
    log_file_open(NULL, -1, NULL);
}

void log_console_level_set(enum log_level level)
{
    pthread_mutex_lock(&sink.mutex);
    sink.console_level = level;
    pthread_mutex_unlock(&sink.mutex);
}

/* One write call; a second one only where the first was interrupted or fell short. */
static void line_write(int fd, const char *line, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, line, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        line += written;
        length -= (size_t)written;
    }
}

/* Puts `prefix`, `text` and a newline into `line` (of LINE_BYTES_MAX bytes); a text too long ends in "...".
 */
static size_t line_format(char *line, const char *prefix, const char *text)
{
    int wanted = snprintf(line, LINE_BYTES_MAX - 1, "%s%s", prefix, text);
    size_t length = strlen(line);
    if (wanted > (int)length)
        memcpy(line + length - 3, "...", 3);
    while (length > 0 && line[length - 1] == '\n')
        length--;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)line[i];
        if (byte < 0x20 || byte == 0x7f)
            line[i] = ' ';
    }
    line[length] = '\n';
    return length + 1;
}

static void prefix_format_file(char *prefix, size_t size, enum log_level level)
{
    char when[32], who[32] = "";
    clock_format_utc(clock_unix_ms(), when, sizeof when);
    if (sink.rank >= 0)
        snprintf(who, sizeof who, " rank %d", sink.rank);
    snprintf(prefix, size, "%s %s%s: ", when, level_names[level], who);
}

void log_write(enum log_level level, const char *format, ...)
{
    char text[LINE_BYTES_MAX], line[LINE_BYTES_MAX], prefix[128];
    int errno_before = errno;
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    pthread_mutex_lock(&sink.mutex);
    if (sink.fd >= 0) {
        prefix_format_file(prefix, sizeof prefix, level);
        line_write(sink.fd, line, line_format(line, prefix, text));
    }
    if (level >= sink.console_level) {
        snprintf(prefix, sizeof prefix, "muster: %s: ", level_names[level]);
        line_write(STDERR_FILENO, line, line_format(line, prefix, text));
    }
    pthread_mutex_unlock(&sink.mutex);
    errno = errno_before;
}
