/* SPDX-License-Identifier: MIT
 *
 * The parts of a launch that need no process: the command, what is taken out of mpirun's standard error, and
 * which leftovers are removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "coordinator/cli/launch.h"
#include "coordinator/cli/launch_banners.h"
#include "coordinator/cli/launch_leftovers.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

#define DASHES "--------------------------------------------------------------------------\n"

static const char *const settings[] = {
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    "OMPI_MCA_rmaps_base_oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle",
    "OMPI_MCA_hwloc_base_binding_policy",
    "PRTE_MCA_rmaps_default_mapping_policy",
    "PRTE_MCA_hwloc_default_binding_policy",
    "OMPI_MCA_pml",
    "OMPI_MCA_btl",
    "SLURM_JOB_NUM_NODES",
    "SLURM_NNODES",
    "OMPI_MCA_oob_tcp_keepalive_time",
    "OMPI_MCA_odls_base_sigkill_timeout",
};

static struct launch_options options;
static struct launch_command command;
static struct text line;

static void setup(void)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        unsetenv(settings[i]);
    options =
        (struct launch_options){.ranks = 4, .cores = 4, .worker = "/bin/muster-worker", .job_path = "a.yaml"};
    text_init(&line);
}

static void teardown(void)
{
    text_release(&line);
}

static const char *command_line(void)
{
    struct muster_error err;
    ck_assert_int_eq(launch_command_build(&command, &options, &err), MUSTER_OK);
    text_clear(&line);
    launch_command_print(&command, &line);
    launch_command_release(&command);
    return line.data;
}

static bool has(const char *words)
{
    return strstr(command_line(), words) != NULL;
}

START_TEST(every_option_has_its_place_in_the_command)
{
    char *extra[] = {"--mca", "x", "y"};
    options.extra = extra;
    options.extra_count = 3;
    options.hostfile = "hosts";
    options.live = true;
    options.resume = "never";
    ck_assert(
        has(" mpirun -n 4 --hostfile hosts -x MUSTER_LIVE=1 --mca x y /bin/muster-worker a.yaml --resume "
            "never\n"));
}
END_TEST

START_TEST(a_path_is_never_taken_for_an_option_or_a_separator)
{
    options.job_path = "-n";
    options.resume = ":";
    ck_assert(has(" /bin/muster-worker ./-n --resume ./:\n"));
}
END_TEST

START_TEST(shared_memory_is_asked_for_on_one_host_only)
{
    char *extra[] = {"--host", "a,b"};
    ck_assert(has("OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader "));
    ck_assert(!has("keepalive"));
    options.hostfile = "hosts";
    ck_assert(!has("OMPI_MCA_btl"));
    ck_assert(has("OMPI_MCA_oob_tcp_keepalive_time=5 "));
    options.hostfile = NULL;
    options.extra = extra;
    options.extra_count = 2;
    ck_assert(!has("OMPI_MCA_btl"));
    options.extra_count = 0;
    setenv("SLURM_JOB_NUM_NODES", "2", 1);
    ck_assert(!has("OMPI_MCA_btl"));
    setenv("SLURM_JOB_NUM_NODES", "1", 1);
    ck_assert(has("OMPI_MCA_btl"));
}
END_TEST

START_TEST(ranks_yield_only_when_they_outnumber_the_cores)
{
    ck_assert(!has("yield"));
    options.ranks = 5;
    ck_assert(has("OMPI_MCA_mpi_yield_when_idle=1 "));
}
END_TEST

START_TEST(what_the_person_has_set_stays)
{
    setenv("OMPI_MCA_btl", "self,tcp", 1);
    ck_assert(!has("OMPI_MCA_btl="));
    ck_assert(has("OMPI_MCA_pml=ob1 "));
    unsetenv("OMPI_MCA_btl");
    ck_assert_int_eq(has("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "), geteuid() == 0);
}
END_TEST

START_TEST(what_decides_the_bits_of_a_gpu_reaches_hosts_behind_ssh_and_which_gpus_does_not)
{
    struct hosts_item item = {.name = "a"};
    struct hosts hosts = {.source = HOSTS_FILE, .items = &item, .count = 1};
    options.hosts = &hosts;
    options.hostfile = "hosts";
    setenv("NVIDIA_TF32_OVERRIDE", "0", 1);
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 1);
    setenv("CUDA_VISIBLE_DEVICES", "3", 1);
    ck_assert(has(" -x NVIDIA_TF32_OVERRIDE "));
    ck_assert(has(" -x CUBLAS_WORKSPACE_CONFIG "));
    ck_assert(!has("CUDA_VISIBLE_DEVICES"));
}
END_TEST

START_TEST(nccl_is_told_the_interface_and_no_other_that_begins_alike)
{
    struct hosts_item item = {.name = "a"};
    struct hosts hosts = {.source = HOSTS_FILE, .items = &item, .count = 1};
    options.hosts = &hosts;
    options.hostfile = "hosts";
    options.interface = "ib0";
    ck_assert(has("OMPI_MCA_btl_tcp_if_include=ib0 "));
    ck_assert(has("NCCL_SOCKET_IFNAME==ib0 "));
    ck_assert(has(" -x NCCL_SOCKET_IFNAME "));
    options.interface = "10.0.0.0/24";
    ck_assert(!has("NCCL_SOCKET_IFNAME"));
}
END_TEST

/* What comes out for `text`, fed in pieces of `step` bytes. */
static struct launch_banners feed(const char *text, size_t step, struct text *out)
{
    char *bytes;
    size_t count;
    struct launch_banners banners;
    FILE *stream = open_memstream(&bytes, &count);
    ck_assert_ptr_nonnull(stream);
    launch_banners_init(&banners, stream);
    for (size_t at = 0, length = strlen(text); at < length; at += step)
        launch_banners_feed(&banners, text + at, length - at < step ? length - at : step);
    launch_banners_finish(&banners);
    fclose(stream);
    text_clear(out);
    text_append(out, bytes, count);
    free(bytes);
    return banners;
}

