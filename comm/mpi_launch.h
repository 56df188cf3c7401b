/* SPDX-License-Identifier: MIT
 *
 * How many ranks the launcher says it started, read from its environment. A wrong launcher (another MPI's
 * mpirun, srun with the wrong plug-in) starts N processes that each believe to be alone, and N jobs would
 * train into one run directory; only the environment can tell.
 */
#ifndef MUSTER_COMM_MPI_LAUNCH_H
#define MUSTER_COMM_MPI_LAUNCH_H

#include "comm/comm.h"

/**
 * The number of ranks this very process was started with, and in `variable` the name of what says so; 1 when
 * nothing says anything. `lookup` is getenv, or a test's stand-in. The rank variables of mpirun come first: a
 * process under mpirun inside a Slurm allocation was counted by mpirun. An allocation alone (SLURM_NTASKS in
 * a batch script or an salloc shell) says nothing: the process must be a task of a numbered step.
 */
int mpi_launch_size(char *(*lookup)(const char *name), const char **variable);

/**
 * Fills c->node, node_count, local_rank and local_size, and the host of each rank in node_of. `node_first[r]`
 * is the lowest rank on the host of rank r; nodes are numbered in the order of these.
 */
void mpi_launch_nodes(struct comm *c, const int *node_first, int *node_of);

/**
 * For tests of several hosts on one: MUSTER_PRETEND_HOSTS is a list of numbers with commas, a host for each
 * rank, and overwrites `node_first`. Without it nothing changes. BAD_INPUT where it does not say `size`
 * numbers.
 */
enum muster_status mpi_launch_pretend(char *(*lookup)(const char *name), int size, int *node_first,
                                      struct muster_error *err);

/**
 * How the ranks talk, for people, into `text`: "shared memory" on one host, else what the launcher was told
 * to use (`mpirun --mca` reaches the ranks as variables), else "MPI".
 */
void mpi_launch_transport(int node_count, char *(*lookup)(const char *name), char *text, size_t size);

#endif
