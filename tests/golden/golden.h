/* SPDX-License-Identifier: MIT
 *
 * The numbers that record.py wrote, and the formulas from which both sides make the same weights and inputs.
 */
#ifndef MUSTER_TESTS_GOLDEN_GOLDEN_H
#define MUSTER_TESTS_GOLDEN_GOLDEN_H

#include <stdint.h>

#include "base/fs.h"
#include "model/graph.h"

struct golden {
    struct fs_map map;
};

/** Opens tests/golden/<type>.golden of the source tree; fails the test when it is not there. */
void golden_open(struct golden *golden, enum model_type type);
void golden_release(struct golden *golden);

/** The record of this name; fails the test unless it has `count` values. */
const float *golden_values(const struct golden *golden, const char *name, int64_t count);

/** An integer hash of FNV-1a(name) + i: `mixed` in record.py. */
uint32_t golden_mixed(const char *name, int64_t i);

/** The start values of one parameter: `weight` in record.py. */
void golden_fill_param(const struct graph_param *param, float *values);
/** ids, targets or pixels. */
void golden_fill_integers(const char *name, int64_t below, int32_t *values, int64_t count);
void golden_fill_pixels(float *values, int64_t count);
/** As record.py: every eleventh target is -1. */
void golden_fill_targets(int64_t below, int32_t *values, int64_t count);

#endif
