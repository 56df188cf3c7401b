/* SPDX-License-Identifier: MIT
 *
 * The plug-in as it is opened: every way in which it can be missing has its own text, and the real one opens
 * with every symbol resolved on a machine without a driver. CTest says where the files are; the order of the
 * tests matters, because a plug-in once open stays open.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda_plugin.h"
#include "tests/suite.h"

static const char *path_of(const char *variable)
{
    const char *path = getenv(variable);
    if (path == NULL)
        ck_abort_msg("%s is not set: run this through ctest", variable);
    return path;
}

static void opens_not(enum muster_status wanted, const char *text)
{
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL;
    ck_assert_int_eq(cuda_plugin_open(&plugin, &err), wanted);
    ck_assert_ptr_null(plugin);
    if (strstr(err.text, text) == NULL)
        ck_abort_msg("the text is: %s", err.text);
    ck_assert_ptr_null(cuda_plugin_symbol("muster_cuda_plugin"));
}

static bool machine_has_a_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY);
    if (driver != NULL)
        dlclose(driver);
    return driver != NULL;
}

START_TEST(without_a_driver_the_text_says_so)
{
    unsetenv("MUSTER_CUDA_PLUGIN");
    if (!machine_has_a_driver())
        opens_not(MUSTER_ERR_UNSUPPORTED, "no NVIDIA driver");
}
END_TEST

START_TEST(a_named_file_that_is_not_there_is_named_in_the_text)
{
    setenv("MUSTER_CUDA_PLUGIN", "/nowhere/libmuster_cuda.so", 1);
    opens_not(MUSTER_ERR_UNSUPPORTED, "/nowhere/libmuster_cuda.so");
}
END_TEST

START_TEST(a_library_that_is_no_plug_in_is_refused)
{
    setenv("MUSTER_CUDA_PLUGIN", "libm.so.6", 1);
    opens_not(MUSTER_ERR_UNSUPPORTED, "is not a plug-in of muster");
}
END_TEST

START_TEST(a_plug_in_of_another_version_is_told_apart)
{
    setenv("MUSTER_CUDA_PLUGIN", path_of("MUSTER_TEST_PLUGIN_OTHER"), 1);
    opens_not(MUSTER_ERR_UNSUPPORTED, "version");
}
END_TEST

/* RTLD_NOW: opening it is the test that nothing is undefined. */
START_TEST(the_real_plug_in_opens_and_says_cleanly_that_there_is_no_device)
{
    struct muster_error err = {0};
    const struct cuda_plugin *plugin = NULL, *again = NULL;
    struct cuda_device_info info;
    struct kernels *k = NULL;
    const struct cuda_kernels_options options = {.device = 0};
    int count = -1;
    setenv("MUSTER_CUDA_PLUGIN", path_of("MUSTER_TEST_PLUGIN"), 1);
    ck_assert_msg(cuda_plugin_open(&plugin, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(plugin->version, CUDA_PLUGIN_VERSION);
    ck_assert_ptr_eq(cuda_plugin_symbol("muster_cuda_plugin"), plugin);
    ck_assert_ptr_null(cuda_plugin_symbol("no_such_symbol"));
    setenv("MUSTER_CUDA_PLUGIN", "/nowhere", 1); /* asked for once */
    ck_assert_int_eq(cuda_plugin_open(&again, &err), MUSTER_OK);
    ck_assert_ptr_eq(again, plugin);
    if (machine_has_a_driver())
        return;
    ck_assert_int_eq(plugin->device_count(&count, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_int_eq(count, 0);
    ck_assert_msg(strstr(err.text, "no driver") != NULL, "%s", err.text);
    ck_assert_int_eq(plugin->device_info(0, &info, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_int_eq(plugin->kernels_create(&options, &k, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_null(k);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_plugin");
    TCase *plugin = tcase_create("plugin");
    tcase_add_test(plugin, without_a_driver_the_text_says_so);
    tcase_add_test(plugin, a_named_file_that_is_not_there_is_named_in_the_text);
    tcase_add_test(plugin, a_library_that_is_no_plug_in_is_refused);
    tcase_add_test(plugin, a_plug_in_of_another_version_is_told_apart);
    tcase_add_test(plugin, the_real_plug_in_opens_and_says_cleanly_that_there_is_no_device);
    suite_add_tcase(suite, plugin);
    return suite_run(suite);
}
