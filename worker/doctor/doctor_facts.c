/* SPDX-License-Identifier: MIT
 *
 * Nothing here judges, and nothing that one rank fails at keeps the others waiting: what cannot be had is
 * noted in the facts. Every rank goes through the same collectives.
 */
#include "worker/doctor/doctor_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/text.h"

enum { CLOCK_ROUNDS = 8, BANDWIDTH_ROUNDS = 4, PROGRAM_BYTES_MAX = 1 << 30, SMALL_FILE_MAX = 1 << 20 };

static const char token_name[] = ".doctor-token", probe_name[] = ".doctor-probe";

static void reason_keep(char out[DOCTOR_REASON_SIZE], const struct muster_error *err)
{
    snprintf(out, DOCTOR_REASON_SIZE, "%.*s", DOCTOR_REASON_SIZE - 1, err->text);
}

static struct hash128 program_hash(void)
{
    struct hash128 hash = {0, 0};
    struct fs_map map;
    if (fs_map_open(&map, "/proc/self/exe", NULL) == MUSTER_OK)
        hash = hash_xxh3(map.data, map.bytes);
    fs_map_release(&map);
    return hash;
}

/* The first number in a file, times `unit`; -1 when there is none ("max" in a cgroup's limit). */
static int64_t number_in(const char *path, const char *after, int64_t unit)
{
    char *data = NULL;
    size_t bytes;
    int64_t value = -1;
    if (fs_file_read(path, SMALL_FILE_MAX, &data, &bytes, NULL) == MUSTER_OK) {
        const char *place = strstr(data, after);
        char *end;
        if (place != NULL) {
            place += strlen(after);
            value = strtoll(place, &end, 10);
            value = end != place && value >= 0 && value <= INT64_MAX / unit ? value * unit : -1;
        }
    }
    alloc_free(data);
    return value;
}

static int64_t memory_free_bytes(void)
{
    static const struct {
        const char *limit, *used;
    } groups[] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    int64_t free_bytes = number_in("/proc/meminfo", "MemAvailable:", 1024);
    for (int i = 0; i < 2; i++) {
        int64_t limit = number_in(groups[i].limit, "", 1), used = number_in(groups[i].used, "", 1);
        if (limit >= 0 && used >= 0 && (free_bytes < 0 || limit - used < free_bytes))
            free_bytes = limit > used ? limit - used : 0;
    }
    return free_bytes;
}

static int64_t shared_free_bytes(void)
{
    struct statvfs info;
    return statvfs("/dev/shm", &info) == 0 ? (int64_t)info.f_bavail * (int64_t)info.f_frsize : -1;
}

/* A clock is ahead of rank 0's by what it shows after a barrier that both have left, give or take how long
 * leaving takes: the smallest of a few is nearest. */
static enum muster_status clock_compare(struct comm *comm, double *ahead_s, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    *ahead_s = 0.0;
    for (int round = 0; round < CLOCK_ROUNDS && status == MUSTER_OK; round++) {
        status = comm_barrier(comm, err);
        int64_t mine_ms = clock_unix_ms(), first_ms = mine_ms;
        if (status == MUSTER_OK)
            status = comm_broadcast(comm, &first_ms, sizeof first_ms, 0, err);
        double ahead = 1e-3 * (double)(mine_ms - first_ms);
        bool nearer = (ahead < 0 ? -ahead : ahead) < (*ahead_s < 0 ? -*ahead_s : *ahead_s);
        if (round == 0 || nearer)
            *ahead_s = ahead;
    }
    return status;
}

/* Rank 0 leaves a file with its own words; who reads them sees the same folder. */
static enum muster_status folder_compare(struct comm *comm, const char *folder, struct doctor_facts *mine,
                                         struct muster_error *err)
{
    struct muster_error own = {.text = ""};
    char path[FS_PATH_MAX], token[128] = "", *seen = NULL;
    size_t bytes = 0;
    enum muster_status made = fs_folder_create(folder, &own);
    if (made == MUSTER_OK)
        made = fs_path_join(path, folder, token_name, &own);
    snprintf(token, sizeof token, "%s %lld %lld", mine->host, (long long)getpid(),
             (long long)clock_monotonic_ns());
    if (made == MUSTER_OK && comm->rank == 0)
        made = fs_file_write(path, token, strlen(token), &own);
    enum muster_status status = comm_broadcast(comm, token, sizeof token, 0, err);
    if (made == MUSTER_OK && status == MUSTER_OK &&
        fs_file_read(path, sizeof token, &seen, &bytes, NULL) == MUSTER_OK)
        mine->sees_folder = strcmp(seen, token) == 0;
    alloc_free(seen);
    if (made != MUSTER_OK)
        reason_keep(mine->folder_reason, &own);
    if (status == MUSTER_OK)
        status = comm_barrier(comm, err);
    if (comm->rank == 0 && made == MUSTER_OK)
        unlink(path);
    return status;
}

