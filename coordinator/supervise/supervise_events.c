/* SPDX-License-Identifier: MIT
 *
 * Lines that cannot be read are passed over: the log tells people what happened, and nothing depends on it.
 */
#include "coordinator/supervise/supervise_events.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/event_log.h"
#include "base/fs.h"

enum { LOG_BYTES_MAX = 256 << 20 };

/* The first two end a launch whenever they are written, the others where the job says so. */
static const char *const kinds[] = {"death", "stopped", "nan", "spike", "corruption", "fenced"};
enum { KINDS_SURE = 2, KINDS_ALL = sizeof kinds / sizeof kinds[0] };

static bool kind_ends_launch(const char *kind, int kind_count)
{
    for (int i = 0; kind != NULL && i < kind_count; i++) {
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    }
    return false;
}

static bool witness_read(const char *line, size_t length, int64_t epoch, int kind_count, int killed,
                         struct supervise_witness *witness)
{
    json_t *event = json_loadb(line, length, 0, NULL);
    const json_t *rank = json_object_get(event, "rank");
    const char *text = json_string_value(json_object_get(event, "text"));
    const char *host = json_string_value(json_object_get(event, "host"));
    const char *kind = json_string_value(json_object_get(event, "kind"));
    bool later =
        killed >= 0 && kind != NULL && strcmp(kind, "death") == 0 && json_integer_value(rank) != killed;
    bool found = text != NULL && kind_ends_launch(kind, kind_count) && !later &&
                 json_integer_value(json_object_get(event, "epoch")) == epoch;
    if (found) {
        snprintf(witness->text, sizeof witness->text, "%s", text);
        snprintf(witness->host, sizeof witness->host, "%s", host != NULL ? host : "");
        witness->rank = json_is_integer(rank) ? (int)json_integer_value(rank) : -1;
    }
    json_decref(event);
    return found;
}

static bool witness_find(const char *folder, int64_t since_bytes, int64_t epoch, int kind_count, int killed,
                         struct supervise_witness *witness)
{
    char path[FS_PATH_MAX], *data = NULL;
    size_t bytes = 0;
    bool found = false;
    if (fs_path_join(path, folder, EVENT_LOG_NAME, NULL) != MUSTER_OK || !fs_exists(path) ||
        fs_file_read(path, LOG_BYTES_MAX, &data, &bytes, NULL) != MUSTER_OK)
        return false;
    size_t at = since_bytes > 0 ? (size_t)since_bytes : 0;
    while (at < bytes && !found) {
        const char *end = memchr(data + at, '\n', bytes - at);
        size_t length = end != NULL ? (size_t)(end - (data + at)) : bytes - at;
        found = witness_read(data + at, length, epoch, kind_count, killed, witness);
        at += length + 1;
    }
    alloc_free(data);
    return found;
}

bool supervise_events_cause(const char *folder, int64_t since_bytes, int64_t epoch, int killed,
                            struct supervise_witness *witness)
{
    return witness_find(folder, since_bytes, epoch, KINDS_ALL, killed, witness);
}

bool supervise_events_end(const char *folder, int64_t since_bytes, int64_t epoch)
{
    struct supervise_witness witness;
    return witness_find(folder, since_bytes, epoch, KINDS_SURE, -1, &witness);
}
