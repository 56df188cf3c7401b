/* SPDX-License-Identifier: MIT
 *
 * Which checkpoints go and which stay. The decision is a pure function (ckpt_retention.c), so that every
 * small case can be tried; ckpt_retain.c does the reading and the removing.
 */
#ifndef MUSTER_COORDINATOR_CKPT_RETENTION_H
#define MUSTER_COORDINATOR_CKPT_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { CKPT_RETENTION_MIN = 2 }; /* verified checkpoints that no policy takes away */

struct ckpt_retention_entry {
    int64_t step;
    bool verified; /* whoever asks knows that its bytes are what was written */
    double loss;   /* on validation data; NaN when not known */
};

struct ckpt_retention_policy {
    int64_t keep_last;  /* the newest; fewer than CKPT_RETENTION_MIN means that many */
    int64_t keep_every; /* all whose step is a multiple of this; 0 = none for this reason */
    int64_t keep_best;  /* those with the lowest finite losses, the newer of two equal ones; 0 = none */
};

/**
 * Fills removed[0 … count). Entries may stand in any order.
 *
 * A verified checkpoint stays when any rule of the policy wants it. One that is not verified counts for
 * nothing: it goes when it is older than the newest verified one and CKPT_RETENTION_MIN verified ones are
 * there, otherwise it stays for a person to look at (or is still being written).
 */
void ckpt_retention_decide(const struct ckpt_retention_entry *entries, int count,
                           const struct ckpt_retention_policy *policy, bool *removed);

/** What a removal may rely on. */
struct ckpt_retention_scope {
    int64_t newest_step;     /* later ones are a future that was given up: they neither count nor go */
    bool trusts_all;         /* whatever opens counts as verified */
    const int64_t *verified; /* otherwise: steps whose bytes this run has written or read itself */
    int verified_count;
};

/**
 * Applies the policy to the checkpoints of DIR. Nothing goes while fewer than CKPT_RETENTION_MIN of those
 * that stay are known to be good. A folder loses its MANIFEST first; unfinished and damaged ones go too, one
 * that only cannot be read today does not.
 */
enum muster_status ckpt_retain(const char *dir, const struct ckpt_retention_policy *policy,
                               const struct ckpt_retention_scope *scope, struct muster_error *err);

#endif