static void folder_measure(const char *folder, int64_t probe_bytes, struct doctor_facts *mine)
{
    struct muster_error own = {.text = ""};
    struct fs_writer writer;
    char path[FS_PATH_MAX], name[64];
    void *data = alloc_pages((size_t)probe_bytes);
    snprintf(name, sizeof name, "%s-%lld", probe_name, (long long)getpid());
    mine->folder_free_bytes = fs_free_bytes(folder);
    double began_s = clock_seconds();
    enum muster_status status = fs_path_join(path, folder, name, &own);
    if (status == MUSTER_OK && data == NULL)
        status = muster_error_set(&own, MUSTER_ERR_NO_MEMORY, "no memory to measure the speed of %s", folder);
    if (status == MUSTER_OK)
        status = fs_writer_open(&writer, path, probe_bytes, &own);
    if (status == MUSTER_OK) {
        status = fs_writer_write(&writer, data, (size_t)probe_bytes, &own);
        if (status == MUSTER_OK)
            status = fs_writer_finish(&writer, &own);
        fs_writer_abort(&writer);
        unlink(path);
    }
    double took_s = clock_seconds() - began_s;
    if (status == MUSTER_OK)
        mine->write_bytes_per_s = (double)probe_bytes / (took_s > 1e-6 ? took_s : 1e-6);
    else
        reason_keep(mine->folder_reason, &own);
    alloc_pages_free(data, (size_t)probe_bytes);
}

static void data_open(const struct job_share *share, struct doctor_facts *mine)
{
    const struct job *job = share->job;
    const struct job_sources *lists[] = {&job->data.train, &job->data.val};
    struct muster_error own = {.text = ""};
    for (int i = 0; i < 2 && mine->data_reason[0] == '\0'; i++) {
        struct dataset *dataset = NULL;
        if (lists[i]->count == 0)
            continue;
        if (dataset_open(lists[i], job->data.format, share->config.seq_len, &dataset, &own) != MUSTER_OK)
            reason_keep(mine->data_reason, &own);
        dataset_close(dataset);
    }
}

enum muster_status doctor_facts_gather(struct comm *comm, const struct job_share *share, bool gpu,
                                       const char *folder, int64_t probe_bytes, struct doctor_facts *all,
                                       struct muster_error *err)
{
    struct doctor_facts *mine = &all[comm->rank];
    int64_t *bytes = alloc_zeroed((size_t)comm->size, sizeof *bytes);
    if (bytes == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to compare %d ranks", comm->size);
    for (int rank = 0; rank < comm->size; rank++)
        bytes[rank] = (int64_t)sizeof *all;
    *mine = (struct doctor_facts){.node = comm->node,
                                  .local_size = comm->local_size,
                                  .program = program_hash(),
                                  .memory_bytes = memory_free_bytes(),
                                  .shared_bytes = shared_free_bytes(),
                                  .is_writer = comm->local_rank == 0,
                                  .folder_free_bytes = -1};
    gethostname(mine->host, sizeof mine->host - 1);
    doctor_versions_find(gpu, &mine->versions);
    if (share != NULL)
        data_open(share, mine);
    enum muster_status status = clock_compare(comm, &mine->clock_ahead_s, err);
    if (status == MUSTER_OK)
        status = folder_compare(comm, folder, mine, err);
    if (status == MUSTER_OK && mine->is_writer && mine->folder_reason[0] == '\0')
        folder_measure(folder, probe_bytes, mine);
    if (status == MUSTER_OK)
        status = comm_all_gather(comm, all, bytes, err);
    alloc_free(bytes);
    return status;
}

enum muster_status doctor_bandwidth(struct comm *comm, int64_t bytes, double *bytes_per_s,
                                    struct muster_error *err)
{
    int64_t count = bytes / (int64_t)sizeof(float);
    float *data = alloc_zeroed((size_t)count, sizeof *data);
    *bytes_per_s = 0.0;
    if (data == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to measure an all-reduce");
    enum muster_status status = comm_all_reduce_f32(comm, data, count, err); /* the first opens connections */
    double began_s = clock_seconds();
    for (int round = 0; round < BANDWIDTH_ROUNDS && status == MUSTER_OK; round++)
        status = comm_all_reduce_f32(comm, data, count, err);
    double took_s = (clock_seconds() - began_s) / BANDWIDTH_ROUNDS, size = comm->size;
    if (status == MUSTER_OK && comm->size > 1)
        *bytes_per_s = 2.0 * (size - 1.0) / size * (double)bytes / (took_s > 1e-9 ? took_s : 1e-9);
    alloc_free(data);
    return status;
}
