/* SPDX-License-Identifier: MIT
 *
 * What the files of the CPU back end share. The arithmetic files are compiled once per instruction set;
 * CPU_NAME gives each copy its own symbols, and cpu.c picks one table when the instance is created. Work is
 * cut into tasks that depend on shapes only, never on the number of threads, so the bits do not either.
 */
#ifndef MUSTER_KERNELS_CPU_CPU_H
#define MUSTER_KERNELS_CPU_CPU_H

#include <omp.h>

#include "kernels/kernels.h"

#define CPU_PASTE_EXPANDED(name, isa) name##_##isa
#define CPU_PASTE(name, isa)          CPU_PASTE_EXPANDED(name, isa)
/* The name of a function or table in the copy being compiled: cpu_rope becomes cpu_rope_avx2. */
#define CPU_NAME(name) CPU_PASTE(name, CPU_ISA)

struct cpu_gemm;

/* Conversions of a [rows, columns] block, compiled per instruction set. */
typedef void (*cpu_widen_function)(float *y, int64_t y_stride, const uint16_t *x, int64_t x_stride,
                                   int64_t rows, int64_t columns);
typedef void (*cpu_narrow_function)(uint16_t *y, int64_t y_stride, const float *x, int64_t x_stride,
                                    const uint16_t *bias, int64_t rows, int64_t columns);

/* What one instruction set brings. */
struct cpu_variant {
    struct kernels_ops ops;
    cpu_widen_function widen;
    cpu_narrow_function narrow; /* adds the bias, if any, before rounding */
};

struct cpu_kernels {
    struct kernels base;
    struct cpu_gemm *gemm;
    char numerics[96];
};

static inline struct cpu_kernels *cpu_kernels_from(struct kernels *k)
{
    return (struct cpu_kernels *)k;
}

/** Fails with INTERNAL when an operation needs more scratch per thread than there is. */
enum muster_status cpu_scratch_check(const struct kernels *k, int64_t bytes, const char *operation,
                                     struct muster_error *err);

/** Each thread's equal share of the scratch block. */
static inline int64_t cpu_scratch_thread_bytes(const struct kernels *k)
{
    return k->scratch_bytes / k->threads / 64 * 64;
}

/** The calling thread's share of the scratch block. */
static inline void *cpu_scratch_of_thread(struct kernels *k)
{
    return (char *)k->scratch + omp_get_thread_num() * cpu_scratch_thread_bytes(k);
}

static inline int64_t cpu_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t cpu_divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* The entries of the operations table that do no arithmetic (cpu.c). */
void cpu_destroy(struct kernels *k);
/* cpu_peak.c */
double cpu_peak_flops(struct kernels *k, enum dtype dtype);

extern const struct cpu_variant cpu_variant_baseline;
#if defined(__x86_64__)
extern const struct cpu_variant cpu_variant_avx2;
extern const struct cpu_variant cpu_variant_avx512;
#endif

#endif
