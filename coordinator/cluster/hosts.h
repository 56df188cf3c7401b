/* SPDX-License-Identifier: MIT
 *
 * Where ranks can run: this host, the hosts of a file, or those of a Slurm allocation, each with its places
 * for ranks (slots). A host can be struck off the list when it is lost; the rest goes on without it.
 */
#ifndef MUSTER_COORDINATOR_HOSTS_H
#define MUSTER_COORDINATOR_HOSTS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

enum hosts_source { HOSTS_LOCAL = 0, HOSTS_FILE, HOSTS_SLURM };

struct hosts_item {
    char *name;
    int slots; /* 0 = nobody said */
    bool lost; /* hosts_lose */
};

struct hosts {
    enum hosts_source source;
    struct hosts_item *items; /* in the order given; a name appears once */
    int count;
};

/** No host but this one. */
void hosts_init(struct hosts *hosts);
void hosts_release(struct hosts *hosts);

/**
 * A file as mpirun reads it: "NAME [slots=N] [max_slots=N]" a line, '#' begins a comment; a name given twice
 * has the sum of its slots. BAD_INPUT names file and line. Release in every case.
 */
enum muster_status hosts_read_file(const char *path, struct hosts *hosts, struct muster_error *err);

/** The same from memory; `path` is used in messages only. */
enum muster_status hosts_parse(const char *path, const char *text, struct hosts *hosts,
                               struct muster_error *err);

/**
 * The allocation this process runs in, from SLURM_JOB_NODELIST and the counts beside it; slots are the tasks
 * a node was asked for. `lookup` is getenv, or a test's stand-in. Outside an allocation: hosts stay
 * HOSTS_LOCAL.
 */
enum muster_status hosts_from_slurm(char *(*lookup)(const char *name), struct hosts *hosts,
                                    struct muster_error *err);

/** Strikes a host off; false when it is not there or already lost. "node7" and "node7.site.org" are one host.
 */
bool hosts_lose(struct hosts *hosts, const char *name);

/** Hosts that are not lost. */
int hosts_left(const struct hosts *hosts);

/** Slots of those; 0 when a host's number is not known. */
int hosts_slots(const struct hosts *hosts);

/** "node1:4,node2:2" of those that are not lost; without slots "node1,node2". */
void hosts_print(const struct hosts *hosts, bool with_slots, struct text *out);

#endif
