/* SPDX-License-Identifier: MIT
 *
 * Matrix products of the CPU back end, on oneDNN. One product is cut into a fixed grid of tiles; each tile is
 * one single-threaded library call, and the inner dimension is never split between threads. That is what
 * keeps the bits independent of the number of threads (the library's own threading does not).
 */
#ifndef MUSTER_KERNELS_CPU_CPU_GEMM_H
#define MUSTER_KERNELS_CPU_CPU_GEMM_H

#include "kernels/cpu/cpu.h"

/* No edge of a tile is longer. */
enum { CPU_TILE_EDGE_MAX = 2048 };

/* c[m,n] (+)= op(a)[m,k] · op(b)[k,n] (+ bias[n]); strides are in elements between stored rows. */
struct cpu_product {
    enum dtype in, out; /* fp32 -> fp32, bf16 -> bf16, bf16 -> fp32 */
    bool transpose_a;   /* a is stored [k, m] */
    bool transpose_b;   /* b is stored [n, k] */
    bool accumulate;    /* fp32 output only */
    int64_t m, n, k;
    const void *a, *b;
    void *c;
    int64_t a_stride, b_stride, c_stride;
    const uint16_t *bias; /* bf16 output only: added before rounding; or NULL */
};

/* A rectangle of c, half open. */
struct cpu_tile {
    int64_t row, row_end, column, column_end;
};

/** What to do with a tile of c while it is still in cache. `context` is the caller's. */
typedef void (*cpu_tile_function)(void *context, const struct cpu_tile *tile);

enum muster_status cpu_gemm_create(int threads, const char *isa_name, bool isa_forced,
                                   const struct cpu_variant *variant, struct cpu_gemm **out,
                                   struct muster_error *err);
/** Takes NULL. */
void cpu_gemm_destroy(struct cpu_gemm *gemm);

/** Library, version and the instruction set it may use, such as "oneDNN 2.6.3 e7". */
void cpu_gemm_describe(const struct cpu_gemm *gemm, char *text, size_t size);

/** One tile on thread `thread`, in a parallel region whose threads have called omp_set_num_threads(1). */
enum muster_status cpu_gemm_run(struct cpu_gemm *gemm, int thread, const struct cpu_product *product);

/** The whole product on all threads; `finish` (or NULL) is called once for every tile. */
enum muster_status cpu_product_run(struct kernels *k, const struct cpu_product *product,
                                   cpu_tile_function finish, void *context, struct muster_error *err);

#endif
