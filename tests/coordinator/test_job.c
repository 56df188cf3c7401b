/* SPDX-License-Identifier: MIT
 *
 * What other parts rely on in a good job: defaults, the resolved job that reads back the same, the hash that
 * changes with what shapes the result and with nothing else. Files that are wrong are in test_job_errors.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job.h"
#include "coordinator/job/job_fields.h"
#include "coordinator/job/job_value.h"
#include "tests/coordinator/job_outcome.h"
#include "tests/suite.h"

static struct job *job_of(const char *yaml)
{
    struct outcome outcome = outcome_of(yaml);
    ck_assert_msg(outcome.status == MUSTER_OK, "%s", outcome.report.errors.data);
    job_report_release(&outcome.report);
    return outcome.job;
}

START_TEST(a_short_job_gets_every_default)
{
    struct job *job = job_of(MODEL DATA TRAIN OPTIM);
    ck_assert_str_eq(job->name, "job");
    ck_assert_str_eq(job->output_dir, "out/job");
    ck_assert_str_eq(job->checkpoint.dir, "out/job/checkpoints");
    ck_assert_str_eq(job->checkpoint.resume, "auto");
    ck_assert_int_eq(job->seed, 1337);
    ck_assert_int_eq(job->model.num_kv_heads, 4);
    ck_assert_int_eq(job->model.ffn_hidden_size, 256);
    ck_assert(job->model.tie_embeddings);
    ck_assert_double_eq(job->model.norm_eps, 1e-5);
    ck_assert_int_eq(job->parallel.logical_workers, 8);
    ck_assert_int_eq(job->parallel.reduce, JOB_REDUCE_EXACT);
    ck_assert_int_eq(job->optimizer.type, JOB_OPTIMIZER_ADAMW);
    ck_assert_double_eq(job->optimizer.beta2, 0.95);
    ck_assert_int_eq(job->scheduler.type, JOB_SCHEDULER_COSINE);
    ck_assert_double_eq(job->train.grad_clip, 1);
    ck_assert_int_eq(job->checkpoint.keep_last, 3);
    ck_assert_int_eq(job->eval.iters, 20);
    ck_assert(job->data.shuffle && job->logging.jsonl);
    ck_assert_int_eq(job->data.train.count, 1);
    ck_assert_str_eq(job->data.train.items[0].path, "a.bin");
    ck_assert_int_eq(job->data.val.count, 0);
    job_destroy(job);
}
END_TEST

START_TEST(a_llama_gets_a_llamas_defaults)
{
    struct job *job = job_of("model: {type: llama, num_layers: 2, hidden_size: 4096, num_heads: 32, "
                             "num_kv_heads: 8, vocab_size: 256}\n" DATA TRAIN OPTIM);
    ck_assert_int_eq(job->model.ffn_hidden_size, 10944);
    ck_assert_int_eq(job->model.num_kv_heads, 8);
    ck_assert(!job->model.tie_embeddings);
    job_destroy(job);
    job = job_of(
        "model: {type: llama, num_layers: 2, hidden_size: 100, num_heads: 2, vocab_size: 9}\n" DATA TRAIN
            OPTIM);
    ck_assert_int_eq(job->model.ffn_hidden_size, 320); /* above 266.7 */
    job_destroy(job);
}
END_TEST

START_TEST(an_mlp_has_no_heads_and_a_sequence_of_one)
{
    struct job *job = job_of(MLP "data: {train: {path: images, labels: labels}}\n" TRAIN OPTIM);
    struct model_config config = job_model_config(job);
    ck_assert_int_eq(config.type, MODEL_MLP);
    ck_assert_int_eq(config.num_layers, 2);
    ck_assert_int_eq(config.hidden_size, 64);
    ck_assert_int_eq(config.vocab_size, 10);
    ck_assert_int_eq(config.num_heads, 0);
    ck_assert_int_eq(config.num_kv_heads, 0);
    ck_assert_int_eq(config.ffn_hidden_size, 0);
    ck_assert_int_eq(config.seq_len, 1);
    ck_assert_int_eq(config.input_size, 0);
    ck_assert_str_eq(job->data.train.items[0].labels, "labels");
    job_destroy(job);
}
END_TEST

