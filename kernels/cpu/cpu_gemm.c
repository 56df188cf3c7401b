/* SPDX-License-Identifier: MIT
 *
 * The only file that knows oneDNN (2.6 and 3.x). fp32 goes to its sgemm, which needs no set-up. bf16 goes to
 * matmul primitives where the processor multiplies bf16 itself: creating one costs more than a small product,
 * so each thread keeps those it has met; a training step meets no new shapes after its first. Elsewhere
 * blocks are widened to fp32 and go through sgemm, which is the same arithmetic at the speed of fp32.
 */
#include "kernels/cpu/cpu_gemm.h"

#include <dnnl.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Edge of the blocks that the widening path works on. */
enum { CPU_GEMM_BLOCK = 256 };

/* What a matmul primitive depends on; compared as bytes, so it has no padding. */
struct cpu_gemm_key {
    int64_t m, n, k, a_stride, b_stride, c_stride;
    int64_t flags;
};

enum { CPU_GEMM_SOURCE, CPU_GEMM_WEIGHTS, CPU_GEMM_BIAS, CPU_GEMM_TARGET, CPU_GEMM_PAD, CPU_GEMM_MEMORIES };

static const int cpu_gemm_argument[CPU_GEMM_MEMORIES] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS,
                                                         DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};

struct cpu_gemm_entry {
    struct cpu_gemm_key key;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[CPU_GEMM_MEMORIES]; /* NULL where the primitive has no such argument */
};

struct cpu_gemm_thread {
    dnnl_stream_t stream;
    struct cpu_gemm_entry *entries;
    size_t count, capacity;
    void *pad; /* the primitives' scratchpad, or the blocks of the widening path */
    size_t pad_bytes;
};

struct cpu_gemm {
    dnnl_engine_t engine;
    bool native_bf16;
    const struct cpu_variant *variant;
    int threads;
    struct cpu_gemm_thread thread[];
};

static enum muster_status cpu_gemm_status(dnnl_status_t status)
{
    if (status == dnnl_success)
        return MUSTER_OK;
    return status == dnnl_out_of_memory ? MUSTER_ERR_NO_MEMORY : MUSTER_ERR_INTERNAL;
}

/* Holds oneDNN to a named instruction set; it refuses after its first use, which the description shows. */
static void cpu_gemm_restrict(const char *isa_name)
{
#if defined(__x86_64__)
    if (strcmp(isa_name, "baseline") == 0)
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    else if (strcmp(isa_name, "avx2") == 0)
        dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
#else
    (void)isa_name;
#endif
}

static bool cpu_gemm_has_bf16(const char *isa_name)
{
#if defined(__x86_64__)
    const unsigned bf16 = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    return strcmp(isa_name, "avx512") == 0 && ((unsigned)dnnl_get_effective_cpu_isa() & bf16) == bf16;
#else
    (void)isa_name;
    return false;
#endif
}

/* Makes room for `bytes` in a thread's pad, which only grows. */
static enum muster_status cpu_gemm_pad_reserve(struct cpu_gemm_thread *thread, size_t bytes)
{
    if (bytes <= thread->pad_bytes)
        return MUSTER_OK;
    void *pad = alloc_aligned(bytes, 64);
    if (pad == NULL)
        return MUSTER_ERR_NO_MEMORY;
    alloc_free(thread->pad);
    thread->pad = pad;
    thread->pad_bytes = bytes;
    return MUSTER_OK;
}

