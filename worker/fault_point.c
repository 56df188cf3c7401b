/* SPDX-License-Identifier: MIT
 *
 * The one fault a process waits for is chosen at its start and kept for its life: state of the process, like
 * the log sink, because a place deep in the code has nothing else to ask.
 */
#include "worker/fault_point.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"

enum fault_action {
    FAULT_KILL = 0,
    FAULT_SEGV,
    FAULT_ABORT,
    FAULT_EXIT0,
    FAULT_STOP,
    FAULT_HANG,
    FAULT_TERM,
    FAULT_USR1,
    FAULT_OOM,
    FAULT_EIO,
    FAULT_ACTION_COUNT
};

static const struct {
    const char *name;
    int signal; /* 0 = another way to fail */
} actions[FAULT_ACTION_COUNT] = {
    [FAULT_KILL] = {"kill", SIGKILL}, [FAULT_SEGV] = {"segv", SIGSEGV}, [FAULT_ABORT] = {"abort", SIGABRT},
    [FAULT_EXIT0] = {"exit0", 0},     [FAULT_STOP] = {"stop", SIGSTOP}, [FAULT_HANG] = {"hang", 0},
    [FAULT_TERM] = {"term", SIGTERM}, [FAULT_USR1] = {"usr1", SIGUSR1}, [FAULT_OOM] = {"oom", 0},
    [FAULT_EIO] = {"eio", 0},
};

enum fault_process { FAULT_OF_RANK = 0, FAULT_OF_MPIRUN, FAULT_OF_SUPERVISOR, FAULT_PROCESS_COUNT };
static const char *const processes[FAULT_PROCESS_COUNT] = {"rank", "mpirun", "supervisor"};

enum { NAME_SIZE = 32, FAULT_TEXT_SIZE = 128 };

static struct {
    bool armed;
    char name[NAME_SIZE];
    int64_t rank, hit;
    enum fault_action action;
    enum fault_process process;
    const char *once; /* of the environment, or NULL */
    atomic_llong hits;
} fault;

static bool index_of(const char *word, const char *(*name)(int), int count, int *index)
{
    for (*index = 0; *index < count; ++*index) {
        if (strcmp(word, name(*index)) == 0)
            return true;
    }
    return false;
}

static const char *action_name(int action)
{
    return actions[action].name;
}

static const char *process_name(int process)
{
    return processes[process];
}

/* NAME:RANK:HIT:ACTION[@PROCESS], cut in place. */
static bool fault_parse(char *text)
{
    char *parts[4], *process;
    int count = 0, action, of = FAULT_OF_RANK;
    for (char *part = text; part != NULL && count < 4; count++) {
        parts[count] = part;
        part = strchr(part, ':');
        if (part != NULL)
            *part++ = '\0';
        if (count == 3 && part != NULL)
            return false;
    }
    if (count < 4 || parts[0][0] == '\0' || strlen(parts[0]) >= NAME_SIZE)
        return false;
    process = strchr(parts[3], '@');
    if (process != NULL)
        *process++ = '\0';
    if (!text_parse_int64(parts[1], &fault.rank) || !text_parse_int64(parts[2], &fault.hit) ||
        !index_of(parts[3], action_name, FAULT_ACTION_COUNT, &action) ||
        (process != NULL && !index_of(process, process_name, FAULT_PROCESS_COUNT, &of)))
        return false;
    if (of != FAULT_OF_RANK && actions[action].signal == 0)
        return false;
    snprintf(fault.name, sizeof fault.name, "%s", parts[0]);
    fault.action = (enum fault_action)action;
    fault.process = (enum fault_process)of;
    return true;
}

static int64_t rank_of_environment(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    int64_t rank = 0;
    for (int i = 0; i < 4; i++) {
        const char *text = getenv(names[i]);
        if (text != NULL && text_parse_int64(text, &rank))
            return rank;
    }
    return 0;
}

enum muster_status fault_point_init(struct muster_error *err)
{
    const char *list = getenv("MUSTER_FAULT");
    char text[FAULT_TEXT_SIZE];
    fault.armed = false;
    atomic_store(&fault.hits, 0);
    if (list == NULL || list[0] == '\0')
        return MUSTER_OK;
    fault.once = getenv("MUSTER_FAULT_ONCE");
    int64_t fired = fault.once != NULL ? fs_file_size(fault.once) : 0;
    for (; fired > 0 && list != NULL; fired--) {
        list = strchr(list, ',');
        list = list != NULL ? list + 1 : NULL;
    }
    if (list == NULL)
        return MUSTER_OK;
    int length = (int)strcspn(list, ",");
    snprintf(text, sizeof text, "%.*s", length, list);
    if (length >= FAULT_TEXT_SIZE || !fault_parse(text))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "MUSTER_FAULT: \"%.*s\" is not NAME:RANK:HIT:ACTION[@PROCESS]", length, list);
    fault.armed = fault.rank == rank_of_environment();
    return MUSTER_OK;
}

