/* SPDX-License-Identifier: MIT
 *
 * What the tests of folders of checkpoints share: a folder for each test, a state to fill it with, and what
 * was said.
 */
#ifndef MUSTER_TESTS_CKPT_CASE_H
#define MUSTER_TESTS_CKPT_CASE_H

#include "tests/coordinator/ckpt_fixture.h"

/* Of the test that runs. */
struct ckpt_case {
    char dir[FS_PATH_MAX];
    struct ckpt_fixture fixture;
    struct muster_error err;
    struct text out;
    int64_t live_before;
};
extern struct ckpt_case here;

/** Fixture of a test case; the end compares the number of live blocks with the beginning. */
void ckpt_case_setup(void);
void ckpt_case_teardown(void);

/** A path in the test's folder; four at a time stay valid. */
const char *ckpt_case_path(const char *name);

/** Writes the state of `step` as two ranks would have, the MANIFEST only when `commit`. */
void ckpt_case_add(int64_t step, bool commit);

/** Whether there is a folder of this step. */
bool ckpt_case_has(int64_t step);

/** What was printed holds these words. */
void ckpt_case_expect(const char *words);

#endif
