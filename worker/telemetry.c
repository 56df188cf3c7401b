/* SPDX-License-Identifier: MIT
 *
 * Losses go to metrics.jsonl in full precision, as decimals that read back to the same double, so two runs
 * can be compared with cmp. MFU is the model's arithmetic (recompute not counted) against the peak that was
 * measured on this machine at start.
 */
#include "worker/telemetry.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

/* The step that a line is about; INT64_MAX for what cannot be read. \param trained  out: it is that of a
 * step, not of an evaluation or a checkpoint, which may come later than steps that follow */
static int64_t line_step(const char *line, size_t bytes, bool *trained)
{
    json_t *read = json_loadb(line, bytes, 0, NULL);
    int64_t step = read ? json_integer_value(json_object_get(read, "step")) : INT64_MAX;
    *trained = read && json_object_get(read, "loss");
    json_decref(read);
    return step;
}

/* How much of the log is about steps up to `first_step`. Looks from the end: that of a long run is large. */
static size_t telemetry_keep(const char *data, size_t bytes, int64_t first_step)
{
    bool trained = false;
    size_t begin = bytes; /* of the lines that must be looked at in order */
    while (begin > 0) {
        const char *before = memrchr(data, '\n', begin - 1);
        size_t line = before ? (size_t)(before - data) + 1 : 0;
        int64_t step = line_step(data + line, begin - line, &trained);
        begin = line;
        if (trained && step <= first_step)
            break;
    }
    while (begin < bytes) {
        const char *end = memchr(data + begin, '\n', bytes - begin);
        if (!end || line_step(data + begin, (size_t)(end - data) - begin, &trained) > first_step)
            break;
        begin = (size_t)(end - data) + 1;
    }
    return begin;
}

/* Keeps the lines of steps up to `first_step`: what came after belongs to a past that did not happen. */
static enum muster_status telemetry_truncate(const char *path, int64_t first_step, struct muster_error *err)
{
    struct fs_map map;
    if (!fs_exists(path))
        return MUSTER_OK;
    enum muster_status status = fs_map_open(&map, path, err);
    if (status)
        return status;
    size_t kept = telemetry_keep((const char *)map.data, map.bytes, first_step);
    bool shorter = kept < map.bytes;
    fs_map_release(&map);
    if (shorter && truncate(path, (off_t)kept) != 0)
        return muster_error_set_errno(err, errno, "shorten %s", path);
    return MUSTER_OK;
}

static enum muster_status telemetry_open_metrics(struct telemetry *t, int64_t first_step,
                                                 struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, t->job->output_dir, "metrics.jsonl", err);
    if (!status)
        status = telemetry_truncate(path, first_step, err);
    if (status)
        return status;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    t->metrics = fd >= 0 ? fdopen(fd, "a") : NULL;
    if (t->metrics)
        return MUSTER_OK;
    status = muster_error_set_errno(err, errno, "open %s", path);
    if (fd >= 0)
        close(fd);
    return status;
}

enum muster_status telemetry_open(struct telemetry *t, const struct job *job, const struct plan *plan,
                                  int rank, bool live, int64_t first_step, struct muster_error *err)
{
    *t = (struct telemetry){.job = job, .plan = plan, .live = live, .first_step = first_step};
    t->started_s = t->interval_s = clock_seconds();
    t->last_step = job->train.max_steps;
    if (rank != 0)
        return MUSTER_OK;
    struct plan_memory memory;
    enum muster_status status = plan_rank_memory(plan, 0, &memory, err);
    if (status)
        return status;
    t->memory_bytes = memory.total_bytes;
    t->out = stdout;
    if (!job->logging.jsonl)
        return MUSTER_OK;
    return telemetry_open_metrics(t, first_step, err);
}

void telemetry_close(struct telemetry *t)
{
    if (t->metrics)
        fclose(t->metrics);
    t->metrics = NULL;
}

static double telemetry_mfu(const struct telemetry *t, double step_s)
{
    return t->peak_flops > 0.0 ? t->plan->step_flops / step_s / t->peak_flops : 0.0;
}

static void telemetry_line(struct telemetry *t, int64_t number, const struct train_step_result *result,
                           double step_s)
{
    char rate[32], eta[32], memory[32], mfu[32] = "";
    text_format_count(rate, sizeof rate, (double)t->plan->step_tokens / step_s);
    text_format_duration(eta, sizeof eta, step_s * (double)(t->last_step - number));
    text_format_bytes(memory, sizeof memory, t->memory_bytes);
    if (t->peak_flops > 0.0)
        snprintf(mfu, sizeof mfu, "  mfu %.1f%%", 100.0 * telemetry_mfu(t, step_s));
    bool images = t->plan->graph->config.type == MODEL_MLP;
    fprintf(
        t->out,
        "%sstep %lld/%lld  loss %.4f  lr %.3g  norm %.3g  %s %s/s%s  %.0f ms/step  eta %s  mem %s%s%s%s%s",
        t->live ? "\r\033[K" : "", (long long)number, (long long)t->last_step, result->loss, result->lr,
        result->grad_norm, rate, images ? "images" : "tokens", mfu, step_s * 1e3, eta, memory, t->saving,
        t->checkpoint[0] ? "  saved " : "", t->checkpoint, t->live ? "" : "\n");
    fflush(t->out);
}

/* JSON knows neither NaN nor infinity. */
static void telemetry_number(char *out, size_t size, double value)
{
    snprintf(out, size, isfinite(value) ? "%.17g" : "null", value);
}

