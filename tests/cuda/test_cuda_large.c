/* SPDX-License-Identifier: MIT
 *
 * Products and attention at the sizes that a step has, for which libraries take other algorithms than for
 * those of test_cuda_backend.c, and for which the reference takes minutes. MUSTER_TEST_TOKENS=4096 brings the
 * sizes of GPT-2 124M and of a Llama; without it they are small enough for an emulated device.
 *
 *   products    Factors are -1, 0 and 1, so that every sum is exact in any order and any dtype and one wrong
 *               element shows. Nobody multiplies matrices to know: a product times a vector is one factor
 * times (the other times the vector) (Freivalds, "Fast probabilistic algorithms", 1979). attention   The
 * library's, in 16 bits, is held against our own kernel's, in fp32, on the same numbers.
 */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "tests/cuda/tolerance.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/compare_array.h"
#include "tests/suite.h"

/* A matrix of -1, 0 and 1 (16 bits on the device), or a result. */
struct matrix {
    int64_t rows, columns, bytes;
    int8_t *small; /* NULL: a result */
    void *device;
};

static void ok(enum muster_status status, const struct muster_error *err)
{
    if (status != MUSTER_OK)
        ck_abort_msg("%s", err->text);
}

/* A third of the elements are not zero: sums of 3072 stay below 256, which bf16 still counts. */
static struct matrix matrix_make(enum dtype dtype, int64_t rows, int64_t columns, uint64_t seed)
{
    static const int8_t values[] = {-1, 1, 0, 0, 0, 0};
    const struct rng_key key = rng_key_make(seed, 0, 0, 0);
    const int64_t count = rows * columns;
    struct matrix m = {rows, columns, count * 2, alloc_zeroed((size_t)count, 1), NULL};
    uint16_t *rounded = alloc_zeroed((size_t)count, sizeof *rounded);
    struct muster_error err = {0};
    ck_assert(m.small != NULL && rounded != NULL);
    struct rng_block block = {{0}};
    for (int64_t i = 0; i < count; i++) {
        if (i % 16 == 0)
            block = rng_philox(key, 0, (uint64_t)i / 16);
        m.small[i] = values[(block.word[i % 4] >> i / 4 % 4 * 8) % 256 % 6];
        rounded[i] = dtype == DTYPE_BF16 ? dtype_bf16_from_f32((float)m.small[i])
                                         : dtype_f16_from_f32((float)m.small[i]);
    }
    ok(kernels_memory_allocate(compare_subject(), m.bytes, &m.device, &err), &err);
    ok(kernels_copy_to_device(compare_subject(), m.device, rounded, m.bytes, &err), &err);
    alloc_free(rounded);
    return m;
}

/* Room for a result, of NaN, or of zeros where it is added to. */
static struct matrix matrix_result(enum dtype dtype, int64_t rows, int64_t columns)
{
    struct matrix m = {rows, columns, rows * columns * (int64_t)dtype_size(dtype), NULL, NULL};
    struct muster_error err = {0};
    void *before = alloc_zeroed((size_t)m.bytes, 1);
    ck_assert_ptr_nonnull(before);
    if (dtype != DTYPE_F32)
        memset(before, 0xff, (size_t)m.bytes);
    ok(kernels_memory_allocate(compare_subject(), m.bytes, &m.device, &err), &err);
    ok(kernels_copy_to_device(compare_subject(), m.device, before, m.bytes, &err), &err);
    alloc_free(before);
    return m;
}

static void matrix_release(struct matrix *m)
{
    kernels_memory_free(compare_subject(), m->device, m->bytes);
    alloc_free(m->small);
}

static double *vector_make(int64_t count)
{
    double *vector = alloc_zeroed((size_t)count, sizeof *vector);
    ck_assert_ptr_nonnull(vector);
    return vector;
}

static double *vector_random(int64_t count)
{
    double *vector = vector_make(count);
    for (int64_t i = 0; i < count; i++)
        vector[i] = (double)(rng_philox(rng_key_make(9, 0, 0, 0), 0, (uint64_t)i).word[0] % 1999) - 999.0;
    return vector;
}

/* m · vector, or mᵀ · vector. */
static double *matrix_times(const struct matrix *m, const double *vector, bool turned)
{
    double *out = vector_make(turned ? m->columns : m->rows);
    for (int64_t r = 0; r < m->rows; r++)
        for (int64_t c = 0; c < m->columns; c++)
            out[turned ? c : r] += (double)m->small[r * m->columns + c] * vector[turned ? r : c];
    return out;
}

