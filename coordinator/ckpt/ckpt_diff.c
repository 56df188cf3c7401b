/* SPDX-License-Identifier: MIT
 *
 * Two checkpoints side by side, whatever number of ranks wrote each. The question answered by the exit code
 * is whether both hold the same state; job keys are listed because they are the usual reason why not.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include "base/alloc.h"
#include "coordinator/job/job_compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_ELEMENTS = 1 << 16 };

struct diff {
    const struct ckpt *ckpts[2];
    const char *paths[2];
    double tolerance;
    float *blocks[2];
    int difference_count; /* everything in which the states differ */
    struct text *out;
};

struct tensor_diff {
    int64_t element_count; /* beyond the tolerance */
    double absolute, relative;
};

/* Equal bits are equal, NaN too; a number that is not finite is infinitely far from any other. */
static void elements_compare(struct tensor_diff *diff, const float *a, const float *b, int64_t count,
                             double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof a[i]) == 0)
            continue;
        double x = (double)a[i], y = (double)b[i], absolute = INFINITY, relative = INFINITY;
        if (isfinite(x) && isfinite(y)) {
            absolute = fabs(x - y);
            relative = absolute > 0 ? absolute / fmax(fabs(x), fabs(y)) : 0;
        }
        diff->absolute = fmax(diff->absolute, absolute);
        diff->relative = fmax(diff->relative, relative);
        diff->element_count += tolerance <= 0 || (absolute > tolerance && relative > tolerance);
    }
}

static enum muster_status tensor_compare(struct diff *diff, const int kinds[2],
                                         const struct ckpt_tensor *const tensors[2],
                                         struct tensor_diff *found, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    *found = (struct tensor_diff){0};
    for (int64_t at = 0; at < tensors[0]->count && status == MUSTER_OK; at += BLOCK_ELEMENTS) {
        int64_t left = tensors[0]->count - at, count = left < BLOCK_ELEMENTS ? left : BLOCK_ELEMENTS;
        for (int side = 0; side < 2 && status == MUSTER_OK; side++)
            status = ckpt_read(diff->ckpts[side], kinds[side], tensors[side]->offset + at,
                               tensors[side]->offset + at + count, diff->blocks[side], err);
        if (status == MUSTER_OK)
            elements_compare(found, diff->blocks[0], diff->blocks[1], count, diff->tolerance);
    }
    return status;
}

/* The same name in the other layout, first looked for at the same place. */
static const struct ckpt_tensor *tensor_find(const struct ckpt_layout *layout, const char *name, int guess)
{
    if (guess < layout->tensor_count && strcmp(layout->tensors[guess].name, name) == 0)
        return &layout->tensors[guess];
    for (int i = 0; i < layout->tensor_count; i++) {
        if (strcmp(layout->tensors[i].name, name) == 0)
            return &layout->tensors[i];
    }
    return NULL;
}

static int kind_find(const struct ckpt_layout *layout, const char *kind)
{
    for (int i = 0; i < layout->kind_count; i++) {
        if (strcmp(layout->kinds[i], kind) == 0)
            return i;
    }
    return -1;
}

static bool shapes_equal(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
    return a->dim_count == b->dim_count &&
           memcmp(a->shape, b->shape, (size_t)a->dim_count * sizeof a->shape[0]) == 0;
}

/* Tensors and kinds that only one side has. */
static void sides_compare(struct diff *diff)
{
    for (int side = 0; side < 2; side++) {
        const struct ckpt_layout *here = ckpt_layout(diff->ckpts[side]),
                                 *there = ckpt_layout(diff->ckpts[1 - side]);
        for (int i = 0; i < here->kind_count; i++) {
            if (kind_find(there, here->kinds[i]) >= 0)
                continue;
            text_print(diff->out, "kind %s only in %s\n", here->kinds[i], diff->paths[side]);
            diff->difference_count++;
        }
        for (int i = 0; i < here->tensor_count; i++) {
            const struct ckpt_tensor *other = tensor_find(there, here->tensors[i].name, i);
            if (other != NULL && shapes_equal(&here->tensors[i], other))
                continue;
            if (other == NULL)
                text_print(diff->out, "tensor %s only in %s\n", here->tensors[i].name, diff->paths[side]);
            else if (side == 0)
                text_print(diff->out, "tensor %s has another shape\n", here->tensors[i].name);
            diff->difference_count++;
        }
    }
}

