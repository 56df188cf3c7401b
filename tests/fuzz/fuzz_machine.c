/* SPDX-License-Identifier: MIT
 *
 * Any bytes as a machine profile: refused with at least one error, or accepted, and then what is written
 * reads back as the same profile. Nothing may stay allocated.
 */
#include <string.h>

#include "base/alloc.h"
#include "coordinator/cost/machine.h"
#include "tests/fuzz/fuzz.h"

static void round_trip(const struct machine_profile *profile)
{
    struct text first, second;
    struct job_report report;
    struct machine_profile *again = NULL;
    text_init(&first);
    text_init(&second);
    job_report_init(&report);
    fuzz_promise(machine_profile_write(profile, &first, NULL) == MUSTER_OK);
    fuzz_promise(machine_profile_parse("again.yaml", first.data, first.length, &report, &again, NULL) ==
                 MUSTER_OK);
    fuzz_promise(machine_profile_write(again, &second, NULL) == MUSTER_OK);
    fuzz_promise(strcmp(first.data, second.data) == 0);
    machine_profile_destroy(again);
    job_report_release(&report);
    text_release(&first);
    text_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    int64_t live = alloc_live_count();
    struct job_report report;
    struct machine_profile *profile = NULL;
    job_report_init(&report);
    enum muster_status status =
        machine_profile_parse("fuzz.yaml", (const char *)data, bytes, &report, &profile, NULL);
    fuzz_promise((status == MUSTER_OK) == (profile != NULL));
    fuzz_promise((status == MUSTER_OK) == (report.error_count == 0));
    if (profile != NULL)
        round_trip(profile);
    machine_profile_destroy(profile);
    job_report_release(&report);
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
