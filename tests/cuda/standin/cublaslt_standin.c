/* SPDX-License-Identifier: MIT
 *
 * Stands in for the part of cuBLASLt that the back end uses, on host memory, for the emulated plug-in. It is
 * stricter than the real one where the back end's rules ask for it: an algorithm runs only for the very
 * problem it was asked for, in an order of sums that is fixed, on pointers aligned as was promised, and with
 * work memory that it fills with rubbish. It refuses some epilogues for some shapes, so that the ways around
 * them are walked.
 *
 * Row sums (BGRADB) come for a B that is transposed only, from an algorithm of another kind for some shapes,
 * and it counts the products that brought them (cublaslt_standin_row_sums).
 * MUSTER_CUBLASLT_STANDIN_TILE is the tile of the algorithms that it offers for a transposed B: it shows in
 * their description and nowhere else.
 *
 * What the real one is known to do wrong, it does too: it fails to choose while a stream is recorded
 * (13.3), offers algorithms that it then refuses to run, wants vectors of epilogues on 16 bytes whatever was
 * shown when it chose, and leaves the rest of a split sum out (cuda_gemm.c).
 */
#include <cublasLt.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/dtype.h"
#include "cudart_standin.h"

enum {
    STANDIN_WORKSPACE_BYTES = 4096,
    STANDIN_WORKSPACE_ALIGNMENT = 256,
    STANDIN_VECTOR_ALIGNMENT = 16,
    STANDIN_SPLIT_PIECE = 64,
    STANDIN_TENSOR_TERMS = 8,
    STANDIN_KIND = 66,
    STANDIN_KIND_OLD = 21,
    STANDIN_VERSION = 10203
};

/* Read by tests that find it in the plug-in. */
__attribute__((visibility("default"))) extern int cublaslt_standin_row_sums;
int cublaslt_standin_row_sums = 0;

struct standin_operation {
    int32_t transpose_a, transpose_b, bias_type;
    uint32_t epilogue;
    const void *bias, *aux;
    int64_t aux_stride;
};

struct standin_layout {
    cudaDataType_t type;
    int64_t rows, columns, stride;
};

struct standin_preference {
    uint64_t workspace_bytes;
    uint32_t schemes, alignment[4];
};

struct standin_algorithm {
    uint64_t problem;
    uint32_t alignment[3];
    uint32_t splits;
    int32_t kind;
    uint32_t tile;
};

struct standin_problem {
    struct standin_operation operation;
    struct standin_layout a, b, c;
    const void *a_data, *b_data;
    void *c_data, *workspace;
    bool accumulate, splits;
};

