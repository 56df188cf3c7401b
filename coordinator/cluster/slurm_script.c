/* SPDX-License-Identifier: MIT
 *
 * sbatch reads #SBATCH lines up to the script's first command, and takes quotes and backslashes in them like
 * a shell does. So a value between double quotes, with backslashes before quotes and backslashes, is that
 * value; a line break, which alone could end the line, is refused by the job reader and here. The shell's
 * part begins with a command ("set -u"), after which nothing is read as an option any more.
 */
#include "coordinator/cluster/slurm_script.h"

#include <string.h>

#include "base/shell_word.h"
#include "coordinator/job/job_issue.h"

/* #SBATCH "--name=value"; nothing for a value that is not given. */
static void option_print(struct text *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    text_print(out, "#SBATCH \"--%s%s", name, value[0] != '\0' ? "=" : "");
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\')
            text_append(out, "\\", 1);
        text_append(out, value, 1);
    }
    text_print(out, "\"\n");
}

static void number_print(struct text *out, const char *name, int64_t value)
{
    if (value > 0)
        text_print(out, "#SBATCH --%s=%lld\n", name, (long long)value);
}

static void array_print(const struct slurm_script *script, struct text *out)
{
    if (script->job_count < 2)
        return;
    text_print(out, "#SBATCH --array=0-%d", script->job_count - 1);
    if (script->at_once > 0)
        text_print(out, "%%%lld", (long long)script->at_once);
    text_print(out, "\n");
}

/* "--option=value" as it stands in slurm.options. */
static void extra_print(struct text *out, const char *option)
{
    struct text name;
    size_t length = strcspn(option, "=");
    text_init(&name);
    text_append(&name, option + 2, length - 2);
    option_print(out, name.data, option[length] == '=' ? option + length + 1 : "");
    out->failed |= name.failed;
    text_release(&name);
}

static void resources_print(const struct job *job, struct text *out)
{
    int64_t tasks = job->slurm.ntasks_per_node;
    if (tasks == 0)
        tasks = job->slurm.gpus_per_node > 0 ? job->slurm.gpus_per_node : 1;
    option_print(out, "partition", job->slurm.partition);
    option_print(out, "account", job->slurm.account);
    option_print(out, "qos", job->slurm.qos);
    number_print(out, "nodes", job->slurm.nodes);
    number_print(out, "ntasks-per-node", tasks);
    number_print(out, "gpus-per-node", job->slurm.gpus_per_node);
    number_print(out, "cpus-per-task", job->slurm.cpus_per_task);
    option_print(out, "mem", job->slurm.memory);
    option_print(out, "time", job->slurm.time);
    option_print(out, "exclude", job->slurm.exclude);
    option_print(out, "nodelist", job->slurm.nodelist);
    option_print(out, "constraint", job->slurm.constraint);
    option_print(out, "mail-user", job->slurm.mail_user);
    option_print(out, "mail-type", job->slurm.mail_type);
}

static void options_print(const struct slurm_script *script, struct text *out)
{
    const struct job *job = script->job;
    option_print(out, "job-name", job->name);
    resources_print(job, out);
    option_print(out, "chdir", script->directory);
    option_print(out, "output", script->log);
    text_print(out, "#SBATCH --open-mode=append\n");
    if (job->slurm.signal_margin_s > 0)
        text_print(out, "#SBATCH --signal=B:USR1@%lld\n", (long long)job->slurm.signal_margin_s);
    text_print(out, "#SBATCH --%srequeue\n", job->slurm.requeue ? "" : "no-");
    if (job->slurm.nodes > 1)
        text_print(out, "#SBATCH --no-kill\n"); /* the run goes on with the nodes that are left */
    array_print(script, out);
    option_print(out, "dependency", script->dependency);
    if (script->dependency != NULL)
        text_print(out, "#SBATCH --kill-on-invalid-dep=yes\n");
    for (int i = 0; i < job->slurm.options.count; i++)
        extra_print(out, job->slurm.options.items[i]);
}

