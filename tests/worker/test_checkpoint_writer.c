/* SPDX-License-Identifier: MIT
 *
 * The thread that saves beside training, with a save under the test's control: it waits at a gate, so that
 * every state of the writer can be looked at without a clock. Nothing here has ranks.
 */
#include "worker/checkpoint/checkpoint_writer.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/suite.h"

enum { ELEMENTS = 1000, KINDS = 2 };

static float live[KINDS][ELEMENTS], copy[KINDS][ELEMENTS];
static struct ckpt_piece live_piece, copy_piece;
static int64_t live_before;

/* The save: says that it has begun, waits until it may end, and remembers what it was given. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool begun, may_end;
    enum muster_status result;
    int calls;
    double sum;
    char yaml[32];
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static double piece_sum(const struct ckpt_piece *piece)
{
    double sum = 0;
    for (int kind = 0; kind < KINDS; kind++)
        for (int64_t i = piece->begin; i < piece->end; i++)
            sum += (double)piece->data[kind][i - piece->begin];
    return sum;
}

static enum muster_status gate_save(void *context, const struct ckpt_identity *identity,
                                    const struct ckpt_piece *pieces, struct hash128 *state_hash,
                                    struct muster_error *err)
{
    pthread_mutex_lock(&gate.lock);
    gate.begun = true;
    gate.calls++;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.may_end)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.sum = piece_sum(pieces);
    *state_hash = (struct hash128){(uint64_t)identity->step, *(int *)context};
    strcpy(gate.yaml, identity->job_yaml);
    enum muster_status status = gate.result;
    pthread_mutex_unlock(&gate.lock);
    return status ? muster_error_set(err, status, "the gate says no") : MUSTER_OK;
}

static void gate_open(bool open)
{
    pthread_mutex_lock(&gate.lock);
    gate.may_end = open;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void gate_await(void)
{
    pthread_mutex_lock(&gate.lock);
    while (!gate.begun)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.begun = false;
    pthread_mutex_unlock(&gate.lock);
}

static void live_fill(float value)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < ELEMENTS; i++)
            live[kind][i] = value;
}

static struct checkpoint_writer *writer_make(bool copies)
{
    static int context = 7;
    struct checkpoint_writer *writer = NULL;
    struct muster_error err = {0};
    struct checkpoint_writer_options options = {.pieces = &live_piece,
                                                .copies = copies ? &copy_piece : &live_piece,
                                                .piece_count = 1,
                                                .kind_count = KINDS,
                                                .save = gate_save,
                                                .save_context = &context};
    ck_assert_msg(checkpoint_writer_create(&options, &writer, &err) == MUSTER_OK, "%s", err.text);
    return writer;
}

static void writer_begin(struct checkpoint_writer *writer, int64_t step)
{
    char yaml[32] = "job: as it was";
    struct muster_error err = {0};
    struct ckpt_identity identity = {.step = step, .job_yaml = yaml, .numerics = "ref"};
    ck_assert_int_eq(checkpoint_writer_start(writer, &identity, &err), MUSTER_OK);
    memset(yaml, 'x', sizeof yaml); /* the writer has its own copy */
}

static void setup(void)
{
    live_before = alloc_live_count();
    gate.begun = gate.may_end = false;
    gate.result = MUSTER_OK;
    gate.calls = 0;
    live_piece = (struct ckpt_piece){.end = ELEMENTS, .data = {live[0], live[1]}};
    copy_piece = (struct ckpt_piece){.end = ELEMENTS, .data = {copy[0], copy[1]}};
}

static void teardown(void)
{
    ck_assert_int_eq(alloc_live_count(), live_before);
}

