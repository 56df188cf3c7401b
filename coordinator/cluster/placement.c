/* SPDX-License-Identifier: MIT
 *
 * srun is preferred inside an allocation: the ranks are Slurm's own tasks there, so its signals reach them,
 * its accounting sees them, and a lost node ends one step and not the daemons of the whole run.
 */
#include "coordinator/cluster/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/subprocess.h"
#include "coordinator/cluster/network.h"

enum { SRUN_TIMEOUT_MS = 10000, HOSTS_SHOWN_MAX = 200 };

static bool srun_has_pmix(void)
{
    static const char *const words[] = {"srun", "--mpi=list", NULL};
    struct subprocess process;
    subprocess_init(&process, words);
    bool has = subprocess_run(&process, SRUN_TIMEOUT_MS, NULL) == MUSTER_OK &&
               (strstr(process.out.data, "pmix") != NULL || strstr(process.err.data, "pmix") != NULL);
    subprocess_release(&process);
    return has;
}

static enum muster_status launcher_choose(struct placement *placement,
                                          const struct placement_request *request, struct muster_error *err)
{
    enum job_launcher launcher = request->job->cluster.launcher;
    bool in_slurm = placement->hosts.source == HOSTS_SLURM;
    if (launcher == JOB_LAUNCHER_SRUN && !in_slurm)
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "cluster.launcher is srun, but this is no Slurm allocation: use muster submit, or "
            "salloc before muster run");
    placement->srun = launcher == JOB_LAUNCHER_SRUN || (launcher == JOB_LAUNCHER_AUTO && in_slurm &&
                                                        !request->launcher_words && srun_has_pmix());
    return MUSTER_OK;
}

static enum muster_status ranks_choose(struct placement *placement, const struct placement_request *request,
                                       struct muster_error *err)
{
    const struct hosts *hosts = &placement->hosts;
    int places = hosts->source == HOSTS_LOCAL ? 1 : hosts_slots(hosts);
    if (request->ranks == 0 && places == 0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "%s: how many ranks? Say -n RANKS, or slots=N for every host",
                                request->hostfile);
    if (request->ranks > places && places > 0 && hosts->source == HOSTS_FILE) {
        struct text list;
        text_init(&list);
        hosts_print(hosts, true, &list);
        muster_error_set(err, MUSTER_ERR_BAD_INPUT, "%lld ranks, but %s has %d places: %.*s",
                         (long long)request->ranks, request->hostfile, places, HOSTS_SHOWN_MAX, list.data);
        text_release(&list);
        return MUSTER_ERR_BAD_INPUT;
    }
    int64_t usable = request->job->parallel.logical_workers;
    placement->ranks = request->ranks > 0 ? (int)request->ranks : places < usable ? places : (int)usable;
    return MUSTER_OK;
}

enum muster_status placement_open(struct placement *placement, const struct placement_request *request,
                                  struct muster_error *err)
{
    *placement = (struct placement){.ranks = 0};
    enum muster_status status = request->hostfile != NULL
                                    ? hosts_read_file(request->hostfile, &placement->hosts, err)
                                    : hosts_from_slurm(getenv, &placement->hosts, err);
    if (status == MUSTER_OK)
        status = launcher_choose(placement, request, err);
    if (status == MUSTER_OK)
        status = ranks_choose(placement, request, err);
    return status;
}

void placement_release(struct placement *placement)
{
    hosts_release(&placement->hosts);
}

void placement_print(const struct placement *placement, const struct job *job, struct text *out)
{
    struct text list;
    if (placement->hosts.source == HOSTS_LOCAL)
        return;
    text_init(&list);
    hosts_print(&placement->hosts, true, &list);
    bool cut = list.length > HOSTS_SHOWN_MAX;
    text_print(out, "hosts: %.*s%s (by %s); network here: ", HOSTS_SHOWN_MAX, list.data, cut ? "…" : "",
               placement->srun ? "srun" : "mpirun");
    network_print("/sys", job->cluster.interface, out);
    text_print(out, "\n");
    text_release(&list);
}