static void modules_print(const struct job_texts *modules, struct text *out)
{
    if (modules->count == 0)
        return;
    text_print(
        out,
        "if ! type module >/dev/null 2>&1; then\n"
        "    for script in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh; do\n"
        "        if [ -r \"$script\" ]; then . \"$script\"; fi\n"
        "    done\n"
        "fi\n");
    for (int i = 0; i < modules->count; i++) {
        text_print(out, "module load ");
        shell_word_print(out, modules->items[i]);
        text_print(out, " || exit 2\n");
    }
}

static void environment_print(const struct job_texts *environment, struct text *out)
{
    for (int i = 0; i < environment->count; i++) {
        const char *item = environment->items[i];
        size_t name = strcspn(item, "=");
        text_print(out, "export %.*s=", (int)name, item);
        shell_word_print(out, item + name + (item[name] == '='));
        text_print(out, "\n");
    }
}

static void command_print(const struct slurm_script *script, struct text *out)
{
    if (script->job_count > 1) {
        text_print(out, "jobs=(");
        for (int i = 0; i < script->job_count; i++) {
            text_print(out, "\n    ");
            shell_word_print(out, script->job_paths[i]);
        }
        text_print(out, "\n)\n");
    }
    text_print(out, "exec ");
    shell_word_print(out, script->muster);
    text_print(out, " run ");
    if (script->job_count > 1)
        text_print(out, "\"${jobs[SLURM_ARRAY_TASK_ID]}\"");
    else
        shell_word_print(out, script->job_paths[0]);
    for (int i = 0; script->settings != NULL && i < script->settings->count; i++) {
        text_print(out, " --set ");
        shell_word_print(out, script->settings->words[i]);
    }
    text_print(out, " --requeue\n");
}

static bool settings_are_printable(const struct job_settings *settings)
{
    for (int i = 0; settings != NULL && i < settings->count; i++) {
        if (!job_text_is_printable(settings->words[i]))
            return false;
    }
    return true;
}

static enum muster_status printable_check(const struct slurm_script *script, struct muster_error *err)
{
    const char *const fixed[] = {script->muster, script->directory, script->log};
    for (int i = 0; i < 3 + script->job_count; i++) {
        if (!job_text_is_printable(i < 3 ? fixed[i] : script->job_paths[i - 3]))
            return muster_error_set(
                err, MUSTER_ERR_BAD_INPUT,
                "a path has a line break or control character in it; no batch script is written "
                "for it");
    }
    if (!settings_are_printable(script->settings))
        return muster_error_set(
            err, MUSTER_ERR_BAD_INPUT,
            "--set: a line break or control character; no batch script is written for it");
    return MUSTER_OK;
}

enum muster_status slurm_script_write(const struct slurm_script *script, struct text *out,
                                      struct muster_error *err)
{
    enum muster_status status = printable_check(script, err);
    if (status != MUSTER_OK)
        return status;
    text_print(out, "#!/bin/bash\n"
                    "# Written by muster submit. The lines that begin with #SBATCH are options of sbatch.\n");
    options_print(script, out);
    text_print(out, "\nset -u\n");
    modules_print(&script->job->slurm.modules, out);
    environment_print(&script->job->slurm.environment, out);
    text_print(out, "# muster run passes the signals on, saves, and puts the job back into the queue where "
                    "that helps.\n");
    command_print(script, out);
    if (out->failed)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the batch script");
    return MUSTER_OK;
}

enum muster_status slurm_script_log_print(struct text *out, const char *path, const char *pattern,
                                          struct muster_error *err)
{
    if (strchr(path, '\\') != NULL)
        return muster_error_set(
            err, MUSTER_ERR_UNSUPPORTED,
            "output_dir has a backslash in it (%.200s): Slurm would not put the job's number into "
            "the name of its log",
            path);
    for (; *path != '\0'; path++) {
        text_append(out, path, 1);
        if (*path == '%')
            text_append(out, "%", 1);
    }
    text_print(out, "/%s", pattern);
    return MUSTER_OK;
}
