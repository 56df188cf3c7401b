/* SPDX-License-Identifier: MIT
 *
 * Which memory cuda_sdpa.c hands to a plan, with plans that compute nothing but look: every head of every
 * array carries its own number, a plan checks that what it was given belongs together, and counts what it
 * would write. Long sequences are here, whose gradient is taken slice by slice.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda_sdpa.h"
#include "tests/suite.h"

struct cuda_sdpa_plan {
    struct cuda_sdpa_shape shape;
};

static struct {
    int created, run, live; /* plans */
    int warned;
    enum muster_status status; /* of making one */
    size_t version;
    int64_t workspace_bytes;
    char *scratch;
    int64_t scratch_bytes;
} library;

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = alloc_zeroed(1, 1);
    return *handle != NULL ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_INTERNAL_ERROR;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    alloc_free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    return handle != NULL && stream == NULL ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

size_t cudnnGetVersion(void)
{
    return library.version;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_SUCCESS ? "success" : "failure";
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    if (size > 0)
        message[0] = '\0';
}

enum muster_status cuda_sdpa_plan_create(cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                                         const struct cuda_sdpa_shape *shape, struct cuda_sdpa_plan **out,
                                         struct muster_error *err)
{
    *out = NULL;
    library.created++;
    ck_assert(handle != NULL && device == NULL);
    if (library.status != MUSTER_OK)
        return muster_error_set(err, library.status, "no plan");
    *out = alloc_zeroed(1, sizeof **out);
    ck_assert_ptr_nonnull(*out);
    (*out)->shape = *shape;
    library.live++;
    return MUSTER_OK;
}

void cuda_sdpa_plan_destroy(struct cuda_sdpa_plan *plan)
{
    library.live -= plan != NULL;
    alloc_free(plan);
}

int64_t cuda_sdpa_plan_engine(const struct cuda_sdpa_plan *plan)
{
    (void)plan;
    return 7;
}

int64_t cuda_sdpa_plan_workspace_bytes(const struct cuda_sdpa_plan *plan)
{
    (void)plan;
    return library.workspace_bytes;
}

static void *pack_pointer(const struct cuda_sdpa_pack *pack, int64_t name)
{
    for (int64_t i = 0; i < pack->count; i++)
        if (pack->name[i] == name)
            return pack->pointer[i];
    return NULL;
}

/* Numbers of heads: query (and their y, dy, lse), key and value heads of sequence b. */
static uint16_t number_of(int64_t b, int64_t kind, int64_t head)
{
    return (uint16_t)(1 + b * 300 + kind * 100 + head);
}

static uint16_t number_at(const struct cuda_sdpa_pack *pack, int64_t name, int64_t element)
{
    return ((const uint16_t *)pack_pointer(pack, name))[element];
}

static void count_at(const struct cuda_sdpa_pack *pack, int64_t name, int64_t element, int64_t width)
{
    uint16_t *out = (uint16_t *)pack_pointer(pack, name) + element;
    for (int64_t d = 0; d < width; d++)
        out[d]++;
}

/* One row of one query head of the slice, and, for the first query head of a group, its key and value head.
 */
