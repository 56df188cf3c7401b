/* SPDX-License-Identifier: MIT
 *
 * Assertions for programs under mpirun. A bare ck_assert leaves its test on one rank only, and the others
 * wait in the next collective until the time-out: here the rank that fails says so and ends all.
 */
#ifndef MUSTER_TESTS_MPI_CHECK_H
#define MUSTER_TESTS_MPI_CHECK_H

#include <check.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

static inline void mpi_check_at(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    int rank = -1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    fprintf(stderr, "%s:%d: rank %d: %s\n", file, line, rank, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* The condition must hold on this rank. */
#define mpi_check(condition) mpi_check_at((condition), #condition, __FILE__, __LINE__)

/* The call must return MUSTER_OK; prints the text of `err` (a struct muster_error) where not. */
#define mpi_check_ok(call, err) mpi_check_at((call) == MUSTER_OK, (err).text, __FILE__, __LINE__)

/* Runs a suite inside MPI, which the caller has started and this ends; the exit code for main. */
static inline int mpi_check_run(Suite *suite)
{
    SRunner *sr = srunner_create(suite);
    srunner_set_fork_status(sr, CK_NOFORK);
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    srunner_run_all(sr, rank == 0 ? CK_NORMAL : CK_SILENT);
    int failures = srunner_ntests_failed(sr);
    srunner_free(sr);
    MPI_Finalize();
    return failures ? 1 : 0;
}

#endif