_Static_assert(sizeof(struct standin_operation) <= sizeof(cublasLtMatmulDescOpaque_t), "fits");
_Static_assert(sizeof(struct standin_layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "fits");
_Static_assert(sizeof(struct standin_preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "fits");
_Static_assert(sizeof(struct standin_algorithm) <= sizeof(cublasLtMatmulAlgo_t), "fits");

size_t cublasLtGetVersion(void)
{
    return STANDIN_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? "stand-in: not supported" : "stand-in: refused";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = alloc_zeroed(1, 16);
    return *handle != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    alloc_free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t desc, size_t size,
                                               cublasComputeType_t compute, cudaDataType_t scale)
{
    if (scale != CUDA_R_32F || (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32))
        return CUBLAS_STATUS_INVALID_VALUE;
    memset(desc, 0, size);
    ((struct standin_operation *)desc)->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t standin_store(void *field, size_t size, const void *value, size_t given)
{
    if (given != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void *value,
                                              size_t size)
{
    struct standin_operation *o = (struct standin_operation *)desc;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return standin_store(&o->transpose_a, sizeof o->transpose_a, value, size);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return standin_store(&o->transpose_b, sizeof o->transpose_b, value, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return standin_store(&o->epilogue, sizeof o->epilogue, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return standin_store(&o->bias, sizeof o->bias, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return standin_store(&o->bias_type, sizeof o->bias_type, value, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
        return standin_store(&o->aux, sizeof o->aux, value, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
        return standin_store(&o->aux_stride, sizeof o->aux_stride, value, size);
    default:
        return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t size,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t stride)
{
    if (rows == 0 || columns == 0 || stride < (int64_t)rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    memset(layout, 0, size);
    *(struct standin_layout *)layout = (struct standin_layout){type, (int64_t)rows, (int64_t)columns, stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, size_t size)
{
    memset(preference, 0, size);
    ((struct standin_preference *)preference)->schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t size)
{
    struct standin_preference *p = (struct standin_preference *)preference;
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return standin_store(&p->workspace_bytes, sizeof p->workspace_bytes, value, size);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return standin_store(&p->schemes, sizeof p->schemes, value, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return standin_store(&p->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                             sizeof p->alignment[0], value, size);
    default:
        return CUBLAS_STATUS_INVALID_VALUE;
    }
}

static uint64_t standin_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 31;
}

static uint64_t standin_mix_layout(uint64_t hash, const struct standin_layout *l)
{
    hash = standin_mix(hash, (uint64_t)l->type);
    hash = standin_mix(hash, (uint64_t)l->rows);
    hash = standin_mix(hash, (uint64_t)l->columns);
    return standin_mix(hash, (uint64_t)l->stride);
}

/* Names a problem: everything but where its arrays lie. */
static uint64_t standin_name(const struct standin_operation *o, const struct standin_layout *a,
                             const struct standin_layout *b, const struct standin_layout *c)
{
    uint64_t hash = standin_mix(1, (uint64_t)o->transpose_a);
    hash = standin_mix(hash, (uint64_t)o->transpose_b);
    hash = standin_mix(hash, o->epilogue);
    hash = standin_mix(hash, (uint64_t)o->aux_stride);
    return standin_mix_layout(standin_mix_layout(standin_mix_layout(hash, a), b), c);
}

static bool standin_offers(const struct standin_operation *o, const struct standin_layout *c)
{
    if (o->epilogue == CUBLASLT_EPILOGUE_BIAS)
        return c->rows % 8 == 0 && o->bias_type == (int32_t)c->type && o->bias != NULL;
    if (o->epilogue == CUBLASLT_EPILOGUE_DGELU)
        return c->rows % 16 == 0 && c->type != CUDA_R_32F && o->aux_stride % 8 == 0 && o->aux != NULL;
    if (o->epilogue == CUBLASLT_EPILOGUE_BGRADB)
        return c->columns % 8 == 0 && o->transpose_b == CUBLAS_OP_T && o->bias_type == (int32_t)c->type &&
               o->bias != NULL;
    return o->epilogue == CUBLASLT_EPILOGUE_DEFAULT;
}

static int32_t standin_kind(const struct standin_operation *o, const struct standin_layout *c)
{
    return o->epilogue == CUBLASLT_EPILOGUE_BGRADB && c->columns % 3 == 0 ? STANDIN_KIND_OLD : STANDIN_KIND;
}

/* Epilogues that are offered and then refused. */
static bool standin_thinks_again(const struct standin_problem *p)
{
    return p->operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && p->c.rows % 5 == 0;
}

static bool standin_shapes_agree(const struct standin_operation *o, const struct standin_layout *a,
                                 const struct standin_layout *b, const struct standin_layout *c)
{
    int64_t m = o->transpose_a ? a->columns : a->rows, k = o->transpose_a ? a->rows : a->columns;
    int64_t n = o->transpose_b ? b->rows : b->columns, other_k = o->transpose_b ? b->columns : b->rows;
    return m == c->rows && n == c->columns && k == other_k && a->type == b->type;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found)
{
    const struct standin_operation *o = (const struct standin_operation *)operation;
    const struct standin_layout *la = (const struct standin_layout *)a,
                                *lb = (const struct standin_layout *)b;
    const struct standin_layout *lc = (const struct standin_layout *)c;
    const struct standin_preference *p = (const struct standin_preference *)preference;
    *found = 0;
    if (cuda_standin_capturing())
        return CUBLAS_STATUS_INTERNAL_ERROR;
    if (handle == NULL || wanted < 1 || memcmp(c, d, sizeof *c) != 0 || !standin_shapes_agree(o, la, lb, lc))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p->schemes &
        ~(uint32_t)CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) /* sums whose order or rounding varies */
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!standin_offers(o, lc) || p->workspace_bytes < STANDIN_WORKSPACE_BYTES)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    struct standin_algorithm algorithm = {
        .problem = standin_name(o, la, lb, lc), .splits = p->schemes, .kind = standin_kind(o, lc)};
    const char *tile = getenv("MUSTER_CUBLASLT_STANDIN_TILE");
    algorithm.tile = tile != NULL && o->transpose_b ? (uint32_t)strtoul(tile, NULL, 10) : 1;
    memcpy(algorithm.alignment, p->alignment, sizeof algorithm.alignment);
    memset(&results[0], 0, sizeof results[0]);
    memcpy(&results[0].algo, &algorithm, sizeof algorithm);
    results[0].workspaceSize = STANDIN_WORKSPACE_BYTES;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t size, size_t *written)
{
    struct standin_algorithm algorithm;
    const bool narrow = attribute == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID ||
                        attribute == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID;
    if (size != (narrow ? sizeof(uint16_t) : sizeof(uint32_t)))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&algorithm, algo, sizeof algorithm);
    memset(value, 0, size);
    if (attribute == CUBLASLT_ALGO_CONFIG_ID)
        memcpy(value, &algorithm.kind, size);
    if (attribute == CUBLASLT_ALGO_CONFIG_TILE_ID)
        memcpy(value, &algorithm.tile, size);
    *written = size;
    return CUBLAS_STATUS_SUCCESS;
}

static double standin_load(cudaDataType_t type, const void *data, int64_t i)
{
    if (type == CUDA_R_16BF)
        return (double)dtype_f32_from_bf16(((const uint16_t *)data)[i]);
    if (type == CUDA_R_16F)
        return (double)dtype_f32_from_f16(((const uint16_t *)data)[i]);
    return (double)((const float *)data)[i];
}

static void standin_put(cudaDataType_t type, void *data, int64_t i, float value)
{
    if (type == CUDA_R_16BF)
        ((uint16_t *)data)[i] = dtype_bf16_from_f32(value);
    else if (type == CUDA_R_16F)
        ((uint16_t *)data)[i] = dtype_f16_from_f32(value);
    else
        ((float *)data)[i] = value;
}

/* Derivative of x/2 · (1 + tanh(u)), u = sqrt(2/π) · (x + 0.044715 x³); the tanh as wrong as
 * tanh.approx may be, which all 456 kernels for sm_90 with gelu in their names have in 13.1's fat binaries.
 */
static double standin_gelu_slope(double x)
{
    const double c = 0.7978845608028654;
    double t = tanh(c * (x + 0.044715 * x * x * x)) * (1.0 - 0x1p-11);
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044715 * x * x);
}

/* The operand as dense rows of k numbers; `across` says that k runs over the stored columns. */
static double *standin_operand(const struct standin_layout *l, const void *data, bool across)
{
    const int64_t rows = across ? l->rows : l->columns, k = across ? l->columns : l->rows;
    double *dense = alloc_zeroed((size_t)(rows * k), sizeof *dense);
    for (int64_t r = 0; dense != NULL && r < rows; r++)
        for (int64_t i = 0; i < k; i++)
            dense[r * k + i] = standin_load(l->type, data, across ? i * l->stride + r : r * l->stride + i);
    return dense;
}

/* Toward zero. */
static float standin_chop(double value)
{
    const float near = (float)value;
    return fabs((double)near) > fabs(value) ? nextafterf(near, 0.0f) : near;
}

/* In fp32: term by term, or from 16-bit factors some terms at a time and chopped, as tensor cores are seen to
 * (Fasi, Higham, Mikaitis & Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021). */
static float standin_sum(bool tensor_cores, const double *a, const double *b, int64_t count)
{
    float sum = 0.0f;
    for (int64_t x = 0; x < count;) {
        const int64_t end = !tensor_cores ? x + 1 : x + STANDIN_TENSOR_TERMS;
        double terms = (double)sum;
        for (; x < end && x < count; x++)
            terms += a[x] * b[x];
        sum = tensor_cores ? standin_chop(terms) : (float)terms;
    }
    return sum;
}

static void standin_finish(const struct standin_problem *p, int64_t i, int64_t j, float sum)
{
    const int64_t at = j * p->c.stride + i;
    if (p->accumulate)
        sum += (float)standin_load(p->c.type, p->c_data, at);
    if (p->operation.epilogue == CUBLASLT_EPILOGUE_BIAS)
        sum += (float)standin_load(p->c.type, p->operation.bias, i);
    if (p->operation.epilogue == CUBLASLT_EPILOGUE_DGELU)
        sum *= (float)standin_gelu_slope(
            standin_load(p->c.type, p->operation.aux, j * p->operation.aux_stride + i));
    standin_put(p->c.type, p->c_data, at, sum);
}

/* Over what is there already, as the real one does. */
static void standin_row_sums(const struct standin_problem *p, const double *b, int64_t k)
{
    cublaslt_standin_row_sums++;
    for (int64_t j = 0; j < p->c.columns; j++) {
        double sum = 0.0;
        for (int64_t x = 0; x < k; x++)
            sum += b[j * k + x];
        standin_put(p->c.type, (void *)(uintptr_t)p->operation.bias, j, sum);
    }
}

static void standin_run(void *data)
{
    const struct standin_problem *p = data;
    const bool a_across = p->operation.transpose_a == CUBLAS_OP_N,
               b_across = p->operation.transpose_b != CUBLAS_OP_N;
    const int64_t k = a_across ? p->a.columns : p->a.rows;
    const int64_t summed = p->splits && k > STANDIN_SPLIT_PIECE ? k - k % STANDIN_SPLIT_PIECE : k;
    double *a = standin_operand(&p->a, p->a_data, a_across);
    double *b = standin_operand(&p->b, p->b_data, b_across);
    for (int64_t j = 0; a != NULL && b != NULL && j < p->c.columns; j++) {
        for (int64_t i = 0; i < p->c.rows; i++)
            standin_finish(p, i, j, standin_sum(p->a.type != CUDA_R_32F, a + i * k, b + j * k, summed));
    }
    if (b != NULL && p->operation.epilogue == CUBLASLT_EPILOGUE_BGRADB)
        standin_row_sums(p, b, k);
    memset(p->workspace, 0xee, STANDIN_WORKSPACE_BYTES); /* and whatever lay there by mistake */
    alloc_free(a);
    alloc_free(b);
}

static bool standin_aligned(const void *pointer, uint32_t alignment)
{
    return alignment > 0 && (uintptr_t)pointer % alignment == 0;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void *alpha,
                              const void *a_data, cublasLtMatrixLayout_t a, const void *b_data,
                              cublasLtMatrixLayout_t b, const void *beta, const void *c_data,
                              cublasLtMatrixLayout_t c, void *d_data, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    struct standin_problem p = {.a_data = a_data, .b_data = b_data, .c_data = d_data, .workspace = workspace};
    struct standin_algorithm algorithm;
    float scale = 0.0f, keep = 0.0f;
    memcpy(&algorithm, algo, sizeof algorithm);
    memcpy(&p.operation, operation, sizeof p.operation);
    memcpy(&p.a, a, sizeof p.a);
    memcpy(&p.b, b, sizeof p.b);
    memcpy(&p.c, c, sizeof p.c);
    memcpy(&scale, alpha, sizeof scale);
    memcpy(&keep, beta, sizeof keep);
    p.accumulate = keep == 1.0f;
    p.splits = algorithm.splits != CUBLASLT_REDUCTION_SCHEME_NONE;
    bool as_asked = algorithm.problem == standin_name(&p.operation, &p.a, &p.b, &p.c) &&
                    standin_aligned(a_data, algorithm.alignment[0]) &&
                    standin_aligned(b_data, algorithm.alignment[1]) &&
                    standin_aligned(d_data, algorithm.alignment[2]) &&
                    standin_aligned(p.operation.bias, STANDIN_VECTOR_ALIGNMENT) &&
                    standin_aligned(p.operation.aux, STANDIN_VECTOR_ALIGNMENT);
    bool sound = handle != NULL && memcmp(c, d, sizeof *c) == 0 && c_data == d_data && scale == 1.0f &&
                 (keep == 0.0f || keep == 1.0f) && workspace_bytes >= STANDIN_WORKSPACE_BYTES &&
                 workspace != NULL && standin_aligned(workspace, STANDIN_WORKSPACE_ALIGNMENT);
    if (!as_asked || !sound)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (standin_thinks_again(&p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return cuda_standin_enqueue(stream, standin_run, &p, sizeof p) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