static void look_at_row(const struct cuda_sdpa_shape *s, const struct cuda_sdpa_pack *pack, int64_t b,
                        int64_t h, int64_t t)
{
    const int64_t group = s->heads / s->kv_heads, last = s->head_width - 1;
    const int64_t q = (b * s->sequence + t) * s->qkv_stride + h * s->head_width;
    const int64_t kv = (b * s->sequence + t) * s->qkv_stride + h / group * s->head_width;
    const int64_t y = (b * s->sequence + t) * s->y_stride + h * s->head_width;
    const uint16_t number = number_at(pack, SDPA_Q, q);
    const int64_t sequence = (number - 1) / 300, head = (number - 1) % 300, whole_kv = head / group;
    bool match =
        number_at(pack, SDPA_Q, q + last) == number && head < 100 &&
        number_at(pack, SDPA_K, kv) == number_of(sequence, 1, whole_kv) &&
        number_at(pack, SDPA_K, kv + last) == number_of(sequence, 1, whole_kv) &&
        number_at(pack, SDPA_V, kv) == number_of(sequence, 2, whole_kv) &&
        number_at(pack, SDPA_V, kv + last) == number_of(sequence, 2, whole_kv) &&
        ((const float *)pack_pointer(pack, SDPA_LSE))[(b * s->heads + h) * s->sequence + t] == (float)number;
    if (!match)
        ck_abort_msg("row %lld of head %lld of sequence %lld does not belong to its keys", (long long)t,
                     (long long)h, (long long)b);
    if (!s->backward) {
        count_at(pack, SDPA_Y, y, s->head_width);
        return;
    }
    if (number_at(pack, SDPA_Y, y) != number || number_at(pack, SDPA_DY, y + last) != number)
        ck_abort_msg("row %lld of head %lld has another head's gradient", (long long)t, (long long)h);
    count_at(pack, SDPA_DQ, q, s->head_width);
    if (h % group == 0) {
        count_at(pack, SDPA_DK, kv, s->head_width);
        count_at(pack, SDPA_DV, kv, s->head_width);
    }
}

static void look_at_scratch(const struct cuda_sdpa_shape *s, const struct cuda_sdpa_pack *pack)
{
    ck_assert_ptr_eq(pack->workspace, library.scratch);
    if (!s->backward)
        return;
    const char *sums = pack_pointer(pack, SDPA_ROW_SUMS);
    ck_assert(sums >= library.scratch + library.workspace_bytes && (uintptr_t)sums % 16 == 0);
    ck_assert(sums + s->batch * s->heads * s->sequence * 4 <= library.scratch + library.scratch_bytes);
    ck_assert(*(const float *)pack_pointer(pack, SDPA_ONE) == 1.0f);
}

/* Every tensor lies where its description says that it may. */
static void look_at_alignment(const struct cuda_sdpa_shape *s, const struct cuda_sdpa_pack *pack)
{
    for (int64_t i = 0; i < pack->count; i++) {
        const int64_t name = pack->name[i];
        const bool rows = name == SDPA_LSE || name == SDPA_ROW_SUMS;
        if (name < SDPA_SCALE)
            ck_assert_int_eq(
                (uintptr_t)pack->pointer[i] % (rows ? (uint64_t)cuda_sdpa_rows_alignment(s) : 16), 0);
    }
}

cudnnStatus_t cuda_sdpa_plan_run(const struct cuda_sdpa_plan *plan, cudnnHandle_t handle,
                                 const struct cuda_sdpa_pack *pack)
{
    const struct cuda_sdpa_shape *s = &plan->shape;
    const float hidden = library.version < 91000 ? -FLT_MAX : -INFINITY;
    ck_assert(handle != NULL && pack->count == (s->backward ? 13 : 7));
    ck_assert(*(const float *)pack_pointer(pack, SDPA_SCALE) == 1.0f / sqrtf((float)s->head_width));
    ck_assert(*(const float *)pack_pointer(pack, SDPA_MINUS_INFINITY) == hidden);
    look_at_alignment(s, pack);
    look_at_scratch(s, pack);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t t = 0; t < s->sequence; t++)
                look_at_row(s, pack, b, h, t);
    library.run++;
    return CUDNN_STATUS_SUCCESS;
}

struct arrays {
    uint16_t *qkv, *y, *dy, *dqkv;
    float *lse;
    int64_t packed, rows;
};

static void *array_of(int64_t count, size_t size)
{
    void *array = alloc_aligned((size_t)count * size, 64);
    ck_assert_ptr_nonnull(array);
    return array;
}

