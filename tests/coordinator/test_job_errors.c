/* SPDX-License-Identifier: MIT
 *
 * Job files are written by people: each file that is wrong must be refused at the line and column of the
 * slip, in words that help. And by anybody: no file may cost more than its size.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job.h"
#include "tests/coordinator/job_outcome.h"
#include "tests/suite.h"

/* Jobs with one error each, and how its line begins after "runs/job.yaml". */
static const struct {
    const char *yaml, *expected;
} bad_jobs[] = {
    /* what is not YAML, or not YAML a job may use */
    {"", ":1:1: the file is empty"},
    {"# nothing\n", ":1:1: the file is empty"},
    {"- a\n- b\n", ":1:1: a job file is a mapping"},
    {"just text\n", ":1:1: a job file is a mapping"},
    {"a: \"b\n",
     ":2:1: not valid YAML: found unexpected end of stream, while scanning a quoted scalar that began on "
     "line 1"},
    {"a: 1\n\tb: 2\n", ":2:1: not valid YAML: found a tab"},
    {"a: 1\nb: \xff\n", ":2:4: not valid YAML: invalid leading UTF-8 octet"},
    {"a: [1, 2\n", ":2:1: not valid YAML: did not find expected ',' or ']'"},
    {MODEL DATA TRAIN OPTIM "---\nname: b\n", ":5:1: a second document begins here"},
    {MODEL DATA TRAIN OPTIM "name: &n x\n", ":5:7: anchor \"n\": job files have no anchors"},
    {MODEL DATA TRAIN OPTIM "name: *n\n", ":5:7: alias \"n\": job files have no anchors"},
    {MODEL DATA TRAIN OPTIM "name: !!str x\n",
     ":5:7: tag \"tag:yaml.org,2002:str\": job files have no anchors"},
    {MODEL DATA TRAIN OPTIM "eval: !x {}\n", ":5:7: tag \"!x\""},
    {MODEL DATA TRAIN OPTIM "eval:\n  <<: {interval: 3}\n", ":6:3: merge keys (<<) are not read"},
    {MODEL DATA TRAIN OPTIM "? [a, b]\n: c\n", ":5:3: a key must be a word"},
    {MODEL DATA TRAIN OPTIM "seed: 1\nname: a\nseed: 2\n", ":7:1: seed: given twice, first on line 5"},
    {MODEL DATA TRAIN "optimizer:\n  lr: 1\n  lr: 2\n", ":6:3: optimizer.lr: given twice, first on line 5"},
    {MODEL DATA TRAIN OPTIM "name: \"a\\0b\"\n", ":5:7: the text holds a zero byte"},

    /* keys */
    {MODEL DATA TRAIN OPTIM "sede: 3\n", ":5:1: sede: unknown key; did you mean seed?"},
    {MODEL DATA TRAIN OPTIM "zzzzzzzz: 3\n",
     ":5:1: zzzzzzzz: unknown key; known here: name, seed, output_dir"},
    {MODEL DATA TRAIN OPTIM "eval:\n  itres: 3\n", ":6:3: eval.itres: unknown key; did you mean iters?"},
    {MODEL DATA TRAIN OPTIM "eval:\n  qqqqqqqq: 3\n",
     ":6:3: eval.qqqqqqqq: unknown key; known here: interval, iters"},
    {MODEL DATA TRAIN OPTIM "momentum: 3\n", ":5:1: momentum: unknown key; did you mean optimizer.momentum?"},
    {MODEL DATA TRAIN OPTIM "eval:\n  seed: 3\n",
     ":6:3: eval.seed: unknown key; did you mean seed at the top level?"},
    {MODEL DATA TRAIN OPTIM "paralel:\n  threads: 1\n", ":5:1: paralel: unknown key; did you mean parallel?"},
    {MODEL DATA TRAIN OPTIM "checkpoint: 3\n", ":5:13: checkpoint: is a section: expected lines"},
    {MODEL DATA "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 100,\n"
                "        gradient_accumulation_steps: 2}\n" OPTIM,
     ":4:9: train.gradient_accumulation_steps: is derived and not given: global_batch_size = "
     "micro_batch_size x "
     "slots, whatever the number of ranks"},
    {MODEL DATA "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 100, steps: 3}\n" OPTIM,
     ":3:69: train.steps: gives train.max_steps twice, first on line 3"},
    {MODEL DATA TRAIN OPTIM "scheduler: {min_lr: 0}\nlr_scheduler: {min_lr: 0}\n",
     ":6:1: lr_scheduler: gives section scheduler twice, first on line 5"},
    {"name: \"\\e[31m\"\n" MODEL DATA TRAIN OPTIM, ":1:7: name: has a line break or control character"},
    {"\"\\e[31mq\": 1\n" MODEL DATA TRAIN OPTIM, ":1:1: ?[31mq: unknown key"},

    /* missing keys: the place is the section's, or the file's beginning */
    {"model: {type: gpt, num_layers: 2, num_heads: 4, vocab_size: 256}\n" DATA TRAIN OPTIM,
     ":1:1: model.hidden_size: is required, but missing"},
    {"seed: 1\n" MODEL "data:\n  train: a.bin\n" TRAIN OPTIM, ":3:1: data.seq_len: is required, but missing"},
    {"seed: 1\n" MODEL DATA TRAIN, ":1:1: optimizer.lr: is required, but missing"},
    {"model: {num_layers: 2, hidden_size: 64, num_heads: 4, vocab_size: 256}\n" DATA TRAIN OPTIM,
     ":1:1: model.type: is required, but missing"},

    /* types and ranges */
    {"seed: 1.5\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: expected a whole number, read \"1.5\""},
    {"seed: \"1\"\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: expected a whole number, read the text \"1\""},
    {"seed: 0x10\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: expected a whole number, read \"0x10\""},
    {"seed: 010\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: expected a whole number, read \"010\""},
    {"seed: 1e300\n" MODEL DATA TRAIN OPTIM,
     ":1:7: seed: must be from 0 to 9007199254740991, but is \"1e300\""},
    {"seed: 99999999999999999999\n" MODEL DATA TRAIN OPTIM,
     ":1:7: seed: must be from 0 to 9007199254740991, but is \"99999999999999999999\""},
    {"seed: -1\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: must be from 0 to 9007199254740991, but is \"-1\""},
    {"seed: [1]\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: expected a whole number, read a list"},
    {"seed: {a: 1}\n" MODEL DATA TRAIN OPTIM, ":1:7: seed: expected a whole number, read a mapping of keys"},
    {"seed:\n" MODEL DATA TRAIN OPTIM, ":1:6: seed: expected a whole number, read nothing"},
    {"name: [a]\n" MODEL DATA TRAIN OPTIM, ":1:7: name: expected a text, read a list"},
    {"name: ''\n" MODEL DATA TRAIN OPTIM, ":1:7: name: must not be empty"},
    {"device: gpu\n" MODEL DATA TRAIN OPTIM,
     ":1:9: device: unknown value \"gpu\"; did you mean cpu? Allowed: auto, cpu, "
     "cuda"},
    {"device: quantum\n" MODEL DATA TRAIN OPTIM,
     ":1:9: device: unknown value \"quantum\"; allowed: auto, cpu, cuda"},
    {MODEL DATA TRAIN "optimizer: {type: adam, lr: 1}\n",
     ":4:19: optimizer.type: unknown value \"adam\"; did you mean adamw? Allowed: adamw, sgd"},
    {MODEL DATA TRAIN "optimizer: {lr: fast}\n",
     ":4:17: optimizer.lr: expected a finite number, read \"fast\""},
    {MODEL DATA TRAIN "optimizer: {lr: .inf}\n",
     ":4:17: optimizer.lr: expected a finite number, read \".inf\""},
    {MODEL DATA TRAIN "optimizer: {lr: 0}\n",
     ":4:17: optimizer.lr: must be above 0 and at most 1000, but is \"0\""},
    {MODEL DATA TRAIN "optimizer: {lr: 1, beta1: 1}\n",
     ":4:27: optimizer.beta1: must be at least 0 and below 1, but is \"1\""},
    {MODEL DATA TRAIN OPTIM "logging: {jsonl: maybe}\n",
     ":5:18: logging.jsonl: expected true or false, read \"maybe\""},
    {MODEL DATA TRAIN OPTIM "logging: {jsonl: \"yes\"}\n",
     ":5:18: logging.jsonl: expected true or false, read the text \"yes\""},
    {MODEL DATA TRAIN OPTIM "checkpoint: {keep_last: 1}\n", ":5:25: checkpoint.keep_last: must be from 2 to"},
    {MODEL DATA TRAIN OPTIM "parallel: {logical_workers: 8192}\n",
     ":5:29: parallel.logical_workers: must be from 1 to 4096, but is \"8192\""},

    /* data files */
    {MODEL "data: {train: [], seq_len: 32}\n" TRAIN OPTIM, ":2:15: data.train: names no file"},
    {MODEL "data: {train: '', seq_len: 32}\n" TRAIN OPTIM, ":2:15: data.train: must not be empty"},
    {MODEL "data: {train: [a, ''], seq_len: 32}\n" TRAIN OPTIM, ":2:19: data.train[1]: must not be empty"},
    {MODEL "data: {train: [a, [b]], seq_len: 32}\n" TRAIN OPTIM,
     ":2:19: data.train[1]: expected a path or a mapping"},
    {MODEL "data: {train: [{weight: 2}], seq_len: 32}\n" TRAIN OPTIM,
     ":2:16: data.train[0].path: is required, but missing"},
    {MODEL "data: {train: [{path: a, weight: 0}], seq_len: 32}\n" TRAIN OPTIM,
     ":2:34: data.train[0].weight: must be above 0"},
    {MODEL "data: {train: [{path: a, wieght: 2}], seq_len: 32}\n" TRAIN OPTIM,
     ":2:26: data.train[0]: unknown key \"wieght\"; did you mean weight?"},
    {MODEL "data: {train: [{path: a, weight: 2}, b], seq_len: 32}\n" TRAIN OPTIM,
     ":2:15: data.train: 1 of 2 entries have a weight; give one to all of them or to none"},
    {MODEL "data: {train: {path: a, labels: b}, seq_len: 32}\n" TRAIN OPTIM,
     ":2:15: data.train: labels belong to images, which only model.type mlp reads"},
    {MODEL "data: {train: a, format: idx, seq_len: 32}\n" TRAIN OPTIM,
     ":2:26: data.format: idx holds images"},
    {MLP "data: {train: a, format: u16}\n" TRAIN OPTIM,
     ":2:26: data.format: u16 holds tokens, but model.type mlp"},
    {MLP "data: {train: a, seq_len: 3}\n" TRAIN OPTIM,
     ":2:27: data.seq_len: means nothing with model.type mlp"},
    {"model: {type: gpt, num_layers: 2, hidden_size: 64, num_heads: 4, vocab_size: 200}\n"
     "data: {train: a, format: bytes, seq_len: 32}\n" TRAIN OPTIM,
     ":1:78: model.vocab_size: 200 is too small for data.format bytes: 256 needed"},

    /* keys that do not fit together */
    {MODEL DATA "train: {micro_batch_size: 3, global_batch_size: 32, max_steps: 100}\n" OPTIM,
     ":3:49: train.global_batch_size: 32 is not a multiple of micro_batch_size 3; the nearest are 30 and 33"},
    {MODEL DATA "train: {micro_batch_size: 64, global_batch_size: 32, max_steps: 100}\n" OPTIM,
     ":3:50: train.global_batch_size: 32 is less than micro_batch_size 64; the nearest multiple is 64"},
    {MODEL DATA TRAIN OPTIM "parallel: {logical_workers: 3}\n",
     ":5:29: parallel.logical_workers: 3 does not divide the 8 slots of a step (global_batch_size 32 / "
     "micro_batch_size 4); the nearest that does is 2 or 4"},
    {MODEL DATA TRAIN OPTIM "parallel: {logical_workers: 16}\n",
     ":5:29: parallel.logical_workers: 16 does not divide"},
    {"model: {type: gpt, num_layers: 2, hidden_size: 100, num_heads: 12, vocab_size: 256}\n" DATA TRAIN OPTIM,
     ":1:64: model.num_heads: 12 does not divide hidden_size 100; it would divide 96 and 108"},
    {"model: {type: gpt, num_layers: 2, hidden_size: 8, num_heads: 12, vocab_size: 256}\n" DATA TRAIN OPTIM,
     ":1:62: model.num_heads: 12 is more than hidden_size 8"},
    {"model: {type: llama, num_layers: 2, hidden_size: 36, num_heads: 12, vocab_size: 256}\n" DATA TRAIN
         OPTIM,
     ":1:65: model.num_heads: hidden_size 36 / num_heads 12 = 3, but rotary positions need an even head "
     "width"},
    {"model: {type: llama, num_layers: 2, hidden_size: 64, num_heads: 4, num_kv_heads: 3, vocab_size: "
     "256}\n" DATA TRAIN OPTIM,
     ":1:82: model.num_kv_heads: 3 does not divide num_heads 4"},
    {MODEL DATA TRAIN OPTIM "scheduler: {warmup_steps: 101}\n",
     ":5:27: scheduler.warmup_steps: 101 is more than train.max_steps 100"},
    {MODEL DATA TRAIN OPTIM "scheduler: {min_lr: 1e-2}\n",
     ":5:21: scheduler.min_lr: 0.01 is more than optimizer.lr 0.001"},
    {MODEL DATA TRAIN OPTIM "scheduler: {type: wsd, decay_steps: 60, warmup_steps: 50}\n",
     ":5:37: scheduler.decay_steps: warmup_steps 50 and a decay of 60 steps do not fit into max_steps 100"},
    {MODEL DATA TRAIN OPTIM "scheduler: {type: wsd, warmup_steps: 81}\n",
     ":5:1: scheduler.decay_steps: warmup_steps 81 and a decay of 20 steps do not fit into max_steps 100"},
    {MODEL DATA TRAIN "optimizer: {type: sgd, lr: 1, momentum: 0, nesterov: true}\n",
     ":4:54: optimizer.nesterov: needs a momentum above 0"},
    {MODEL DATA TRAIN OPTIM "eval: {interval: 5}\n", ":5:18: eval.interval: evaluation needs data.val"},
    {MODEL DATA TRAIN OPTIM "checkpoint: {resume: no}\n",
     ":5:22: checkpoint.resume: expected auto, never or a checkpoint's folder, read \"no\""},
    {MODEL DATA TRAIN OPTIM
     "checkpoint: {save_interval: 10, keep_last: 3}\nfault: {on_nan: rollback, rollback_steps: 21}\n",
     ":6:43: fault.rollback_steps: goes back 3 checkpoints; checkpoint.keep_last must be at least 4"},
    {MODEL DATA TRAIN OPTIM "parallel: {zero_stage: 3}\nfault: {check_interval: 5}\n",
     ":6:25: fault.check_interval: needs parallel.zero_stage 0, 1 or 2: with 3 no rank holds a second copy "
     "of the "
     "weights"},
    {MODEL DATA TRAIN OPTIM "fault: {on_spike: explode}\n",
     ":5:19: fault.on_spike: unknown value \"explode\"; allowed: ignore, stop, skip, rollback"},
    {"name: a/b\n" MODEL DATA TRAIN OPTIM, ":1:7: name: must be usable as a folder's name"},
    {"name: .a\n" MODEL DATA TRAIN OPTIM, ":1:7: name: must be usable as a folder's name"},

    /* sizes that would overflow further on */
    {MODEL "data: {train: a.bin, seq_len: 1048576}\n"
           "train: {micro_batch_size: 65536, global_batch_size: 65536, max_steps: 1}\n" OPTIM,
     ":3:27: train.micro_batch_size: 65536 samples of 1048576 tokens are more than the 2147483647 tokens"},
    {"model: {type: gpt, num_layers: 1000, hidden_size: 1048576, num_heads: 1024, vocab_size: 256}\n" DATA
         TRAIN OPTIM,
     ":1:51: model.hidden_size: the model would have about 1.8e+16 weights"},
    {"model: {type: gpt, num_layers: 1000, hidden_size: 4096, num_heads: 4096, vocab_size: 256}\n"
     "data: {train: a.bin, seq_len: 1048576}\n"
     "train: {micro_batch_size: 1024, global_batch_size: 1024, max_steps: 1}\n" OPTIM,
     ":1:51: model.hidden_size: a slot would need about"},
    {MODEL "data: {train: a.bin, seq_len: 32768}\n"
           "train: {micro_batch_size: 4, global_batch_size: 16777216, max_steps: 1_000_000_000}\n" OPTIM,
     ":3:70: train.max_steps: the run would read 5.5e+20 tokens"},
};

