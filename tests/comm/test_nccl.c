/* SPDX-License-Identifier: MIT
 *
 * The communicator on NCCL over stand-ins for NCCL and the CUDA runtime: what it does when all goes well, and
 * what it refuses before it starts. test_nccl_faults.c makes everything fail.
 */
#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/comm/comm_case.h"
#include "tests/comm/exact_case.h"
#include "tests/comm/mpi_check.h"
#include "tests/comm/nccl_case.h"

static struct nccl_case test;

START_TEST(every_collective_works_with_even_uneven_and_empty_blocks)
{
    int64_t live = alloc_live_count();
    nccl_case_init(&test);
    nccl_case_open(&test);
    mpi_check(strcmp(test.nccl->ops->name, "nccl") == 0);
    mpi_check(test.nccl->local_size == test.mpi->local_size && test.nccl->node_count == 1);
    collectives_check(test.nccl, 0);
    nccl_case_release(&test);
    mpi_check(alloc_live_count() == live);
}
END_TEST

START_TEST(the_exact_sum_has_the_bits_of_the_host_for_any_blocks_and_any_owners)
{
    static const int leaves[] = {1, 2, 3, 5, 8, 13, 24, 61, 64};
    static const int64_t floats[] = {0, 1, 37, 601};
    nccl_case_init(&test);
    nccl_case_open(&test);
    for (size_t l = 0; l < sizeof(leaves) / sizeof(leaves[0]); l++)
        for (size_t f = 0; f < sizeof(floats) / sizeof(floats[0]); f++)
            for (int kind = 0; kind < 16; kind++) {
                struct layout layout = layout_make(test.nccl->size, leaves[l], floats[f], kind);
                reduce_check(test.nccl, &layout, kind % 2 == 0, 0);
            }
    struct layout longer =
        layout_make(test.nccl->size, test.nccl->size + 1, test.nccl->size * (INT64_C(1100) << 10) + 11, 5);
    reduce_check(test.nccl, &longer, true, 0);
    mpi_check(test.nccl->size == 1 || nccl_case_sum_count() > 0);
    nccl_case_release(&test);
}
END_TEST

START_TEST(a_sum_and_a_copy_are_done_where_the_buffers_are)
{
    struct muster_error err = {0};
    float a[3] = {1, 2, -0.0f}, b[3] = {10, 20, 30}, out[3];
    struct tree_terms terms = {.source = {a, b}, .length = 3, .program = {0, 1, -1}};
    nccl_case_init(&test);
    nccl_case_open(&test);
    mpi_check_ok(test.nccl->ops->sum_f32(test.nccl, out, &terms, 3, &err), err);
    mpi_check_ok(comm_end_before(test.nccl, NULL, &err), err);
    mpi_check(out[0] == 11 && out[1] == 22 && out[2] == 30);
    terms.length = 1;
    mpi_check_ok(test.nccl->ops->sum_f32(test.nccl, out, &terms, 3, &err), err);
    mpi_check_ok(comm_end_before(test.nccl, NULL, &err), err);
    mpi_check(memcmp(out, a, sizeof(a)) == 0); /* a copy, not a sum with 0, which loses the sign */
    nccl_case_release(&test);
}
END_TEST

/* Device memory here is closed to all but work on a stream (MUSTER_STANDIN_PROTECT, set by main). */
START_TEST(device_memory_is_touched_by_the_gpu_only)
{
    enum { FLOATS = RANKS_MAX * 2 };
    struct muster_error err = {0};
    float host[FLOATS], *on_gpu = NULL, *apart = NULL;
    int64_t counts[RANKS_MAX];
    nccl_case_init(&test);
    nccl_case_open(&test);
    int rank = test.nccl->rank, size = test.nccl->size;
    for (int i = 0; i < FLOATS; i++)
        host[i] = (float)(i + rank);
    for (int r = 0; r < size; r++)
        counts[r] = 1 + r % 2;
    mpi_check(cudaMalloc((void **)&on_gpu, sizeof(host)) == cudaSuccess);
    mpi_check(cudaMalloc((void **)&apart, sizeof(host)) == cudaSuccess);
    mpi_check(cudaMemcpy(on_gpu, host, sizeof(host), cudaMemcpyHostToDevice) == cudaSuccess);
    mpi_check_ok(comm_reduce_scatter_f32(test.nccl, on_gpu, counts, apart, &err), err);
    struct tree_terms twice = {.source = {apart, apart}, .length = 3, .program = {0, 1, -1}};
    mpi_check_ok(test.nccl->ops->sum_f32(test.nccl, apart, &twice, counts[rank], &err), err);
    mpi_check_ok(comm_end_before(test.nccl, NULL, &err), err);
    mpi_check(cudaMemcpy(host, apart, sizeof(host), cudaMemcpyDeviceToHost) == cudaSuccess);
    int first = rank + rank / 2; /* blocks of 1, 2, 1, 2 … */
    for (int i = 0; i < counts[rank]; i++)
        mpi_check(host[i] == (float)(2 * ((first + i) * size + size * (size - 1) / 2)));
    cudaFree(on_gpu);
    cudaFree(apart);
    nccl_case_release(&test);
}
END_TEST

START_TEST(two_ranks_on_one_gpu_are_refused_by_name_unless_allowed)
{
    nccl_case_init(&test);
    struct muster_error err = {0};
    int last = test.mpi->size - 1;
    if (test.mpi->rank == last)
        strcpy(test.uuid, "GPU-00000000"); /* rank 0's */
    enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, &err);
    if (last > 0) {
        char name[24];
        snprintf(name, sizeof(name), "rank %d (", last);
        mpi_check(status == MUSTER_ERR_BAD_INPUT && !test.nccl);
        mpi_check(strstr(err.text, "rank 0 (") && strstr(err.text, name) && strstr(err.text, "GPU-00000000"));
        test.options.allow_shared_device = true;
        nccl_case_open(&test);
    } else {
        mpi_check_ok(status, err);
    }
    nccl_case_release(&test);
}
END_TEST

