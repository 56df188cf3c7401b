/* SPDX-License-Identifier: MIT
 *
 * Cores near a GPU on a machine that is made up: two packages of six cores with two threads each, with GPUs
 * that hwloc is told of in its own XML. Binding is tried on the machine itself.
 */
#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/device/placement.h"
#include "tests/suite.h"

static char machine_path[] = "/tmp/muster-machine-XXXXXX";
static struct placement *machine;

/* Two GPUs behind a bridge, in PCI domain `domain`. */
static void gpus_write(FILE *file, int number, const char *domain)
{
    fprintf(
        file,
        "<object type=\"Bridge\" gp_index=\"%d\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"%s:[00-ff]\">",
        number, domain);
    for (int i = 1; i <= 2; i++)
        fprintf(file,
                "<object type=\"PCIDev\" gp_index=\"%d\" pci_busid=\"%s:%s:00.0\" "
                "pci_type=\"0302 [10de:2330] [10de:16c1] a1\" pci_link_speed=\"0.000000\"/>",
                number + i, domain, i == 1 ? "3b" : "86");
    fputs("</object>", file);
}

/* Writes the machine's XML with two GPUs under each package: PCI domain 0000 under the first, 0001 under
 * the second. */
static void machine_write(FILE *file)
{
    hwloc_topology_t topology;
    char *xml = NULL;
    int length = 0;
    hwloc_topology_init(&topology);
    ck_assert_int_eq(hwloc_topology_set_synthetic(topology, "package:2 core:6 pu:2"), 0);
    ck_assert_int_eq(hwloc_topology_load(topology), 0);
    ck_assert_int_eq(hwloc_topology_export_xmlbuffer(topology, &xml, &length, 0), 0);
    const char *at = xml, *package;
    for (int i = 0; (package = strstr(at, "<object type=\"Package\"")) != NULL; i++) {
        const char *next = strstr(package + 1, "<object type=\"Package\"");
        /* the package ends with the last closing tag before the next package, or before the machine's */
        const char *end = next ? next : strstr(package, "</topology>"), *close = NULL;
        int wanted = next ? 1 : 2;
        for (const char *tag = end; wanted > 0; wanted--) {
            do
                tag--;
            while (strncmp(tag, "</object>", 9) != 0);
            close = tag;
        }
        fwrite(at, 1, (size_t)(close - at), file);
        gpus_write(file, 900 + 10 * i, i == 0 ? "0000" : "0001");
        at = close;
    }
    fputs(at, file);
    hwloc_free_xmlbuffer(topology, xml);
    hwloc_topology_destroy(topology);
}

static void machine_make(void)
{
    struct muster_error err = {0};
    int fd = mkstemp(machine_path);
    FILE *file = fdopen(fd, "w");
    ck_assert_ptr_nonnull(file);
    machine_write(file);
    fclose(file);
    ck_assert_msg(placement_create(machine_path, &machine, &err) == MUSTER_OK, "%s", err.text);
}

static void machine_release(void)
{
    placement_destroy(machine);
    unlink(machine_path);
}

START_TEST(a_gpu_is_near_the_cores_of_its_package)
{
    struct muster_error err = {0};
    char cores[PLACEMENT_TEXT];
    ck_assert_msg(placement_near(machine, "0000:3b:00.0", cores, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_str_eq(cores, "0-11");
    ck_assert_int_eq(placement_near(machine, "0001:86:00.0", cores, &err), MUSTER_OK);
    ck_assert_str_eq(cores, "12-23");
}
END_TEST

START_TEST(an_unknown_gpu_is_named)
{
    struct muster_error err = {0};
    char cores[PLACEMENT_TEXT];
    ck_assert_int_eq(placement_near(machine, "0002:3b:00.0", cores, &err), MUSTER_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "0002:3b:00.0"));
}
END_TEST

START_TEST(ranks_share_whole_cores_without_overlap)
{
    struct {
        int part, parts;
        const char *share;
    } cases[] = {{0, 1, "12-23"}, {0, 2, "12-17"}, {1, 2, "18-23"}, {0, 4, "12-13"},
                 {1, 4, "14-17"}, {2, 4, "18-19"}, {3, 4, "20-23"}, {3, 7, "12-23"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct muster_error err = {0};
        char share[PLACEMENT_TEXT];
        ck_assert_int_eq(placement_share(machine, "12-23", cases[i].part, cases[i].parts, share, &err),
                         MUSTER_OK);
        ck_assert_str_eq(share, cases[i].share);
    }
}
END_TEST

START_TEST(a_process_is_bound_once_and_a_bound_one_is_left_alone)
{
    struct muster_error err = {0};
    struct placement *here = NULL;
    cpu_set_t before, after;
    bool bound = false;
    ck_assert_msg(placement_create(NULL, &here, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    int first = 0;
    while (!CPU_ISSET(first, &before))
        first++;
    char cores[16];
    snprintf(cores, sizeof cores, "%d", first);
    ck_assert_msg(placement_bind(here, cores, &bound, &err) == MUSTER_OK, "%s", err.text);
    ck_assert(bound);
    ck_assert_int_eq(sched_getaffinity(0, sizeof after, &after), 0);
    ck_assert_int_eq(CPU_COUNT(&after), 1);
    ck_assert(CPU_ISSET(first, &after));
    if (CPU_COUNT(&before) > 1) {
        ck_assert_int_eq(placement_bind(here, "0-1023", &bound, &err), MUSTER_OK);
        ck_assert(!bound);
    }
    ck_assert_int_eq(sched_setaffinity(0, sizeof before, &before), 0);
    placement_destroy(here);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("placement");
    TCase *tcase = tcase_create("placement");
    tcase_add_unchecked_fixture(tcase, machine_make, machine_release);
    tcase_add_test(tcase, a_gpu_is_near_the_cores_of_its_package);
    tcase_add_test(tcase, an_unknown_gpu_is_named);
    tcase_add_test(tcase, ranks_share_whole_cores_without_overlap);
    tcase_add_test(tcase, a_process_is_bound_once_and_a_bound_one_is_left_alone);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
