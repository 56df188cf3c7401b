/* SPDX-License-Identifier: MIT
 *
 * What a run's folder knows of its submissions: RUN/slurm/jobs has a line for each, newest last, so that
 * status, cancel and --after find a job by its file and not by a number that somebody wrote down.
 */
#ifndef MUSTER_COORDINATOR_SLURM_RECORD_H
#define MUSTER_COORDINATOR_SLURM_RECORD_H

#include "base/fs.h"
#include "coordinator/cluster/slurm.h"

struct slurm_record {
    char id[SLURM_ID_SIZE]; /* "123", or "123_4" for a task of an array; empty = never submitted */
    char submitted[32];     /* UTC */
    char log[FS_PATH_MAX];
};

/** RUN/slurm, created. */
enum muster_status slurm_record_folder(const char *run, char folder[FS_PATH_MAX], struct muster_error *err);

enum muster_status slurm_record_add(const char *run, const struct slurm_record *record,
                                    struct muster_error *err);

/** The newest submission; record->id is empty when there was none. */
enum muster_status slurm_record_newest(const char *run, struct slurm_record *record,
                                       struct muster_error *err);

/** A file RUN/slurm/NAME-ID that says something about one job: set with a short text, and read (false: not
 * set). */
enum muster_status slurm_record_mark(const char *run, const char *name, const char *id, const char *text,
                                     struct muster_error *err);
bool slurm_record_marked(const char *run, const char *name, const char *id, char text[SLURM_FIELD_SIZE]);

#endif
