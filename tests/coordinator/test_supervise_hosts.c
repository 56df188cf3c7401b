/* SPDX-License-Identifier: MIT
 *
 * Hosts of a file: how it is read and written back, who is left out when, and how many ranks the rest is good
 * for.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/supervise/supervise_hosts.h"
#include "coordinator/supervise/supervise_probe.h"
#include "tests/coordinator/program.h"

static struct supervise_hosts hosts;

static void setup(void)
{
    program_folder_enter();
}

static void teardown(void)
{
    supervise_hosts_release(&hosts);
    program_folder_leave();
    ck_assert_int_eq(alloc_live_count(), 0);
}

static void read_hosts(const char *text)
{
    struct muster_error err;
    program_write("hosts", text);
    ck_assert_msg(supervise_hosts_read("hosts", &hosts, &err) == MUSTER_OK, "%s", err.text);
}

START_TEST(a_hostfile_is_read_and_written_back_without_who_is_left_out)
{
    char *text;
    size_t bytes;
    read_hosts("# the cluster\nnode1 slots=4 max_slots=8\n\n  node2.site.org\tslots=2 # old\nnode3");
    ck_assert_int_eq(hosts.count, 3);
    ck_assert_str_eq(hosts.items[1].name, "node2.site.org");
    ck_assert_int_eq(hosts.items[0].slots, 4);
    ck_assert_int_eq(hosts.items[1].slots, 2);
    ck_assert_int_eq(hosts.items[2].slots, 0);
    supervise_host_leave_out(&hosts.items[1], 5);
    ck_assert_int_eq(supervise_hosts_write(&hosts, "rest", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_file_read("rest", 1000, &text, &bytes, NULL), MUSTER_OK);
    ck_assert_str_eq(text, "node1 slots=4 max_slots=8\nnode3\n");
    alloc_free(text);
}
END_TEST

START_TEST(a_file_without_a_host_is_refused)
{
    struct muster_error err;
    program_write("hosts", "# nobody\n\n");
    ck_assert_int_eq(supervise_hosts_read("hosts", &hosts, &err), MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(supervise_hosts_read("nothing", &hosts, &err), MUSTER_ERR_IO);
}
END_TEST

START_TEST(a_host_is_known_by_its_short_and_its_long_name)
{
    read_hosts("node1\nnode10\nnode2.site.org\n");
    ck_assert_int_eq(supervise_hosts_find(&hosts, "node1"), 0);
    ck_assert_int_eq(supervise_hosts_find(&hosts, "node1.site.org"), 0);
    ck_assert_int_eq(supervise_hosts_find(&hosts, "node10"), 1);
    ck_assert_int_eq(supervise_hosts_find(&hosts, "node2"), 2);
    ck_assert_int_eq(supervise_hosts_find(&hosts, "node"), -1);
    ck_assert_int_eq(supervise_hosts_find(&hosts, ""), -1);
}
END_TEST

START_TEST(a_host_is_left_out_after_so_many_deaths_and_starts_afresh)
{
    read_hosts("node1\n");
    struct supervise_host *host = &hosts.items[0];
    ck_assert(!supervise_host_failed(host, 3, 100));
    ck_assert(!supervise_host_failed(host, 3, 100));
    ck_assert(supervise_host_failed(host, 3, 100));
    ck_assert(supervise_host_is_out(host));
    ck_assert(supervise_hosts_retry_s(&hosts) == 100);
    supervise_host_take_back(host);
    ck_assert(!supervise_host_failed(host, 3, 100));
    ck_assert(supervise_hosts_retry_s(&hosts) == 0);
}
END_TEST

START_TEST(the_rest_gets_as_many_ranks_as_it_has_slots_or_its_share)
{
    read_hosts("node1 slots=4\nnode2 slots=2\nnode3 slots=2\n");
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 8), 8);
    supervise_host_leave_out(&hosts.items[1], 1);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 8), 6);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 5), 5);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 16), 12); /* two ranks a slot */
    supervise_host_leave_out(&hosts.items[0], 1);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 1), 1);
    supervise_host_leave_out(&hosts.items[2], 1);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 8), 0);
    supervise_hosts_release(&hosts);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 3), 3);
    read_hosts("node1\nnode2\n");
    supervise_host_leave_out(&hosts.items[1], 1);
    ck_assert_int_eq(supervise_hosts_ranks(&hosts, 8), 4);
}
END_TEST

START_TEST(who_does_not_answer_in_time_is_told_from_who_does)
{
    static const char *const names[] = {"good", "bad", "slow", "localhost"};
    bool answers[4];
    program_write("agent", "#!/bin/sh\n[ \"$1 $2\" = '-x word' ] && [ \"$4\" = true ] || exit 9\n"
                           "case $3 in good) exit 0;; slow) exec sleep 60;; *) exit 255;; esac\n");
    ck_assert_int_eq(system("chmod 755 agent"), 0);
    setenv("OMPI_MCA_plm_rsh_agent", "./agent -x word : ssh", 1);
    supervise_probe(names, 4, 2000, answers);
    ck_assert(answers[0] && !answers[1] && !answers[2] && answers[3]);
    unsetenv("OMPI_MCA_plm_rsh_agent");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervise_hosts");
    TCase *cases = tcase_create("supervise_hosts");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, a_hostfile_is_read_and_written_back_without_who_is_left_out);
    tcase_add_test(cases, a_file_without_a_host_is_refused);
    tcase_add_test(cases, a_host_is_known_by_its_short_and_its_long_name);
    tcase_add_test(cases, a_host_is_left_out_after_so_many_deaths_and_starts_afresh);
    tcase_add_test(cases, the_rest_gets_as_many_ranks_as_it_has_slots_or_its_share);
    tcase_add_test(cases, who_does_not_answer_in_time_is_told_from_who_does);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? 1 : 0;
}
