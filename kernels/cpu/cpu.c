/* SPDX-License-Identifier: MIT
 *
 * Creates the CPU back end: picks the instruction set once, so that everything after is a plain call through
 * a table. oneDNN generates its own code; where a person names an instruction set, it is held to the same
 * one. It obeys only before its first use in the process, so the numerics string says what it really runs.
 */
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/cpu/cpu_gemm.h"

struct cpu_choice {
    const char *name;
    const struct cpu_variant *variant;
    bool available;
};

enum { CPU_CHOICES_MAX = 3 };

/* The instruction sets of this machine, best first; returns how many this build knows. */
static int cpu_choices_list(struct cpu_choice choices[CPU_CHOICES_MAX])
{
    int count = 0;
#if defined(__x86_64__)
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    choices[count++] = (struct cpu_choice){"avx512", &cpu_variant_avx512, v4};
    choices[count++] = (struct cpu_choice){"avx2", &cpu_variant_avx2, v3};
#endif
    choices[count++] = (struct cpu_choice){"baseline", &cpu_variant_baseline, true};
    return count;
}

static enum muster_status cpu_choice_find(const char *name, struct cpu_choice *found,
                                          struct muster_error *err)
{
    struct cpu_choice choices[CPU_CHOICES_MAX];
    int count = cpu_choices_list(choices);
    for (int i = 0; i < count; i++) {
        bool wanted = name == NULL ? choices[i].available : strcmp(name, choices[i].name) == 0;
        if (!wanted)
            continue;
        *found = choices[i];
        if (!found->available)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "cpu: this machine lacks the instruction set %s", name);
        return MUSTER_OK;
    }
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "cpu: unknown instruction set \"%s\"; there are baseline, avx2 and avx512", name);
}

enum muster_status kernels_cpu_create(int threads, const char *instruction_set, void *scratch,
                                      int64_t scratch_bytes, struct kernels **out, struct muster_error *err)
{
    *out = NULL;
    struct cpu_choice choice = {NULL, NULL, false};
    enum muster_status status = cpu_choice_find(instruction_set, &choice, err);
    if (status != MUSTER_OK)
        return status;
    if (threads < 1 || scratch_bytes < 0 || (scratch == NULL && scratch_bytes > 0))
        return muster_error_set(err, MUSTER_ERR_INTERNAL, "cpu: needs a thread and its scratch block");
    struct cpu_kernels *cpu = alloc_zeroed(1, sizeof *cpu);
    if (cpu == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cpu: no memory for the back end");
    cpu->base.ops = &choice.variant->ops;
    cpu->base.threads = threads;
    cpu->base.dtypes = 1u << DTYPE_F32 | 1u << DTYPE_BF16;
    cpu->base.scratch = scratch;
    cpu->base.scratch_bytes = scratch_bytes;
    cpu->base.numerics = cpu->numerics;
    status = cpu_gemm_create(threads, choice.name, instruction_set != NULL, choice.variant, &cpu->gemm, err);
    if (status != MUSTER_OK) {
        alloc_free(cpu);
        return status;
    }
    char library[64];
    cpu_gemm_describe(cpu->gemm, library, sizeof library);
    snprintf(cpu->numerics, sizeof cpu->numerics, "cpu %s %s", choice.name, library);
    *out = &cpu->base;
    return MUSTER_OK;
}

void cpu_destroy(struct kernels *k)
{
    struct cpu_kernels *cpu = cpu_kernels_from(k);
    cpu_gemm_destroy(cpu->gemm);
    alloc_free(cpu);
}

enum muster_status cpu_scratch_check(const struct kernels *k, int64_t bytes, const char *operation,
                                     struct muster_error *err)
{
    int64_t held = cpu_scratch_thread_bytes(k);
    if (bytes <= held)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_INTERNAL,
                            "cpu: %s needs %lld bytes of scratch per thread, there are %lld", operation,
                            (long long)bytes, (long long)held);
}
