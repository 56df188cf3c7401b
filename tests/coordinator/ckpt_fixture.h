/* SPDX-License-Identifier: MIT
 *
 * A tiny state with everything that can go wrong in it: padding between tensors (filled with rubbish in
 * memory), a scalar, tensors across chunk borders, names with '/' and '@', pieces in descending order.
 */
#ifndef MUSTER_TESTS_CKPT_FIXTURE_H
#define MUSTER_TESTS_CKPT_FIXTURE_H

#include "base/fs.h"
#include "coordinator/ckpt/ckpt.h"

enum {
    CKPT_FIXTURE_KINDS = 3,
    CKPT_FIXTURE_TENSORS = 4,
    CKPT_FIXTURE_CHUNK = 8,
    CKPT_FIXTURE_FLAT = 64,
    CKPT_FIXTURE_PIECES = 2
};

struct ckpt_fixture {
    struct ckpt_tensor tensors[CKPT_FIXTURE_TENSORS];
    struct ckpt_layout layout;
    struct ckpt_identity identity;
    float state[CKPT_FIXTURE_KINDS][CKPT_FIXTURE_FLAT];  /* as in memory, rubbish in the padding */
    float stored[CKPT_FIXTURE_KINDS][CKPT_FIXTURE_FLAT]; /* as it must come back, zero in the padding */
};

/** A fresh folder, in memory where there is /dev/shm: these tests sync thousands of files. */
bool ckpt_fixture_folder(char path[64]);

/** A state that depends on `step` only. */
void ckpt_fixture_init(struct ckpt_fixture *fixture, int64_t step);

/** The pieces of one of `writers` ranks, pointing into `state`: a part of each half of the flat space, the
 * upper half first. */
void ckpt_fixture_pieces(struct ckpt_fixture *fixture, int writer, int writers,
                         struct ckpt_piece pieces[CKPT_FIXTURE_PIECES]);

/** The state hash, computed here from its definition. */
struct hash128 ckpt_fixture_hash(const struct ckpt_fixture *fixture);

/** Writes DIR/step-… as `writers` ranks would, the MANIFEST only when `commit`; `folder` receives the path.
 */
enum muster_status ckpt_fixture_write(struct ckpt_fixture *fixture, const char *dir, int writers, bool commit,
                                      char folder[FS_PATH_MAX], struct muster_error *err);

/** XORs one byte of a file; negative `at` counts from the end. False when it cannot. */
bool ckpt_fixture_flip(const char *path, int64_t at, unsigned char mask);

#endif
