/* SPDX-License-Identifier: MIT
 *
 * Text that grows, numbers as a person reads them, and the nearest name to a misspelt one.
 */
#ifndef MUSTER_BASE_TEXT_H
#define MUSTER_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A growing string; caller owns the struct. `data` is always terminated once init has run; `failed` is
 * sticky on no memory. */
struct text {
    char *data;
    size_t length, capacity;
    bool failed;
};

void text_init(struct text *text);
void text_release(struct text *text);
void text_clear(struct text *text);
void text_append(struct text *text, const char *bytes, size_t length);
void text_print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Damerau-Levenshtein distance, case ignored; names over 63 bytes count as far (64). */
int text_distance(const char *a, const char *b);

/** The candidate nearest to `word` if near enough to suggest (distance at most 1 + length/4), else NULL. */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);

/** "1.50 GiB", "512 B"; at least 16 bytes. */
void text_format_bytes(char *out, size_t size, int64_t bytes);

/** "124.4M", "1.50B", "950"; at least 16 bytes. */
void text_format_count(char *out, size_t size, double count);

/** "1d 02:03:04", "02:03:04", "3.4 s"; at least 24 bytes. */
void text_format_duration(char *out, size_t size, double seconds);

/** Whole-string parse; false on anything else in the text, overflow, or empty. Accepts _ between digits. */
bool text_parse_int64(const char *text, int64_t *value);
/** As above for finite decimal numbers; independent of the locale. */
bool text_parse_double(const char *text, double *value);

/** Seconds: a number as above, or "1h30m", "2d", "90s": whole numbers with d, h, m, s in this order. Not negative. */
bool text_parse_duration(const char *text, double *seconds);

#endif
