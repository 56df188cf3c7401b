/* SPDX-License-Identifier: MIT
 *
 * Causal attention as cuDNN wants to be told of it: the formula spelled out as a graph of small operations,
 * which the library recognises and runs as one kernel that never stores the scores (Dao, "FlashAttention-2",
 * 2023). Its ready-made attention node knows no causal mask before version 9.21. The scores' names below are
 * the formula's: s = q·kᵀ·scale with -infinity right of the diagonal, p = exp(s - lse).
 *
 * K, and in the backward graph V too, are declared transposed: the same memory with the last two strides
 * exchanged. The gradient of q is one product into its place: the form in which the library sums in a fixed
 * order. The usual one adds to an fp32 array with atomics.
 */
#include "kernels/cuda/cuda_sdpa.h"

typedef cudnnBackendDescriptor_t descriptor;

struct layout {
    int64_t sizes[4], strides[4];
};

enum tensor_kind { TENSOR_REAL, TENSOR_VIRTUAL, TENSOR_NUMBER };

static void graph_set_one(struct cuda_sdpa_graph *g, descriptor d, cudnnBackendAttributeName_t name,
                          descriptor value)
{
    if (value != NULL)
        cuda_sdpa_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static descriptor graph_tensor(struct cuda_sdpa_graph *g, int64_t name, cudnnDataType_t type,
                               const struct layout *layout, enum tensor_kind kind)
{
    const int64_t alignment =
        type == CUDNN_DATA_FLOAT && kind == TENSOR_REAL ? cuda_sdpa_rows_alignment(g->shape) : 16;
    const bool yes = true;
    descriptor t = cuda_sdpa_make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, layout->sizes);
    cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, layout->strides);
    cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &name);
    cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    if (kind == TENSOR_VIRTUAL)
        cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (kind == TENSOR_NUMBER)
        cuda_sdpa_set(g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    cuda_sdpa_finalise(g, t);
    return t;
}

static cudnnDataType_t graph_type(const struct cuda_sdpa_graph *g)
{
    return g->shape->dtype == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

/* [batch, heads, sequence, head_width] inside rows of `stride` elements. */
static struct layout graph_heads_layout(const struct cuda_sdpa_shape *s, int64_t heads, int64_t stride)
{
    return (struct layout){{s->batch, heads, s->sequence, s->head_width},
                           {s->sequence * stride, s->head_width, stride, 1}};
}

static descriptor graph_heads(struct cuda_sdpa_graph *g, int64_t name, int64_t heads, int64_t stride)
{
    const struct layout layout = graph_heads_layout(g->shape, heads, stride);
    return graph_tensor(g, name, graph_type(g), &layout, TENSOR_REAL);
}

static descriptor graph_heads_transposed(struct cuda_sdpa_graph *g, int64_t name, int64_t heads,
                                         int64_t stride)
{
    const struct cuda_sdpa_shape *s = g->shape;
    const struct layout layout = {{s->batch, heads, s->head_width, s->sequence},
                                  {s->sequence * stride, s->head_width, 1, stride}};
    return graph_tensor(g, name, graph_type(g), &layout, TENSOR_REAL);
}

/* A virtual [batch, heads, rows, columns]. */
static descriptor graph_between(struct cuda_sdpa_graph *g, cudnnDataType_t type, int64_t heads,
                                int64_t columns)
{
    const int64_t rows = g->shape->sequence;
    const struct layout layout = {{g->shape->batch, heads, rows, columns},
                                  {heads * rows * columns, rows * columns, columns, 1}};
    return graph_tensor(g, g->next_name++, type, &layout, TENSOR_VIRTUAL);
}

static descriptor graph_scores(struct cuda_sdpa_graph *g, cudnnDataType_t type)
{
    return graph_between(g, type, g->shape->heads, g->shape->sequence);
}

static descriptor graph_scores_transposed(struct cuda_sdpa_graph *g)
{
    const struct cuda_sdpa_shape *s = g->shape;
    const int64_t n = s->sequence;
    const struct layout layout = {{s->batch, s->heads, n, n}, {s->heads * n * n, n * n, 1, n}};
    return graph_tensor(g, g->next_name++, graph_type(g), &layout, TENSOR_VIRTUAL);
}

/* One number a row of scores, packed: before 9.26 the library gets other layouts wrong without a word. */
static descriptor graph_rows(struct cuda_sdpa_graph *g, int64_t name)
{
    const struct cuda_sdpa_shape *s = g->shape;
    const struct layout layout = {{s->batch, s->heads, s->sequence, 1},
                                  {s->heads * s->sequence, s->sequence, 1, 1}};
    return graph_tensor(g, name, CUDNN_DATA_FLOAT, &layout, TENSOR_REAL);
}

static descriptor graph_rows_between(struct cuda_sdpa_graph *g)
{
    return graph_between(g, CUDNN_DATA_FLOAT, g->shape->heads, 1);
}

static descriptor graph_number(struct cuda_sdpa_graph *g, int64_t name)
{
    static const struct layout layout = {{1, 1, 1, 1}, {1, 1, 1, 1}};
    return graph_tensor(g, name, CUDNN_DATA_FLOAT, &layout, TENSOR_NUMBER);
}

static void graph_add(struct cuda_sdpa_graph *g, descriptor operation)
{
    cuda_sdpa_finalise(g, operation);
    if (g->operation_count < SDPA_OPERATIONS_MAX)
        g->operation[g->operation_count++] = operation;
    else
        g->result = CUDNN_STATUS_INTERNAL_ERROR;
}

struct pointwise {
    cudnnPointwiseMode_t mode;
    cudnnDataType_t precision;
    int64_t axis; /* of an index, else -1 */
    descriptor x, b, selector, y;
};

static void graph_pointwise_add(struct cuda_sdpa_graph *g, const struct pointwise *p)
{
    descriptor rule = cuda_sdpa_make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    cuda_sdpa_set(g, rule, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &p->mode);
    cuda_sdpa_set(g, rule, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &p->precision);
    if (p->axis >= 0)
        cuda_sdpa_set(g, rule, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &p->axis);
    cuda_sdpa_finalise(g, rule);
    descriptor o = cuda_sdpa_make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, rule);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, p->x);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, p->b);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, p->selector);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, p->y);
    graph_add(g, o);
}

