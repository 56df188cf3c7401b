/* SPDX-License-Identifier: MIT
 *
 * The record is played twice side by side: as it was (`live`: which file a path means at that moment), and as
 * the crash leaves it (`lost`: the same calls without those that did not last). Names not yet synced last
 * either up to some moment of each folder, as a journal would have it, or each by itself.
 */
#include "tests/faults/crash_model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/faults/io_shim.h"

enum { NODES_MAX = 4096, ENTRIES_MAX = 4096, NAME_MAX_HERE = 128, PATH_SIZE = 4096, SECTOR = 512 };

struct call {
    struct io_record head;
    char path[PATH_SIZE / 8], other[PATH_SIZE / 8];
    unsigned char *data;
    int node, parent, other_parent; /* file or folder that it is about; folders of its names */
    char name[NAME_MAX_HERE], other_name[NAME_MAX_HERE];
    int synced_at; /* the first later sync of what it changed; count: never */
};

struct entry {
    int parent, node;
    char name[NAME_MAX_HERE];
};

struct tree {
    struct entry entries[ENTRIES_MAX];
    int count;
};

struct crash_model {
    struct call *calls;
    int count, node_count;
    bool is_folder[NODES_MAX];
    size_t root_length;
};

static int tree_find(const struct tree *tree, int parent, const char *name)
{
    for (int i = 0; i < tree->count; i++)
        if (tree->entries[i].parent == parent && strcmp(tree->entries[i].name, name) == 0)
            return i;
    return -1;
}

static void tree_remove(struct tree *tree, int parent, const char *name)
{
    int at = tree_find(tree, parent, name);
    if (at >= 0)
        tree->entries[at] = tree->entries[--tree->count];
}

static void tree_put(struct tree *tree, int parent, const char *name, int node)
{
    tree_remove(tree, parent, name);
    struct entry *entry = &tree->entries[tree->count++];
    entry->parent = parent;
    entry->node = node;
    snprintf(entry->name, sizeof entry->name, "%s", name);
}

/* Node 0 is the root. Splits a path below it into folder and last name; the node, or -1. */
static int tree_walk(const struct tree *tree, const char *path, size_t root_length, int *parent,
                     char name[NAME_MAX_HERE])
{
    int node = 0;
    *parent = -1;
    name[0] = '\0';
    const char *next = strlen(path) > root_length ? path + root_length : "";
    while (*next == '/')
        next++;
    while (*next != '\0') {
        size_t length = strcspn(next, "/");
        *parent = node;
        snprintf(name, NAME_MAX_HERE, "%.*s", (int)length, next);
        int at = node >= 0 ? tree_find(tree, node, name) : -1;
        node = at >= 0 ? tree->entries[at].node : -1;
        next += length;
        while (*next == '/')
            next++;
    }
    return node;
}

static bool changes_names(uint32_t op)
{
    return op == IO_OP_CREATE || op == IO_OP_RENAME || op == IO_OP_MKDIR || op == IO_OP_REMOVE;
}

/* What a call does to the names, when it lasts. */
static void call_apply(const struct call *call, struct tree *tree)
{
    switch ((enum io_op)call->head.op) {
    case IO_OP_CREATE:
    case IO_OP_MKDIR:
        tree_put(tree, call->parent, call->name, call->node);
        break;
    case IO_OP_RENAME:
        tree_remove(tree, call->parent, call->name);
        tree_put(tree, call->other_parent, call->other_name, call->node);
        break;
    case IO_OP_REMOVE:
        tree_remove(tree, call->parent, call->name);
        break;
    default:
        break;
    }
}

static bool call_read(FILE *file, struct call *call)
{
    if (fread(&call->head, sizeof call->head, 1, file) != 1)
        return false;
    size_t path = call->head.path_bytes, other = call->head.other_bytes;
    if (path >= sizeof call->path || other >= sizeof call->other ||
        fread(call->path, 1, path, file) != path || fread(call->other, 1, other, file) != other)
        abort();
    if (call->head.op == IO_OP_WRITE) {
        call->data = malloc((size_t)call->head.bytes + 1);
        if (call->data == NULL ||
            fread(call->data, 1, (size_t)call->head.bytes, file) != (size_t)call->head.bytes)
            abort();
    }
    return true;
}

static void calls_resolve(struct crash_model *model)
{
    static struct tree live;
    live.count = 0;
    model->node_count = 1;
    model->is_folder[0] = true;
    for (int i = 0; i < model->count; i++) {
        struct call *call = &model->calls[i];
        call->node = tree_walk(&live, call->path, model->root_length, &call->parent, call->name);
        if (call->head.op == IO_OP_RENAME)
            tree_walk(&live, call->other, model->root_length, &call->other_parent, call->other_name);
        if (call->head.op == IO_OP_CREATE || call->head.op == IO_OP_MKDIR) {
            call->node = model->node_count++;
            model->is_folder[call->node] = call->head.op == IO_OP_MKDIR;
        }
        call_apply(call, &live);
    }
}

/* The folder whose sync makes a call's names last, or the file whose sync makes its data last. */
static int sync_target(const struct call *call)
{
    if (call->head.op == IO_OP_RENAME)
        return call->other_parent;
    return changes_names(call->head.op) ? call->parent : call->node;
}

