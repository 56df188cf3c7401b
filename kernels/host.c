/* SPDX-License-Identifier: MIT
 *
 * Memory and order of a back end on the host. Blocks are whole pages asked from the kernel, so that untouched
 * parts cost nothing and large ones get huge pages.
 */
#include "kernels/host.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum muster_status kernels_host_allocate(struct kernels *k, int64_t bytes, void **block,
                                         struct muster_error *err)
{
    *block = alloc_pages((size_t)bytes);
    if (*block == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "%s: no memory for a block of %lld bytes",
                                k->ops->name, (long long)bytes);
    return MUSTER_OK;
}

void kernels_host_free(struct kernels *k, void *block, int64_t bytes)
{
    (void)k;
    alloc_pages_free(block, (size_t)bytes);
}

enum muster_status kernels_host_copy(struct kernels *k, void *to, const void *from, int64_t bytes,
                                     struct muster_error *err)
{
    (void)k;
    (void)err;
    if (bytes > 0)
        memcpy(to, from, (size_t)bytes);
    return MUSTER_OK;
}

void *kernels_host_stream(struct kernels *k)
{
    (void)k;
    return NULL;
}

static enum muster_status kernels_host_records_nothing(struct kernels *k, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "%s: operations cannot be recorded", k->ops->name);
}

enum muster_status kernels_host_capture_begin(struct kernels *k, struct muster_error *err)
{
    return kernels_host_records_nothing(k, err);
}

enum muster_status kernels_host_capture_end(struct kernels *k, void **recorded, struct muster_error *err)
{
    *recorded = NULL;
    return kernels_host_records_nothing(k, err);
}

enum muster_status kernels_host_capture_run(struct kernels *k, void *recorded, struct muster_error *err)
{
    (void)recorded;
    return kernels_host_records_nothing(k, err);
}

void kernels_host_capture_free(struct kernels *k, void *recorded)
{
    (void)k;
    (void)recorded;
}

enum muster_status kernels_host_synchronise(struct kernels *k, struct muster_error *err)
{
    (void)k;
    (void)err;
    return MUSTER_OK;
}

enum muster_status kernels_host_timer_begin(struct kernels *k, struct muster_error *err)
{
    (void)err;
    k->timer_s[0] = clock_seconds();
    return MUSTER_OK;
}

enum muster_status kernels_host_timer_end(struct kernels *k, struct muster_error *err)
{
    (void)err;
    k->timer_s[1] = clock_seconds();
    return MUSTER_OK;
}

enum muster_status kernels_host_timer_seconds(struct kernels *k, double *seconds, struct muster_error *err)
{
    (void)err;
    *seconds = k->timer_s[1] - k->timer_s[0];
    return MUSTER_OK;
}

bool kernels_host_choice(struct kernels *k, int index, char *text, size_t size)
{
    (void)k;
    (void)index;
    (void)text;
    (void)size;
    return false;
}
