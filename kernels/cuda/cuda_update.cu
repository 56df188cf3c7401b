/* SPDX-License-Identifier: MIT
 *
 * Operations on the flat parameter space: the optimizers, sums and casts. State is rounded to fp32 where it
 * is stored and the parameter moves by the stored state; an element becomes the same wherever a range starts.
 */
#include "kernels/cuda/cuda_device.cuh"

enum { UPDATE_GROUP = 4, UPDATE_TURNS = 128, SQUARES_THREADS_MAX = 1024, SUM_THREADS = 128 };

/* The turns of weight decay as a launch carries them. */
struct update_turns {
    int64_t at[UPDATE_TURNS];
    int count;
};

/* The weight decay of a group of elements. */
static __device__ __forceinline__ void update_decays(const struct update_turns &turns, int64_t at,
                                                     float weight_decay, float (&decays)[UPDATE_GROUP])
{
    int turn = 0, beyond = turns.count;
    while (turn < beyond) {
        const int middle = (turn + beyond) / 2;
        if (turns.at[middle] <= at)
            turn = middle + 1;
        else
            beyond = middle;
    }
    for (int i = 0; i < UPDATE_GROUP; i++) {
        if (turn < turns.count && turns.at[turn] <= at + i)
            turn++;
        decays[i] = turn % 2 == 0 ? weight_decay : 0.0f;
    }
}

/* Takes up to UPDATE_TURNS turns from `first` on; returns where the elements end that they decide about. */
static int64_t update_turns_take(const struct update_decay *decay, int first, int64_t count,
                                 struct update_turns *turns)
{
    const int left = decay->turn_count - first;
    turns->count = left < UPDATE_TURNS ? left : UPDATE_TURNS;
    for (int i = 0; i < turns->count; i++)
        turns->at[i] = decay->turns[first + i];
    return left > UPDATE_TURNS && decay->turns[first + UPDATE_TURNS] < count
               ? decay->turns[first + UPDATE_TURNS]
               : count;
}

static __device__ __forceinline__ void update_store_rounded(uint16_t *rounded, enum dtype dtype, int64_t at,
                                                            int64_t there, bool aligned,
                                                            const float (&values)[UPDATE_GROUP])
{
    if (rounded == nullptr)
        return;
    if (dtype == DTYPE_F16)
        cuda_group_store(reinterpret_cast<struct cuda_f16 *>(rounded) + at, there, aligned, values);
    else
        cuda_group_store(reinterpret_cast<struct cuda_bf16 *>(rounded) + at, there, aligned, values);
}

static __global__ void adamw_kernel(struct adamw_args a, struct update_turns turns, int64_t first,
                                    int64_t end, float rise1, float rise2, bool aligned)
{
    const int64_t at = first + cuda_thread_index() * UPDATE_GROUP, there = end - at;
    if (there <= 0)
        return;
    float grad[UPDATE_GROUP], m[UPDATE_GROUP], v[UPDATE_GROUP], param[UPDATE_GROUP], decays[UPDATE_GROUP];
    update_decays(turns, at, a.weight_decay, decays);
    cuda_group_load(a.grad + at, there, aligned, grad);
    cuda_group_load(a.m + at, there, aligned, m);
    cuda_group_load(a.v + at, there, aligned, v);
    cuda_group_load(a.param + at, there, aligned, param);
    for (int i = 0; i < UPDATE_GROUP; i++) {
        const float g = grad[i] * a.grad_scale;
        m[i] = a.beta1 * m[i] + rise1 * g;
        v[i] = a.beta2 * v[i] + rise2 * (g * g);
        const float mean = m[i] / a.bias_correction1, variance = v[i] / a.bias_correction2;
        const float move = mean / (sqrtf(variance) + a.epsilon) + decays[i] * param[i];
        param[i] = param[i] - a.lr * move;
    }
    cuda_group_store(a.m + at, there, aligned, m);
    cuda_group_store(a.v + at, there, aligned, v);
    cuda_group_store(a.param + at, there, aligned, param);
    update_store_rounded(a.param_rounded, a.rounded_dtype, at, there, aligned, param);
}

