/* SPDX-License-Identifier: MIT
 *
 * Answers are asked for in a form of our own (squeue --format), never taken from a table made for people.
 */
#include "coordinator/cluster/slurm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/subprocess.h"

enum { ANSWER_MS = 30000, WORDS_FIXED = 4 };

bool slurm_id_is_safe(const char *id)
{
    size_t digits = strspn(id, "0123456789");
    if (digits == 0 || strlen(id) >= SLURM_ID_SIZE)
        return false;
    if (id[digits] == '_') {
        id += digits + 1;
        digits = strspn(id, "0123456789");
    }
    return digits > 0 && id[digits] == '\0';
}

static enum muster_status no_slurm(enum muster_status status, struct muster_error *err)
{
    if (status == MUSTER_ERR_UNSUPPORTED)
        muster_error_set(err, status,
                         "Slurm's commands were not found in PATH: is this a login node of the cluster?");
    return status;
}

/* The words ending with NULL; the output is the caller's to release. */
static enum muster_status ask(struct subprocess *process, const char *const *words, struct muster_error *err)
{
    subprocess_init(process, words);
    return no_slurm(subprocess_run(process, ANSWER_MS, err), err);
}

static enum muster_status id_check(const char *id, struct muster_error *err)
{
    if (slurm_id_is_safe(id))
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "\"%.60s\" is no number of a Slurm job", id);
}

enum muster_status slurm_submit(const char *script, char *const *extra, int extra_count,
                                char id[SLURM_ID_SIZE], struct muster_error *err)
{
    const char **words = alloc_zeroed((size_t)extra_count + WORDS_FIXED, sizeof *words);
    struct subprocess process;
    if (words == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for sbatch's words");
    words[0] = "sbatch";
    words[1] = "--parsable";
    for (int i = 0; i < extra_count; i++)
        words[2 + i] = extra[i];
    words[2 + extra_count] = script;
    enum muster_status status = ask(&process, words, err);
    if (status == MUSTER_OK) {
        /* "123" or "123;cluster" */
        size_t length = strcspn(process.out.data, ";\r\n");
        snprintf(id, SLURM_ID_SIZE, "%.*s", (int)length, process.out.data);
        status = id_check(id, err);
    }
    subprocess_release(&process);
    alloc_free(words);
    return status;
}

static void line_split(char *line, struct slurm_state *state)
{
    char *fields[] = {state->name, state->reason, state->elapsed, state->limit,
                      state->left, state->nodes,  state->start};
    for (int i = 0; i < 7; i++) {
        char *end = strchr(line, '|');
        if (end != NULL)
            *end = '\0';
        snprintf(fields[i], SLURM_FIELD_SIZE, "%.*s", SLURM_FIELD_SIZE - 1, line);
        if (end == NULL)
            return;
        line = end + 1;
    }
}

enum muster_status slurm_state_read(const char *id, struct slurm_state *state, struct muster_error *err)
{
    const char *words[] = {"squeue", "--noheader", "--states=all", "--format=%T|%r|%M|%l|%L|%N|%S", "--jobs",
                           id,       NULL};
    struct subprocess process;
    char line[1024];
    *state = (struct slurm_state){.known = false};
    enum muster_status status = id_check(id, err);
    if (status != MUSTER_OK)
        return status;
    status = ask(&process, words, err);
    if (status == MUSTER_OK && process.out.length > 0) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(process.out.data, "\n"), process.out.data);
        state->known = true;
        line_split(line, state);
    } else if (status == MUSTER_ERR_IO && strstr(process.err.data, "Invalid job id") != NULL) {
        status = MUSTER_OK;
    }
    subprocess_release(&process);
    return status;
}

bool slurm_state_is_alive(const struct slurm_state *state)
{
    static const char *const alive[] = {"PENDING",  "RUNNING", "SUSPENDED", "CONFIGURING",  "COMPLETING",
                                        "REQUEUED", "STOPPED", "SIGNALING", "REQUEUE_HOLD", "SPECIAL_EXIT"};
    for (size_t i = 0; i < sizeof alive / sizeof alive[0]; i++) {
        if (state->known && strcmp(state->name, alive[i]) == 0)
            return true;
    }
    return false;
}

static enum muster_status ask_nothing(const char *const *words, struct muster_error *err)
{
    struct subprocess process;
    enum muster_status status = ask(&process, words, err);
    subprocess_release(&process);
    return status;
}

enum muster_status slurm_cancel(const char *id, bool save, struct muster_error *err)
{
    const char *end[] = {"scancel", id, NULL}, *stop[] = {"scancel", "--batch", "--signal=USR1", id, NULL};
    enum muster_status status = id_check(id, err);
    return status == MUSTER_OK ? ask_nothing(save ? stop : end, err) : status;
}

enum muster_status slurm_requeue_job(const char *id, struct muster_error *err)
{
    const char *words[] = {"scontrol", "requeue", id, NULL};
    enum muster_status status = id_check(id, err);
    return status == MUSTER_OK ? ask_nothing(words, err) : status;
}

int64_t slurm_duration_s(const char *text)
{
    static const int64_t units[] = {1, 60, 3600};
    int64_t days = 0, parts[3] = {0}, seconds = 0;
    int count = 0;
    const char *dash = strchr(text, '-');
    char *end;
    if (dash != NULL) {
        days = strtoll(text, &end, 10);
        if (end != dash || days < 0 || days > 100000 || text[0] < '0' || text[0] > '9')
            return -1;
        text = dash + 1;
    }
    for (;; text = end + 1) {
        if (count == 3 || *text < '0' || *text > '9')
            return -1;
        parts[count++] = strtoll(text, &end, 10);
        if (*end == '\0')
            break;
        if (*end != ':')
            return -1;
    }
    for (int i = 0; i < count; i++) {
        if (parts[i] > 1000000000)
            return -1;
        seconds += parts[i] * units[count - 1 - i];
    }
    return days * 86400 + seconds;
}

void slurm_end_time_export(void)
{
    const char *id = getenv("SLURM_JOB_ID");
    struct slurm_state state;
    char text[32];
    if (id == NULL || getenv("SLURM_JOB_END_TIME") != NULL || slurm_state_read(id, &state, NULL) != MUSTER_OK)
        return;
    int64_t left_s = state.known ? slurm_duration_s(state.left) : -1;
    if (left_s < 0)
        return;
    snprintf(text, sizeof text, "%lld", (long long)(clock_unix_ms() / 1000 + left_s));
    setenv("SLURM_JOB_END_TIME", text, 1);
}
