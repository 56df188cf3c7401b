/* SPDX-License-Identifier: MIT
 *
 * What this host's processors have used, from their own meters (RAPL), where the kernel shows them and lets
 * this person read them: usually root only.
 */
#ifndef MUSTER_COORDINATOR_ENERGY_H
#define MUSTER_COORDINATOR_ENERGY_H

#include <stdbool.h>
#include <stdint.h>

enum { ENERGY_METERS_MAX = 64 };

struct energy {
    int count; /* packages; 0 = not metered */
    char names[ENERGY_METERS_MAX][32];
    int64_t uj[ENERGY_METERS_MAX], range_uj[ENERGY_METERS_MAX]; /* a meter begins again at its range */
};

/** \param system  where the kernel describes its devices: "/sys" */
void energy_read(struct energy *energy, const char *system);

/** Joules between two readings no more than one turn of a meter apart; -1 when either is not metered. */
double energy_between_j(const struct energy *before, const struct energy *after);

#endif
