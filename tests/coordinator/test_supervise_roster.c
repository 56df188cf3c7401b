/* SPDX-License-Identifier: MIT
 *
 * Which hosts are left out after a death, by what a stand-in for ssh answers for each.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/supervise/supervise_roster.h"
#include "tests/suite.h"

static char folder[64];
static struct hosts hosts;
static FILE *said;

static void setup(void)
{
    struct muster_error err;
    snprintf(folder, sizeof folder, "/tmp/muster-roster.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    hosts_init(&hosts);
    ck_assert_int_eq(hosts_parse("hosts", "alpha slots=1\nbeta slots=1\ngamma slots=1\n", &hosts, &err),
                     MUSTER_OK);
    said = tmpfile();
    ck_assert_ptr_nonnull(said);
}

static void teardown(void)
{
    fclose(said);
    hosts_release(&hosts);
    (void)unlink("agent");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* The hosts that are left when one was lost and `good`, a pattern of the shell, are those that answer. */
static int left_when_answer(const char *good, bool hung)
{
    const struct launch_supervision supervision = {.err = said};
    struct supervise_roster roster = {.hosts = &hosts,
                                      .worker = "/bin/sh",
                                      .retry_s = 60.0,
                                      .failures_max = 3,
                                      .supervision = &supervision};
    const struct launch_outcome outcome = {.failed = true, .host_lost = !hung, .hung = hung, .rank = -1};
    FILE *agent = fopen("agent", "w");
    ck_assert_ptr_nonnull(agent);
    fprintf(agent, "#!/bin/sh\nfor word; do case $word in %s) exit 0 ;; esac; done\nexit 255\n", good);
    ck_assert_int_eq(fclose(agent), 0);
    ck_assert_int_eq(chmod("agent", 0700), 0);
    ck_assert_int_eq(setenv("OMPI_MCA_plm_rsh_agent", "./agent", 1), 0);
    supervise_roster_blame(&roster, &outcome, 1000.0);
    return hosts_left(&hosts);
}

START_TEST(a_host_that_does_not_answer_is_left_out)
{
    ck_assert_int_eq(left_when_answer("alpha|gamma", false), 2);
    ck_assert(hosts_item_is_out(&hosts.items[1]));
}
END_TEST

START_TEST(so_it_is_when_mpirun_had_to_be_killed)
{
    ck_assert_int_eq(left_when_answer("alpha|beta", true), 2);
    ck_assert(hosts_item_is_out(&hosts.items[2]));
}
END_TEST

START_TEST(when_none_answers_it_is_the_asking_that_failed)
{
    ck_assert_int_eq(left_when_answer("delta", false), 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_roster");
    TCase *cases = tcase_create("supervise_roster");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_host_that_does_not_answer_is_left_out);
    tcase_add_test(cases, so_it_is_when_mpirun_had_to_be_killed);
    tcase_add_test(cases, when_none_answers_it_is_the_asking_that_failed);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
