/* SPDX-License-Identifier: MIT
 *
 * Every list of up to five checkpoints, every combination of what is known about them, every small policy:
 * the rules of ckpt_retention.h are stated here once more, as what must hold.
 */
#include "coordinator/ckpt/ckpt_retention.h"
#include "tests/suite.h"

#include <math.h>

enum { ENTRIES_MAX = 5, STATES = 4 };

/* 0: not verified; 1: verified, loss unknown; 2 and 3: verified, two losses. Steps rise by 10, in an order
 * that is not that of the list. */
static int entries_make(struct ckpt_retention_entry *entries, int count, int code)
{
    static const double losses[STATES] = {0.5, NAN, 1.0, 2.0};
    int verified_count = 0;
    for (int i = 0; i < count; i++, code /= STATES) {
        int state = code % STATES;
        entries[i] = (struct ckpt_retention_entry){10 * ((i * 3 + 1) % count + 1), state > 0, losses[state]};
        if (count == 3)
            entries[i].step = 10 * (3 - i);
        verified_count += state > 0;
    }
    return verified_count;
}

static int rank_by_step(const struct ckpt_retention_entry *entries, int count, int at)
{
    int rank = 0;
    for (int i = 0; i < count; i++)
        rank += entries[i].verified && entries[i].step > entries[at].step;
    return rank;
}

static int rank_by_loss(const struct ckpt_retention_entry *entries, int count, int at)
{
    int rank = 0;
    for (int i = 0; i < count; i++) {
        bool lower = entries[i].loss < entries[at].loss;
        bool newer = entries[i].loss <= entries[at].loss && entries[i].step > entries[at].step;
        rank += entries[i].verified && (lower || newer);
    }
    return rank;
}

static void check_decision(const struct ckpt_retention_entry *entries, int count, int verified_count,
                           const struct ckpt_retention_policy *policy)
{
    bool removed[ENTRIES_MAX];
    int kept = 0;
    ckpt_retention_decide(entries, count, policy, removed);
    for (int i = 0; i < count; i++) {
        const struct ckpt_retention_entry *entry = &entries[i];
        int rank = rank_by_step(entries, count, i);
        if (!entry->verified) {
            ck_assert_int_eq(removed[i], verified_count >= 2 && rank > 0);
            continue;
        }
        bool last = rank < 2 || rank < policy->keep_last;
        bool every = policy->keep_every > 0 && entry->step % policy->keep_every == 0;
        bool best = !isnan(entry->loss) && rank_by_loss(entries, count, i) < policy->keep_best;
        ck_assert_int_eq(removed[i], !(last || every || best));
        kept += !removed[i];
    }
    ck_assert_int_ge(kept, verified_count < 2 ? verified_count : 2);
}

START_TEST(every_small_list_keeps_what_the_policy_says_and_never_fewer_than_two)
{
    static const int64_t everies[] = {0, 20, 30};
    struct ckpt_retention_entry entries[ENTRIES_MAX];
    for (int count = 0; count <= ENTRIES_MAX; count++) {
        for (int code = 0; code < 1 << (2 * count); code++) {
            int verified_count = entries_make(entries, count, code);
            for (int policy = 0; policy < 5 * 3 * 4; policy++)
                check_decision(
                    entries, count, verified_count,
                    &(struct ckpt_retention_policy){policy % 5, everies[policy / 5 % 3], policy / 15});
        }
    }
}
END_TEST

START_TEST(steps_of_the_tested_lists_are_all_different)
{
    struct ckpt_retention_entry entries[ENTRIES_MAX];
    for (int count = 1; count <= ENTRIES_MAX; count++) {
        entries_make(entries, count, 0);
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < i; j++)
                ck_assert_int_ne(entries[i].step, entries[j].step);
        }
    }
}
END_TEST

START_TEST(an_infinite_or_unknown_loss_is_never_best)
{
    const struct ckpt_retention_entry entries[] = {
        {50, true, 3.0}, {40, true, 3.0}, {30, true, INFINITY}, {20, true, NAN}, {10, true, -INFINITY}};
    const struct ckpt_retention_policy policy = {.keep_last = 2, .keep_best = 5};
    bool removed[5];
    ckpt_retention_decide(entries, 5, &policy, removed);
    ck_assert(!removed[0] && !removed[1] && removed[2] && removed[3] && removed[4]);
}
END_TEST

START_TEST(equal_steps_do_not_remove_each_other)
{
    const struct ckpt_retention_entry entries[] = {{10, true, NAN}, {10, true, NAN}, {10, true, NAN}};
    const struct ckpt_retention_policy policy = {.keep_last = 1};
    bool removed[3];
    ckpt_retention_decide(entries, 3, &policy, removed);
    ck_assert(!removed[0] && !removed[1] && removed[2]);
}
END_TEST

int main(void)
{
    TCase *decisions = tcase_create("decisions");
    tcase_add_test(decisions, every_small_list_keeps_what_the_policy_says_and_never_fewer_than_two);
    tcase_add_test(decisions, steps_of_the_tested_lists_are_all_different);
    tcase_add_test(decisions, an_infinite_or_unknown_loss_is_never_best);
    tcase_add_test(decisions, equal_steps_do_not_remove_each_other);
    Suite *suite = suite_create("ckpt retention");
    suite_add_tcase(suite, decisions);
    return suite_run(suite);
}
