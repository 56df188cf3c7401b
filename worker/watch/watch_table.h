/* SPDX-License-Identifier: MIT
 *
 * What a watchdog knows of the ranks, and the one question it is there for: is one of them lost, and which.
 * Pure: time is an argument, nothing is read or sent, so every situation can be made up in a test.
 *
 * Three findings. A rank whose connection ended without a word has died. A rank that has said nothing for
 * `silence_s` is stopped, or its host is gone: the thread that speaks does nothing else and is late only if
 * the whole process is. A rank that speaks but gets nowhere stands still: those that have got least far
 * (step, phase, collectives begun) are waited for by the others, and they may stand still for as long as they
 * themselves said (watch_allowance), which follows from how long their steps take.
 *
 * The watcher doubts itself first. If its own last look is longer ago than it should be, it was away (Ctrl-Z,
 * a suspended laptop, a machine without a free core), and the time away counts for nobody.
 */
#ifndef MUSTER_WORKER_WATCH_TABLE_H
#define MUSTER_WORKER_WATCH_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/** What a rank says of itself. */
struct watch_report {
    int64_t step, collective, moves; /* collective: how many it has begun */
    int32_t phase, block;            /* enum rank_phase */
    double allowance_s;              /* how long it may stand still where it is */
};

enum watch_finding {
    WATCH_WELL,
    WATCH_DIED,
    WATCH_SILENT,
    WATCH_STANDS_STILL,
    WATCH_ALL_STAND_STILL, /* nobody is behind the others */
    WATCH_LEFT_BEHIND      /* this rank was away for so long that the others went on without it */
};

struct watch_verdict {
    enum watch_finding finding;
    int rank;      /* the first of those lost; -1 when all stand still */
    int count;     /* how many are */
    double time_s; /* for how long; of one that died, since it last spoke */
};

struct watch_rank {
    struct watch_report report;
    double heard_s, moved_s; /* when it last spoke, and last said something new */
    bool watched;            /* false: nothing is known of it directly */
    bool left;               /* said good-bye */
    bool died;
};

struct watch_table {
    struct watch_rank *ranks; /* [count] */
    int count, own;
    bool is_watcher; /* hears from all */
    double silence_s;
    double looked_s;   /* the last look */
    double returned_s; /* from the last long absence; negative: none */
};

enum { WATCH_AWAY_MS = 1000 };

/** \param watcher  the rank that all others report to; every other rank watches only it and itself */
enum muster_status watch_table_init(struct watch_table *table, int count, int own, int watcher,
                                    double silence_s, double now_s, struct muster_error *err);
void watch_table_release(struct watch_table *table);

void watch_table_report(struct watch_table *table, int rank, const struct watch_report *report, double now_s);
void watch_table_left(struct watch_table *table, int rank);
void watch_table_died(struct watch_table *table, int rank);

/** To be called several times a second, before watch_table_judge. */
void watch_table_look(struct watch_table *table, double now_s);

struct watch_verdict watch_table_judge(const struct watch_table *table, double now_s);

/**
 * How long a rank may stand still.
 * \param step_s        how long its steps take lately; 0 = unknown
 * \param timeout_s     the least that is ever allowed
 * \param unmeasured_s  where steps say nothing: before the first, outside of steps
 */
double watch_allowance(int phase, double step_s, double timeout_s, double unmeasured_s);

#endif
