/* SPDX-License-Identifier: MIT
 *
 * Causal attention without a library, for what cuDNN has no engine for: old devices, fp32, odd head widths,
 * dropout. Tiles of scores live in registers and shared memory only. Forward keeps a running maximum and sum
 * per query. Backward recomputes the probabilities from the stored log-sum-exp, once for dq (a block per tile
 * of queries) and once for dk and dv (a block per tile of keys, which walks the query heads of its group in
 * order), so that nothing is added by atomics and every order is fixed. Dao et al., "FlashAttention", 2022;
 * Dao, "FlashAttention-2", 2023.
 */
#include "kernels/cuda/cuda_attention_plain.cuh"

#include <float.h>

/* Where one head of one sequence lies; h counts query heads, or key heads where only those are read. */
template <typename T> struct plain_head {
    const struct attention_args &a;
    int64_t b, h;
    bool aligned;

    __device__ int64_t row_width() const
    {
        return (a.heads + 2 * a.kv_heads) * a.head_width;
    }
    __device__ int64_t kv_head() const
    {
        return h / (a.heads / a.kv_heads);
    }
    /* Element offsets of row i of the head in qkv. */
    __device__ int64_t query_at(int64_t i) const
    {
        return (b * a.sequence + i) * row_width() + h * a.head_width;
    }
    __device__ int64_t key_at(int64_t i) const
    {
        return (b * a.sequence + i) * row_width() + (a.heads + kv_head()) * a.head_width;
    }
    __device__ int64_t value_at(int64_t i) const
    {
        return key_at(i) + a.kv_heads * a.head_width;
    }
    __device__ int64_t y_at(int64_t i) const
    {
        return ((b * a.sequence + i) * a.heads + h) * a.head_width;
    }
    __device__ int64_t lse_at(int64_t i) const
    {
        return (b * a.heads + h) * a.sequence + i;
    }
    /* Rows in the tile that starts at row i. */
    __device__ int count(int64_t i) const
    {
        return a.sequence - i < PLAIN_TILE ? (int)(a.sequence - i) : PLAIN_TILE;
    }
    __device__ struct plain_rows<T> packed(int64_t at, int64_t i) const {
        struct plain_rows<T> rows = {
            static_cast<const T *>(a.qkv) + at, row_width(), count(i), (int)a.head_width, aligned
        };
        return rows;
    } __device__ struct plain_rows<T> gradient(int64_t i) const {
        struct plain_rows<T> rows = {
            static_cast<const T *>(a.dy) + y_at(i), a.heads *a.head_width, count(i),
                (int)a.head_width, aligned
        };
        return rows;
    }
};

/* The factor of each score of the thread's piece: 0 or 1 / (1 - dropout). Queries start at i, keys at j; with
 * `turned` rows of the piece are keys. */
template <bool TURNED>
static __device__ __forceinline__ void plain_keep(const struct attention_args &a, int64_t lse_at, int64_t j,
                                                  float (&keep)[4][4])
{
    const float factor = a.dropout > 0.0f ? 1.0f / (1.0f - a.dropout) : 1.0f;
    for (int i = 0; i < 16; i++) {
        const int r = i / 4, c = i % 4;
        keep[r][c] = factor;
        if (a.dropout > 0.0f) {
            const int query = TURNED ? plain_column() + c : plain_row() + r;
            const int key = TURNED ? plain_row() + r : plain_column() + c;
            const uint64_t e = (uint64_t)(lse_at + query) * (uint64_t)a.sequence + (uint64_t)(j + key);
            const struct rng_block block = rng_philox(a.key, 0, e / 4);
            const uint32_t low = e & 1 ? block.word[1] : block.word[0];
            const uint32_t high = e & 1 ? block.word[3] : block.word[2];
            if (!(rng_uniform(e & 2 ? high : low) >= a.dropout))
                keep[r][c] = 0.0f;
        }
    }
}

