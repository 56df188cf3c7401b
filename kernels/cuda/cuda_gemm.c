/* SPDX-License-Identifier: MIT
 *
 * cuBLASLt thinks in columns: a row-major c = a · b is its cᵀ = bᵀ · aᵀ, so our b is its A and our a its B,
 * and nothing is copied.
 *
 * An algorithm decides the bits, so it is asked for once per key and then pinned. The key holds everything
 * that the library's answer depends on: shapes, strides, types, epilogue, and how far pointers are aligned.
 * Alignment counts up to 16 bytes only, and the question shows the library a made-up address of exactly that
 * alignment, so that where an array happens to lie cannot change a result. The table has a fixed size, so
 * nothing is allocated after creation; a full table forgets, and the library gives the same answer again. It
 * may not be asked while the stream is recorded (13.3 fails then): what is recorded has run before.
 *
 * Row sums ride along (BGRADB) only where the library takes for them the algorithm that it takes without
 * them: on Hopper a product that is handed to a kernel of an older kind loses ten times what a pass over dy
 * costs, and such a fall has been met (NVIDIA/CUDALibrarySamples issue 90, A100, 11.7); where nothing falls,
 * on an RTX 5090 with 13.3, the products of GPT-2 124M with their sums were seen to take a quarter to a third
 * less this way. The sums are of the library's B, our a, over k, unscaled, in c's type; cuBLASLt 13.0 refuses
 * them for a B that is not transposed (seen on an RTX 3060).
 *
 * Split sums are allowed only where the parts are kept in fp32 and added in a fixed order, and only over
 * whole pieces: cuBLASLt 12.8 to 13.2 is reported to leave the last k % 64 terms out of some split sums
 * (github.com/facebookexperimental/triton/pull/2767).
 */
#include "kernels/cuda/cuda_gemm.h"

#include <cublasLt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { GEMM_ENTRIES = 512, GEMM_ALIGNMENT_MAX = 16, GEMM_CANDIDATES = 8, GEMM_SPLIT_PIECE = 64 };

/* All of one type: compared and hashed as bytes. */
struct gemm_key {
    int64_t in, out, transpose_a, transpose_b, accumulate, epilogue;
    int64_t m, n, k, a_stride, b_stride, c_stride;
    int64_t a_alignment, b_alignment, c_alignment, extra_alignment, workspace_bytes;
};

struct gemm_entry {
    bool used, supported;
    bool passed_over; /* there is an algorithm, of another kind than without the row sums */
    struct gemm_key key;
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t a, b, c; /* the library's A and B */
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
};

struct cuda_gemm {
    cublasLtHandle_t handle;
    cublasComputeType_t fp32_compute;
    struct gemm_entry entries[GEMM_ENTRIES];
};

static const char *const gemm_epilogues[] = {"", " with a bias", " with the slope of GELU", " with row sums"};

static enum muster_status gemm_check(cublasStatus_t result, const char *what, struct muster_error *err)
{
    if (result == CUBLAS_STATUS_SUCCESS)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "cuda: cuBLASLt: %s: %s", what,
                            cublasLtGetStatusName(result));
}