enum muster_status cpu_gemm_create(int threads, const char *isa_name, bool isa_forced,
                                   const struct cpu_variant *variant, struct cpu_gemm **out,
                                   struct muster_error *err)
{
    *out = NULL;
    if (isa_forced)
        cpu_gemm_restrict(isa_name);
    struct cpu_gemm *gemm = alloc_zeroed(1, sizeof *gemm + (size_t)threads * sizeof(struct cpu_gemm_thread));
    if (gemm == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cpu: no memory for the matrix library");
    gemm->threads = threads;
    gemm->variant = variant;
    gemm->native_bf16 = cpu_gemm_has_bf16(isa_name);
    enum muster_status status = cpu_gemm_status(dnnl_engine_create(&gemm->engine, dnnl_cpu, 0));
    for (int i = 0; status == MUSTER_OK && i < threads; i++) {
        struct cpu_gemm_thread *thread = &gemm->thread[i];
        status =
            cpu_gemm_status(dnnl_stream_create(&thread->stream, gemm->engine, dnnl_stream_default_flags));
        if (status == MUSTER_OK && !gemm->native_bf16)
            status = cpu_gemm_pad_reserve(thread, 3 * CPU_GEMM_BLOCK * CPU_GEMM_BLOCK * sizeof(float));
    }
    if (status != MUSTER_OK) {
        cpu_gemm_destroy(gemm);
        return muster_error_set(err, status, "cpu: oneDNN gives no CPU engine (%s)",
                                muster_status_name(status));
    }
    *out = gemm;
    return MUSTER_OK;
}

static void cpu_gemm_entry_release(struct cpu_gemm_entry *entry)
{
    for (int i = 0; i < CPU_GEMM_MEMORIES; i++) {
        if (entry->memory[i] != NULL)
            dnnl_memory_destroy(entry->memory[i]);
    }
    if (entry->primitive != NULL)
        dnnl_primitive_destroy(entry->primitive);
}

void cpu_gemm_destroy(struct cpu_gemm *gemm)
{
    if (gemm == NULL)
        return;
    for (int i = 0; i < gemm->threads; i++) {
        struct cpu_gemm_thread *thread = &gemm->thread[i];
        for (size_t e = 0; e < thread->count; e++)
            cpu_gemm_entry_release(&thread->entries[e]);
        alloc_free(thread->entries);
        alloc_free(thread->pad);
        if (thread->stream != NULL)
            dnnl_stream_destroy(thread->stream);
    }
    if (gemm->engine != NULL)
        dnnl_engine_destroy(gemm->engine);
    alloc_free(gemm);
}

void cpu_gemm_describe(const struct cpu_gemm *gemm, char *text, size_t size)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d isa %x bf16 %s", version->major, version->minor, version->patch,
             (unsigned)dnnl_get_effective_cpu_isa(), gemm->native_bf16 ? "native" : "widened");
}

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t cpu_gemm_desc;
#else
typedef struct {
    dnnl_memory_desc_t held;
    bool given;
} cpu_gemm_desc;
#endif

/* Describes a matrix of which consecutive rows and columns lie the given number of elements apart. */
static dnnl_status_t cpu_gemm_desc_init(cpu_gemm_desc *desc, dnnl_data_type_t type, int64_t rows,
                                        int64_t columns, int64_t row_stride, int64_t column_stride)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(desc, 2, dims, type, strides);
#else
    desc->given = true;
    return dnnl_memory_desc_init_by_strides(&desc->held, 2, dims, type, strides);
#endif
}

static void cpu_gemm_desc_release(cpu_gemm_desc *desc)
{
#if DNNL_VERSION_MAJOR >= 3
    if (*desc != NULL)
        dnnl_memory_desc_destroy(*desc);
#else
    (void)desc;
#endif
}

static dnnl_status_t cpu_gemm_memory_create(dnnl_memory_t *memory, const cpu_gemm_desc *desc,
                                            dnnl_engine_t engine)
{
#if DNNL_VERSION_MAJOR >= 3
    return *desc == NULL ? dnnl_success : dnnl_memory_create(memory, *desc, engine, DNNL_MEMORY_NONE);
#else
    return !desc->given ? dnnl_success : dnnl_memory_create(memory, &desc->held, engine, DNNL_MEMORY_NONE);
#endif
}

static dnnl_status_t cpu_gemm_sum_append(dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t operations = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&operations);
    if (status != dnnl_success)
        return status;
