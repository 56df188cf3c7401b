/* SPDX-License-Identifier: MIT
 *
 * The log sink: the only global state of muster. Lines go to a per-process file when one is set, and to
 * stderr at or above the console level. Thread-safe; one write call a line, so that ranks do not interleave
 * inside a line.
 */
#ifndef MUSTER_BASE_LOG_H
#define MUSTER_BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_DEBUG = 0, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_SILENT /* as a console level: nothing */ };

/**
 * Opens (appends, mode 0600) the log file; NULL closes it. Lines in the file carry UTC time with
 * milliseconds, level and rank. `rank` < 0 means not a rank.
 */
enum muster_status log_file_open(const char *path, int rank, struct muster_error *err);
void log_file_close(void);

/** What also goes to stderr; the default is LOG_WARN. On stderr a line reads "muster: warning: text". */
void log_console_level_set(enum log_level level);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
