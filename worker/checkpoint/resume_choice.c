/* SPDX-License-Identifier: MIT
 *
 * Rank 0 looks, as where a checkpoint is chosen: another host may see the folder a moment later.
 */
#include "worker/checkpoint/resume_choice.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "worker/checkpoint/checkpoint_agree.h"

static bool is_checkpoint(const char *from)
{
    return strcmp(from, "auto") != 0 && strcmp(from, "never") != 0;
}

bool resume_choice_is_start(const char *dir, const char *from)
{
    char folder[PATH_MAX], checkpoint[PATH_MAX];
    if (!is_checkpoint(from))
        return false;
    if (realpath(dir, folder) == NULL || realpath(from, checkpoint) == NULL)
        return true;
    size_t length = strlen(folder);
    return strncmp(checkpoint, folder, length) != 0 || checkpoint[length] != '/';
}

/* -1 when there is none that opens. */
static int64_t step_of(const char *folder)
{
    struct ckpt *ckpt = NULL;
    int64_t step = ckpt_open(folder, &ckpt, NULL) == MUSTER_OK ? ckpt_step(ckpt) : -1;
    ckpt_close(ckpt);
    return step;
}

static enum muster_status newest_shared(const char *dir, int64_t *newest, struct muster_error *err)
{
    struct ckpt_catalogue catalogue;
    enum muster_status status = ckpt_catalogue_read(dir, &catalogue, err);
    for (int i = 0; i < catalogue.count; i++) {
        const struct ckpt_entry *entry = &catalogue.entries[i];
        *newest = entry->committed && entry->step > *newest ? entry->step : *newest;
    }
    ckpt_catalogue_release(&catalogue);
    return status;
}

enum muster_status resume_choice_make(struct comm *comm, const char *dir, const struct checkpoint_tier *tier,
                                      const char *from, bool own_first, const char **chosen,
                                      struct muster_error *err)
{
    int64_t saves[2] = {-1, -1}, *near_steps = NULL; /* newest of the run, step of `from` */
    int near_count = 0, own = own_first;
    *chosen = from;
    enum muster_status status = comm_broadcast(comm, &own, sizeof own, 0, err);
    if (status != MUSTER_OK || !own || !strcmp(from, "auto"))
        return status;
    *chosen = "auto";
    if (!is_checkpoint(from))
        return MUSTER_OK;
    if (comm->rank == 0) {
        saves[1] = step_of(from);
        status = newest_shared(dir, &saves[0], err);
    }
    status = checkpoint_agree(comm, status, err);
    if (status == MUSTER_OK)
        status = comm_broadcast(comm, saves, sizeof saves, 0, err);
    if (status == MUSTER_OK && tier != NULL)
        status = checkpoint_tier_steps(tier, comm, &near_steps, &near_count, err);
    if (near_count > 0 && near_steps[0] > saves[0])
        saves[0] = near_steps[0];
    alloc_free(near_steps);
    if (saves[0] <= saves[1])
        *chosen = from;
    return status;
}
