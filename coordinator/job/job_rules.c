/* SPDX-License-Identifier: MIT
 *
 * Rules about sizes and steps. Each says which values would do, not only that these do not. Products are
 * bounded here, so that the code behind a job that was accepted may multiply sizes without a second thought.
 */
#include "coordinator/job/job_rules.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum {
    LOGICAL_WORKERS_DEFAULT_MAX = 64,
    LOGICAL_WORKERS_MAX = 4096,
    NAME_BYTES_MAX = 200,
    WSD_DECAY_SHARE = 5
};

/* More than any machine addresses, and far from where 64 bits overflow. */
static const double elements_max = 72057594037927936.0; /* 2^56 */
static const double tokens_max = 4611686018427387904.0; /* 2^62 */
static const double batch_tokens_max = 2147483647.0;    /* token positions of a slot are int32 */

bool job_name_is_usable(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) <= NAME_BYTES_MAX &&
           job_text_is_printable(name);
}

static char *text_join(struct job_reading *reading, const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b);
    char *text = alloc_zeroed(a_length + b_length + 1, 1);
    if (text == NULL) {
        reading->no_memory = true;
        return NULL;
    }
    memcpy(text, a, a_length);
    memcpy(text + a_length, b, b_length);
    return text;
}

/* The job file's name without folders and ending, or "job" where that would be no usable name. */
static char *name_from_path(struct job_reading *reading, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = text_join(reading, slash != NULL ? slash + 1 : path, "");
    if (name == NULL)
        return NULL;
    char *dot = strrchr(name, '.');
    if (dot != NULL)
        *dot = '\0';
    if (job_name_is_usable(name))
        return name;
    alloc_free(name);
    return text_join(reading, "job", "");
}

static void texts_derive(struct job_reading *reading, const char *path)
{
    struct job *job = reading->job;
    if (job->name == NULL)
        job->name = name_from_path(reading, path);
    if (job->output_dir == NULL && job->name != NULL)
        job->output_dir = text_join(reading, "out/", job->name);
    if (job->checkpoint.dir == NULL && job->output_dir != NULL)
        job->checkpoint.dir = text_join(reading, job->output_dir, "/checkpoints");
}

/* The field takes its derived value if all it derives from can be trusted, and is not trusted otherwise. */
static bool derives(struct job_reading *reading, size_t offset, bool sources_trusted)
{
    if (job_reading_has(reading, offset) &&
        job_field_is_used(&job_fields[job_field_at(offset)], reading->job))
        return false;
    reading->bad[job_field_at(offset)] |= !sources_trusted;
    return sources_trusted;
}

static void model_derive(struct job_reading *reading)
{
    struct job *job = reading->job;
    bool type_known = job_rules_trust(reading, JOB_AT(model.type));
    if (type_known && job->model.type == MODEL_MLP) {
        job->data.seq_len = 1;
        return;
    }
    bool heads_known = type_known && job_rules_trust(reading, JOB_AT(model.num_heads));
    if (derives(reading, JOB_AT(model.num_kv_heads), heads_known))
        job->model.num_kv_heads = job->model.num_heads;
    bool hidden_known = type_known && job_rules_trust(reading, JOB_AT(model.hidden_size));
    if (derives(reading, JOB_AT(model.ffn_hidden_size), hidden_known)) {
        int64_t hidden = job->model.hidden_size;
        job->model.ffn_hidden_size =
            job->model.type == MODEL_GPT ? 4 * hidden : (8 * hidden + 191) / 192 * 64;
    }
    if (derives(reading, JOB_AT(model.tie_embeddings), type_known))
        job->model.tie_embeddings = job->model.type == MODEL_GPT;
}

static void batch_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    int64_t micro = job->train.micro_batch_size, global = job->train.global_batch_size;
    if (!job_rules_trust(reading, JOB_AT(train.micro_batch_size), JOB_AT(train.global_batch_size)) ||
        global % micro == 0)
        return;
    long long below = (long long)(global / micro * micro), above = below + (long long)micro;
    if (below > 0)
        job_reading_error(reading, JOB_AT(train.global_batch_size),
                          "%lld is not a multiple of micro_batch_size %lld; the nearest are %lld and %lld",
                          (long long)global, (long long)micro, below, above);
    else
        job_reading_error(reading, JOB_AT(train.global_batch_size),
                          "%lld is less than micro_batch_size %lld; the nearest multiple is %lld",
                          (long long)global, (long long)micro, above);
}

static void workers_derive(struct job_reading *reading, int64_t slots)
{
    int64_t workers = 1;
    while (workers < LOGICAL_WORKERS_DEFAULT_MAX && slots % (2 * workers) == 0)
        workers *= 2;
    reading->job->parallel.logical_workers = workers;
    job_issues_note(
        reading->issues, (struct job_place){.line = 0},
        "parallel.logical_workers is %lld: the largest power of two, at most %d, that divides the %lld "
        "slots of a step",
        (long long)workers, LOGICAL_WORKERS_DEFAULT_MAX, (long long)slots);
}

