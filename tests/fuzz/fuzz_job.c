/* SPDX-License-Identifier: MIT
 *
 * Any bytes as a job file: refused with at least one error, or accepted, and then the resolved job must read
 * back as the same job. Nothing may stay allocated.
 */
#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job.h"
#include "tests/fuzz/fuzz.h"

static void round_trip(const struct job *job)
{
    struct text first, second;
    struct job_report report;
    struct job *again = NULL;
    text_init(&first);
    text_init(&second);
    job_report_init(&report);
    fuzz_promise(job_write_yaml(job, &first, NULL) == MUSTER_OK);
    fuzz_promise(job_parse("again.yaml", first.data, first.length, &report, &again, NULL) == MUSTER_OK);
    fuzz_promise(job_write_yaml(again, &second, NULL) == MUSTER_OK);
    fuzz_promise(strcmp(first.data, second.data) == 0);
    fuzz_promise(hash_equal(job_hash(job), job_hash(again)));
    job_destroy(again);
    job_report_release(&report);
    text_release(&first);
    text_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct job_report report;
    struct job *job = NULL;
    int64_t live = alloc_live_count();
    job_report_init(&report);
    enum muster_status status = job_parse("fuzz.yaml", (const char *)data, bytes, &report, &job, NULL);
    fuzz_promise((status == MUSTER_OK) == (job != NULL));
    fuzz_promise((status == MUSTER_OK) == (report.error_count == 0));
    if (job != NULL)
        round_trip(job);
    job_destroy(job);
    job_report_release(&report);
    fuzz_promise(alloc_live_count() == live);
    return 0;
}