#if DNNL_VERSION_MAJOR >= 3
    status = dnnl_post_ops_append_sum(operations, 1.0f, 0, dnnl_data_type_undef);
#else
    status = dnnl_post_ops_append_sum(operations, 1.0f);
#endif
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(attr, operations);
    dnnl_post_ops_destroy(operations);
    return status;
}

static dnnl_status_t cpu_gemm_primitive_desc_create(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                                    const cpu_gemm_desc desc[], dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(out, engine, desc[CPU_GEMM_SOURCE], desc[CPU_GEMM_WEIGHTS],
                                             desc[CPU_GEMM_BIAS], desc[CPU_GEMM_TARGET], attr);
#else
    const cpu_gemm_desc *bias = &desc[CPU_GEMM_BIAS];
    dnnl_matmul_desc_t operation;
    dnnl_status_t status =
        dnnl_matmul_desc_init(&operation, &desc[CPU_GEMM_SOURCE].held, &desc[CPU_GEMM_WEIGHTS].held,
                              bias->given ? &bias->held : NULL, &desc[CPU_GEMM_TARGET].held);
    if (status != dnnl_success)
        return status;
    return dnnl_primitive_desc_create(out, &operation, attr, engine, NULL);
#endif
}

/* Describes all arguments but the scratchpad, which the primitive itself decides. */
static dnnl_status_t cpu_gemm_descs_init(cpu_gemm_desc desc[], const struct cpu_product *p)
{
    const dnnl_data_type_t out = p->out == DTYPE_F32 ? dnnl_f32 : dnnl_bf16;
    dnnl_status_t status =
        cpu_gemm_desc_init(&desc[CPU_GEMM_SOURCE], dnnl_bf16, p->m, p->k, p->transpose_a ? 1 : p->a_stride,
                           p->transpose_a ? p->a_stride : 1);
    if (status == dnnl_success)
        status = cpu_gemm_desc_init(&desc[CPU_GEMM_WEIGHTS], dnnl_bf16, p->k, p->n,
                                    p->transpose_b ? 1 : p->b_stride, p->transpose_b ? p->b_stride : 1);
    if (status == dnnl_success)
        status = cpu_gemm_desc_init(&desc[CPU_GEMM_TARGET], out, p->m, p->n, p->c_stride, 1);
    if (status == dnnl_success && p->bias != NULL)
        status = cpu_gemm_desc_init(&desc[CPU_GEMM_BIAS], dnnl_bf16, 1, p->n, p->n, 1);
    return status;
}

/* The scratchpad's memory object; the size it needs goes to `bytes`. */
static dnnl_status_t cpu_gemm_pad_create(struct cpu_gemm_entry *entry, dnnl_primitive_desc_t primitive_desc,
                                         dnnl_engine_t engine, size_t *bytes)
{
#if DNNL_VERSION_MAJOR >= 3
    const_dnnl_memory_desc_t desc = dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_scratchpad_md, 0);
#else
    const dnnl_memory_desc_t *desc =
        dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_scratchpad_md, 0);
#endif
    *bytes = desc == NULL ? 0 : dnnl_memory_desc_get_size(desc);
    if (*bytes == 0)
        return dnnl_success;
    return dnnl_memory_create(&entry->memory[CPU_GEMM_PAD], desc, engine, DNNL_MEMORY_NONE);
}

