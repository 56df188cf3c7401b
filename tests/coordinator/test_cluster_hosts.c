/* SPDX-License-Identifier: MIT
 *
 * Hosts of a file and of an allocation: how they are read and written back, who answers, who is left out
 * when, and how many ranks the rest is good for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "coordinator/cluster/hosts.h"
#include "coordinator/cluster/reach.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

static struct hosts hosts;
static struct text text;

static void setup(void)
{
    program_folder_enter();
    hosts_init(&hosts);
    text_init(&text);
}

static void teardown(void)
{
    hosts_release(&hosts);
    text_release(&text);
    program_folder_leave();
    ck_assert_int_eq(alloc_live_count(), 0);
}

static void read_hosts(const char *lines)
{
    struct muster_error err;
    hosts_release(&hosts);
    ck_assert_msg(hosts_parse("hosts", lines, &hosts, &err) == MUSTER_OK, "%s", err.text);
}

/* The hosts of a file as one text, or the error. */
static const char *parsed(const char *file)
{
    struct muster_error err;
    text_clear(&text);
    hosts_release(&hosts);
    if (hosts_parse("hosts", file, &hosts, &err) == MUSTER_OK)
        hosts_print(&hosts, true, &text);
    else
        text_print(&text, "%s", err.text);
    return text.data;
}

START_TEST(a_hostfile_is_read_as_mpirun_reads_it)
{
    ck_assert_str_eq(
        parsed("# two\nnode1 slots=4 max_slots=8\n\n  me@node2\tslots=2 # half\nnode1 slots=1\n"),
        "node1:5,me@node2:2");
    ck_assert_str_eq(parsed("a\nb"), "a,b");
}
END_TEST

START_TEST(a_wrong_line_of_a_hostfile_is_named)
{
    ck_assert_ptr_nonnull(strstr(parsed("a\nb slot=2\n"), "hosts:2: \"slot=2\": expected NAME [slots=N]"));
    ck_assert_ptr_nonnull(strstr(parsed("a slots=0\n"), "hosts:1: "));
    ck_assert_ptr_nonnull(
        strstr(parsed("-oProxyCommand=x slots=1\n"), "hosts:1: \"-oProxyCommand=x\" is no host name"));
    ck_assert_ptr_nonnull(strstr(parsed("x@-o slots=1\n"), "is no host name"));
    ck_assert_ptr_nonnull(strstr(parsed("$(id)\n"), "is no host name"));
    ck_assert_ptr_nonnull(strstr(parsed("# nothing\n"), "names no host"));
}
END_TEST