void telemetry_step(struct telemetry *t, int64_t number, const struct train_step_result *result,
                    double step_s)
{
    if (t->steps_done++ == 0)
        t->first_loss = result->loss;
    t->last_loss = result->loss;
    t->step_s_total += step_s;
    step_forecast_note(&t->forecast, step_s);
    if (t->metrics) {
        char loss[32], norm[32], scale[64] = "";
        telemetry_number(loss, sizeof loss, result->loss);
        telemetry_number(norm, sizeof norm, result->grad_norm);
        if (t->job->train.precision == JOB_PRECISION_FP16)
            snprintf(scale, sizeof scale, ", \"loss_scale\": %.17g, \"skipped\": %s", result->loss_scale,
                     result->skipped ? "true" : "false");
        else if (result->skipped)
            snprintf(scale, sizeof scale, ", \"skipped\": true");
        fprintf(
            t->metrics,
            "{\"step\": %lld, \"loss\": %s, \"accuracy\": %.17g, \"grad_norm\": %s, \"lr\": %.17g, "
            "\"tokens\": "
            "%lld, \"step_ms\": %.3f, \"compute_ms\": %.3f, \"reduce_ms\": %.3f, \"update_ms\": %.3f%s}\n",
            (long long)number, loss, result->accuracy, norm, result->lr,
            (long long)(number * t->plan->step_tokens), step_s * 1e3, result->compute_s * 1e3,
            result->reduce_s * 1e3, result->update_s * 1e3, scale);
        fflush(t->metrics);
    }
    t->interval_steps++;
    bool due = number % t->job->logging.interval == 0 || number == t->last_step || t->steps_done == 1;
    if (!t->out || (!due && !t->live))
        return;
    double now = clock_seconds();
    if (!t->live) {
        telemetry_line(t, number, result, (now - t->interval_s) / (double)t->interval_steps);
        t->interval_steps = 0;
        t->interval_s = now;
    } else {
        telemetry_line(t, number, result, step_s);
    }
}

enum muster_status telemetry_rewind(struct telemetry *t, int64_t step, struct muster_error *err)
{
    t->interval_s = clock_seconds();
    t->interval_steps = 0;
    if (!t->metrics)
        return MUSTER_OK;
    telemetry_close(t);
    return telemetry_open_metrics(t, step, err);
}

void telemetry_say(struct telemetry *t, const char *format, ...)
{
    if (!t->out)
        return;
    va_list arguments;
    va_start(arguments, format);
    fprintf(t->out, "%s", t->live ? "\r\033[K" : "");
    vfprintf(t->out, format, arguments);
    fputc('\n', t->out);
    fflush(t->out);
    va_end(arguments);
}

void telemetry_eval(struct telemetry *t, int64_t number, double loss, double accuracy)
{
    t->eval_loss = loss;
    if (t->metrics) {
        fprintf(t->metrics, "{\"step\": %lld, \"eval_loss\": %.17g, \"eval_accuracy\": %.17g}\n",
                (long long)number, loss, accuracy);
        fflush(t->metrics);
    }
    telemetry_say(t, "step %lld  validation loss %.4f  accuracy %.1f%%", (long long)number, loss,
                  100.0 * accuracy);
    t->interval_s = clock_seconds();
    t->interval_steps = 0;
}

void telemetry_checkpoint(struct telemetry *t, const struct telemetry_save *save)
{
    if (save->failure) {
        telemetry_say(t, "step %lld  WARNING: checkpoint not saved, training goes on: %s",
                      (long long)save->step, save->failure);
        return;
    }
    snprintf(t->checkpoint, sizeof t->checkpoint, "%lld", (long long)save->step);
    if (t->metrics) {
        fprintf(t->metrics, "{\"step\": %lld, \"checkpoint_ms\": %.3f, \"checkpoint_stall_ms\": %.3f}\n",
                (long long)save->step, save->duration_s * 1e3, save->stall_s * 1e3);
        fflush(t->metrics);
    }
    log_info("checkpoint of step %lld saved in %.3f s, training waited %.3f s", (long long)save->step,
             save->duration_s, save->stall_s);
    t->interval_s += save->stall_s;
}

void telemetry_saving(struct telemetry *t, int64_t step, double share)
{
    t->saving[0] = '\0';
    if (step >= 0)
        snprintf(t->saving, sizeof t->saving, "  saving %lld (%.0f%%)", (long long)step, 100.0 * share);
}

void telemetry_summary(struct telemetry *t, int64_t steps_done, const char *state_hash, const char *ending)
{
    if (!t->out)
        return;
    char elapsed[32], rate[32] = "-";
    text_format_duration(elapsed, sizeof elapsed, clock_seconds() - t->started_s);
    if (t->steps_done)
        text_format_count(rate, sizeof rate,
                          (double)t->plan->step_tokens * (double)t->steps_done / t->step_s_total);
    telemetry_say(t, "%s at step %lld of %lld", ending, (long long)steps_done, (long long)t->last_step);
    if (t->steps_done) {
        telemetry_say(t, "  steps this run   %lld in %s (%s %s/s)", (long long)t->steps_done, elapsed, rate,
                      t->plan->graph->config.type == MODEL_MLP ? "images" : "tokens");
        telemetry_say(t, "  loss             %.4f to %.4f", t->first_loss, t->last_loss);
    }
    char forecast[STEP_FORECAST_LINE];
    if (step_forecast_describe(&t->forecast, forecast))
        telemetry_say(t, "  step time        %s", forecast);
    if (t->eval_loss > 0.0)
        telemetry_say(t, "  validation loss  %.4f", t->eval_loss);
    telemetry_say(t, "  state hash       %s", state_hash);
    telemetry_say(t, "  results          %s", t->job->output_dir);
}
