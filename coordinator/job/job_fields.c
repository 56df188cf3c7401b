/* SPDX-License-Identifier: MIT
 *
 * The table and the look-ups in it. Upper bounds are far above anything that trains today; they are there so
 * that no later product of sizes overflows (job_rules.c bounds the products).
 */
#include "coordinator/job/job_fields.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(struct job, member)
#define BIT(value) (1u << (value))

enum {
    TRANSFORMERS = BIT(MODEL_GPT) | BIT(MODEL_LLAMA),
    DECAYING = BIT(JOB_SCHEDULER_LINEAR) | BIT(JOB_SCHEDULER_COSINE) | BIT(JOB_SCHEDULER_WSD)
};

#define STEPS_MAX 1e9

static const char *const device_names[] = {"auto", "cpu", "cuda", NULL};
static const char *const model_names[] = {"gpt", "llama", "mlp", NULL};
static const char *const format_names[] = {"auto", "bytes", "u16", "u32", "llmc", "idx", NULL};
static const char *const precision_names[] = {"fp32", "bf16", NULL};
static const char *const recompute_names[] = {"none", "selective", "full", NULL};
static const char *const optimizer_names[] = {"adamw", "sgd", NULL};
static const char *const scheduler_names[] = {"constant", "linear", "cosine", "wsd", NULL};
static const char *const reduce_names[] = {"exact", "fast", NULL};

const struct job_section job_sections[] = {
    {"", NULL, "The run as a whole."},
    {"model", NULL, "What is trained."},
    {"data", NULL, "What it is trained on."},
    {"train", NULL, "How much, in which pieces and how precisely."},
    {"optimizer", NULL, "How gradients become new weights."},
    {"scheduler", "lr_scheduler", "How the learning rate changes over the steps."},
    {"parallel", NULL, "How a step is shared out. None of it needs to know how many ranks there will be."},
    {"checkpoint", NULL, "What is kept on disk, and where a run takes up again."},
    {"eval", NULL, "Loss on data that is not trained on."},
    {"logging", NULL, "What is written while training."},
};
const int job_section_count = sizeof job_sections / sizeof job_sections[0];

const struct job_stranger job_strangers[] = {
    {"gradient_accumulation_steps",
     "is derived and not given: global_batch_size = micro_batch_size x slots, whatever the number of ranks; "
     "set global_batch_size"},
    {"max_epochs", "has no meaning here: the length of a run is given in steps, train.max_steps"},
    {"num_epochs", "has no meaning here: the length of a run is given in steps, train.max_steps"},
    {"epochs", "has no meaning here: the length of a run is given in steps, train.max_steps"},
    {"betas", "is written as two keys: beta1 and beta2"},
    {"warmup_ratio", "is given in steps: scheduler.warmup_steps"},
};
const int job_stranger_count = sizeof job_strangers / sizeof job_strangers[0];

