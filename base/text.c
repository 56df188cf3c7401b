/* SPDX-License-Identifier: MIT
 *
 * Numbers are parsed against a written grammar and not by whatever strtod happens to take: no blanks, no
 * hexadecimal, no "inf", and the same in every locale.
 */
#include "base/text.h"

#include "base/alloc.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_LENGTH_MAX = 63, NUMBER_LENGTH_MAX = 511 };

/* What `data` points to while nothing is allocated (capacity 0); never written. */
static char empty_text[1] = "";

void text_init(struct text *text)
{
    *text = (struct text){.data = empty_text};
}

void text_release(struct text *text)
{
    if (text->capacity > 0)
        alloc_free(text->data);
    text_init(text);
}

void text_clear(struct text *text)
{
    if (text->capacity > 0)
        text->data[0] = '\0';
    text->length = 0;
    text->failed = false;
}

/* Makes room for `extra` more bytes and the terminator; false (and sticky) when there is none. */
static bool text_reserve(struct text *text, size_t extra)
{
    if (text->failed)
        return false;
    size_t needed;
    if (__builtin_add_overflow(text->length, extra, &needed) || __builtin_add_overflow(needed, 1, &needed)) {
        text->failed = true;
        return false;
    }
    if (needed <= text->capacity)
        return true;
    size_t capacity = needed > SIZE_MAX / 2 ? needed : needed + needed / 2 + 32;
    char *data = alloc_resize(text->capacity > 0 ? text->data : NULL, capacity, 1);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    data[text->length] = '\0';
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_append(struct text *text, const char *bytes, size_t length)
{
    if (length == 0 || !text_reserve(text, length))
        return;
    memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_print(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text->failed = true;
    } else if (text_reserve(text, (size_t)length)) {
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

static char letter_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* The variant in which a transposed pair is not edited again ("optimal string alignment"): three rows
 * suffice. */
int text_distance(const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > NAME_LENGTH_MAX || b_length > NAME_LENGTH_MAX)
        return NAME_LENGTH_MAX + 1;
    int rows[3][NAME_LENGTH_MAX + 1];
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            char x = letter_lower(a[i - 1]), y = letter_lower(b[j - 1]);
            int best = above[j - 1] + (x != y);
            best = min_int(best, min_int(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && x == letter_lower(b[j - 2]) && y == letter_lower(a[i - 2]))
                best = min_int(best, above2[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word);
    if (length > NAME_LENGTH_MAX)
        return NULL;
    const char *nearest = NULL;
    int distance_max = 1 + (int)(length / 4);
    for (size_t i = 0; i < count; i++) {
        int distance = text_distance(word, candidates[i]);
        if (distance <= distance_max) {
            nearest = candidates[i];
            distance_max = distance - 1;
        }
    }
    return nearest;
}

void text_format_bytes(char *out, size_t size, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = fabs((double)bytes);
    const char *sign = bytes < 0 ? "-" : "";
    if (value < 1024) {
        snprintf(out, size, "%s%.0f B", sign, value);
        return;
    }
    int unit = 0;
    while (value >= 1023.995 && unit < 6) { /* what would be printed as 1024.00 takes the next unit */
        value /= 1024;
        unit++;
    }
    snprintf(out, size, "%s%.2f %s", sign, value, units[unit]);
}

void text_format_count(char *out, size_t size, double count)
{
    static const char *const units[] = {"", "K", "M", "B", "T"};
    double value = fabs(count);
    const char *sign = count < 0 ? "-" : "";
    if (!(value < 999.95e12)) {
        snprintf(out, size, "%.4g", count);
        return;
    }
    int unit = 0;
    while (value >= 999.95) { /* what would be printed as 1000.0 takes the next unit */
        value /= 1000;
        unit++;
    }
    int decimals = value < 9.995 ? 2 : 1;
    if (unit == 0 && value == floor(value))
        decimals = 0;
    snprintf(out, size, "%s%.*f%s", sign, decimals, value, units[unit]);
}

void text_format_duration(char *out, size_t size, double seconds)
{
    const char *sign = seconds < 0 ? "-" : "";
    double value = fabs(seconds);
    if (!(value < 1e13)) {
        snprintf(out, size, "%sforever", sign);
        return;
    }
    if (value < 59.95) {
        snprintf(out, size, "%s%.1f s", sign, value);
        return;
    }
    long long whole = llround(value), days = whole / 86400;
    int rest = (int)(whole % 86400);
    if (days > 0)
        snprintf(out, size, "%s%lldd %02d:%02d:%02d", sign, days, rest / 3600, rest / 60 % 60, rest % 60);
    else
        snprintf(out, size, "%s%02d:%02d:%02d", sign, rest / 3600, rest / 60 % 60, rest % 60);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * Copies a run of digits from *from to *to, leaving out each underscore that stands between two of them.
 * Returns the number of digits.
 */
static size_t digits_copy(const char **from, char **to)
{
    size_t count = 0;
    const char *text = *from;
    while (is_digit(*text) || (*text == '_' && count > 0 && is_digit(text[1]))) {
        if (*text != '_') {
            *(*to)++ = *text;
            count++;
        }
        text++;
    }
    *from = text;
    return count;
}

bool text_parse_int64(const char *text, int64_t *value)
{
    char digits[NUMBER_LENGTH_MAX + 1], *end = digits;
    if (strlen(text) > NUMBER_LENGTH_MAX)
        return false;
    bool negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    if (digits_copy(&text, &end) == 0 || *text != '\0')
        return false;
    int64_t result = 0;
    for (const char *digit = digits; digit < end; digit++) {
        int step = *digit - '0';
        if (__builtin_mul_overflow(result, 10, &result) ||
            __builtin_add_overflow(result, negative ? -step : step, &result))
            return false;
    }
    *value = result;
    return true;
}

/* [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent; the copy has no
 * underscores. */
static bool decimal_copy(const char *text, char *to)
{
    if (*text == '-' || *text == '+')
        *to++ = *text++;
    size_t digit_count = digits_copy(&text, &to);
    if (*text == '.') {
        *to++ = *text++;
        digit_count += digits_copy(&text, &to);
    }
    if (digit_count == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        *to++ = *text++;
        if (*text == '-' || *text == '+')
            *to++ = *text++;
        if (digits_copy(&text, &to) == 0)
            return false;
    }
    *to = '\0';
    return *text == '\0';
}

bool text_parse_double(const char *text, double *value)
{
    char copy[NUMBER_LENGTH_MAX + 1];
    if (strlen(text) > NUMBER_LENGTH_MAX || !decimal_copy(text, copy))
        return false;
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (locale == (locale_t)0)
        return false;
    double result = strtod_l(copy, NULL, locale);
    freelocale(locale);
    if (!isfinite(result))
        return false;
    *value = result;
    return true;
}

bool text_parse_duration(const char *text, double *seconds)
{
    static const struct {
        char letter;
        double seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    if (text_parse_double(text, seconds))
        return *seconds >= 0;
    *seconds = 0;
    if (*text == '\0')
        return false;
    for (int unit = 0; *text != '\0'; unit++) {
        size_t length = strspn(text, "0123456789");
        char number[NUMBER_LENGTH_MAX + 1];
        double value;
        if (length == 0 || length > NUMBER_LENGTH_MAX)
            return false;
        memcpy(number, text, length);
        number[length] = '\0';
        text += length;
        while (unit < 4 && *text != units[unit].letter)
            unit++;
        if (unit == 4 || !text_parse_double(number, &value))
            return false;
        *seconds += value * units[unit].seconds;
        text++;
    }
    return isfinite(*seconds);
}
