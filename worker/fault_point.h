/* SPDX-License-Identifier: MIT
 *
 * Named places where a test makes a rank fail. They are compiled in always, so that what is tested is what
 * runs, and do nothing (one load and a branch) unless MUSTER_FAULT names them:
 *
 *   MUSTER_FAULT       NAME:RANK:HIT:ACTION[@PROCESS], several separated by commas
 *   MUSTER_FAULT_ONCE  a file that grows by one byte with each fault that fired; a process started with n
 * bytes in it waits for fault n alone, so that every fault of the list fires once however often the job is
 * restarted. Without it every process waits for the first fault.
 *
 * HIT counts from 1 within a process. ACTION is kill, segv, abort, exit0, stop, hang, term, usr1, oom or eio.
 * PROCESS says who gets a signal: rank (default), mpirun (the rank's parent) or supervisor (its parent).
 */
#ifndef MUSTER_WORKER_FAULT_POINT_H
#define MUSTER_WORKER_FAULT_POINT_H

#include "comm/comm.h"

/** Reads the environment; called once, first in main. BAD_INPUT for a fault that cannot be read. */
enum muster_status fault_point_init(struct muster_error *err);

/**
 * Fails here if asked to. With `oom` the next call for heap memory in this process fails; `eio` has no
 * meaning here. Any thread.
 */
void fault_point(const char *name);

/** As above where a failure can be returned: `oom` gives NO_MEMORY and `eio` IO, with the place in `err`. */
enum muster_status fault_point_status(const char *name, struct muster_error *err);

/**
 * Makes every collective of `comm`, and of communicators made from it later, a fault point of its name
 * (barrier, broadcast, all_gather, exchange, reduce_scatter, all_reduce, local_barrier). Changes nothing when
 * no fault is waited for. Once in a process, before the first collective.
 */
void fault_point_collectives(struct comm *comm);

#endif
