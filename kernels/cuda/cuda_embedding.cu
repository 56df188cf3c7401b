/* SPDX-License-Identifier: MIT
 *
 * Embedding tables and rotary positions. The gradient of the token table adds the rows of equal tokens in
 * token order, without float atomics: the tokens of each used row are first gathered into a list (integer
 * atomics, whose order does not show: the list is sorted, or where it is long the ids are walked instead),
 * then one block per used row and piece of the width adds what the list names. Work grows with the tokens,
 * not with the vocabulary.
 */
#include "kernels/cuda/cuda_device.cuh"

template <typename T> static __global__ void embedding_forward_kernel(struct embedding_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    const int64_t index = cuda_thread_index(), groups = (a.width + N - 1) / N;
    const int64_t t = cuda_quotient(index, groups), c = (index - t * groups) * N;
    if (t >= a.tokens)
        return;
    const int64_t there = a.width - c;
    float values[N], positions[N];
    cuda_group_load(static_cast<const T *>(a.token_table) + a.ids[t] * a.width + c, there, aligned, values);
    if (a.position_table != nullptr) {
        const T *position = static_cast<const T *>(a.position_table) + t % a.sequence * a.width;
        cuda_group_load(position + c, there, aligned, positions);
        for (int i = 0; i < N; i++)
            values[i] += positions[i];
    }
    cuda_group_store(static_cast<T *>(a.y) + t * a.width + c, there, aligned, values);
}

CUDA_OPERATION(embedding_forward, embedding_args)
{
    const int64_t size = (int64_t)dtype_size(a->dtype);
    const bool aligned = a->width * size % 16 == 0 && cuda_aligned(a->token_table) &&
                         cuda_aligned(a->position_table) && cuda_aligned(a->y);
    const int64_t threads = a->tokens * cuda_divide_up(a->width * size, 16);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((embedding_forward_kernel<T>), cuda_blocks(threads, CUDA_BLOCK), CUDA_BLOCK, 0,
                               cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("embedding_forward", err);
}

/* The scratch block of the token table's gradient. */
struct embedding_lists {
    int32_t *count;  /* [vocabulary] tokens of a row */
    int32_t *end;    /* [vocabulary] of its list, once all tokens are listed */
    int32_t *used;   /* [min(tokens, vocabulary)] rows that have tokens, in any order */
    int32_t *tokens; /* [tokens] the lists, one after another */
    int32_t *totals; /* list entries given out, used rows */
};

static __global__ void embedding_count_kernel(const int32_t *ids, int64_t tokens,
                                              struct embedding_lists lists)
{
    const int64_t t = cuda_thread_index();
    if (t < tokens)
        atomicAdd(&lists.count[ids[t]], 1);
}

static __global__ void embedding_place_kernel(int64_t vocabulary, struct embedding_lists lists)
{
    const int64_t row = cuda_thread_index();
    if (row >= vocabulary || lists.count[row] == 0)
        return;
    lists.end[row] = atomicAdd(&lists.totals[0], lists.count[row]);
    lists.used[atomicAdd(&lists.totals[1], 1)] = (int32_t)row;
}

static __global__ void embedding_list_kernel(const int32_t *ids, int64_t tokens, struct embedding_lists lists)
{
    const int64_t t = cuda_thread_index();
    if (t < tokens)
        lists.tokens[atomicAdd(&lists.end[ids[t]], 1)] = (int32_t)t;
}

enum { EMBEDDING_BLOCK = 128, EMBEDDING_EACH = 4, EMBEDDING_LIST = EMBEDDING_BLOCK * EMBEDDING_EACH };

/* Up to EMBEDDING_LIST tokens, into `sorted` in ascending order. All threads of the block call. */
static __device__ void embedding_sort(const int32_t *tokens, int count, int32_t *unsorted, int32_t *sorted)
{
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x)
        unsorted[i] = tokens[i];
    __syncthreads();
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x) {
        int before = 0;
        for (int other = 0; other < count; other++)
            before += unsorted[other] < unsorted[i] ? 1 : 0;
        sorted[before] = unsorted[i];
    }
    __syncthreads();
}

/* Adds the rows of dy that `tokens` names to the thread's columns. */
template <typename T, int N>
static __device__ __forceinline__ void embedding_add(const T *dy, int64_t width, int64_t c, bool aligned,
                                                     const int32_t *tokens, int count, float (&sums)[N])
{
    const auto at = [=](int64_t n) { return tokens[n] * width + c; };
    cuda_groups_add(dy, count, at, width - c, aligned, sums);
}

/* The tokens among ids[first … first + EMBEDDING_LIST) that are `row`, in order, into `found`; returns how
 * many. All threads of the block call; each looks at EMBEDDING_EACH ids that follow one another. */
