/* SPDX-License-Identifier: MIT
 *
 * The doctor judges machines nobody has.
 */
#include <stdio.h>
#include <string.h>

#include "worker/doctor/doctor_table.h"
#include "tests/suite.h"

enum { RANKS = 4 };

static struct doctor_facts facts[RANKS];
static struct doctor_case given;
static struct text out;

static void setup(void)
{
    for (int rank = 0; rank < RANKS; rank++) {
        facts[rank] = (struct doctor_facts){
            .node = rank / 2,
            .local_size = 2,
            .program = {1, 2},
            .versions =
                {{[DOCTOR_MPI] = "Open MPI 4.1.4", [DOCTOR_DRIVER] = "550.54.15", [DOCTOR_NCCL] = "2.28.9"}},
            .memory_bytes = (int64_t)8 << 30,
            .shared_bytes = (int64_t)1 << 30,
            .sees_folder = true,
            .is_writer = rank % 2 == 0,
            .folder_free_bytes = (int64_t)100 << 30,
            .write_bytes_per_s = 1e9};
        snprintf(facts[rank].host, sizeof facts[rank].host, "node%d", rank / 2 + 1);
    }
    given = (struct doctor_case){.facts = facts,
                                 .rank_count = RANKS,
                                 .node_count = 2,
                                 .transport = "MPI (btl tcp)",
                                 .folder = "out",
                                 .has_job = true,
                                 .device = "CPU",
                                 .rank_bytes = (int64_t)1 << 30,
                                 .checkpoint_bytes = (int64_t)10 << 30,
                                 .checkpoint_count = 4,
                                 .bandwidth_bytes_per_s = 5e9,
                                 .floor_bytes_per_s = 1e8};
    text_init(&out);
}

static void teardown(void)
{
    text_release(&out);
}

static void expect(int red_count, const char *words)
{
    text_clear(&out);
    ck_assert_msg(doctor_table_print(&given, &out) == red_count, "%s", out.data);
    ck_assert_msg(strstr(out.data, words) != NULL, "\"%s\" is not in:\n%s", words, out.data);
}

START_TEST(a_sound_machine_has_no_red_line)
{
    expect(0, "4 ranks on 2 hosts see each other, over MPI (btl tcp)");
    ck_assert_ptr_null(strstr(out.data, "RED"));
    ck_assert_ptr_null(strstr(out.data, "note"));
}
END_TEST

START_TEST(another_build_on_one_host_is_named)
{
    facts[3].program.low = 3;
    expect(1, "rank 3 on node2 runs another muster-worker than rank 0 on node1");
    ck_assert_ptr_nonnull(strstr(out.data, "-> install the same build"));
}
END_TEST

START_TEST(versions_are_told_and_a_host_with_another_one_is_red)
{
    expect(0, "ok    versions         Open MPI 4.1.4, NVIDIA driver 550.54.15, NCCL 2.28.9\n");
    strcpy(facts[2].versions.text[DOCTOR_NCCL], "2.27.3");
    expect(1, "RED   versions         rank 2 on node2 has NCCL 2.27.3, rank 0 on node1 2.28.9\n");
    ck_assert_ptr_nonnull(strstr(out.data, "alike: Open MPI 4.1.4, NVIDIA driver 550.54.15\n"));
    strcpy(facts[3].versions.text[DOCTOR_MPI], "Open MPI 5.0.3");
    expect(2, "rank 3 on node2 has Open MPI 5.0.3, rank 0 on node1 Open MPI 4.1.4\n");
}
END_TEST

START_TEST(another_driver_is_a_note)
{
    strcpy(facts[1].versions.text[DOCTOR_DRIVER], "");
    expect(0, "note  versions         rank 1 on node1 has NVIDIA driver none, rank 0 on node1 550.54.15\n");
}
END_TEST

START_TEST(a_clock_that_is_off_is_a_note_and_far_off_red)
{
    facts[2].clock_ahead_s = -0.5;
    expect(0, "note  clocks           node2 (rank 2) is 0.50 s behind rank 0");
    facts[1].clock_ahead_s = 3.0;
    expect(1, "node1 (rank 1) is 3.00 s ahead of rank 0");
}
END_TEST

START_TEST(data_that_one_rank_cannot_open_are_red)
{
    strcpy(facts[2].data_reason, "open train.bin: No such file or directory");
    expect(1, "rank 2 on node2: open train.bin: No such file or directory");
}
END_TEST

START_TEST(a_folder_that_is_not_shared_or_not_writable_is_red)
{
    facts[2].sees_folder = facts[3].sees_folder = false;
    expect(1, "rank 2 on node2 does not see what rank 0 writes to out");
    strcpy(facts[1].folder_reason, "create out: Permission denied");
    expect(1, "rank 1 on node1: create out: Permission denied");
}
END_TEST

START_TEST(space_for_fewer_checkpoints_than_are_kept_is_red)
{
    facts[2].folder_free_bytes = (int64_t)39 << 30;
    expect(1, "39.00 GiB free, but 4 checkpoints take 40.00 GiB");
    facts[2].folder_free_bytes = (int64_t)41 << 30;
    facts[0].write_bytes_per_s = 1e6;
    expect(0, "note  write speed");
}
END_TEST

START_TEST(memory_is_shared_by_the_ranks_of_a_host)
{
    facts[2].memory_bytes = facts[3].memory_bytes = ((int64_t)2 << 30) - 2;
    expect(1, "node2: 1.00 GiB free for each of 2 ranks, but a rank takes 1.00 GiB");
    facts[2].memory_bytes = facts[3].memory_bytes = (int64_t)2 << 30;
    expect(0, "1.00 GiB free for each rank; a rank takes 1.00 GiB");
    facts[2].shared_bytes = 1 << 20;
    expect(1, "node2: /dev/shm is too small for 2 ranks");
}
END_TEST

START_TEST(two_ranks_on_a_gpu_a_bad_job_and_a_slow_network_are_red)
{
    given.device_problem = "ranks 0 and 1 on node1 have the same GPU";
    given.job_problem = "the job has 2 errors";
    given.bandwidth_bytes_per_s = 1e7;
    expect(3, "RED   devices          ranks 0 and 1 on node1 have the same GPU");
    ck_assert_ptr_nonnull(strstr(out.data, "RED   job              the job has 2 errors"));
    ck_assert_ptr_nonnull(strstr(out.data, "9.54 MiB a second and rank, below the floor of 95.37 MiB"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("doctor_table");
    TCase *cases = tcase_create("doctor_table");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_sound_machine_has_no_red_line);
    tcase_add_test(cases, another_build_on_one_host_is_named);
    tcase_add_test(cases, versions_are_told_and_a_host_with_another_one_is_red);
    tcase_add_test(cases, another_driver_is_a_note);
    tcase_add_test(cases, a_clock_that_is_off_is_a_note_and_far_off_red);
    tcase_add_test(cases, data_that_one_rank_cannot_open_are_red);
    tcase_add_test(cases, a_folder_that_is_not_shared_or_not_writable_is_red);
    tcase_add_test(cases, space_for_fewer_checkpoints_than_are_kept_is_red);
    tcase_add_test(cases, memory_is_shared_by_the_ranks_of_a_host);
    tcase_add_test(cases, two_ranks_on_a_gpu_a_bad_job_and_a_slow_network_are_red);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
