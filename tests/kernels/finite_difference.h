/* SPDX-License-Identifier: MIT
 *
 * What the tests of the reference back end share: filled arrays, and a judge that compares a gradient with
 * central differences of an objective. The objective is a weighted sum, in double, of a forward operation's
 * outputs; the weights are what the backward operation receives as dy.
 */
#ifndef MUSTER_TESTS_KERNELS_FINITE_DIFFERENCE_H
#define MUSTER_TESTS_KERNELS_FINITE_DIFFERENCE_H

#include "base/rng.h"

#include <check.h>
#include <math.h>
#include <stdint.h>

static inline void fd_fill_random(float *values, int64_t count, uint64_t stream)
{
    rng_uniform_fill(rng_key_make(20240607, stream, 0, 0), -1.0f, 1.0f, values, (uint64_t)count);
}

static inline void fd_fill_constant(float *values, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = value;
}

static inline double fd_dot(const float *weights, const float *outputs, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)weights[i] * (double)outputs[i];
    return sum;
}

struct fd_problem {
    double (*objective)(void *context);
    void *context;
};

static inline double fd_at(const struct fd_problem *problem, float *element, float value)
{
    *element = value;
    return problem->objective(problem->context);
}

/**
 * `gradient[i] - start` must be the slope of the objective in `input[i]`: central differences of fourth
 * order. `start` is what the gradient array held before the backward operation added to it, or 0.
 */
static inline void fd_check(const struct fd_problem *problem, float *input, const float *gradient,
                            int64_t count, float start, const char *name)
{
    const float step = 0.02f;
    for (int64_t i = 0; i < count; i++) {
        const float kept = input[i];
        double near = fd_at(problem, input + i, kept + step) - fd_at(problem, input + i, kept - step);
        double far = fd_at(problem, input + i, kept + 2 * step) - fd_at(problem, input + i, kept - 2 * step);
        input[i] = kept;
        double slope = (8.0 * near - far) / (12.0 * (double)step);
        double given = (double)gradient[i] - (double)start;
        double allowed = 2e-4 * fmax(1.0, fabs(slope));
        ck_assert_msg(fabs(given - slope) <= allowed, "%s[%lld]: the rule gives %.7g, differences give %.7g",
                      name, (long long)i, given, slope);
    }
}

#endif
