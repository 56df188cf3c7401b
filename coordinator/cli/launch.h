/* SPDX-License-Identifier: MIT
 *
 * The ranks of a run as one mpirun command: what is started (launch.c), and how it is watched until it ends
 * (launch_run.c). Words are argv entries from beginning to end; no shell ever sees them.
 */
#ifndef MUSTER_COORDINATOR_LAUNCH_H
#define MUSTER_COORDINATOR_LAUNCH_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"

struct launch_options {
    int ranks;
    int cores;            /* of this host, for this process */
    const char *worker;   /* launch_worker_path */
    const char *job_path; /* any name, also one that looks like an option */
    const char *resume;   /* NULL = as the job says */
    const char *hostfile; /* NULL = this host, or the allocation of a batch system */
    char *const *extra;   /* words for mpirun itself */
    int extra_count;
    bool live; /* a person is watching */
};

struct launch_command {
    char **argv; /* ends with NULL */
    int argc, argv_room;
    char **settings; /* "NAME=VALUE", only what the environment does not set already */
    int setting_count;
    bool local; /* every rank on this host, as far as can be known */
};

/** The worker beside this program. UNSUPPORTED when there is none that can be run. */
enum muster_status launch_worker_path(char worker[FS_PATH_MAX], struct muster_error *err);

/** Release in every case. */
enum muster_status launch_command_build(struct launch_command *command, const struct launch_options *options,
                                        struct muster_error *err);
void launch_command_release(struct launch_command *command);

/** One line that a POSIX shell would read back as the same words and settings. */
void launch_command_print(const struct launch_command *command, struct text *out);

struct launch_supervision {
    FILE *err;          /* for a person; mpirun's standard error goes through here */
    const char *advice; /* how to go on after an abnormal end */
    bool live;          /* the terminal's last line is unfinished */
    int repeat_ms;      /* SIGUSR1 is sent again: while mpirun still starts the ranks it reaches none */
    int kill_after_ms;  /* from the second signal to SIGKILL */
    int orphan_ms;      /* how long ranks may outlive mpirun */
};

/**
 * Starts the command and waits for its end. The first SIGINT, SIGTERM, SIGHUP or SIGUSR1 becomes SIGUSR1 to
 * mpirun, which hands it to every rank: they save and leave. The second SIGINT or SIGTERM ends the run. No
 * process and no shared memory of the run is left on this host when this returns.
 * \param exit_code  what muster returns: 0, 1, 2 or 75; every other end was explained on supervision->err
 * \return not MUSTER_OK when nothing was started.
 */
enum muster_status launch_run(const struct launch_command *command,
                              const struct launch_supervision *supervision, int *exit_code,
                              struct muster_error *err);

#endif