/* The largest or the sum over the 16 threads that share rows. */
static __device__ __forceinline__ float plain_row_max(float value)
{
    for (int distance = 8; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    return value;
}

static __device__ __forceinline__ float plain_row_sum(float value)
{
    for (int distance = 8; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

/* Running state of the thread's four queries. */
struct plain_softmax {
    float largest[4], total[4], correction[4];
};

/* Scores of a tile become exp(score - largest) with masked ones 0; `correction` is what earlier sums are to
 * be multiplied with. */
static __device__ __forceinline__ void plain_softmax_step(struct plain_softmax *s, float scale, int64_t i,
                                                          int64_t j, int64_t sequence, float (&scores)[4][4])
{
    for (int r = 0; r < 4; r++) {
        const int64_t query = i + plain_row() + r, key = j + plain_column();
        float largest = -FLT_MAX, total = 0.0f;
        for (int c = 0; c < 4; c++) {
            scores[r][c] *= scale;
            if (key + c <= query && key + c < sequence)
                largest = fmaxf(largest, scores[r][c]);
        }
        largest = fmaxf(s->largest[r], plain_row_max(largest));
        for (int c = 0; c < 4; c++) {
            const bool seen = key + c <= query && key + c < sequence;
            scores[r][c] = seen ? expf(scores[r][c] - largest) : 0.0f;
            total += scores[r][c];
        }
        s->correction[r] = expf(s->largest[r] - largest);
        s->total[r] = s->total[r] * s->correction[r] + plain_row_sum(total);
        s->largest[r] = largest;
    }
}

/* The block's tile, last one first: the longest rows should not start last. Heads of all sequences run
 * fastest. */
static __device__ __forceinline__ int64_t plain_tile_start(int64_t heads, int64_t sequence)
{
    const int64_t tiles = (sequence + PLAIN_TILE - 1) / PLAIN_TILE;
    return (tiles - 1 - (int64_t)blockIdx.x / heads) * PLAIN_TILE;
}

template <typename T, int SLICES>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    plain_forward_kernel(struct attention_args a, float scale, bool aligned)
{
    CUDA_SHARED(float, shared, PLAIN_SHARED);
    CUDA_SHARED(float, weights, PLAIN_WEIGHTS);
    const int64_t head_of_all = blockIdx.x % (a.batch * a.heads);
    const struct plain_head<T> head = {
        a, head_of_all / a.heads, head_of_all % a.heads, aligned
    };
    const int64_t i = plain_tile_start(a.batch * a.heads, a.sequence);
    const struct plain_rows<T> queries = head.packed(head.query_at(i), i);
    struct plain_softmax softmax;
    float sums[SLICES][4][4], factor[4];
    for (int r = 0; r < 4; r++) {
        softmax.largest[r] = -FLT_MAX;
        softmax.total[r] = 0.0f;
    }
    for (int e = 0; e < SLICES * 16; e++)
        sums[e / 16][e / 4 % 4][e % 4] = 0.0f;
    for (int64_t j = 0; j <= i; j += PLAIN_TILE) {
        float scores[4][4], keep[4][4];
        plain_dot(queries, head.packed(head.key_at(j), j), shared, scores);
        plain_softmax_step(&softmax, scale, i, j, a.sequence, scores);
        plain_keep<false>(a, head.lse_at(i), j, keep);
        for (int e = 0; e < 16; e++)
            scores[e / 4][e % 4] *= keep[e / 4][e % 4];
        for (int e = 0; e < SLICES * 16; e++)
            sums[e / 16][e / 4 % 4][e % 4] *= softmax.correction[e / 4 % 4];
        plain_weights_store(weights, scores);
        plain_combine<T, SLICES>(weights, head.packed(head.value_at(j), j), shared, sums);
    }
    for (int r = 0; r < 4; r++) {
        factor[r] = 1.0f / softmax.total[r];
        if (plain_column() == 0 && plain_row() + r < queries.count)
            a.lse[head.lse_at(i) + plain_row() + r] = softmax.largest[r] + logf(softmax.total[r]);
    }
    plain_store(static_cast<T *>(a.y) + head.y_at(i), a.heads * a.head_width, queries.count, queries.width,
                aligned, factor, sums);
}

/* row_sums[lse_at] = the product of dy and y over a head: one warp each. */
template <typename T> static __global__ void plain_row_sums_kernel(struct attention_args a, float *row_sums)
{
    const int64_t row = cuda_thread_index() / CUDA_WARP; /* ((b · sequence) + i) · heads + h */
    const int lane = (int)threadIdx.x % CUDA_WARP;
    if (row >= a.batch * a.sequence * a.heads)
        return;
    const T *y = static_cast<const T *>(a.y) + row * a.head_width;
    const T *dy = static_cast<const T *>(a.dy) + row * a.head_width;
    float sum = 0.0f;
    for (int64_t c = lane; c < a.head_width; c += CUDA_WARP)
        sum = fmaf(cuda_to_float(dy[c]), cuda_to_float(y[c]), sum);
    sum = cuda_warp_sum(sum);
    const int64_t h = row % a.heads, i = row / a.heads % a.sequence, b = row / a.heads / a.sequence;
    if (lane == 0)
        row_sums[(b * a.heads + h) * a.sequence + i] = sum;
}

/* Of a tile of scores: the probabilities after dropout, and the gradient of the scaled scores. */
struct plain_piece {
    float dropped[4][4], dscores[4][4];
};

template <bool TURNED>
static __device__ __forceinline__ void plain_piece_make(const struct attention_args &a, float scale,
                                                        const float *row_sums, int64_t lse_at, int64_t i,
                                                        int64_t j, struct plain_piece *piece)
{
    float keep[4][4];
    plain_keep<TURNED>(a, lse_at, j, keep);
    for (int e = 0; e < 16; e++) {
        const int r = e / 4, c = e % 4;
        const int query = TURNED ? plain_column() + c : plain_row() + r;
        const int key = TURNED ? plain_row() + r : plain_column() + c;
        float probability = 0.0f, row_sum = 0.0f;
        if (i + query < a.sequence && j + key <= i + query) {
            probability = expf(piece->dropped[r][c] * scale - a.lse[lse_at + query]);
            row_sum = row_sums[lse_at + query];
        }
        piece->dropped[r][c] = probability * keep[r][c];
        piece->dscores[r][c] = probability * (piece->dscores[r][c] * keep[r][c] - row_sum) * scale;
    }
}

template <typename T, int SLICES>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    plain_dq_kernel(struct attention_args a, float scale, bool aligned, const float *row_sums)
{
    CUDA_SHARED(float, shared, PLAIN_SHARED);
    CUDA_SHARED(float, weights, PLAIN_WEIGHTS);
    const int64_t head_of_all = blockIdx.x % (a.batch * a.heads);
    const struct plain_head<T> head = {
        a, head_of_all / a.heads, head_of_all % a.heads, aligned
    };
    const int64_t i = plain_tile_start(a.batch * a.heads, a.sequence);
    const struct plain_rows<T> queries = head.packed(head.query_at(i), i), dy = head.gradient(i);
    const float factor[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    float sums[SLICES][4][4];
    for (int e = 0; e < SLICES * 16; e++)
        sums[e / 16][e / 4 % 4][e % 4] = 0.0f;
    for (int64_t j = 0; j <= i; j += PLAIN_TILE) {
        struct plain_piece piece;
        const struct plain_rows<T> keys = head.packed(head.key_at(j), j);
        plain_dot(queries, keys, shared, piece.dropped);
        plain_dot(dy, head.packed(head.value_at(j), j), shared, piece.dscores);
        plain_piece_make<false>(a, scale, row_sums, head.lse_at(i), i, j, &piece);
        plain_weights_store(weights, piece.dscores);
        plain_combine<T, SLICES>(weights, keys, shared, sums);
    }
    plain_store(static_cast<T *>(a.dqkv) + head.query_at(i), head.row_width(), queries.count, queries.width,
                aligned, factor, sums);
}

template <typename T, int SLICES>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    plain_dkv_kernel(struct attention_args a, float scale, bool aligned, const float *row_sums)
{
    CUDA_SHARED(float, shared, PLAIN_SHARED);
    CUDA_SHARED(float, weights, PLAIN_WEIGHTS);
    const int64_t head_of_all = blockIdx.x % (a.batch * a.kv_heads), group = a.heads / a.kv_heads;
    const int64_t b = head_of_all / a.kv_heads, first = head_of_all % a.kv_heads * group;
    const int64_t j = (int64_t)blockIdx.x / (a.batch * a.kv_heads) * PLAIN_TILE;
    const struct plain_head<T> owner = {
        a, b, first, aligned
    };
    const struct plain_rows<T> keys = owner.packed(owner.key_at(j), j);
    const struct plain_rows<T> values = owner.packed(owner.value_at(j), j);
    const float factor[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    float dkeys[SLICES][4][4], dvalues[SLICES][4][4];
    for (int e = 0; e < SLICES * 16; e++)
        dkeys[e / 16][e / 4 % 4][e % 4] = dvalues[e / 16][e / 4 % 4][e % 4] = 0.0f;
    for (int64_t h = first; h < first + group; h++) {
        const struct plain_head<T> head = {
            a, b, h, aligned
        };
        for (int64_t i = j; i < a.sequence; i += PLAIN_TILE) {
            struct plain_piece piece;
            const struct plain_rows<T> queries = head.packed(head.query_at(i), i), dy = head.gradient(i);
            plain_dot(keys, queries, shared, piece.dropped);
            plain_dot(values, dy, shared, piece.dscores);
            plain_piece_make<true>(a, scale, row_sums, head.lse_at(i), i, j, &piece);
            plain_weights_store(weights, piece.dropped);
            plain_combine<T, SLICES>(weights, dy, shared, dvalues);
            __syncthreads();
            plain_weights_store(weights, piece.dscores);
            plain_combine<T, SLICES>(weights, queries, shared, dkeys);
        }
    }
    T *out = static_cast<T *>(a.dqkv);
    plain_store(out + owner.key_at(j), owner.row_width(), keys.count, keys.width, aligned, factor, dkeys);
    plain_store(out + owner.value_at(j), owner.row_width(), keys.count, keys.width, aligned, factor, dvalues);
}

/* Rows of every head start on 16 bytes, and so do pieces of 8 elements. */
static bool plain_aligned(const struct attention_args *a)
{
    const bool pointers =
        cuda_aligned(a->qkv) && cuda_aligned(a->y) && cuda_aligned(a->dy) && cuda_aligned(a->dqkv);
    return pointers && a->head_width * (int64_t)dtype_size(a->dtype) % 16 == 0;
}

static enum muster_status plain_check(const struct attention_args *a, struct muster_error *err)
{
    if (a->head_width <= 4 * PLAIN_TILE)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cuda: attention with heads of %lld, more than %d",
                            (long long)a->head_width, 4 * PLAIN_TILE);
}

/* Calls `launch` with the number of 64-wide slices of a head, 1, 2 or 4, as S. */
#define PLAIN_FOR_SLICES(a, T, launch)                                                                       \
    CUDA_FOR_DTYPE((a)->dtype, T, if ((a)->head_width <= PLAIN_TILE) launch(T, 1);                           \
                   else if ((a)->head_width <= 2 * PLAIN_TILE) launch(T, 2); else launch(T, 4))

CUDA_OPERATION(attention_forward_plain, attention_args)
{
    enum muster_status status = plain_check(a, err);
    if (status != MUSTER_OK)
        return status;
    const float scale = (float)(1.0 / sqrt((double)a->head_width));
    const int64_t blocks = a->batch * a->heads * cuda_divide_up(a->sequence, PLAIN_TILE);
#define PLAIN_FORWARD(T, S)                                                                                  \
    CUDA_LAUNCH((plain_forward_kernel<T, S>), (unsigned)blocks, CUDA_BLOCK, 0, cuda_kernels_from(k)->stream, \
                *a, scale, plain_aligned(a))
    PLAIN_FOR_SLICES(a, T, PLAIN_FORWARD);
    return cuda_launched("attention_forward", err);
}

CUDA_OPERATION(attention_backward_plain, attention_args)
{
    const int64_t rows = a->batch * a->sequence * a->heads;
    enum muster_status status = plain_check(a, err);
    if (status == MUSTER_OK)
        status = cuda_scratch_check(k, rows * 4, "attention_backward", err);
    if (status != MUSTER_OK)
        return status;
    const float scale = (float)(1.0 / sqrt((double)a->head_width));
    const int64_t tiles = cuda_divide_up(a->sequence, PLAIN_TILE);
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    float *row_sums = static_cast<float *>(k->scratch);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((plain_row_sums_kernel<T>), cuda_blocks(rows * CUDA_WARP, CUDA_BLOCK),
                               CUDA_BLOCK, 0, stream, *a, row_sums));
#define PLAIN_BACKWARD(T, S)                                                                                 \
    do {                                                                                                     \
        CUDA_LAUNCH((plain_dq_kernel<T, S>), (unsigned)(a->batch * a->heads * tiles), CUDA_BLOCK, 0, stream, \
                    *a, scale, plain_aligned(a), row_sums);                                                  \
        CUDA_LAUNCH((plain_dkv_kernel<T, S>), (unsigned)(a->batch * a->kv_heads * tiles), CUDA_BLOCK, 0,     \
                    stream, *a, scale, plain_aligned(a), row_sums);                                          \
    } while (0)
    PLAIN_FOR_SLICES(a, T, PLAIN_BACKWARD);
    return cuda_launched("attention_backward", err);
}