START_TEST(a_hostfile_is_written_back_without_who_is_left_out)
{
    char *written;
    size_t bytes;
    read_hosts("node1 slots=4\nnode2.site.org slots=2\nme@node3\n");
    hosts_item_leave_out(&hosts.items[1], 5);
    ck_assert_int_eq(hosts_write_file(&hosts, "rest", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_file_read("rest", 1000, &written, &bytes, NULL), MUSTER_OK);
    ck_assert_str_eq(written, "node1 slots=4\nme@node3\n");
    alloc_free(written);
    hosts_print(&hosts, true, &text);
    ck_assert_str_eq(text.data, "node1:4,me@node3");
    ck_assert_int_eq(hosts_left(&hosts), 2);
    ck_assert_int_eq(hosts_slots(&hosts), 0);
    hosts_item_leave_out(&hosts.items[2], 5);
    ck_assert_int_eq(hosts_slots(&hosts), 4);
    ck_assert_int_eq(hosts_read_file("nothing", &(struct hosts){.count = 0}, NULL), MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(a_host_is_known_by_its_short_and_its_long_name)
{
    read_hosts("node1\nnode10\nme@node2.site.org\n");
    ck_assert_int_eq(hosts_find(&hosts, "node1"), 0);
    ck_assert_int_eq(hosts_find(&hosts, "node1.site.org"), 0);
    ck_assert_int_eq(hosts_find(&hosts, "node10"), 1);
    ck_assert_int_eq(hosts_find(&hosts, "node2"), 2);
    ck_assert_int_eq(hosts_find(&hosts, "node2.site.com"), -1);
    ck_assert_int_eq(hosts_find(&hosts, "node"), -1);
    ck_assert_int_eq(hosts_find(&hosts, ""), -1);
}
END_TEST

START_TEST(a_host_is_left_out_after_so_many_deaths_and_starts_afresh)
{
    read_hosts("node1\n");
    struct hosts_item *host = &hosts.items[0];
    ck_assert(!hosts_item_failed(host, 3, 100));
    ck_assert(!hosts_item_failed(host, 3, 100));
    ck_assert(hosts_item_failed(host, 3, 100));
    ck_assert(hosts_item_is_out(host));
    ck_assert(hosts_retry_s(&hosts) == 100);
    hosts_item_take_back(host);
    ck_assert(!hosts_item_failed(host, 3, 100));
    ck_assert(hosts_retry_s(&hosts) == 0);
}
END_TEST

START_TEST(the_rest_gets_as_many_ranks_as_it_has_slots_or_its_share)
{
    ck_assert_int_eq(hosts_ranks(&hosts, 3), 3);
    read_hosts("node1 slots=4\nnode2 slots=2\nnode3 slots=2\n");
    ck_assert_int_eq(hosts_ranks(&hosts, 8), 8);
    hosts_item_leave_out(&hosts.items[1], 1);
    ck_assert_int_eq(hosts_ranks(&hosts, 8), 6);
    ck_assert_int_eq(hosts_ranks(&hosts, 5), 5);
    ck_assert_int_eq(hosts_ranks(&hosts, 16), 12); /* two ranks a slot */
    hosts_item_leave_out(&hosts.items[0], 1);
    ck_assert_int_eq(hosts_ranks(&hosts, 1), 1);
    hosts_item_leave_out(&hosts.items[2], 1);
    ck_assert_int_eq(hosts_ranks(&hosts, 8), 0);
    read_hosts("node1\nnode2\n");
    hosts_item_leave_out(&hosts.items[1], 1);
    ck_assert_int_eq(hosts_ranks(&hosts, 8), 4);
}
END_TEST

static const char *const *environment;

static char *lookup(const char *name)
{
    for (int i = 0; environment[i] != NULL; i += 2) {
        if (strcmp(environment[i], name) == 0)
            return (char *)environment[i + 1];
    }
    return NULL;
}

static const char *allocated(const char *const *variables)
{
    struct muster_error err;
    environment = variables;
    text_clear(&text);
    hosts_release(&hosts);
    if (hosts_from_slurm(lookup, &hosts, &err) == MUSTER_OK)
        hosts_print(&hosts, true, &text);
    else
        text_print(&text, "%s", err.text);
    return text.data;
}
#define allocated(...) allocated((const char *const[]){__VA_ARGS__, NULL})

START_TEST(an_allocation_says_hosts_and_ranks)
{
    ck_assert_str_eq(allocated("SLURM_JOB_NODELIST", "n[1-2]"), "");
    ck_assert_str_eq(allocated("SLURM_JOB_ID", "7", "SLURM_JOB_NODELIST", "n[1-2]", "SLURM_NTASKS_PER_NODE",
                               "3", "SLURM_TASKS_PER_NODE", "8(x2)", "SLURM_NTASKS", "6"),
                     "n1:3,n2:3");
    ck_assert_str_eq(allocated("SLURM_JOB_ID", "7", "SLURM_JOB_NODELIST", "n[1-3]", "SLURM_TASKS_PER_NODE",
                               "2(x2),1", "SLURM_NTASKS", "5"),
                     "n1:2,n2:2,n3:1");
    ck_assert_str_eq(allocated("SLURM_JOB_ID", "7", "SLURM_JOB_NODELIST", "n1", "SLURM_TASKS_PER_NODE", "64",
                               "SLURM_GPUS_PER_NODE", "h100:8"),
                     "n1:8");
    ck_assert_str_eq(allocated("SLURM_JOB_ID", "7", "SLURM_JOB_NODELIST", "n1", "SLURM_TASKS_PER_NODE", "64"),
                     "n1:1");
    ck_assert_ptr_nonnull(strstr(allocated("SLURM_JOB_ID", "7", "SLURM_JOB_NODELIST", "n["), "not closed"));
}
END_TEST

static void write_program(const char *name, const char *script)
{
    program_write(name, script);
    ck_assert_int_eq(chmod(name, 0755), 0);
}

static const struct reach_question question = {
    .worker = "/bin/mu ster", .folder = "/work", .connect_s = 2, .timeout_ms = 2000};

/* With programs of the current folder before all others: reach_ask as it then goes. */
static enum muster_status asked_here(struct reach_answer *answers)
{
    struct muster_error err;
    char *path = alloc_text(getenv("PATH"));
    text_clear(&text);
    text_print(&text, ".:%s", path);
    setenv("PATH", text.data, 1);
    enum muster_status status = reach_ask(&hosts, &question, answers, &err);
    setenv("PATH", path, 1);
    alloc_free(path);
    return status;
}

START_TEST(who_does_not_answer_in_time_is_told_from_who_does)
{
    struct reach_answer answers[6] = {{.asked = false}};
    struct muster_error err;
    write_program("agent", "#!/bin/sh\n[ \"$1 $2\" = '-x word' ] || exit 9\n"
                           "[ \"$4\" = \"test -x '/bin/mu ster' && test -d /work\" ] || exit 9\n"
                           "case $3 in good) exit 0;; slow) exec sleep 60;; lacks) exit 1;; "
                           "*) echo no; echo No route to host >&2; exit 255;; esac\n");
    read_hosts("good\nbad\nslow\nlacks\nlocalhost\nunasked\n");
    for (int i = 0; i < 5; i++)
        answers[i].asked = true;
    setenv("OMPI_MCA_plm_rsh_agent", "./agent -x word:ssh", 1);
    ck_assert_msg(reach_ask(&hosts, &question, answers, &err) == MUSTER_OK, "%s", err.text);
    ck_assert(answers[0].good && answers[4].good && answers[5].good);
    ck_assert_str_eq(answers[0].why, "");
    ck_assert(!answers[1].good && !answers[2].good && !answers[3].good);
    ck_assert_str_eq(answers[1].why, "No route to host");
    ck_assert_str_eq(answers[2].why, "no answer within 2 s");
    ck_assert_str_eq(answers[3].why, "lacks /bin/mu ster, or the folder /work");
    setenv("OMPI_MCA_plm_rsh_agent", "./nothing", 1);
    ck_assert_int_ne(reach_ask(&hosts, &question, answers, &err), MUSTER_OK);
    unsetenv("OMPI_MCA_plm_rsh_agent");
}
END_TEST

START_TEST(ssh_is_asked_where_nothing_else_is_named_and_never_asks_back)
{
    struct reach_answer answers[1] = {{.asked = true}};
    write_program("ssh", "#!/bin/sh\n[ \"$1 $2 $3 $4 $5\" = '-o BatchMode=yes -o ConnectTimeout=2 far' ]\n");
    read_hosts("far\n");
    setenv("OMPI_MCA_plm_rsh_agent", " : rsh", 1);
    ck_assert_int_eq(asked_here(answers), MUSTER_OK);
    unsetenv("OMPI_MCA_plm_rsh_agent");
    ck_assert_msg(answers[0].good, "%s", answers[0].why);
}
END_TEST

START_TEST(the_nodes_of_an_allocation_are_asked_by_a_step)
{
    struct reach_answer answers[2] = {{.asked = true}, {.asked = true}};
    static const char *const nodes[] = {"SLURM_JOB_ID", "7", "SLURM_JOB_NODELIST", "n[1-2]", NULL};
    write_program("srun",
                  "#!/bin/sh\ncase \" $* \" in *' --overlap '*' --nodelist=n1 '*' true '*) exit 0;; esac\n"
                  "echo 'srun: error: Unable to create step' >&2; exit 1\n");
    environment = nodes;
    ck_assert_int_eq(hosts_from_slurm(lookup, &hosts, NULL), MUSTER_OK);
    ck_assert_int_eq(asked_here(answers), MUSTER_OK);
    ck_assert(answers[0].good && !answers[1].good);
    ck_assert_str_eq(answers[1].why, "srun: error: Unable to create step");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster_hosts");
    TCase *cases = tcase_create("hosts");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, a_hostfile_is_read_as_mpirun_reads_it);
    tcase_add_test(cases, a_wrong_line_of_a_hostfile_is_named);
    tcase_add_test(cases, a_hostfile_is_written_back_without_who_is_left_out);
    tcase_add_test(cases, a_host_is_known_by_its_short_and_its_long_name);
    tcase_add_test(cases, a_host_is_left_out_after_so_many_deaths_and_starts_afresh);
    tcase_add_test(cases, the_rest_gets_as_many_ranks_as_it_has_slots_or_its_share);
    tcase_add_test(cases, an_allocation_says_hosts_and_ranks);
    tcase_add_test(cases, who_does_not_answer_in_time_is_told_from_who_does);
    tcase_add_test(cases, ssh_is_asked_where_nothing_else_is_named_and_never_asks_back);
    tcase_add_test(cases, the_nodes_of_an_allocation_are_asked_by_a_step);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