/* The result on the device times `vector` is `wanted`, row by row. */
static void matrix_check(const char *label, enum dtype dtype, const struct matrix *m, const double *vector,
                         const double *wanted)
{
    struct muster_error err = {0};
    char *got = alloc_zeroed((size_t)m->bytes, 1);
    ck_assert_ptr_nonnull(got);
    ok(kernels_copy_to_host(compare_subject(), got, m->device, m->bytes, &err), &err);
    for (int64_t r = 0; r < m->rows; r++) {
        double sum = 0.0;
        for (int64_t i = r * m->columns; i < (r + 1) * m->columns; i++) {
            const double value = dtype == DTYPE_F32 ? (double)((const float *)got)[i]
                                 : dtype == DTYPE_BF16
                                     ? (double)dtype_f32_from_bf16(((const uint16_t *)got)[i])
                                     : (double)dtype_f32_from_f16(((const uint16_t *)got)[i]);
            sum += value * vector[i - r * m->columns];
        }
        if (sum != wanted[r])
            ck_abort_msg("%s in %s, %lld x %lld: row %lld is wrong", label, dtype_name(dtype),
                         (long long)m->rows, (long long)m->columns, (long long)r);
    }
    alloc_free(got);
}

struct layer {
    enum dtype dtype;
    struct matrix x, w, bias, dy;
};

static struct linear_args layer_args(const struct layer *l)
{
    return (struct linear_args){.dtype = l->dtype,
                                .tokens = l->x.rows,
                                .in_width = l->x.columns,
                                .out_width = l->w.rows,
                                .x = l->x.device,
                                .w = l->w.device,
                                .dy = l->dy.device};
}

/* y · v = x · (wᵀ · v) + bias · v */
static void layer_forward(const struct layer *l)
{
    struct linear_args a = layer_args(l);
    struct muster_error err = {0};
    struct matrix y = matrix_result(l->dtype, a.tokens, a.out_width);
    a.bias = l->bias.device, a.y = y.device;
    ok(kernels_linear_forward(compare_subject(), &a, &err), &err);
    double *v = vector_random(a.out_width), *inner = matrix_times(&l->w, v, true);
    double *wanted = matrix_times(&l->x, inner, false), *bias = matrix_times(&l->bias, v, false);
    for (int64_t r = 0; r < a.tokens; r++)
        wanted[r] += bias[0];
    matrix_check("y", l->dtype, &y, v, wanted);
    double *vectors[] = {v, inner, wanted, bias};
    for (int i = 0; i < 4; i++)
        alloc_free(vectors[i]);
    matrix_release(&y);
}

/* dx · v = dy · (w · v) */
static void layer_input(const struct layer *l)
{
    struct linear_args a = layer_args(l);
    struct muster_error err = {0};
    struct matrix dx = matrix_result(l->dtype, a.tokens, a.in_width);
    a.dx = dx.device;
    ok(kernels_linear_backward_input(compare_subject(), &a, &err), &err);
    double *v = vector_random(a.in_width), *inner = matrix_times(&l->w, v, false);
    double *wanted = matrix_times(&l->dy, inner, false);
    matrix_check("dx", l->dtype, &dx, v, wanted);
    double *vectors[] = {v, inner, wanted};
    for (int i = 0; i < 3; i++)
        alloc_free(vectors[i]);
    matrix_release(&dx);
}

/* Added twice: dw · v = 2 dyᵀ · (x · v), dbias = 2 dyᵀ · 1 */
static void layer_weight(const struct layer *l)
{
    struct linear_args a = layer_args(l);
    struct muster_error err = {0};
    struct matrix dw = matrix_result(DTYPE_F32, a.out_width, a.in_width);
    struct matrix dbias = matrix_result(DTYPE_F32, a.out_width, 1);
    a.dw = dw.device, a.dbias = dbias.device;
    for (int i = 0; i < 2; i++)
        ok(kernels_linear_backward_weight(compare_subject(), &a, &err), &err);
    const double one = 1.0;
    double *v = vector_random(a.in_width), *inner = matrix_times(&l->x, v, false),
           *twos = vector_make(a.tokens);
    for (int64_t t = 0; t < a.tokens; t++)
        inner[t] *= 2.0, twos[t] = 2.0;
    double *wanted = matrix_times(&l->dy, inner, true), *sums = matrix_times(&l->dy, twos, true);
    matrix_check("dw", DTYPE_F32, &dw, v, wanted);
    matrix_check("dbias", DTYPE_F32, &dbias, &one, sums);
    double *vectors[] = {v, inner, twos, wanted, sums};
    for (int i = 0; i < 5; i++)
        alloc_free(vectors[i]);
    matrix_release(&dw);
    matrix_release(&dbias);
}