static dnnl_status_t cpu_gemm_entry_init(struct cpu_gemm_entry *entry, dnnl_engine_t engine,
                                         const struct cpu_product *p, size_t *pad_bytes)
{
    cpu_gemm_desc desc[CPU_GEMM_MEMORIES];
    memset(desc, 0, sizeof desc);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t primitive_desc = NULL;
    dnnl_status_t status = cpu_gemm_descs_init(desc, p);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && p->accumulate)
        status = cpu_gemm_sum_append(attr);
    if (status == dnnl_success)
        status = cpu_gemm_primitive_desc_create(&primitive_desc, engine, desc, attr);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&entry->primitive, primitive_desc);
    for (int i = 0; status == dnnl_success && i < CPU_GEMM_PAD; i++)
        status = cpu_gemm_memory_create(&entry->memory[i], &desc[i], engine);
    if (status == dnnl_success)
        status = cpu_gemm_pad_create(entry, primitive_desc, engine, pad_bytes);
    if (primitive_desc != NULL)
        dnnl_primitive_desc_destroy(primitive_desc);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    for (int i = 0; i < CPU_GEMM_MEMORIES; i++)
        cpu_gemm_desc_release(&desc[i]);
    return status;
}

/* The thread's primitive for this shape, made on its first use; NULL and *status on failure. */
static struct cpu_gemm_entry *cpu_gemm_entry_find(struct cpu_gemm *gemm, struct cpu_gemm_thread *thread,
                                                  const struct cpu_product *p, enum muster_status *status)
{
    const struct cpu_gemm_key key = {p->m,
                                     p->n,
                                     p->k,
                                     p->a_stride,
                                     p->b_stride,
                                     p->c_stride,
                                     (p->out == DTYPE_F32) | (p->transpose_a << 1) | (p->transpose_b << 2) |
                                         (p->accumulate << 3) | ((p->bias != NULL) << 4)};
    for (size_t i = 0; i < thread->count; i++) {
        if (memcmp(&thread->entries[i].key, &key, sizeof key) == 0)
            return &thread->entries[i];
    }
    *status = MUSTER_ERR_NO_MEMORY;
    if (thread->count == thread->capacity) {
        size_t capacity = thread->capacity == 0 ? 32 : 2 * thread->capacity;
        struct cpu_gemm_entry *entries = alloc_resize(thread->entries, capacity, sizeof *entries);
        if (entries == NULL)
            return NULL;
        thread->entries = entries;
        thread->capacity = capacity;
    }
    struct cpu_gemm_entry *entry = &thread->entries[thread->count];
    memset(entry, 0, sizeof *entry);
    entry->key = key;
    size_t pad_bytes = 0;
    *status = cpu_gemm_status(cpu_gemm_entry_init(entry, gemm->engine, p, &pad_bytes));
    if (*status == MUSTER_OK)
        *status = cpu_gemm_pad_reserve(thread, pad_bytes);
    if (*status != MUSTER_OK) {
        cpu_gemm_entry_release(entry);
        return NULL;
    }
    thread->count++;
    return entry;
}

static enum muster_status cpu_gemm_run_native(struct cpu_gemm *gemm, struct cpu_gemm_thread *thread,
                                              const struct cpu_product *p)
{
    enum muster_status found = MUSTER_OK;
    struct cpu_gemm_entry *entry = cpu_gemm_entry_find(gemm, thread, p, &found);
    if (entry == NULL)
        return found;
    void *const blocks[CPU_GEMM_MEMORIES] = {(void *)p->a, (void *)p->b, (void *)p->bias, p->c, thread->pad};
    dnnl_exec_arg_t arguments[CPU_GEMM_MEMORIES];
    int count = 0;
    dnnl_status_t status = dnnl_success;
    for (int i = 0; status == dnnl_success && i < CPU_GEMM_MEMORIES; i++) {
        if (entry->memory[i] == NULL)
            continue;
        arguments[count++] = (dnnl_exec_arg_t){cpu_gemm_argument[i], entry->memory[i]};
        status = dnnl_memory_set_data_handle(entry->memory[i], blocks[i]);
    }
    if (status == dnnl_success)
        status = dnnl_primitive_execute(entry->primitive, thread->stream, count, arguments);
    return cpu_gemm_status(status);
}

static dnnl_status_t cpu_gemm_run_fp32(const struct cpu_product *p)
{
    return dnnl_sgemm(p->transpose_a ? 'T' : 'N', p->transpose_b ? 'T' : 'N', p->m, p->n, p->k, 1.0f, p->a,
                      p->a_stride, p->b, p->b_stride, p->accumulate ? 1.0f : 0.0f, p->c, p->c_stride);
}

