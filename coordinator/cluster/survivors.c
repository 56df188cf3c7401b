/* SPDX-License-Identifier: MIT
 *
 * Slurm itself calls a node lost only after SlurmdTimeout, five minutes by default; a step that does nothing
 * tells within seconds. What cannot be asked at all (no ssh, no srun) is taken for alive: the launch will
 * tell.
 */
#include "coordinator/cluster/survivors.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/subprocess.h"

enum { STEP_WORDS = 10, NODELIST_SIZE = 300 };

/* The words of one node's step. */
struct step {
    char nodelist[NODELIST_SIZE];
    const char *words[STEP_WORDS];
};

static void step_fill(struct step *step, const char *node)
{
    const char *const words[STEP_WORDS] = {"srun",          "--overlap", "--nodes=1",    "--ntasks=1",
                                           "--immediate=5", "--quiet",   step->nodelist, "--mpi=none",
                                           "true",          NULL};
    snprintf(step->nodelist, sizeof step->nodelist, "--nodelist=%s", node);
    for (int i = 0; i < STEP_WORDS; i++)
        step->words[i] = words[i];
}

static void answer_take(struct hosts_item *host, const struct subprocess *process, struct text *said)
{
    char line[512];
    if (process->start_errno != 0 || (process->exit_code == 0 && !process->timed_out))
        return;
    host->lost = true;
    subprocess_last_line(&process->err, line, sizeof line);
    text_print(said, "; without %s: %s", host->name,
               process->timed_out ? "no answer to a step"
               : line[0] != '\0'  ? line
                                  : "its step failed");
}

int survivors_find(struct hosts *hosts, int timeout_ms, int ranks, struct text *said)
{
    struct subprocess *processes = alloc_zeroed((size_t)hosts->count, sizeof *processes);
    struct step *steps = alloc_zeroed((size_t)hosts->count, sizeof *steps);
    bool ask = processes != NULL && steps != NULL;
    for (int i = 0; i < hosts->count && ask; i++) {
        hosts->items[i].lost = false;
        step_fill(&steps[i], hosts->items[i].name);
        subprocess_init(&processes[i], steps[i].words);
    }
    if (ask)
        subprocess_run_all(processes, hosts->count, timeout_ms);
    for (int i = 0; i < hosts->count && ask; i++) {
        answer_take(&hosts->items[i], &processes[i], said);
        subprocess_release(&processes[i]);
    }
    alloc_free(processes);
    alloc_free(steps);
    int places = hosts_slots(hosts);
    return places < ranks ? places : ranks;
}
