/* SPDX-License-Identifier: MIT
 *
 * A hostfile is read as strictly as a job: what mpirun would silently take in another way (slots=0, a
 * misspelt key, a relative index) is an error with its line.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "coordinator/cluster/hostlist.h"
#include "coordinator/cluster/hosts.h"

enum { HOSTFILE_BYTES_MAX = 4 << 20, SLOTS_MAX = 65536, LINE_SIZE = 1024 };

/* "slots=4"; sets *slots for the key that counts here. */
static bool word_read(const char *word, int *slots)
{
    static const char *const keys[] = {"slots=", "max_slots=", "max-slots="};
    for (int i = 0; i < 3; i++) {
        int64_t number;
        size_t length = strlen(keys[i]);
        if (strncmp(word, keys[i], length) != 0)
            continue;
        if (!text_parse_int64(word + length, &number) || number < 1 || number > SLOTS_MAX)
            return false;
        if (i == 0)
            *slots = (int)number;
        return true;
    }
    return false;
}

static enum muster_status line_read(struct hosts *hosts, char *line, const char *path, int number,
                                    struct muster_error *err)
{
    char *rest = NULL, *name = strtok_r(line, " \t\r", &rest), *word;
    int slots = 0;
    if (name == NULL)
        return MUSTER_OK;
    const char *host = hosts_item_host(&(struct hosts_item){.name = name});
    if (name[0] == '-' || !hostlist_name_is_safe(host) ||
        (host != name &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@") != strlen(name)))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s:%d: \"%.80s\" is no host name", path, number,
                                name);
    while ((word = strtok_r(NULL, " \t\r", &rest)) != NULL) {
        if (!word_read(word, &slots))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "%s:%d: \"%.80s\": expected NAME [slots=N] [max_slots=N], N from 1 to %d",
                                    path, number, word, SLOTS_MAX);
    }
    return hosts_add(hosts, name, slots, err);
}

enum muster_status hosts_parse(const char *path, const char *text, struct hosts *hosts,
                               struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    int number = 0;
    *hosts = (struct hosts){.source = HOSTS_FILE};
    while (*text != '\0' && status == MUSTER_OK) {
        char line[LINE_SIZE];
        size_t length = strcspn(text, "\n"), content = strcspn(text, "#\n");
        number++;
        if (content >= sizeof line)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s:%d: the line is too long", path, number);
        memcpy(line, text, content);
        line[content] = '\0';
        status = line_read(hosts, line, path, number, err);
        text += length + (text[length] == '\n');
    }
    if (status == MUSTER_OK && hosts->count == 0)
        status = muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%s: names no host", path);
    return status;
}

enum muster_status hosts_read_file(const char *path, struct hosts *hosts, struct muster_error *err)
{
    char *text = NULL;
    size_t bytes;
    hosts_init(hosts);
    enum muster_status status = fs_file_read(path, HOSTFILE_BYTES_MAX, &text, &bytes, err);
    if (status == MUSTER_OK)
        status = hosts_parse(path, text, hosts, err);
    else if (status == MUSTER_ERR_IO)
        status = MUSTER_ERR_BAD_INPUT; /* only the person who named it can put this right */
    if (err != NULL)
        err->status = status;
    alloc_free(text);
    return status;
}

/* Tasks of each node: as asked for, else what Slurm worked out, else one a GPU. */
static enum muster_status slots_read(char *(*lookup)(const char *), int count, int *slots,
                                     struct muster_error *err)
{
    static const char *const singles[] = {"SLURM_NTASKS_PER_NODE", "SLURM_GPUS_PER_NODE",
                                          "SLURM_GPUS_ON_NODE"};
    const char *tasks = lookup("SLURM_TASKS_PER_NODE");
    int64_t number = 0;
    for (int i = 0; i < 3 && number < 1; i++) {
        const char *text = lookup(singles[i]), *colon = text != NULL ? strrchr(text, ':') : NULL;
        /* SLURM_GPUS_PER_NODE may name the kind before the number: h100:8. */
        if (text == NULL || !text_parse_int64(colon != NULL ? colon + 1 : text, &number) ||
            number > SLOTS_MAX)
            number = 0;
        if (i == 0 && number < 1 && lookup("SLURM_NTASKS") != NULL && tasks != NULL)
            return hostlist_counts(tasks, count, slots, err);
    }
    for (int i = 0; i < count; i++)
        slots[i] = number >= 1 ? (int)number : 1;
    return MUSTER_OK;
}

enum muster_status hosts_from_slurm(char *(*lookup)(const char *name), struct hosts *hosts,
                                    struct muster_error *err)
{
    const char *nodes = lookup("SLURM_JOB_NODELIST");
    struct hostlist list;
    hosts_init(hosts);
    if (nodes == NULL || lookup("SLURM_JOB_ID") == NULL)
        return MUSTER_OK;
    enum muster_status status = hostlist_expand(nodes, &list, err);
    int *slots = alloc_zeroed((size_t)list.count + 1, sizeof *slots);
    if (status == MUSTER_OK && slots == NULL)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a list of hosts");
    if (status == MUSTER_OK)
        status = slots_read(lookup, list.count, slots, err);
    hosts->source = HOSTS_SLURM;
    for (int i = 0; i < list.count && status == MUSTER_OK; i++)
        status = hosts_add(hosts, list.names[i], slots[i], err);
    alloc_free(slots);
    hostlist_release(&list);
    return status;
}
