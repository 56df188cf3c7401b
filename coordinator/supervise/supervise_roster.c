/* SPDX-License-Identifier: MIT
 *
 * Asking takes time, so only those are asked who matter: after a lost host those in use, and later those left
 * out. What cannot be asked at all is taken for alive: the launch will tell. So it is when not one of those
 * in use answers: we are on one of them, or beside them, and more likely it is the asking that failed
 * (Slurm's controller is busy with the node it lost).
 */
#include "coordinator/supervise/supervise_roster.h"

#include <unistd.h>

#include "base/alloc.h"
#include "coordinator/cluster/reach.h"

/* While ranks train, nothing else is looked after until all have answered. */
enum { CONNECT_S = 5, AFTER_DEATH_MS = 30000, TRAINING_MS = 8000 };

static const char hosts_name[] = "hosts";

static void host_say(const struct supervise_roster *roster, const struct hosts_item *host, const char *what,
                     const char *why)
{
    struct text text;
    text_init(&text);
    text_print(&text, "%s %s: going on without it", host->name, what);
    if (why[0] != '\0')
        text_print(&text, " (%s)", why);
    launch_say(roster->supervision, text.data);
    text_release(&text);
}

static void hosts_not_asked_say(const struct supervise_roster *roster, const char *why)
{
    struct text text;
    text_init(&text);
    text_print(&text, "not one host could be asked whether it is there (%s): trying all of them", why);
    launch_say(roster->supervision, text.data);
    text_release(&text);
}

/* One of several that were asked, when none of them is good; else NULL. */
static const struct reach_answer *all_silent(const struct reach_answer *answers, int count)
{
    const struct reach_answer *silent = NULL;
    int asked = 0;
    for (int i = 0; i < count; i++) {
        asked += answers[i].asked;
        if (answers[i].asked && answers[i].good)
            return NULL;
        if (answers[i].asked)
            silent = &answers[i];
    }
    return asked > 1 ? silent : NULL;
}

/* Asks those in use, or those left out whose time has come; who does not answer is left out (again). */
static void hosts_ask(struct supervise_roster *roster, bool out, double now_s, int timeout_ms)
{
    struct hosts *hosts = roster->hosts;
    char folder[FS_PATH_MAX];
    const struct reach_question question = {
        .worker = roster->worker, .folder = folder, .connect_s = CONNECT_S, .timeout_ms = timeout_ms};
    struct reach_answer *answers = alloc_zeroed((size_t)hosts->count + 1, sizeof *answers);
    for (int i = 0; i < hosts->count && answers != NULL; i++)
        answers[i].asked =
            hosts_item_is_out(&hosts->items[i]) == out && (!out || hosts->items[i].out_until_s <= now_s);
    bool said = answers != NULL && getcwd(folder, sizeof folder) != NULL &&
                reach_ask(hosts, &question, answers, NULL) == MUSTER_OK;
    const struct reach_answer *silent = said && !out ? all_silent(answers, hosts->count) : NULL;
    if (silent != NULL) {
        hosts_not_asked_say(roster, silent->why);
        said = false;
    }
    for (int i = 0; i < hosts->count && said; i++) {
        if (answers[i].asked && answers[i].good)
            hosts_item_take_back(&hosts->items[i]);
        if (!answers[i].asked || answers[i].good)
            continue;
        hosts_item_leave_out(&hosts->items[i], now_s + roster->retry_s);
        if (!out)
            host_say(roster, &hosts->items[i], "does not answer", answers[i].why);
    }
    alloc_free(answers);
}

void supervise_roster_blame(struct supervise_roster *roster, const struct launch_outcome *outcome,
                            double now_s)
{
    int left = hosts_left(roster->hosts);
    if (outcome->host_lost || outcome->hung || roster->hosts->source == HOSTS_SLURM)
        hosts_ask(roster, false, now_s, AFTER_DEATH_MS);
    if (outcome->host_lost || hosts_left(roster->hosts) < left)
        return;
    int guilty = outcome->host[0] != '\0' ? hosts_find(roster->hosts, outcome->host) : -1;
    if (guilty >= 0 &&
        hosts_item_failed(&roster->hosts->items[guilty], roster->failures_max, now_s + roster->retry_s))
        host_say(roster, &roster->hosts->items[guilty], "had too many deaths", "");
}

bool supervise_roster_come_back(struct supervise_roster *roster, double now_s, bool training)
{
    double retry_s = hosts_retry_s(roster->hosts);
    int left = hosts_left(roster->hosts);
    if (retry_s <= 0.0 || retry_s > now_s)
        return false;
    hosts_ask(roster, true, now_s, TRAINING_MS);
    bool back = hosts_left(roster->hosts) > left;
    if (back)
        launch_say(roster->supervision, training ? "a host answers again: saving, to go on with it"
                                                 : "a host answers again: going on with it");
    return back;
}

enum muster_status supervise_roster_choose(const struct supervise_roster *roster,
                                           struct launch_options *options, const char *folder,
                                           char path[FS_PATH_MAX], struct muster_error *err)
{
    if (hosts_left(roster->hosts) == roster->hosts->count)
        return MUSTER_OK;
    options->ranks = hosts_ranks(roster->hosts, options->ranks);
    if (options->ranks == 0)
        return muster_error_set(err, MUSTER_ERR_PEER, "no host is left");
    if (options->hostfile == NULL)
        return MUSTER_OK;
    enum muster_status status = fs_path_join(path, folder, hosts_name, err);
    options->hostfile = path;
    return status == MUSTER_OK ? hosts_write_file(roster->hosts, path, err) : status;
}
