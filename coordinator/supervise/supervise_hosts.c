/* SPDX-License-Identifier: MIT
 *
 * The lines of the file are kept as they are, so that whatever else mpirun understands there goes on to mean
 * the same.
 */
#include "coordinator/supervise/supervise_hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/text.h"

enum { HOSTFILE_BYTES_MAX = 16 << 20, SLOTS_MAX = 1 << 20 };

static enum muster_status host_add(struct supervise_hosts *hosts, const char *line, size_t length,
                                   struct muster_error *err)
{
    size_t comment = strcspn(line, "#"), blank = strspn(line, " \t");
    size_t end = comment < length ? comment : length, name_length = 0;
    while (blank + name_length < end && strchr(" \t\r", line[blank + name_length]) == NULL)
        name_length++;
    if (blank >= end || name_length == 0)
        return MUSTER_OK;
    struct supervise_host *items = alloc_resize(hosts->items, (size_t)hosts->count + 1, sizeof *items);
    char *copy = alloc_zeroed(end + 1, 1);
    if (items != NULL)
        hosts->items = items;
    if (items == NULL || copy == NULL) {
        alloc_free(copy);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the hosts");
    }
    memcpy(copy, line, end);
    struct supervise_host *host = &items[hosts->count++];
    *host = (struct supervise_host){.line = copy};
    snprintf(host->name, sizeof host->name, "%.*s", (int)name_length, copy + blank);
    const char *slots = strstr(copy + blank + name_length, "slots=");
    long count = slots != NULL ? strtol(slots + strlen("slots="), NULL, 10) : 0;
    host->slots = count > 0 && count <= SLOTS_MAX ? (int)count : 0;
    return MUSTER_OK;
}

enum muster_status supervise_hosts_read(const char *path, struct supervise_hosts *hosts,
                                        struct muster_error *err)
{
    char *text = NULL;
    size_t bytes;
    *hosts = (struct supervise_hosts){.count = 0};
    enum muster_status status = fs_file_read(path, HOSTFILE_BYTES_MAX, &text, &bytes, err);
    for (const char *line = text; status == MUSTER_OK && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        status = host_add(hosts, line, length, err);
        line += length + (line[length] == '\n');
    }
    alloc_free(text);
    if (status == MUSTER_OK && hosts->count == 0)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s names no host", path);
    return status;
}

void supervise_hosts_release(struct supervise_hosts *hosts)
{
    for (int i = 0; i < hosts->count; i++)
        alloc_free(hosts->items[i].line);
    alloc_free(hosts->items);
    *hosts = (struct supervise_hosts){.count = 0};
}

enum muster_status supervise_hosts_write(const struct supervise_hosts *hosts, const char *path,
                                         struct muster_error *err)
{
    struct text text;
    text_init(&text);
    for (int i = 0; i < hosts->count; i++) {
        if (!supervise_host_is_out(&hosts->items[i]))
            text_print(&text, "%s\n", hosts->items[i].line);
    }
    enum muster_status status = text.failed
                                    ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the hosts")
                                    : fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    return status;
}

int supervise_hosts_find(const struct supervise_hosts *hosts, const char *name)
{
    for (int i = 0; i < hosts->count; i++) {
        const char *known = hosts->items[i].name;
        size_t length = strlen(known) < strlen(name) ? strlen(known) : strlen(name);
        bool short_end =
            (known[length] == '\0' || known[length] == '.') && (name[length] == '\0' || name[length] == '.');
        if (length > 0 && strncmp(known, name, length) == 0 && short_end)
            return i;
    }
    return -1;
}

bool supervise_host_is_out(const struct supervise_host *host)
{
    return host->out_until_s > 0.0;
}

int supervise_hosts_out_count(const struct supervise_hosts *hosts)
{
    int count = 0;
    for (int i = 0; i < hosts->count; i++)
        count += supervise_host_is_out(&hosts->items[i]);
    return count;
}

void supervise_host_leave_out(struct supervise_host *host, double until_s)
{
    host->out_until_s = until_s;
    host->failures = 0;
}

bool supervise_host_failed(struct supervise_host *host, int failures_max, double until_s)
{
    if (supervise_host_is_out(host) || ++host->failures < failures_max)
        return false;
    supervise_host_leave_out(host, until_s);
    return true;
}

void supervise_host_take_back(struct supervise_host *host)
{
    host->out_until_s = 0.0;
}

double supervise_hosts_retry_s(const struct supervise_hosts *hosts)
{
    double earliest_s = 0.0;
    for (int i = 0; i < hosts->count; i++) {
        double until_s = hosts->items[i].out_until_s;
        if (until_s > 0.0 && (earliest_s <= 0.0 || until_s < earliest_s))
            earliest_s = until_s;
    }
    return earliest_s;
}

int supervise_hosts_ranks(const struct supervise_hosts *hosts, int wanted)
{
    int64_t all = 0, used = 0;
    bool known = true;
    for (int i = 0; i < hosts->count; i++) {
        const struct supervise_host *host = &hosts->items[i];
        int slots = host->slots > 0 ? host->slots : 1;
        known = known && host->slots > 0;
        all += slots;
        used += supervise_host_is_out(host) ? 0 : slots;
    }
    if (used == all)
        return wanted; /* also without any */
    if (used == 0)
        return 0;
    int64_t ranks = known && wanted <= all ? (wanted < used ? wanted : used) : wanted * used / all;
    return ranks > 1 ? (int)ranks : 1;
}
