/* SPDX-License-Identifier: MIT
 *
 * Which words and settings make Open MPI behave the same on a laptop, in a container and on a cluster. A
 * setting that the person has made stays. OMPI_MCA_... of the launcher is read by 4.1 and PRTE_MCA_...
 * by 5.0, and neither minds the other's. What is written here about times was measured with 4.1.4.
 */
#include "coordinator/cli/launch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/shell_word.h"
#include "coordinator/cli/launch_words.h"

enum { INTERFACE_SETTINGS = 4 };

/* When a setting applies. */
enum occasion {
    ALWAYS,
    AS_ROOT,
    LOCAL,   /* all ranks on this host */
    CROWDED, /* local, and more ranks than cores */
    REMOTE,
    SLURM, /* mpirun inside an allocation */
};

static const struct {
    const char *name, *value;
    enum occasion occasion;
} settings[] = {
    {"OMPI_ALLOW_RUN_AS_ROOT", "1", AS_ROOT},
    {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", AS_ROOT},
    {"OMPI_MCA_rmaps_base_oversubscribe", "1", ALWAYS},
    {"PRTE_MCA_rmaps_default_mapping_policy", "slot:oversubscribe", ALWAYS},
    {"OMPI_MCA_hwloc_base_binding_policy", "none", ALWAYS},
    {"PRTE_MCA_hwloc_default_binding_policy", "none", ALWAYS},
    /* From the end of one rank: SIGTERM to the others after so many seconds, SIGKILL after twice as many. */
    {"OMPI_MCA_odls_base_sigkill_timeout", "0", LOCAL}, /* they have nothing to say any more */
    {"OMPI_MCA_odls_base_sigkill_timeout", "1", REMOTE},
    /* Without it a waiting rank holds its core: 11 to 18 ms instead of 12 to 18 µs for a small all-reduce. */
    {"OMPI_MCA_mpi_yield_when_idle", "1", CROWDED},
    /* Shared memory only: MPI_Init in 0.1 s instead of 0.3 s, and no rank listens on a network port. */
    {"OMPI_MCA_pml", "ob1", LOCAL},
    {"OMPI_MCA_btl", "self,vader", LOCAL},
    /* mpirun looks for ssh even where it starts nothing elsewhere, and fails in a container that has none. */
    {"OMPI_MCA_plm_rsh_agent", "/bin/sh", LOCAL},
    /* A host that is cut off is noticed within 10 s instead of 8 minutes. */
    {"OMPI_MCA_oob_tcp_keepalive_time", "5", REMOTE},
    {"OMPI_MCA_oob_tcp_keepalive_intvl", "2", REMOTE},
    {"OMPI_MCA_oob_tcp_keepalive_probes", "2", REMOTE},
    {"PRTE_MCA_oob_tcp_keepalive_time", "5", REMOTE},
    {"PRTE_MCA_oob_tcp_keepalive_intvl", "2", REMOTE},
    {"PRTE_MCA_oob_tcp_keepalive_probes", "2", REMOTE},
    /* mpirun's daemons are a step; after a death they need not wait until Slurm has given the old one up. */
    {"SLURM_OVERLAP", "1", SLURM},
};
enum { SETTING_COUNT = sizeof settings / sizeof settings[0] };

enum muster_status launch_worker_path(char worker[FS_PATH_MAX], struct muster_error *err)
{
    char folder[FS_PATH_MAX];
    enum muster_status status = fs_program_folder(folder, err);
    if (status == MUSTER_OK)
        status = fs_path_join(worker, folder, "muster-worker", err);
    if (status == MUSTER_OK && access(worker, X_OK) != 0)
        status =
            muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cannot start %s: %s", worker, strerror(errno));
    return status;
}

static bool word_names_hosts(const char *word)
{
    static const char *const names[] = {"hostfile", "machinefile", "default-hostfile", "host", "H",
                                        "rankfile", "rf"};
    if (word[0] != '-')
        return false;
    word += word[1] == '-' ? 2 : 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(word, names[i]) == 0)
            return true;
    }
    return false;
}

/* The batch systems that Open MPI asks for hosts. */
static bool allocation_has_hosts(void)
{
    static const char *const lists[] = {"PBS_NODEFILE",
                                        "PE_HOSTFILE",
                                        "LSB_HOSTS",
                                        "LSB_DJOB_HOSTFILE",
                                        "OMPI_MCA_orte_default_hostfile",
                                        "PRTE_MCA_prte_default_hostfile"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        if (getenv(lists[i]) != NULL)
            return true;
    }
    const char *nodes = getenv("SLURM_JOB_NUM_NODES");
    nodes = nodes != NULL ? nodes : getenv("SLURM_NNODES");
    return nodes != NULL && strcmp(nodes, "1") != 0;
}