static __device__ int embedding_find(const struct embedding_args &a, int32_t row, int64_t first,
                                     int32_t *counts, int32_t *found)
{
    const int warp = (int)threadIdx.x / CUDA_WARP, lane = (int)threadIdx.x % CUDA_WARP;
    const int64_t mine = first + (int64_t)threadIdx.x * EMBEDDING_EACH;
    unsigned matching[EMBEDDING_EACH];
    int place = 0, total = 0;
    for (int i = 0; i < EMBEDDING_EACH; i++) {
        matching[i] = __ballot_sync(0xffffffffu, mine + i < a.tokens && a.ids[mine + i] == row);
        place += __popc(matching[i] & ((1u << lane) - 1));
        total += __popc(matching[i]);
    }
    if (lane == 0)
        counts[warp] = total;
    __syncthreads();
    total = 0;
    for (int w = 0; w < EMBEDDING_BLOCK / CUDA_WARP; w++) {
        place += w < warp ? counts[w] : 0;
        total += counts[w];
    }
    for (int i = 0; i < EMBEDDING_EACH; i++)
        if (matching[i] >> lane & 1)
            found[place++] = (int32_t)(mine + i);
    __syncthreads();
    return total;
}

/* As embedding_sort and embedding_add for a row with more tokens than a list holds: walks all ids. */
template <typename T, int N>
static __device__ void embedding_walk(const struct embedding_args &a, int32_t row, int64_t c, bool aligned,
                                      int32_t *counts, int32_t *found, float (&sums)[N])
{
    for (int64_t first = 0; first < a.tokens; first += EMBEDDING_LIST) {
        const int total = embedding_find(a, row, first, counts, found);
        if (c < a.width)
            embedding_add(static_cast<const T *>(a.dy), a.width, c, aligned, found, total, sums);
    }
}

template <typename T>
static __global__ void embedding_row_kernel(struct embedding_args a, struct embedding_lists lists,
                                            bool aligned, bool aligned_sums)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED(int32_t, unsorted, EMBEDDING_LIST);
    CUDA_SHARED(int32_t, sorted, EMBEDDING_LIST);
    if ((int64_t)blockIdx.x >= lists.totals[1])
        return;
    const int32_t row = lists.used[blockIdx.x], count = lists.count[row];
    const int64_t c = ((int64_t)blockIdx.y * EMBEDDING_BLOCK + threadIdx.x) * N, there = a.width - c;
    float sums[N], table[N];
    for (int i = 0; i < N; i++)
        sums[i] = 0.0f;
    if (count > EMBEDDING_LIST) {
        embedding_walk<T>(a, row, c, aligned, unsorted, sorted, sums);
    } else {
        embedding_sort(lists.tokens + lists.end[row] - count, count, unsorted, sorted);
        if (there > 0)
            embedding_add(static_cast<const T *>(a.dy), a.width, c, aligned, sorted, count, sums);
    }
    float *out = a.dtoken_table + row * a.width + c;
    if (there <= 0)
        return;
    cuda_group_load(out, there, aligned_sums, table);
    for (int i = 0; i < N; i++)
        table[i] += sums[i];
    cuda_group_store(out, there, aligned_sums, table);
}

/* dposition_table[p] += the rows of dy at position p of each sequence, in order. */
template <typename T>
static __global__ void embedding_position_kernel(struct embedding_args a, bool aligned, bool aligned_sums)
{
    const int N = cuda_group<T>::COUNT;
    const int64_t index = cuda_thread_index(), groups = (a.width + N - 1) / N;
    const int64_t p = cuda_quotient(index, groups), c = (index - p * groups) * N, there = a.width - c;
    if (p >= a.sequence || p >= a.tokens)
        return;
    float sums[N], values[N];
    for (int i = 0; i < N; i++)
        sums[i] = 0.0f;
    const int64_t count = (a.tokens - p + a.sequence - 1) / a.sequence;
    const auto at = [=](int64_t n) { return (p + n * a.sequence) * a.width + c; };
    cuda_groups_add(static_cast<const T *>(a.dy), count, at, there, aligned, sums);
    float *out = a.dposition_table + p * a.width + c;
    cuda_group_load(out, there, aligned_sums, values);
    for (int i = 0; i < N; i++)
        values[i] += sums[i];
    cuda_group_store(out, there, aligned_sums, values);
}

static int64_t embedding_rows_max(const struct embedding_args *a)
{
    return a->tokens < a->vocabulary ? a->tokens : a->vocabulary;
}