START_TEST(logical_workers_default_to_a_power_of_two_that_divides_the_slots)
{
    static const struct {
        const char *global;
        int64_t workers;
    } cases[] = {{"1", 1}, {"6", 2}, {"7", 1}, {"48", 16}, {"64", 64}, {"256", 64}, {"96", 32}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char yaml[1024];
        snprintf(yaml, sizeof yaml,
                 MODEL DATA OPTIM "train: {micro_batch_size: 1, global_batch_size: %s, max_steps: 9}\n",
                 cases[i].global);
        struct job *job = job_of(yaml);
        ck_assert_int_eq(job->parallel.logical_workers, cases[i].workers);
        job_destroy(job);
    }
}
END_TEST

START_TEST(numbers_and_truth_values_are_read_as_yaml_1_1_writes_them)
{
    struct job *job =
        job_of(MODEL "data: {train: a, seq_len: +3_2, shuffle: OFF}\n"
                     "train: {micro_batch_size: 4.0, global_batch_size: 1_000, max_steps: 1e5}\n"
                     "optimizer: {lr: 6e-4, weight_decay: .5, eps: 1.0E-7}\n"
                     "logging: {jsonl: No}\n");
    ck_assert_int_eq(job->data.seq_len, 32);
    ck_assert(!job->data.shuffle && !job->logging.jsonl);
    ck_assert_int_eq(job->train.micro_batch_size, 4);
    ck_assert_int_eq(job->train.global_batch_size, 1000);
    ck_assert_int_eq(job->train.max_steps, 100000);
    ck_assert_double_eq(job->optimizer.lr, 6e-4);
    ck_assert_double_eq(job->optimizer.weight_decay, 0.5);
    ck_assert_double_eq(job->optimizer.eps, 1e-7);
    job_destroy(job);
}
END_TEST

START_TEST(other_trainers_key_names_are_read_with_a_note)
{
    struct outcome outcome =
        outcome_of("model: {type: llama, num_hidden_layers: 2, n_embd: 64, num_attention_heads: 4, "
                   "vocab_size: 9, rope_theta: 5}\n"
                   "data: {train: a, block_size: 32}\n"
                   "train: {micro_batch_size: 4, global_batch_size: 8, train_iters: 100, clip_grad: 2,\n"
                   "        gradient_checkpointing: full}\n"
                   "optimizer: {learning_rate: 1e-3, adam_beta1: 0.8}\n"
                   "lr_scheduler: {lr_warmup_iters: 3}\n"
                   "checkpoint: {save_steps: 5, save_total_limit: 4}\n");
    const struct job *job = outcome.job;
    ck_assert_msg(job != NULL, "%s", outcome.report.errors.data);
    ck_assert_int_eq(job->model.num_layers, 2);
    ck_assert_double_eq(job->model.rope_base, 5);
    ck_assert_int_eq(job->data.seq_len, 32);
    ck_assert_int_eq(job->train.max_steps, 100);
    ck_assert_double_eq(job->train.grad_clip, 2);
    ck_assert_int_eq(job->train.recompute, RECOMPUTE_FULL);
    ck_assert_double_eq(job->optimizer.beta1, 0.8);
    ck_assert_int_eq(job->scheduler.warmup_steps, 3);
    ck_assert_int_eq(job->checkpoint.save_interval, 5);
    ck_assert_int_eq(job->checkpoint.keep_last, 4);
    static const char *const notes[] = {
        "runs/job.yaml:2:18: data.block_size is read as data.seq_len\n",
        "runs/job.yaml:3:52: train.train_iters is read as train.max_steps\n",
        "runs/job.yaml:6:1: section lr_scheduler is read as scheduler\n",
        "runs/job.yaml:6:16: scheduler.lr_warmup_iters is read as scheduler.warmup_steps\n",
    };
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++)
        ck_assert_msg(strstr(outcome.report.notes.data, notes[i]) != NULL, "%s", outcome.report.notes.data);
    outcome_release(&outcome);
}
END_TEST

START_TEST(a_key_the_type_does_not_use_is_noted_and_ignored)
{
    struct outcome outcome = outcome_of(MODEL DATA TRAIN "optimizer: {lr: 1e-3, momentum: 0.5}\n");
    ck_assert_msg(outcome.job != NULL, "%s", outcome.report.errors.data);
    ck_assert_ptr_nonnull(
        strstr(outcome.report.notes.data,
               "runs/job.yaml:4:33: optimizer.momentum is not used with optimizer.type adamw\n"));
    struct job *plain = job_of(MODEL DATA TRAIN OPTIM);
    ck_assert_double_eq(outcome.job->optimizer.momentum, plain->optimizer.momentum);
    ck_assert(hash_equal(job_hash(outcome.job), job_hash(plain)));
    job_destroy(plain);
    outcome_release(&outcome);
}
END_TEST

