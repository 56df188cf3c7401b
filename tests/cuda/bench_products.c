/* SPDX-License-Identifier: MIT
 *
 * How fast each matrix product of a micro-step of GPT-2 124M is on a GPU, alone, as a share of the largest
 * rate that products reach there: which of them run badly is not to be seen in the time of a step. Products
 * come with what the back end does around them (bias, GELU, its slope, the bias's gradient, weights also
 * without it: the difference is its price); the head also with the loss, for the vocabulary as it is and for
 * the next multiple of 128. A program to look at, not a test; MUSTER_CUDA_PLUGIN names another plug-in, as
 * everywhere.
 *
 *   bench_products [TOKENS [RUNS]]      16384 and 20
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda_plugin.h"

enum { WIDTH = 768, VOCABULARY = 50257, VOCABULARY_ROUND = 50304, HEAD_ROWS = 4096, FILL = 1 << 20 };

enum block { BLOCK_X, BLOCK_Y, BLOCK_PRE, BLOCK_W, BLOCK_BIAS, BLOCK_DW, BLOCK_WORK, BLOCK_COUNT };

struct bench {
    struct kernels *k;
    void *block[BLOCK_COUNT], *scratch;
    int32_t *targets;
    float *loss;
    int64_t tokens;
    int runs;
    double peak;
};

struct product {
    const char *name;
    int64_t in, out;
    enum activation activation, input_activation;
    enum muster_status (*call)(struct bench *b, const struct product *p, struct muster_error *err);
    double products; /* of 2 · tokens · in · out operations each */
};

static struct linear_args bench_linear(const struct bench *b, const struct product *p)
{
    return (struct linear_args){.dtype = DTYPE_BF16,
                                .tokens = b->tokens,
                                .in_width = p->in,
                                .out_width = p->out,
                                .activation = p->activation,
                                .input_activation = p->input_activation,
                                .w = b->block[BLOCK_W]};
}

static enum muster_status bench_forward(struct bench *b, const struct product *p, struct muster_error *err)
{
    struct linear_args a = bench_linear(b, p);
    a.x = b->block[BLOCK_X], a.y = b->block[BLOCK_Y], a.pre = b->block[BLOCK_PRE],
    a.bias = b->block[BLOCK_BIAS];
    return kernels_linear_forward(b->k, &a, err);
}

static enum muster_status bench_input(struct bench *b, const struct product *p, struct muster_error *err)
{
    struct linear_args a = bench_linear(b, p);
    a.dy = b->block[BLOCK_X], a.dx = b->block[BLOCK_Y];
    a.input_pre = p->input_activation != ACTIVATION_NONE ? b->block[BLOCK_PRE] : NULL;
    return kernels_linear_backward_input(b->k, &a, err);
}

static enum muster_status bench_weight_alone(struct bench *b, const struct product *p,
                                             struct muster_error *err)
{
    struct linear_args a = bench_linear(b, p);
    a.dy = b->block[BLOCK_X], a.x = b->block[BLOCK_Y], a.dw = b->block[BLOCK_DW];
    return kernels_linear_backward_weight(b->k, &a, err);
}

static enum muster_status bench_weight(struct bench *b, const struct product *p, struct muster_error *err)
{
    struct linear_args a = bench_linear(b, p);
    a.dy = b->block[BLOCK_X], a.x = b->block[BLOCK_Y], a.dw = b->block[BLOCK_DW],
    a.dbias = b->block[BLOCK_WORK];
    return kernels_linear_backward_weight(b->k, &a, err);
}

static enum muster_status bench_head(struct bench *b, const struct product *p, struct muster_error *err)
{
    struct head_loss_args a = {
        .dtype = DTYPE_BF16, .tokens = b->tokens, .width = p->in, .vocabulary = p->out};
    a.chunk_rows = b->tokens < HEAD_ROWS ? b->tokens : HEAD_ROWS;
    a.x = b->block[BLOCK_X], a.w = b->block[BLOCK_W], a.targets = b->targets, a.loss = b->loss;
    a.work = b->block[BLOCK_WORK], a.gradient_scale = 1.0f / (float)b->tokens;
    if (p->products > 1.0)
        a.dx = b->block[BLOCK_Y], a.dw = b->block[BLOCK_DW];
    return kernels_head_loss(b->k, &a, err);
}