static int64_t tokens_wanted(void)
{
    const char *text = getenv("MUSTER_TEST_TOKENS");
    return text != NULL ? atoll(text) : 72;
}

/* qkv, out, up and down of a block; the second time sums over tokens are no multiple of 64. */
START_TEST(products_as_large_as_a_step_s_are_exact)
{
    static const int64_t widths[][2] = {{12, 36}, {12, 12}, {12, 48}, {48, 12}};
    const int64_t tokens = tokens_wanted() + (_i % 2 ? 8 : 0), unit = tokens_wanted() < 1024 ? 8 : 64;
    const enum dtype dtype = _i / 2 % 2 ? DTYPE_F16 : DTYPE_BF16;
    const int64_t in = unit * widths[_i / 4][0], out = unit * widths[_i / 4][1];
    struct layer l = {dtype, matrix_make(dtype, tokens, in, 1), matrix_make(dtype, out, in, 2),
                      matrix_make(dtype, 1, out, 3), matrix_make(dtype, tokens, out, 4)};
    layer_forward(&l);
    layer_input(&l);
    layer_weight(&l);
    struct matrix *all[] = {&l.x, &l.w, &l.bias, &l.dy};
    for (int i = 0; i < 4; i++)
        matrix_release(all[i]);
}
END_TEST

/* What attention reads and writes, with room for each on the device. */
enum { LONG_QKV, LONG_Y, LONG_LSE, LONG_DY, LONG_DQKV, LONG_COUNT };

struct long_attention {
    struct ops_attention_shape shape;
    int64_t count[LONG_COUNT];
    float *judged[LONG_COUNT], *got[LONG_COUNT];
};

static void long_attention_init(struct long_attention *l, const struct ops_attention_shape *s)
{
    const int64_t rows = s->batch * s->sequence, packed = rows * (s->heads + 2 * s->kv_heads) * s->head_width;
    const int64_t y = rows * s->heads * s->head_width;
    *l = (struct long_attention){*s, {packed, y, rows * s->heads, y, packed}, {NULL}, {NULL}};
    for (int i = 0; i < LONG_COUNT; i++) {
        l->judged[i] = alloc_zeroed((size_t)l->count[i], sizeof(float));
        l->got[i] = alloc_zeroed((size_t)l->count[i], sizeof(float));
        ck_assert(l->judged[i] != NULL && l->got[i] != NULL);
    }
    rng_uniform_fill(rng_key_make(11, 0, 0, 0), -2.0f, 2.0f, l->judged[LONG_QKV], (uint64_t)packed);
    rng_uniform_fill(rng_key_make(12, 0, 0, 0), -1.0f, 1.0f, l->judged[LONG_DY], (uint64_t)y);
}

static enum dtype long_dtype(enum dtype dtype, int array)
{
    return array == LONG_LSE ? DTYPE_F32 : dtype;
}

/* To 16 bits or back. */
static void long_convert(enum dtype dtype, int64_t count, float *values, uint16_t *bits, bool back)
{
    for (int64_t i = 0; i < count; i++) {
        if (!back)
            bits[i] = dtype == DTYPE_BF16 ? dtype_bf16_from_f32(values[i]) : dtype_f16_from_f32(values[i]);
        else
            values[i] = dtype == DTYPE_BF16 ? dtype_f32_from_bf16(bits[i]) : dtype_f32_from_f16(bits[i]);
    }
}

/* Forward and backward on the inputs in `values`, which then holds the outputs too; unwritten ones are NaN.
 */
static void long_attention_run(const struct long_attention *l, enum dtype dtype, float *const values[])
{
    struct kernels *k = compare_subject();
    struct muster_error err = {0};
    void *device[LONG_COUNT];
    for (int i = 0; i < LONG_COUNT; i++) {
        const enum dtype type = long_dtype(dtype, i);
        const int64_t bytes = l->count[i] * (int64_t)dtype_size(type);
        void *before = alloc_zeroed((size_t)bytes, 1);
        ck_assert_ptr_nonnull(before);
        if (i != LONG_QKV && i != LONG_DY)
            memset(before, 0xff, (size_t)bytes);
        else if (type == DTYPE_F32)
            memcpy(before, values[i], (size_t)bytes);
        else
            long_convert(type, l->count[i], values[i], before, false);
        ok(kernels_memory_allocate(k, bytes, &device[i], &err), &err);
        ok(kernels_copy_to_device(k, device[i], before, bytes, &err), &err);
        alloc_free(before);
    }
    const struct attention_args a = {.dtype = dtype,
                                     .batch = l->shape.batch,
                                     .sequence = l->shape.sequence,
                                     .heads = l->shape.heads,
                                     .kv_heads = l->shape.kv_heads,
                                     .head_width = l->shape.head_width,
                                     .qkv = device[LONG_QKV],
                                     .y = device[LONG_Y],
                                     .lse = device[LONG_LSE],
                                     .dy = device[LONG_DY],
                                     .dqkv = device[LONG_DQKV]};
    ok(kernels_attention_forward(k, &a, &err), &err);
    ok(kernels_attention_backward(k, &a, &err), &err);
    for (int i = 0; i < LONG_COUNT; i++) {
        const enum dtype type = long_dtype(dtype, i);
        const int64_t bytes = l->count[i] * (int64_t)dtype_size(type);
        uint16_t *bits = alloc_zeroed((size_t)bytes, 1);
        ck_assert_ptr_nonnull(bits);
        ok(kernels_copy_to_host(k, type == DTYPE_F32 ? (void *)values[i] : bits, device[i], bytes, &err),
           &err);
        if (type != DTYPE_F32)
            long_convert(type, l->count[i], values[i], bits, true);
        alloc_free(bits);
        kernels_memory_free(k, device[i], bytes);
    }
}