static enum muster_status embedding_lists_make(struct kernels *k, const struct embedding_args *a,
                                               struct embedding_lists *lists, struct muster_error *err)
{
    const int64_t rows = embedding_rows_max(a);
    const int64_t bytes = (2 * a->vocabulary + rows + a->tokens + 2) * 4;
    enum muster_status status = cuda_scratch_check(k, bytes, "embedding_backward", err);
    if (status != MUSTER_OK)
        return status;
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    lists->count = static_cast<int32_t *>(k->scratch);
    lists->totals = lists->count + a->vocabulary;
    lists->end = lists->totals + 2;
    lists->used = lists->end + a->vocabulary;
    lists->tokens = lists->used + rows;
    status = cuda_check(cudaMemsetAsync(lists->count, 0, (size_t)(a->vocabulary + 2) * 4, stream),
                        "embedding_backward", err);
    if (status != MUSTER_OK)
        return status;
    const unsigned token_blocks = cuda_blocks(a->tokens, CUDA_BLOCK);
    CUDA_LAUNCH(embedding_count_kernel, token_blocks, CUDA_BLOCK, 0, stream, a->ids, a->tokens, *lists);
    CUDA_LAUNCH(embedding_place_kernel, cuda_blocks(a->vocabulary, CUDA_BLOCK), CUDA_BLOCK, 0, stream,
                a->vocabulary, *lists);
    CUDA_LAUNCH(embedding_list_kernel, token_blocks, CUDA_BLOCK, 0, stream, a->ids, a->tokens, *lists);
    return cuda_launched("embedding_backward", err);
}

CUDA_OPERATION(embedding_backward, embedding_args)
{
    struct embedding_lists lists;
    enum muster_status status = embedding_lists_make(k, a, &lists, err);
    if (status != MUSTER_OK)
        return status;
    cudaStream_t stream = cuda_kernels_from(k)->stream;
    const int64_t size = (int64_t)dtype_size(a->dtype), groups = cuda_divide_up(a->width * size, 16);
    const bool aligned = a->width * size % 16 == 0 && cuda_aligned(a->dy);
    const bool aligned_sums = a->width % 4 == 0 && cuda_aligned(a->dtoken_table);
    const dim3 grid((unsigned)embedding_rows_max(a), cuda_blocks(groups, EMBEDDING_BLOCK));
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((embedding_row_kernel<T>), grid, EMBEDDING_BLOCK, 0, stream, *a, lists,
                               aligned, aligned_sums));
    if (a->dposition_table != nullptr) {
        const bool aligned_positions = a->width % 4 == 0 && cuda_aligned(a->dposition_table);
        CUDA_FOR_DTYPE(a->dtype, T,
                       CUDA_LAUNCH((embedding_position_kernel<T>),
                                   cuda_blocks(a->sequence * groups, CUDA_BLOCK), CUDA_BLOCK, 0, stream, *a,
                                   aligned, aligned_positions));
    }
    return cuda_launched("embedding_backward", err);
}

/* The cosine and sine of each pair at one position, in double: angles grow with the position, and a device
 * has time for this while it waits for memory. */
static __device__ void rope_turns(const struct rope_args &a, int64_t position, float *turns)
{
    const int half = (int)(a.head_width / 2);
    for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x) {
        const double frequency = pow((double)a.base, -2.0 * (double)i / (double)a.head_width);
        const double angle = (double)position * frequency;
        turns[i] = (float)cos(angle);
        turns[half + i] = (float)(a.inverse ? -sin(angle) : sin(angle));
    }
}

/* One block per position, which serves all sequences of the batch. */
template <typename T> static __global__ void rope_kernel(struct rope_args a, bool aligned)
{
    const int N = cuda_group<T>::COUNT;
    CUDA_SHARED_DYNAMIC(float, turns);
    const int half = (int)(a.head_width / 2), groups = (half + N - 1) / N;
    const int places = (int)(a.heads + a.kv_heads) * groups;
    const int64_t row_width = (a.heads + 2 * a.kv_heads) * a.head_width;
    rope_turns(a, blockIdx.x, turns);
    __syncthreads();
    for (int64_t t = blockIdx.x; t < a.tokens; t += a.sequence) {
        for (int place = (int)threadIdx.x; place < places; place += (int)blockDim.x) {
            const int head = place / groups, c = (place - head * groups) * N;
            T *at = static_cast<T *>(a.qkv) + t * row_width + head * a.head_width + c;
            float first[N], second[N];
            cuda_group_load(at, half - c, aligned, first);
            cuda_group_load(at + half, half - c, aligned, second);
            for (int i = 0; i < N && c + i < half; i++) {
                const float x = first[i], y = second[i], cosine = turns[c + i], sine = turns[half + c + i];
                first[i] = fmaf(x, cosine, -(y * sine));
                second[i] = fmaf(y, cosine, x * sine);
            }
            cuda_group_store(at, half - c, aligned, first);
            cuda_group_store(at + half, half - c, aligned, second);
        }
    }
}

CUDA_OPERATION(rope, rope_args)
{
    const int64_t size = (int64_t)dtype_size(a->dtype),
                  positions = a->tokens < a->sequence ? a->tokens : a->sequence;
    const bool aligned = a->head_width / 2 * size % 16 == 0 && cuda_aligned(a->qkv);
    const int64_t places = (a->heads + a->kv_heads) * cuda_divide_up(a->head_width / 2 * size, 16);
    CUDA_FOR_DTYPE(a->dtype, T,
                   CUDA_LAUNCH((rope_kernel<T>), (unsigned)positions, cuda_row_threads(places, CUDA_BLOCK),
                               (size_t)a->head_width * 4, cuda_kernels_from(k)->stream, *a, aligned));
    return cuda_launched("rope", err);
}
