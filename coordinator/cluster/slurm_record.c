/* SPDX-License-Identifier: MIT
 *
 * Lines of tab-separated fields, replaced durably as a whole: there are few, and a crash leaves the old ones.
 */
#include "coordinator/cluster/slurm_record.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

enum { RECORD_BYTES_MAX = 16 << 20, FIELD_COUNT = 3 };

enum muster_status slurm_record_folder(const char *run, char folder[FS_PATH_MAX], struct muster_error *err)
{
    enum muster_status status = fs_path_join(folder, run, "slurm", err);
    return status == MUSTER_OK ? fs_folder_create(folder, err) : status;
}

static enum muster_status file_path(const char *run, const char *name, char path[FS_PATH_MAX],
                                    struct muster_error *err)
{
    char folder[FS_PATH_MAX];
    enum muster_status status = fs_path_join(folder, run, "slurm", err);
    return status == MUSTER_OK ? fs_path_join(path, folder, name, err) : status;
}

/* All lines; none when there is no file. */
static enum muster_status lines_read(const char *path, struct text *lines, struct muster_error *err)
{
    char *bytes = NULL;
    size_t count = 0;
    if (!fs_exists(path))
        return MUSTER_OK;
    enum muster_status status = fs_file_read(path, RECORD_BYTES_MAX, &bytes, &count, err);
    if (status == MUSTER_OK)
        text_append(lines, bytes, count);
    alloc_free(bytes);
    return status;
}

enum muster_status slurm_record_add(const char *run, const struct slurm_record *record,
                                    struct muster_error *err)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX];
    struct text lines;
    text_init(&lines);
    enum muster_status status = slurm_record_folder(run, folder, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, folder, "jobs", err);
    if (status == MUSTER_OK)
        status = lines_read(path, &lines, err);
    text_print(&lines, "%s\t%s\t%s\n", record->id, record->submitted, record->log);
    if (status == MUSTER_OK && lines.failed)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %s", path);
    if (status == MUSTER_OK)
        status = fs_file_write(path, lines.data, lines.length, err);
    text_release(&lines);
    return status;
}

static void line_split(const char *line, size_t length, struct slurm_record *record)
{
    char *const fields[FIELD_COUNT] = {record->id, record->submitted, record->log};
    const size_t sizes[FIELD_COUNT] = {sizeof record->id, sizeof record->submitted, sizeof record->log};
    for (int i = 0; i < FIELD_COUNT; i++) {
        const char *tab = memchr(line, '\t', length);
        size_t field = tab != NULL && i + 1 < FIELD_COUNT ? (size_t)(tab - line) : length;
        snprintf(fields[i], sizes[i], "%.*s", (int)(field < sizes[i] ? field : sizes[i] - 1), line);
        if (field == length)
            return;
        line += field + 1;
        length -= field + 1;
    }
}

enum muster_status slurm_record_newest(const char *run, struct slurm_record *record, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    struct text lines;
    *record = (struct slurm_record){.id = ""};
    text_init(&lines);
    enum muster_status status = file_path(run, "jobs", path, err);
    if (status == MUSTER_OK)
        status = lines_read(path, &lines, err);
    size_t end = lines.length;
    while (end > 0 && lines.data[end - 1] == '\n')
        end--;
    size_t begin = end;
    while (begin > 0 && lines.data[begin - 1] != '\n')
        begin--;
    if (status == MUSTER_OK && end > begin)
        line_split(lines.data + begin, end - begin, record);
    if (status == MUSTER_OK && record->id[0] != '\0' && !slurm_id_is_safe(record->id))
        status = muster_error_set(err, MUSTER_ERR_CORRUPT, "%s: the last line names no Slurm job", path);
    text_release(&lines);
    return status;
}

static enum muster_status mark_path(const char *run, const char *name, const char *id, char path[FS_PATH_MAX],
                                    struct muster_error *err)
{
    char file[2 * SLURM_ID_SIZE];
    snprintf(file, sizeof file, "%s-%s", name, id);
    return file_path(run, file, path, err);
}

enum muster_status slurm_record_mark(const char *run, const char *name, const char *id, const char *text,
                                     struct muster_error *err)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX];
    enum muster_status status = slurm_record_folder(run, folder, err);
    if (status == MUSTER_OK)
        status = mark_path(run, name, id, path, err);
    return status == MUSTER_OK ? fs_file_write(path, text, strlen(text), err) : status;
}

bool slurm_record_marked(const char *run, const char *name, const char *id, char text[SLURM_FIELD_SIZE])
{
    char path[FS_PATH_MAX], *bytes = NULL;
    size_t count;
    text[0] = '\0';
    if (mark_path(run, name, id, path, NULL) != MUSTER_OK ||
        fs_file_read(path, SLURM_FIELD_SIZE, &bytes, &count, NULL) != MUSTER_OK)
        return false;
    snprintf(text, SLURM_FIELD_SIZE, "%s", bytes);
    alloc_free(bytes);
    return true;
}
