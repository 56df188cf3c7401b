/* SPDX-License-Identifier: MIT
 *
 * What a fuzz target defines: libFuzzer and replay.c call it. A target must not keep state between calls and
 * must free what it allocates.
 */
#ifndef MUSTER_TESTS_FUZZ_H
#define MUSTER_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/** Ends the process, which is a finding, unless `kept`. */
static inline void fuzz_promise(int kept)
{
    if (!kept)
        abort();
}

/** One input; returns 0. */
__attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