START_TEST(the_state_that_is_saved_is_the_one_at_the_start_though_training_goes_on)
{
    struct checkpoint_writer *writer = writer_make(true);
    struct checkpoint_outcome outcome;
    live_fill(1.0f);
    writer_begin(writer, 40);
    checkpoint_writer_release_state(writer);
    live_fill(5.0f); /* the optimizer's update */
    gate_await();
    ck_assert(checkpoint_writer_running(writer));
    ck_assert(!checkpoint_writer_take(writer, false, &outcome));
    gate_open(true);
    ck_assert(checkpoint_writer_take(writer, true, &outcome));
    ck_assert_int_eq(outcome.step, 40);
    ck_assert_int_eq(outcome.status, MUSTER_OK);
    ck_assert(hash_equal(outcome.state_hash, (struct hash128){40, 7}));
    ck_assert(outcome.duration_s >= outcome.copied_s && outcome.copied_s >= 0);
    ck_assert_double_eq(gate.sum, KINDS * ELEMENTS * 1.0);
    ck_assert_str_eq(gate.yaml, "job: as it was");
    ck_assert(!checkpoint_writer_running(writer));
    ck_assert(!checkpoint_writer_take(writer, true, &outcome)); /* taken once */
    checkpoint_writer_destroy(writer);
}
END_TEST

START_TEST(a_failed_save_gives_its_reason_and_the_next_one_works)
{
    struct checkpoint_writer *writer = writer_make(true);
    struct checkpoint_outcome outcome;
    gate_open(true);
    gate.result = MUSTER_ERR_NO_SPACE;
    writer_begin(writer, 1);
    ck_assert(checkpoint_writer_take(writer, true, &outcome));
    ck_assert_int_eq(outcome.status, MUSTER_ERR_NO_SPACE);
    ck_assert_str_eq(outcome.err.text, "the gate says no");
    gate.result = MUSTER_OK;
    writer_begin(writer, 2);
    ck_assert(checkpoint_writer_take(writer, true, &outcome));
    ck_assert(outcome.status == MUSTER_OK && outcome.step == 2 && gate.calls == 2);
    checkpoint_writer_destroy(writer);
}
END_TEST

START_TEST(destroying_the_writer_sees_the_save_in_flight_through)
{
    struct checkpoint_writer *writer = writer_make(true);
    writer_begin(writer, 1);
    gate_open(true);
    checkpoint_writer_destroy(writer);
    ck_assert_int_eq(gate.calls, 1);
    checkpoint_writer_destroy(NULL);
}
END_TEST

START_TEST(pieces_that_are_a_copy_already_are_saved_from_where_they_are)
{
    struct checkpoint_writer *writer = writer_make(false);
    struct checkpoint_outcome outcome;
    live_fill(3.0f);
    gate_open(true);
    writer_begin(writer, 1);
    ck_assert(checkpoint_writer_take(writer, true, &outcome));
    ck_assert_double_eq(gate.sum, KINDS * ELEMENTS * 3.0);
    checkpoint_writer_destroy(writer);
}
END_TEST

START_TEST(a_writer_short_of_memory_is_not_made_and_a_save_short_of_it_not_begun)
{
    struct checkpoint_writer *writer = NULL;
    struct muster_error err = {0};
    struct checkpoint_writer_options options = {.save = gate_save};
    alloc_fail_nth(1);
    ck_assert_int_eq(checkpoint_writer_create(&options, &writer, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert_ptr_null(writer);
    writer = writer_make(true);
    struct ckpt_identity identity = {.step = 1, .job_yaml = "a", .numerics = "b"};
    alloc_fail_nth(2);
    ck_assert_int_eq(checkpoint_writer_start(writer, &identity, &err), MUSTER_ERR_NO_MEMORY);
    ck_assert(!checkpoint_writer_running(writer));
    checkpoint_writer_destroy(writer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint_writer");
    TCase *tcase = tcase_create("checkpoint_writer");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_state_that_is_saved_is_the_one_at_the_start_though_training_goes_on);
    tcase_add_test(tcase, a_failed_save_gives_its_reason_and_the_next_one_works);
    tcase_add_test(tcase, destroying_the_writer_sees_the_save_in_flight_through);
    tcase_add_test(tcase, pieces_that_are_a_copy_already_are_saved_from_where_they_are);
    tcase_add_test(tcase, a_writer_short_of_memory_is_not_made_and_a_save_short_of_it_not_begun);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
