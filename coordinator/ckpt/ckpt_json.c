/* SPDX-License-Identifier: MIT
 *
 * jansson does the parsing; this file stands in front of it. jansson recurses once a level and allocates
 * about a hundred bytes a value, so both are counted over the raw text first, in one pass that knows only
 * strings and brackets.
 */
#include "coordinator/ckpt/ckpt_internal.h"

#include <jansson.h>

/* False when the text nests deeper or holds more values than allowed; broken text is left to jansson. */
static bool text_is_modest(const char *bytes, size_t size, int depth_max, int64_t values_max)
{
    int depth = 0;
    int64_t values = 1;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = bytes[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            depth++;
            values++;
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == ',') {
            values++;
        }
        if (depth > depth_max || values > values_max)
            return false;
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
