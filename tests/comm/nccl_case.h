/* SPDX-License-Identifier: MIT
 *
 * A communicator on NCCL over the stand-ins, for its tests, and some of their strings: the clocks, one of
 * which jumps when the stand-in says that something failed, and the events of the GPU, which a test may keep
 * from ever coming. They are put in the program's way by the linker (--wrap).
 */
#ifndef MUSTER_TESTS_NCCL_CASE_H
#define MUSTER_TESTS_NCCL_CASE_H

#include "comm/nccl.h"

enum gpu_mood { GPU_WELL = 0, GPU_NEVER_DONE, GPU_BROKEN };

struct nccl_case {
    struct comm *mpi, *nccl;
    struct nccl_options options;
    char uuid[32];
};

/** As the plug-in exports it. */
enum muster_status muster_nccl_create(struct comm *bootstrap, const struct nccl_options *options,
                                      struct comm **out, struct muster_error *err);

/** The bootstrap, and options with which every rank has a GPU of its own; no communicator on NCCL yet. */
void nccl_case_init(struct nccl_case *test);
void nccl_case_release(struct nccl_case *test);

/** muster_nccl_create, which must succeed. */
void nccl_case_open(struct nccl_case *test);

/** How often the communicator has asked for a sum. */
int nccl_case_sum_count(void);

void gpu_mood_set(enum gpu_mood mood);

/** From now on waits for a thread or a lock end at once. */
void nccl_case_patience_end(void);

#endif