static void expect_fed(const char *text, const char *expected)
{
    for (size_t step = 1; step < 200; step += 33) {
        feed(text, step, &line);
        ck_assert_str_eq(line.data, expected);
    }
}

START_TEST(what_mpirun_says_of_every_end_is_taken_out)
{
    expect_fed("first\n" DASHES "Primary job  terminated normally, but 1 process returned\n"
               "a non-zero exit code. Per user-direction, the job has been aborted.\n" DASHES DASHES
               "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
               "the job to be terminated. The first process to do so was:\n\n"
               "  Process name: [[7832,1],2]\n  Exit code:    75\n" DASHES "last\n",
               "first\nlast\n");
    expect_fed(DASHES "prterun detected that one or more processes exited with non-zero status,\n"
                      "thus causing the job to be terminated. The first process to do so was:\n\n"
                      "   Process name: [prterun-vm-200@1,1]\n   Exit code:    3\n" DASHES DASHES
                      "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n"
                      "  Proc: [[54375,1],1]\n  Errorcode: 1\n\n"
                      "NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.\n"
                      "You may or may not see output from other processes, depending on\n"
                      "exactly when Open MPI kills them.\n" DASHES DASHES
                      "prterun has exited due to process rank 1 with PID 0 on node vm calling\n"
                      "\"abort\". This may have caused other processes in the application to be\n"
                      "terminated by signals sent by prterun (as reported here).\n" DASHES "last\n",
               "last\n");
    expect_fed("mpirun: Forwarding signal 10 to job\n"
               "[vm:29398] 2 more processes have sent help message help-mpi-api.txt / mpi-abort\n"
               "[vm:29398] Set MCA parameter \"orte_base_help_aggregate\" to 0 to see all\n",
               "");
}
END_TEST

START_TEST(a_rank_that_mpirun_names_is_kept)
{
    struct launch_banners banners =
        feed(DASHES "mpirun noticed that process rank 12 with PID 0 on node n-1.x exited on signal 9 "
                    "(Killed).\n" DASHES,
             1000, &line);
    ck_assert_int_eq(banners.rank, 12);
    ck_assert_str_eq(banners.host, "n-1.x");
    ck_assert_str_eq(line.data, "");
    banners = feed(DASHES "prterun noticed that process rank 2 with PID 25 on node n2 exited on\n"
                          "signal 9 (Killed).\n" DASHES,
                   1000, &line);
    ck_assert_int_eq(banners.rank, 2);
    ck_assert_str_eq(banners.host, "n2");
    ck_assert_str_eq(line.data, "");
    ck_assert_int_eq(feed("rank 3\n", 1000, &line).rank, -1);
}
END_TEST