static void workers_check(struct job_reading *reading)
{
    struct job *job = reading->job;
    bool slots_known =
        job_rules_trust(reading, JOB_AT(train.micro_batch_size), JOB_AT(train.global_batch_size));
    int64_t slots = slots_known ? job->train.global_batch_size / job->train.micro_batch_size : 0;
    if (derives(reading, JOB_AT(parallel.logical_workers), slots_known)) {
        workers_derive(reading, slots);
        return;
    }
    int64_t workers = job->parallel.logical_workers;
    if (!slots_known || !job_rules_trust(reading, JOB_AT(parallel.logical_workers)) || slots % workers == 0)
        return;
    int64_t below = workers < slots ? workers : slots, above = workers;
    while (slots % below != 0)
        below--;
    while (above < slots && above < LOGICAL_WORKERS_MAX && slots % above != 0)
        above++;
    char or_above[32] = "";
    if (above > below && slots % above == 0)
        snprintf(or_above, sizeof or_above, " or %lld", (long long)above);
    job_reading_error(
        reading, JOB_AT(parallel.logical_workers),
        "%lld does not divide the %lld slots of a step (global_batch_size %lld / micro_batch_size "
        "%lld); the nearest that does is %lld%s",
        (long long)workers, (long long)slots, (long long)job->train.global_batch_size,
        (long long)job->train.micro_batch_size, (long long)below, or_above);
}

static void heads_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    long long hidden = (long long)job->model.hidden_size, heads = (long long)job->model.num_heads;
    long long kv_heads = (long long)job->model.num_kv_heads;
    if (!job_rules_trust(reading, JOB_AT(model.type)) || job->model.type == MODEL_MLP)
        return;
    bool heads_known = job_rules_trust(reading, JOB_AT(model.num_heads));
    if (heads_known && job_rules_trust(reading, JOB_AT(model.num_kv_heads)) && heads % kv_heads != 0)
        job_reading_error(reading, JOB_AT(model.num_kv_heads), "%lld does not divide num_heads %lld",
                          kv_heads, heads);
    if (!heads_known || !job_rules_trust(reading, JOB_AT(model.hidden_size)))
        return;
    if (hidden < heads)
        job_reading_error(reading, JOB_AT(model.num_heads), "%lld is more than hidden_size %lld", heads,
                          hidden);
    else if (hidden % heads != 0)
        job_reading_error(reading, JOB_AT(model.num_heads),
                          "%lld does not divide hidden_size %lld; it would divide %lld and %lld", heads,
                          hidden, hidden / heads * heads, (hidden / heads + 1) * heads);
    else if (job->model.type == MODEL_LLAMA && hidden / heads % 2 != 0)
        job_reading_error(
            reading, JOB_AT(model.num_heads),
            "hidden_size %lld / num_heads %lld = %lld, but rotary positions need an even head width", hidden,
            heads, hidden / heads);
}

/* A rough count from above; only its order of magnitude matters. */
static void size_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (!job_rules_trust(reading, JOB_AT(model.type), JOB_AT(model.num_layers), JOB_AT(model.hidden_size),
                         JOB_AT(model.num_heads), JOB_AT(model.ffn_hidden_size), JOB_AT(model.vocab_size),
                         JOB_AT(data.seq_len), JOB_AT(train.micro_batch_size)))
        return;
    double hidden = (double)job->model.hidden_size, ffn = (double)job->model.ffn_hidden_size;
    double layers = (double)job->model.num_layers, vocab = (double)job->model.vocab_size;
    double seq = (double)job->data.seq_len, tokens = seq * (double)job->train.micro_batch_size;
    double weights = layers * hidden * (4 * hidden + 3 * ffn) + 2 * hidden * vocab + hidden * seq;
    double activations =
        tokens * (layers * (32 * hidden + 8 * ffn + seq * (double)job->model.num_heads) + 2 * vocab);
    if (tokens > batch_tokens_max)
        job_reading_error(reading, JOB_AT(train.micro_batch_size),
                          "%lld samples of %lld tokens are more than the %.0f tokens a slot may have",
                          (long long)job->train.micro_batch_size, (long long)job->data.seq_len,
                          batch_tokens_max);
    else if (weights > elements_max / 64)
        job_reading_error(reading, JOB_AT(model.hidden_size),
                          "the model would have about %.1e weights, more than "
                          "can be addressed",
                          weights);
    else if (activations > elements_max)
        job_reading_error(reading, JOB_AT(model.hidden_size),
                          "a slot would need about %.1e activations, more than "
                          "can be addressed",
                          activations);
}

static void length_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (!job_rules_trust(reading, JOB_AT(train.max_steps), JOB_AT(train.global_batch_size),
                         JOB_AT(data.seq_len)))
        return;
    double tokens =
        (double)job->train.max_steps * (double)job->train.global_batch_size * (double)job->data.seq_len;
    if (tokens > tokens_max)
        job_reading_error(reading, JOB_AT(train.max_steps),
                          "the run would read %.1e tokens, more than can be "
                          "counted (%.1e)",
                          tokens, tokens_max);
}

