/* SPDX-License-Identifier: MIT
 *
 * The program as a person meets it: the real binary, its words, what it says where, and its exit codes.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/coordinator/program.h"
#include "tests/suite.h"

static const char good_job[] = "name: good\n"
                               "model: {type: gpt, num_layers: 1, hidden_size: 16, num_heads: 2, "
                               "vocab_size: 256}\n"
                               "data: {format: bytes, train: text.txt, seq_len: 16}\n"
                               "train: {micro_batch_size: 1, global_batch_size: 4, max_steps: 10}\n"
                               "optimizer: {lr: 1e-3}\n";
static const char image_job[] = "name: images\n"
                                "model: {type: mlp, num_layers: 1, hidden_size: 16, num_classes: 10}\n"
                                "data: {format: idx, train: no-such-images}\n"
                                "train: {micro_batch_size: 1, global_batch_size: 4, max_steps: 10}\n"
                                "optimizer: {lr: 1e-3}\n";

static struct program_result result;

static void write_text(void)
{
    char text[2001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    program_write("text.txt", text);
}

static void setup(void)
{
    program_folder_enter();
    program_write("good.yaml", good_job);
    write_text();
}

#define muster(exit_code, ...) program_muster(&result, exit_code, (const char *const[]){__VA_ARGS__, NULL})

static void teardown(void)
{
    program_release(&result);
    program_folder_leave();
}

START_TEST(every_verb_explains_itself_with_an_example)
{
    static const char *const verbs[] = {"check", "plan", "run",      "submit", "status", "cancel",
                                        "ckpt",  "data", "generate", "scale",  "bench",  "doctor"};
    enum { COUNT = sizeof verbs / sizeof verbs[0] };
    char usage[32];
    muster(0, "--help");
    for (int i = 0; i < COUNT; i++)
        program_expect(&result.out, verbs[i]);
    for (int i = 0; i < COUNT; i++) {
        muster(0, verbs[i], "--help");
        snprintf(usage, sizeof usage, "usage: muster %s ", verbs[i]);
        program_expect(&result.out, usage);
        program_expect(&result.out, "example:\n  muster ");
        program_expect(&result.out, "exit codes:");
        ck_assert_str_eq(result.err.data, "");
    }
    muster(0, "help");
    muster(0, "help", "plan");
    program_expect(&result.out, "usage: muster plan ");
    muster(2, "help", "plans");
    program_expect(&result.err, "did you mean plan?");
    muster(0, "--version");
    program_expect(&result.out, "muster ");
}
END_TEST

START_TEST(a_misspelt_verb_or_option_is_met_with_the_right_one)
{
    muster(2, "chekc");
    program_expect(&result.err, "did you mean check?");
    muster(2, "plan", "good.yaml", "--tensor");
    program_expect(&result.err, "did you mean --tensors?");
    muster(2, "ckpt", "verfiy", ".");
    program_expect(&result.err, "did you mean verify?");
    muster(2, "data", "info", "--format", "llmcc", "text.txt");
    program_expect(&result.err, "did you mean llmc?");
    muster(2, "run", "good.yaml", "--zzz");
    program_expect(&result.err, "unknown option --zzz\n");
    ck_assert_ptr_null(strstr(result.err.data, "did you mean"));
    ck_assert_str_eq(result.out.data, "");
}
END_TEST

START_TEST(wrong_words_are_refused_and_named)
{
    muster(2, "plan", "good.yaml", "-n", "none");
    program_expect(&result.err, "--ranks: \"none\" is not a whole number from 1 to 65536");
    muster(2, "plan", "good.yaml", "-n0");
    muster(2, "plan", "good.yaml", "--json=yes");
    program_expect(&result.err, "--json takes no value");
    muster(2, "plan", "good.yaml", "--ranks");
    program_expect(&result.err, "--ranks needs a value");
    muster(2, "plan");
    program_expect(&result.err, "the job file is missing");
    muster(2, "check", "good.yaml", "other.yaml");
    program_expect(&result.err, "\"other.yaml\" is one word too many");
    muster(2, "generate", ".", "--temperature", "nan");
    muster(2, "data", "prepare", "text.txt");
    program_expect(&result.err, "--output DIR is missing");
}
END_TEST

START_TEST(a_good_job_is_called_good)
{
    muster(0, "check", "good.yaml");
    program_expect(&result.out, "ok: good.yaml: good, 10 steps of 4 samples, on up to 4 ranks\n");
    ck_assert_str_eq(result.err.data, "");
}
END_TEST

START_TEST(every_error_of_a_job_and_its_data_is_told_at_once)
{
    program_write("bad.yaml", "name: bad\nmodel: {type: gtp, hidden_size: -1}\nsede: 3\n");
    muster(2, "check", "bad.yaml");
    ck_assert_str_eq(result.out.data, "");
    program_expect(&result.err, "bad.yaml:2:");
    program_expect(&result.err, "gpt");
    program_expect(&result.err, "model.hidden_size");
    program_expect(&result.err, "bad.yaml:3:1: sede");
    ck_assert_int_eq(unlink("text.txt"), 0);
    muster(2, "check", "good.yaml");
    program_expect(&result.err, "text.txt");
    program_expect(&result.err, "1 error in good.yaml");
    muster(2, "run", "good.yaml");
    program_expect(&result.err, "text.txt");
    muster(2, "check", "no-such-job.yaml");
    program_expect(&result.err, "no-such-job.yaml");
}
END_TEST

START_TEST(a_word_of_the_command_line_is_as_good_as_a_line_of_the_file)
{
    muster(0, "check", "good.yaml", "--set", "train.max_steps=5", "--set=name=other");
    program_expect(&result.out, "ok: good.yaml: other, 5 steps of 4 samples");
    muster(2, "check", "good.yaml", "--set", "train.stesp=5");
    program_expect(&result.err,
                   "--set train.stesp=5: train.stesp: unknown key; did you mean train.max_steps?");
    muster(0, "plan", "good.yaml", "--set", "parallel.logical_workers=2", "-n2");
    muster(2, "plan", "good.yaml", "--set", "parallel.logical_workers=2", "-n3");
    muster(0, "run", "good.yaml", "--dry-run", "--set", "name=a b", "--set", "data.train=[text.txt]", "-n2");
    program_expect(&result.out, " good.yaml --set 'name=a b' --set 'data.train=[text.txt]'\n");
    muster(0, "submit", "good.yaml", "--dry-run", "--set", "name=$(x) 'y z", "--set", "slurm.nodes=2");
    program_expect(&result.out, "#SBATCH --nodes=2\n");
    program_expect(&result.out, " --set 'name=$(x) '\\''y z' --set slurm.nodes=2 --requeue\n");
    muster(2, "submit", "good.yaml", "--dry-run", "--set", "data.train=[text.txt,\ntext.txt]");
    program_expect(&result.err, "--set: a line break");
    muster(2, "status", "good.yaml", "--set", "output_dir=[a]");
    program_expect(&result.err, "--set output_dir=[a]: output_dir: expected a text, read a list");
    muster(2, "status", "good.yaml");
    program_expect(&result.err, "no run was submitted or started there");
    muster(2, "run", "good.yaml", "train.max_steps=5");
    program_expect(&result.err, "one word too many; a key of the job is set by --set train.max_steps=5\n");
    muster(2, "run", "good.yaml", "--train.max_steps=5");
    program_expect(&result.err,
                   "unknown option --train.max_steps=5; a key of the job is set by --set KEY=VALUE\n");
    muster(2, "run", "good.yaml", "--set");
    program_expect(&result.err, "--set needs a value");
}
END_TEST

START_TEST(a_resolved_job_is_a_job)
{
    muster(0, "check", "--resolved", "good.yaml");
    program_expect(&result.out, "max_steps: 10");
    program_expect(&result.out, "weight_decay:");
    program_write("resolved.yaml", result.out.data);
    muster(0, "check", "resolved.yaml");
    muster(0, "check", "--reference");
    program_expect(&result.out, "global_batch_size");
}
END_TEST

START_TEST(a_plan_is_said_for_people_and_for_programs)
{
    muster(0, "plan", "good.yaml", "-np", "3");
    program_expect(&result.out, "on 3 ranks");
    muster(0, "plan", "good.yaml", "-n", "3", "--threads=2");
    program_expect(&result.out, "on 3 ranks of 2 threads");
    ck_assert_ptr_null(strstr(result.out.data, "lives (operations)"));
    muster(0, "plan", "good.yaml", "-n3", "--tensors");
    program_expect(&result.out, "lives (operations)");
    muster(0, "plan", "--json", "good.yaml", "-n", "3");
    json_t *plan = json_loads(result.out.data, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(plan);
    ck_assert_int_eq(json_integer_value(json_object_get(plan, "ranks")), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(plan, "memory")), 3);
    json_decref(plan);
    muster(2, "plan", "good.yaml", "-n", "5");
    program_expect(&result.err, "5 ranks but parallel.logical_workers is 4");
    ck_assert_str_eq(result.out.data, "");
}
END_TEST

START_TEST(a_plan_needs_data_only_where_they_decide_the_shape)
{
    ck_assert_int_eq(unlink("text.txt"), 0);
    muster(0, "plan", "good.yaml");
    program_write("images.yaml", image_job);
    muster(2, "plan", "images.yaml");
    program_expect(&result.err, "no-such-images");
}
END_TEST

START_TEST(hostile_names_stay_words)
{
    static const char name[] = "job $(touch x); `touch y` 'z'.yaml";
    static const char quoted[] = "'job $(touch x); `touch y` '\\''z'\\''.yaml' --resume './-a b'\n";
    program_write(name, good_job);
    muster(0, "run", name, "-n", "2", "--resume", "-a b", "--dry-run", "--", "--tag-output");
    program_expect(&result.out, "mpirun -n 2 --tag-output ");
    program_expect(&result.out, quoted);
    program_expect(&result.out, "on 2 ranks");
    program_write("-n", good_job);
    muster(0, "run", "--dry-run", "./-n");
    program_expect(&result.out, " ./-n\n");
    ck_assert(!fs_exists("x") && !fs_exists("y"));
    ck_assert(!fs_exists("out"));
}
END_TEST

START_TEST(too_many_ranks_are_refused_before_anything_starts)
{
    muster(2, "run", "good.yaml", "-n", "5", "--dry-run");
    program_expect(&result.err, "5 ranks but parallel.logical_workers is 4");
    ck_assert_ptr_null(strstr(result.out.data, "mpirun"));
}
END_TEST

START_TEST(text_becomes_shards_that_describe_themselves)
{
    muster(0, "data", "prepare", "--output", "shards", "--val-fraction", "0", "text.txt");
    ck_assert(fs_exists("shards/train.bin") && !fs_exists("shards/val.bin"));
    muster(0, "data", "info", "--seq-len", "100", "shards/train.bin");
    program_expect(&result.out, "format:        llmc\n");
    program_expect(&result.out, "2000");
    muster(1, "data", "info", "no-such-file");
    program_expect(&result.err, "no-such-file");
}
END_TEST

START_TEST(a_check_says_what_a_job_names_that_is_not_there)
{
    struct text job;
    text_init(&job);
    text_print(&job, "%smachine: {profile: h200-nrd}\n", good_job);
    program_write("misspelt.yaml", job.data);
    muster(2, "check", "misspelt.yaml");
    program_expect(&result.err,
                   "misspelt.yaml:6:20: machine.profile: no machine profile \"h200-nrd\"; did you "
                   "mean h200-ndr?");
    text_clear(&job);
    text_print(&job, "%smachine: {profile: far/away.yaml}\ncheckpoint: {resume: far/step-000000010}\n",
               good_job);
    program_write("elsewhere.yaml", job.data);
    muster(0, "check", "elsewhere.yaml");
    program_expect(&result.out,
                   "elsewhere.yaml:6:20: machine.profile: WARNING: there is no far/away.yaml on this host");
    program_expect(
        &result.out,
        "elsewhere.yaml:7:22: checkpoint.resume: WARNING: there is no far/step-000000010 on this host");
    program_expect(&result.out, "ok: elsewhere.yaml");
    muster(2, "check", "good.yaml", "--set", "checkpoint.resume=text.txt");
    program_expect(&result.err, "--set checkpoint.resume: ");
    program_expect(&result.err, "give a checkpoint's folder");
    muster(2, "check", "misspelt.yaml", "--set", "data.train=nowhere.bin");
    program_expect(&result.err, "nowhere.bin");
    program_expect(&result.err, "muster check: 2 errors in misspelt.yaml");
    muster(0, "check", "good.yaml", "--set", "train.precision=fp16", "--set", "device=auto");
    program_expect(&result.out, "train.precision fp16 needs a GPU for each rank");
    text_release(&job);
}
END_TEST

START_TEST(a_folder_without_checkpoints_is_bad_input)
{
    static const char *const actions[] = {"ls", "verify", "hash"};
    for (int i = 0; i < 3; i++) {
        muster(2, "ckpt", actions[i], ".");
        program_expect(&result.err, "muster ckpt: ");
    }
    muster(2, "ckpt", "ls");
    muster(2, "ckpt");
}
END_TEST

START_TEST(an_output_that_cannot_be_written_is_a_failure)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char program[FS_PATH_MAX];
    ck_assert_int_ge(full, 0);
    snprintf(program, sizeof program, "%s/muster", getenv("MUSTER_BIN"));
    program_release(&result);
    program_run_to(&result, full, (const char *const[]){program, "plan", "good.yaml", NULL});
    ck_assert_int_eq(result.exit_code, 1);
    program_expect(&result.err, "No space left on device");
    close(full);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli");
    TCase *cases = tcase_create("cli");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, every_verb_explains_itself_with_an_example);
    tcase_add_test(cases, a_misspelt_verb_or_option_is_met_with_the_right_one);
    tcase_add_test(cases, wrong_words_are_refused_and_named);
    tcase_add_test(cases, a_good_job_is_called_good);
    tcase_add_test(cases, every_error_of_a_job_and_its_data_is_told_at_once);
    tcase_add_test(cases, a_word_of_the_command_line_is_as_good_as_a_line_of_the_file);
    tcase_add_test(cases, a_resolved_job_is_a_job);
    tcase_add_test(cases, a_plan_is_said_for_people_and_for_programs);
    tcase_add_test(cases, a_plan_needs_data_only_where_they_decide_the_shape);
    tcase_add_test(cases, hostile_names_stay_words);
    tcase_add_test(cases, too_many_ranks_are_refused_before_anything_starts);
    tcase_add_test(cases, text_becomes_shards_that_describe_themselves);
    tcase_add_test(cases, a_check_says_what_a_job_names_that_is_not_there);
    tcase_add_test(cases, a_folder_without_checkpoints_is_bad_input);
    tcase_add_test(cases, an_output_that_cannot_be_written_is_a_failure);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
