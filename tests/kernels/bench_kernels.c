/* SPDX-License-Identifier: MIT
 *
 * How fast the CPU back end is on the shapes of GPT-2 124M: matrix products as a share of the multiply-add
 * peak measured in the same run, everything else in bytes per second. A program to look at, not a test. One
 * thread is measured in processor time, which neighbours on a busy machine disturb less; more in wall time.
 *
 *   bench_kernels [THREADS [OPERATION-PREFIX [INSTRUCTION-SET]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <omp.h>

#include "base/alloc.h"
#include "kernels/kernels.h"

enum { TOKENS = 1024, SEQUENCE = 256, WIDTH = 768, HIDDEN = 3072, HEADS = 12, VOCABULARY = 50257 };
enum { CHUNK_ROWS = 256, BLOCK_MB = 256, UPDATE_COUNT = 16 << 20 };

struct bench {
    struct kernels *k;
    const char *prefix;
    double peak_gflops[DTYPE_COUNT]; /* of all threads */
    char *a, *b, *c, *d, *work;
    int32_t *ids;
};

/* One operation: returns after one call. `dtype` and the sizes are the case's own. */
struct bench_case {
    const char *name;
    enum dtype dtype;
    int64_t in, out;
    enum muster_status (*call)(struct bench *b, const struct bench_case *c);
    double gflop, gbytes; /* per call; 0 where it is not the measure */
};

