/* SPDX-License-Identifier: MIT
 *
 * Rank 0's view travels, every rank compares its own with it, and one verdict comes back: a rank that ended
 * alone would leave the others in their next collective.
 */
#include "worker/data/data_share.h"

#include <inttypes.h>
#include <string.h>

#include "worker/checkpoint/checkpoint_agree.h"

static enum muster_status mine_open(const struct job *job, const char *key, struct dataset **out,
                                    struct ckpt_data *data, struct muster_error *err)
{
    bool trains = strcmp(key, "data.train") == 0;
    memset(data, 0, sizeof *data);
    enum muster_status status = dataset_open(trains ? &job->data.train : &job->data.val, job->data.format,
                                             job->data.seq_len, out, err);
    if (status)
        return status;
    data->known = true;
    data->sample_count = dataset_info(*out)->sample_count;
    data->file_count = dataset_info(*out)->file_count;
    return dataset_identity(*out, &data->hash, err);
}

enum muster_status data_open_shared(struct comm *comm, const struct job *job, const char *key,
                                    struct dataset **out, struct ckpt_data *data, struct muster_error *err)
{
    enum muster_status mine = mine_open(job, key, out, data, err);
    struct ckpt_data first = *data;
    struct muster_error cause = *err;
    enum muster_status status = comm_broadcast(comm, &first, sizeof first, 0, err);
    if (status)
        return status;
    *err = cause;
    if (!mine && first.known && !hash_equal(first.hash, data->hash))
        mine = muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%s: other files than on rank 0: %" PRId64 " samples in %d file%s, there %" PRId64 " in %d%s",
            key, data->sample_count, data->file_count, data->file_count == 1 ? "" : "s", first.sample_count,
            first.file_count, first.sample_count == data->sample_count ? " with other content" : "");
    return checkpoint_agree(comm, mine, err);
}