CUDA_OPERATION(adamw, adamw_args)
{
    const bool aligned = cuda_aligned(a->param) && cuda_aligned(a->grad) && cuda_aligned(a->m) &&
                         cuda_aligned(a->v) && cuda_aligned(a->param_rounded);
    const float rise1 = (float)(1.0 - (double)a->beta1), rise2 = (float)(1.0 - (double)a->beta2);
    int64_t end = 0;
    for (int turn = 0; end < a->count; turn += UPDATE_TURNS) {
        struct update_turns turns;
        const int64_t first = end;
        end = update_turns_take(&a->decay, turn, a->count, &turns);
        CUDA_LAUNCH(adamw_kernel, cuda_blocks(end - first, UPDATE_GROUP * CUDA_BLOCK), CUDA_BLOCK, 0,
                    cuda_kernels_from(k)->stream, *a, turns, first, end, rise1, rise2,
                    aligned && first % UPDATE_GROUP == 0);
    }
    return cuda_launched("adamw", err);
}

static __global__ void sgd_kernel(struct sgd_args a, struct update_turns turns, int64_t first, int64_t end,
                                  bool aligned)
{
    const int64_t at = first + cuda_thread_index() * UPDATE_GROUP, there = end - at;
    if (there <= 0)
        return;
    float grad[UPDATE_GROUP], momentum[UPDATE_GROUP], param[UPDATE_GROUP], decays[UPDATE_GROUP];
    update_decays(turns, at, a.weight_decay, decays);
    cuda_group_load(a.grad + at, there, aligned, grad);
    cuda_group_load(a.momentum + at, there, aligned, momentum);
    cuda_group_load(a.param + at, there, aligned, param);
    for (int i = 0; i < UPDATE_GROUP; i++) {
        const float g = grad[i] * a.grad_scale + decays[i] * param[i];
        momentum[i] = a.mu * momentum[i] + g;
        param[i] = param[i] - a.lr * (a.nesterov ? g + a.mu * momentum[i] : momentum[i]);
    }
    cuda_group_store(a.momentum + at, there, aligned, momentum);
    cuda_group_store(a.param + at, there, aligned, param);
    update_store_rounded(a.param_rounded, a.rounded_dtype, at, there, aligned, param);
}

CUDA_OPERATION(sgd, sgd_args)
{
    const bool aligned = cuda_aligned(a->param) && cuda_aligned(a->grad) && cuda_aligned(a->momentum) &&
                         cuda_aligned(a->param_rounded);
    int64_t end = 0;
    for (int turn = 0; end < a->count; turn += UPDATE_TURNS) {
        struct update_turns turns;
        const int64_t first = end;
        end = update_turns_take(&a->decay, turn, a->count, &turns);
        CUDA_LAUNCH(sgd_kernel, cuda_blocks(end - first, UPDATE_GROUP * CUDA_BLOCK), CUDA_BLOCK, 0,
                    cuda_kernels_from(k)->stream, *a, turns, first, end,
                    aligned && first % UPDATE_GROUP == 0);
    }
    return cuda_launched("sgd", err);
}

