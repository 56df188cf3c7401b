/* SPDX-License-Identifier: MIT
 *
 * Checkpoints as files: safetensors shards of slices of global tensors, and a MANIFEST.json that alone makes
 * them a checkpoint. No MPI here: the tools read what any number of ranks wrote.
 * worker/checkpoint/checkpoint.h is the collective side.
 *
 * Folder:  DIR/step-000001000/shard-00003-of-00008.safetensors … MANIFEST.json
 * A shard is written under a temporary name, synced, renamed; the MANIFEST's rename is the only commit. A
 * folder without a valid MANIFEST is not a checkpoint, whatever else it holds.
 *
 * State is `kind_count` arrays ("param", "adam_m", "adam_v" or "momentum") over one flat space of fp32
 * elements. Tensors are named ranges of it; elements between tensors are padding, not stored, zero. The flat
 * space is cut into chunks of fixed size that do not depend on the number of writers: the state hash is
 * XXH3-128 over the step (u64, little endian) and then, kind by kind, chunk by chunk, the XXH3-128 of the
 * chunk's bytes (16 bytes: low then high, little endian; padding as zeros).
 */
#ifndef MUSTER_COORDINATOR_CKPT_H
#define MUSTER_COORDINATOR_CKPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"

#define CKPT_MANIFEST_NAME "MANIFEST.json"

enum {
    CKPT_KINDS_MAX = 4,
    CKPT_NAME_MAX = 96,
    CKPT_DIMS_MAX = 4,
    CKPT_FORMAT_VERSION = 1,
    CKPT_BLOCK_BYTES = 1 << 20
};

struct ckpt_tensor {
    char name[CKPT_NAME_MAX];
    int dim_count;
    int64_t shape[CKPT_DIMS_MAX];
    int64_t offset, count; /* in the flat space */
};

/** The shape of a state; the caller owns the arrays. Tensors are sorted by offset and do not overlap. */
struct ckpt_layout {
    const char *kinds[CKPT_KINDS_MAX];
    int kind_count;
    const struct ckpt_tensor *tensors;
    int tensor_count;
    int64_t flat_count, chunk_elements; /* flat_count is a multiple of the chunk size (chunk_elements) */
};

/** A contiguous range of the flat space in a writer's memory (or a reader's): data[k] points at element
 * `begin` of kind k. */
struct ckpt_piece {
    int64_t begin, end;
    float *data[CKPT_KINDS_MAX];
};

/** The fp16 loss scale after the step; scale 0 where the job has none. */
struct ckpt_loss_scale {
    double scale;
    int64_t good_steps; /* since it last changed */
};

/** The loss on validation data at the step of the checkpoint, where there was an evaluation. */
struct ckpt_validation {
    bool known;
    double loss;
};

/** What decides about bad steps to come (worker/guard/health.h), after the step. */
struct ckpt_health {
    bool known;            /* false: nothing has happened and nothing is looked for; then it is not kept */
    double mean, variance; /* of the loss */
    int64_t seen;          /* losses in them */
    int64_t skipped, rollbacks;
    int64_t data_offset; /* steps of data that were left out */
    int64_t bad_step;    /* the furthest step that was rolled back from; -1: none */
    int64_t tries;       /* bad steps since the last good one, or returns from bad_step */
};

/** What the run is trained on, wherever the files lie; not known of a state that was imported. */
struct ckpt_data {
    bool known;
    int64_t sample_count;
    int file_count;
    struct hash128 hash;
};

/** Whose launch writes: a commit is refused once `folder` counts a newer one (base/epoch.h). */
struct ckpt_fence {
    const char *folder; /* of the run; NULL: nobody counts */
    int64_t epoch;
};

/** What identifies the run; kept in the MANIFEST. */
struct ckpt_identity {
    int64_t step;         /* steps done */
    struct hash128 job;   /* job_hash */
    const char *job_yaml; /* the resolved job */
    const char *numerics; /* back end, instruction set, libraries */
    int writer_count;
    int64_t tokens_seen;
    struct ckpt_loss_scale loss_scale;
    struct ckpt_validation validation; /* not kept unless finite */
    struct ckpt_health health;
    struct ckpt_data data;
    struct ckpt_fence fence; /* not kept */
};

/** How far a write is, for another thread to look at. */
struct ckpt_progress {
    _Atomic int64_t done_bytes;
};

struct ckpt_write_options {
    bool direct_io;                 /* past the page cache, where the file system can */
    struct ckpt_progress *progress; /* NULL, or counted up by every byte of a shard */
};

