/* SPDX-License-Identifier: MIT
 *
 * Words that contradict each other are refused before anything is planned.
 */
#include "coordinator/cli/cli_predict.h"

#include <string.h>

enum { RANKS_MAX = 65536 };

/* The profile; *named says whether a person asked for this one. */
static int profile_open(struct cli *cli, const struct job *job, const char *word,
                        struct machine_profile **profile, bool *named)
{
    const char *wanted = word != NULL ? word : job->machine.profile;
    struct job_report report;
    struct muster_error err = {.status = MUSTER_OK};
    *named = strcmp(wanted, "auto") != 0 && strcmp(wanted, "none") != 0;
    job_report_init(&report);
    enum muster_status status = machine_profile_open(wanted, &report, profile, &err);
    return cli_job_report(cli, status, &err, &report, "the machine profile");
}

static enum muster_status device_choose(const struct job *job, const char *word, bool named,
                                        const struct machine_profile *profile, bool *on_device,
                                        struct muster_error *err)
{
    *on_device = job->device == JOB_DEVICE_CUDA;
    if (named && profile != NULL && job->device == JOB_DEVICE_AUTO)
        *on_device = profile->device == MACHINE_CUDA;
    if (word == NULL)
        return MUSTER_OK;
    *on_device = strcmp(word, "cuda") == 0;
    if (*on_device || strcmp(word, "cpu") == 0)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--device: \"%.32s\" is neither cpu nor cuda", word);
}

/* Ranks and hosts from what was given of nodes, ranks a node and ranks. */
static enum muster_status cluster_shape(const struct cli_predict_words *words,
                                        const struct machine_profile *profile, struct cost_cluster *cluster,
                                        int64_t *ranks, struct muster_error *err)
{
    int64_t nodes = words->nodes, each = words->ranks_per_node;
    int64_t usual = profile != NULL ? profile->ranks_per_host : words->ranks > 0 ? words->ranks : 1;
    if (words->ranks == 0) {
        each = each > 0 ? each : nodes > 0 ? usual : 1;
        nodes = nodes > 0 ? nodes : 1;
    } else if (each == 0 && nodes == 0) {
        bool device = profile != NULL && profile->device == MACHINE_CUDA;
        each = device && words->ranks > usual ? usual : words->ranks;
        nodes = words->ranks / each;
    } else {
        each = each > 0 ? each : words->ranks / nodes;
        nodes = nodes > 0 || each == 0 ? nodes : words->ranks / each;
    }
    *ranks = words->ranks > 0 ? words->ranks : nodes * each;
    if (*ranks < 1 || *ranks > RANKS_MAX || nodes * each != *ranks)
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "%lld ranks are not %lld hosts of %lld: give --nodes and --gpus-per-node, or --ranks alone",
            (long long)*ranks, (long long)nodes, (long long)each);
    cluster->hosts = (int)nodes;
    cluster->ranks_per_host = (int)each;
    return MUSTER_OK;
}

/* Threads of a rank on the profile's host, where it is another one than this. */
static void threads_adapt(const struct job *job, const struct cli_predict_words *words,
                          struct cli_predict *predict)
{
    if (words->threads > 0 || job->parallel.threads > 0 || predict->profile->device != MACHINE_CPU)
        return;
    int64_t threads = predict->profile->cores / predict->cluster.ranks_per_host;
    predict->topology.threads = threads > 1 ? (int)threads : 1;
}

int cli_predict_open(struct cli *cli, const struct cli_job *job, const struct cli_predict_words *words,
                     struct cli_predict *out)
{
    bool named = false, on_device = false;
    struct muster_error err = {.status = MUSTER_OK};
    int64_t ranks = 0;
    *out = (struct cli_predict){.profile = NULL};
    int exit_code = profile_open(cli, job->job, words->profile, &out->profile, &named);
    if (exit_code != MUSTER_EXIT_DONE)
        return exit_code;
    enum muster_status status = device_choose(job->job, words->device, named, out->profile, &on_device, &err);
    if (!named && out->profile != NULL && on_device != (out->profile->device == MACHINE_CUDA)) {
        machine_profile_destroy(out->profile);
        out->profile = NULL;
    }
    if (status == MUSTER_OK)
        status = cluster_shape(words, out->profile, &out->cluster, &ranks, &err);
    if (status != MUSTER_OK)
        return cli_fail(cli, &err);
    out->cluster.overlap = job->job->parallel.overlap_comm;
    out->topology = cli_job_topology(job->job, ranks, words->threads);
    out->topology.on_device = on_device;
    if (out->profile != NULL)
        threads_adapt(job->job, words, out);
    return MUSTER_EXIT_DONE;
}

void cli_predict_release(struct cli_predict *predict)
{
    machine_profile_destroy(predict->profile);
    predict->profile = NULL;
}
