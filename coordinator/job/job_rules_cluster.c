/* SPDX-License-Identifier: MIT
 *
 * Rules about words that other programs will read: sbatch, srun, ssh, mpirun, a batch script. All of them
 * reach those programs as quoted words, so the rules are not what keeps a hostile job harmless; they refuse
 * what the other program would take for something else (an option, a second host) and say so with file and
 * line.
 */
#include "coordinator/job/job_rules.h"

#include <stdio.h>
#include <string.h>

/* What the batch script says itself, and what would put another script in its place. */
static const char *const own_options[] = {
    "job-name",      "nodes",         "ntasks-per-node",
    "gpus-per-node", "cpus-per-task", "mem",
    "time",          "signal",        "requeue",
    "no-requeue",    "exclude",       "nodelist",
    "wrap",          "output",        "error",
    "open-mode",     "array",         "dependency",
    "chdir",         "parsable",      "constraint",
    "mail-user",     "mail-type",     "partition",
    "account",       "qos",           "wait",
    "test-only",     "no-kill",       "kill-on-invalid-dep",
};
enum { OWN_OPTION_COUNT = sizeof own_options / sizeof own_options[0] };

static bool name_is_variable(const char *name, size_t length)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char all[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return length > 0 && strchr(first, name[0]) != NULL && strspn(name, all) >= length;
}

static void environment_check(struct job_reading *reading)
{
    const struct job_texts *texts = &reading->job->slurm.environment;
    if (!job_rules_trust(reading, JOB_AT(slurm.environment)))
        return;
    for (int i = 0; i < texts->count; i++) {
        const char *equals = strchr(texts->items[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - texts->items[i]) : 0;
        if (!name_is_variable(texts->items[i], length))
            job_reading_error(reading, JOB_AT(slurm.environment),
                              "\"%.*s\" is no name of an environment variable; expected NAME: VALUE",
                              equals != NULL ? (int)length : 40, texts->items[i]);
    }
}

static void forward_check(struct job_reading *reading)
{
    const struct job_texts *texts = &reading->job->cluster.forward;
    if (!job_rules_trust(reading, JOB_AT(cluster.forward)))
        return;
    for (int i = 0; i < texts->count; i++) {
        if (!name_is_variable(texts->items[i], strlen(texts->items[i])))
            job_reading_error(reading, JOB_AT(cluster.forward),
                              "\"%.40s\" is no name of an environment variable", texts->items[i]);
    }
}

static void modules_check(struct job_reading *reading)
{
    const struct job_texts *texts = &reading->job->slurm.modules;
    for (int i = 0; job_rules_trust(reading, JOB_AT(slurm.modules)) && i < texts->count; i++) {
        if (texts->items[i][0] == '-')
            job_reading_error(reading, JOB_AT(slurm.modules), "\"%.40s\" is no module: it begins with '-'",
                              texts->items[i]);
    }
}

static void option_check(struct job_reading *reading, const char *option)
{
    size_t length = strcspn(option, "=");
    if (strncmp(option, "--", 2) != 0 || length < 3 || strcspn(option, " \t") < length) {
        job_reading_error(reading, JOB_AT(slurm.options), "\"%.60s\" is not written as --option=value",
                          option);
        return;
    }
    for (int i = 0; i < OWN_OPTION_COUNT; i++) {
        /* sbatch understands every unambiguous beginning of an option's name. */
        if (length - 2 <= strlen(own_options[i]) && strncmp(option + 2, own_options[i], length - 2) == 0) {
            job_reading_error(reading, JOB_AT(slurm.options),
                              "\"%.60s\" would replace --%s, which muster sets itself%s", option,
                              own_options[i],
                              strcmp(own_options[i], "wrap") == 0 ? "" : ": use the key of section slurm");
            return;
        }
    }
}

static void options_check(struct job_reading *reading)
{
    const struct job_texts *texts = &reading->job->slurm.options;
    for (int i = 0; job_rules_trust(reading, JOB_AT(slurm.options)) && i < texts->count; i++)
        option_check(reading, texts->items[i]);
}

/* One or two digits or more between separators, in one of the shapes that Slurm reads. */
static bool time_is_written_well(const char *text)
{
    static const char *const shapes[] = {"9", "9:9", "9:9:9", "9-9", "9-9:9", "9-9:9:9"};
    char shape[16];
    size_t length = 0;
    if (strcmp(text, "UNLIMITED") == 0 || strcmp(text, "infinite") == 0)
        return true;
    while (*text != '\0' && length + 1 < sizeof shape) {
        size_t digits = strspn(text, "0123456789");
        if (digits > 7)
            return false;
        shape[length++] = digits > 0 ? '9' : *text;
        text += digits > 0 ? digits : 1;
    }
    shape[length] = '\0';
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (*text == '\0' && strcmp(shape, shapes[i]) == 0)
            return true;
    }
    return false;
}

static void words_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    const struct {
        size_t offset;
        const char *text;
    } words[] = {
        {JOB_AT(slurm.partition), job->slurm.partition},
        {JOB_AT(slurm.account), job->slurm.account},
        {JOB_AT(slurm.qos), job->slurm.qos},
        {JOB_AT(slurm.exclude), job->slurm.exclude},
        {JOB_AT(slurm.nodelist), job->slurm.nodelist},
        {JOB_AT(slurm.memory), job->slurm.memory},
        {JOB_AT(slurm.mail_user), job->slurm.mail_user},
        {JOB_AT(slurm.mail_type), job->slurm.mail_type},
        {JOB_AT(cluster.interface), job->cluster.interface},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].text == NULL || !job_rules_trust(reading, words[i].offset))
            continue;
        if (words[i].text[0] == '-' || strpbrk(words[i].text, " \t;|&<>`$\"'\\(){}*?#!") != NULL)
            job_reading_error(reading, words[i].offset, "\"%.60s\" has a character that no such name has",
                              words[i].text);
    }
}

void job_rules_cluster_check(struct job_reading *reading)
{
    const struct job *job = reading->job;
    words_check(reading);
    environment_check(reading);
    forward_check(reading);
    modules_check(reading);
    options_check(reading);
    if (job->slurm.time != NULL && job_rules_trust(reading, JOB_AT(slurm.time)) &&
        !time_is_written_well(job->slurm.time))
        job_reading_error(
            reading, JOB_AT(slurm.time),
            "expected minutes, hours:minutes:seconds or days-hours:minutes:seconds, read \"%.40s\"",
            job->slurm.time);
}
