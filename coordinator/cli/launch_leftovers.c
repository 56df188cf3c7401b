/* SPDX-License-Identifier: MIT
 *
 * Open MPI names its things by host, user and job. 4.1:
 *
 *   TMP/ompi.HOST.UID/pid.PID/contact.txt      begins with "JOB.0;", JOB a decimal number
 *   /dev/shm/vader_segment.HOST.UID.JOB.RANK   JOB in hexadecimal; its upper 16 bits are those of contact.txt
 *
 * 5.0:
 *
 *   TMP/prterun.HOST.PID.UID
 *   /dev/shm/sm_segment.HOST.UID.JOB.RANK      the upper 16 bits of JOB are a hash of "prterun-HOST-PID"
 *
 * So the process id leads to the session folder and to the segments. An mpirun that ended by itself has
 * removed its session folder; then nothing is left, and nothing is touched.
 */
#include "coordinator/cli/launch_leftovers.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"

enum { CONTACT_BYTES_MAX = 65536, FAMILY_SHIFT = 16 };

/* Nobody else can have put it there. */
static bool is_ours(const char *path, mode_t type)
{
    struct stat stat;
    return lstat(path, &stat) == 0 && (stat.st_mode & S_IFMT) == type && stat.st_uid == geteuid();
}

/* The upper 16 bits of the job's number; -1 when the folder does not tell. */
static int64_t job_family(const char *session)
{
    char path[FS_PATH_MAX], *text = NULL, *end;
    size_t bytes;
    int64_t family = -1;
    if (fs_path_join(path, session, "contact.txt", NULL) != MUSTER_OK || !is_ours(path, S_IFREG) ||
        fs_file_read(path, CONTACT_BYTES_MAX, &text, &bytes, NULL) != MUSTER_OK)
        return -1;
    unsigned long long job = strtoull(text, &end, 10);
    if (end != text && *end == '.' && job <= UINT32_MAX && (job & 0xffff) == 0 && job != 0)
        family = (int64_t)(job >> FAMILY_SHIFT);
    alloc_free(text);
    return family;
}

/* NAME is PREFIX, the job in hexadecimal, a point and a rank. */
static bool segment_is_of(const char *name, const char *prefix, int64_t family)
{
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0)
        return false;
    const char *digits = name + length;
    size_t count = strspn(digits, "0123456789abcdef");
    const char *rank = digits + count;
    if (count == 0 || count > 8 || rank[0] != '.' || rank[1] == '\0' ||
        rank[1 + strspn(rank + 1, "0123456789")] != '\0')
        return false;
    return (int64_t)(strtoull(digits, NULL, 16) >> FAMILY_SHIFT) == family;
}

static void segments_remove(const char *shared, const char *prefix, int64_t family)
{
    struct fs_list list;
    char path[FS_PATH_MAX];
    if (fs_list_read(shared, &list, NULL) != MUSTER_OK)
        return;
    for (size_t i = 0; i < list.count; i++) {
        if (segment_is_of(list.names[i], prefix, family) &&
            fs_path_join(path, shared, list.names[i], NULL) == MUSTER_OK && is_ours(path, S_IFREG))
            unlink(path);
    }
    fs_list_release(&list);
}

static void session_4_remove(const char *temporary, const char *shared, const char *host, pid_t mpirun)
{
    char top[FS_PATH_MAX], session[FS_PATH_MAX], name[256], prefix[256];
    snprintf(name, sizeof name, "ompi.%s.%u", host, (unsigned)geteuid());
    snprintf(prefix, sizeof prefix, "vader_segment.%s.%u.", host, (unsigned)geteuid());
    if (fs_path_join(top, temporary, name, NULL) != MUSTER_OK || !is_ours(top, S_IFDIR))
        return;
    snprintf(name, sizeof name, "pid.%lld", (long long)mpirun);
    if (fs_path_join(session, top, name, NULL) != MUSTER_OK || !is_ours(session, S_IFDIR))
        return;
    int64_t family = job_family(session);
    if (family >= 0)
        segments_remove(shared, prefix, family);
    fs_remove_tree(session, NULL);
    rmdir(top); /* fails while other runs are there */
}

/* Bob Jenkins's one-at-a-time hash, its halves combined: how Open MPI 5.0 makes a number of a job's name. */
static int64_t job_family_of_name(const char *name)
{
    uint32_t hash = 0;
    for (; *name != '\0'; name++) {
        hash += (unsigned char)*name;
        hash += hash << 10;
        hash ^= hash >> 6;
    }
    hash += hash << 3;
    hash ^= hash >> 11;
    hash += hash << 15;
    return (hash ^ hash >> FAMILY_SHIFT) & 0xffff;
}

static void session_5_remove(const char *temporary, const char *shared, const char *host, pid_t mpirun)
{
    char session[FS_PATH_MAX], name[256], prefix[256];
    snprintf(name, sizeof name, "prterun.%s.%lld.%u", host, (long long)mpirun, (unsigned)geteuid());
    snprintf(prefix, sizeof prefix, "sm_segment.%s.%u.", host, (unsigned)geteuid());
    if (fs_path_join(session, temporary, name, NULL) != MUSTER_OK || !is_ours(session, S_IFDIR))
        return;
    snprintf(name, sizeof name, "prterun-%s-%lld", host, (long long)mpirun);
    segments_remove(shared, prefix, job_family_of_name(name));
    fs_remove_tree(session, NULL);
}

void launch_leftovers_remove_named(const char *temporary, const char *shared, const char *host, pid_t mpirun)
{
    session_4_remove(temporary, shared, host, mpirun);
    session_5_remove(temporary, shared, host, mpirun);
}

void launch_leftovers_remove(const char *temporary, const char *shared, pid_t mpirun)
{
    struct utsname system;
    if (uname(&system) != 0)
        return;
    launch_leftovers_remove_named(temporary, shared, system.nodename, mpirun);
    char *domain = strchr(system.nodename, '.');
    if (domain != NULL) {
        *domain = '\0'; /* how it is called unless told to keep the domain */
        launch_leftovers_remove_named(temporary, shared, system.nodename, mpirun);
    }
}

static const char *folder_of_environment(const char *const names[], size_t count, const char *otherwise)
{
    for (size_t i = 0; i < count; i++) {
        const char *folder = getenv(names[i]);
        if (folder != NULL && folder[0] != '\0')
            return folder;
    }
    return otherwise;
}

/* A person who names a folder for one version has that version. */
const char *launch_leftovers_temporary(void)
{
    static const char *const names[] = {"OMPI_MCA_orte_tmpdir_base", "PRTE_MCA_prte_tmpdir_base", "TMPDIR",
                                        "TEMP", "TMP"};
    return folder_of_environment(names, sizeof names / sizeof names[0], "/tmp");
}

const char *launch_leftovers_shared(void)
{
    static const char *const names[] = {"OMPI_MCA_btl_vader_backing_directory",
                                        "OMPI_MCA_btl_sm_backing_directory"};
    return folder_of_environment(names, sizeof names / sizeof names[0], "/dev/shm");
}

void launch_leftovers_remove_own(pid_t mpirun)
{
    launch_leftovers_remove(launch_leftovers_temporary(), launch_leftovers_shared(), mpirun);
}
