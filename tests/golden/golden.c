/* SPDX-License-Identifier: MIT
 *
 * Reads the records of a .golden file (record.py says the format) and repeats record.py's formulas.
 */
#include "tests/golden/golden.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOLDEN_NAME_BYTES = 56, GOLDEN_HEAD_BYTES = 64 };

void golden_open(struct golden *golden, enum model_type type)
{
    const char *source = getenv("MUSTER_SOURCE");
    char path[FS_PATH_MAX];
    struct muster_error err = {0};
    snprintf(path, sizeof path, "%s/tests/golden/%s.golden", source ? source : ".", model_type_name(type));
    ck_assert_msg(fs_map_open(&golden->map, path, &err) == MUSTER_OK, "%s", err.text);
}

void golden_release(struct golden *golden)
{
    fs_map_release(&golden->map);
}

const float *golden_values(const struct golden *golden, const char *name, int64_t count)
{
    const unsigned char *data = golden->map.data;
    size_t at = 0, held = 0;
    for (; at + GOLDEN_HEAD_BYTES <= golden->map.bytes; at += GOLDEN_HEAD_BYTES + held * sizeof(float)) {
        int64_t stored;
        memcpy(&stored, data + at + GOLDEN_NAME_BYTES, sizeof stored);
        held = (size_t)stored;
        ck_assert_uint_le(held, (golden->map.bytes - at - GOLDEN_HEAD_BYTES) / sizeof(float));
        if (strncmp((const char *)data + at, name, GOLDEN_NAME_BYTES) != 0)
            continue;
        ck_assert_msg(stored == count, "%s: %lld values are recorded, %lld wanted", name, (long long)stored,
                      (long long)count);
        return (const float *)(const void *)(data + at + GOLDEN_HEAD_BYTES);
    }
    ck_abort_msg("nothing is recorded under %s", name);
    return NULL;
}

uint32_t golden_mixed(const char *name, int64_t i)
{
    uint32_t x = 2166136261u;
    for (const char *c = name; *c != '\0'; c++)
        x = (x ^ (unsigned char)*c) * 16777619u;
    x += (uint32_t)i;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static float golden_uniform(const char *name, int64_t i)
{
    return (float)(golden_mixed(name, i) >> 8) * 0x1p-24f;
}

void golden_fill_param(const struct graph_param *param, float *values)
{
    for (int64_t i = 0; i < param->count; i++) {
        double value = 2.0 * (double)golden_uniform(param->name, i) - 1.0;
        if (param->dim_count == 2)
            values[i] = (float)(value / 4.0);
        else
            values[i] = (float)((param->init == GRAPH_INIT_ONE ? 1.0 : 0.0) + value / 8.0);
    }
}

void golden_fill_integers(const char *name, int64_t below, int32_t *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (int32_t)(golden_mixed(name, i) % (uint32_t)below);
}

void golden_fill_pixels(float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = golden_uniform("pixels", i);
}

void golden_fill_targets(int64_t below, int32_t *values, int64_t count)
{
    golden_fill_integers("targets", below, values, count);
    for (int64_t i = 10; i < count; i += 11)
        values[i] = -1;
}
