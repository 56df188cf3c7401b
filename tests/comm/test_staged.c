/* SPDX-License-Identifier: MIT
 *
 * The communicator that copies device memory through the host. The device here is host memory under
 * addresses that no pointer may have: only the two copies and the sum know the way, and the processor ends a
 * communicator that touches the device itself. The host buffers are small, so that everything takes pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/nccl.h"
#include "tests/comm/comm_case.h"
#include "tests/comm/exact_case.h"
#include "tests/comm/mpi_check.h"

static const uintptr_t DEVICE_BIAS = (uintptr_t)1 << 62;

struct device {
    int sum_count;
    int copies_left; /* then they fail; -1 for ever */
};

static void *address(const void *device)
{
    mpi_check((uintptr_t)device > DEVICE_BIAS);
    return (void *)((uintptr_t)device - DEVICE_BIAS);
}

static enum muster_status copy(struct device *device, void *to, const void *from, int64_t bytes,
                               struct muster_error *err)
{
    if (device->copies_left-- == 0)
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "the copy failed");
    memcpy(to, from, (size_t)bytes);
    return MUSTER_OK;
}

static enum muster_status copy_to_host(void *context, void *host, const void *device, int64_t bytes,
                                       struct muster_error *err)
{
    return copy(context, host, address(device), bytes, err);
}

static enum muster_status copy_to_device(void *context, void *device, const void *host, int64_t bytes,
                                         struct muster_error *err)
{
    return copy(context, address(device), host, bytes, err);
}

static enum muster_status sum(void *stream, float *out, const struct tree_terms *terms, int64_t count,
                              struct muster_error *err)
{
    (void)err;
    ((struct device *)stream)->sum_count++;
    float *to = address(out);
    for (int64_t i = 0; i < count; i++)
        to[i] = terms_value(terms, i, DEVICE_BIAS);
    return MUSTER_OK;
}

static struct comm *mpi, *staged;
static struct device device;

static void staged_open(int64_t buffer_bytes)
{
    struct muster_error err = {0};
    device = (struct device){.copies_left = -1};
    struct comm_device functions = {&device, copy_to_host, copy_to_device, &device, sum};
    mpi_check_ok(comm_mpi_create(&mpi, &err), err);
    mpi_check_ok(comm_staged_create(mpi, &functions, buffer_bytes, &staged, &err), err);
}

static void staged_close(void)
{
    comm_destroy(staged);
    comm_destroy(mpi);
}

START_TEST(every_collective_works_through_buffers_of_any_size)
{
    static const int64_t rank_bytes[] = {4, 7, 20, 4096};
    int64_t live = alloc_live_count();
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    staged_open(rank_bytes[_i] * size);
    mpi_check(strcmp(comm_transport(staged), "shared memory, through host memory") == 0);
    collectives_check(staged, DEVICE_BIAS);
    staged_close();
    mpi_check(alloc_live_count() == live);
}
END_TEST

START_TEST(the_exact_sum_has_the_bits_of_the_host_for_any_blocks_and_any_owners)
{
    static const int leaves[] = {1, 2, 3, 5, 8, 13, 24, 61, 64};
    static const int64_t floats[] = {0, 1, 37, 1001};
    staged_open(1000 * 4);
    for (size_t l = 0; l < sizeof(leaves) / sizeof(leaves[0]); l++)
        for (size_t f = 0; f < sizeof(floats) / sizeof(floats[0]); f++)
            for (int kind = 0; kind < 16; kind++) {
                struct layout layout = layout_make(staged->size, leaves[l], floats[f], kind);
                reduce_check(staged, &layout, kind % 2 == 0, DEVICE_BIAS);
            }
    mpi_check(staged->size == 1 || device.sum_count > 0);
    staged_close();
}
END_TEST

START_TEST(ranges_longer_than_a_piece_have_the_same_bits_too)
{
    staged_open(1 << 20);
    struct layout layout =
        layout_make(staged->size, staged->size + 1, staged->size * (INT64_C(1100) << 10) + 11, 5);
    reduce_check(staged, &layout, true, DEVICE_BIAS);
    staged_close();
}
END_TEST

/* Calls are numbered alike on all ranks also when their lengths, and so their pieces, differ. */
START_TEST(the_host_communicators_numbers_stay_the_same_on_all_ranks)
{
    staged_open(4 * 64);
    exchange_check(staged, DEVICE_BIAS);
    long long low = mpi->sequence, high = mpi->sequence;
    MPI_Allreduce(MPI_IN_PLACE, &low, 1, MPI_LONG_LONG, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &high, 1, MPI_LONG_LONG, MPI_MAX, MPI_COMM_WORLD);
    mpi_check(low == 3 && high == 3);
    staged_close();
}
END_TEST

/* One rank has nobody to copy for. */
START_TEST(a_copy_that_fails_is_reported)
{
    staged_open(4096);
    struct muster_error err = {0};
    float data[4] = {0};
    float *there = (float *)((uintptr_t)data + DEVICE_BIAS);
    for (int copies = 0; copies < 2; copies++) {
        device.copies_left = copies;
        enum muster_status status = comm_all_reduce_f32(staged, there, 4, &err);
        mpi_check(status == (staged->size > 1 ? MUSTER_ERR_INTERNAL : MUSTER_OK));
        mpi_check(strcmp(err.text, staged->size > 1 ? "the copy failed" : "") == 0);
    }
    staged_close();
}
END_TEST

START_TEST(a_full_heap_or_a_buffer_too_small_is_reported_and_nothing_leaks)
{
    struct muster_error err = {0};
    struct comm *c = NULL;
    struct comm_device functions = {&device, copy_to_host, copy_to_device, &device, sum};
    mpi_check_ok(comm_mpi_create(&mpi, &err), err);
    mpi_check(comm_staged_create(mpi, &functions, 4 * mpi->size - 1, &c, &err) == MUSTER_ERR_INTERNAL && !c);
    int64_t live = alloc_live_count();
    for (int n = 1; !c; n++) {
        alloc_fail_nth(n);
        enum muster_status status = comm_staged_create(mpi, &functions, 4 * mpi->size, &c, &err);
        alloc_fail_nth(0);
        mpi_check(status == (c ? MUSTER_OK : MUSTER_ERR_NO_MEMORY));
        mpi_check(c ? n > 6 : alloc_live_count() == live);
    }
    comm_destroy(c);
    mpi_check(alloc_live_count() == live);
    comm_destroy(mpi);
}
END_TEST

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("staged");
    TCase *tc = tcase_create("staged");
    tcase_set_timeout(tc, 0);
    tcase_add_loop_test(tc, every_collective_works_through_buffers_of_any_size, 0, 4);
    tcase_add_test(tc, the_exact_sum_has_the_bits_of_the_host_for_any_blocks_and_any_owners);
    tcase_add_test(tc, ranges_longer_than_a_piece_have_the_same_bits_too);
    tcase_add_test(tc, the_host_communicators_numbers_stay_the_same_on_all_ranks);
    tcase_add_test(tc, a_copy_that_fails_is_reported);
    tcase_add_test(tc, a_full_heap_or_a_buffer_too_small_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tc);
    return mpi_check_run(suite);
}