/* Jobs that use every type and every kind of value. */
static const char *const good_jobs[] = {
    MODEL DATA TRAIN OPTIM,
    MLP "data: {train: [{path: a, labels: b, weight: 0.1}, {path: c, weight: 3e-7}]}\n" TRAIN
        "optimizer: {type: sgd, lr: 0.3, momentum: 0.123456789012345678, nesterov: on}\n"
        "scheduler: {type: constant}\n",
    "model: {type: llama, num_layers: 2, hidden_size: 64, num_heads: 4, num_kv_heads: 2, vocab_size: 256,\n"
    "        ffn_hidden_size: 100, dropout: 0.1, rope_base: 5e5, tie_embeddings: yes}\n"
    "data: {train: ['a \"b\" \\c', \"d: # e, [é]\"], val: v, format: u16, seq_len: 32}\n" TRAIN OPTIM
    "scheduler: {type: wsd, decay_steps: 10}\nparallel: {logical_workers: 4, reduce: fast}\neval: {interval: "
    "7}\n"
    "name: \"\\\"q\\\" \\\\ '\"\n",
};

START_TEST(a_resolved_job_reads_back_as_the_same_job)
{
    struct text first, second;
    text_init(&first);
    text_init(&second);
    struct job *job = job_of(good_jobs[_i]);
    ck_assert_int_eq(job_write_yaml(job, &first, NULL), MUSTER_OK);
    struct job *again = job_of(first.data);
    ck_assert_int_eq(job_write_yaml(again, &second, NULL), MUSTER_OK);
    ck_assert_str_eq(first.data, second.data);
    ck_assert(hash_equal(job_hash(job), job_hash(again)));
    ck_assert_str_eq(job->name, again->name);
    ck_assert_str_eq(job->data.train.items[0].path, again->data.train.items[0].path);
    ck_assert(job->data.train.items[0].weight == again->data.train.items[0].weight);
    ck_assert(job->optimizer.momentum == again->optimizer.momentum);
    ck_assert_int_eq(job->parallel.logical_workers, again->parallel.logical_workers);
    job_destroy(job);
    job_destroy(again);
    text_release(&first);
    text_release(&second);
}
END_TEST

/* `base` and `other` are the same job, or not, to the hash. */
static void hash_compare(const char *base, const char *other, bool equal)
{
    struct job *a = job_of(base), *b = job_of(other);
    ck_assert_msg(hash_equal(job_hash(a), job_hash(b)) == equal, "%s\n---\n%s", base, other);
    job_destroy(a);
    job_destroy(b);
}

