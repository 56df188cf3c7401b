/* SPDX-License-Identifier: MIT
 *
 * The only place that asks what time it is; everything that decides takes time as an argument.
 */
#ifndef MUSTER_BASE_CLOCK_H
#define MUSTER_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/** Monotonic nanoseconds. */
int64_t clock_monotonic_ns(void);

/** Unix time in milliseconds. */
int64_t clock_unix_ms(void);

/** Monotonic seconds as a double, for rates. */
double clock_seconds(void);

/** "2026-01-31T23:59:59.123Z" into `text` (at least 25 bytes). */
void clock_format_utc(int64_t unix_ms, char *text, size_t size);

#endif
