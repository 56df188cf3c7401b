/* SPDX-License-Identifier: MIT
 *
 * How every test program ends. Not forked: MPI and CUDA do not survive it, and a debugger sees the test.
 */
#ifndef MUSTER_TESTS_SUITE_H
#define MUSTER_TESTS_SUITE_H

#include <check.h>

/** Runs the suite in this process; returns the exit code of main. */
static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures > 0 ? 1 : 0;
}

#endif