START_TEST(everything_else_passes_unchanged)
{
    static const char other[] = DASHES "There are not enough slots available\n" DASHES "and so on";
    expect_fed(other, other);
    expect_fed(DASHES "never closed\n", DASHES "never closed\n");
    static const char early[] =
        DASHES "prterun has exited due to process rank 1 with PID 100 on node vm exiting\n"
               "improperly. There are three reasons this could occur:\n" DASHES;
    expect_fed(early, early);
    expect_fed("mpirun noticed that process rank 1 but outside a banner\n",
               "mpirun noticed that process rank 1 but outside a banner\n");
    expect_fed(DASHES "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n"
                      "muster-worker: rank 1: the cause\n"
                      "with errorcode 1.\n" DASHES,
               "muster-worker: rank 1: the cause\n");
}
END_TEST

START_TEST(a_start_that_is_refused_for_good_is_noted_by_its_first_sentence)
{
    static const char full[] =
        DASHES "There are not enough slots available in the system to satisfy the 9\nslots that\n" DASHES;
    expect_fed(full, full);
    ck_assert_str_eq(feed(full, 7, &line).refusal,
                     "There are not enough slots available in the system to satisfy the 9");
    ck_assert_str_eq(feed("mpirun: Error: unknown option \"--mcaa\"\nType\n", 1000, &line).refusal,
                     "mpirun: Error: unknown option \"--mcaa\"");
    ck_assert_str_eq(
        feed("A requested component was not found, or was unable to be opened.  This\n", 1000, &line).refusal,
        "A requested component was not found, or was unable to be opened");
    ck_assert_str_eq(feed("a rank says: mpirun: Error: x\n", 1000, &line).refusal, "");
}
END_TEST

static char host_segment[256], other_segment[256], neighbour[256], stranger[256];

/* tmp/ and shm/ with what an mpirun of process 4711, job family 0x61f8, has left, and things of others. */
static void leave_things(const char *contact)
{
    char path[512];
    struct utsname system;
    struct muster_error err;
    ck_assert_int_eq(uname(&system), 0);
    unsigned user = (unsigned)geteuid();
    snprintf(path, sizeof path, "tmp/ompi.%s.%u/pid.4711/1", system.nodename, user);
    ck_assert_int_eq(fs_folder_create(path, &err), MUSTER_OK);
    snprintf(path, sizeof path, "tmp/ompi.%s.%u/pid.4711/contact.txt", system.nodename, user);
    program_write(path, contact);
    snprintf(path, sizeof path, "tmp/ompi.%s.%u/pid.4712", system.nodename, user);
    ck_assert_int_eq(fs_folder_create(path, &err), MUSTER_OK);
    ck_assert_int_eq(fs_folder_create("shm", &err), MUSTER_OK);
    snprintf(host_segment, sizeof host_segment, "shm/vader_segment.%s.%u.61f80001.0", system.nodename, user);
    snprintf(other_segment, sizeof other_segment, "shm/vader_segment.%s.%u.61f90001.0", system.nodename,
             user);
    snprintf(neighbour, sizeof neighbour, "shm/vader_segment.%s.%u.61f80001.0", system.nodename, user + 1);
    snprintf(stranger, sizeof stranger, "shm/vader_segment.%s.%u.61f80001.0.txt", system.nodename, user);
    program_write(host_segment, "");
    program_write(other_segment, "");
    program_write(neighbour, "");
    program_write(stranger, "");
}

static bool session_exists(int pid)
{
    char path[512];
    struct utsname system;
    uname(&system);
    snprintf(path, sizeof path, "tmp/ompi.%s.%u/pid.%d", system.nodename, (unsigned)geteuid(), pid);
    return fs_exists(path);
}

