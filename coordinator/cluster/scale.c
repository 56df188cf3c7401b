/* SPDX-License-Identifier: MIT
 *
 * Medians and quartiles of single steps, because a mean is whatever the slowest disturbance makes of it.
 * Quartiles are interpolated between neighbours.
 */
#include "coordinator/cluster/scale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/fs.h"

enum { METRICS_BYTES_MAX = 1 << 30, SERIES_FIRST = 64 };
static const double ms_per_s = 1000.0;

static int number_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int int_compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

enum muster_status scale_init(struct scale *scale, const char *name, bool weak, const int *ranks, int count,
                              struct muster_error *err)
{
    int *sorted = alloc_zeroed((size_t)count, sizeof *sorted);
    *scale = (struct scale){.weak = weak, .points = alloc_zeroed((size_t)count, sizeof *scale->points)};
    if (sorted == NULL || scale->points == NULL) {
        alloc_free(sorted);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %d measurements", count);
    }
    snprintf(scale->name, sizeof scale->name, "%.63s", name);
    memcpy(sorted, ranks, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, int_compare);
    for (int i = 0; i < count; i++) {
        if (i == 0 || sorted[i] != sorted[i - 1])
            scale->points[scale->count++] = (struct scale_point){.ranks = sorted[i]};
    }
    alloc_free(sorted);
    return MUSTER_OK;
}

void scale_release(struct scale *scale)
{
    for (int i = 0; i < scale->count; i++) {
        alloc_free(scale->points[i].step.values);
        alloc_free(scale->points[i].exposed.values);
    }
    alloc_free(scale->points);
    *scale = (struct scale){.count = 0};
}

static bool series_add(struct scale_series *series, double value)
{
    if (series->count == series->room) {
        int room = series->room > 0 ? 2 * series->room : SERIES_FIRST;
        double *values = alloc_resize(series->values, (size_t)room, sizeof *values);
        if (values == NULL)
            return false;
        series->values = values;
        series->room = room;
    }
    series->values[series->count++] = value;
    return true;
}

/* One line; lines that tell of something else than a step are passed over. */
static enum muster_status line_read(struct scale_point *point, const char *line, size_t length, int64_t skip,
                                    struct muster_error *err)
{
    json_t *value = json_loadb(line, length, 0, NULL);
    if (value == NULL)
        return muster_error_set(err, MUSTER_ERR_CORRUPT, "a line is no JSON: %.*s",
                                length < 60 ? (int)length : 60, line);
    const json_t *time = json_object_get(value, "step_ms"), *exposed = json_object_get(value, "reduce_ms");
    bool good = true;
    if (json_is_number(time) && json_integer_value(json_object_get(value, "step")) > skip)
        good = series_add(&point->step, json_number_value(time)) &&
               series_add(&point->exposed, json_number_value(exposed));
    json_decref(value);
    return good ? MUSTER_OK : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for measurements");
}

enum muster_status scale_point_read(struct scale_point *point, const char *path, int64_t skip,
                                    struct muster_error *err)
{
    char *bytes = NULL;
    size_t count = 0;
    int before = point->step.count;
    enum muster_status status = fs_file_read(path, METRICS_BYTES_MAX, &bytes, &count, err);
    for (size_t at = 0; status == MUSTER_OK && at < count;) {
        const char *end = memchr(bytes + at, '\n', count - at);
        size_t length = (end != NULL ? (size_t)(end - bytes) : count) - at;
        if (length > 0)
            status = line_read(point, bytes + at, length, skip, err);
        at += length + 1;
    }
    alloc_free(bytes);
    if (status == MUSTER_OK && point->step.count == before)
        status =
            muster_error_set(err, MUSTER_ERR_PEER, "%s: no step after the first %lld", path, (long long)skip);
    return status;
}

/* The value below which `share` of the sorted series lies. */
static double series_quantile(const struct scale_series *series, double share)
{
    if (series->count == 0)
        return 0;
    double place = share * (series->count - 1);
    int below = (int)place;
    if (below + 1 >= series->count)
        return series->values[series->count - 1];
    return series->values[below] + (place - below) * (series->values[below + 1] - series->values[below]);
}

void scale_summarise(struct scale *scale)
{
    for (int i = 0; i < scale->count; i++) {
        struct scale_point *point = &scale->points[i], *first = &scale->points[0];
        if (point->step.count == 0)
            continue;
        qsort(point->step.values, (size_t)point->step.count, sizeof(double), number_compare);
        qsort(point->exposed.values, (size_t)point->exposed.count, sizeof(double), number_compare);
        point->median_ms = series_quantile(&point->step, 0.5);
        point->low_ms = series_quantile(&point->step, 0.25);
        point->high_ms = series_quantile(&point->step, 0.75);
        point->exposed_ms = series_quantile(&point->exposed, 0.5);
        point->rate = point->median_ms > 0 ? (double)point->samples * ms_per_s / point->median_ms : 0;
        point->speedup = first->rate > 0 ? point->rate / first->rate : 0;
        point->efficiency = point->speedup * first->ranks / point->ranks;
    }
}
