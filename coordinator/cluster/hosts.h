/* SPDX-License-Identifier: MIT
 *
 * Where ranks can run: this host, the hosts of a file, or those of a Slurm allocation, each with its places
 * for ranks (slots). A host that does not answer, or on which ranks died again and again, is left out for a
 * while; the rest goes on with fewer ranks, and with all of them again when it is back.
 */
#ifndef MUSTER_COORDINATOR_HOSTS_H
#define MUSTER_COORDINATOR_HOSTS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

enum hosts_source { HOSTS_LOCAL = 0, HOSTS_FILE, HOSTS_SLURM };

struct hosts_item {
    char *name;         /* as given, "user@" included */
    int slots;          /* 0 = nobody said */
    int failures;       /* deaths of ranks there since it was last left out */
    double out_until_s; /* Unix time; 0 = in use */
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

/** One host more at the end; a name that is there already gets these slots too. Looks at all that are there:
 * 2 ms for 1,000 hosts, 0.7 s for 10,000 (a core of an EPYC), which is nothing beside the starts of as many
 * ssh. */
enum muster_status hosts_add(struct hosts *hosts, const char *name, int slots, struct muster_error *err);

/** The name without "user@", which only ssh is to see. */
const char *hosts_item_host(const struct hosts_item *item);

/** Index, or -1. "node7" and "node7.site.org" are one host. */
int hosts_find(const struct hosts *hosts, const char *name);

bool hosts_item_is_out(const struct hosts_item *item);
/** Leaves the host out until this time. */
void hosts_item_leave_out(struct hosts_item *item, double until_s);
/** A rank died there; true when it is one too many and the host is left out from now on. */
bool hosts_item_failed(struct hosts_item *item, int failures_max, double until_s);
/** Uses it again. */
void hosts_item_take_back(struct hosts_item *item);

/** Hosts in use. */
int hosts_left(const struct hosts *hosts);

/** The earliest time at which a host that is left out may be tried again; 0 when none is. */
double hosts_retry_s(const struct hosts *hosts);

/** Slots of the hosts in use; 0 when a host's number is not known. */
int hosts_slots(const struct hosts *hosts);

/** How many of `wanted` ranks the hosts in use are good for: as many as they have slots; where more ranks are
 * wanted than there are slots, or nobody said how many, their share. 0 when no host is left. */
int hosts_ranks(const struct hosts *hosts, int wanted);

/** How many of the hosts in use, from the first on, have places for that many ranks; at least 1. A host whose
 * number nobody said counts as one place. */
int hosts_needed(const struct hosts *hosts, int ranks);

/** "node1:4,node2:2" of the hosts in use; without slots "node1,node2". */
void hosts_print(const struct hosts *hosts, bool with_slots, struct text *out);

/** The hosts in use as a hostfile. */
enum muster_status hosts_write_file(const struct hosts *hosts, const char *path, struct muster_error *err);

#endif