static void fault_mark(void)
{
    if (fault.once == NULL)
        return;
    int fd = open(fault.once, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    (void)!write(fd, "x", 1);
    close(fd);
}

static pid_t parent_of(pid_t pid)
{
    char path[64], *text, *end;
    size_t bytes;
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (fs_file_read(path, 1 << 16, &text, &bytes, NULL) != MUSTER_OK)
        return 0;
    end = strrchr(text, ')'); /* the name before it may hold anything */
    if (end == NULL || sscanf(end + 1, " %*c %d", &parent) != 1)
        parent = 0;
    alloc_free(text);
    return parent;
}

static void signal_send(int number)
{
    pid_t target = getpid();
    if (fault.process != FAULT_OF_RANK)
        target = getppid();
    if (fault.process == FAULT_OF_SUPERVISOR)
        target = parent_of(target);
    if (target > 1)
        kill(target, number);
}

static void fault_do(enum fault_action action)
{
    switch (action) {
    case FAULT_EXIT0:
        _exit(0);
    case FAULT_HANG:
        for (;;)
            sleep(1);
    case FAULT_OOM:
        alloc_fail_nth(1);
        return;
    case FAULT_EIO:
        return;
    default:
        signal_send(actions[action].signal);
    }
}

/* Whether this is the moment; true once in a process. */
static bool fault_is_due(const char *name)
{
    if (!fault.armed || strcmp(name, fault.name) != 0)
        return false;
    if (atomic_fetch_add(&fault.hits, 1) + 1 != fault.hit)
        return false;
    fault_mark();
    log_warn("fault point %s, hit %lld: %s", name, (long long)fault.hit, actions[fault.action].name);
    return true;
}

void fault_point(const char *name)
{
    if (fault_is_due(name))
        fault_do(fault.action);
}

enum muster_status fault_point_status(const char *name, struct muster_error *err)
{
    if (!fault_is_due(name))
        return MUSTER_OK;
    if (fault.action == FAULT_OOM)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "fault point %s: no memory", name);
    if (fault.action == FAULT_EIO)
        return muster_error_set(err, MUSTER_ERR_IO, "fault point %s: Input/output error", name);
    fault_do(fault.action);
    return MUSTER_OK;
}

/* ---- collectives: a copy of the communicator's table with the calls below in it. State of the process like
 * the fault: duplicates of the communicator take the table along, and may outlive it. ---- */

static struct {
    struct comm_ops ops;
    const struct comm_ops *inner;
} collectives;

static enum muster_status fault_barrier(struct comm *c, struct muster_error *err)
{
    fault_point("barrier");
    return collectives.inner->barrier(c, err);
}

static enum muster_status fault_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                          struct muster_error *err)
{
    fault_point("broadcast");
    return collectives.inner->broadcast(c, data, bytes, root, err);
}

static enum muster_status fault_all_gather(struct comm *c, void *all, const int64_t *counts_bytes,
                                           struct muster_error *err)
{
    fault_point("all_gather");
    return collectives.inner->all_gather(c, all, counts_bytes, err);
}

static enum muster_status fault_exchange(struct comm *c, const void *const *send, const int64_t *send_bytes,
                                         void *const *receive, const int64_t *receive_bytes,
                                         struct muster_error *err)
{
    fault_point("exchange");
    return collectives.inner->exchange(c, send, send_bytes, receive, receive_bytes, err);
}

static enum muster_status fault_reduce_scatter_f32(struct comm *c, float *data, const int64_t *counts,
                                                   float *mine, struct muster_error *err)
{
    fault_point("reduce_scatter");
    return collectives.inner->reduce_scatter_f32(c, data, counts, mine, err);
}

static enum muster_status fault_all_reduce_f32(struct comm *c, float *data, int64_t count,
                                               struct muster_error *err)
{
    fault_point("all_reduce");
    return collectives.inner->all_reduce_f32(c, data, count, err);
}

static enum muster_status fault_local_barrier(struct comm *c, struct muster_error *err)
{
    fault_point("local_barrier");
    return collectives.inner->local_barrier(c, err);
}

void fault_point_collectives(struct comm *comm)
{
    if (!fault.armed)
        return;
    collectives.inner = comm->ops;
    collectives.ops = *comm->ops;
    collectives.ops.barrier = fault_barrier;
    collectives.ops.broadcast = fault_broadcast;
    collectives.ops.all_gather = fault_all_gather;
    collectives.ops.exchange = fault_exchange;
    collectives.ops.reduce_scatter_f32 = fault_reduce_scatter_f32;
    collectives.ops.all_reduce_f32 = fault_all_reduce_f32;
    collectives.ops.local_barrier = fault_local_barrier;
    comm->ops = &collectives.ops;
}
