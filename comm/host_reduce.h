/* SPDX-License-Identifier: MIT
 *
 * The reduce-scatter between ranks on host memory. The ranks of a host add what can be added among them
 * (reduce_recipe.h) through shared memory; for each owner on another host one of them, the speaker, sends the
 * host's outputs; the owner adds the outputs of all hosts. Where there is no shared memory, or hierarchy is
 * off, every rank is a host of its own.
 */
#ifndef MUSTER_COMM_HOST_REDUCE_H
#define MUSTER_COMM_HOST_REDUCE_H

#include "comm/comm.h"
#include "comm/reduce_recipe.h"

/** Set up once, used every step; owns tables and at most 16 MiB for what a speaker sends. */
struct host_reduce;

/** How a communicator's ranks are spread over hosts for adding: as they are, or each on its own. `table` has
 * room for comm->size ints and outlives the result. */
struct reduce_hosts host_reduce_hosts(const struct comm *comm, int *table);

/**
 * \param recipe     taken over (also when this fails)
 * \param piece_max  floats of an owner's range that a round is about, at most
 */
enum muster_status host_reduce_create(struct comm *comm, struct reduce_recipe *recipe, int64_t piece_max,
                                      struct host_reduce **out, struct muster_error *err);
void host_reduce_destroy(struct host_reduce *reduce);

/** Floats of receive memory for owned ranges of at most `owned_count_max` floats. */
int64_t host_reduce_receive_count(const struct host_reduce *reduce, int64_t owned_count_max);

/** As exact_reduce_run; inputs[k] is this rank's k-th. */
enum muster_status host_reduce_run(struct host_reduce *reduce, float *const *inputs,
                                   const int64_t *owned_begin, float *mine, float *receive,
                                   struct muster_error *err);

#endif
