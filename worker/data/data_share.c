/* SPDX-License-Identifier: MIT
 *
 * Rank 0's view travels, every rank compares its own with it, and one verdict comes back: a rank that ended
 * alone would leave the others in their next collective.
 */
#include "worker/data/data_share.h"

#include <inttypes.h>
#include <string.h>

#include "worker/checkpoint_agree.h"

enum muster_status data_share(struct comm *comm, const struct dataset *dataset, const char *key,
                              struct ckpt_data *out, struct muster_error *err)
{
    const struct dataset_info *info = dataset_info(dataset);
    struct ckpt_data first;
    memset(out, 0, sizeof *out);
    enum muster_status mine = dataset_identity(dataset, &out->hash, err);
    out->known = true;
    out->sample_count = info->sample_count;
    out->file_count = info->file_count;
    first = *out;
    enum muster_status status = comm_broadcast(comm, &first, sizeof first, 0, err);
    if (status)
        return status;
    if (!mine && !hash_equal(first.hash, out->hash))
        mine = muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%s: other files than on rank 0: %" PRId64 " samples in %d file%s, there %" PRId64 " in %d%s",
            key, out->sample_count, out->file_count, out->file_count == 1 ? "" : "s", first.sample_count,
            first.file_count, first.sample_count == out->sample_count ? " with other content" : "");
    return checkpoint_agree(comm, mine, err);
}
