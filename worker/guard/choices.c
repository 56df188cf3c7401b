/* SPDX-License-Identifier: MIT
 *
 * A choice is a line "shape: algorithm". Two lists are compared shape by shape, so that a job whose batch
 * changed is not told about. A file that cannot be read or written is worth a word, not the run.
 */
#include "worker/guard/choices.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"

enum { CHOICES_FILE_MAX = 1 << 20 };

/* The first choice that differs: a rank's and rank 0's, or today's and yesterday's. */
struct choices_pair {
    int differs;
    char mine[KERNELS_CHOICE_MAX], other[KERNELS_CHOICE_MAX];
};

static int choices_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* One line each, sorted. */
static enum muster_status choices_list(struct kernels *kernels, struct text *out, struct muster_error *err)
{
    char one[KERNELS_CHOICE_MAX], (*all)[KERNELS_CHOICE_MAX] = NULL;
    int count = 0;
    while (kernels_choice(kernels, count, one, sizeof one))
        count++;
    if (count > 0 && !(all = alloc_zeroed((size_t)count, sizeof *all)))
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to list %d algorithms", count);
    for (int i = 0; i < count; i++)
        kernels_choice(kernels, i, all[i], sizeof all[i]);
    if (count > 0)
        qsort(all, (size_t)count, sizeof *all, choices_order);
    for (int i = 0; i < count; i++)
        text_print(out, "%s\n", all[i]);
    alloc_free(all);
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to list algorithms")
                       : MUSTER_OK;
}

static void choices_copy(char to[KERNELS_CHOICE_MAX], const char *line)
{
    size_t length = strcspn(line, "\n");
    length = length < KERNELS_CHOICE_MAX ? length : KERNELS_CHOICE_MAX - 1;
    memcpy(to, line, length);
    to[length] = '\0';
}

static const char *choices_next(const char *line)
{
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

static void choices_compare(const char *mine, const char *other, struct choices_pair *pair)
{
    *pair = (struct choices_pair){0};
    for (; *mine && !pair->differs; mine = choices_next(mine)) {
        size_t whole = strcspn(mine, "\n"), shape = strcspn(mine, ":\n");
        for (const char *line = other; *line && !pair->differs; line = choices_next(line)) {
            if (strcspn(line, ":\n") != shape || strncmp(line, mine, shape) != 0)
                continue;
            pair->differs = strcspn(line, "\n") != whole || strncmp(line, mine, whole) != 0;
            if (!pair->differs)
                break;
            choices_copy(pair->mine, mine);
            choices_copy(pair->other, line);
        }
    }
}

/* Every rank against rank 0, which tells. */
static enum muster_status choices_of_ranks(struct comm *comm, const struct text *mine,
                                           struct telemetry *telemetry, struct muster_error *err)
{
    int64_t length = (int64_t)mine->length;
    enum muster_status status = comm_broadcast(comm, &length, sizeof length, 0, err);
    if (status)
        return status;
    char *first = alloc_zeroed((size_t)length + 1, 1);
    struct choices_pair *pairs = alloc_zeroed((size_t)comm->size, sizeof *pairs);
    int64_t *bytes = alloc_zeroed((size_t)comm->size, sizeof *bytes);
    if (!first || !pairs || !bytes) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to compare algorithms");
        goto out;
    }
    if (comm->rank == 0 && length > 0)
        memcpy(first, mine->data, (size_t)length);
    status = comm_broadcast(comm, first, length, 0, err);
    choices_compare(mine->data, first, &pairs[comm->rank]);
    for (int rank = 0; rank < comm->size; rank++)
        bytes[rank] = (int64_t)sizeof *pairs;
    if (!status)
        status = comm_all_gather(comm, pairs, bytes, err);
    for (int rank = 1; rank < comm->size && !status; rank++) {
        if (!pairs[rank].differs)
            continue;
        telemetry_say(telemetry,
                      "WARNING: rank %d does not compute as rank 0 does, and the model depends on which of "
                      "them takes which sample: \"%s\", on rank 0 \"%s\"",
                      rank, pairs[rank].mine, pairs[rank].other);
        break;
    }
out:
    alloc_free(first);
    alloc_free(pairs);
    alloc_free(bytes);
    return status;
}

/* Rank 0's list against that of the run so far, which it then replaces. */
static void choices_of_run(const struct text *mine, const char *folder, bool resumed,
                           struct telemetry *telemetry)
{
    char path[FS_PATH_MAX], *before = NULL;
    struct muster_error err = {0};
    struct choices_pair pair = {0};
    size_t bytes = 0;
    enum muster_status status = fs_path_join(path, folder, "algorithms.txt", &err);
    if (!status && resumed && fs_exists(path))
        status = fs_file_read(path, CHOICES_FILE_MAX, &before, &bytes, &err);
    if (!status && before)
        choices_compare(mine->data, before, &pair);
    if (pair.differs)
        telemetry_say(
            telemetry,
            "WARNING: the libraries do not compute as they did before in this run, and the model will "
            "not be that of an undisturbed run: \"%s\", before \"%s\"",
            pair.mine, pair.other);
    if (!status)
        status = fs_file_write(path, mine->data, mine->length, &err);
    if (status)
        log_warn("the algorithms of this run are not recorded: %s", err.text);
    alloc_free(before);
}

enum muster_status choices_settle(struct kernels *kernels, struct comm *comm, const char *folder,
                                  bool resumed, struct telemetry *telemetry, struct muster_error *err)
{
    struct text mine;
    char any[KERNELS_CHOICE_MAX];
    if (!kernels_choice(kernels, 0, any, sizeof any))
        return MUSTER_OK;
    text_init(&mine);
    enum muster_status status = choices_list(kernels, &mine, err);
    if (!status)
        status = choices_of_ranks(comm, &mine, telemetry, err);
    if (!status && comm->rank == 0)
        choices_of_run(&mine, folder, resumed, telemetry);
    text_release(&mine);
    return status;
}
