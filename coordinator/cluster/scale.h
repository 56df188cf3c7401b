/* SPDX-License-Identifier: MIT
 *
 * How a job's speed changes with the number of ranks: what was measured, made into a table for a person, CSV
 * for a program and SVG for a page. Runs nothing itself; it reads the metrics.jsonl of finished runs.
 *
 *   strong   the same job on more ranks                  ideal: time falls as 1/ranks
 *   weak     the batch grows with the ranks              ideal: time stays
 */
#ifndef MUSTER_COORDINATOR_SCALE_H
#define MUSTER_COORDINATOR_SCALE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/** Times of single steps, in ms, of all repeats of one point. */
struct scale_series {
    double *values; /* sorted once summarised */
    int count, room;
};

struct scale_point {
    int ranks;
    int64_t samples; /* of a step */
    struct scale_series step, exposed;
    double joules;       /* of all repeats on this host, starts included; -1 = not metered */
    int64_t steps_run;   /* that the joules were used for */
    double predicted_ms; /* of a step; 0 = no prediction */
    /* Filled by scale_summarise. */
    double median_ms, low_ms, high_ms; /* quartiles */
    double exposed_ms;                 /* median time in which rank 0 waited for the reduction */
    double rate;                       /* samples a second, from the median */
    double speedup, efficiency;        /* against the first point, whose speed-up is 1 */
};

struct scale {
    char name[64]; /* of the job, for titles */
    bool weak;
    struct scale_point *points; /* by ranks, rising */
    int count;
};

/** Points for these numbers of ranks, rising and without doubles. Release in every case. */
enum muster_status scale_init(struct scale *scale, const char *name, bool weak, const int *ranks, int count,
                              struct muster_error *err);
void scale_release(struct scale *scale);

/**
 * Adds the steps of a metrics.jsonl to a point, the first `skip` left out. CORRUPT for a line that is no
 * JSON, PEER when no step is left.
 */
enum muster_status scale_point_read(struct scale_point *point, const char *path, int64_t skip,
                                    struct muster_error *err);

/** Medians, quartiles, speed-ups. Points without steps get zeros. */
void scale_summarise(struct scale *scale);

void scale_print(const struct scale *scale, struct text *out);
void scale_print_csv(const struct scale *scale, struct text *out);

/** What a plot shows. */
enum scale_plot { SCALE_PLOT_SPEEDUP, SCALE_PLOT_TIME };

/** A gnuplot program that writes an SVG to its standard output. Only letters, digits and "-_. " of the name
 * get in. */
void scale_print_gnuplot(const struct scale *scale, enum scale_plot plot, struct text *out);

#endif
