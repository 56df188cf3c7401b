/* SPDX-License-Identifier: MIT
 *
 * Asking takes time, so only those are asked who matter: after a lost host those in use, and later those left
 * out.
 */
#include "coordinator/supervise/supervise_roster.h"

#include "base/alloc.h"
#include "coordinator/supervise/supervise_probe.h"

enum { PROBE_MS = 8000 };

static const char hosts_name[] = "hosts";

enum muster_status supervise_roster_open(struct supervise_roster *roster, const char *hostfile,
                                         const struct job *job, const struct launch_supervision *supervision,
                                         struct muster_error *err)
{
    *roster = (struct supervise_roster){.retry_s = job->supervisor.host_retry_s,
                                        .failures_max = (int)job->supervisor.host_failures_max,
                                        .supervision = supervision};
    return hostfile != NULL ? supervise_hosts_read(hostfile, &roster->hosts, err) : MUSTER_OK;
}

void supervise_roster_release(struct supervise_roster *roster)
{
    supervise_hosts_release(&roster->hosts);
}

static void host_say(const struct supervise_roster *roster, const struct supervise_host *host,
                     const char *what)
{
    struct text text;
    text_init(&text);
    text_print(&text, "%s %s", host->name, what);
    launch_say(roster->supervision, text.data);
    text_release(&text);
}

/* Those left out whose time has come, or those in use. */
static bool host_is_asked(const struct supervise_host *host, bool out, double now_s)
{
    return supervise_host_is_out(host) == out && (!out || host->out_until_s <= now_s);
}

/* Calls `answer` for each host that is asked. */
static void hosts_ask(struct supervise_roster *roster, bool out, double now_s,
                      void (*answer)(struct supervise_roster *roster, struct supervise_host *host,
                                     bool answers, double now_s))
{
    size_t room = (size_t)roster->hosts.count;
    const char **names = alloc_zeroed(room, sizeof *names);
    bool *answers = alloc_zeroed(room, sizeof *answers);
    int count = 0, next = 0;
    for (int i = 0; i < roster->hosts.count && names != NULL && answers != NULL; i++) {
        if (host_is_asked(&roster->hosts.items[i], out, now_s))
            names[count++] = roster->hosts.items[i].name;
    }
    if (count > 0)
        supervise_probe(names, count, PROBE_MS, answers);
    for (int i = 0; i < roster->hosts.count && next < count; i++) {
        struct supervise_host *host = &roster->hosts.items[i];
        if (host->name == names[next])
            answer(roster, host, answers[next++], now_s);
    }
    alloc_free(answers);
    alloc_free(names);
}

static void host_used_answer(struct supervise_roster *roster, struct supervise_host *host, bool answers,
                             double now_s)
{
    if (answers)
        return;
    supervise_host_leave_out(host, now_s + roster->retry_s);
    host_say(roster, host, "does not answer: going on without it");
}

static void host_out_answer(struct supervise_roster *roster, struct supervise_host *host, bool answers,
                            double now_s)
{
    if (answers)
        supervise_host_take_back(host);
    else
        supervise_host_leave_out(host, now_s + roster->retry_s);
}

void supervise_roster_blame(struct supervise_roster *roster, const struct launch_outcome *outcome,
                            double now_s)
{
    if (outcome->host_lost) {
        hosts_ask(roster, false, now_s, host_used_answer);
        return;
    }
    int guilty = outcome->host[0] != '\0' ? supervise_hosts_find(&roster->hosts, outcome->host) : -1;
    if (guilty >= 0 &&
        supervise_host_failed(&roster->hosts.items[guilty], roster->failures_max, now_s + roster->retry_s))
        host_say(roster, &roster->hosts.items[guilty], "had too many deaths: going on without it");
}

bool supervise_roster_come_back(struct supervise_roster *roster, double now_s, bool training)
{
    double retry_s = supervise_hosts_retry_s(&roster->hosts);
    int out_before = supervise_hosts_out_count(&roster->hosts);
    if (retry_s <= 0.0 || retry_s > now_s)
        return false;
    hosts_ask(roster, true, now_s, host_out_answer);
    int back = out_before - supervise_hosts_out_count(&roster->hosts);
    if (back > 0)
        launch_say(roster->supervision, training ? "a host answers again: saving, to go on with it"
                                                 : "a host answers again: going on with it");
    return back > 0;
}

enum muster_status supervise_roster_choose(const struct supervise_roster *roster,
                                           struct launch_options *options, const char *folder,
                                           char path[FS_PATH_MAX], struct muster_error *err)
{
    if (supervise_hosts_out_count(&roster->hosts) == 0)
        return MUSTER_OK;
    options->ranks = supervise_hosts_ranks(&roster->hosts, options->ranks);
    if (options->ranks == 0)
        return muster_error_set(err, MUSTER_ERR_PEER, "no host of %s is left", options->hostfile);
    enum muster_status status = fs_path_join(path, folder, hosts_name, err);
    options->hostfile = path;
    return status == MUSTER_OK ? supervise_hosts_write(&roster->hosts, path, err) : status;
}
