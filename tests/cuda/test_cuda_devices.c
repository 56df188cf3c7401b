/* SPDX-License-Identifier: MIT
 *
 * Which of several devices a process touches: a context takes some hundred MB of a device's memory, and each
 * rank of a host has a device of its own.
 */
#include <stdlib.h>

#include "kernels/cuda/cuda_plugin.h"
#include "tests/suite.h"

START_TEST(a_rank_makes_a_context_on_its_own_device_only)
{
    const struct cuda_kernels_options options = {.device = 2};
    const struct cuda_plugin *plugin = NULL;
    struct cuda_device_info info;
    struct kernels *kernels = NULL;
    struct muster_error err = {0};
    uint64_t (*contexts)(void) = NULL;
    int count = 0;
    ck_assert_int_eq(setenv("MUSTER_STANDIN_DEVICES", "3", 1), 0);
    ck_assert_int_eq(cuda_plugin_open(&plugin, &err), MUSTER_OK);
    *(void **)&contexts = cuda_plugin_symbol("cuda_standin_contexts");
    ck_assert_ptr_nonnull(contexts);
    ck_assert_int_eq(plugin->device_count(&count, &err), MUSTER_OK);
    ck_assert_int_eq(count, 3);
    ck_assert_uint_eq(contexts(), 0);
    ck_assert_int_eq(plugin->device_info(2, &info, &err), MUSTER_OK);
    ck_assert_int_gt(info.free_bytes, 0);
    ck_assert_int_eq(plugin->kernels_create(&options, &kernels, &err), MUSTER_OK);
    kernels_destroy(kernels);
    ck_assert_uint_eq(contexts(), 1u << 2);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("devices");
    tcase_add_test(tcase, a_rank_makes_a_context_on_its_own_device_only);
    Suite *suite = suite_create("cuda devices");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
