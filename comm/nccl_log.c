/* SPDX-License-Identifier: MIT
 *
 * See nccl_log.h. NCCL keeps the removed file open: what it still says goes nowhere, as it does without these
 * variables. A temporary folder that cannot be written costs the knowledge of the transport, not the job.
 */
#include "comm/nccl_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"

enum { LOG_BYTES_MAX = 64 << 20 };

static const char *const variables[][2] = {
    {"NCCL_DEBUG", "INFO"}, {"NCCL_DEBUG_SUBSYS", "INIT,NET"}, {"NCCL_DEBUG_FILE", NULL}};

void nccl_log_begin(struct nccl_log *log)
{
    log->path[0] = '\0';
    for (int i = 0; i < 3; i++)
        if (getenv(variables[i][0]))
            return;
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder || strchr(folder, '%')) /* NCCL would replace %h and %p */
        folder = "/tmp";
    if (snprintf(log->path, sizeof(log->path), "%s/muster-nccl-XXXXXX", folder) >= (int)sizeof(log->path)) {
        log->path[0] = '\0';
        return;
    }
    int fd = mkstemp(log->path);
    if (fd < 0) {
        log->path[0] = '\0';
        return;
    }
    close(fd);
    for (int i = 0; i < 3; i++)
        setenv(variables[i][0], variables[i][1] ? variables[i][1] : log->path, 1);
}

bool nccl_log_read(const struct nccl_log *log, struct nccl_transport *transport)
{
    char *data = NULL;
    size_t bytes;
    *transport = (struct nccl_transport){0};
    if (!log->path[0] || fs_file_read(log->path, LOG_BYTES_MAX, &data, &bytes, NULL) != MUSTER_OK)
        return false;
    *transport = nccl_transport_parse(data);
    alloc_free(data);
    return bytes > 0;
}

void nccl_log_end(struct nccl_log *log)
{
    if (!log->path[0])
        return;
    unlink(log->path);
    for (int i = 0; i < 3; i++)
        unsetenv(variables[i][0]);
    log->path[0] = '\0';
}
