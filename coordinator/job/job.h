/* SPDX-License-Identifier: MIT
 *
 * A job as a struct: what the YAML file says, with every default filled in. One table of fields
 * (job_fields.c) drives parsing, ranges, defaults, `muster check`, the resolved job and docs/JOB_FILE.md.
 */
#ifndef MUSTER_COORDINATOR_JOB_H
#define MUSTER_COORDINATOR_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "model/model.h"

enum job_device { JOB_DEVICE_AUTO = 0, JOB_DEVICE_CPU, JOB_DEVICE_CUDA };
enum job_data_format {
    JOB_DATA_AUTO = 0,
    JOB_DATA_BYTES,
    JOB_DATA_U16,
    JOB_DATA_U32,
    JOB_DATA_LLMC,
    JOB_DATA_IDX
};
enum job_precision { JOB_PRECISION_FP32 = 0, JOB_PRECISION_BF16, JOB_PRECISION_FP16 };
enum job_optimizer { JOB_OPTIMIZER_ADAMW = 0, JOB_OPTIMIZER_SGD };
enum job_scheduler {
    JOB_SCHEDULER_CONSTANT = 0,
    JOB_SCHEDULER_LINEAR,
    JOB_SCHEDULER_COSINE,
    JOB_SCHEDULER_WSD
};
enum job_on_busy { JOB_ON_BUSY_WAIT = 0, JOB_ON_BUSY_SKIP };
enum job_comm { JOB_COMM_AUTO = 0, JOB_COMM_MPI, JOB_COMM_NCCL };
enum job_require { JOB_REQUIRE_ANY = 0, JOB_REQUIRE_IB };
enum job_offload { JOB_OFFLOAD_NONE = 0, JOB_OFFLOAD_OPTIMIZER };
enum job_on_nan { JOB_ON_NAN_STOP = 0, JOB_ON_NAN_SKIP, JOB_ON_NAN_ROLLBACK };
enum job_on_spike { JOB_ON_SPIKE_IGNORE = 0, JOB_ON_SPIKE_STOP, JOB_ON_SPIKE_SKIP, JOB_ON_SPIKE_ROLLBACK };
enum job_reduce { JOB_REDUCE_EXACT = 0, JOB_REDUCE_FAST };
enum job_hierarchy { JOB_HIERARCHY_AUTO = 0, JOB_HIERARCHY_OFF };
enum job_launcher { JOB_LAUNCHER_AUTO = 0, JOB_LAUNCHER_MPIRUN, JOB_LAUNCHER_SRUN };

/** One file or glob of a data set; `weight` 0 means "by size". */
struct job_source {
    char *path;
    char *labels; /* idx only; NULL = derived from the image file's name */
    double weight;
    int line, column; /* where the job file names it, for messages; 0 when it came from elsewhere */
};

struct job_sources {
    struct job_source *items;
    int count;
};

/** A list of texts; what the file writes as a mapping is kept as "NAME=VALUE". */
struct job_texts {
    char **items;
    int count;
};

/** Where a key was given: counted from 1; 0 = not in the file, but nowhere or by --set. */
struct job_spot {
    int line, column;
    bool by_setting;
};

