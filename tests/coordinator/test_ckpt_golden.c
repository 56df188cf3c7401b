/* SPDX-License-Identifier: MIT
 *
 * A checkpoint of format version 1 that was written once and is never written again: what reads it today must
 * read it for ever. `test_ckpt_golden FOLDER` writes such a one; that is for the day of a version 2, which
 * gets a folder of its own beside this one.
 */
#include "coordinator/ckpt/ckpt.h"

#include "base/alloc.h"
#include "coordinator/ckpt/ckpt_tools.h"
#include "tests/coordinator/model_ckpt.h"
#include "tests/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char model_keys[] =
    "type: gpt, num_layers: 1, hidden_size: 4, num_heads: 2, ffn_hidden_size: 6, vocab_size: 5";
static const char golden_state_hash[] = "1eb4adaa03a7b110fed3ea468ff1275f";
static const char golden_job_hash[] = "8c4fc43ce3451f95ebbbe1dfe5e67867";

static const char *record_folder;
static char folder[FS_PATH_MAX];
static struct muster_error err;

static void setup(void)
{
    const char *source = getenv("MUSTER_SOURCE");
    snprintf(folder, sizeof folder, "%s/tests/golden/checkpoint_v1", source != NULL ? source : ".");
    err = (struct muster_error){.status = MUSTER_OK};
}

static void expect_hash(struct hash128 hash, const char *digits)
{
    char text[HASH_TEXT_SIZE];
    hash_format(hash, text);
    ck_assert_str_eq(text, digits);
}

START_TEST(a_checkpoint_of_version_1_verifies_and_has_its_hash)
{
    struct ckpt *ckpt;
    struct hash128 hash;
    ck_assert_msg(ckpt_open(folder, &ckpt, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_msg(ckpt_verify(ckpt, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(ckpt_hash(ckpt, &hash, &err), MUSTER_OK);
    expect_hash(hash, golden_state_hash);
    expect_hash(ckpt_job_hash(ckpt), golden_job_hash);
    ck_assert_int_eq(ckpt_step(ckpt), 1000);
    ck_assert_int_eq(ckpt_tokens_seen(ckpt), 12000);
    ck_assert_int_eq(ckpt_shard_count(ckpt), 2);
    ck_assert_str_eq(ckpt_numerics(ckpt), "test");
    ckpt_close(ckpt);
}
END_TEST

START_TEST(its_elements_are_those_that_were_written)
{
    struct model_ckpt model;
    struct ckpt *ckpt;
    model_ckpt_init(&model, model_keys);
    ck_assert_int_eq(ckpt_open(folder, &ckpt, &err), MUSTER_OK);
    const struct ckpt_layout *layout = ckpt_layout(ckpt);
    ck_assert_int_eq(layout->flat_count, model.layout.flat_count);
    ck_assert_int_eq(layout->tensor_count, model.layout.tensor_count);
    float *all = alloc_zeroed((size_t)layout->flat_count, sizeof *all);
    for (int kind = 0; kind < MODEL_CKPT_KINDS; kind++) {
        ck_assert_str_eq(layout->kinds[kind], model.layout.kinds[kind]);
        ck_assert_int_eq(ckpt_read(ckpt, kind, 0, layout->flat_count, all, &err), MUSTER_OK);
        ck_assert_int_eq(memcmp(all, model.state[kind], (size_t)layout->flat_count * sizeof *all), 0);
    }
    alloc_free(all);
    ckpt_close(ckpt);
    model_ckpt_release(&model);
}
END_TEST

START_TEST(the_job_inside_can_still_be_read_and_means_the_same)
{
    struct job_report report;
    struct job *job = NULL;
    struct ckpt *ckpt;
    ck_assert_int_eq(ckpt_open(folder, &ckpt, &err), MUSTER_OK);
    const char *yaml = ckpt_job_yaml(ckpt);
    job_report_init(&report);
    ck_assert_msg(job_parse("golden", yaml, strlen(yaml), &report, &job, &err) == MUSTER_OK, "%s",
                  report.errors.data);
    expect_hash(job_hash(job), golden_job_hash);
    job_report_release(&report);
    job_destroy(job);
    ckpt_close(ckpt);
}
END_TEST

START_TEST(record)
{
    struct model_ckpt model;
    model_ckpt_init(&model, model_keys);
    model_ckpt_write(&model, record_folder, 1000, 2);
    model_ckpt_release(&model);
}
END_TEST

int main(int argc, char **argv)
{
    TCase *golden = tcase_create("version 1");
    tcase_add_checked_fixture(golden, setup, NULL);
    record_folder = argc > 1 ? argv[1] : NULL;
    if (record_folder != NULL) {
        tcase_add_test(golden, record);
    } else {
        tcase_add_test(golden, a_checkpoint_of_version_1_verifies_and_has_its_hash);
        tcase_add_test(golden, its_elements_are_those_that_were_written);
        tcase_add_test(golden, the_job_inside_can_still_be_read_and_means_the_same);
    }
    Suite *suite = suite_create("golden checkpoint");
    suite_add_tcase(suite, golden);
    return suite_run(suite);
}
