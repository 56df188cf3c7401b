/* SPDX-License-Identifier: MIT
 *
 * What a machine can do, as numbers that the cost model multiplies: arithmetic, memory, links. A profile is a
 * small YAML file: measured on this host by `muster bench machine`, or shipped in configs/profiles/ for
 * machines nobody here has, from their data sheets. What was assumed rather than measured is part of the
 * profile (struct machine_efficiency), so that every prediction can say so.
 */
#ifndef MUSTER_COORDINATOR_MACHINE_H
#define MUSTER_COORDINATOR_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"
#include "coordinator/job/job.h"

enum machine_device { MACHINE_CPU = 0, MACHINE_CUDA };

enum { MACHINE_DTYPES = 3 }; /* fp32, bf16, fp16, as in enum dtype */

/** What one core, or one device, does. 0 = not known; machine_rate says what stands in for it. */
struct machine_rates {
    double peak[MACHINE_DTYPES];               /* FLOP/s nothing can exceed: what MFU divides by */
    double matrix[MACHINE_DTYPES];             /* FLOP/s of large matrix products; 0: the peak */
    double attention_forward[MACHINE_DTYPES];  /* FLOP/s; 0: as matrix products */
    double attention_backward[MACHINE_DTYPES]; /* FLOP/s; 0: as matrix products */
    double rows[MACHINE_DTYPES];               /* bytes/s of norms and softmax; 0: as stream */
    double activation[MACHINE_DTYPES];         /* bytes/s of GELU and its derivative; 0: as rows */
    double stream;      /* bytes/s of passes over large arrays: optimizer, sums of gradients */
    double operation_s; /* added to every operation: a launch, or waking the threads */
};

/** A way from one rank to another. The time of a message is latency_s + bytes / bandwidth. */
struct machine_link {
    double latency_s; /* alpha */
    double bandwidth; /* 1 / beta, bytes/s in each direction; 0 = there is none */
};

/** Shares of the rates above that muster is assumed to reach, in (0, 1]; 1 where the rate was measured. */
struct machine_efficiency {
    double matrix, attention, stream, link;
};

struct machine_profile {
    char *name;
    char *source;  /* where the numbers are from: a document's title, or how they were measured */
    char *assumed; /* which of them nobody measured, beside the efficiencies; NULL = none */
    enum machine_device device;
    int64_t ranks_per_host;          /* of the usual host: GPUs, or ranks that share a CPU host */
    int64_t cores;                   /* of a host, for ranks on CPUs */
    double memory_bytes;             /* of a device, or of a CPU host; 0 = unknown */
    struct machine_rates rates;      /* one core while the others idle, or one device */
    struct machine_rates ranks;      /* of a core while every core is a rank of its own; 0: as `rates` */
    struct machine_rates threads;    /* of a core while one rank has all cores; 0: as `ranks` */
    int64_t attention_block;         /* queries taken at a time: the masked half of a block is computed too */
    struct machine_link host;        /* between ranks of a host, through its memory */
    struct machine_link device_link; /* between GPUs of a host: NVLink, or PCIe peer to peer */
    struct machine_link network;     /* between hosts; the bandwidth is that of a host's adapters together */
    struct machine_efficiency efficiency;
};

enum machine_rate_kind {
    MACHINE_PEAK,
    MACHINE_MATRIX,
    MACHINE_ATTENTION_FORWARD,
    MACHINE_ATTENTION_BACKWARD,
    MACHINE_ROWS,
    MACHINE_ACTIVATION,
    MACHINE_STREAM
};

/** How busy a host is: what a core does depends on what its neighbours do. */
struct machine_load {
    int64_t ranks;   /* on the host */
    int64_t threads; /* of each */
};

/**
 * What one rank of a host under this load does, FLOP/s or bytes/s, with what stands in for numbers that are
 * not known and with the assumed efficiency applied (MACHINE_PEAK excepted). On a CPU host the rate of a core
 * goes linearly from `rates` (one core busy) to `ranks` (all busy), then from there to `threads` as one rank
 * takes more of the cores; threads beyond the cores add nothing. 0 when nothing is known.
 */
double machine_rate(const struct machine_profile *profile, enum machine_rate_kind kind, enum dtype dtype,
                    const struct machine_load *load);

/** A profile without any number: the struct the caller fills before machine_profile_write. NULL: no memory.
 */
struct machine_profile *machine_profile_create(const char *name, const char *source);
/** Takes NULL. */
void machine_profile_destroy(struct machine_profile *profile);

/**
 * Reads and checks a profile. \param report  every error as "path:line:col: key: what is wrong"; filled in
 * every case; with errors the status is BAD_INPUT, `err` holds the first, and *out is NULL.
 */
enum muster_status machine_profile_parse(const char *path, const char *yaml, size_t bytes,
                                         struct job_report *report, struct machine_profile **out,
                                         struct muster_error *err);
/** The same from a file. */
enum muster_status machine_profile_load(const char *path, struct job_report *report,
                                        struct machine_profile **out, struct muster_error *err);

/** As YAML; numbers that are not known are left out. Parsing it again gives the same profile. */
enum muster_status machine_profile_write(const struct machine_profile *profile, struct text *out,
                                         struct muster_error *err);

/** What of the profile was assumed: "matrix products at 70%, … of the source's rates"; empty when all was
 * measured. */
void machine_profile_assumptions(const struct machine_profile *profile, struct text *out);

/**
 * The file of a profile: a path (it has a '/' or ends in ".yaml") as it is, otherwise the name of a shipped
 * profile, looked for in ../share/muster/profiles beside this program. BAD_INPUT for an unknown name, with
 * the names there are.
 */
enum muster_status machine_profile_find(const char *name, char path[FS_PATH_MAX], struct muster_error *err);

/**
 * Where `muster bench machine` keeps what it measured: $XDG_CACHE_HOME/muster/machine.yaml, or
 * ~/.cache/muster/machine.yaml. UNSUPPORTED where neither variable is set.
 */
enum muster_status machine_profile_cache_path(char path[FS_PATH_MAX], struct muster_error *err);

/**
 * The profile that a job or a person asks for: "none" for none, "auto" for what was measured on this host, if
 * it was, anything else as machine_profile_find. \param report  as machine_profile_load \return MUSTER_OK
 * with *out NULL where there is none.
 */
enum muster_status machine_profile_open(const char *wanted, struct job_report *report,
                                        struct machine_profile **out, struct muster_error *err);

#endif
