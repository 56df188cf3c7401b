/* SPDX-License-Identifier: MIT
 *
 * What every communicator must do, whatever it talks through: each function runs one collective on however
 * many ranks there are, with small integers whose result is known in closed form.
 *
 * `device_bias` bytes lie between an address and the one the communicator is given (0 for host memory): with
 * a large one, a communicator that touches device memory itself is ended by the processor.
 */
#ifndef MUSTER_TESTS_COMM_CASE_H
#define MUSTER_TESTS_COMM_CASE_H

#include <stdint.h>

#include "comm/comm.h"

enum { COMM_CASE_RANKS_MAX = 64 };

/** What rank r sends to rank s: its length (0 for some pairs) and its bytes. */
int64_t pair_bytes(int r, int s);
unsigned char pair_byte(int r, int s, int64_t i);

void broadcast_check(struct comm *c, uintptr_t device_bias);
void all_gather_check(struct comm *c, uintptr_t device_bias);
void exchange_check(struct comm *c, uintptr_t device_bias);
void reduce_scatter_check(struct comm *c, uintptr_t device_bias);
void all_reduce_check(struct comm *c, uintptr_t device_bias);
/** Sums and an all-gather of megabytes; host memory only. */
void long_sums_check(struct comm *c);
/** Every one above but the long ones. */
void collectives_check(struct comm *c, uintptr_t device_bias);

#endif