/* The largest errors are those of early rows, of few and large terms, and the size of the whole falls as rows
 * grow longer: up to 3 roundings of y and 12 of a gradient over 2048 positions. */
static void long_attention_check(const struct long_attention *l, enum dtype dtype)
{
    const double tolerance[LONG_COUNT] = {0, 2.0 * tolerance_attention(dtype), 2e-5, 0,
                                          2.0 * tolerance_attention_gradient(dtype)};
    for (int i = 0; i < LONG_COUNT; i++) {
        const struct compare_array array = {COMPARE_OUTPUT, DTYPE_F32, l->count[i], tolerance[i], 0, 0, NULL};
        compare_array_close_enough("attention of real size", &array, l->judged[i], l->got[i], i);
    }
}

/* The third is one whose gradient is taken in slices, the last one fills no tile. */
START_TEST(attention_as_large_as_a_step_s_agrees_with_our_own)
{
    static const struct ops_attention_shape large[] = {
        {2, 1024, 12, 12, 64}, {1, 2048, 32, 8, 128}, {1, 4096, 32, 8, 128}, {3, 1000, 12, 12, 64}};
    static const struct ops_attention_shape small[] = {
        {2, 64, 3, 3, 16}, {1, 96, 4, 2, 24}, {1, 130, 4, 1, 8}, {3, 45, 2, 2, 16}};
    const struct ops_attention_shape *s = tokens_wanted() < 1024 ? &small[_i % 4] : &large[_i % 4];
    const enum dtype dtype = _i / 4 ? DTYPE_F16 : DTYPE_BF16;
    const struct ops_device_limits limits = {s->batch * s->sequence, s->head_width * s->heads, 1, s->heads,
                                             *s};
    const int64_t scratch_bytes = ops_device_scratch_bytes(&limits);
    struct kernels *k = compare_subject(), before = *k;
    struct muster_error err = {0};
    struct long_attention l;
    ok(kernels_memory_allocate(k, scratch_bytes, &k->scratch, &err), &err);
    k->scratch_bytes = scratch_bytes;
    long_attention_init(&l, s);
    memcpy(l.got[LONG_QKV], l.judged[LONG_QKV], (size_t)l.count[LONG_QKV] * sizeof(float));
    memcpy(l.got[LONG_DY], l.judged[LONG_DY], (size_t)l.count[LONG_DY] * sizeof(float));
    long_attention_run(&l, dtype, l.got);
    memcpy(l.judged[LONG_QKV], l.got[LONG_QKV], (size_t)l.count[LONG_QKV] * sizeof(float));
    memcpy(l.judged[LONG_DY], l.got[LONG_DY], (size_t)l.count[LONG_DY] * sizeof(float));
    long_attention_run(&l, DTYPE_F32, l.judged);
    long_attention_check(&l, dtype);
    for (int i = 0; i < LONG_COUNT; i++) {
        alloc_free(l.judged[i]);
        alloc_free(l.got[i]);
    }
    kernels_memory_free(k, k->scratch, scratch_bytes);
    k->scratch = before.scratch, k->scratch_bytes = before.scratch_bytes;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_large");
    TCase *large = tcase_create("large");
    tcase_add_unchecked_fixture(large, compare_open, compare_close);
    tcase_set_timeout(large, 0);
    tcase_add_loop_test(large, products_as_large_as_a_step_s_are_exact, 0, 16);
    tcase_add_loop_test(large, attention_as_large_as_a_step_s_agrees_with_our_own, 0, 5);
    suite_add_tcase(suite, large);
    return suite_run(suite);
}