const struct job_field job_fields[] = {
    {.section = "",
     .key = "name",
     .type = JOB_FIELD_TEXT,
     .offset = AT(name),
     .derived = "the job file's name without its ending",
     .doc = "Names the run; used as a folder name."},
    {.section = "",
     .key = "seed",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(seed),
     .fallback = "1337",
     .min = 0,
     .max = 9007199254740991.0,
     .doc = "Start of every random stream: initial weights, sample order, dropout."},
    {.section = "",
     .key = "output_dir",
     .type = JOB_FIELD_TEXT,
     .offset = AT(output_dir),
     .derived = "out/ and the name",
     .doc = "The run directory: resolved job, plan, metrics, logs, checkpoints."},
    {.section = "",
     .key = "device",
     .type = JOB_FIELD_ENUM,
     .offset = AT(device),
     .fallback = "auto",
     .names = device_names,
     .doc = "Where operations run; `auto` takes GPUs where there are any."},

    {.section = "model",
     .key = "type",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(model.type),
     .names = model_names,
     .doc = "`gpt`: layer norm, learned positions, GELU. `llama`: RMS norm, rotary positions, SwiGLU. `mlp`: "
            "a classifier of images."},
    {.section = "model",
     .key = "num_layers",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(model.num_layers),
     .min = 1,
     .max = 1000,
     .doc = "Blocks of a transformer, hidden layers of an mlp.",
     .aliases = {"num_hidden_layers", "n_layer"}},
    {.section = "model",
     .key = "hidden_size",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(model.hidden_size),
     .min = 1,
     .max = 1 << 20,
     .doc = "Width of the residual stream, or of a hidden layer.",
     .aliases = {"n_embd", "d_model"}},
    {.section = "model",
     .key = "num_heads",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(model.num_heads),
     .min = 1,
     .max = 4096,
     .doc = "Attention heads; divides `hidden_size`.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS,
     .aliases = {"num_attention_heads", "n_head"}},
    {.section = "model",
     .key = "num_kv_heads",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(model.num_kv_heads),
     .derived = "`num_heads`",
     .min = 1,
     .max = 4096,
     .doc = "Key and value heads, each shared by `num_heads / num_kv_heads` query heads.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS,
     .aliases = {"num_key_value_heads", "num_query_groups"}},
    {.section = "model",
     .key = "ffn_hidden_size",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(model.ffn_hidden_size),
     .derived = "gpt: 4 x `hidden_size`; llama: 8/3 x `hidden_size`, up to a multiple of 64",
     .min = 1,
     .max = 1 << 22,
     .doc = "Width inside the feed-forward part of a block.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS,
     .aliases = {"intermediate_size"}},
    {.section = "model",
     .key = "vocab_size",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(model.vocab_size),
     .min = 2,
     .max = 1 << 24,
     .doc = "Distinct tokens; for an mlp the number of classes.",
     .aliases = {"num_classes"}},
    {.section = "model",
     .key = "dropout",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_BELOW_MAX,
     .offset = AT(model.dropout),
     .fallback = "0",
     .min = 0,
     .max = 1,
     .doc = "Share of activations dropped."},
    {.section = "model",
     .key = "norm_eps",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = AT(model.norm_eps),
     .fallback = "1e-5",
     .min = 0,
     .max = 1,
     .doc = "Added to the variance in a norm.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS},
    {.section = "model",
     .key = "rope_base",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = AT(model.rope_base),
     .fallback = "10000",
     .min = 0,
     .max = 1e12,
     .doc = "Base of the rotary positions' wavelengths.",
     .decided_by = AT(model.type),
     .used_by = BIT(MODEL_LLAMA),
     .aliases = {"rope_theta"}},
    {.section = "model",
     .key = "init_std",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = AT(model.init_std),
     .fallback = "0.02",
     .min = 0,
     .max = 10,
     .doc = "Standard deviation of the initial weights.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS},
    {.section = "model",
     .key = "tie_embeddings",
     .type = JOB_FIELD_BOOL,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(model.tie_embeddings),
     .derived = "gpt: true; llama: false",
     .doc = "One matrix for the token embedding and the output.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS},

    {.section = "data",
     .key = "format",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(data.format),
     .fallback = "auto",
     .names = format_names,
     .doc = "`bytes`: text, a byte a token. `u16`, `u32`: raw tokens (nanoGPT). `llmc`: llm.c shards. `idx`: "
            "MNIST images. `auto` looks at the files."},
    {.section = "data",
     .key = "train",
     .type = JOB_FIELD_SOURCES,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(data.train),
     .doc = "A file or glob, or a list of them, or of {path, weight, labels}."},
    {.section = "data",
     .key = "val",
     .type = JOB_FIELD_SOURCES,
     .offset = AT(data.val),
     .derived = "none",
     .doc = "As `train`, read for evaluation only."},
    {.section = "data",
     .key = "seq_len",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES | JOB_FIELD_STRICT,
     .offset = AT(data.seq_len),
     .min = 1,
     .max = 1 << 20,
     .unit = "tokens",
     .doc = "Length of a sample.",
     .decided_by = AT(model.type),
     .used_by = TRANSFORMERS,
     .aliases = {"seq_length", "sequence_length", "max_seq_len", "block_size"}},
    {.section = "data",
     .key = "shuffle",
     .type = JOB_FIELD_BOOL,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(data.shuffle),
     .fallback = "true",
     .doc = "Samples in a new random order every epoch."},
    {.section = "data",
     .key = "prefetch",
     .type = JOB_FIELD_INT,
     .offset = AT(data.prefetch),
     .fallback = "4",
     .min = 1,
     .max = 1024,
     .unit = "micro-batches",
     .doc = "Read ahead by every rank."},

    {.section = "train",
     .key = "micro_batch_size",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(train.micro_batch_size),
     .min = 1,
     .max = 1 << 16,
     .unit = "samples",
     .doc = "Samples a rank computes at once: a slot."},
    {.section = "train",
     .key = "global_batch_size",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = AT(train.global_batch_size),
     .min = 1,
     .max = 1 << 24,
     .unit = "samples",
     .doc = "Samples of one step over all ranks, whatever their number; a multiple of `micro_batch_size`."},
    {.section = "train",
     .key = "max_steps",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_REQUIRED,
     .offset = AT(train.max_steps),
     .min = 1,
     .max = STEPS_MAX,
     .unit = "steps",
     .doc = "Length of the run.",
     .aliases = {"train_iters", "train_steps", "steps", "max_iters"}},
    {.section = "train",
     .key = "precision",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(train.precision),
     .fallback = "fp32",
     .names = precision_names,
     .doc = "Of activations and matrix products; weights, gradients and sums are kept in fp32."},
    {.section = "train",
     .key = "grad_clip",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(train.grad_clip),
     .fallback = "1.0",
     .min = 0,
     .max = 1e9,
     .doc = "Largest norm of a step's gradient; longer ones are scaled down to it. 0 = off.",
     .aliases = {"clip_grad", "max_norm", "max_grad_norm", "gradient_clipping"}},
    {.section = "train",
     .key = "recompute",
     .type = JOB_FIELD_ENUM,
     .offset = AT(train.recompute),
     .fallback = "none",
     .names = recompute_names,
     .doc = "Activations computed again in the backward pass to save memory; the result is the same.",
     .aliases = {"activation_checkpointing", "gradient_checkpointing"}},

    {.section = "optimizer",
     .key = "type",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(optimizer.type),
     .fallback = "adamw",
     .names = optimizer_names,
     .doc = "The update rule."},
    {.section = "optimizer",
     .key = "lr",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = AT(optimizer.lr),
     .min = 0,
     .max = 1000,
     .doc = "Highest learning rate.",
     .aliases = {"learning_rate"}},
    {.section = "optimizer",
     .key = "beta1",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_BELOW_MAX,
     .offset = AT(optimizer.beta1),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .doc = "Decay of the first moment.",
     .decided_by = AT(optimizer.type),
     .used_by = BIT(JOB_OPTIMIZER_ADAMW),
     .aliases = {"adam_beta1"}},
    {.section = "optimizer",
     .key = "beta2",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_BELOW_MAX,
     .offset = AT(optimizer.beta2),
     .fallback = "0.95",
     .min = 0,
     .max = 1,
     .doc = "Decay of the second moment.",
     .decided_by = AT(optimizer.type),
     .used_by = BIT(JOB_OPTIMIZER_ADAMW),
     .aliases = {"adam_beta2"}},
    {.section = "optimizer",
     .key = "eps",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = AT(optimizer.eps),
     .fallback = "1e-8",
     .min = 0,
     .max = 1,
     .doc = "Added to the root of the second moment.",
     .decided_by = AT(optimizer.type),
     .used_by = BIT(JOB_OPTIMIZER_ADAMW),
     .aliases = {"adam_eps"}},
    {.section = "optimizer",
     .key = "weight_decay",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(optimizer.weight_decay),
     .fallback = "0.1",
     .min = 0,
     .max = 100,
     .doc = "Decay of matrices towards 0, apart from the gradient; biases and norms are left alone."},
    {.section = "optimizer",
     .key = "momentum",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_BELOW_MAX,
     .offset = AT(optimizer.momentum),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .doc = "Share of the last update that is kept.",
     .decided_by = AT(optimizer.type),
     .used_by = BIT(JOB_OPTIMIZER_SGD)},
    {.section = "optimizer",
     .key = "nesterov",
     .type = JOB_FIELD_BOOL,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(optimizer.nesterov),
     .fallback = "false",
     .doc = "Momentum that looks one step ahead.",
     .decided_by = AT(optimizer.type),
     .used_by = BIT(JOB_OPTIMIZER_SGD)},

    {.section = "scheduler",
     .key = "type",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(scheduler.type),
     .fallback = "cosine",
     .names = scheduler_names,
     .doc =
         "Shape after the warm-up. `wsd`: constant, then a linear decay over the last `decay_steps` steps."},
    {.section = "scheduler",
     .key = "warmup_steps",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(scheduler.warmup_steps),
     .fallback = "0",
     .min = 0,
     .max = STEPS_MAX,
     .unit = "steps",
     .doc = "The rate rises in a line to `lr`.",
     .aliases = {"lr_warmup_steps", "lr_warmup_iters"}},
    {.section = "scheduler",
     .key = "decay_steps",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(scheduler.decay_steps),
     .fallback = "0",
     .min = 0,
     .max = STEPS_MAX,
     .unit = "steps",
     .doc = "Length of the fall to `min_lr`. linear, cosine: it begins after the warm-up; 0 = until "
            "`max_steps`. "
            "wsd: it ends at `max_steps`; 0 = a fifth of them.",
     .decided_by = AT(scheduler.type),
     .used_by = DECAYING,
     .aliases = {"lr_decay_steps", "lr_decay_iters"}},
    {.section = "scheduler",
     .key = "min_lr",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(scheduler.min_lr),
     .fallback = "0",
     .min = 0,
     .max = 1000,
     .doc = "Learning rate at the end of the decay.",
     .decided_by = AT(scheduler.type),
     .used_by = DECAYING},

    {.section = "parallel",
     .key = "logical_workers",
     .type = JOB_FIELD_INT,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(parallel.logical_workers),
     .derived = "the largest power of two, at most 64, that divides the slots of a step",
     .min = 1,
     .max = 4096,
     .doc = "Partial gradients of a step, added in one fixed order: the most ranks that can share the job."},
    {.section = "parallel",
     .key = "reduce",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_SHAPES,
     .offset = AT(parallel.reduce),
     .fallback = "exact",
     .names = reduce_names,
     .doc = "`exact`: the same bits on any number of ranks. `fast`: the library adds in the order it likes."},
    {.section = "parallel",
     .key = "bucket_mb",
     .type = JOB_FIELD_INT,
     .offset = AT(parallel.bucket_mb),
     .fallback = "25",
     .min = 1,
     .max = 4096,
     .unit = "MiB",
     .doc = "Gradients sent at once."},
    {.section = "parallel",
     .key = "threads",
     .type = JOB_FIELD_INT,
     .offset = AT(parallel.threads),
     .fallback = "0",
     .min = 0,
     .max = 4096,
     .doc = "CPU threads of a rank; 0 = the host's cores shared out."},

    {.section = "checkpoint",
     .key = "dir",
     .type = JOB_FIELD_TEXT,
     .offset = AT(checkpoint.dir),
     .derived = "`output_dir`/checkpoints",
     .doc = "Where checkpoints are written."},
    {.section = "checkpoint",
     .key = "save_interval",
     .type = JOB_FIELD_INT,
     .offset = AT(checkpoint.save_interval),
     .fallback = "0",
     .min = 0,
     .max = STEPS_MAX,
     .unit = "steps",
     .doc = "Steps between checkpoints; 0 = one at the end.",
     .aliases = {"save_steps", "save_every"}},
    {.section = "checkpoint",
     .key = "keep_last",
     .type = JOB_FIELD_INT,
     .offset = AT(checkpoint.keep_last),
     .fallback = "3",
     .min = 2,
     .max = 1000000,
     .doc = "Older checkpoints are removed; never fewer than two stay.",
     .aliases = {"keep_latest_k", "save_total_limit"}},
    {.section = "checkpoint",
     .key = "resume",
     .type = JOB_FIELD_TEXT,
     .offset = AT(checkpoint.resume),
     .fallback = "auto",
     .doc =
         "`auto`: from the newest checkpoint that verifies, if there is one. `never`: from the start. Or a "
         "checkpoint's folder."},

    {.section = "eval",
     .key = "interval",
     .type = JOB_FIELD_INT,
     .offset = AT(eval.interval),
     .fallback = "0",
     .min = 0,
     .max = STEPS_MAX,
     .unit = "steps",
     .doc = "Steps between evaluations; 0 = never.",
     .aliases = {"eval_interval"}},
    {.section = "eval",
     .key = "iters",
     .type = JOB_FIELD_INT,
     .offset = AT(eval.iters),
     .fallback = "20",
     .min = 1,
     .max = 1000000,
     .unit = "micro-batches",
     .doc = "Read by one evaluation.",
     .aliases = {"eval_iters"}},

    {.section = "logging",
     .key = "interval",
     .type = JOB_FIELD_INT,
     .offset = AT(logging.interval),
     .fallback = "10",
     .min = 1,
     .max = STEPS_MAX,
     .unit = "steps",
     .doc = "Steps between lines.",
     .aliases = {"log_interval"}},
    {.section = "logging",
     .key = "jsonl",
     .type = JOB_FIELD_BOOL,
     .offset = AT(logging.jsonl),
     .fallback = "true",
     .doc = "Also write metrics.jsonl."},
};
const int job_field_count = sizeof job_fields / sizeof job_fields[0];

const struct job_field job_source_fields[] = {
    {.section = "",
     .key = "path",
     .type = JOB_FIELD_TEXT,
     .flags = JOB_FIELD_REQUIRED | JOB_FIELD_SHAPES,
     .offset = offsetof(struct job_source, path),
     .doc = "A file or glob."},
    {.section = "",
     .key = "weight",
     .type = JOB_FIELD_REAL,
     .flags = JOB_FIELD_SHAPES | JOB_FIELD_ABOVE_MIN,
     .offset = offsetof(struct job_source, weight),
     .derived = "by size",
     .min = 0,
     .max = 1e9,
     .doc = "Share of the samples drawn from it, relative to the others; all entries have one, or none."},
    {.section = "",
     .key = "labels",
     .type = JOB_FIELD_TEXT,
     .flags = JOB_FIELD_SHAPES,
     .offset = offsetof(struct job_source, labels),
     .derived = "from the image file's name",
     .doc = "idx only: the file of labels."},
};
const int job_source_field_count = sizeof job_source_fields / sizeof job_source_fields[0];

static_assert(sizeof job_fields / sizeof job_fields[0] <= JOB_FIELDS_MAX, "raise JOB_FIELDS_MAX");
static_assert(sizeof(enum job_device) == sizeof(int) && sizeof(enum model_type) == sizeof(int),
              "job_field_enum reads enums as int");

int job_field_at(size_t offset)
{
    for (int i = 0; i < job_field_count; i++) {
        if (job_fields[i].offset == offset)
            return i;
    }
    assert(!"an offset outside the table");
    return 0;
}

int job_field_find(const char *section, const char *key)
{
    for (int i = 0; i < job_field_count; i++) {
        const struct job_field *field = &job_fields[i];
        if (strcmp(field->section, section) != 0)
            continue;
        if (strcmp(field->key, key) == 0)
            return i;
        for (int a = 0; a < JOB_FIELD_ALIASES_MAX && field->aliases[a] != NULL; a++) {
            if (strcmp(field->aliases[a], key) == 0)
                return i;
        }
    }
    return -1;
}

void job_field_key(const struct job_field *field, char out[JOB_KEY_SIZE])
{
    snprintf(out, JOB_KEY_SIZE, "%s%s%s", field->section, field->section[0] != '\0' ? "." : "", field->key);
}

int job_field_enum(const struct job_field *field, const void *base)
{
    int value;
    memcpy(&value, (const char *)base + field->offset, sizeof value);
    return value;
}

bool job_field_is_used(const struct job_field *field, const struct job *job)
{
    if (field->decided_by == 0)
        return true;
    return (field->used_by & BIT(job_field_enum(&job_fields[job_field_at(field->decided_by)], job))) != 0;
}

static const char *enum_name(const char *const *names, int count, int value)
{
    return value >= 0 && value < count ? names[value] : "unknown";
}

const char *job_scheduler_name(enum job_scheduler type)
{
    return enum_name(scheduler_names, sizeof scheduler_names / sizeof scheduler_names[0] - 1, (int)type);
}

const char *job_reduce_name(enum job_reduce reduce)
{
    return enum_name(reduce_names, sizeof reduce_names / sizeof reduce_names[0] - 1, (int)reduce);
}

const char *job_precision_name(enum job_precision precision)
{
    return enum_name(precision_names, sizeof precision_names / sizeof precision_names[0] - 1, (int)precision);
}

const char *job_data_format_name(enum job_data_format format)
{
    return enum_name(format_names, sizeof format_names / sizeof format_names[0] - 1, (int)format);
}