/* Fills one block of c, at most CPU_GEMM_BLOCK on a side: operands are widened piece by piece along k. */
static dnnl_status_t cpu_gemm_run_block(const struct cpu_gemm *gemm, float *pad, const struct cpu_product *p)
{
    float *a = pad, *b = a + CPU_GEMM_BLOCK * CPU_GEMM_BLOCK, *c = b + CPU_GEMM_BLOCK * CPU_GEMM_BLOCK;
    struct cpu_product wide = {.in = DTYPE_F32, .out = DTYPE_F32, .m = p->m, .n = p->n, .a = a, .b = b};
    wide.transpose_a = p->transpose_a;
    wide.transpose_b = p->transpose_b;
    wide.accumulate = p->out == DTYPE_F32 && p->accumulate;
    wide.c = p->out == DTYPE_F32 ? p->c : c;
    wide.c_stride = p->out == DTYPE_F32 ? p->c_stride : p->n;
    for (int64_t k = 0; k < p->k; k += CPU_GEMM_BLOCK) {
        wide.k = cpu_least(CPU_GEMM_BLOCK, p->k - k);
        wide.a_stride = p->transpose_a ? p->m : wide.k;
        wide.b_stride = p->transpose_b ? wide.k : p->n;
        const uint16_t *a_part = (const uint16_t *)p->a + (p->transpose_a ? k * p->a_stride : k);
        const uint16_t *b_part = (const uint16_t *)p->b + (p->transpose_b ? k : k * p->b_stride);
        gemm->variant->widen(a, wide.a_stride, a_part, p->a_stride, p->transpose_a ? wide.k : p->m,
                             wide.a_stride);
        gemm->variant->widen(b, wide.b_stride, b_part, p->b_stride, p->transpose_b ? p->n : wide.k,
                             wide.b_stride);
        dnnl_status_t status = cpu_gemm_run_fp32(&wide);
        if (status != dnnl_success)
            return status;
        wide.accumulate = true;
    }
    if (p->out == DTYPE_BF16)
        gemm->variant->narrow(p->c, p->c_stride, c, p->n, p->bias, p->m, p->n);
    return dnnl_success;
}

static enum muster_status cpu_gemm_run_widened(const struct cpu_gemm *gemm, float *pad,
                                               const struct cpu_product *p)
{
    dnnl_status_t status = dnnl_success;
    for (int64_t row = 0; row < p->m; row += CPU_GEMM_BLOCK) {
        for (int64_t column = 0; status == dnnl_success && column < p->n; column += CPU_GEMM_BLOCK) {
            struct cpu_product block = *p;
            block.m = cpu_least(CPU_GEMM_BLOCK, p->m - row);
            block.n = cpu_least(CPU_GEMM_BLOCK, p->n - column);
            block.a = (const uint16_t *)p->a + (p->transpose_a ? row : row * p->a_stride);
            block.b = (const uint16_t *)p->b + (p->transpose_b ? column * p->b_stride : column);
            block.c = (char *)p->c + (row * p->c_stride + column) * (p->out == DTYPE_F32 ? 4 : 2);
            if (p->bias != NULL)
                block.bias = p->bias + column;
            status = cpu_gemm_run_block(gemm, pad, &block);
        }
    }
    return cpu_gemm_status(status);
}

enum muster_status cpu_gemm_run(struct cpu_gemm *gemm, int thread, const struct cpu_product *product)
{
    if (product->in == DTYPE_F32)
        return cpu_gemm_status(cpu_gemm_run_fp32(product));
    if (gemm->native_bf16)
        return cpu_gemm_run_native(gemm, &gemm->thread[thread], product);
    return cpu_gemm_run_widened(gemm, gemm->thread[thread].pad, product);
}
