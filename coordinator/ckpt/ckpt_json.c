/* SPDX-License-Identifier: MIT
 *
 * jansson does the parsing; this file stands in front of it. jansson recurses once a level and allocates
 * about a hundred bytes a value, so both are counted over the raw text first, in one pass that knows only
 * strings and brackets.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>

/* The quote that ends the string whose first byte is at `at`; `size` when nothing does. */
static size_t string_end(const char *bytes, size_t size, size_t at)
{
    const char *quote;
    while ((quote = memchr(bytes + at, '"', size - at)) != NULL) {
        size_t end = (size_t)(quote - bytes), escapes = end;
        while (escapes > at && bytes[escapes - 1] == '\\')
            escapes--;
        if ((end - escapes) % 2 == 0)
            return end;
        at = end + 1;
    }
    return size;
}

/* False when the text nests deeper or holds more values than allowed; broken text is left to jansson. */
static bool text_is_modest(const char *bytes, size_t size, int depth_max, int64_t values_max)
{
    static const signed char depth_change[UCHAR_MAX + 1] = {['['] = 1, ['{'] = 1, [']'] = -1, ['}'] = -1};
    static const signed char value_count[UCHAR_MAX + 1] = {['['] = 1, ['{'] = 1, [','] = 1};
    int depth = 0;
    int64_t values = 1;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        depth += depth_change[c];
        values += value_count[c];
        if (value_count[c] > 0 && (depth > depth_max || values > values_max))
            return false;
        if (c == '"')
            i = string_end(bytes, size, i + 1);
    }
    return true;
}

enum muster_status ckpt_json_parse(const char *bytes, size_t size, int depth_max, int64_t values_max,
                                   const char *name, struct json_t **out, struct muster_error *err)
{
    if (!text_is_modest(bytes, size, depth_max, values_max))
        return muster_error_set(err, MUSTER_ERR_CORRUPT,
                                "%s: the JSON is nested deeper than %d or has more than %lld values", name,
                                depth_max, (long long)values_max);
    json_error_t at;
    *out = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &at);
    if (*out != NULL)
        return MUSTER_OK;
    if (json_error_code(&at) == json_error_out_of_memory)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory to parse it", name);
    return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s:%d:%d: %s", name, at.line, at.column, at.text);
}

static int bytes_append(const char *bytes, size_t size, void *out)
{
    text_append(out, bytes, size);
    return 0;
}

bool ckpt_json_append(struct text *out, const char *value)
{
    json_t *string = json_string(value);
    if (string == NULL)
        return false;
    int failed = json_dump_callback(string, bytes_append, out, JSON_ENCODE_ANY);
    json_decref(string);
    return failed == 0 && !out->failed;
}