START_TEST(options_that_lack_something_are_refused_by_all_ranks)
{
    nccl_case_init(&test);
    struct nccl_options whole = test.options;
    for (int lack = 0; lack < 4; lack++) {
        struct muster_error err = {0};
        test.options = whole;
        if (test.mpi->rank == test.mpi->size - 1) {
            test.options.sum = lack == 0 ? NULL : whole.sum;
            test.options.device_uuid = lack == 1 ? NULL : lack == 2 ? "" : whole.device_uuid;
            test.options.timeout_ms = lack == 3 ? 0 : whole.timeout_ms;
        }
        enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, &err);
        bool mine = test.mpi->rank == test.mpi->size - 1;
        mpi_check(status == (mine ? MUSTER_ERR_INTERNAL : MUSTER_ERR_PEER) && !test.nccl && err.text[0]);
    }
    nccl_case_release(&test);
}
END_TEST

/* A folder of this rank's own for temporary files; NULL removes it, which fails when anything is left. */
static void temporary_folder(const char *folder)
{
    static char path[64];
    if (folder) {
        snprintf(path, sizeof(path), "%s-%d", folder, (int)getpid());
        mpi_check(mkdir(path, 0700) == 0);
        setenv("TMPDIR", path, 1);
    } else {
        unsetenv("TMPDIR");
        mpi_check(rmdir(path) == 0);
    }
}

static const struct {
    const char *log, *text; /* the log of the last rank; the others have none to show */
    bool require;
    enum muster_status status; /* with two or more ranks */
} ways[] = {
    {"x Channel 00/0 : 0[0] -> 1[0] [send] via NET/Socket/0\n", "sockets", false, MUSTER_OK},
    {"x Channel 00/0 : 0[0] -> 1[0] [send] via NET/Socket/0\n", "sockets", true, MUSTER_ERR_UNSUPPORTED},
    {"x Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0\n", "InfiniBand", true, MUSTER_OK},
    {"x Channel 00/0 : 0[0] -> 1[0] via P2P/CUMEM\n", "GPU peer-to-peer", true, MUSTER_OK},
};

START_TEST(the_way_nccl_talks_is_read_back_and_sockets_can_be_refused)
{
    nccl_case_init(&test);
    struct muster_error err = {0};
    bool last = test.mpi->rank == test.mpi->size - 1;
    temporary_folder("/tmp/muster-test-nccl");
    setenv("MUSTER_NCCL_STANDIN_LOG", last ? ways[_i].log : "x Init COMPLETE\n", 1);
    test.options.require_infiniband = ways[_i].require;
    enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, &err);
    mpi_check(status == (test.mpi->size > 1 ? ways[_i].status : MUSTER_OK));
    if (status == MUSTER_OK)
        mpi_check(strcmp(comm_transport(test.nccl), ways[_i].text) == 0);
    else
        mpi_check(!test.nccl && strstr(err.text, "sockets") && strstr(err.text, "InfiniBand"));
    mpi_check(!getenv("NCCL_DEBUG") && !getenv("NCCL_DEBUG_SUBSYS") && !getenv("NCCL_DEBUG_FILE"));
    unsetenv("MUSTER_NCCL_STANDIN_LOG");
    temporary_folder(NULL);
    nccl_case_release(&test);
}
END_TEST

START_TEST(a_log_that_a_person_asked_for_stays_theirs)
{
    nccl_case_init(&test);
    struct muster_error err = {0};
    temporary_folder("/tmp/muster-test-nccl");
    setenv("NCCL_DEBUG", "WARN", 1);
    test.options.require_infiniband = true;
    nccl_case_open(&test); /* within one host there is no network to ask for */
    mpi_check(strcmp(getenv("NCCL_DEBUG"), "WARN") == 0 && !getenv("NCCL_DEBUG_FILE"));
    mpi_check(strcmp(comm_transport(test.nccl), test.mpi->size > 1 ? "NCCL" : "one GPU") == 0);
    comm_destroy(test.nccl);
    test.mpi->node_count = 2;
    enum muster_status status = muster_nccl_create(test.mpi, &test.options, &test.nccl, &err);
    if (test.mpi->size > 1)
        mpi_check(status == MUSTER_ERR_UNSUPPORTED && strstr(err.text, "NCCL_DEBUG"));
    unsetenv("NCCL_DEBUG");
    temporary_folder(NULL);
    nccl_case_release(&test);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    setenv("MUSTER_STANDIN_PROTECT", "1", 1);
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("nccl");
    TCase *tc = tcase_create("nccl");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, every_collective_works_with_even_uneven_and_empty_blocks);
    tcase_add_test(tc, the_exact_sum_has_the_bits_of_the_host_for_any_blocks_and_any_owners);
    tcase_add_test(tc, a_sum_and_a_copy_are_done_where_the_buffers_are);
    tcase_add_test(tc, device_memory_is_touched_by_the_gpu_only);
    tcase_add_test(tc, two_ranks_on_one_gpu_are_refused_by_name_unless_allowed);
    tcase_add_test(tc, options_that_lack_something_are_refused_by_all_ranks);
    tcase_add_loop_test(tc, the_way_nccl_talks_is_read_back_and_sockets_can_be_refused, 0,
                        (int)(sizeof(ways) / sizeof(ways[0])));
    tcase_add_test(tc, a_log_that_a_person_asked_for_stays_theirs);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