#define BENCH_LAYER(name, in, out, activation, input_activation)                                             \
    {name " forward", in, out, activation, ACTIVATION_NONE, bench_forward, 1.0},                             \
        {name " input", in, out, ACTIVATION_NONE, input_activation, bench_input, 1.0},                       \
        {name " weight, no bias", in, out, ACTIVATION_NONE, ACTIVATION_NONE, bench_weight_alone, 1.0},       \
    {                                                                                                        \
        name " weight", in, out, ACTIVATION_NONE, ACTIVATION_NONE, bench_weight, 1.0                         \
    }
#define BENCH_HEAD(name, vocabulary)                                                                         \
    {name " forward", WIDTH, vocabulary, ACTIVATION_NONE, ACTIVATION_NONE, bench_head, 1.0},                 \
    {                                                                                                        \
        name " all", WIDTH, vocabulary, ACTIVATION_NONE, ACTIVATION_NONE, bench_head, 3.0                    \
    }

static const struct product products[] = {
    BENCH_LAYER("qkv", WIDTH, 3 * WIDTH, ACTIVATION_NONE, ACTIVATION_NONE),
    BENCH_LAYER("out", WIDTH, WIDTH, ACTIVATION_NONE, ACTIVATION_NONE),
    BENCH_LAYER("up", WIDTH, 4 * WIDTH, ACTIVATION_GELU_TANH, ACTIVATION_NONE),
    BENCH_LAYER("down", 4 * WIDTH, WIDTH, ACTIVATION_NONE, ACTIVATION_GELU_TANH),
    BENCH_HEAD("head", VOCABULARY),
    BENCH_HEAD("head, rounded", VOCABULARY_ROUND),
};

/* The first run chooses the algorithm and loads its code. */
static enum muster_status bench_time(struct bench *b, const struct product *p, struct muster_error *err)
{
    double seconds = 0.0;
    enum muster_status status = p->call(b, p, err);
    if (status == MUSTER_OK)
        status = kernels_timer_begin(b->k, err);
    for (int run = 0; run < b->runs && status == MUSTER_OK; run++)
        status = p->call(b, p, err);
    if (status == MUSTER_OK)
        status = kernels_timer_end(b->k, err);
    if (status == MUSTER_OK)
        status = kernels_synchronise(b->k, err);
    if (status == MUSTER_OK)
        status = kernels_timer_seconds(b->k, &seconds, err);
    if (status != MUSTER_OK)
        return status;
    const double rate =
        p->products * 2.0 * (double)b->tokens * (double)p->in * (double)p->out * b->runs / seconds;
    printf("%-24s %6lld x %-6lld %9.3f ms %8.1f TFLOP/s %5.1f%%\n", p->name, (long long)p->in,
           (long long)p->out, 1e3 * seconds / b->runs, 1e-12 * rate, 100.0 * rate / b->peak);
    return MUSTER_OK;
}