/* ---- writing (each rank its own shard; worker/checkpoint/checkpoint.c collects the records) ---- */

/** Name of a checkpoint folder ("step-000001000") and of a shard file; `out` has 64 bytes. */
void ckpt_format_step(char *out, int64_t step);
void ckpt_format_shard(char *out, int writer, int writer_count);

/** The step of a checkpoint folder's name, or -1 when ckpt_format_step would not give that name. */
int64_t ckpt_parse_step(const char *name);

/**
 * Writes one durable shard of these pieces into `folder`. `record` receives the shard's part of the MANIFEST
 * as JSON text: file name, bytes, XXH3-128, CRC32C of every CKPT_BLOCK_BYTES block, slices. An empty piece
 * list gives a valid shard without tensors.
 */
enum muster_status ckpt_shard_write(const char *folder, int writer, int writer_count,
                                    const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                    int piece_count, struct text *record, struct muster_error *err);

/** As ckpt_shard_write, in a way that the caller chooses. */
enum muster_status ckpt_shard_write_with(const struct ckpt_write_options *options, const char *folder,
                                         int writer, int writer_count, const struct ckpt_layout *layout,
                                         const struct ckpt_piece *pieces, int piece_count,
                                         struct text *record, struct muster_error *err);

/** Length of the file that ckpt_shard_write would make, or -1. */
int64_t ckpt_shard_bytes(int writer, int writer_count, const struct ckpt_layout *layout,
                         const struct ckpt_piece *pieces, int piece_count, struct muster_error *err);

/** XXH3-128 of every whole chunk of the pieces, kind by kind: hashes[kind · (chunks in the pieces) + i],
 * pieces in order. Pieces are chunk-aligned. */
enum muster_status ckpt_chunk_hashes(const struct ckpt_layout *layout, const struct ckpt_piece *pieces,
                                     int piece_count, struct hash128 *hashes, struct muster_error *err);

/** The state hash from all chunks' hashes: all[kind · chunks + chunk]. {0, 0} when memory is short. */
struct hash128 ckpt_state_hash(const struct ckpt_layout *layout, int64_t step, const struct hash128 *all);

/** Writes the MANIFEST durably: the commit, or FENCED. `records` in writer order. The MANIFEST hashes itself
 * (field "manifest_xxh3", computed over the text without it). */
enum muster_status ckpt_manifest_write(const char *folder, const struct ckpt_layout *layout,
                                       const struct ckpt_identity *identity, struct hash128 state_hash,
                                       const char *const *records, struct muster_error *err);

/** The text that ckpt_manifest_write would write, checked by parsing it; appended to `out`. */
enum muster_status ckpt_manifest_compose(const struct ckpt_layout *layout,
                                         const struct ckpt_identity *identity, struct hash128 state_hash,
                                         const char *const *records, struct text *out,
                                         struct muster_error *err);

/* ---- reading ---- */

struct ckpt; /* an open, structurally checked checkpoint */

/** Reads and checks the MANIFEST (self hash, version, every range and length; slices must tile every tensor
 * of every kind exactly). CORRUPT says what is wrong. */
enum muster_status ckpt_open(const char *folder, struct ckpt **out, struct muster_error *err);
/** The same from a MANIFEST's text, for a `folder` that may hold only some of the shards. */
enum muster_status ckpt_open_text(const char *text, size_t bytes, const char *folder, struct ckpt **out,
                                  struct muster_error *err);
void ckpt_close(struct ckpt *ckpt);

int64_t ckpt_step(const struct ckpt *ckpt);
int64_t ckpt_tokens_seen(const struct ckpt *ckpt);
struct ckpt_loss_scale ckpt_loss_scale(const struct ckpt *ckpt);
struct ckpt_validation ckpt_validation(const struct ckpt *ckpt);
struct ckpt_health ckpt_health(const struct ckpt *ckpt);
struct ckpt_data ckpt_data(const struct ckpt *ckpt);
struct hash128 ckpt_job_hash(const struct ckpt *ckpt);
struct hash128 ckpt_recorded_state_hash(const struct ckpt *ckpt);
const char *ckpt_job_yaml(const struct ckpt *ckpt);
const char *ckpt_numerics(const struct ckpt *ckpt);
int ckpt_shard_count(const struct ckpt *ckpt);
int64_t ckpt_total_bytes(const struct ckpt *ckpt);
const struct ckpt_layout *ckpt_layout(const struct ckpt *ckpt);

/** Reads all of one shard and compares length, every CRC32C, the XXH3-128 and the safetensors header with the
 * MANIFEST. CORRUPT names file and first bad byte block. */