static bool ranks_are_local(const struct launch_options *options)
{
    if (options->hosts != NULL && options->hosts->source != HOSTS_LOCAL)
        return options->hosts->source == HOSTS_SLURM && options->hosts->count == 1;
    for (int i = 0; i < options->extra_count; i++) {
        if (word_names_hosts(options->extra[i]))
            return false;
    }
    return options->hostfile == NULL && !allocation_has_hosts();
}

static bool setting_applies(enum occasion occasion, bool local, const struct launch_options *options)
{
    switch (occasion) {
    case ALWAYS:
        return true;
    case AS_ROOT:
        return geteuid() == 0;
    case LOCAL:
        return local;
    case CROWDED:
        return local && options->ranks > options->cores;
    case REMOTE:
        return !local;
    case SLURM:
        return options->hosts != NULL && options->hosts->source == HOSTS_SLURM && !options->srun;
    }
    return false;
}

static bool setting_add(struct launch_command *command, const char *name, const char *value)
{
    struct text text;
    if (getenv(name) != NULL)
        return true;
    text_init(&text);
    text_print(&text, "%s=%s", name, value);
    char *setting = text.failed ? NULL : alloc_text(text.data);
    text_release(&text);
    if (setting != NULL)
        command->settings[command->setting_count++] = setting;
    return setting != NULL;
}

/* An address range is understood by Open MPI alone. NCCL takes a name for the beginning of several, ib0 for
 * ib0.8001 too, unless '=' is before it. */
static bool interface_add(struct launch_command *command, const char *interface)
{
    char exact[256];
    bool is_name = strchr(interface, '/') == NULL;
    if (is_name && snprintf(exact, sizeof exact, "=%s", interface) >= (int)sizeof exact)
        return false;
    return setting_add(command, "OMPI_MCA_btl_tcp_if_include", interface) &&
           setting_add(command, "OMPI_MCA_oob_tcp_if_include", interface) &&
           setting_add(command, "PRTE_MCA_prte_if_include", interface) &&
           (!is_name || setting_add(command, "NCCL_SOCKET_IFNAME", exact));
}

static bool settings_add(struct launch_command *command, const struct launch_options *options)
{
    for (int i = 0; i < SETTING_COUNT; i++) {
        if (setting_applies(settings[i].occasion, command->local, options) &&
            !setting_add(command, settings[i].name, settings[i].value))
            return false;
    }
    return options->interface == NULL || command->local || interface_add(command, options->interface);
}

enum muster_status launch_command_build(struct launch_command *command, const struct launch_options *options,
                                        struct muster_error *err)
{
    *command = (struct launch_command){.local = ranks_are_local(options),
                                       .end_signal = options->srun ? SIGINT : SIGTERM};
    command->argv = alloc_zeroed(1, sizeof *command->argv);
    command->settings = alloc_zeroed(SETTING_COUNT + INTERFACE_SETTINGS, sizeof *command->settings);
    if (command->argv == NULL || command->settings == NULL || !settings_add(command, options) ||
        !launch_words_add(command, options))
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the command");
    return MUSTER_OK;
}

void launch_command_release(struct launch_command *command)
{
    for (int i = 0; i < command->argc; i++)
        alloc_free(command->argv[i]);
    for (int i = 0; i < command->setting_count; i++)
        alloc_free(command->settings[i]);
    alloc_free(command->argv);
    alloc_free(command->settings);
    *command = (struct launch_command){.argc = 0};
}

/* NAME=VALUE, of which only the value needs quotes. */
static void setting_print(const char *setting, struct text *out)
{
    size_t name = strcspn(setting, "=") + 1;
    text_append(out, setting, name);
    shell_word_print(out, setting + name);
    text_print(out, " ");
}

void launch_command_print(const struct launch_command *command, struct text *out)
{
    for (int i = 0; i < command->setting_count; i++)
        setting_print(command->settings[i], out);
    for (int i = 0; i < command->argc; i++) {
        shell_word_print(out, command->argv[i]);
        text_print(out, i + 1 < command->argc ? " " : "\n");
    }
}
