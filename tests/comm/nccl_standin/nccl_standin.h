/* SPDX-License-Identifier: MIT
 *
 * A stand-in for NCCL under its real names, for the calls that comm/nccl*.c makes: MPI moves the bytes, and
 * the CUDA runtime, or its stand-in, copies between device and host. Every communicator behaves like a
 * non-blocking one: a call posts its messages and says "in progress", and ncclCommGetAsyncError moves them
 * on. It refuses what NCCL forbids: a call while another is in progress, set-up within a group, a blocking
 * communicator. To finalize takes all ranks. Where one has died, who waits gets ncclRemoteError at once.
 * Where streams put their work off (MUSTER_STANDIN_DEFER), it ends a process that overwrites what it sends
 * before the collective is over on its stream.
 *
 * The environment makes calls fail, several faults separated by ';':
 *
 *     MUSTER_NCCL_STANDIN_FAIL="<call>:<n>:<result>"        the n-th call of this name returns this result
 *                              "async:<call>:<n>:<result>"  …does nothing; ncclCommGetAsyncError reports it
 *                              "late:<call>:<n>:<result>"   …does nothing but says it did; as async after
 *                              "hang:<call>:<n>"            …does nothing and never ends; of an abort, never returns, and nothing
 * that waits for the device does from then on
 *                              "die:<call>:<n>"             the process is killed
 *
 * counted from when the variable last changed; with MUSTER_NCCL_STANDIN_RANK, on that rank only.
 * MUSTER_NCCL_STANDIN_LOG is written to NCCL_DEBUG_FILE by the set-up of a communicator;
 * MUSTER_NCCL_STANDIN_PAIRS is how many bytes of the GPU's memory it takes to talk to another rank, or fails
 * for want of.
 */
#ifndef MUSTER_TESTS_NCCL_STANDIN_H
#define MUSTER_TESTS_NCCL_STANDIN_H

#include <stdint.h>

/**
 * Nanoseconds to add to the clock of the program under test. A fault tells the other ranks' stand-ins about
 * itself; whoever then polls for what will never come sees an hour pass. So time limits are met without
 * waiting, and only when something did fail.
 */
int64_t nccl_standin_jump_ns(void);

/** Communicators neither destroyed nor aborted. */
int nccl_standin_live_count(void);

#endif