static void syncs_find(struct crash_model *model)
{
    for (int i = 0; i < model->count; i++) {
        struct call *call = &model->calls[i];
        call->synced_at = model->count;
        for (int k = i + 1; k < model->count && call->synced_at == model->count; k++)
            if (model->calls[k].head.op == IO_OP_SYNC && model->calls[k].node == sync_target(call))
                call->synced_at = k;
    }
}

struct crash_model *crash_model_open(const char *record, const char *root)
{
    struct crash_model *model = calloc(1, sizeof *model);
    FILE *file = fopen(record, "re");
    struct call call;
    if (model == NULL || file == NULL)
        return NULL;
    model->root_length = strlen(root);
    for (memset(&call, 0, sizeof call); call_read(file, &call); memset(&call, 0, sizeof call)) {
        model->calls = realloc(model->calls, ((size_t)model->count + 1) * sizeof *model->calls);
        if (model->calls == NULL)
            abort();
        model->calls[model->count++] = call;
    }
    fclose(file);
    calls_resolve(model);
    syncs_find(model);
    return model;
}

void crash_model_close(struct crash_model *model)
{
    if (model == NULL)
        return;
    for (int i = 0; i < model->count; i++)
        free(model->calls[i].data);
    free(model->calls);
    free(model);
}

int crash_model_count(const struct crash_model *model)
{
    return model->count;
}

int64_t crash_model_mark(const struct crash_model *model, int at)
{
    int64_t mark = -1;
    for (int i = 0; i < at; i++)
        if (model->calls[i].head.op == IO_OP_MARK)
            mark = model->calls[i].head.offset;
    return mark;
}

static uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Which of the calls before `at` last. */
static void lasting_choose(const struct crash_model *model, int at, uint64_t *random,
                           const struct crash_options *options, bool *lasts)
{
    static int journal[NODES_MAX]; /* up to which call a folder's names last; -1: each by itself */
    bool ordered = random_next(random) % 2;
    for (int node = 0; node < model->node_count; node++)
        journal[node] = ordered ? (int)(random_next(random) % (uint64_t)(at + 1)) : -1;
    for (int i = 0; i < at; i++) {
        const struct call *call = &model->calls[i];
        bool names = changes_names(call->head.op);
        bool ignored = names ? options->ignore_folder_syncs : options->ignore_file_syncs;
        int target = sync_target(call);
        lasts[i] = call->synced_at < at && !ignored;
        if (!lasts[i] && names && ordered && target >= 0)
            lasts[i] = i < journal[target];
        else if (!lasts[i])
            lasts[i] = random_next(random) % 2;
    }
}

/* Data that was not synced lasts in sectors. */
static void data_write(int fd, const struct call *call, bool whole, uint64_t *random)
{
    for (int64_t at = 0; at < call->head.bytes; at += SECTOR) {
        int64_t bytes = call->head.bytes - at < SECTOR ? call->head.bytes - at : SECTOR;
        if (!whole && random_next(random) % 2)
            continue;
        if (pwrite(fd, call->data + at, (size_t)bytes, call->head.offset + at) != bytes)
            abort();
    }
}

static bool file_write(const struct crash_model *model, int at, int node, const bool *lasts, uint64_t *random,
                       const struct crash_options *options, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    for (int i = 0; i < at; i++) {
        const struct call *call = &model->calls[i];
        if (call->node != node || !lasts[i])
            continue;
        bool whole = (call->synced_at < at && !options->ignore_file_syncs) || random_next(random) % 2;
        if (call->head.op == IO_OP_WRITE)
            data_write(fd, call, whole, random);
        if (call->head.op == IO_OP_TRUNCATE && ftruncate(fd, call->head.offset) != 0)
            abort();
    }
    close(fd);
    return true;
}

static bool folder_write(const struct crash_model *model, int at, const struct tree *lost, int folder,
                         const bool *lasts, uint64_t *random, const struct crash_options *options,
                         const char *path)
{
    for (int i = 0; i < lost->count; i++) {
        const struct entry *entry = &lost->entries[i];
        char child[PATH_SIZE];
        if (entry->parent != folder)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, entry->name);
        bool written = model->is_folder[entry->node]
                           ? mkdir(child, 0700) == 0 &&
                                 folder_write(model, at, lost, entry->node, lasts, random, options, child)
                           : file_write(model, at, entry->node, lasts, random, options, child);
        if (!written)
            return false;
    }
    return true;
}

bool crash_model_state(const struct crash_model *model, int at, uint64_t seed,
                       const struct crash_options *options, const char *folder)
{
    static struct tree lost;
    bool *lasts = calloc((size_t)model->count + 1, sizeof *lasts);
    uint64_t random = seed;
    if (lasts == NULL)
        return false;
    lasting_choose(model, at, &random, options, lasts);
    lost.count = 0;
    for (int i = 0; i < at; i++)
        if (lasts[i])
            call_apply(&model->calls[i], &lost);
    bool written = folder_write(model, at, &lost, 0, lasts, &random, options, folder);
    free(lasts);
    return written;
}
