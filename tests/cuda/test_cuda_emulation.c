/* SPDX-License-Identifier: MIT
 *
 * What the tests of the CUDA back end stand on: the emulation runs threads as a device does and says so when
 * a kernel is wrong, and the stand-in for the runtime refuses what a device would refuse.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cudart_standin.h"
#include "emulation_cases.h"
#include "tests/suite.h"

#ifdef MUSTER_CUDA_WATCHED
enum { FAULTS = EMULATION_CASES };
#else
enum { FAULTS = EMULATION_CASE_EARLY_READ };
#endif

static cudaStream_t stream;
static int *out;

static void setup(void)
{
    unsetenv("MUSTER_EMULATION_ORDER");
    unsetenv("MUSTER_STANDIN_DEVICES");
    unsetenv("MUSTER_STANDIN_MEMORY");
    ck_assert_int_eq(cudaStreamCreate(&stream), cudaSuccess);
    ck_assert_int_eq(cudaMalloc((void **)&out, 4096), cudaSuccess);
}

static void teardown(void)
{
    cuda_standin_reset();
    cudaFree(out);
    cudaStreamDestroy(stream);
    ck_assert_int_eq(cuda_standin_live(), 0);
}

START_TEST(a_barrier_makes_all_writes_of_the_block_seen)
{
    static const char *const orders[] = {"forward", "reverse", "99"};
    setenv("MUSTER_EMULATION_ORDER", orders[_i], 1);
    emulation_case_exchange(stream, 3, out);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    for (int block = 0; block < 3; block++)
        for (int i = 0; i < 64; i++)
            ck_assert_int_eq(out[64 * block + i], 101 * (63 - i) + 10000 * block);
}
END_TEST

START_TEST(warp_operations_give_what_a_device_gives)
{
    emulation_case_warps(stream, out);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    for (int i = 0; i < 64; i++) {
        const int lane = i % 32, warp = i / 32;
        const unsigned ballot = warp == 0 ? 0x49249249u : 0x92492492u;
        const int *mine = out + 8 * i;
        ck_assert_int_eq(mine[0], lane ^ 5);
        ck_assert_int_eq(mine[1], lane + 3 < 32 ? lane + 3 : lane);
        ck_assert_int_eq(mine[2], lane >= 3 ? lane - 3 : lane);
        ck_assert_uint_eq((unsigned)mine[3], ballot);
        ck_assert_int_eq(mine[4], warp == 1);
        ck_assert_int_eq(mine[5], warp == 1);
        ck_assert_int_eq(mine[6], 10);
        ck_assert_int_eq(mine[7], 1 + 2);
    }
}
END_TEST

START_TEST(a_faulty_kernel_is_reported_and_the_fault_stays)
{
    static const char *const words[EMULATION_CASES] = {"barrier",
                                                       "warp",
                                                       "shuffle",
                                                       "bytes of shared memory",
                                                       "not a multiple",
                                                       "reads shared",
                                                       "race: ",
                                                       "race: ",
                                                       "reads global",
                                                       "reads global",
                                                       "no thread of the block has written",
                                                       "not the device's"};
    emulation_case_run_faulty((enum emulation_case)_i, stream, out);
    ck_assert_ptr_nonnull(strstr(cuda_standin_fault(), words[_i]));
    ck_assert_int_eq(cudaGetLastError(), cudaErrorLaunchFailure);
    ck_assert_int_eq(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
    cuda_standin_reset();
    emulation_case_exchange(stream, 1, out);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    ck_assert_int_eq(out[0], 101 * 63);
}
END_TEST

START_TEST(a_barrier_of_the_warp_orders_what_its_lanes_do)
{
    emulation_case_neighbours(stream, out);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(out[i], i ^ 1);
}
END_TEST

START_TEST(blocks_and_threads_come_in_the_order_asked_for)
{
    int *turns = out + 16;
    static const struct {
        const char *order;
        int first, last;
    } cases[] = {{"forward", 0, 1}, {"reverse", 63, 62}};
    for (int c = 0; c < 2; c++) {
        setenv("MUSTER_EMULATION_ORDER", cases[c].order, 1);
        cudaMemset(out, 0, 4);
        emulation_case_turns(stream, 2, 32, out, turns);
        ck_assert_int_eq(turns[cases[c].first], 0);
        ck_assert_int_eq(turns[cases[c].last], 1);
    }
    int seen = 0;
    setenv("MUSTER_EMULATION_ORDER", "5", 1);
    cudaMemset(out, 0, 4);
    emulation_case_turns(stream, 2, 32, out, turns);
    for (int i = 0; i < 64; i++)
        seen += turns[i] == i || turns[i] == 63 - i;
    ck_assert_int_lt(seen, 32);
}
END_TEST

START_TEST(launches_that_no_device_takes_are_refused)
{
    emulation_case_exchange(stream, 0, out);
    ck_assert_int_eq(cudaGetLastError(), cudaErrorInvalidConfiguration);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    emulation_case_turns(stream, 1, 1025, out, out);
    ck_assert_int_eq(cudaGetLastError(), cudaErrorInvalidConfiguration);
}
END_TEST

START_TEST(captured_work_runs_only_when_its_graph_is_launched)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    ck_assert_int_eq(cudaMemset(out, 0, 4096), cudaSuccess);
    ck_assert_int_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    emulation_case_turns(stream, 1, 4, out, out + 16);
    ck_assert_int_eq(cudaMemsetAsync(out + 100, 1, 4, stream), cudaSuccess);
    ck_assert_int_eq(out[0], 0);
    ck_assert_int_eq(out[100], 0);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    ck_assert_int_eq(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    ck_assert_int_eq(cudaGraphDestroy(graph), cudaSuccess);
    for (int launch = 1; launch <= 3; launch++) {
        ck_assert_int_eq(cudaGraphLaunch(exec, stream), cudaSuccess);
        ck_assert_int_eq(out[0], 4 * launch);
    }
    ck_assert_int_eq(out[100], 0x01010101);
    ck_assert_int_eq(cudaGraphExecDestroy(exec), cudaSuccess);
}
END_TEST

START_TEST(what_may_not_be_captured_breaks_the_capture)
{
    cudaGraph_t graph;
    void *block = NULL;
    ck_assert_int_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    if (_i == 0)
        ck_assert_int_eq(cudaMalloc(&block, 16), cudaErrorStreamCaptureUnsupported);
    else if (_i == 1)
        ck_assert_int_eq(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    else
        ck_assert_int_eq(cudaMemset(out, 0, 4), cudaErrorStreamCaptureImplicit);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    ck_assert_ptr_null(graph);
    cudaGetLastError();
    ck_assert_int_eq(cudaStreamSynchronize(stream), cudaSuccess);
}
END_TEST

START_TEST(an_event_carries_a_capture_to_a_second_stream_that_must_come_back)
{
    cudaStream_t side;
    cudaEvent_t there, back;
    cudaGraph_t graph;
    const bool comes_back = _i == 1;
    ck_assert_int_eq(cudaStreamCreate(&side), cudaSuccess);
    ck_assert_int_eq(cudaEventCreate(&there), cudaSuccess);
    ck_assert_int_eq(cudaEventCreate(&back), cudaSuccess);
    cudaMemset(out, 0, 4);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    cudaEventRecord(there, stream);
    ck_assert_int_eq(cudaStreamWaitEvent(side, there, 0), cudaSuccess);
    cudaMemsetAsync(out, 1, 4, side);
    ck_assert_int_eq(out[0], 0);
    cudaEventRecord(back, side);
    if (comes_back)
        ck_assert_int_eq(cudaStreamWaitEvent(stream, back, 0), cudaSuccess);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph),
                     comes_back ? cudaSuccess : cudaErrorStreamCaptureUnjoined);
    cudaGraphDestroy(graph);
    cudaMemsetAsync(out, 1, 4, side);
    ck_assert_int_eq(out[0], 0x01010101);
    cudaEventDestroy(there);
    cudaEventDestroy(back);
    cudaStreamDestroy(side);
}
END_TEST

static void add_one(void *data)
{
    ++**(int **)data;
}

START_TEST(libraries_put_their_work_on_a_stream_too)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    out[0] = 0;
    int *target = out;
    ck_assert_int_eq(cuda_standin_enqueue(stream, add_one, &target, sizeof target), cudaSuccess);
    ck_assert_int_eq(out[0], 1);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    ck_assert_int_eq(cuda_standin_enqueue(stream, add_one, &target, sizeof target), cudaSuccess);
    target = NULL;
    cudaStreamEndCapture(stream, &graph);
    ck_assert_int_eq(out[0], 1);
    cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphLaunch(exec, stream);
    ck_assert_int_eq(out[0], 2);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
}
END_TEST

START_TEST(copies_in_the_wrong_direction_or_past_the_end_are_refused)
{
    int host[4] = {1, 2, 3, 4};
    ck_assert_int_eq(cudaMemcpy(out, host, sizeof host, cudaMemcpyHostToDevice), cudaSuccess);
    ck_assert_int_eq(cudaMemcpy(host, out, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    ck_assert_int_eq(cudaMemcpy(out, host, sizeof host, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    ck_assert_int_eq(cudaMemcpy(out, host, sizeof host, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    ck_assert_int_eq(cudaMemcpy(out + 1022, host, sizeof host, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    ck_assert_int_eq(cudaMemset(host, 0, sizeof host), cudaErrorInvalidValue);
    ck_assert_int_eq(cudaFreeHost(out), cudaErrorInvalidValue);
}
END_TEST

START_TEST(fresh_memory_is_poisoned_and_its_amount_is_limited)
{
    size_t free_bytes, total_bytes;
    void *block;
    ck_assert_int_eq(out[0], -1);
    ck_assert_int_eq(out[1023], -1);
    setenv("MUSTER_STANDIN_MEMORY", "1000000", 1);
    ck_assert_int_eq(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
    ck_assert_uint_eq(total_bytes, 1000000);
    ck_assert_uint_eq(free_bytes, 1000000 - 4096);
    ck_assert_int_eq(cudaMalloc(&block, free_bytes + 1), cudaErrorMemoryAllocation);
    ck_assert_ptr_null(block);
    ck_assert_int_eq(cudaMalloc(&block, free_bytes), cudaSuccess);
    ck_assert_int_eq(cudaFree(block), cudaSuccess);
}
END_TEST

START_TEST(there_are_as_many_different_devices_as_asked_for)
{
    struct cudaDeviceProp first, second;
    int count = 0;
    ck_assert_int_eq(cudaGetDeviceCount(&count), cudaSuccess);
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(cudaSetDevice(1), cudaErrorInvalidDevice);
    setenv("MUSTER_STANDIN_DEVICES", "2", 1);
    ck_assert_int_eq(cudaSetDevice(1), cudaSuccess);
    ck_assert_int_eq(cudaSetDevice(0), cudaSuccess);
    ck_assert_int_eq(cudaGetDeviceProperties(&first, 0), cudaSuccess);
    ck_assert_int_eq(cudaGetDeviceProperties(&second, 1), cudaSuccess);
    ck_assert_int_ne(memcmp(&first.uuid, &second.uuid, sizeof first.uuid), 0);
    setenv("MUSTER_STANDIN_DEVICES", "0", 1);
    ck_assert_int_eq(cudaGetDeviceCount(&count), cudaErrorNoDevice);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("CUDA emulation");
    TCase *cases = tcase_create("CUDA emulation");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, a_barrier_makes_all_writes_of_the_block_seen, 0, 3);
    tcase_add_test(cases, warp_operations_give_what_a_device_gives);
    tcase_add_loop_test(cases, a_faulty_kernel_is_reported_and_the_fault_stays, 0, FAULTS);
    tcase_add_test(cases, a_barrier_of_the_warp_orders_what_its_lanes_do);
    tcase_add_test(cases, blocks_and_threads_come_in_the_order_asked_for);
    tcase_add_test(cases, launches_that_no_device_takes_are_refused);
    tcase_add_test(cases, captured_work_runs_only_when_its_graph_is_launched);
    tcase_add_loop_test(cases, what_may_not_be_captured_breaks_the_capture, 0, 3);
    tcase_add_loop_test(cases, an_event_carries_a_capture_to_a_second_stream_that_must_come_back, 0, 2);
    tcase_add_test(cases, libraries_put_their_work_on_a_stream_too);
    tcase_add_test(cases, copies_in_the_wrong_direction_or_past_the_end_are_refused);
    tcase_add_test(cases, fresh_memory_is_poisoned_and_its_amount_is_limited);
    tcase_add_test(cases, there_are_as_many_different_devices_as_asked_for);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
