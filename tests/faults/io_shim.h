/* SPDX-License-Identifier: MIT
 *
 * A library for LD_PRELOAD that stands between a program and the system calls of a durable write: it makes
 * chosen ones fail, and writes down all of them for a replay.
 *
 *   MUSTER_IO_WATCH   only files below this folder
 *   MUSTER_IO_FAULT   CALL:N:ERROR:once|ever: the N-th call (from 1) of open, write, fsync, close, rename,
 * mkdir, fallocate or ftruncate fails with EIO, ENOSPC, EDQUOT or EINTR, or (write only) is SHORT; `ever`: so
 * do all after it MUSTER_IO_ARMED   1: counting begins at the start of the program, not with io_shim_arm
 *   MUSTER_IO_RECORD  the file that all calls are written to, as struct io_record and what follows it
 *
 * A program that is linked without the library refers to its functions weakly.
 */
#ifndef MUSTER_TESTS_IO_SHIM_H
#define MUSTER_TESTS_IO_SHIM_H

#include <stdint.h>

enum io_call {
    IO_OPEN,
    IO_WRITE,
    IO_FSYNC,
    IO_CLOSE,
    IO_RENAME,
    IO_MKDIR,
    IO_FALLOCATE,
    IO_FTRUNCATE,
    IO_CALLS
};

/** Counting and failing begins anew, or ends. */
__attribute__((weak, visibility("default"))) void io_shim_arm(int on);
/** Calls of a kind since io_shim_arm. */
__attribute__((weak, visibility("default"))) int io_shim_count(enum io_call call);
/** A mark in the record, such as "this step was acknowledged". */
__attribute__((weak, visibility("default"))) void io_shim_mark(int64_t value);

enum io_op {
    IO_OP_CREATE,
    IO_OP_WRITE,
    IO_OP_TRUNCATE,
    IO_OP_SYNC,
    IO_OP_RENAME,
    IO_OP_MKDIR,
    IO_OP_REMOVE,
    IO_OP_MARK
};

/** Followed by path, other path, then `bytes` bytes of data (IO_OP_WRITE only). Paths are not terminated. */
struct io_record {
    uint32_t op, path_bytes, other_bytes, unused;
    int64_t offset; /* of a write; new length of a truncation; value of a mark */
    int64_t bytes;
};

#endif