struct job {
    char *path; /* the file it came from, for messages */
    struct {
        struct job_spot precision, resume, profile;
    } spots; /* of keys that are judged later than the file is read */
    char *name;
    int64_t seed;
    char *output_dir;
    enum job_device device;
    struct {
        enum model_type type;
        int64_t num_layers, hidden_size, num_heads, num_kv_heads, ffn_hidden_size, vocab_size;
        double dropout, norm_eps, rope_base, init_std;
        bool tie_embeddings;
    } model;
    struct {
        enum job_data_format format;
        struct job_sources train, val;
        int64_t seq_len;
        bool shuffle;
        int64_t prefetch; /* slots read ahead */
    } data;
    struct {
        int64_t micro_batch_size, global_batch_size, max_steps;
        enum job_precision precision;
        bool allow_tf32;
        double loss_scale, initial_loss_scale; /* fp16; loss_scale 0 = dynamic */
        int64_t loss_scale_window;
        double grad_clip;  /* 0 = off */
        double max_time_s; /* 0 = no limit */
        enum recompute recompute;
    } train;
    struct {
        enum job_optimizer type;
        double lr, beta1, beta2, eps, weight_decay, momentum;
        bool nesterov;
    } optimizer;
    struct {
        enum job_scheduler type;
        int64_t warmup_steps;
        int64_t
            decay_steps; /* length of the fall to min_lr; 0 = until max_steps (wsd: a fifth of max_steps) */
        double min_lr;
    } scheduler;
    struct {
        int64_t logical_workers; /* resolved: never 0 after job_load */
        enum job_reduce reduce;
        int64_t zero_stage; /* 0 … 3 */
        enum job_hierarchy hierarchy;
        enum job_offload offload;
        int64_t bucket_mb;
        bool overlap_comm;
        int64_t threads; /* per rank; 0 = cores / ranks on the host */
        char *gpus;      /* "local", or the GPU of each rank of a host: "0,2,1,3" */
        bool bind_near_gpu;
    } parallel;
    struct {
        enum job_comm backend;
        enum job_require require;
        int64_t timeout_s;
    } comm;
    struct {
        char *dir;             /* resolved: output_dir/checkpoints when not given */
        int64_t save_interval; /* 0 = only at the end */
        int64_t keep_last, keep_every, keep_best;
        bool async;
        enum job_on_busy on_busy;
        bool direct_io;
        char *local_dir;     /* "none" = off; %h and %r stand for host and rank */
        int64_t flush_every; /* with local_dir: every n-th save also goes to dir */
        double retry_last_s; /* how long the last save is tried again; 0 = not */
        char *resume;        /* "auto", "never" or a checkpoint folder */
    } checkpoint;
    struct {
        int64_t interval, iters; /* interval 0 = never; iters counts micro-batches */
    } eval;
    struct {
        char *profile; /* "auto", "none", or a machine profile's name or file */
    } machine;
    struct {
        int64_t interval;
        bool jsonl;
    } logging;
    struct {
        int64_t max_restarts, give_up_after;
        double restart_backoff_s, start_timeout_s, host_retry_s;
        int64_t host_failures_max;
    } supervisor;
    struct {
        bool watchdog;
        int64_t timeout_s; /* 0 = the watchdog's own */
        enum job_on_nan on_nan;
        enum job_on_spike on_spike;
        double spike_sigma;
        int64_t spike_window;   /* steps */
        int64_t rollback_steps; /* at least so many are undone */
        int64_t limit;          /* bad steps in a row, or returns from one step */
        int64_t check_interval; /* 0 = never */
        bool replay;
    } fault;
    struct {
        enum job_launcher launcher;
        char *interface; /* a name or an address range; NULL = as the libraries choose */
        struct job_texts forward;
    } cluster;
    struct {
        /* NULL = not asked for */
        char *partition, *account, *qos, *time, *exclude, *nodelist, *constraint, *memory, *mail_user,
            *mail_type;
        int64_t nodes, ntasks_per_node, gpus_per_node, cpus_per_task; /* 0 = not asked for */
        int64_t signal_margin_s;
        bool requeue;
        struct job_texts modules, environment, options;
    } slurm;
};

/** What was wrong with a job: one line each, "file:line:col: key: message", sorted by line. */
struct job_report {
    struct text errors; /* newline-terminated lines; empty when the job is good */
    struct text notes;  /* accepted aliases, derived values */
    int error_count;
};
void job_report_init(struct job_report *report);
void job_report_release(struct job_report *report);

enum { JOB_SETTINGS_MAX = 64 };

/** What a command line changes of a job: words "section.key=VALUE", the value as a file would have it. They
 * stay the caller's. Zeroed to begin with. */
struct job_settings {
    const char *words[JOB_SETTINGS_MAX];
    int count;
};

/** Adds a word; false when there are too many. */
bool job_settings_add(struct job_settings *settings, const char *word);

/**
 * Reads, checks and resolves a job file: syntax, limits, unknown keys, types, ranges, cross-field rules.
 * Relative paths stay relative to the current directory. Does not touch data files (job_data_check in
 * coordinator/data does). \param settings  take the place of what the file says, the last of two for one key
 * counts; NULL = none \param report  filled in every case; with errors the status is BAD_INPUT and *out is
 * NULL.
 */
enum muster_status job_load(const char *path, const struct job_settings *settings, struct job_report *report,
                            struct job **out, struct muster_error *err);

/** As job_load from memory, without settings; `path` is used in messages only. */
enum muster_status job_parse(const char *path, const char *yaml, size_t bytes, struct job_report *report,
                             struct job **out, struct muster_error *err);
/** Takes NULL. */
void job_destroy(struct job *job);

/** "job.yaml:12:3: ", "--set " or "job.yaml: ", as errors of a job begin. */
void job_spot_print(const struct job *job, struct job_spot spot, struct text *out);

/** The resolved job as YAML with every key written out; parsing it again gives an equal job. */
enum muster_status job_write_yaml(const struct job *job, struct text *out, struct muster_error *err);

/** The resolved job's keys that shape the result (the table flags them), hashed: equal for jobs that compute
 * the same. */
struct hash128 job_hash(const struct job *job);

/** The model's numbers, resolved. input_size is left 0: the data set knows it. */
struct model_config job_model_config(const struct job *job);

/** The reference page docs/JOB_FILE.md, generated from the table. */
void job_write_reference(struct text *out);

const char *job_scheduler_name(enum job_scheduler type);
const char *job_reduce_name(enum job_reduce reduce);
const char *job_precision_name(enum job_precision precision);
const char *job_data_format_name(enum job_data_format format);

#endif