enum muster_status ckpt_shard_verify(const struct ckpt *ckpt, int shard, struct muster_error *err);

/** The part of ckpt_shard_verify that is about the header: the blocks that hold it, and what it says. */
enum muster_status ckpt_header_verify(const struct ckpt *ckpt, int shard, struct muster_error *err);

/** All shards, then the state hash recomputed from the data against the MANIFEST. */
enum muster_status ckpt_verify(const struct ckpt *ckpt, struct muster_error *err);

/** Recomputes the state hash from the stored data. */
enum muster_status ckpt_hash(const struct ckpt *ckpt, struct hash128 *out, struct muster_error *err);

/**
 * Reads flat elements [begin, end) of one kind from whatever shards hold them; padding becomes zero. Memory:
 * the output only. Verify first: this checks lengths, not hashes.
 */
enum muster_status ckpt_read(const struct ckpt *ckpt, int kind, int64_t begin, int64_t end, float *out,
                             struct muster_error *err);

/**
 * Everything that the pieces want, each block compared with its CRC32C before its elements are put down;
 * padding becomes zero. Reads nothing else and nothing twice. The caller compares headers
 * (ckpt_header_verify) and the state hash. Memory: that of fs_ahead.h. \param direct  past the page cache
 * \return CORRUPT names file and block; the pieces may then be partly written
 */
enum muster_status ckpt_pieces_read(const struct ckpt *ckpt, const struct ckpt_piece *pieces, int piece_count,
                                    bool direct, struct muster_error *err);

/** Zeroes what belongs to no tensor. */
void ckpt_padding_clear(const struct ckpt_layout *layout, const struct ckpt_piece *pieces, int piece_count);

/** Where the data of a shard begin in its file, and where the file ends. */
void ckpt_shard_span(const struct ckpt *ckpt, int shard, int64_t *begin, int64_t *end);

/** Bytes of a shard's file. */
enum muster_status ckpt_shard_read(const struct ckpt *ckpt, int shard, int64_t offset, void *data,
                                   int64_t bytes, struct muster_error *err);

/** Puts file bytes [offset, offset + bytes) of a shard, whole elements, where they belong in the pieces. */
void ckpt_shard_scatter(const struct ckpt *ckpt, int shard, int64_t offset, const void *data, int64_t bytes,
                        const struct ckpt_piece *pieces, int piece_count);

/* ---- the catalogue: DIR with its step folders ---- */

struct ckpt_entry {
    char folder[64]; /* name inside DIR */
    int64_t step;
    bool committed;   /* has a MANIFEST that opens */
    char reason[256]; /* why not, otherwise empty */
    int64_t bytes;
    int shard_count;
    struct ckpt_validation validation;
};
struct ckpt_catalogue {
    struct ckpt_entry *entries; /* newest first */
    int count;
};
/** A missing DIR gives an empty catalogue. */
enum muster_status ckpt_catalogue_read(const char *dir, struct ckpt_catalogue *catalogue,
                                       struct muster_error *err);
void ckpt_catalogue_release(struct ckpt_catalogue *catalogue);

/** Deletes the oldest committed checkpoints beyond `keep_last` (never fewer than 2 kept), and uncommitted
 * folders older than the newest committed one. A folder loses its MANIFEST first. */
enum muster_status ckpt_prune(const char *dir, int keep_last, struct muster_error *err);

/** Moves checkpoints of steps after `step`, or what there is of them, into a new folder DIR/given-up-N, where
 * nobody looks for any: a run that begins before them would be continued from them. `said` receives a line
 * when there were some. */
enum muster_status ckpt_give_up_later(const char *dir, int64_t step, struct text *said,
                                      struct muster_error *err);

/** One line: how many folders DIR/given-up-N there are, what their checkpoints hold, and the command that
 * removes them, which nobody else does. Nothing when there is none. \param title  begins the line */
void ckpt_given_up_print(const char *dir, const char *title, struct text *out);

/* ---- the verbs `muster ckpt ls | verify | hash`: lines for a person ---- */
/** `path` may be a checkpoint folder, a folder of checkpoints, or a run folder (then its checkpoints/). */
enum muster_status ckpt_command_list(const char *path, struct text *out, struct muster_error *err);
enum muster_status ckpt_command_verify(const char *path, struct text *out, struct muster_error *err);
/** 32 hex digits, two spaces, folder: one line a checkpoint; a single checkpoint gives one line. */
enum muster_status ckpt_command_hash(const char *path, struct text *out, struct muster_error *err);

#endif