START_TEST(the_hash_ignores_how_a_job_is_written_and_what_does_not_shape_it)
{
    static const char base[] = MODEL DATA TRAIN OPTIM;
    static const char *const same[] = {
        OPTIM TRAIN DATA MODEL,
        "# a comment\n" MODEL "\n" DATA TRAIN OPTIM "# another\n",
        MODEL DATA TRAIN "optimizer:\n  learning_rate: 0.001\n  beta1: 0.90\n",
        MODEL DATA
        "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 1_00, recompute: full}\n" OPTIM,
        MODEL DATA TRAIN OPTIM "name: other\noutput_dir: elsewhere\n",
        MODEL DATA TRAIN OPTIM "parallel: {logical_workers: 8, threads: 3, bucket_mb: 1}\n",
        MODEL DATA TRAIN OPTIM "checkpoint: {save_interval: 3}\nlogging: {interval: 1}\n",
        MODEL "data: {train: a.bin, seq_len: 32, prefetch: 9, val: v}\neval: {interval: 5}\n" TRAIN OPTIM,
        MODEL DATA TRAIN OPTIM "scheduler: {decay_steps: 100}\n",
        MODEL DATA "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 50}\n" OPTIM
                   "scheduler: {decay_steps: 100}\n",
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        hash_compare(base, same[i], true);
}
END_TEST

START_TEST(the_hash_follows_the_end_of_the_decay_not_the_length_of_the_run)
{
#define LONGER "train: {micro_batch_size: 4, global_batch_size: 32, max_steps: 200}\n"
    hash_compare(MODEL DATA TRAIN OPTIM, MODEL DATA LONGER OPTIM, false);
    hash_compare(MODEL DATA TRAIN OPTIM "scheduler: {type: constant}\n",
                 MODEL DATA LONGER OPTIM "scheduler: {type: constant}\n", true);
    hash_compare(MODEL DATA TRAIN OPTIM "scheduler: {decay_steps: 90}\n",
                 MODEL DATA LONGER OPTIM "scheduler: {decay_steps: 90}\n", true);
    hash_compare(MODEL DATA TRAIN OPTIM "scheduler: {type: wsd, decay_steps: 9}\n",
                 MODEL DATA LONGER OPTIM "scheduler: {type: wsd, decay_steps: 9}\n", false);
    hash_compare(MODEL DATA TRAIN OPTIM "scheduler: {type: wsd, decay_steps: 9}\n",
                 MODEL DATA TRAIN OPTIM "scheduler: {type: wsd, decay_steps: 8}\n", false);
    hash_compare(MODEL DATA TRAIN OPTIM "scheduler: {type: wsd, decay_steps: 20}\n",
                 MODEL DATA TRAIN OPTIM "scheduler: {type: wsd}\n", true);
    hash_compare(MODEL DATA TRAIN OPTIM "scheduler: {warmup_steps: 10, decay_steps: 90}\n",
                 MODEL DATA TRAIN OPTIM "scheduler: {warmup_steps: 10}\n", true);
#undef LONGER
}
END_TEST

/* The keys whose value shapes the result, beside data.train and scheduler.decay_steps (tested above). */
static const char *const shaping_keys[] = {
    "seed",
    "model.type",
    "model.num_layers",
    "model.hidden_size",
    "model.num_heads",
    "model.num_kv_heads",
    "model.ffn_hidden_size",
    "model.vocab_size",
    "model.dropout",
    "model.norm_eps",
    "model.rope_base",
    "model.init_std",
    "model.tie_embeddings",
    "data.format",
    "data.seq_len",
    "data.shuffle",
    "train.micro_batch_size",
    "train.global_batch_size",
    "train.precision",
    "train.grad_clip",
    "optimizer.type",
    "optimizer.lr",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.momentum",
    "optimizer.nesterov",
    "scheduler.type",
    "scheduler.warmup_steps",
    "scheduler.min_lr",
    "parallel.logical_workers",
    "parallel.reduce",
    "train.allow_tf32",
    "train.loss_scale",
    "train.initial_loss_scale",
    "train.loss_scale_window",
};

static bool key_shapes(const char *key)
{
    for (size_t i = 0; i < sizeof shaping_keys / sizeof shaping_keys[0]; i++) {
        if (strcmp(shaping_keys[i], key) == 0)
            return true;
    }
    return false;
}

/* Gives a field another value of its type; false for texts and lists. */
static bool field_change(const struct job_field *field, struct job *job)
{
    char *place = (char *)job + field->offset;
    switch (field->type) {
    case JOB_FIELD_INT:
        *(int64_t *)(void *)place += 1;
        return true;
    case JOB_FIELD_REAL:
        *(double *)(void *)place += 1e-9;
        return true;
    case JOB_FIELD_BOOL:
        *(bool *)(void *)place = !*(bool *)(void *)place;
        return true;
    case JOB_FIELD_ENUM:
        *(int *)(void *)place = *(int *)(void *)place == 0 ? 1 : 0;
        return true;
    default:
        return false;
    }
}

START_TEST(the_hash_changes_with_each_key_that_shapes_the_result_and_with_no_other)
{
    /* Llamas trained with sgd, with adamw and in fp16 use every key between them. */
    static const char *const jobs[] = {
        "model: {type: llama, num_layers: 2, hidden_size: 64, num_heads: 4, vocab_size: 256}\n" DATA TRAIN
            OPTIM,
        "model: {type: llama, num_layers: 2, hidden_size: 64, num_heads: 4, vocab_size: 256}\n" DATA TRAIN
        "optimizer: {type: sgd, lr: 1e-3}\n",
        "model: {type: llama, num_layers: 2, hidden_size: 64, num_heads: 4, vocab_size: 256}\n" DATA
        "train: {micro_batch_size: 2, global_batch_size: 8, max_steps: 10, precision: fp16}\n" OPTIM,
    };
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        char key[JOB_KEY_SIZE];
        bool changed = false, changeable = false;
        job_field_key(field, key);
        if (strcmp(key, "scheduler.decay_steps") == 0 || strcmp(key, "train.max_steps") == 0)
            continue;
        for (size_t j = 0; j < sizeof jobs / sizeof jobs[0]; j++) {
            struct job *job = job_of(jobs[j]);
            struct hash128 before = job_hash(job);
            changeable = field_change(field, job);
            changed |= !hash_equal(before, job_hash(job));
            job_destroy(job);
        }
        if (changeable)
            ck_assert_msg(changed == key_shapes(key), "%s: %s", key, changed ? "changed" : "did not change");
    }
}
END_TEST

