/* SPDX-License-Identifier: MIT
 *
 * Two things are said to mpirun that it would otherwise guess: the folder to start in, and which variables of
 * the environment go to hosts that are reached by ssh. Slurm hands on both by itself. What is written here
 * about Slurm was measured with 22.05.
 */
#include "coordinator/cli/launch_words.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

extern char **environ;

/* A word that is out of memory is noticed at the end: argv is NULL from then on. */
static void word_add(struct launch_command *command, const char *word)
{
    if (command->argv == NULL)
        return;
    char **argv = alloc_resize(command->argv, (size_t)command->argc + 2, sizeof *argv),
         *copy = alloc_text(word);
    if (argv != NULL)
        command->argv = argv;
    if (argv == NULL || copy == NULL) {
        alloc_free(copy);
        command->failed = true;
        return;
    }
    argv[command->argc++] = copy;
    argv[command->argc] = NULL;
}

/* PREFIX and a number as one word. */
static void number_add(struct launch_command *command, const char *prefix, long long number)
{
    struct text word;
    text_init(&word);
    text_print(&word, "%s%lld", prefix, number);
    word_add(command, word.data);
    command->failed |= word.failed;
    text_release(&word);
}

/* PREFIX and the hosts that are left as one word. */
static void names_add(struct launch_command *command, const char *prefix, const struct hosts *hosts,
                      bool with_slots)
{
    struct text word;
    text_init(&word);
    text_print(&word, "%s", prefix);
    hosts_print(hosts, with_slots, &word);
    word_add(command, word.data);
    command->failed |= word.failed;
    text_release(&word);
}

/* As a file's name that neither mpirun (":" separates programs) nor the worker takes for something else. */
static void path_add(struct launch_command *command, const char *path)
{
    struct text safe;
    text_init(&safe);
    bool strange = path[0] == '-' || strcmp(path, ":") == 0;
    text_print(&safe, "%s%s", strange ? "./" : "", path);
    word_add(command, safe.data);
    command->failed |= safe.failed;
    text_release(&safe);
}

static bool some_are_out(const struct launch_options *options)
{
    return options->hosts != NULL && hosts_left(options->hosts) < options->hosts->count;
}

static bool variable_goes(const struct launch_options *options, const char *variable, size_t length)
{
    static const char *const whole[] = {"PATH", "LD_LIBRARY_PATH"};
    static const char *const begins[] = {"MUSTER_", "OMP_",    "DNNL_",  "NCCL_",
                                         "UCX_",    "CUBLAS_", "CUDNN_", "NVIDIA_TF32_OVERRIDE="};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        if (strlen(whole[i]) == length && strncmp(variable, whole[i], length) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        if (strncmp(variable, begins[i], strlen(begins[i])) == 0 &&
            strncmp(variable, "MUSTER_LIVE=", 12) != 0)
            return true;
    }
    for (int i = 0; options->forward != NULL && i < options->forward->count; i++) {
        const char *name = options->forward->items[i];
        if (strlen(name) == length && strncmp(variable, name, length) == 0)
            return true;
    }
    return false;
}

static void variables_add(struct launch_command *command, const struct launch_options *options,
                          char *const *list)
{
    for (; list != NULL && *list != NULL; list++) {
        size_t length = strcspn(*list, "=");
        if (length == 0 || !variable_goes(options, *list, length))
            continue;
        struct text name;
        text_init(&name);
        text_append(&name, *list, length);
        word_add(command, "-x");
        word_add(command, name.data);
        command->failed |= name.failed;
        text_release(&name);
    }
}

/* Hosts that ssh reaches: they know neither this folder nor this environment. */
static void remote_words_add(struct launch_command *command, const struct launch_options *options)
{
    char folder[FS_PATH_MAX];
    if (getcwd(folder, sizeof folder) != NULL) {
        word_add(command, "--wdir");
        word_add(command, folder);
    }
    variables_add(command, options, environ);
    variables_add(command, options, command->settings);
}

static void mpirun_words_add(struct launch_command *command, const struct launch_options *options)
{
    word_add(command, "mpirun");
    word_add(command, "-n");
    number_add(command, "", options->ranks);
    if (options->hostfile != NULL) {
        word_add(command, "--hostfile");
        path_add(command, options->hostfile);
    } else if (some_are_out(options)) {
        word_add(command, "--host");
        names_add(command, "", options->hosts, true);
    }
    if (options->hosts != NULL && options->hosts->source == HOSTS_FILE)
        remote_words_add(command, options);
    if (options->live) {
        word_add(command, "-x");
        word_add(command, "MUSTER_LIVE=1");
    }
}

/* srun does not take the batch script's --cpus-per-task over. A new step need not wait for the old one's end.
 */
static void srun_words_add(struct launch_command *command, const struct launch_options *options)
{
    const char *cores = getenv("SLURM_CPUS_PER_TASK");
    int64_t core_count;
    word_add(command, "srun");
    word_add(command, "--mpi=pmix");
    number_add(command, "--nodes=", hosts_needed(options->hosts, options->ranks));
    number_add(command, "--ntasks=", options->ranks);
    if (cores != NULL && text_parse_int64(cores, &core_count) && core_count > 0)
        number_add(command, "--cpus-per-task=", core_count);
    if (some_are_out(options))
        names_add(command, "--nodelist=", options->hosts, false);
    word_add(command, "--kill-on-bad-exit=1"); /* else the others wait for ever for a rank that is gone */
    word_add(command, "--overlap");
    word_add(command, "--quit-on-interrupt");
    if (options->live)
        word_add(command, "--export=ALL,MUSTER_LIVE=1");
}

bool launch_words_add(struct launch_command *command, const struct launch_options *options)
{
    if (options->srun)
        srun_words_add(command, options);
    else
        mpirun_words_add(command, options);
    for (int i = 0; i < options->extra_count; i++)
        word_add(command, options->extra[i]);
    word_add(command, options->worker);
    for (const char *const *word = options->worker_options; word != NULL && *word != NULL; word++)
        word_add(command, *word);
    if (options->job_path != NULL)
        path_add(command, options->job_path);
    for (int i = 0; options->settings != NULL && i < options->settings->count; i++) {
        word_add(command, "--set");
        word_add(command, options->settings->words[i]);
    }
    if (options->resume != NULL) {
        word_add(command, "--resume");
        path_add(command, options->resume);
    }
    if (options->own_first)
        word_add(command, "--own-first");
    if (options->allow_changes != NULL) {
        word_add(command, "--allow-change");
        word_add(command, options->allow_changes);
    }
    return !command->failed;
}