static struct arrays arrays_create(const struct ops_attention_shape *s)
{
    struct arrays r = {.rows = s->batch * s->sequence};
    const int64_t all = s->heads + 2 * s->kv_heads, width = s->head_width;
    r.packed = r.rows * all * width;
    r.qkv = array_of(r.packed, 2), r.dqkv = array_of(r.packed, 2);
    r.y = array_of(r.rows * s->heads * width, 2), r.dy = array_of(r.rows * s->heads * width, 2);
    r.lse = array_of(r.rows * s->heads, 4);
    for (int64_t i = 0; i < r.packed; i++) {
        int64_t h = i / width % all, b = i / width / all / s->sequence, kv = h - s->heads;
        r.qkv[i] = kv < 0 ? number_of(b, 0, h) : number_of(b, 1 + kv / s->kv_heads, kv % s->kv_heads);
    }
    for (int64_t i = 0; i < r.rows * s->heads * width; i++)
        r.y[i] = r.dy[i] = number_of(i / width / s->heads / s->sequence, 0, i / width % s->heads);
    for (int64_t i = 0; i < r.rows * s->heads; i++)
        r.lse[i] = (float)number_of(i / s->sequence / s->heads, 0, i / s->sequence % s->heads);
    return r;
}

static void arrays_release(struct arrays *r)
{
    alloc_free(r->qkv), alloc_free(r->y), alloc_free(r->dy), alloc_free(r->dqkv), alloc_free(r->lse);
}

static struct cuda_kernels subject;

static void hear(const char *text)
{
    ck_assert_msg(strstr(text, "which is slower") != NULL, "%s", text);
    library.warned++;
}

static void open_subject(void)
{
    memset(&library, 0, sizeof library);
    memset(&subject, 0, sizeof subject);
    ck_assert_int_eq(cuda_sdpa_create(NULL, &subject.sdpa, NULL), MUSTER_OK);
    library.version = 91901;
    library.workspace_bytes = 1000;
    library.scratch_bytes = 4 << 20;
    library.scratch = array_of(library.scratch_bytes, 1);
    subject.compute_major = 9;
    subject.warn = hear;
    subject.base.scratch = library.scratch, subject.base.scratch_bytes = library.scratch_bytes;
}

static void close_subject(void)
{
    cuda_sdpa_destroy(subject.sdpa);
    alloc_free(library.scratch);
    ck_assert_int_eq(library.live, 0);
    ck_assert_int_eq(alloc_live_count(), 0);
}

static struct attention_args args_of(const struct ops_attention_shape *s, struct arrays *r)
{
    struct attention_args a = {.dtype = DTYPE_BF16, .batch = s->batch, .sequence = s->sequence};
    a.heads = s->heads, a.kv_heads = s->kv_heads, a.head_width = s->head_width;
    a.qkv = r->qkv, a.y = r->y, a.lse = r->lse, a.dy = r->dy, a.dqkv = r->dqkv;
    return a;
}

/* The whole at once; sequence by sequence, in pairs; head by head, and two kv heads at a time, which also
 * begin where a row of an odd length ended. */
static const struct {
    struct ops_attention_shape shape;
    int slices;
} cases[] = {{{2, 40, 6, 3, 16}, 1},  {{3, 4096, 12, 12, 8}, 3}, {{4, 4096, 6, 6, 8}, 2},
             {{1, 8192, 8, 4, 8}, 4}, {{2, 6144, 8, 4, 8}, 4},   {{1, 8190, 6, 6, 8}, 2}};

START_TEST(a_gradient_is_written_once_from_what_belongs_together)
{
    const struct ops_attention_shape *s = &cases[_i].shape;
    struct arrays r = arrays_create(s);
    struct attention_args a = args_of(s, &r);
    memset(r.dqkv, 0, (size_t)r.packed * 2);
    ck_assert_int_eq(cuda_sdpa_backward(&subject, &a, NULL), MUSTER_OK);
    for (int64_t i = 0; i < r.packed; i++)
        if (r.dqkv[i] != 1)
            ck_abort_msg("element %lld was written %d times", (long long)i, r.dqkv[i]);
    ck_assert_int_eq(library.run, cases[_i].slices);
    ck_assert_int_eq(library.created, 1);
    arrays_release(&r);
}
END_TEST