START_TEST(a_key_newer_than_a_checkpoint_leaves_its_hash_alone_unless_it_is_set)
{
    struct job *job =
        job_of(MODEL DATA
               "train: {micro_batch_size: 2, global_batch_size: 8, max_steps: 10, precision: fp16}\n" OPTIM);
    int added = 0;
    for (int i = 0; i < job_field_count; i++) {
        if (!(job_fields[i].flags & JOB_FIELD_ADDED))
            continue;
        char value[JOB_NUMBER_SIZE];
        job_value_format(&job_fields[i], job, value);
        ck_assert_str_eq(value, job_fields[i].fallback);
        added++;
    }
    ck_assert_int_gt(added, 0);
    job_destroy(job);
}
END_TEST

START_TEST(the_hash_changes_with_the_training_data)
{
    static const char base[] =
        MODEL "data: {train: [{path: a, weight: 1}, {path: b, weight: 1}], seq_len: 8}\n" TRAIN OPTIM;
    hash_compare(
        base, MODEL "data: {train: [{path: a, weight: 1}, {path: c, weight: 1}], seq_len: 8}\n" TRAIN OPTIM,
        false);
    hash_compare(
        base, MODEL "data: {train: [{path: a, weight: 1}, {path: b, weight: 2}], seq_len: 8}\n" TRAIN OPTIM,
        false);
    hash_compare(
        base, MODEL "data: {train: [{path: b, weight: 1}, {path: a, weight: 1}], seq_len: 8}\n" TRAIN OPTIM,
        false);
    hash_compare(base, MODEL "data: {train: [{path: a, weight: 1}], seq_len: 8}\n" TRAIN OPTIM, false);
    hash_compare(MLP "data: {train: {path: a}}\n" TRAIN OPTIM,
                 MLP "data: {train: {path: a, labels: b}}\n" TRAIN OPTIM, false);
}
END_TEST

/* Everything a caller does with a job; the first thing that fails. */
static enum muster_status job_live(const char *yaml)
{
    struct outcome outcome = outcome_of(yaml);
    enum muster_status status = outcome.status;
    struct text resolved;
    text_init(&resolved);
    if (status == MUSTER_OK)
        status = job_write_yaml(outcome.job, &resolved, NULL);
    else
        ck_assert_ptr_null(outcome.job);
    text_release(&resolved);
    outcome_release(&outcome);
    return status;
}

START_TEST(a_failed_allocation_anywhere_is_reported_and_leaks_nothing)
{
    static const char bad[] =
        "name: .x\nsede: 1\n" MODEL "data: {train: [a, {pth: b}], val: {path: v, labels: l}}\n"
        "train: {steps: 3, recompute: 3}\nlr_scheduler: {min_lr: &a 1, warmup: *a}\n";
    const char *const jobs[] = {good_jobs[0], good_jobs[1], good_jobs[2], bad};
    for (size_t j = 0; j < sizeof jobs / sizeof jobs[0]; j++) {
        int64_t live = alloc_live_count(), calls = alloc_call_count();
        enum muster_status undisturbed = job_live(jobs[j]);
        int64_t call_count = alloc_call_count() - calls;
        ck_assert_int_gt(call_count, 20);
        for (int64_t n = 1; n <= call_count; n++) {
            alloc_fail_nth(n);
            enum muster_status status = job_live(jobs[j]);
            alloc_fail_nth(0);
            ck_assert_msg(status == MUSTER_ERR_NO_MEMORY, "job %zu, call %lld: %s", j, (long long)n,
                          muster_status_name(status));
            ck_assert_int_eq(alloc_live_count(), live);
        }
        ck_assert_int_eq(undisturbed, jobs[j] == bad ? MUSTER_ERR_BAD_INPUT : MUSTER_OK);
    }
}
END_TEST

