/* SPDX-License-Identifier: MIT
 *
 * Whether a run that died is started again, and how soon. Pure: what happened comes in, a verdict comes out,
 * so that every history can be tried without a process and without a clock.
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_POLICY_H
#define MUSTER_COORDINATOR_SUPERVISE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/** From the job's section `supervisor`. */
struct supervise_limits {
    int64_t max_restarts;  /* of one `muster run` */
    int64_t give_up_after; /* deaths in a row without a new checkpoint */
    double backoff_s;      /* before the second restart without one; doubles from then on */
};

struct supervise_history {
    int64_t restarts;   /* so far */
    int64_t fruitless;  /* deaths since the last new checkpoint */
    int64_t saved_step; /* of the newest checkpoint; -1 = none */
    bool has_trained;   /* some launch finished a step */
};

/** What a launch that died has left. */
struct supervise_death {
    int64_t saved_step; /* of the newest checkpoint now; -1 = none */
    bool has_trained;   /* it finished a step */
};

struct supervise_verdict {
    bool restart;
    double delay_s; /* before the restart */
    char why[96];   /* it is given up; "" otherwise */
};

void supervise_history_init(struct supervise_history *history, int64_t saved_step);

/** Takes the death into the history and judges. A restart it grants is counted. */
struct supervise_verdict supervise_judge(const struct supervise_limits *limits,
                                         struct supervise_history *history,
                                         const struct supervise_death *death);

#endif
