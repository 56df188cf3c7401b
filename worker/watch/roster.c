/* SPDX-License-Identifier: MIT
 *
 * See roster.h.
 */
#include "worker/watch/roster.h"

#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"

enum muster_status roster_collect(struct roster *roster, struct comm *comm, int gpu, struct muster_error *err)
{
    size_t size = (size_t)comm->size;
    int64_t *bytes = alloc_zeroed(size, sizeof *bytes);
    *roster = (struct roster){.entries = alloc_zeroed(size, sizeof *roster->entries), .count = comm->size};
    enum muster_status status = MUSTER_OK;
    if (bytes == NULL || roster->entries == NULL) {
        status =
            muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the names of %d ranks", comm->size);
        goto out;
    }
    struct roster_entry *mine = &roster->entries[comm->rank];
    gethostname(mine->host, sizeof mine->host - 1);
    mine->gpu = gpu;
    for (int rank = 0; rank < comm->size; rank++)
        bytes[rank] = (int64_t)sizeof *roster->entries;
    status = comm_all_gather(comm, roster->entries, bytes, err);
out:
    alloc_free(bytes);
    if (status != MUSTER_OK)
        roster_release(roster);
    return status;
}

void roster_release(struct roster *roster)
{
    alloc_free(roster->entries);
    *roster = (struct roster){.count = 0};
}

void roster_name(const struct roster *roster, int rank, char out[ROSTER_NAME_SIZE])
{
    const struct roster_entry *entry = &roster->entries[rank];
    if (entry->gpu >= 0)
        snprintf(out, ROSTER_NAME_SIZE, "rank %d (%s, GPU %d)", rank, entry->host, entry->gpu);
    else
        snprintf(out, ROSTER_NAME_SIZE, "rank %d (%s)", rank, entry->host);
}
