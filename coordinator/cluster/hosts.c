/* SPDX-License-Identifier: MIT
 *
 * Time is an argument and who answers is asked elsewhere (reach.h), so that what is decided about hosts can
 * be tested without any.
 */
#include "coordinator/cluster/hosts.h"

#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "coordinator/cluster/hostlist.h"

void hosts_init(struct hosts *hosts)
{
    *hosts = (struct hosts){.source = HOSTS_LOCAL};
}

void hosts_release(struct hosts *hosts)
{
    for (int i = 0; i < hosts->count; i++)
        alloc_free(hosts->items[i].name);
    alloc_free(hosts->items);
    hosts_init(hosts);
}

/* Equal up to the first point, when one of them has no domain. */
static bool names_match(const char *a, const char *b)
{
    size_t a_short = strcspn(a, "."), b_short = strcspn(b, ".");
    if (a[a_short] != '\0' && b[b_short] != '\0')
        return strcmp(a, b) == 0;
    return a_short == b_short && strncmp(a, b, a_short) == 0;
}

enum muster_status hosts_add(struct hosts *hosts, const char *name, int slots, struct muster_error *err)
{
    for (int i = 0; i < hosts->count; i++) {
        if (strcmp(hosts->items[i].name, name) == 0) {
            hosts->items[i].slots += slots;
            return MUSTER_OK;
        }
    }
    if (hosts->count >= HOSTLIST_MAX)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "more than %d hosts", HOSTLIST_MAX);
    struct hosts_item *items = alloc_resize(hosts->items, (size_t)hosts->count + 1, sizeof *items);
    char *copy = alloc_text(name);
    if (items != NULL)
        hosts->items = items;
    if (items == NULL || copy == NULL) {
        alloc_free(copy);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a list of hosts");
    }
    items[hosts->count++] = (struct hosts_item){.name = copy, .slots = slots};
    return MUSTER_OK;
}

const char *hosts_item_host(const struct hosts_item *item)
{
    const char *at = strchr(item->name, '@');
    return at != NULL && at != item->name ? at + 1 : item->name;
}

int hosts_find(const struct hosts *hosts, const char *name)
{
    for (int i = 0; i < hosts->count; i++) {
        if (names_match(hosts_item_host(&hosts->items[i]), name))
            return i;
    }
    return -1;
}

bool hosts_item_is_out(const struct hosts_item *item)
{
    return item->out_until_s > 0.0;
}

void hosts_item_leave_out(struct hosts_item *item, double until_s)
{
    item->out_until_s = until_s;
    item->failures = 0;
}

bool hosts_item_failed(struct hosts_item *item, int failures_max, double until_s)
{
    if (hosts_item_is_out(item) || ++item->failures < failures_max)
        return false;
    hosts_item_leave_out(item, until_s);
    return true;
}

void hosts_item_take_back(struct hosts_item *item)
{
    item->out_until_s = 0.0;
}

int hosts_left(const struct hosts *hosts)
{
    int left = 0;
    for (int i = 0; i < hosts->count; i++)
        left += !hosts_item_is_out(&hosts->items[i]);
    return left;
}

double hosts_retry_s(const struct hosts *hosts)
{
    double earliest_s = 0.0;
    for (int i = 0; i < hosts->count; i++) {
        double until_s = hosts->items[i].out_until_s;
        if (until_s > 0.0 && (earliest_s <= 0.0 || until_s < earliest_s))
            earliest_s = until_s;
    }
    return earliest_s;
}

int hosts_slots(const struct hosts *hosts)
{
    int64_t slots = 0;
    for (int i = 0; i < hosts->count; i++) {
        const struct hosts_item *item = &hosts->items[i];
        if (!hosts_item_is_out(item) && item->slots == 0)
            return 0;
        slots += hosts_item_is_out(item) ? 0 : item->slots;
    }
    return slots < INT32_MAX ? (int)slots : INT32_MAX;
}

int hosts_ranks(const struct hosts *hosts, int wanted)
{
    int64_t all = 0, used = 0;
    bool known = true;
    for (int i = 0; i < hosts->count; i++) {
        const struct hosts_item *item = &hosts->items[i];
        int slots = item->slots > 0 ? item->slots : 1;
        known = known && item->slots > 0;
        all += slots;
        used += hosts_item_is_out(item) ? 0 : slots;
    }
    if (used == all)
        return wanted; /* also without any */
    if (used == 0)
        return 0;
    int64_t ranks = known && wanted <= all ? (wanted < used ? wanted : used) : wanted * used / all;
    return ranks > 1 ? (int)ranks : 1;
}

int hosts_needed(const struct hosts *hosts, int ranks)
{
    int needed = 0, places = 0;
    for (int i = 0; i < hosts->count && places < ranks; i++) {
        if (hosts_item_is_out(&hosts->items[i]))
            continue;
        places += hosts->items[i].slots > 0 ? hosts->items[i].slots : 1;
        needed++;
    }
    return needed > 0 ? needed : 1;
}

void hosts_print(const struct hosts *hosts, bool with_slots, struct text *out)
{
    const char *separator = "";
    for (int i = 0; i < hosts->count; i++) {
        if (hosts_item_is_out(&hosts->items[i]))
            continue;
        text_print(out, "%s%s", separator, hosts->items[i].name);
        if (with_slots && hosts->items[i].slots > 0)
            text_print(out, ":%d", hosts->items[i].slots);
        separator = ",";
    }
}

enum muster_status hosts_write_file(const struct hosts *hosts, const char *path, struct muster_error *err)
{
    struct text text;
    text_init(&text);
    for (int i = 0; i < hosts->count; i++) {
        if (hosts_item_is_out(&hosts->items[i]))
            continue;
        text_print(&text, "%s", hosts->items[i].name);
        if (hosts->items[i].slots > 0)
            text_print(&text, " slots=%d", hosts->items[i].slots);
        text_print(&text, "\n");
    }
    enum muster_status status =
        text.failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a list of hosts")
                    : fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    return status;
}