/* y = x mode b; returns y. */
static descriptor graph_pointwise(struct cuda_sdpa_graph *g, cudnnPointwiseMode_t mode, descriptor x,
                                  descriptor b, descriptor y)
{
    graph_pointwise_add(g, &(struct pointwise){mode, CUDNN_DATA_FLOAT, -1, x, b, NULL, y});
    return y;
}

static void graph_product(struct cuda_sdpa_graph *g, descriptor a, descriptor b, descriptor c)
{
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    descriptor rule = cuda_sdpa_make(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    cuda_sdpa_set(g, rule, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    cuda_sdpa_finalise(g, rule);
    descriptor o = cuda_sdpa_make(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_MATMUL_DESC, rule);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    graph_add(g, o);
}

/* What y has one of and x many is reduced; returns y. */
static descriptor graph_reduce(struct cuda_sdpa_graph *g, cudnnReduceTensorOp_t how, descriptor x,
                               descriptor y)
{
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    descriptor rule = cuda_sdpa_make(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    cuda_sdpa_set(g, rule, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    cuda_sdpa_set(g, rule, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &how);
    cuda_sdpa_finalise(g, rule);
    descriptor o = cuda_sdpa_make(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_REDUCTION_DESC, rule);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    graph_add(g, o);
    return y;
}

static descriptor graph_reshape(struct cuda_sdpa_graph *g, descriptor x, descriptor y)
{
    descriptor o = cuda_sdpa_make(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    graph_set_one(g, o, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    graph_add(g, o);
    return y;
}

/* row >= column ? x : -infinity */
static descriptor graph_causal(struct cuda_sdpa_graph *g, descriptor x)
{
    descriptor row = graph_scores(g, CUDNN_DATA_INT32), column = graph_scores(g, CUDNN_DATA_INT32);
    descriptor seen = graph_scores(g, CUDNN_DATA_BOOLEAN), y = graph_scores(g, CUDNN_DATA_FLOAT);
    descriptor hidden = graph_number(g, SDPA_MINUS_INFINITY);
    graph_pointwise_add(
        g, &(struct pointwise){CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, 2, x, NULL, NULL, row});
    graph_pointwise_add(
        g, &(struct pointwise){CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, 3, x, NULL, NULL, column});
    graph_pointwise_add(
        g, &(struct pointwise){CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, -1, row, column, NULL, seen});
    graph_pointwise_add(
        g, &(struct pointwise){CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, -1, x, hidden, seen, y});
    return y;
}

/* q·kᵀ·scale */
static descriptor graph_scaled_scores(struct cuda_sdpa_graph *g, descriptor q, descriptor k_transposed,
                                      descriptor scale)
{
    descriptor s = graph_scores(g, CUDNN_DATA_FLOAT);
    graph_product(g, q, k_transposed, s);
    return graph_pointwise(g, CUDNN_POINTWISE_MUL, s, scale, graph_scores(g, CUDNN_DATA_FLOAT));
}

static void graph_forward(struct cuda_sdpa_graph *g)
{
    const struct cuda_sdpa_shape *shape = g->shape;
    descriptor q = graph_heads(g, SDPA_Q, shape->heads, shape->qkv_stride);
    descriptor k = graph_heads_transposed(g, SDPA_K, shape->kv_heads, shape->qkv_stride);
    descriptor v = graph_heads(g, SDPA_V, shape->kv_heads, shape->qkv_stride);
    descriptor y = graph_heads(g, SDPA_Y, shape->heads, shape->y_stride);
    descriptor lse = graph_rows(g, SDPA_LSE);
    descriptor s = graph_causal(g, graph_scaled_scores(g, q, k, graph_number(g, SDPA_SCALE)));
    descriptor largest = graph_reduce(g, CUDNN_REDUCE_TENSOR_MAX, s, graph_rows_between(g));
    descriptor below = graph_pointwise(g, CUDNN_POINTWISE_SUB, s, largest, graph_scores(g, CUDNN_DATA_FLOAT));
    descriptor e = graph_pointwise(g, CUDNN_POINTWISE_EXP, below, NULL, graph_scores(g, CUDNN_DATA_FLOAT));
    descriptor sum = graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, e, graph_rows_between(g));
    descriptor log_sum = graph_pointwise(g, CUDNN_POINTWISE_LOG, sum, NULL, graph_rows_between(g));
    graph_pointwise(g, CUDNN_POINTWISE_ADD, largest, log_sum, lse);
    descriptor p = graph_pointwise(g, CUDNN_POINTWISE_DIV, e, sum, graph_scores(g, graph_type(g)));
    graph_product(g, p, v, y);
}

/* scores_transposed · x, summed over the query heads of one kv head where they share it. */
static void graph_gradient_of_kv(struct cuda_sdpa_graph *g, descriptor scores_transposed, descriptor x,
                                 descriptor gradient)
{
    if (g->shape->heads == g->shape->kv_heads) {
        graph_product(g, scores_transposed, x, gradient);
        return;
    }
    descriptor each = graph_between(g, graph_type(g), g->shape->heads, g->shape->head_width);
    graph_product(g, scores_transposed, x, each);
    graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, each, gradient);
}

/* Row sums of dy · y, to be subtracted from each row of the probabilities' gradient. */
static descriptor graph_row_sums(struct cuda_sdpa_graph *g, descriptor dy)
{
    const struct cuda_sdpa_shape *shape = g->shape;
    descriptor y = graph_heads(g, SDPA_Y, shape->heads, shape->y_stride);
    descriptor sums = graph_rows(g, SDPA_ROW_SUMS);
    descriptor each = graph_pointwise(g, CUDNN_POINTWISE_MUL, dy, y,
                                      graph_between(g, CUDNN_DATA_FLOAT, shape->heads, shape->head_width));
    descriptor sum = graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, each, graph_rows_between(g));
    return graph_pointwise(g, CUDNN_POINTWISE_MUL, sum, graph_number(g, SDPA_ONE), sums);
}

static void graph_backward(struct cuda_sdpa_graph *g)
{
    const struct cuda_sdpa_shape *shape = g->shape;
    const cudnnDataType_t fp32 = CUDNN_DATA_FLOAT;
    descriptor q = graph_heads(g, SDPA_Q, shape->heads, shape->qkv_stride);
    descriptor k = graph_heads_transposed(g, SDPA_K, shape->kv_heads, shape->qkv_stride);
    descriptor v = graph_heads_transposed(g, SDPA_V, shape->kv_heads, shape->qkv_stride);
    descriptor dy = graph_heads(g, SDPA_DY, shape->heads, shape->y_stride);
    descriptor dq = graph_heads(g, SDPA_DQ, shape->heads, shape->qkv_stride);
    descriptor dk = graph_heads(g, SDPA_DK, shape->kv_heads, shape->qkv_stride);
    descriptor dv = graph_heads(g, SDPA_DV, shape->kv_heads, shape->qkv_stride);
    descriptor lse = graph_rows(g, SDPA_LSE);
    descriptor scale = graph_number(g, SDPA_SCALE);
    descriptor row_sums = graph_row_sums(g, dy);

    descriptor s = graph_scaled_scores(g, q, k, scale);
    s = graph_causal(g, graph_pointwise(g, CUDNN_POINTWISE_SUB, s, lse, graph_scores(g, fp32)));
    descriptor p = graph_pointwise(g, CUDNN_POINTWISE_EXP, s, NULL, graph_scores(g, fp32));
    graph_gradient_of_kv(g, graph_reshape(g, p, graph_scores_transposed(g)), dy, dv);

    descriptor dp = graph_scores(g, fp32);
    graph_product(g, dy, v, dp);
    dp = graph_pointwise(g, CUDNN_POINTWISE_SUB, dp, row_sums, graph_scores(g, fp32));
    dp = graph_pointwise(g, CUDNN_POINTWISE_MUL, dp, p, graph_scores(g, fp32));
    descriptor ds = graph_pointwise(g, CUDNN_POINTWISE_MUL, dp, scale, graph_scores(g, fp32));
    graph_gradient_of_kv(g, graph_reshape(g, ds, graph_scores_transposed(g)), q, dk);

    /* with the strides of the memory behind it: a second kernel of the library's reads it there */
    const struct layout rows = graph_heads_layout(shape, shape->kv_heads, shape->qkv_stride);
    descriptor upright = graph_tensor(g, g->next_name++, fp32, &rows, TENSOR_VIRTUAL);
    graph_product(g, ds, graph_reshape(g, k, upright), dq);
}

void cuda_sdpa_graph_fill(struct cuda_sdpa_graph *g)
{
    if (g->shape->backward)
        graph_backward(g);
    else
        graph_forward(g);
}
