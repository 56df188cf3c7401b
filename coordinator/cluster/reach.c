/* SPDX-License-Identifier: MIT
 *
 * One ssh a host, all at the same time. What the far shell is given is quoted; it needs no more than `test`.
 */
#include "coordinator/cluster/reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/shell_word.h"
#include "base/subprocess.h"

enum { AGENT_WORDS_MAX = 24, SSH_WORDS = 4, HOST_SIZE = 256, SSH_FAILED = 255 };

/* The start of every command: the agent's words; `storage` holds them. */
struct agent {
    char *storage;
    const char *words[AGENT_WORDS_MAX + SSH_WORDS];
    int count;
    char connect_timeout[40];
};

static bool is_ssh(const char *program)
{
    const char *slash = strrchr(program, '/');
    return strcmp(slash != NULL ? slash + 1 : program, "ssh") == 0;
}

static enum muster_status agent_init(struct agent *agent, int connect_s, struct muster_error *err)
{
    const char *text = getenv("OMPI_MCA_plm_rsh_agent");
    char *rest = NULL;
    *agent = (struct agent){.storage = alloc_text(text != NULL && text[0] != '\0' ? text : "ssh")};
    if (agent->storage == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to ask the hosts");
    /* "ssh : rsh" is Open MPI's way to name a second choice. */
    for (char *word = strtok_r(agent->storage, " \t", &rest);
         word != NULL && strcmp(word, ":") != 0 && agent->count < AGENT_WORDS_MAX;
         word = strtok_r(NULL, " \t", &rest))
        agent->words[agent->count++] = word;
    if (agent->count == 0 || !is_ssh(agent->words[0]))
        return MUSTER_OK;
    snprintf(agent->connect_timeout, sizeof agent->connect_timeout, "ConnectTimeout=%d", connect_s);
    agent->words[agent->count++] = "-o";
    agent->words[agent->count++] = "BatchMode=yes";
    agent->words[agent->count++] = "-o";
    agent->words[agent->count++] = agent->connect_timeout;
    return MUSTER_OK;
}

static bool is_this_host(const char *name)
{
    char host[HOST_SIZE] = "";
    gethostname(host, sizeof host - 1);
    size_t length = strcspn(name, ".");
    return strcmp(name, "localhost") == 0 || strcmp(name, "127.0.0.1") == 0 ||
           (length == strcspn(host, ".") && strncmp(name, host, length) == 0);
}

/* A host's command and its end. */
struct inquiry {
    const char *words[AGENT_WORDS_MAX + SSH_WORDS + 3];
    int host;
};

static void inquiry_fill(struct inquiry *inquiry, const struct agent *agent, int host, const char *name,
                         const char *command)
{
    int count = agent->count;
    memcpy(inquiry->words, agent->words, (size_t)count * sizeof inquiry->words[0]);
    inquiry->host = host;
    inquiry->words[count++] = name;
    inquiry->words[count++] = command;
    inquiry->words[count] = NULL;
}

static void answer_report(const struct subprocess *process, const char *name,
                          const struct reach_question *question, struct text *report)
{
    char line[512];
    subprocess_last_line(&process->err, line, sizeof line);
    if (process->timed_out)
        text_print(report, "%s: no answer within %d s\n", name, question->timeout_ms / 1000);
    else if (process->exit_code == SSH_FAILED || line[0] != '\0')
        text_print(report, "%s: %s\n", name, line[0] != '\0' ? line : "ssh failed and said nothing");
    else
        text_print(report, "%s: lacks %s, or the folder %s\n", name, question->worker, question->folder);
}

static int answers_take(struct hosts *hosts, struct subprocess *processes, const struct inquiry *inquiries,
                        int count, const struct reach_question *question, struct text *report,
                        struct muster_error *err)
{
    int lost = 0;
    for (int i = 0; i < count; i++) {
        struct hosts_item *host = &hosts->items[inquiries[i].host];
        if (processes[i].start_errno != 0) {
            muster_error_set_errno(err, processes[i].start_errno, "start %s", inquiries[i].words[0]);
            return -1;
        }
        if (processes[i].exit_code == 0 && !processes[i].timed_out)
            continue;
        answer_report(&processes[i], host->name, question, report);
        host->lost = true;
        lost++;
    }
    return lost;
}

int reach_check(struct hosts *hosts, const struct reach_question *question, struct text *report,
                struct muster_error *err)
{
    struct subprocess *processes = alloc_zeroed((size_t)hosts->count + 1, sizeof *processes);
    struct inquiry *inquiries = alloc_zeroed((size_t)hosts->count + 1, sizeof *inquiries);
    struct agent agent = {.storage = NULL};
    struct text command;
    int count = 0, lost = -1;
    text_init(&command);
    text_print(&command, "test -x ");
    shell_word_print(&command, question->worker);
    text_print(&command, " && test -d ");
    shell_word_print(&command, question->folder);
    if (processes == NULL || inquiries == NULL || command.failed) {
        muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to ask the hosts");
        goto out;
    }
    if (agent_init(&agent, question->connect_s, err) != MUSTER_OK)
        goto out;
    for (int i = 0; i < hosts->count; i++) {
        if (hosts->items[i].lost || is_this_host(hosts->items[i].name))
            continue;
        inquiry_fill(&inquiries[count], &agent, i, hosts->items[i].name, command.data);
        subprocess_init(&processes[count], inquiries[count].words);
        count++;
    }
    subprocess_run_all(processes, count, question->timeout_ms);
    lost = answers_take(hosts, processes, inquiries, count, question, report, err);
out:
    for (int i = 0; i < count; i++)
        subprocess_release(&processes[i]);
    alloc_free(agent.storage);
    alloc_free(processes);
    alloc_free(inquiries);
    text_release(&command);
    return lost;
}
