/* SPDX-License-Identifier: MIT
 *
 * One ssh or one step a host, all at the same time. What the far shell is given is quoted; it needs no more
 * than `test`. The agent's words come from the environment, as Open MPI reads them; they are cut at blanks
 * and given to execvp, never to a shell.
 */
#include "coordinator/cluster/reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/shell_word.h"
#include "base/subprocess.h"

enum { AGENT_WORDS_MAX = 24, SSH_WORDS = 4, HOST_SIZE = 256, OPTION_SIZE = HOST_SIZE + 16, SSH_FAILED = 255 };

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
    text = text != NULL ? text : getenv("PRTE_MCA_plm_ssh_agent");
    *agent = (struct agent){.storage = alloc_text(text != NULL && text[0] != '\0' ? text : "ssh")};
    if (agent->storage == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to ask the hosts");
    /* "ssh : rsh" is Open MPI's way to name a second choice. */
    agent->storage[strcspn(agent->storage, ":")] = '\0';
    for (char *word = strtok_r(agent->storage, " \t", &rest); word != NULL && agent->count < AGENT_WORDS_MAX;
         word = strtok_r(NULL, " \t", &rest))
        agent->words[agent->count++] = word;
    if (agent->count == 0)
        agent->words[agent->count++] = "ssh";
    if (!is_ssh(agent->words[0]))
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

/* A host's command. */
struct inquiry {
    const char *words[AGENT_WORDS_MAX + SSH_WORDS + 3];
    char nodelist[OPTION_SIZE];
    int host;
};

static void inquiry_by_agent(struct inquiry *inquiry, const struct agent *agent, const char *name,
                             const char *command)
{
    int count = agent->count;
    memcpy(inquiry->words, agent->words, (size_t)count * sizeof inquiry->words[0]);
    inquiry->words[count++] = name;
    inquiry->words[count++] = command;
    inquiry->words[count] = NULL;
}

static void inquiry_by_step(struct inquiry *inquiry, const char *name)
{
    const char *const words[] = {"srun",    "--overlap",       "--nodes=1",  "--ntasks=1", "--immediate=5",
                                 "--quiet", inquiry->nodelist, "--mpi=none", "true",       NULL};
    snprintf(inquiry->nodelist, sizeof inquiry->nodelist, "--nodelist=%s", name);
    memcpy(inquiry->words, words, sizeof words);
}

static void answer_take(struct reach_answer *answer, const struct subprocess *process,
                        enum hosts_source source, const struct reach_question *question)
{
    char line[REACH_WHY_SIZE - 2];
    answer->good = process->exit_code == 0 && !process->timed_out;
    if (answer->good)
        return;
    subprocess_last_line(&process->err, line, sizeof line);
    if (process->timed_out)
        snprintf(answer->why, sizeof answer->why, "no answer within %d s", question->timeout_ms / 1000);
    else if (line[0] != '\0')
        snprintf(answer->why, sizeof answer->why, "%s", line);
    else if (source == HOSTS_SLURM || process->exit_code == SSH_FAILED)
        snprintf(answer->why, sizeof answer->why, "%s failed and said nothing",
                 source == HOSTS_SLURM ? "srun" : "ssh");
    else
        snprintf(answer->why, sizeof answer->why, "lacks %.200s, or the folder %.200s", question->worker,
                 question->folder);
}

/* Fills the inquiries of the hosts that are really asked; returns how many. */
static int inquiries_fill(struct inquiry *inquiries, const struct hosts *hosts, const struct agent *agent,
                          const char *command, struct reach_answer *answers)
{
    int count = 0;
    for (int i = 0; i < hosts->count; i++) {
        const char *name = hosts->items[i].name;
        bool here = hosts->source != HOSTS_SLURM && is_this_host(name);
        answers[i].good = true;
        answers[i].why[0] = '\0';
        if (!answers[i].asked || here)
            continue;
        inquiries[count].host = i;
        if (hosts->source == HOSTS_SLURM)
            inquiry_by_step(&inquiries[count], name);
        else
            inquiry_by_agent(&inquiries[count], agent, name, command);
        count++;
    }
    return count;
}

static void command_print(const struct reach_question *question, struct text *command)
{
    text_print(command, "test -x ");
    shell_word_print(command, question->worker);
    text_print(command, " && test -d ");
    shell_word_print(command, question->folder);
}

enum muster_status reach_ask(const struct hosts *hosts, const struct reach_question *question,
                             struct reach_answer *answers, struct muster_error *err)
{
    struct subprocess *processes = alloc_zeroed((size_t)hosts->count + 1, sizeof *processes);
    struct inquiry *inquiries = alloc_zeroed((size_t)hosts->count + 1, sizeof *inquiries);
    struct agent agent = {.storage = NULL};
    struct text command;
    int count = 0;
    text_init(&command);
    command_print(question, &command);
    enum muster_status status = agent_init(&agent, question->connect_s, err);
    if (status == MUSTER_OK && (processes == NULL || inquiries == NULL || command.failed))
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to ask the hosts");
    if (status == MUSTER_OK)
        count = inquiries_fill(inquiries, hosts, &agent, command.data, answers);
    for (int i = 0; i < count; i++)
        subprocess_init(&processes[i], inquiries[i].words);
    subprocess_run_all(processes, count, question->timeout_ms);
    for (int i = 0; i < count; i++) {
        if (status == MUSTER_OK && processes[i].start_errno != 0)
            status = muster_error_set_errno(err, processes[i].start_errno, "start %s", inquiries[i].words[0]);
        answer_take(&answers[inquiries[i].host], &processes[i], hosts->source, question);
        subprocess_release(&processes[i]);
    }
    alloc_free(agent.storage);
    alloc_free(processes);
    alloc_free(inquiries);
    text_release(&command);
    return status;
}
