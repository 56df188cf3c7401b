/* SPDX-License-Identifier: MIT
 *
 * class/powercap/intel-rapl:N are whole packages (their names begin with "package"); what is below them
 * (intel-rapl:N:M) is part of them and not added. AMD's driver uses the same names.
 */
#include "coordinator/cluster/energy.h"

#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/text.h"

static const double j_per_uj = 1e-6;

static bool value_read(const char *folder, const char *file, char value[64])
{
    char path[FS_PATH_MAX];
    FILE *stream = fs_path_join(path, folder, file, NULL) == MUSTER_OK ? fopen(path, "re") : NULL;
    bool good = stream != NULL && fgets(value, 64, stream) != NULL;
    if (stream != NULL)
        fclose(stream);
    if (good)
        value[strcspn(value, "\n")] = '\0';
    return good;
}

static void meter_read(struct energy *energy, const char *top, const char *name)
{
    char folder[FS_PATH_MAX], value[64];
    const char *colon = strchr(name, ':');
    int at = energy->count;
    if (at == ENERGY_METERS_MAX || strlen(name) >= sizeof energy->names[0] || colon == NULL ||
        strchr(colon + 1, ':') != NULL || fs_path_join(folder, top, name, NULL) != MUSTER_OK)
        return;
    if (!value_read(folder, "name", value) || strncmp(value, "package", 7) != 0 ||
        !value_read(folder, "max_energy_range_uj", value) ||
        !text_parse_int64(value, &energy->range_uj[at]) || !value_read(folder, "energy_uj", value) ||
        !text_parse_int64(value, &energy->uj[at]))
        return;
    snprintf(energy->names[at], sizeof energy->names[at], "%.31s", name);
    energy->count++;
}

void energy_read(struct energy *energy, const char *system)
{
    char folder[FS_PATH_MAX];
    struct fs_list list;
    *energy = (struct energy){.count = 0};
    if (fs_path_join(folder, system, "class/powercap", NULL) != MUSTER_OK || !fs_is_folder(folder) ||
        fs_list_read(folder, &list, NULL) != MUSTER_OK)
        return;
    for (size_t i = 0; i < list.count; i++)
        meter_read(energy, folder, list.names[i]);
    fs_list_release(&list);
}

double energy_between_j(const struct energy *before, const struct energy *after)
{
    double joules = 0;
    if (before->count == 0 || before->count != after->count)
        return -1;
    for (int i = 0; i < before->count; i++) {
        int64_t used = after->uj[i] - before->uj[i];
        if (strcmp(before->names[i], after->names[i]) != 0)
            return -1;
        joules += (double)(used >= 0 ? used : used + after->range_uj[i]) * j_per_uj;
    }
    return joules;
}
