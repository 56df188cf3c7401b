/* SPDX-License-Identifier: MIT
 *
 * What happened to a run, one JSON object a line in <output_dir>/events.jsonl: written by ranks, watchdogs
 * and the supervisor at the same time, from any host, read by people and programs. Lines are only ever added.
 */
#ifndef MUSTER_BASE_EVENT_LOG_H
#define MUSTER_BASE_EVENT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define EVENT_LOG_NAME "events.jsonl"

/** A line; its time is that of the call. Numbers of -1 and texts that are NULL are left out. */
struct event {
    const char *kind; /* launch, death, stopped, straggler, nan, spike, corruption, checkpoint_failed,
                         restart, give_up, done, fenced */
    int64_t epoch;    /* of the launch it belongs to */
    int rank;
    const char *host;
    int64_t step; /* the one in progress, counted from 1 */
    const char *phase;
    const char *text; /* for a person; cut at 2,000 bytes, bytes that are not UTF-8 become '?' */
};

/**
 * Adds the line with one write to a file opened for appending, under a lock where one can be had within half
 * a second: lines of any number of writers never mix. A line that an earlier writer could not finish (a full
 * disk) is closed first. Neither allocates nor waits for longer.
 */
enum muster_status event_log_append(const char *folder, const struct event *event, struct muster_error *err);

/**
 * As above, unless an event of the same kind, epoch and rank was added after the first `since_bytes` bytes of
 * the file (and within its last 64 KiB): for what several witnesses see.
 * \param added  out: this call's line is in the log; may be NULL
 */
enum muster_status event_log_append_once(const char *folder, const struct event *event, int64_t since_bytes,
                                         bool *added, struct muster_error *err);

/** Bytes in the log now; 0 when there is none. */
int64_t event_log_size(const char *folder);

#endif