void job_decay_span(const struct job *job, int64_t *begin, int64_t *end)
{
    int64_t length = job->scheduler.decay_steps, steps = job->train.max_steps;
    *begin = *end = 0;
    if (job->scheduler.type == JOB_SCHEDULER_WSD) {
        *begin = steps - (length != 0 ? length : steps / WSD_DECAY_SHARE);
        *end = steps;
    } else if (job->scheduler.type != JOB_SCHEDULER_CONSTANT) {
        *begin = job->scheduler.warmup_steps;
        *end = length != 0 ? *begin + length : steps;
    }
}

static void wsd_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    int64_t begin, end;
    job_decay_span(job, &begin, &end);
    if (begin < job->scheduler.warmup_steps)
        job_reading_error(reading, JOB_AT(scheduler.decay_steps),
                          "warmup_steps %lld and a decay of %lld steps do not fit into max_steps %lld",
                          (long long)job->scheduler.warmup_steps, (long long)(end - begin), (long long)end);
}

static void scheduler_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    long long warmup = (long long)job->scheduler.warmup_steps;
    if (job_rules_trust(reading, JOB_AT(scheduler.warmup_steps), JOB_AT(train.max_steps)) &&
        warmup > job->train.max_steps)
        job_reading_error(reading, JOB_AT(scheduler.warmup_steps), "%lld is more than train.max_steps %lld",
                          warmup, (long long)job->train.max_steps);
    if (job_rules_trust(reading, JOB_AT(scheduler.min_lr), JOB_AT(optimizer.lr)) &&
        job->scheduler.min_lr > job->optimizer.lr)
        job_reading_error(reading, JOB_AT(scheduler.min_lr), "%g is more than optimizer.lr %g",
                          job->scheduler.min_lr, job->optimizer.lr);
    if (job_rules_trust(reading, JOB_AT(scheduler.type), JOB_AT(scheduler.warmup_steps),
                        JOB_AT(scheduler.decay_steps), JOB_AT(train.max_steps)) &&
        job->scheduler.type == JOB_SCHEDULER_WSD)
        wsd_check(reading);
}

static void optimizer_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (job_rules_trust(reading, JOB_AT(optimizer.type), JOB_AT(optimizer.nesterov),
                        JOB_AT(optimizer.momentum)) &&
        job->optimizer.type == JOB_OPTIMIZER_SGD && job->optimizer.nesterov && job->optimizer.momentum <= 0)
        job_reading_error(reading, JOB_AT(optimizer.nesterov), "needs a momentum above 0");
}

static void precision_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (job_rules_trust(reading, JOB_AT(train.precision), JOB_AT(device)) &&
        job->train.precision == JOB_PRECISION_FP16 && job->device == JOB_DEVICE_CPU)
        job_reading_error(reading, JOB_AT(train.precision),
                          "fp16 needs a GPU (device: cuda); on a CPU use bf16");
    else if (job->train.precision == JOB_PRECISION_FP16 && job->device == JOB_DEVICE_AUTO)
        job_reading_note(reading, JOB_AT(train.precision),
                         "fp16 needs a GPU for each rank, and device: auto takes CPUs where there is none: "
                         "bf16 trains on both");
}

static void gpus_check(struct job_reading *reading)
{
    const char *gpus = reading->job->parallel.gpus;
    if (gpus == NULL || !job_rules_trust(reading, JOB_AT(parallel.gpus)) || strcmp(gpus, "local") == 0)
        return;
    for (const char *at = gpus; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        size_t digits = strspn(at, "0123456789");
        if (digits >= 1 && digits <= 3 && (at[digits] == ',' || at[digits] == '\0'))
            continue;
        job_reading_error(reading, JOB_AT(parallel.gpus),
                          "is neither `local` nor numbers with commas between them, such as 0,2,1,3");
        return;
    }
}

static void checkpoint_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    if (job_rules_trust(reading, JOB_AT(checkpoint.save_interval), JOB_AT(train.max_steps)) &&
        job->checkpoint.save_interval > job->train.max_steps)
        job_reading_note(reading, JOB_AT(checkpoint.save_interval),
                         "is more than train.max_steps: there will be one checkpoint, at the end");
}

static struct job_spot spot_of(const struct job_reading *reading, size_t offset)
{
    struct job_place place = {.line = 0};
    if (job_reading_has(reading, offset))
        place = job_reading_place(reading, offset);
    return (struct job_spot){place.line, place.column, place.setting != NULL};
}

static void spots_note(struct job_reading *reading)
{
    struct job *job = reading->job;
    job->spots.precision = spot_of(reading, JOB_AT(train.precision));
    job->spots.resume = spot_of(reading, JOB_AT(checkpoint.resume));
    job->spots.profile = spot_of(reading, JOB_AT(machine.profile));
}

void job_rules_apply(struct job_reading *reading, const char *path)
{
    texts_derive(reading, path);
    model_derive(reading);
    batch_check(reading);
    workers_check(reading);
    heads_check(reading);
    size_check(reading);
    length_check(reading);
    scheduler_check(reading);
    optimizer_check(reading);
    precision_check(reading);
    gpus_check(reading);
    checkpoint_check(reading);
    spots_note(reading);
    job_rules_fault_check(reading);
    job_rules_data_check(reading);
    job_rules_cluster_check(reading);
}