/* Random bf16 numbers at the start of a block, then doubled until it is full. */
static enum muster_status bench_fill(struct bench *b, void *block, int64_t bytes, struct muster_error *err)
{
    float *values = alloc_zeroed(FILL, sizeof *values);
    if (values == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for random numbers");
    rng_normal_fill(rng_key_make(1, 0, 0, 0), 0, 0.0f, 0.02f, values, FILL);
    for (int64_t i = 0; i < FILL; i++)
        ((uint16_t *)values)[i] = dtype_bf16_from_f32(values[i]);
    int64_t done = bytes < 2 * FILL ? bytes : 2 * FILL;
    enum muster_status status = kernels_copy_to_device(b->k, block, values, done, err);
    for (; done < bytes && status == MUSTER_OK; done *= 2)
        status = kernels_copy_on_device(b->k, (char *)block + done, block,
                                        done < bytes - done ? done : bytes - done, err);
    alloc_free(values);
    return status;
}

static enum muster_status bench_blocks(struct bench *b, struct muster_error *err)
{
    const int64_t wide = b->tokens * 4 * WIDTH * 2, weights = (int64_t)VOCABULARY_ROUND * WIDTH;
    const int64_t rows = b->tokens < HEAD_ROWS ? b->tokens : HEAD_ROWS;
    const int64_t bytes[BLOCK_COUNT] = {wide,
                                        wide,
                                        wide,
                                        2 * weights,
                                        4 * 4 * WIDTH,
                                        4 * weights,
                                        ops_device_head_loss_bytes(DTYPE_BF16, rows, VOCABULARY_ROUND)};
    const struct ops_device_limits limits = {
        .tokens = b->tokens, .row_width_max = 4 * WIDTH, .vocabulary = VOCABULARY_ROUND};
    void *targets = NULL, *loss = NULL;
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < BLOCK_COUNT && status == MUSTER_OK; i++) {
        status = kernels_memory_allocate(b->k, bytes[i], &b->block[i], err);
        if (status == MUSTER_OK)
            status = bench_fill(b, b->block[i], bytes[i], err);
    }
    if (status == MUSTER_OK)
        status = kernels_memory_allocate(b->k, 4 * b->tokens, &targets, err);
    if (status == MUSTER_OK)
        status = kernels_fill_zero(b->k, targets, 4 * b->tokens, err);
    if (status == MUSTER_OK)
        status = kernels_memory_allocate(b->k, 4 * b->tokens, &loss, err);
    if (status == MUSTER_OK)
        status = kernels_memory_allocate(b->k, ops_device_scratch_bytes(&limits), &b->scratch, err);
    b->targets = targets, b->loss = loss;
    b->k->scratch = b->scratch, b->k->scratch_bytes = ops_device_scratch_bytes(&limits);
    return status;
}

static enum muster_status bench_all(struct bench *b, struct muster_error *err)
{
    const struct cuda_plugin *plugin = NULL;
    const struct cuda_kernels_options options = {0};
    enum muster_status status = cuda_plugin_open(&plugin, err);
    if (status == MUSTER_OK)
        status = plugin->kernels_create(&options, &b->k, err);
    if (status == MUSTER_OK)
        status = bench_blocks(b, err);
    if (status != MUSTER_OK)
        return status;
    b->peak = kernels_peak_flops(b->k, DTYPE_BF16);
    printf("%s, bf16, %lld tokens; peak %.1f TFLOP/s\n", b->k->numerics, (long long)b->tokens,
           1e-12 * b->peak);
    for (size_t i = 0; i < sizeof products / sizeof *products && status == MUSTER_OK; i++)
        status = bench_time(b, &products[i], err);
    char choice[KERNELS_CHOICE_MAX];
    for (int i = 0; status == MUSTER_OK && kernels_choice(b->k, i, choice, sizeof choice); i++)
        printf("%s\n", choice);
    return status;
}

int main(int argc, char **argv)
{
    struct bench b = {.tokens = argc > 1 ? atoll(argv[1]) : 16384, .runs = argc > 2 ? atoi(argv[2]) : 20};
    struct muster_error err = {0};
    enum muster_status status = MUSTER_ERR_BAD_INPUT;
    if (b.tokens < 1 || b.runs < 1)
        muster_error_set(&err, status, "TOKENS and RUNS are at least 1");
    else
        status = bench_all(&b, &err);
    if (b.k != NULL) {
        for (int i = 0; i < BLOCK_COUNT; i++)
            kernels_memory_free(b.k, b.block[i], 0);
        kernels_memory_free(b.k, b.targets, 0);
        kernels_memory_free(b.k, b.loss, 0);
        kernels_memory_free(b.k, b.scratch, 0);
        kernels_destroy(b.k);
    }
    if (status != MUSTER_OK)
        fprintf(stderr, "bench_products: %s\n", err.text);
    return status != MUSTER_OK;
}
