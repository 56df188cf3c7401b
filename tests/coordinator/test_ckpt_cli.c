/* SPDX-License-Identifier: MIT
 *
 * The actions of `muster ckpt` as a person meets them: help, refusals, exit codes, and one way through all of
 * them with the real program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/coordinator/model_ckpt.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

static const char model_keys[] = "type: gpt, num_layers: 1, hidden_size: 8, num_heads: 2, vocab_size: 11";

static struct program_result result;

static void setup(void)
{
    program_folder_enter();
    program_write(
        "job.yaml",
        "name: small\nmodel: {type: gpt, num_layers: 1, hidden_size: 8, num_heads: 2, vocab_size: 11}\n"
        "data: {format: u16, train: none.bin, seq_len: 6}\n"
        "train: {micro_batch_size: 1, global_batch_size: 2, max_steps: 10}\noptimizer: {lr: 1e-3}\n");
}

static void teardown(void)
{
    program_release(&result);
    program_folder_leave();
}

#define muster(exit_code, ...)                                                                               \
    program_muster(&result, exit_code, (const char *const[]){"ckpt", __VA_ARGS__, NULL})

static void checkpoints_write(void)
{
    struct model_ckpt model;
    model_ckpt_init(&model, model_keys);
    model_ckpt_write(&model, "run/checkpoints/step-000000010", 10, 1);
    model_ckpt_write(&model, "run/checkpoints/step-000000020", 20, 2);
    model_ckpt_tensor(&model, 0, "token_table")[5] += 1;
    model_ckpt_write(&model, "run/checkpoints/step-000000030", 30, 3);
    model_ckpt_write(&model, "copy", 30, 1);
    model_ckpt_release(&model);
}

START_TEST(every_action_explains_itself_with_an_example)
{
    static const char *const actions[] = {"inspect", "diff", "prune", "export", "import"};
    char usage[64];
    muster(0, "--help");
    for (int i = 0; i < 5; i++)
        program_expect(&result.out, actions[i]);
    for (int i = 0; i < 5; i++) {
        muster(0, actions[i], "--help");
        snprintf(usage, sizeof usage, "usage: muster ckpt %s ", actions[i]);
        program_expect(&result.out, usage);
        program_expect(&result.out, "example:\n  muster ckpt ");
        program_expect(&result.out, "exit codes:");
    }
}
END_TEST

START_TEST(wrong_words_are_refused_and_named)
{
    muster(2, "inspct", "run");
    program_expect(&result.err, "did you mean inspect?");
    muster(2, "inspect");
    program_expect(&result.err,
                   "muster ckpt inspect: the checkpoint is missing\nTry: muster ckpt inspect --help");
    muster(2, "inspect", "nowhere");
    program_expect(&result.err, "nowhere is not a folder");
    muster(2, "diff", "a");
    muster(2, "diff", "a", "b", "--tolerance", "-1");
    muster(2, "prune", "run");
    program_expect(&result.err, "--keep-last N is missing");
    muster(2, "prune", "run", "--keep-last", "1");
    program_expect(&result.err, "is not a whole number from 2");
    muster(2, "export", "run", "--format", "hf");
    program_expect(&result.err, "--output is missing");
    muster(2, "export", "run", "--output", "x");
    program_expect(&result.err, "--format hf|npz|h5 is missing");
    muster(2, "export", "run", "--format", "onnx", "--output", "x");
    program_expect(&result.err, "\"onnx\" is none of hf, npz, h5");
    muster(2, "export", "run", "--format", "hf", "--output", "x", "--dtype", "fp16");
    program_expect(&result.err, "\"fp16\" is none of fp32, bf16");
    muster(2, "import", "x");
    program_expect(&result.err, "--job JOB.yaml is missing");
    muster(2, "import", "x", "--job", "job.yaml");
    program_expect(&result.err, "there is no config.json in x");
}
END_TEST

START_TEST(diff_tells_by_its_exit_code)
{
    checkpoints_write();
    muster(0, "diff", "run", "copy");
    program_expect(&result.out, "equal: step 30");
    muster(1, "diff", "run/checkpoints/step-000000020", "copy");
    program_expect(&result.out, "param/token_table: 1 of 88 elements differ, by at most 1 (absolute)");
    ck_assert_str_eq(result.err.data, "");
    muster(2, "diff", "run", "nowhere");
}
END_TEST

START_TEST(a_model_goes_out_and_comes_back_in_as_the_start_of_a_job)
{
    checkpoints_write();
    muster(0, "export", "run", "--format", "hf", "-o", "hf");
    program_expect(&result.out, "hf: 16 tensors, ");
    muster(2, "export", "run", "--format", "hf", "-o", "hf");
    program_expect(&result.err, "hf is already there");
    muster(0, "import", "hf", "--job", "job.yaml");
    program_expect(&result.out, "out/small/checkpoints/step-000000000: step 0, 16 tensors of hf\n");
    program_expect(&result.out, "muster run takes it up by itself\n");
    muster(0, "verify", "out/small");
    muster(0, "inspect", "out/small", "--tensors");
    program_expect(&result.out, "numerics    imported from a Hugging Face folder\n");
    muster(0, "import", "hf/", "-j", "job.yaml", "-o", "elsewhere/");
    program_expect(&result.out, "checkpoint: {resume: elsewhere}\n");
    muster(2, "import", "hf", "--job", "job.yaml");
    muster(0, "diff", "out/small", "elsewhere");
    muster(0, "export", "elsewhere", "--format", "npz", "-o", "weights.npz");
}
END_TEST

START_TEST(what_does_not_fit_is_told_on_the_error_output)
{
    checkpoints_write();
    muster(0, "export", "run", "--format", "hf", "-o", "hf");
    program_write("job.yaml",
                  "model: {type: gpt, num_layers: 2, hidden_size: 8, num_heads: 4, vocab_size: 11}\n"
                  "data: {format: u16, train: none.bin, seq_len: 6}\n"
                  "train: {micro_batch_size: 1, global_batch_size: 2, max_steps: 10}\n"
                  "optimizer: {lr: 1e-3}\n");
    muster(2, "import", "hf", "--job", "job.yaml", "-o", "back");
    program_expect(&result.err, "config.json: n_layer is 1, the job's model.num_layers is 2\n"
                                "config.json: n_head is 2, the job's model.num_heads is 4\n");
    program_expect(&result.err, "muster ckpt import: hf/config.json: 2 keys do not fit the job\n");
    ck_assert_str_eq(result.out.data, "");
    ck_assert(!fs_exists("back"));
}
END_TEST

START_TEST(prune_keeps_what_it_says)
{
    checkpoints_write();
    muster(0, "prune", "run", "--keep-last", "2", "--dry-run");
    program_expect(&result.out, "step-000000010  would go");
    ck_assert(fs_exists("run/checkpoints/step-000000010"));
    muster(0, "prune", "run", "--keep-last", "2");
    ck_assert(!fs_exists("run/checkpoints/step-000000010"));
    ck_assert(fs_exists("run/checkpoints/step-000000020") && fs_exists("run/checkpoints/step-000000030"));
}
END_TEST

int main(void)
{
    TCase *actions = tcase_create("actions");
    tcase_add_checked_fixture(actions, setup, teardown);
    tcase_add_test(actions, every_action_explains_itself_with_an_example);
    tcase_add_test(actions, wrong_words_are_refused_and_named);
    tcase_add_test(actions, diff_tells_by_its_exit_code);
    tcase_add_test(actions, a_model_goes_out_and_comes_back_in_as_the_start_of_a_job);
    tcase_add_test(actions, what_does_not_fit_is_told_on_the_error_output);
    tcase_add_test(actions, prune_keeps_what_it_says);
    Suite *suite = suite_create("ckpt actions");
    suite_add_tcase(suite, actions);
    return suite_run(suite);
}
