/* SPDX-License-Identifier: MIT
 *
 * Device memory of the stand-in with MUSTER_STANDIN_PROTECT: closed to the host, open to work on a stream.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cudart_standin.h"
#include "emulation_cases.h"
#include "tests/suite.h"

/* The kernel tells, without a crash, whether the process may read there. */
static int read_error(const void *pointer)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    const int result = write(ends[1], pointer, 4) == 4 ? 0 : errno;
    close(ends[0]);
    close(ends[1]);
    return result;
}

START_TEST(the_host_cannot_read_device_memory_and_a_kernel_can)
{
    cudaStream_t stream;
    int *device = NULL, *pinned = NULL, host[2];
    ck_assert_int_eq(cudaStreamCreate(&stream), cudaSuccess);
    ck_assert_int_eq(cudaMalloc((void **)&device, 64 * sizeof *device), cudaSuccess);
    ck_assert_int_eq(cudaMallocHost((void **)&pinned, 4), cudaSuccess);
    emulation_case_exchange(stream, 1, device);
    ck_assert_int_eq(read_error(device), EFAULT);
    ck_assert_int_eq(read_error(pinned), 0);
    ck_assert_int_eq(cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost), cudaSuccess);
    ck_assert_int_eq(host[1], 101 * 62);
    ck_assert_int_eq(read_error(device), EFAULT);
    ck_assert_int_eq(cudaFree(device), cudaSuccess);
    ck_assert_int_eq(cudaFreeHost(pinned), cudaSuccess);
    cudaStreamDestroy(stream);
}
END_TEST

int main(void)
{
    setenv("MUSTER_STANDIN_PROTECT", "1", 1);
    Suite *suite = suite_create("CUDA protection");
    TCase *cases = tcase_create("CUDA protection");
    tcase_add_test(cases, the_host_cannot_read_device_memory_and_a_kernel_can);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
