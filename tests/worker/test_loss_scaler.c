/* SPDX-License-Identifier: MIT
 *
 * The loss scale over a history of steps: when it halves, doubles, stays, and when the run must end.
 */

#include "worker/loss_scaler.h"
#include "tests/suite.h"

static struct loss_scaler scaler_of(enum job_precision precision, double fixed, double initial,
                                    int64_t window)
{
    struct job job = {0};
    job.train.precision = precision;
    job.train.loss_scale = fixed;
    job.train.initial_loss_scale = initial;
    job.train.loss_scale_window = window;
    struct loss_scaler scaler;
    loss_scaler_init(&scaler, &job);
    return scaler;
}

static void good_steps(struct loss_scaler *scaler, int count)
{
    struct muster_error err = {0};
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(loss_scaler_update(scaler, false, &err), MUSTER_OK);
}

static enum muster_status overflow(struct loss_scaler *scaler)
{
    struct muster_error err = {0};
    return loss_scaler_update(scaler, true, &err);
}

START_TEST(a_full_window_of_good_steps_doubles_it)
{
    struct loss_scaler scaler = scaler_of(JOB_PRECISION_FP16, 0.0, 1024.0, 5);
    good_steps(&scaler, 4);
    ck_assert_double_eq(scaler.scale, 1024.0);
    good_steps(&scaler, 1);
    ck_assert_double_eq(scaler.scale, 2048.0);
    good_steps(&scaler, 4);
    ck_assert_double_eq(scaler.scale, 2048.0);
}
END_TEST

START_TEST(an_overflow_halves_it_and_begins_a_new_window)
{
    struct loss_scaler scaler = scaler_of(JOB_PRECISION_FP16, 0.0, 1024.0, 5);
    good_steps(&scaler, 4);
    ck_assert_int_eq(overflow(&scaler), MUSTER_OK);
    ck_assert_double_eq(scaler.scale, 512.0);
    good_steps(&scaler, 4);
    ck_assert_double_eq(scaler.scale, 512.0);
    good_steps(&scaler, 1);
    ck_assert_double_eq(scaler.scale, 1024.0);
}
END_TEST

START_TEST(it_never_grows_beyond_2_to_the_24)
{
    struct loss_scaler scaler = scaler_of(JOB_PRECISION_FP16, 0.0, 8388608.0, 1);
    good_steps(&scaler, 1);
    ck_assert_double_eq(scaler.scale, 16777216.0);
    good_steps(&scaler, 3);
    ck_assert_double_eq(scaler.scale, 16777216.0);
}
END_TEST

START_TEST(an_overflow_without_any_scale_left_ends_the_run)
{
    struct loss_scaler scaler = scaler_of(JOB_PRECISION_FP16, 0.0, 4.0, 100);
    ck_assert_int_eq(overflow(&scaler), MUSTER_OK);
    ck_assert_int_eq(overflow(&scaler), MUSTER_OK);
    ck_assert_double_eq(scaler.scale, 1.0);
    ck_assert_int_eq(overflow(&scaler), MUSTER_ERR_NUMERIC);
}
END_TEST

START_TEST(a_fixed_scale_stays_and_an_overflow_ends_the_run)
{
    struct loss_scaler scaler = scaler_of(JOB_PRECISION_FP16, 256.0, 1024.0, 2);
    good_steps(&scaler, 10);
    ck_assert_double_eq(scaler.scale, 256.0);
    ck_assert_int_eq(overflow(&scaler), MUSTER_ERR_NUMERIC);
}
END_TEST

START_TEST(other_precisions_have_none)
{
    enum job_precision precision = _i ? JOB_PRECISION_BF16 : JOB_PRECISION_FP32;
    struct loss_scaler scaler = scaler_of(precision, 256.0, 1024.0, 2);
    good_steps(&scaler, 10);
    ck_assert_double_eq(scaler.scale, 1.0);
    ck_assert_int_eq(overflow(&scaler), MUSTER_ERR_NUMERIC);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loss_scaler");
    TCase *tcase = tcase_create("loss_scaler");
    tcase_add_test(tcase, a_full_window_of_good_steps_doubles_it);
    tcase_add_test(tcase, an_overflow_halves_it_and_begins_a_new_window);
    tcase_add_test(tcase, it_never_grows_beyond_2_to_the_24);
    tcase_add_test(tcase, an_overflow_without_any_scale_left_ends_the_run);
    tcase_add_test(tcase, a_fixed_scale_stays_and_an_overflow_ends_the_run);
    tcase_add_loop_test(tcase, other_precisions_have_none, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