START_TEST(the_reference_page_has_every_key)
{
    struct text page;
    text_init(&page);
    job_write_reference(&page);
    for (int i = 0; i < job_field_count; i++) {
        char row[128], heading[64];
        const char *section = job_fields[i].section;
        snprintf(heading, sizeof heading, "## %s\n", section[0] != '\0' ? section : "Top level");
        snprintf(row, sizeof row, "\n| `%s` |", job_fields[i].key);
        const char *from = strstr(page.data, heading);
        ck_assert_msg(from != NULL, "no section %s", heading);
        const char *to = strstr(from + 1, "\n## "), *found = strstr(from, row);
        ck_assert_msg(found != NULL && (to == NULL || found < to), "no row for %s.%s", section,
                      job_fields[i].key);
        for (int a = 0; a < JOB_FIELD_ALIASES_MAX && job_fields[i].aliases[a] != NULL; a++)
            ck_assert_ptr_nonnull(strstr(found, job_fields[i].aliases[a]));
    }
    ck_assert(!page.failed);
    text_release(&page);
}
END_TEST

START_TEST(no_alias_shadows_a_key_and_every_default_is_in_its_range)
{
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        ck_assert_int_eq(job_field_at(field->offset), i);
        ck_assert_int_eq(job_field_find(field->section, field->key), i);
        for (int a = 0; a < JOB_FIELD_ALIASES_MAX && field->aliases[a] != NULL; a++)
            ck_assert_int_eq(job_field_find(field->section, field->aliases[a]), i);
        bool has_default = field->fallback != NULL || field->derived != NULL;
        ck_assert_msg(has_default != ((field->flags & JOB_FIELD_REQUIRED) != 0), "%s.%s", field->section,
                      field->key);
    }
}
END_TEST

START_TEST(the_jobs_that_come_with_the_project_are_good)
{
    static const char *const names[] = {"quickstart", "gpt2-124m", "llama-small", "mnist-mlp"};
    const char *root = getenv("MUSTER_SOURCE");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[4096];
        struct outcome outcome = {0};
        snprintf(path, sizeof path, "%s/configs/%s.yaml", root != NULL ? root : ".", names[i]);
        job_report_init(&outcome.report);
        outcome.status = job_load(path, NULL, &outcome.report, &outcome.job, &outcome.err);
        ck_assert_msg(outcome.status == MUSTER_OK, "%s", outcome.report.errors.data);
        ck_assert_str_eq(outcome.job->name, names[i]);
        outcome_release(&outcome);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job");
    TCase *tests = tcase_create("job");
    tcase_add_test(tests, a_short_job_gets_every_default);
    tcase_add_test(tests, a_llama_gets_a_llamas_defaults);
    tcase_add_test(tests, an_mlp_has_no_heads_and_a_sequence_of_one);
    tcase_add_test(tests, logical_workers_default_to_a_power_of_two_that_divides_the_slots);
    tcase_add_test(tests, numbers_and_truth_values_are_read_as_yaml_1_1_writes_them);
    tcase_add_test(tests, other_trainers_key_names_are_read_with_a_note);
    tcase_add_test(tests, a_key_the_type_does_not_use_is_noted_and_ignored);
    tcase_add_loop_test(tests, a_resolved_job_reads_back_as_the_same_job, 0,
                        sizeof good_jobs / sizeof good_jobs[0]);
    tcase_add_test(tests, the_hash_ignores_how_a_job_is_written_and_what_does_not_shape_it);
    tcase_add_test(tests, the_hash_follows_the_end_of_the_decay_not_the_length_of_the_run);
    tcase_add_test(tests, the_hash_changes_with_each_key_that_shapes_the_result_and_with_no_other);
    tcase_add_test(tests, a_key_newer_than_a_checkpoint_leaves_its_hash_alone_unless_it_is_set);
    tcase_add_test(tests, the_hash_changes_with_the_training_data);
    tcase_add_test(tests, a_failed_allocation_anywhere_is_reported_and_leaks_nothing);
    tcase_add_test(tests, the_reference_page_has_every_key);
    tcase_add_test(tests, no_alias_shadows_a_key_and_every_default_is_in_its_range);
    tcase_add_test(tests, the_jobs_that_come_with_the_project_are_good);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
