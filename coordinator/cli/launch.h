/* SPDX-License-Identifier: MIT
 *
 * The ranks of a run as one mpirun or srun command: what is started (launch.c), and how it is watched until
 * it ends (launch_run.c). Words are argv entries from beginning to end; no shell ever sees them.
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_H
#define MUSTER_COORDINATOR_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"
#include "coordinator/cluster/hosts.h"
#include "coordinator/job/job.h"

struct launch_options {
    int ranks;
    int cores;                           /* of this host, for this process */
    const char *worker;                  /* launch_worker_path */
    const char *job_path;                /* any name, also one that looks like an option; NULL = none */
    const struct job_settings *settings; /* of the command line; NULL = none */
    const char *const *worker_options;   /* words before the job, ends with NULL; or NULL */
    const char *resume;                  /* NULL = as the job says */
    bool own_first;                      /* but what the run has saved since goes before it */
    const char *allow_changes;           /* job keys, comma-separated, or NULL */
    const char *hostfile;                /* NULL = this host, or the allocation of a batch system */
    /* Where the ranks go: as hostfile or Slurm say, less the hosts that are left out. NULL = as mpirun finds
     * out. */
    const struct hosts *hosts;
    bool srun;             /* srun --mpi=pmix instead of mpirun; needs hosts of a Slurm allocation */
    const char *interface; /* cluster.interface, or NULL */
    const struct job_texts *forward; /* cluster.forward, or NULL */
    char *const *extra;              /* words for mpirun or srun itself */
    int extra_count;
    bool live; /* a person is watching */
};

struct launch_command {
    char **argv; /* ends with NULL */
    int argc;
    bool failed;     /* no memory for a word */
    char **settings; /* "NAME=VALUE", only what the environment does not set already */
    int setting_count;
    bool local;     /* every rank on this host, as far as can be known */
    int end_signal; /* what makes the launcher end the ranks at once */
};

/** The worker beside this program. UNSUPPORTED when there is none that can be run. */
enum muster_status launch_worker_path(char worker[FS_PATH_MAX], struct muster_error *err);

/**
 * Variables named MUSTER_… that are set now reach every rank, on this host and on others. Release in every
 * case.
 */
enum muster_status launch_command_build(struct launch_command *command, const struct launch_options *options,
                                        struct muster_error *err);
void launch_command_release(struct launch_command *command);

/** One line that a POSIX shell would read back as the same words and settings. */
void launch_command_print(const struct launch_command *command, struct text *out);

enum launch_wish {
    LAUNCH_GO_ON = 0,
    LAUNCH_SAVE, /* the ranks save and leave as after a first signal, without a word */
    LAUNCH_END,  /* they are ended: a failure */
};

/* What every verb supervises with. */
enum { LAUNCH_REPEAT_MS = 2000, LAUNCH_KILL_AFTER_MS = 5000, LAUNCH_ORPHAN_MS = 3000 };

struct launch_supervision {
    FILE *err;            /* for a person; mpirun's standard error goes through here */
    bool live;            /* the terminal's last line is unfinished */
    int repeat_ms;        /* SIGUSR1 is sent again: while mpirun still starts the ranks it reaches none */
    int kill_after_ms;    /* from the second signal to SIGKILL */
    int orphan_ms;        /* how long ranks may outlive mpirun */
    const sigset_t *mask; /* signals that mpirun starts with blocked; NULL = those that are blocked now */
    /* Any may be NULL. started: once, with mpirun's process id. is_stuck: every poll_ms, whether the ranks
     * have said that they end and mpirun does not, which is killed then. ask: every poll_ms, until the ranks
     * are asked to stop. */
    void (*started)(void *context, pid_t mpirun);
    bool (*is_stuck)(void *context);
    enum launch_wish (*ask)(void *context);
    /* Whether the ranks have anything to save; NULL = they always have. Asked at the first signal. */
    bool (*has_begun)(void *context);
    void *context;
    int poll_ms;  /* 0 = never */
    int empty_ms; /* an mpirun that has lost its last child so long ago is killed; 0 = never; needs poll_ms */
};

/** How a launch ended. */
struct launch_outcome {
    int exit_code;  /* as muster would return it: 0, 1, 2 or 75 */
    bool failed;    /* neither done, nor bad input, nor stopped: `cause` says what happened */
    bool host_lost; /* mpirun lost a whole host, or could not reach one */
    bool hung; /* mpirun was killed, because it did not end after its ranks: perhaps it waits for a host */
    int stops; /* signals to this process, or a lost reader: 1 = save and stop, 2 and more = end at once */
    bool on_request;   /* LAUNCH_SAVE had the ranks asked to stop */
    int rank;          /* that was killed by a signal, as mpirun named it; -1 = not known */
    char host[64];     /* where it was, or "" */
    int killer;        /* the signal that killed it, as the launcher returned it; 0 = none, or not known */
    char refusal[128]; /* why the launcher could not start the ranks, where that stays so; "" = it could */
    char cause[256];   /* "rank 3 on node07 was killed by signal 9 (mpirun returned 137)"; "" unless failed */
};

/** "muster run: TEXT" on a line of its own. */
void launch_say(const struct launch_supervision *supervision, const char *text);

/**
 * Starts the command and waits for its end. The first SIGINT, SIGTERM, SIGHUP or SIGUSR1 becomes SIGUSR1 to
 * mpirun, which hands it to every rank: they save and leave; so does the end of whoever reads a pipe that is
 * standard output; ranks that have not begun are ended instead. The second SIGINT or SIGTERM ends the run. An
 * mpirun that is stopped is continued. No process and no shared memory of the run is left on this host when
 * this returns. \return not MUSTER_OK when nothing was started.
 */
enum muster_status launch_run(const struct launch_command *command,
                              const struct launch_supervision *supervision, struct launch_outcome *outcome,
                              struct muster_error *err);

#endif
