/* SPDX-License-Identifier: MIT
 *
 * Saves are recorded call by call, and disks made that a crash at any moment may leave: whatever did not
 * last, the newest acknowledged checkpoint verifies, two do once two were acknowledged, and nothing that
 * verifies holds anything but the state of its step. The same check must find fault with a disk that
 * overlooks a kind of sync. MUSTER_CRASH_STATES sets how many (300).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/coordinator/ckpt_fixture.h"
#include "tests/faults/crash_model.h"
#include "tests/suite.h"

static char work[64], recorded[FS_PATH_MAX], state_dir[FS_PATH_MAX];
static struct crash_model *model;

static void setup(void)
{
    char record[FS_PATH_MAX];
    int status;
    ck_assert(ckpt_fixture_folder(work));
    ck_assert_int_eq(fs_path_join(recorded, work, "recorded", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_path_join(state_dir, work, "state", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_path_join(record, work, "record", NULL), MUSTER_OK);
    ck_assert_int_eq(mkdir(recorded, 0700), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (chdir(IO_SHIM_FOLDER) != 0) /* ld.so cuts LD_PRELOAD at spaces, which a full path may have */
            _exit(127);
        setenv("LD_PRELOAD", IO_SHIM, 1);
        setenv("MUSTER_IO_WATCH", recorded, 1);
        setenv("MUSTER_IO_RECORD", record, 1);
        execl(SAVE_DRIVER, "save_driver", "record", recorded, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    model = crash_model_open(record, recorded);
    ck_assert_ptr_nonnull(model);
    ck_assert_int_gt(crash_model_count(model), 100);
}

static void teardown(void)
{
    crash_model_close(model);
    ck_assert_int_eq(fs_remove_tree(work, NULL), MUSTER_OK);
}

static bool holds_its_step(const char *folder, int64_t step)
{
    struct ckpt_fixture fixture;
    struct ckpt *ckpt = NULL;
    ckpt_fixture_init(&fixture, step);
    bool good = ckpt_open(folder, &ckpt, NULL) == MUSTER_OK && ckpt_verify(ckpt, NULL) == MUSTER_OK;
    if (good)
        ck_assert(ckpt_step(ckpt) == step &&
                  hash_equal(ckpt_recorded_state_hash(ckpt), ckpt_fixture_hash(&fixture)));
    ckpt_close(ckpt);
    return good;
}

/* Whether a state keeps what was promised. */
static bool state_keeps(int at)
{
    struct ckpt_catalogue catalogue;
    int64_t acknowledged = crash_model_mark(model, at);
    int good = 0;
    bool newest = acknowledged < 0;
    ck_assert_int_eq(ckpt_catalogue_read(state_dir, &catalogue, NULL), MUSTER_OK);
    for (int i = 0; i < catalogue.count; i++) {
        char folder[FS_PATH_MAX];
        ck_assert_int_eq(fs_path_join(folder, state_dir, catalogue.entries[i].folder, NULL), MUSTER_OK);
        bool holds = holds_its_step(folder, catalogue.entries[i].step);
        good += holds;
        newest = newest || (holds && catalogue.entries[i].step == acknowledged);
    }
    ckpt_catalogue_release(&catalogue);
    return newest && good >= (acknowledged >= 20 ? 2 : acknowledged >= 10 ? 1 : 0);
}

static int violations_count(int states, const struct crash_options *options)
{
    int violations = 0;
    for (int i = 0; i < states; i++) {
        int at = (int)((int64_t)i * (crash_model_count(model) + 1) / states);
        ck_assert_int_eq(mkdir(state_dir, 0700), 0);
        ck_assert(crash_model_state(model, at, (uint64_t)i, options, state_dir));
        if (!state_keeps(at)) {
            violations++;
            if (!options->ignore_file_syncs && !options->ignore_folder_syncs)
                printf("state %d: crash before call %d\n", i, at);
        }
        ck_assert_int_eq(fs_remove_tree(state_dir, NULL), MUSTER_OK);
    }
    return violations;
}

START_TEST(no_legal_crash_state_loses_an_acknowledged_checkpoint)
{
    const char *wanted = getenv("MUSTER_CRASH_STATES");
    int states = wanted != NULL ? atoi(wanted) : 300;
    int violations = violations_count(states, &(struct crash_options){.ignore_file_syncs = false});
    printf("%d crash states of %d calls, %d violations\n", states, crash_model_count(model), violations);
    ck_assert_int_eq(violations, 0);
}
END_TEST

START_TEST(a_disk_that_overlooks_syncs_is_found_out)
{
    ck_assert_int_gt(violations_count(150, &(struct crash_options){.ignore_file_syncs = true}), 0);
    ck_assert_int_gt(violations_count(150, &(struct crash_options){.ignore_folder_syncs = true}), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crash_states");
    TCase *tcase = tcase_create("crash_states");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, no_legal_crash_state_loses_an_acknowledged_checkpoint);
    tcase_add_test(tcase, a_disk_that_overlooks_syncs_is_found_out);
    tcase_set_timeout(tcase, 0);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