START_TEST(a_bad_job_is_refused_where_it_is_wrong)
{
    struct outcome outcome = outcome_of(bad_jobs[_i].yaml);
    char expected[512];
    snprintf(expected, sizeof expected, "runs/job.yaml%s", bad_jobs[_i].expected);
    const char *errors = outcome.report.errors.data;
    ck_assert_int_eq(outcome.status, MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_null(outcome.job);
    ck_assert_msg(strncmp(errors, expected, strlen(expected)) == 0, "expected %s\nread     %s", expected,
                  errors);
    ck_assert_msg(outcome.report.error_count == 1, "%d errors:\n%s", outcome.report.error_count, errors);
    ck_assert_msg(strncmp(outcome.err.text, expected, strlen(expected)) == 0, "%s", outcome.err.text);
    outcome_release(&outcome);
}
END_TEST

START_TEST(all_errors_are_reported_at_once_by_line)
{
    static const char yaml[] = "scheduler:\n"
                               "  warmup_steps: many\n"
                               "model:\n"
                               "  type: gpt\n"
                               "  num_layer: 12\n"
                               "  hidden_size: 100\n"
                               "  num_heads: 12\n"
                               "  vocab_size: 1e3\n"
                               "data:\n"
                               "  train: [a, {path: b, weigth: 3}]\n"
                               "train:\n"
                               "  micro_batch_size: 3\n"
                               "  global_batch_size: 32\n"
                               "  train_iters: 100\n"
                               "optimizer: {lr: &x 1}\n";
    static const char expected[] =
        "runs/job.yaml:2:17: scheduler.warmup_steps: expected a whole number, read \"many\"\n"
        "runs/job.yaml:5:3: model.num_layer: unknown key; did you mean num_layers?\n"
        "runs/job.yaml:7:14: model.num_heads: 12 does not divide hidden_size 100; it would divide 96 and "
        "108\n"
        "runs/job.yaml:9:1: data.seq_len: is required, but missing\n"
        "runs/job.yaml:10:24: data.train[1]: unknown key \"weigth\"; did you mean weight?\n"
        "runs/job.yaml:13:22: train.global_batch_size: 32 is not a multiple of micro_batch_size 3; the "
        "nearest are "
        "30 and 33\n"
        "runs/job.yaml:15:17: anchor \"x\": job files have no anchors, aliases or tags; write the value "
        "out\n";
    struct outcome outcome = outcome_of(yaml);
    ck_assert_str_eq(outcome.report.errors.data, expected);
    ck_assert_int_eq(outcome.report.error_count, 7);
    ck_assert_str_eq(outcome.report.notes.data,
                     "runs/job.yaml:14:3: train.train_iters is read as train.max_steps\n");
    ck_assert_ptr_nonnull(strstr(outcome.err.text, "(and 6 more errors)"));
    outcome_release(&outcome);
}
END_TEST

START_TEST(hundreds_of_errors_are_cut_short_and_counted)
{
    struct text yaml;
    text_init(&yaml);
    for (int i = 0; i < 150; i++)
        text_print(&yaml, "unknown_%d: 1\n", i);
    text_print(&yaml, "%s", MODEL DATA TRAIN OPTIM);
    struct outcome outcome = outcome_of(yaml.data);
    ck_assert_int_eq(outcome.report.error_count, 150);
    ck_assert_ptr_nonnull(strstr(outcome.report.errors.data, "runs/job.yaml: and 50 more errors\n"));
    outcome_release(&outcome);
    text_release(&yaml);
}
END_TEST

START_TEST(a_billion_laughs_are_refused_without_being_expanded)
{
    struct text yaml;
    text_init(&yaml);
    text_print(&yaml, "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for (int i = 1; i < 12; i++)
        text_print(&yaml, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    int64_t calls = alloc_call_count();
    struct outcome outcome = outcome_of(yaml.data);
    ck_assert_int_eq(outcome.status, MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(outcome.report.errors.data, "runs/job.yaml:2:10: alias \"a0\""));
    ck_assert_int_lt(alloc_call_count() - calls, 1000);
    outcome_release(&outcome);
    text_release(&yaml);
}
END_TEST

START_TEST(nesting_is_limited)
{
    for (int depth = 31; depth <= 5000; depth = depth == 31 ? 32 : 5000) {
        struct text yaml;
        text_init(&yaml);
        text_print(&yaml, "a: ");
        for (int i = 0; i < depth; i++)
            text_print(&yaml, "[");
        for (int i = 0; i < depth; i++)
            text_print(&yaml, "]");
        struct outcome outcome = outcome_of(yaml.data);
        bool refused = strstr(outcome.report.errors.data, ":1:35: nested deeper than 32 levels") != NULL;
        ck_assert_msg(refused == (depth > 31), "depth %d: %s", depth, outcome.report.errors.data);
        outcome_release(&outcome);
        text_release(&yaml);
        if (depth == 5000)
            break;
    }
}
END_TEST

START_TEST(the_number_of_values_is_limited)
{
    for (int count = 9997; count <= 9998; count++) { /* and the mapping, its key and the list */
        struct text yaml;
        text_init(&yaml);
        text_print(&yaml, "a: [");
        for (int i = 0; i < count; i++)
            text_print(&yaml, "1,");
        text_print(&yaml, "]\n");
        struct outcome outcome = outcome_of(yaml.data);
        bool refused = strstr(outcome.report.errors.data, "more than 10000 values in one file") != NULL;
        ck_assert_msg(refused == (count == 9998), "%s", outcome.report.errors.data);
        outcome_release(&outcome);
        text_release(&yaml);
    }
}
END_TEST

START_TEST(the_size_of_a_file_is_limited)
{
    static const char job[] = MODEL DATA TRAIN OPTIM "#";
    size_t bytes = (1 << 20) + 1;
    char *yaml = alloc_zeroed(bytes, 1);
    memset(yaml, ' ', bytes);
    memcpy(yaml, job, sizeof job - 1);
    struct outcome outcome = outcome_of_bytes(yaml, bytes - 1);
    ck_assert_msg(outcome.status == MUSTER_OK, "%s", outcome.err.text);
    outcome_release(&outcome);
    outcome = outcome_of_bytes(yaml, bytes);
    ck_assert_int_eq(outcome.status, MUSTER_ERR_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(outcome.report.errors.data, "runs/job.yaml: larger than 1048576 bytes"));
    outcome_release(&outcome);
    alloc_free(yaml);
}
END_TEST

START_TEST(a_job_that_can_not_be_read_is_the_callers_mistake)
{
    struct outcome outcome = {0};
    job_report_init(&outcome.report);
    outcome.status = job_load("no/such/job.yaml", NULL, &outcome.report, &outcome.job, &outcome.err);
    ck_assert_int_eq(outcome.status, MUSTER_ERR_BAD_INPUT);
    ck_assert_int_eq(outcome.report.error_count, 1);
    ck_assert_ptr_nonnull(strstr(outcome.report.errors.data, "no/such/job.yaml: No such file"));
    outcome_release(&outcome);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job_errors");
    TCase *tests = tcase_create("job_errors");
    tcase_add_loop_test(tests, a_bad_job_is_refused_where_it_is_wrong, 0,
                        sizeof bad_jobs / sizeof bad_jobs[0]);
    tcase_add_test(tests, all_errors_are_reported_at_once_by_line);
    tcase_add_test(tests, hundreds_of_errors_are_cut_short_and_counted);
    tcase_add_test(tests, a_billion_laughs_are_refused_without_being_expanded);
    tcase_add_test(tests, nesting_is_limited);
    tcase_add_test(tests, the_number_of_values_is_limited);
    tcase_add_test(tests, the_size_of_a_file_is_limited);
    tcase_add_test(tests, a_job_that_can_not_be_read_is_the_callers_mistake);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