START_TEST(forward_is_never_cut)
{
    const struct ops_attention_shape *s = &cases[_i].shape;
    struct arrays r = arrays_create(s);
    struct attention_args a = args_of(s, &r);
    memset(r.y, 0, (size_t)(r.rows * s->heads * s->head_width) * 2);
    ck_assert_int_eq(cuda_sdpa_forward(&subject, &a, NULL), MUSTER_OK);
    for (int64_t i = 0; i < r.rows * s->heads * s->head_width; i++)
        if (r.y[i] != 1)
            ck_abort_msg("element %lld was written %d times", (long long)i, r.y[i]);
    ck_assert_int_eq(library.run, 1);
    arrays_release(&r);
}
END_TEST

START_TEST(a_plan_is_made_once_and_so_is_a_refusal)
{
    const struct ops_attention_shape *s = &cases[0].shape;
    struct arrays r = arrays_create(s);
    struct attention_args a = args_of(s, &r);
    for (int call = 0; call < 3; call++)
        ck_assert_int_eq(cuda_sdpa_backward(&subject, &a, NULL), MUSTER_OK);
    ck_assert(library.created == 1 && library.run == 3);
    library.status = MUSTER_ERR_UNSUPPORTED;
    a.dtype = DTYPE_F16;
    for (int call = 0; call < 3; call++)
        ck_assert_int_eq(cuda_sdpa_backward(&subject, &a, NULL), MUSTER_ERR_UNSUPPORTED);
    ck_assert(library.created == 2 && library.run == 3);
    ck_assert_int_eq(library.warned, 1);
    arrays_release(&r);
}
END_TEST

START_TEST(a_failure_is_an_error_and_is_not_remembered)
{
    const struct ops_attention_shape *s = &cases[0].shape;
    struct arrays r = arrays_create(s);
    struct attention_args a = args_of(s, &r);
    struct muster_error err = {0};
    library.status = MUSTER_ERR_INTERNAL;
    ck_assert_int_eq(cuda_sdpa_backward(&subject, &a, &err), MUSTER_ERR_INTERNAL);
    ck_assert_str_eq(err.text, "no plan");
    library.status = MUSTER_OK;
    ck_assert_int_eq(cuda_sdpa_backward(&subject, &a, &err), MUSTER_OK);
    ck_assert(library.created == 2 && library.run == 1);
    arrays_release(&r);
}
END_TEST

/* By version, device and length: does the library do forward, and backward? */
START_TEST(what_a_version_of_the_library_gets_wrong_is_left_to_the_plain_kernels)
{
    static const struct {
        size_t version;
        int major;
        int64_t sequence;
        bool forward, backward;
    } sound[] = {{91900, 9, 40, true, true},    {91900, 9, 1, false, false},  {91000, 9, 128, false, false},
                 {91001, 9, 128, false, false}, {91002, 9, 128, true, true},  {91500, 9, 40, true, false},
                 {91500, 9, 256, true, true},   {91501, 9, 40, true, true},   {90900, 8, 128, true, true},
                 {91800, 10, 128, true, false}, {91801, 10, 128, true, true}, {91800, 9, 128, true, true}};
    for (size_t i = 0; i < sizeof sound / sizeof *sound; i++) {
        const struct ops_attention_shape s = {2, sound[i].sequence, 6, 3, 16};
        struct arrays r = arrays_create(&s);
        struct attention_args a = args_of(&s, &r);
        library.version = sound[i].version;
        subject.compute_major = sound[i].major;
        const enum muster_status backward = cuda_sdpa_backward(&subject, &a, NULL);
        const enum muster_status forward = cuda_sdpa_forward(&subject, &a, NULL);
        ck_assert_msg(forward == (sound[i].forward ? MUSTER_OK : MUSTER_ERR_UNSUPPORTED), "forward %zu", i);
        ck_assert_msg(backward == (sound[i].backward ? MUSTER_OK : MUSTER_ERR_UNSUPPORTED), "backward %zu",
                      i);
        arrays_release(&r);
    }
}
END_TEST