START_TEST(what_one_mpirun_left_is_removed_and_nothing_else)
{
    program_folder_enter();
    leave_things("1643642880.0;tcp://10.0.0.1:54423\n3334\n");
    launch_leftovers_remove("tmp", "shm", 4711);
    ck_assert(!session_exists(4711) && !fs_exists(host_segment));
    ck_assert(session_exists(4712) && fs_exists(other_segment) && fs_exists(neighbour) &&
              fs_exists(stranger));
    launch_leftovers_remove("tmp", "shm", 4713);
    ck_assert(session_exists(4712) && fs_exists(other_segment));
    program_folder_leave();
}
END_TEST

/* Process ids and the numbers that Open MPI 5.0.7 gave their jobs on a host called vm. */
START_TEST(segments_of_the_next_version_are_told_by_the_name_of_their_job)
{
    static const struct {
        int pid;
        const char *job;
    } seen[] = {{9, "10aa0001"}, {86, "e61f0001"}, {140, "9ec60001"}};
    const unsigned user = (unsigned)geteuid();
    char session[64], newer[64], segments[3][64];
    program_folder_enter();
    ck_assert_int_eq(fs_folder_create("shm", NULL), MUSTER_OK);
    for (int i = 0; i < 3; i++) {
        snprintf(segments[i], sizeof segments[i], "shm/sm_segment.vm.%u.%s.1", user, seen[i].job);
        program_write(segments[i], "");
    }
    for (int i = 0; i < 3; i++) {
        snprintf(session, sizeof session, "tmp/prterun.vm.%d.%u", seen[i].pid, user);
        snprintf(newer, sizeof newer, "tmp/prterun.vm.%d.%u", 1000 + i, user);
        launch_leftovers_remove_named("tmp", "shm", "vm", seen[i].pid); /* no session: it ended by itself */
        ck_assert(fs_exists(segments[i]));
        ck_assert_int_eq(fs_folder_create(session, NULL), MUSTER_OK);
        ck_assert_int_eq(fs_folder_create(newer, NULL), MUSTER_OK);
        launch_leftovers_remove_named("tmp", "shm", "vm", seen[i].pid);
        ck_assert(!fs_exists(session) && !fs_exists(segments[i]) && fs_exists(newer));
        ck_assert(i == 2 || fs_exists(segments[i + 1]));
    }
    program_folder_leave();
}
END_TEST

START_TEST(segments_stay_when_the_session_does_not_name_its_job)
{
    static const char *const contacts[] = {"",          "nonsense", "0.0;", "1643642881.0;", "99999999999.0;",
                                           "1643642880"};
    for (size_t i = 0; i < sizeof contacts / sizeof contacts[0]; i++) {
        program_folder_enter();
        leave_things(contacts[i]);
        launch_leftovers_remove("tmp", "shm", 4711);
        ck_assert_msg(fs_exists(host_segment), "removed for \"%s\"", contacts[i]);
        ck_assert(session_exists(4712));
        program_folder_leave();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("launch_parts");
    TCase *cases = tcase_create("launch_parts");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, every_option_has_its_place_in_the_command);
    tcase_add_test(cases, a_path_is_never_taken_for_an_option_or_a_separator);
    tcase_add_test(cases, shared_memory_is_asked_for_on_one_host_only);
    tcase_add_test(cases, ranks_yield_only_when_they_outnumber_the_cores);
    tcase_add_test(cases, what_the_person_has_set_stays);
    tcase_add_test(cases, what_decides_the_bits_of_a_gpu_reaches_hosts_behind_ssh_and_which_gpus_does_not);
    tcase_add_test(cases, nccl_is_told_the_interface_and_no_other_that_begins_alike);
    tcase_add_test(cases, what_mpirun_says_of_every_end_is_taken_out);
    tcase_add_test(cases, a_rank_that_mpirun_names_is_kept);
    tcase_add_test(cases, everything_else_passes_unchanged);
    tcase_add_test(cases, a_start_that_is_refused_for_good_is_noted_by_its_first_sentence);
    tcase_add_test(cases, what_one_mpirun_left_is_removed_and_nothing_else);
    tcase_add_test(cases, segments_of_the_next_version_are_told_by_the_name_of_their_job);
    tcase_add_test(cases, segments_stay_when_the_session_does_not_name_its_job);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