static double bench_now(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct linear_args bench_linear(const struct bench_case *c)
{
    return (struct linear_args){.dtype = c->dtype, .tokens = TOKENS, .in_width = c->in, .out_width = c->out};
}

static enum muster_status bench_forward(struct bench *b, const struct bench_case *c)
{
    struct linear_args a = bench_linear(c);
    a.x = b->a, a.w = b->b, a.bias = b->work, a.y = b->c, a.pre = b->d;
    if (c->out == HIDDEN)
        a.activation = ACTIVATION_GELU_TANH;
    return kernels_linear_forward(b->k, &a, NULL);
}

static enum muster_status bench_input(struct bench *b, const struct bench_case *c)
{
    struct linear_args a = bench_linear(c);
    a.dy = b->a, a.w = b->b, a.dx = b->c;
    if (c->in == HIDDEN)
        a.input_pre = b->d, a.input_activation = ACTIVATION_GELU_TANH;
    return kernels_linear_backward_input(b->k, &a, NULL);
}

static enum muster_status bench_weight(struct bench *b, const struct bench_case *c)
{
    struct linear_args a = bench_linear(c);
    a.dy = b->a, a.x = b->b, a.dw = (float *)b->c, a.dbias = (float *)b->d;
    return kernels_linear_backward_weight(b->k, &a, NULL);
}

static enum muster_status bench_head(struct bench *b, const struct bench_case *c)
{
    struct head_loss_args a = {.dtype = c->dtype, .tokens = TOKENS, .width = WIDTH, .vocabulary = VOCABULARY};
    a.chunk_rows = CHUNK_ROWS, a.x = b->a, a.w = b->b, a.targets = b->ids, a.loss = (float *)b->d;
    a.correct = (float *)b->d + TOKENS, a.gradient_scale = 1.0f / TOKENS, a.dx = b->d + 65536;
    a.dw = (float *)b->c, a.work = b->work;
    return kernels_head_loss(b->k, &a, NULL);
}

static struct attention_args bench_attention(struct bench *b, const struct bench_case *c)
{
    struct attention_args a = {.dtype = c->dtype, .batch = TOKENS / SEQUENCE, .sequence = SEQUENCE};
    a.heads = HEADS, a.kv_heads = HEADS, a.head_width = WIDTH / HEADS;
    a.qkv = b->a, a.y = b->b, a.lse = (float *)b->d, a.dy = b->c, a.dqkv = b->work;
    return a;
}

static enum muster_status bench_attention_forward(struct bench *b, const struct bench_case *c)
{
    struct attention_args a = bench_attention(b, c);
    return kernels_attention_forward(b->k, &a, NULL);
}

static enum muster_status bench_attention_backward(struct bench *b, const struct bench_case *c)
{
    struct attention_args a = bench_attention(b, c);
    return kernels_attention_backward(b->k, &a, NULL);
}

static struct norm_args bench_norm(struct bench *b, const struct bench_case *c)
{
    struct norm_args a = {.dtype = c->dtype, .epsilon = 1e-5f, .tokens = TOKENS, .width = WIDTH};
    a.gain = b->d, a.bias = b->d + WIDTH * 4, a.mean = (float *)(b->d + 65536);
    a.rstd = a.mean + TOKENS, a.dgain = a.rstd + TOKENS, a.dbias = a.dgain + WIDTH;
    return a;
}

static enum muster_status bench_norm_forward(struct bench *b, const struct bench_case *c)
{
    struct norm_args a = bench_norm(b, c);
    a.x = b->a, a.delta = b->b, a.residual = b->c, a.y = b->work;
    return kernels_norm_forward(b->k, &a, NULL);
}

static enum muster_status bench_norm_backward(struct bench *b, const struct bench_case *c)
{
    struct norm_args a = bench_norm(b, c);
    a.residual = b->a, a.dy = b->b, a.dresidual = b->c;
    return kernels_norm_backward(b->k, &a, NULL);
}

static enum muster_status bench_gelu(struct bench *b, const struct bench_case *c)
{
    struct activation_args a = {.dtype = c->dtype, .count = TOKENS * HIDDEN};
    a.activation = ACTIVATION_GELU_TANH, a.pre = b->a, a.y = b->b;
    return kernels_activation_forward(b->k, &a, NULL);
}

static enum muster_status bench_swiglu(struct bench *b, const struct bench_case *c)
{
    struct swiglu_args a = {.dtype = c->dtype, .tokens = TOKENS, .width = HIDDEN, .gate_up = b->a};
    a.y = b->b;
    return kernels_swiglu_forward(b->k, &a, NULL);
}

static enum muster_status bench_rope(struct bench *b, const struct bench_case *c)
{
    struct rope_args a = {.dtype = c->dtype, .tokens = TOKENS, .sequence = SEQUENCE, .heads = HEADS};
    a.kv_heads = HEADS, a.head_width = WIDTH / HEADS, a.base = 10000.0f, a.qkv = b->a;
    return kernels_rope(b->k, &a, NULL);
}

static enum muster_status bench_dropout(struct bench *b, const struct bench_case *c)
{
    struct dropout_args a = {.dtype = c->dtype, .count = TOKENS * WIDTH, .p = 0.1f, .x = b->a, .y = b->b};
    return kernels_dropout(b->k, &a, NULL);
}

static enum muster_status bench_embedding(struct bench *b, const struct bench_case *c)
{
    struct embedding_args a = {.dtype = c->dtype, .tokens = TOKENS, .sequence = SEQUENCE, .width = WIDTH};
    a.vocabulary = VOCABULARY, a.ids = b->ids, a.dy = b->a, a.dtoken_table = (float *)b->b;
    a.dposition_table = (float *)b->c;
    return kernels_embedding_backward(b->k, &a, NULL);
}

static enum muster_status bench_adamw(struct bench *b, const struct bench_case *c)
{
    struct adamw_args a = {.count = UPDATE_COUNT, .param = (float *)b->a, .grad = (float *)b->b};
    a.m = (float *)b->c, a.v = (float *)b->d, a.grad_scale = 1.0f, a.lr = 1e-4f, a.beta1 = 0.9f;
    a.beta2 = 0.95f, a.epsilon = 1e-8f, a.bias_correction1 = 0.1f, a.bias_correction2 = 0.05f;
    a.param_rounded = c->dtype == DTYPE_BF16 ? (uint16_t *)b->work : NULL;
    a.rounded_dtype = DTYPE_BF16;
    return kernels_adamw(b->k, &a, NULL);
}

static enum muster_status bench_squares(struct bench *b, const struct bench_case *c)
{
    double sum;
    (void)c;
    return kernels_sum_squares(b->k, (float *)b->a, UPDATE_COUNT, UPDATE_COUNT, &sum, NULL);
}

static enum muster_status bench_add(struct bench *b, const struct bench_case *c)
{
    (void)c;
    return kernels_add(b->k, (float *)b->a, (float *)b->b, UPDATE_COUNT, NULL);
}

static void bench_run(struct bench *b, const struct bench_case *c)
{
    if (strncmp(c->name, b->prefix, strlen(b->prefix)) != 0)
        return;
    double best = 1e30, spent = 0.0;
    for (int run = 0; run < 3 || (spent < 0.4 && run < 200); run++) {
        double start = bench_now(b->k->threads);
        if (c->call(b, c) != MUSTER_OK) {
            printf("%-24s failed\n", c->name);
            return;
        }
        double seconds = bench_now(b->k->threads) - start;
        best = run > 0 && seconds < best ? seconds : best;
        spent += seconds;
    }
    printf("%-24s %s %5lld -> %5lld %9.3f ms", c->name, dtype_name(c->dtype), (long long)c->in,
           (long long)c->out, best * 1e3);
    if (c->gflop > 0.0)
        printf(" %7.1f GF/s %5.1f%% of the %s peak\n", c->gflop / best,
               100.0 * c->gflop / best / b->peak_gflops[c->dtype], dtype_name(c->dtype));
    else
        printf(" %7.1f GB/s\n", c->gbytes / best);
    fflush(stdout);
}

static void bench_products(struct bench *b, enum dtype dtype)
{
    static const int64_t sizes[][2] = {{WIDTH, 3 * WIDTH}, {WIDTH, WIDTH}, {WIDTH, HIDDEN}, {HIDDEN, WIDTH}};
    for (int i = 0; i < 4; i++) {
        double gflop = 2e-9 * TOKENS * (double)(sizes[i][0] * sizes[i][1]);
        const struct bench_case cases[] = {
            {"linear_forward", dtype, sizes[i][0], sizes[i][1], bench_forward, gflop, 0},
            {"linear_backward_input", dtype, sizes[i][0], sizes[i][1], bench_input, gflop, 0},
            {"linear_backward_weight", dtype, sizes[i][0], sizes[i][1], bench_weight, gflop, 0},
        };
        for (int j = 0; j < 3; j++)
            bench_run(b, &cases[j]);
    }
    const double scores = 1e-9 * TOKENS * SEQUENCE * WIDTH; /* causal: half of what is multiplied */
    const struct bench_case cases[] = {
        {"head_loss", dtype, WIDTH, VOCABULARY, bench_head, 6e-9 * TOKENS * WIDTH * (double)VOCABULARY, 0},
        {"attention_forward", dtype, SEQUENCE, WIDTH, bench_attention_forward, 2 * scores, 0},
        {"attention_backward", dtype, SEQUENCE, WIDTH, bench_attention_backward, 5 * scores, 0},
    };
    for (int j = 0; j < 3; j++)
        bench_run(b, &cases[j]);
}

static void bench_streams(struct bench *b, enum dtype dtype)
{
    const double row = 1e-9 * TOKENS * (double)dtype_size(dtype), update = 4e-9 * UPDATE_COUNT;
    const double half = dtype == DTYPE_BF16 ? update / 2 : 0.0;
    const struct bench_case cases[] = {
        {"norm_forward", dtype, WIDTH, WIDTH, bench_norm_forward, 0, 4 * row * WIDTH},
        {"norm_backward", dtype, WIDTH, WIDTH, bench_norm_backward, 0, 3 * row * WIDTH},
        {"activation_gelu", dtype, HIDDEN, HIDDEN, bench_gelu, 0, 2 * row * HIDDEN},
        {"swiglu_forward", dtype, HIDDEN, HIDDEN, bench_swiglu, 0, 3 * row * HIDDEN},
        {"rope", dtype, WIDTH, WIDTH, bench_rope, 0, 4 * row * WIDTH},
        {"dropout", dtype, WIDTH, WIDTH, bench_dropout, 0, 2 * row * WIDTH},
        {"embedding_backward", dtype, WIDTH, WIDTH, bench_embedding, 0,
         row * WIDTH + 1.6e-8 * TOKENS * WIDTH},
        {"adamw", dtype, 0, 0, bench_adamw, 0, 7 * update + half},
        {"sum_squares", DTYPE_F32, 0, 0, bench_squares, 0, update},
        {"add", DTYPE_F32, 0, 0, bench_add, 0, 3 * update},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bench_run(b, &cases[i]);
}

/* Small random contents, valid in either dtype. */
static void bench_fill(char *block, uint64_t seed)
{
    const int64_t count = (int64_t)BLOCK_MB << 18;
    float *values = (float *)block;
    rng_uniform_fill(rng_key_make(seed, 0, 0, 0), -0.05f, 0.05f, values, 1 << 20);
    for (int64_t i = 0; i < 1 << 20; i++) { /* both halves of each float are a bf16 number */
        uint32_t half = dtype_bf16_from_f32(values[i]), both = half << 16 | half;
        memcpy(&values[i], &both, sizeof both);
    }
    for (int64_t i = 1 << 20; i < count; i += 1 << 20)
        memcpy(values + i, values, (size_t)4 << 20);
}

static void bench_fill_all(struct bench *b)
{
    char *const blocks[] = {b->a, b->b, b->c, b->d, b->work};
    for (int i = 0; i < 5; i++)
        bench_fill(blocks[i], (uint64_t)i);
}

static int bench_all(struct bench *b, int threads, const char *isa)
{
    struct muster_error err = {0};
    const struct ops_limits limits = {threads, VOCABULARY, SEQUENCE, WIDTH / HEADS};
    const int64_t scratch_bytes = ops_scratch_bytes(&limits);
    void *scratch = alloc_aligned((size_t)scratch_bytes, 64);
    if (scratch == NULL ||
        kernels_cpu_create(threads, isa, scratch, scratch_bytes, &b->k, &err) != MUSTER_OK) {
        fprintf(stderr, "bench_kernels: %s\n", err.text);
        alloc_free(scratch);
        return 1;
    }
    b->peak_gflops[DTYPE_F32] = 1e-9 * kernels_peak_flops(b->k, DTYPE_F32);
    b->peak_gflops[DTYPE_BF16] = 1e-9 * kernels_peak_flops(b->k, DTYPE_BF16);
    printf("%s, %d threads, multiply-add peak fp32 %.0f GF/s, bf16 %.0f GF/s\n", b->k->numerics, threads,
           b->peak_gflops[DTYPE_F32], b->peak_gflops[DTYPE_BF16]);
    for (int d = 0; d < 2; d++) {
        bench_fill_all(b);
        bench_products(b, d == 0 ? DTYPE_F32 : DTYPE_BF16);
        bench_fill_all(b);
        bench_streams(b, d == 0 ? DTYPE_F32 : DTYPE_BF16);
    }
    kernels_destroy(b->k);
    alloc_free(scratch);
    return 0;
}

int main(int argc, char **argv)
{
    struct bench b = {.prefix = argc > 2 ? argv[2] : ""};
    char **const blocks[] = {&b.a, &b.b, &b.c, &b.d, &b.work};
    for (int i = 0; i < 5; i++) {
        *blocks[i] = alloc_aligned((size_t)BLOCK_MB << 20, 64);
        if (*blocks[i] == NULL)
            return 1;
    }
    b.ids = alloc_zeroed(TOKENS, sizeof *b.ids);
    if (b.ids == NULL)
        return 1;
    for (int i = 0; i < TOKENS; i++)
        b.ids[i] = (int32_t)(i * 7919LL % VOCABULARY);
    int result = bench_all(&b, argc > 1 ? atoi(argv[1]) : 1, argc > 3 ? argv[3] : NULL);
    for (int i = 0; i < 5; i++)
        alloc_free(*blocks[i]);
    alloc_free(b.ids);
    return result;
}
