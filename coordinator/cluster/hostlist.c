/* SPDX-License-Identifier: MIT
 *
 * A name is read from left to right; at a bracket, every number of it continues with the rest of the name, so
 * brackets may follow each other. Nothing is trusted: the text comes from an environment variable.
 */
#include "coordinator/cluster/hostlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { COUNT_MAX = 1 << 20, DIGITS_MAX = 9, BRACKETS_MAX = 8 };

struct expansion {
    struct hostlist *list;
    char name[HOSTLIST_NAME_SIZE];
    const char *problem;
};

bool hostlist_name_is_safe(const char *name)
{
    static const char all[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    return length > 0 && length < HOSTLIST_NAME_SIZE && name[0] != '-' && strspn(name, all) == length;
}

static bool refuse(struct expansion *expansion, const char *problem)
{
    expansion->problem = expansion->problem != NULL ? expansion->problem : problem;
    return false;
}

/* A list that is full to a power of two is doubled. */
static bool name_add(struct expansion *expansion)
{
    struct hostlist *list = expansion->list;
    if (!hostlist_name_is_safe(expansion->name))
        return refuse(expansion, "has something that is no host name");
    if (list->count >= HOSTLIST_MAX)
        return refuse(expansion, "names too many hosts");
    if ((list->count & (list->count - 1)) == 0) {
        char **names =
            alloc_resize(list->names, list->count > 0 ? 2 * (size_t)list->count : 1, sizeof *names);
        if (names == NULL)
            return refuse(expansion, "does not fit into memory");
        list->names = names;
    }
    list->names[list->count] = alloc_text(expansion->name);
    if (list->names[list->count] == NULL)
        return refuse(expansion, "does not fit into memory");
    list->count++;
    return true;
}

static bool name_append(struct expansion *expansion, const char *bytes, size_t length)
{
    size_t used = strlen(expansion->name);
    if (used + length >= sizeof expansion->name)
        return refuse(expansion, "has a name that is too long");
    memcpy(expansion->name + used, bytes, length);
    expansion->name[used + length] = '\0';
    return true;
}

/* "07" or "07-12" at *text, which moves behind it; `width` keeps the zeros. */
static bool range_read(struct expansion *expansion, const char **text, long *first, long *last, int *width)
{
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX)
        return refuse(expansion, "has a bracket without a number");
    *width = (int)digits;
    *first = *last = strtol(*text, NULL, 10);
    *text += digits;
    if (**text != '-')
        return true;
    digits = strspn(++*text, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX)
        return refuse(expansion, "has a range without an end");
    *last = strtol(*text, NULL, 10);
    *text += digits;
    return *last >= *first || refuse(expansion, "has a range that ends before it begins");
}

static bool rest_expand(struct expansion *expansion, const char *text, size_t length, int brackets);

/* The bracket that begins at text[0]: every number in it, each with all that follows. */
static bool bracket_expand(struct expansion *expansion, const char *text, size_t length, int brackets)
{
    const char *close = memchr(text, ']', length), *at = text + 1;
    size_t used = strlen(expansion->name), rest;
    if (close == NULL)
        return refuse(expansion, "has a bracket that is not closed");
    if (brackets == 0)
        return refuse(expansion, "has too many brackets in a name");
    rest = length - (size_t)(close - text) - 1;
    for (;;) {
        long first, last;
        int width;
        char number[DIGITS_MAX + 2];
        if (!range_read(expansion, &at, &first, &last, &width))
            return false;
        for (long i = first; i <= last; i++) {
            snprintf(number, sizeof number, "%0*ld", width, i);
            if (!name_append(expansion, number, strlen(number)) ||
                !rest_expand(expansion, close + 1, rest, brackets - 1))
                return false;
            expansion->name[used] = '\0';
        }
        if (at == close)
            return true;
        if (*at++ != ',')
            return refuse(expansion, "has a bracket that is not a list of numbers");
    }
}

static bool rest_expand(struct expansion *expansion, const char *text, size_t length, int brackets)
{
    const char *bracket = memchr(text, '[', length);
    size_t plain = bracket != NULL ? (size_t)(bracket - text) : length, used = strlen(expansion->name);
    if (!name_append(expansion, text, plain))
        return false;
    bool good =
        bracket != NULL ? bracket_expand(expansion, bracket, length - plain, brackets) : name_add(expansion);
    expansion->name[used] = '\0';
    return good;
}

/* Up to the comma outside brackets, or the end. */
static size_t name_length(const char *text)
{
    size_t length = 0;
    for (bool inside = false; text[length] != '\0' && (inside || text[length] != ','); length++)
        inside = text[length] == '[' || (inside && text[length] != ']');
    return length;
}

enum muster_status hostlist_expand(const char *text, struct hostlist *list, struct muster_error *err)
{
    struct expansion expansion = {.list = list};
    const char *at = text;
    bool good = true;
    *list = (struct hostlist){.names = NULL};
    while (good) {
        size_t length = name_length(at);
        good = rest_expand(&expansion, at, length, BRACKETS_MAX);
        at += length;
        if (*at == '\0')
            break;
        at++;
    }
    if (good)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "the list of hosts \"%.200s\" %s", text,
                            expansion.problem);
}

void hostlist_release(struct hostlist *list)
{
    for (int i = 0; i < list->count; i++)
        alloc_free(list->names[i]);
    alloc_free(list->names);
    *list = (struct hostlist){.names = NULL};
}

enum muster_status hostlist_counts(const char *text, int count, int *numbers, struct muster_error *err)
{
    const char *at = text;
    char *end;
    int filled = 0;
    for (bool more = true; more;) {
        long number = strtol(at, &end, 10), times = 1;
        if (end == at || *at < '0' || *at > '9' || number < 1 || number > COUNT_MAX)
            break;
        if (end[0] == '(' && end[1] == 'x') {
            times = strtol(end + 2, &end, 10);
            if (*end != ')' || times < 1)
                break;
            end++;
        }
        if (times > count - filled)
            break;
        while (times-- > 0)
            numbers[filled++] = (int)number;
        more = *end == ',';
        at = end + more;
        if (!more && *end == '\0' && filled == count)
            return MUSTER_OK;
    }
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "\"%.200s\" does not count the tasks of %d hosts",
                            text, count);
}