START_TEST(what_the_library_cannot_do_or_has_no_room_for_is_left_to_the_plain_kernels)
{
    const struct ops_attention_shape *s = &cases[0].shape;
    struct arrays r = arrays_create(s);
    const struct attention_args good = args_of(s, &r);
    struct attention_args a[7] = {good, good, good, good, good, good, good};
    a[0].dtype = DTYPE_F32, a[1].dropout = 0.1f, a[2].head_width = 12, a[3].head_width = 264;
    a[4].qkv = r.qkv + 1, a[5].dqkv = r.dqkv + 4, a[6].lse = r.lse + 1;
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(cuda_sdpa_backward(&subject, &a[i], NULL), MUSTER_ERR_UNSUPPORTED);
    ck_assert_int_eq(library.created, 0);
    subject.compute_major = 7;
    ck_assert_int_eq(cuda_sdpa_forward(&subject, &good, NULL), MUSTER_ERR_UNSUPPORTED);
    subject.compute_major = 9;
    subject.base.scratch_bytes = 1024 + 4 * r.rows * s->heads - 1;
    ck_assert_int_eq(cuda_sdpa_backward(&subject, &good, NULL), MUSTER_ERR_UNSUPPORTED);
    ck_assert_int_eq(library.run, 0);
    ck_assert(library.live == 0 && library.warned == 1);
    subject.base.scratch_bytes++;
    a[0].dtype = DTYPE_F16; /* another plan: that there is none for a shape is remembered */
    ck_assert_int_eq(cuda_sdpa_backward(&subject, &a[0], NULL), MUSTER_OK);
    arrays_release(&r);
}
END_TEST

START_TEST(slices_divide_the_whole_and_stay_within_their_memory)
{
    for (int64_t sequence = 128; sequence <= 65536; sequence *= 2) {
        for (int64_t batch = 1; batch <= 12; batch++) {
            const struct ops_attention_shape s = {batch, sequence, 24, 12, 64};
            const struct ops_attention_slice slice = ops_attention_slice(&s);
            ck_assert(slice.batch >= 1 && batch % slice.batch == 0);
            ck_assert(slice.kv_heads >= 1 && 12 % slice.kv_heads == 0);
            ck_assert(slice.batch == 1 || slice.kv_heads == 12);
            ck_assert(slice.bytes <= OPS_ATTENTION_WORKSPACE_BYTES || slice.batch * slice.kv_heads == 1);
            const struct ops_device_limits limits = {.tokens = batch * sequence, .heads = 24, .attention = s};
            ck_assert(ops_device_scratch_bytes(&limits) >= slice.bytes);
        }
    }
}
END_TEST

int main(void)
{
    const int count = (int)(sizeof cases / sizeof *cases);
    Suite *suite = suite_create("cuda_sdpa_slices");
    TCase *slices = tcase_create("slices");
    tcase_add_checked_fixture(slices, open_subject, close_subject);
    tcase_set_timeout(slices, 0);
    tcase_add_loop_test(slices, a_gradient_is_written_once_from_what_belongs_together, 0, count);
    tcase_add_loop_test(slices, forward_is_never_cut, 0, count);
    tcase_add_test(slices, a_plan_is_made_once_and_so_is_a_refusal);
    tcase_add_test(slices, a_failure_is_an_error_and_is_not_remembered);
    tcase_add_test(slices, what_a_version_of_the_library_gets_wrong_is_left_to_the_plain_kernels);
    tcase_add_test(slices, what_the_library_cannot_do_or_has_no_room_for_is_left_to_the_plain_kernels);
    tcase_add_test(slices, slices_divide_the_whole_and_stay_within_their_memory);
    suite_add_tcase(suite, slices);
    return suite_run(suite);
}
