/* SPDX-License-Identifier: MIT
 *
 * A profile in memory: what stands in for numbers that are not known, and how the rate of a core follows from
 * how busy its neighbours are.
 */
#include "coordinator/cost/machine.h"

#include <string.h>

#include "base/alloc.h"

struct machine_profile *machine_profile_create(const char *name, const char *source)
{
    struct machine_profile *profile = alloc_zeroed(1, sizeof *profile);
    if (profile == NULL)
        return NULL;
    *profile = (struct machine_profile){
        .name = alloc_text(name),
        .source = alloc_text(source),
        .ranks_per_host = 1,
        .cores = 1,
        .efficiency = {1.0, 1.0, 1.0, 1.0},
    };
    if (profile->name == NULL || profile->source == NULL) {
        machine_profile_destroy(profile);
        return NULL;
    }
    return profile;
}

void machine_profile_destroy(struct machine_profile *profile)
{
    if (profile == NULL)
        return;
    alloc_free(profile->name);
    alloc_free(profile->source);
    alloc_free(profile->assumed);
    alloc_free(profile);
}

static double first_known(double a, double b)
{
    return a > 0.0 ? a : b;
}

/* What the set says of this kind, or what stands in for it. */
static double rate_of_set(const struct machine_rates *rates, enum machine_rate_kind kind, enum dtype dtype)
{
    double matrix = first_known(rates->matrix[dtype], rates->peak[dtype]);
    double rows = first_known(rates->rows[dtype], rates->stream);
    switch (kind) {
    case MACHINE_PEAK:
        return rates->peak[dtype];
    case MACHINE_MATRIX:
        return matrix;
    case MACHINE_ATTENTION_FORWARD:
        return first_known(rates->attention_forward[dtype], matrix);
    case MACHINE_ATTENTION_BACKWARD:
        return first_known(rates->attention_backward[dtype], matrix);
    case MACHINE_ROWS:
        return rows;
    case MACHINE_ACTIVATION:
        return first_known(rates->activation[dtype], rows);
    case MACHINE_STREAM:
        return rates->stream;
    }
    return 0.0;
}

static double efficiency_of(const struct machine_efficiency *efficiency, enum machine_rate_kind kind)
{
    switch (kind) {
    case MACHINE_MATRIX:
        return efficiency->matrix;
    case MACHINE_ATTENTION_FORWARD:
    case MACHINE_ATTENTION_BACKWARD:
        return efficiency->attention;
    case MACHINE_ROWS:
    case MACHINE_ACTIVATION:
    case MACHINE_STREAM:
        return efficiency->stream;
    case MACHINE_PEAK:
        break;
    }
    return 1.0;
}

static double between(double from, double to, double share)
{
    return from + (to - from) * share;
}

/* How far `count` is on the way from 1 to `all`, in [0, 1]. */
static double way(int64_t count, int64_t all)
{
    if (all <= 1 || count <= 1)
        return 0.0;
    return count >= all ? 1.0 : (double)(count - 1) / (double)(all - 1);
}

double machine_rate(const struct machine_profile *profile, enum machine_rate_kind kind, enum dtype dtype,
                    const struct machine_load *load)
{
    double alone = rate_of_set(&profile->rates, kind, dtype);
    double efficiency = efficiency_of(&profile->efficiency, kind);
    if (profile->device == MACHINE_CUDA)
        return alone * efficiency;
    if (kind == MACHINE_PEAK)
        return alone * (double)load->threads;
    int64_t cores = profile->cores, busy = load->ranks * load->threads;
    double crowded = first_known(rate_of_set(&profile->ranks, kind, dtype), alone);
    double threaded = first_known(rate_of_set(&profile->threads, kind, dtype), crowded);
    double core = between(alone, crowded, way(busy, cores));
    if (crowded > 0.0)
        core *= between(1.0, threaded / crowded, way(load->threads, cores));
    double share = busy > cores ? (double)cores / (double)busy : 1.0;
    return core * share * (double)load->threads * efficiency;
}

static void assumption_add(struct text *out, double share, const char *what)
{
    if (share < 1.0)
        text_print(out, "%s%s at %.0f%%", out->length > 0 ? ", " : "", what, 100.0 * share);
}

void machine_profile_assumptions(const struct machine_profile *profile, struct text *out)
{
    text_clear(out);
    assumption_add(out, profile->efficiency.matrix, "matrix products");
    assumption_add(out, profile->efficiency.attention, "attention");
    assumption_add(out, profile->efficiency.stream, "memory");
    assumption_add(out, profile->efficiency.link, "links");
    if (out->length > 0)
        text_print(out, " of the source's rates");
    if (profile->assumed != NULL)
        text_print(out, "%s%s", out->length > 0 ? "; " : "", profile->assumed);
}
