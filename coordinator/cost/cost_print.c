/* SPDX-License-Identifier: MIT
 *
 * A prediction as a person reads it and as a program reads it. What was assumed is printed with the numbers
 * that rest on it, always.
 */
#include <jansson.h>
#include <stdlib.h>

#include "coordinator/cost/cost.h"

const char *cost_part_name(enum cost_part part)
{
    static const char *const names[COST_PART_COUNT] = {
        [COST_FORWARD] = "forward",     [COST_BACKWARD] = "backward", [COST_FOLD] = "fold",
        [COST_REDUCE] = "reduce",       [COST_GATHER] = "gather",     [COST_EXCHANGE] = "exchange",
        [COST_OPTIMIZER] = "optimizer",
    };
    return names[part];
}

static void print_parts(const struct cost_prediction *prediction, struct text *out)
{
    text_print(out, "  %-12s %10.3f ms\n", "step", 1e3 * prediction->step_s);
    for (int part = 0; part < COST_PART_COUNT; part++) {
        double seconds = prediction->part_s[part];
        text_print(out, "    %-10s %10.3f ms  %5.1f%%", cost_part_name((enum cost_part)part), 1e3 * seconds,
                   100.0 * seconds / prediction->step_s);
        if (part == COST_REDUCE && prediction->reduce_s > 0.0)
            text_print(out, "  (%.3f ms, of which %.0f%% behind the backward pass)",
                       1e3 * prediction->reduce_s, 100.0 * (1.0 - seconds / prediction->reduce_s));
        text_print(out, "\n");
    }
}

double cost_memory_short(const struct cost_prediction *prediction, const struct machine_profile *profile,
                         const struct cost_cluster *cluster)
{
    double ranks = profile->device == MACHINE_CUDA ? 1.0 : (double)cluster->ranks_per_host;
    double needed = (double)(prediction->memory_bytes + prediction->spare_bytes) * ranks;
    return profile->memory_bytes > 0.0 ? needed - profile->memory_bytes : 0.0;
}

void cost_print_memory(const struct cost_prediction *prediction, const struct plan *plan,
                       const struct machine_profile *profile, const struct cost_cluster *cluster,
                       struct text *out)
{
    char bytes[32];
    const double missing = cost_memory_short(prediction, profile, cluster);
    text_format_bytes(bytes, sizeof bytes, prediction->memory_bytes);
    text_print(out, "  %-12s %s a rank", "memory", bytes);
    text_format_bytes(bytes, sizeof bytes, prediction->spare_bytes);
    if (prediction->spare_bytes > 0)
        text_print(out, " and %s to spare", bytes);
    text_format_bytes(bytes, sizeof bytes, (int64_t)profile->memory_bytes);
    if (profile->memory_bytes > 0.0)
        text_print(out, " of the %s of a %s", bytes, profile->device == MACHINE_CUDA ? "device" : "host");
    text_format_bytes(bytes, sizeof bytes, prediction->host_bytes);
    if (prediction->host_bytes > 0)
        text_print(out, ", and %s of pinned host memory", bytes);
    text_format_bytes(bytes, sizeof bytes, (int64_t)missing);
    if (missing > 0.0)
        text_print(out, ": DOES NOT FIT by %s. What helps: %s", bytes, plan_memory_advice(plan));
    text_print(out, "\n");
}

enum muster_status cost_print(const struct cost_prediction *prediction, const struct plan *plan,
                              const struct machine_profile *profile, const struct cost_cluster *cluster,
                              struct text *out, struct muster_error *err)
{
    char rate[32], mfu[48] = "";
    struct text assumed;
    text_init(&assumed);
    machine_profile_assumptions(profile, &assumed);
    text_format_count(rate, sizeof rate, prediction->tokens_per_s);
    if (prediction->mfu > 0.0)
        snprintf(mfu, sizeof mfu, ", MFU %.1f%%", 100.0 * prediction->mfu);
    text_print(out, "\npredicted for %d host%s of %d rank%s like %s\n", cluster->hosts,
               cluster->hosts == 1 ? "" : "s", cluster->ranks_per_host,
               cluster->ranks_per_host == 1 ? "" : "s", profile->name);
    print_parts(prediction, out);
    text_print(out, "  %-12s %s %s/s%s\n", "throughput", rate,
               plan->graph->config.type == MODEL_MLP ? "images" : "tokens", mfu);
    cost_print_memory(prediction, plan, profile, cluster, out);
    if (assumed.length > 0)
        text_print(out, "  %-12s %s\n", "ASSUMED", assumed.data);
    text_print(out, "  %-12s %s\n", "source", profile->source);
    bool failed = assumed.failed || out->failed;
    text_release(&assumed);
    return failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to print a prediction")
                  : MUSTER_OK;
}

static json_t *prediction_json(const struct cost_prediction *prediction,
                               const struct machine_profile *profile, const struct cost_cluster *cluster)
{
    const struct machine_efficiency *efficiency = &profile->efficiency;
    json_t *parts = json_object();
    for (int part = 0; part < COST_PART_COUNT; part++)
        json_object_set_new(parts, cost_part_name((enum cost_part)part), json_real(prediction->part_s[part]));
    return json_pack("{s:s,s:s,s:{s:f,s:f,s:f,s:f},s:i,s:i,s:f,s:o,s:f,s:f,s:f,s:I,s:I,s:I}", "profile",
                     profile->name, "source", profile->source, "assumed_efficiency", "matrix",
                     efficiency->matrix, "attention", efficiency->attention, "stream", efficiency->stream,
                     "link", efficiency->link, "hosts", cluster->hosts, "ranks_per_host",
                     cluster->ranks_per_host, "step_s", prediction->step_s, "parts_s", parts, "reduce_s",
                     prediction->reduce_s, "tokens_per_s", prediction->tokens_per_s, "mfu", prediction->mfu,
                     "memory_bytes", (json_int_t)prediction->memory_bytes, "host_bytes",
                     (json_int_t)prediction->host_bytes, "spare_bytes", (json_int_t)prediction->spare_bytes);
}

enum muster_status cost_write_json(const struct cost_prediction *prediction,
                                   const struct machine_profile *profile, const struct cost_cluster *cluster,
                                   const char *plan_json, struct text *out, struct muster_error *err)
{
    json_t *root = json_loads(plan_json, 0, NULL);
    json_t *member = prediction_json(prediction, profile, cluster);
    char *dump = NULL;
    if (root != NULL && member != NULL && json_object_set(root, "prediction", member) == 0)
        dump = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(member);
    json_decref(root);
    if (dump == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write a prediction");
    text_print(out, "%s\n", dump);
    free(dump);
    return out->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write a prediction")
                       : MUSTER_OK;
}
