/* SPDX-License-Identifier: MIT
 *
 * Which hosts of the hostfile a launch uses. One that does not answer, or on which ranks died again and
 * again, is left out for a while; the rest goes on with fewer ranks, and with all of them again when it is
 * back. Pure but for reading and writing hostfiles: time is an argument, and who answers is asked elsewhere
 * (supervise_probe.h).
 */
#ifndef MUSTER_COORDINATOR_SUPERVISE_HOSTS_H
#define MUSTER_COORDINATOR_SUPERVISE_HOSTS_H

#include <stdbool.h>

#include "base/error.h"

enum { SUPERVISE_HOST_NAME_SIZE = 256 };

struct supervise_host {
    char name[SUPERVISE_HOST_NAME_SIZE];
    char *line;         /* as the hostfile has it */
    int slots;          /* 0 = the file does not say */
    int failures;       /* deaths of ranks there since it was last left out */
    double out_until_s; /* Unix time; 0 = in use */
};

struct supervise_hosts {
    struct supervise_host *items;
    int count;
};

/** Reads a hostfile as mpirun does: a name a line, perhaps slots=N; '#' begins a comment. BAD_INPUT when it
 * has no host. Release in every case. */
enum muster_status supervise_hosts_read(const char *path, struct supervise_hosts *hosts,
                                        struct muster_error *err);
void supervise_hosts_release(struct supervise_hosts *hosts);

/** Writes the hosts in use as a hostfile. */
enum muster_status supervise_hosts_write(const struct supervise_hosts *hosts, const char *path,
                                         struct muster_error *err);

/** Index, or -1. "node7" and "node7.site.org" are one host. */
int supervise_hosts_find(const struct supervise_hosts *hosts, const char *name);

bool supervise_host_is_out(const struct supervise_host *host);
int supervise_hosts_out_count(const struct supervise_hosts *hosts);

/** Leaves the host out until this time. */
void supervise_host_leave_out(struct supervise_host *host, double until_s);
/** A rank died there; true when it is one too many and the host is left out from now on. */
bool supervise_host_failed(struct supervise_host *host, int failures_max, double until_s);
/** Uses it again. */
void supervise_host_take_back(struct supervise_host *host);

/** The earliest time at which a host that is left out may be tried again; 0 when none is. */
double supervise_hosts_retry_s(const struct supervise_hosts *hosts);

/** How many of `wanted` ranks the hosts in use are good for: as many as they have slots; where the file asks
 * for more ranks than slots, or names none, their share. 0 when no host is left. */
int supervise_hosts_ranks(const struct supervise_hosts *hosts, int wanted);

#endif