static enum muster_status tensors_compare(struct diff *diff, struct muster_error *err)
{
    const struct ckpt_layout *a = ckpt_layout(diff->ckpts[0]), *b = ckpt_layout(diff->ckpts[1]);
    enum muster_status status = MUSTER_OK;
    for (int kind = 0; kind < a->kind_count; kind++) {
        const int kinds[2] = {kind, kind_find(b, a->kinds[kind])};
        for (int i = 0; i < a->tensor_count && kinds[1] >= 0 && status == MUSTER_OK; i++) {
            const struct ckpt_tensor *const tensors[2] = {&a->tensors[i],
                                                          tensor_find(b, a->tensors[i].name, i)};
            struct tensor_diff found;
            if (tensors[1] == NULL || !shapes_equal(tensors[0], tensors[1]))
                continue;
            status = tensor_compare(diff, kinds, tensors, &found, err);
            if (status != MUSTER_OK || found.element_count == 0)
                continue;
            text_print(diff->out,
                       "%s/%s: %" PRId64 " of %" PRId64
                       " elements differ, by at most %.3g (absolute) and %.3g (relative)\n",
                       a->kinds[kind], tensors[0]->name, found.element_count, tensors[0]->count,
                       found.absolute, found.relative);
            diff->difference_count++;
        }
    }
    return status;
}

static void job_change_print(void *context, const struct job_change *change)
{
    struct diff *diff = context;
    const char *shapes = change->shapes ? " (shapes the result)" : "";
    if (change->is_list)
        text_print(diff->out, "job %s differs%s\n", change->key, shapes);
    else
        text_print(diff->out, "job %s: %s, %s%s\n", change->key, change->was, change->is, shapes);
}

/* A job that this muster cannot read any more is told, and no reason not to compare the states. */
static void stored_jobs_compare(struct diff *diff)
{
    struct job *jobs[2] = {NULL, NULL};
    bool readable = true;
    for (int side = 0; side < 2; side++) {
        struct job_report report;
        struct muster_error cause = {.status = MUSTER_OK};
        const char *yaml = ckpt_job_yaml(diff->ckpts[side]);
        job_report_init(&report);
        if (job_parse("job_yaml", yaml, strlen(yaml), &report, &jobs[side], &cause) != MUSTER_OK) {
            text_print(diff->out, "the job stored in %s cannot be read: %s\n", diff->paths[side], cause.text);
            readable = false;
        }
        job_report_release(&report);
    }
    if (readable)
        job_compare(jobs[0], jobs[1], job_change_print, diff);
    job_destroy(jobs[0]);
    job_destroy(jobs[1]);
}

static enum muster_status states_compare(struct diff *diff, struct muster_error *err)
{
    const int64_t steps[2] = {ckpt_step(diff->ckpts[0]), ckpt_step(diff->ckpts[1])};
    if (strcmp(ckpt_job_yaml(diff->ckpts[0]), ckpt_job_yaml(diff->ckpts[1])) != 0)
        stored_jobs_compare(diff);
    if (steps[0] != steps[1]) {
        text_print(diff->out, "step %" PRId64 ", %" PRId64 "\n", steps[0], steps[1]);
        diff->difference_count++;
    }
    sides_compare(diff);
    enum muster_status status = tensors_compare(diff, err);
    if (status == MUSTER_OK && diff->difference_count == 0)
        text_print(diff->out, "equal: step %" PRId64 ", %d tensors of %d kinds%s\n", steps[0],
                   ckpt_layout(diff->ckpts[0])->tensor_count, ckpt_layout(diff->ckpts[0])->kind_count,
                   diff->tolerance > 0 ? ", within the tolerance" : ", to the last bit");
    return status;
}

enum muster_status ckpt_command_diff(const char *first, const char *second, double tolerance, bool *equal,
                                     struct text *out, struct muster_error *err)
{
    struct ckpt *ckpts[2] = {NULL, NULL};
    char folders[2][FS_PATH_MAX];
    struct diff diff = {.tolerance = tolerance, .out = out, .paths = {folders[0], folders[1]}};
    enum muster_status status = ckpt_locate(first, folders[0], err);
    if (status == MUSTER_OK)
        status = ckpt_locate(second, folders[1], err);
    for (int side = 0; side < 2 && status == MUSTER_OK; side++) {
        status = ckpt_open(folders[side], &ckpts[side], err);
        diff.ckpts[side] = ckpts[side];
        diff.blocks[side] = alloc_zeroed(BLOCK_ELEMENTS, sizeof(float));
        if (status == MUSTER_OK && diff.blocks[side] == NULL)
            status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to compare checkpoints");
    }
    if (status == MUSTER_OK)
        status = states_compare(&diff, err);
    *equal = status == MUSTER_OK && diff.difference_count == 0;
    for (int side = 0; side < 2; side++) {
        ckpt_close(ckpts[side]);
        alloc_free(diff.blocks[side]);
    }
    return status;
}
