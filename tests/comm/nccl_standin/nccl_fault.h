/* SPDX-License-Identifier: MIT
 *
 * Which call of the stand-in is to fail; see nccl_standin.h for the variable's form.
 */
#ifndef MUSTER_TESTS_NCCL_FAULT_H
#define MUSTER_TESTS_NCCL_FAULT_H

#include <nccl.h>

enum fault_kind { FAULT_NONE = 0, FAULT_RETURN, FAULT_ASYNC, FAULT_LATE, FAULT_HANG, FAULT_DIE };

struct fault {
    enum fault_kind kind;
    ncclResult_t result;
};

/** Counts one call of `call` and says what is to become of it; where the process is to die, it does. */
struct fault fault_take(const char *call);

#endif
