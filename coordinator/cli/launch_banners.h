/* SPDX-License-Identifier: MIT
 *
 * mpirun's standard error on its way to a person. What mpirun says about every rank that did not return 0
 * ("Primary job terminated normally, but …") says nothing that the ranks or muster do not say better: it is
 * taken out, and which rank was killed is kept. Everything else passes unchanged.
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_BANNERS_H
#define MUSTER_COORDINATOR_LAUNCH_BANNERS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/text.h"

struct launch_banners {
    FILE *out;
    struct text line;   /* not yet ended by a newline */
    struct text banner; /* from its first row of dashes on */
    bool in_banner;
    bool known; /* a line of it is in the table */
    /* Whom mpirun names as killed by a signal; rank -1 = nobody. */
    int rank;
    char host[64];
    bool host_lost; /* mpirun says so */
    /* The first line of a refusal to start the ranks that another try cannot mend; "" = none. */
    char refusal[128];
};

void launch_banners_init(struct launch_banners *banners, FILE *out);
void launch_banners_feed(struct launch_banners *banners, const char *bytes, size_t length);
/** Writes what was held back at the end of the input, and releases. */
void launch_banners_finish(struct launch_banners *banners);

#endif
