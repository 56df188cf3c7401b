/* SPDX-License-Identifier: MIT
 *
 * Messages quote the file, and the file may have been written by anybody: what is quoted is bounded and can
 * not move a terminal's cursor.
 */
#include "coordinator/job/job_issue.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { MESSAGE_SIZE = 1024 };

static void list_add(struct job_issues *issues, struct job_issue_list *list, struct job_place place,
                     const char *format, va_list arguments)
{
    char message[MESSAGE_SIZE];
    list->count++;
    if (list->stored == JOB_ISSUES_MAX)
        return;
    if (vsnprintf(message, sizeof message, format, arguments) < 0)
        message[0] = '\0';
    char *text = alloc_text(message);
    if (text == NULL)
        issues->failed = true;
    else
        list->items[list->stored++] = (struct job_issue){.place = place, .text = text};
}

void job_issues_error(struct job_issues *issues, struct job_place place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    list_add(issues, &issues->errors, place, format, arguments);
    va_end(arguments);
}

void job_issues_note(struct job_issues *issues, struct job_place place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    list_add(issues, &issues->notes, place, format, arguments);
    va_end(arguments);
}

static void list_release(struct job_issue_list *list)
{
    for (int i = 0; i < list->stored; i++)
        alloc_free(list->items[i].text);
    list->stored = list->count = 0;
}

void job_issues_release(struct job_issues *issues)
{
    list_release(&issues->errors);
    list_release(&issues->notes);
}

static bool place_is_after(struct job_place a, struct job_place b)
{
    if (a.setting != NULL || b.setting != NULL)
        return a.setting != NULL && b.setting == NULL;
    return a.line != b.line ? a.line > b.line : a.column > b.column;
}

/* Insertion sort: few items, and what was said first about a place stays first. */
static void list_sort(struct job_issue_list *list)
{
    for (int i = 1; i < list->stored; i++) {
        struct job_issue issue = list->items[i];
        int at = i;
        for (; at > 0 && place_is_after(list->items[at - 1].place, issue.place); at--)
            list->items[at] = list->items[at - 1];
        list->items[at] = issue;
    }
}

static void list_report(struct job_issue_list *list, const char *path, const char *what, struct text *out)
{
    list_sort(list);
    for (int i = 0; i < list->stored; i++) {
        struct job_place place = list->items[i].place;
        char shown[JOB_SHOWN_SIZE];
        job_word_show(shown, place.setting != NULL ? place.setting : "");
        if (place.setting != NULL)
            text_print(out, "--set %s: %s\n", shown, list->items[i].text);
        else if (place.line == 0)
            text_print(out, "%s: %s\n", path, list->items[i].text);
        else
            text_print(out, "%s:%d:%d: %s\n", path, place.line, place.column, list->items[i].text);
    }
    if (list->count > list->stored)
        text_print(out, "%s: and %d more %s\n", path, list->count - list->stored, what);
}

void job_issues_report(struct job_issues *issues, const char *path, struct job_report *report)
{
    text_clear(&report->errors);
    text_clear(&report->notes);
    list_report(&issues->errors, path, "errors", &report->errors);
    list_report(&issues->notes, path, "notes", &report->notes);
    report->error_count = issues->errors.count;
}

/*
 * Decodes one code point of valid UTF-8 and moves *text behind it; a malformed byte gives -1 and is stepped
 * over.
 */
static int32_t code_point_next(const char **text)
{
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)*text;
    int length = bytes[0] < 0x80             ? 1
                 : (bytes[0] & 0xe0) == 0xc0 ? 2
                 : (bytes[0] & 0xf0) == 0xe0 ? 3
                 : (bytes[0] & 0xf8) == 0xf0 ? 4
                                             : 0;
    int32_t point = length == 1 ? bytes[0] : bytes[0] & (0x7f >> length);
    ++*text;
    for (int i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return -1;
        point = point << 6 | (bytes[i] & 0x3f);
    }
    if (length == 0 || point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return -1;
    *text = (const char *)bytes + length;
    return point;
}

static bool code_point_is_printable(int32_t point)
{
    return point >= 0x20 && !(point >= 0x7f && point <= 0x9f) && point != 0x2028 && point != 0x2029 &&
           point != 0xfeff && point != 0xfffe && point != 0xffff;
}

bool job_text_is_printable(const char *text)
{
    while (*text != '\0') {
        if (!code_point_is_printable(code_point_next(&text)))
            return false;
    }
    return true;
}

void job_text_show(char out[JOB_SHOWN_SIZE], const char *text)
{
    size_t room = JOB_SHOWN_SIZE - sizeof "\"...\"", at = 0;
    out[at++] = '"';
    while (*text != '\0') {
        const char *from = text;
        bool printable = code_point_is_printable(code_point_next(&text));
        size_t length = printable ? (size_t)(text - from) : 1;
        if (at + length > room) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        memcpy(out + at, printable ? from : "?", length);
        at += length;
    }
    out[at++] = '"';
    out[at] = '\0';
}

void job_word_show(char out[JOB_SHOWN_SIZE], const char *text)
{
    job_text_show(out, text);
    size_t length = strlen(out) - 2;
    memmove(out, out + 1, length);
    out[length] = '\0';
}
