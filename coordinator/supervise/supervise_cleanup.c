/* SPDX-License-Identifier: MIT
 *
 * A process belongs to the run when its environment says so (MUSTER_RUN with device, inode and path of the
 * run's folder), which survives the death of parents and process groups. The scan is repeated until it finds
 * nobody: a launcher may have been starting a rank meanwhile.
 */
#include "coordinator/supervise/supervise_cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/process.h"
#include "base/text.h"
#include "coordinator/cli/launch_leftovers.h"
#include "coordinator/supervise/supervise_folder.h"

enum { ROUNDS_MAX = 5, DEATH_MS_MAX = 2000 };

/* Returns when the process has ended, or will not within two seconds (a system call that does not return). */
static void process_kill(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    kill(pid, SIGKILL);
    if (fd < 0)
        return;
    struct pollfd end = {.fd = fd, .events = POLLIN};
    while (poll(&end, 1, DEATH_MS_MAX) < 0 && errno == EINTR)
        continue;
    close(fd);
}

static int round_kill(const char *setting)
{
    int count = 0;
    int64_t pid;
    struct dirent *entry;
    DIR *processes = opendir("/proc");
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!text_parse_int64(entry->d_name, &pid) || pid <= 1 || pid == getpid() ||
            !process_has_setting((pid_t)pid, setting))
            continue;
        process_kill((pid_t)pid);
        count++;
    }
    if (processes != NULL)
        closedir(processes);
    return count;
}

/* The number may meanwhile be another process's, whose folder has the same name: then it stays. */
static void launcher_clean(const char *folder, int64_t epoch)
{
    struct supervise_launcher launcher, here;
    supervise_launcher_here(&here, 0);
    if (!supervise_launcher_read(folder, epoch, &launcher) || strcmp(launcher.host, here.host) != 0)
        return;
    if (process_has_ended(launcher.pid))
        launch_leftovers_remove(launcher.temporary, launcher.shared, launcher.pid);
    supervise_launcher_forget(folder, epoch);
}

static void launchers_clean(const char *folder)
{
    struct fs_list list;
    if (fs_list_read(folder, &list, NULL) != MUSTER_OK)
        return;
    for (size_t i = 0; i < list.count; i++) {
        int64_t epoch = supervise_launcher_epoch(list.names[i]);
        if (epoch >= 0)
            launcher_clean(folder, epoch);
    }
    fs_list_release(&list);
}

int supervise_cleanup(const char *folder, const char *run_id)
{
    struct text setting;
    int count = 0, found = 1;
    text_init(&setting);
    text_print(&setting, "%s=%s", SUPERVISE_ID_ENVIRONMENT, run_id);
    for (int round = 0; round < ROUNDS_MAX && found > 0 && !setting.failed; round++)
        count += found = round_kill(setting.data);
    text_release(&setting);
    launchers_clean(folder);
    return count;
}