enum muster_status cuda_gemm_create(bool allow_tf32, struct cuda_gemm **out, struct muster_error *err)
{
    *out = NULL;
    struct cuda_gemm *gemm = alloc_zeroed(1, sizeof *gemm);
    if (gemm == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: no memory for the table of algorithms");
    gemm->fp32_compute = allow_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    enum muster_status status = gemm_check(cublasLtCreate(&gemm->handle), "create", err);
    if (status == MUSTER_OK)
        *out = gemm;
    else
        cuda_gemm_destroy(gemm);
    return status;
}

void cuda_gemm_destroy(struct cuda_gemm *gemm)
{
    if (gemm == NULL)
        return;
    if (gemm->handle != NULL)
        (void)cublasLtDestroy(gemm->handle);
    alloc_free(gemm);
}

static cudaDataType_t gemm_type(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? CUDA_R_16BF : dtype == DTYPE_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static int64_t gemm_alignment(const void *pointer)
{
    uintptr_t address = (uintptr_t)pointer | GEMM_ALIGNMENT_MAX;
    return (int64_t)(address & ~(address - 1));
}

static const void *gemm_extra(const struct cuda_product *p)
{
    switch (p->epilogue) {
    case CUDA_GEMM_BIAS:
        return p->bias;
    case CUDA_GEMM_GELU_SLOPE:
        return p->slope_at;
    case CUDA_GEMM_BIAS_GRADIENT:
        return p->row_sums;
    default:
        return NULL;
    }
}

static struct gemm_key gemm_key_of(const struct cuda_kernels *k, const struct cuda_product *p)
{
    const int64_t scratch = k->base.scratch_bytes;
    return (struct gemm_key){
        .in = p->in,
        .out = p->out,
        .transpose_a = p->transpose_a,
        .transpose_b = p->transpose_b,
        .accumulate = p->accumulate,
        .epilogue = p->epilogue,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .a_stride = p->a_stride,
        .b_stride = p->b_stride,
        .c_stride = p->c_stride,
        .a_alignment = gemm_alignment(p->a),
        .b_alignment = gemm_alignment(p->b),
        .c_alignment = gemm_alignment(p->c),
        .extra_alignment = gemm_alignment(gemm_extra(p)),
        .workspace_bytes = scratch < OPS_GEMM_WORKSPACE_BYTES ? scratch : OPS_GEMM_WORKSPACE_BYTES,
    };
}

/* The entry with this key, or the one to fill. */
static struct gemm_entry *gemm_find(struct cuda_gemm *gemm, const struct gemm_key *key)
{
    uint64_t hash = 0;
    const int64_t *word = (const int64_t *)key;
    for (size_t i = 0; i < sizeof *key / sizeof *word; i++) {
        hash = (hash ^ (uint64_t)word[i]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    for (uint64_t i = 0; i < GEMM_ENTRIES; i++) {
        struct gemm_entry *entry = &gemm->entries[(hash + i) % GEMM_ENTRIES];
        if (!entry->used || memcmp(&entry->key, key, sizeof *key) == 0)
            return entry;
    }
    struct gemm_entry *forgotten = &gemm->entries[hash % GEMM_ENTRIES];
    forgotten->used = false;
    return forgotten;
}

#define GEMM_SET(entry, attribute, value)                                                                    \
    cublasLtMatmulDescSetAttribute(&(entry)->operation, CUBLASLT_MATMUL_DESC_##attribute, &(value),          \
                                   sizeof(value))

static cublasStatus_t gemm_set_extra(struct gemm_entry *entry, const void *pointer)
{
    if (entry->key.epilogue == CUDA_GEMM_PLAIN)
        return CUBLAS_STATUS_SUCCESS;
    return entry->key.epilogue == CUDA_GEMM_GELU_SLOPE ? GEMM_SET(entry, EPILOGUE_AUX_POINTER, pointer)
                                                       : GEMM_SET(entry, BIAS_POINTER, pointer);
}

static cublasStatus_t gemm_describe_epilogue(struct gemm_entry *entry)
{
    static const uint32_t epilogues[] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
                                         CUBLASLT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_BGRADB};
    const uint32_t epilogue = epilogues[entry->key.epilogue];
    const int32_t type = (int32_t)gemm_type((enum dtype)entry->key.out);
    cublasStatus_t result = GEMM_SET(entry, EPILOGUE, epilogue);
    if (result == CUBLAS_STATUS_SUCCESS &&
        (entry->key.epilogue == CUDA_GEMM_BIAS || entry->key.epilogue == CUDA_GEMM_BIAS_GRADIENT))
        result = GEMM_SET(entry, BIAS_DATA_TYPE, type);
    if (result == CUBLAS_STATUS_SUCCESS && entry->key.epilogue == CUDA_GEMM_GELU_SLOPE)
        result = GEMM_SET(entry, EPILOGUE_AUX_LD, entry->key.n);
    if (result == CUBLAS_STATUS_SUCCESS) /* an address of the key's alignment and no more */
        result = gemm_set_extra(entry, (const void *)(uintptr_t)entry->key.extra_alignment);
    return result;
}

/* A stored row-major [rows, columns] is the library's columns × rows. */
static cublasStatus_t gemm_describe_matrix(cublasLtMatrixLayoutOpaque_t *layout, int64_t dtype, int64_t rows,
                                           int64_t columns, int64_t stride)
{
    return cublasLtMatrixLayoutInit(layout, gemm_type((enum dtype)dtype), (uint64_t)columns, (uint64_t)rows,
                                    stride);
}

static cublasStatus_t gemm_describe(const struct cuda_gemm *gemm, struct gemm_entry *entry)
{
    const struct gemm_key *key = &entry->key;
    const int32_t a_operation = key->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int32_t b_operation = key->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t result = cublasLtMatmulDescInit(
        &entry->operation, key->in == DTYPE_F32 ? gemm->fp32_compute : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_SET(entry, TRANSA, a_operation);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_SET(entry, TRANSB, b_operation);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = gemm_describe_epilogue(entry);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = gemm_describe_matrix(&entry->a, key->in, key->transpose_b ? key->n : key->k,
                                      key->transpose_b ? key->k : key->n, key->b_stride);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = gemm_describe_matrix(&entry->b, key->in, key->transpose_a ? key->k : key->m,
                                      key->transpose_a ? key->m : key->k, key->a_stride);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = gemm_describe_matrix(&entry->c, key->out, key->m, key->n, key->c_stride);
    return result;
}

#define GEMM_PREFER(preference, attribute, value)                                                            \
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_##attribute, &(value),             \
                                         sizeof(value))

static cublasStatus_t gemm_prefer(cublasLtMatmulPreferenceOpaque_t *preference, const struct gemm_key *key)
{
    const uint64_t workspace = (uint64_t)key->workspace_bytes;
    const uint32_t schemes = key->k % GEMM_SPLIT_PIECE == 0 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
                                                            : CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint32_t a = (uint32_t)key->b_alignment, b = (uint32_t)key->a_alignment;
    const uint32_t c = (uint32_t)key->c_alignment;
    cublasStatus_t result = cublasLtMatmulPreferenceInit(preference);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_PREFER(preference, MAX_WORKSPACE_BYTES, workspace);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_PREFER(preference, REDUCTION_SCHEME_MASK, schemes);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_PREFER(preference, MIN_ALIGNMENT_A_BYTES, a);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_PREFER(preference, MIN_ALIGNMENT_B_BYTES, b);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_PREFER(preference, MIN_ALIGNMENT_C_BYTES, c);
    if (result == CUBLAS_STATUS_SUCCESS)
        result = GEMM_PREFER(preference, MIN_ALIGNMENT_D_BYTES, c);
    return result;
}

/* The first algorithm the library offers, or none. */
static cublasStatus_t gemm_choose(const struct cuda_gemm *gemm, struct gemm_entry *entry)
{
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t offered[GEMM_CANDIDATES];
    int count = 0;
    cublasStatus_t result = gemm_prefer(&preference, &entry->key);
    if (result != CUBLAS_STATUS_SUCCESS)
        return result;
    result = cublasLtMatmulAlgoGetHeuristic(gemm->handle, &entry->operation, &entry->a, &entry->b, &entry->c,
                                            &entry->c, &preference, GEMM_CANDIDATES, offered, &count);
    if (result == CUBLAS_STATUS_NOT_SUPPORTED)
        return CUBLAS_STATUS_SUCCESS;
    for (int i = 0; result == CUBLAS_STATUS_SUCCESS && !entry->supported && i < count; i++) {
        if (offered[i].state != CUBLAS_STATUS_SUCCESS ||
            offered[i].workspaceSize > (size_t)entry->key.workspace_bytes)
            continue;
        entry->algorithm = offered[i].algo;
        entry->workspace_bytes = offered[i].workspaceSize;
        entry->supported = true;
    }
    return result;
}

static enum muster_status gemm_entry_fill(const struct cuda_gemm *gemm, struct gemm_entry *entry,
                                          const struct gemm_key *key, struct muster_error *err)
{
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    cublasStatus_t result = gemm_describe(gemm, entry);
    enum muster_status status = gemm_check(result, "describe a product", err);
    if (status != MUSTER_OK)
        return status;
    return gemm_check(gemm_choose(gemm, entry), "choose an algorithm", err);
}

/* What an algorithm consists of. Two of these are 16 bits wide. */
static const struct gemm_part {
    const char *name;
    cublasLtMatmulAlgoConfigAttributes_t attribute;
    size_t size;
} gemm_parts[] = {
    {"kind", CUBLASLT_ALGO_CONFIG_ID, 4},
    {"tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4},
    {"stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
    {"splits", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},
    {"scheme", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
    {"swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},
    {"option", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4},
    {"shape", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},
    {"cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2},
};
enum { GEMM_PARTS = sizeof gemm_parts / sizeof *gemm_parts };

/* -1 where the library does not say. */
static int64_t gemm_part_read(const struct gemm_entry *entry, const struct gemm_part *part)
{
    union {
        uint32_t wide;
        uint16_t narrow;
    } value = {0};
    size_t written = 0;
    if (cublasLtMatmulAlgoConfigGetAttribute(&entry->algorithm, part->attribute, &value, part->size,
                                             &written) != CUBLAS_STATUS_SUCCESS)
        return -1;
    return part->size == sizeof value.narrow ? value.narrow : value.wide;
}

/* The kind of kernel, of which tiles and the like are variants; -1 for none. */
static int64_t gemm_kind(const struct gemm_entry *entry)
{
    return entry->supported ? gemm_part_read(entry, &gemm_parts[0]) : -1;
}

static enum muster_status gemm_entry_make(const struct cuda_gemm *gemm, struct gemm_entry *entry,
                                          const struct gemm_key *key, struct muster_error *err)
{
    enum muster_status status = gemm_entry_fill(gemm, entry, key, err);
    if (status == MUSTER_OK && entry->supported && key->epilogue == CUDA_GEMM_BIAS_GRADIENT) {
        struct gemm_entry plain;
        struct gemm_key without = *key;
        without.epilogue = CUDA_GEMM_PLAIN;
        without.extra_alignment = gemm_alignment(NULL);
        status = gemm_entry_fill(gemm, &plain, &without, err);
        entry->passed_over = gemm_kind(entry) != gemm_kind(&plain) || gemm_kind(&plain) < 0;
        entry->supported = !entry->passed_over;
    }
    entry->used = status == MUSTER_OK;
    return status;
}

static enum muster_status gemm_unsupported(const struct cuda_product *p, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                            "cuda: cuBLASLt has no algorithm for a product of %" PRId64 " x %" PRId64
                            " x %" PRId64 " in %s%s",
                            p->m, p->n, p->k, dtype_name(p->in), gemm_epilogues[p->epilogue]);
}

int cuda_gemm_choice_count(const struct cuda_gemm *gemm)
{
    int count = 0;
    for (int i = 0; i < GEMM_ENTRIES; i++)
        count += gemm->entries[i].used;
    return count;
}

void cuda_gemm_choice(const struct cuda_gemm *gemm, int index, char *text, size_t size)
{
    const struct gemm_entry *entry = gemm->entries;
    for (; !entry->used || index > 0; entry++)
        index -= entry->used;
    const struct gemm_key *key = &entry->key;
    int at =
        snprintf(text, size,
                 "product %" PRId64 " x %" PRId64 " x %" PRId64 " %s to %s%s%s%s%s, rows of %" PRId64
                 " %" PRId64 " %" PRId64 ", on %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 ":",
                 key->m, key->n, key->k, dtype_name((enum dtype)key->in), dtype_name((enum dtype)key->out),
                 key->transpose_a ? " a'" : "", key->transpose_b ? " b'" : "",
                 key->accumulate ? " added" : "", gemm_epilogues[key->epilogue], key->a_stride, key->b_stride,
                 key->c_stride, key->a_alignment, key->b_alignment, key->c_alignment, key->extra_alignment);
    if (!entry->supported && at < (int)size)
        at += snprintf(text + at, size - (size_t)at, entry->passed_over ? " none, passed over" : " none");
    const int parts = entry->supported ? GEMM_PARTS : entry->passed_over ? 1 : 0;
    for (int i = 0; i < parts && at < (int)size; i++)
        at += snprintf(text + at, size - (size_t)at, " %s %" PRId64, gemm_parts[i].name,
                       gemm_part_read(entry, &gemm_parts[i]));
}

enum muster_status cuda_gemm_run(struct cuda_kernels *k, const struct cuda_product *p,
                                 struct muster_error *err)
{
    const float one = 1.0f, zero = 0.0f;
    const struct gemm_key key = gemm_key_of(k, p);
    struct gemm_entry *entry = gemm_find(k->gemm, &key);
    enum muster_status status = MUSTER_OK;
    if (!entry->used)
        status = gemm_entry_make(k->gemm, entry, &key, err);
    if (status != MUSTER_OK)
        return status;
    if (!entry->supported)
        return gemm_unsupported(p, err);
    status = gemm_check(gemm_set_extra(entry, gemm_extra(p)), "set a pointer", err);
    if (status != MUSTER_OK)
        return status;
    cublasStatus_t result =
        cublasLtMatmul(k->gemm->handle, &entry->operation, &one, p->b, &entry->a, p->a, &entry->b,
                       p->accumulate ? &one : &zero, p->c, &entry->c, p->c, &entry->c, &entry->algorithm,
                       k->base.scratch, entry->workspace_bytes, k->stream);
    entry->supported = result != CUBLAS_STATUS_NOT_SUPPORTED; /* what was offered may still be refused */
    return entry->supported ? gemm_check(result, "product", err) : gemm_unsupported(p, err);
}
