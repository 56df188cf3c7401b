/* SPDX-License-Identifier: MIT
 *
 * From rates to a profile file. `muster bench machine` starts this twice: alone for the rates, and as two
 * ranks for the link between them; the file is what the two have in common.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/measure/measure.h"

enum { WINDOWS = 5 };
static const double window_s = 0.06, window_brief_s = 0.001;

static int machine_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static double machine_memory_bytes(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (double)info.totalram * info.mem_unit : 0.0;
}

static enum muster_status measure_host(struct machine_profile *profile, bool brief, struct muster_error *err)
{
    int cores = machine_cores();
    struct measure_setup setup = {.instances = 1,
                                  .threads = 1,
                                  .windows = brief ? 1 : WINDOWS,
                                  .window_s = brief ? window_brief_s : window_s};
    profile->device = MACHINE_CPU;
    profile->cores = cores;
    profile->ranks_per_host = cores;
    profile->memory_bytes = machine_memory_bytes();
    profile->attention_block = MEASURE_BLOCK_CPU;
    enum muster_status status = measure_rates(&setup, &profile->rates, err);
    setup.instances = cores;
    if (!status && cores > 1)
        status = measure_rates(&setup, &profile->ranks, err);
    setup.instances = 1;
    setup.threads = cores;
    if (!status && cores > 1)
        status = measure_rates(&setup, &profile->threads, err);
    memset(profile->ranks.peak, 0, sizeof profile->ranks.peak); /* the same everywhere */
    memset(profile->threads.peak, 0, sizeof profile->threads.peak);
    return status;
}

static enum muster_status measure_device(struct machine_profile *profile, bool brief,
                                         struct muster_error *err)
{
    struct measure_setup setup = {.instances = 1,
                                  .threads = 1,
                                  .windows = brief ? 1 : WINDOWS,
                                  .window_s = brief ? window_brief_s : window_s};
    struct cuda_device_info info;
    int count = 0;
    enum muster_status status = cuda_plugin_open(&setup.plugin, err);
    if (!status)
        status = setup.plugin->device_count(&count, err);
    if (!status && count == 0)
        status = muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "the driver shows no GPU");
    if (!status)
        status = setup.plugin->device_info(0, &info, err);
    if (status)
        return status;
    profile->device = MACHINE_CUDA;
    profile->ranks_per_host = count;
    profile->memory_bytes = (double)info.memory_bytes;
    profile->attention_block = MEASURE_BLOCK_DEVICE;
    return measure_rates(&setup, &profile->rates, err);
}

static enum muster_status profile_save(const char *path, const struct machine_profile *profile,
                                       struct muster_error *err)
{
    struct text text;
    text_init(&text);
    enum muster_status status = machine_profile_write(profile, &text, err);
    if (!status)
        status = fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    return status;
}

enum muster_status measure_machine(const char *path, bool on_device, bool brief, struct muster_error *err)
{
    char host[64] = "this host", when[32], source[192];
    gethostname(host, sizeof host - 1);
    clock_format_utc(clock_unix_ms(), when, sizeof when);
    snprintf(source, sizeof source, "measured on %s, %s%s", host, when,
             brief ? ", briefly: not to be relied on" : "");
    struct machine_profile *profile = machine_profile_create(host, source);
    if (profile == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a machine profile");
    enum muster_status status =
        on_device ? measure_device(profile, brief, err) : measure_host(profile, brief, err);
    if (!status)
        status = profile_save(path, profile, err);
    machine_profile_destroy(profile);
    return status;
}

static enum muster_status link_save(const struct comm *comm, const char *path,
                                    const struct machine_link *link, struct muster_error *err)
{
    struct machine_profile *profile = NULL;
    struct job_report report;
    job_report_init(&report);
    enum muster_status status = machine_profile_load(path, &report, &profile, err);
    if (!status) {
        *(comm->node_count > 1 ? &profile->network : &profile->host) = *link;
        status = profile_save(path, profile, err);
    }
    job_report_release(&report);
    machine_profile_destroy(profile);
    return status;
}

enum muster_status measure_add_link(struct comm *comm, const char *path, struct muster_error *err)
{
    struct machine_link link = {0.0, 0.0};
    enum muster_status status = measure_link(comm, &link, err);
    if (!status && comm->rank == 0)
        status = link_save(comm, path, &link, err);
    return status;
}