/* A block sums a chunk: groups of four elements are dealt to its threads in turn. */
static __global__ void __launch_bounds__(SQUARES_THREADS_MAX)
    squares_kernel(const float *x, int64_t count, int64_t chunk, bool aligned, double *sums)
{
    CUDA_SHARED(double, warps, CUDA_WARPS_MAX);
    const int64_t begin = blockIdx.x * chunk, end = begin + chunk < count ? begin + chunk : count;
    double sum = 0.0;
    for (int64_t at = begin + threadIdx.x * UPDATE_GROUP; at < end; at += blockDim.x * UPDATE_GROUP) {
        float values[UPDATE_GROUP];
        cuda_group_load(x + at, end - at, aligned, values);
        for (int i = 0; i < UPDATE_GROUP; i++)
            sum += (double)values[i] * (double)values[i];
    }
    sum = cuda_block_sum(sum, warps);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

enum muster_status cuda_sum_squares(struct kernels *k, const float *x, int64_t count, int64_t chunk,
                                    double *sums, struct muster_error *err)
{
    const bool aligned = cuda_aligned(x) && chunk % UPDATE_GROUP == 0;
    const unsigned threads = cuda_row_threads(cuda_divide_up(chunk, UPDATE_GROUP), SQUARES_THREADS_MAX);
    CUDA_LAUNCH(squares_kernel, cuda_blocks(count, chunk), threads, 0, cuda_kernels_from(k)->stream, x, count,
                chunk, aligned, sums);
    return cuda_launched("sum_squares", err);
}

static __global__ void add_kernel(float *y, const float *x, int64_t count, bool aligned)
{
    const int64_t at = cuda_thread_index() * UPDATE_GROUP, there = count - at;
    if (there <= 0)
        return;
    float sum[UPDATE_GROUP], more[UPDATE_GROUP];
    cuda_group_load(y + at, there, aligned, sum);
    cuda_group_load(x + at, there, aligned, more);
    for (int i = 0; i < UPDATE_GROUP; i++)
        sum[i] += more[i];
    cuda_group_store(y + at, there, aligned, sum);
}

enum muster_status cuda_add(struct kernels *k, float *y, const float *x, int64_t count,
                            struct muster_error *err)
{
    if (count == 0)
        return MUSTER_OK;
    CUDA_LAUNCH(add_kernel, cuda_blocks(count, UPDATE_GROUP * CUDA_BLOCK), CUDA_BLOCK, 0,
                cuda_kernels_from(k)->stream, y, x, count, cuda_aligned(y) && cuda_aligned(x));
    return cuda_launched("add", err);
}

/* A thread runs the program on its group of elements: what is on top of the stack is in registers, what is
 * below in shared memory, so that a term is read once and no partial sum travels. */
static __global__ void __launch_bounds__(SUM_THREADS)
    sum_kernel(float *out, const struct tree_terms terms, int64_t count, bool aligned)
{
    CUDA_SHARED_DYNAMIC(float4, stack);
    const int64_t at = cuda_thread_index() * UPDATE_GROUP, there = count - at;
    if (there <= 0)
        return;
    float top[UPDATE_GROUP];
    float4 *below = stack + threadIdx.x;
    cuda_group_load(terms.source[0] + at, there, aligned, top);
    for (int i = 1; i < terms.length; i++) {
        const int source = terms.program[i];
        if (source >= 0) {
            *below = make_float4(top[0], top[1], top[2], top[3]);
            below += SUM_THREADS;
            cuda_group_load(terms.source[source] + at, there, aligned, top);
        } else {
            below -= SUM_THREADS;
            top[0] = below->x + top[0];
            top[1] = below->y + top[1];
            top[2] = below->z + top[2];
            top[3] = below->w + top[3];
        }
    }
    cuda_group_store(out + at, there, aligned, top);
}

/* Sums that wait below the top of the stack at once, at most as many as the tree has levels. */
static int sum_depth(const struct tree_terms *terms)
{
    int depth = 0, deepest = 0;
    for (int i = 1; i < terms->length; i++) {
        depth += terms->program[i] >= 0 ? 1 : -1;
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

enum muster_status cuda_sum_on_stream(cudaStream_t stream, float *out, const struct tree_terms *terms,
                                      int64_t count, struct muster_error *err)
{
    if (count == 0)
        return MUSTER_OK;
    bool aligned = cuda_aligned(out);
    for (int i = 0; i <= terms->length / 2; i++)
        aligned = aligned && cuda_aligned(terms->source[i]);
    const size_t shared_bytes = (size_t)sum_depth(terms) * SUM_THREADS * sizeof(float4);
    CUDA_LAUNCH(sum_kernel, cuda_blocks(count, UPDATE_GROUP * SUM_THREADS), SUM_THREADS, shared_bytes, stream,
                out, *terms, count, aligned);
    return cuda_launched("sum", err);
}

static __global__ void round_kernel(enum dtype dtype, uint16_t *y, const float *x, int64_t count,
                                    bool aligned)
{
    const int64_t at = cuda_thread_index() * UPDATE_GROUP, there = count - at;
    if (there <= 0)
        return;
    float values[UPDATE_GROUP];
    cuda_group_load(x + at, there, aligned, values);
    update_store_rounded(y, dtype, at, there, aligned, values);
}

enum muster_status cuda_round_to(struct kernels *k, enum dtype dtype, uint16_t *y, const float *x,
                                 int64_t count, struct muster_error *err)
{
    if (count == 0)
        return MUSTER_OK;
    CUDA_LAUNCH(round_kernel, cuda_blocks(count, UPDATE_GROUP * CUDA_BLOCK), CUDA_BLOCK, 0,
                cuda_kernels_from(k)->stream, dtype, y, x, count, cuda_aligned(x) && cuda_aligned(y));
    return cuda_launched("round_to", err);
}
