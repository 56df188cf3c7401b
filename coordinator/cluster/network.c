/* SPDX-License-Identifier: MIT
 *
 * Read from sysfs: class/infiniband/DEVICE/ports/N/{state,link_layer,rate} and
 * class/net/NAME/{operstate,type,speed}. Nothing is opened that is not there, so a machine without InfiniBand
 * costs a look into one folder.
 */
#include "coordinator/cluster/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"

enum { VALUE_SIZE = 128, TYPE_ETHERNET = 1, TYPE_INFINIBAND = 32 };

/* The one line of FOLDER/NAME/FILE; empty when it cannot be read. */
static void value_read(const char *folder, const char *name, const char *file, char value[VALUE_SIZE])
{
    char path[FS_PATH_MAX];
    value[0] = '\0';
    if (snprintf(path, sizeof path, "%s/%s/%s", folder, name, file) >= (int)sizeof path)
        return;
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return;
    if (fgets(value, VALUE_SIZE, stream) == NULL)
        value[0] = '\0';
    value[strcspn(value, "\n")] = '\0';
    fclose(stream);
}

static void item_print(struct text *out, size_t before, const char *kind, const char *name, const char *speed,
                       const char *unit)
{
    text_print(out, "%s%s %s", out->length > before ? ", " : "", kind, name);
    if (speed[0] != '\0')
        text_print(out, " (%s%s)", speed, unit);
}

static void ports_print(const char *folder, const char *device, size_t before, struct text *out)
{
    char ports[FS_PATH_MAX], state[VALUE_SIZE], layer[VALUE_SIZE], rate[VALUE_SIZE];
    struct fs_list list;
    if (snprintf(ports, sizeof ports, "%s/%s/ports", folder, device) >= (int)sizeof ports ||
        fs_list_read(ports, &list, NULL) != MUSTER_OK)
        return;
    for (size_t i = 0; i < list.count; i++) {
        value_read(ports, list.names[i], "state", state);
        value_read(ports, list.names[i], "link_layer", layer);
        value_read(ports, list.names[i], "rate", rate);
        if (strstr(state, "ACTIVE") != NULL)
            item_print(out, before, strcmp(layer, "Ethernet") == 0 ? "RoCE" : "InfiniBand", device, rate, "");
    }
    fs_list_release(&list);
}

static void devices_print(const char *system, size_t before, struct text *out)
{
    char folder[FS_PATH_MAX];
    struct fs_list list;
    if (fs_path_join(folder, system, "class/infiniband", NULL) != MUSTER_OK || !fs_is_folder(folder) ||
        fs_list_read(folder, &list, NULL) != MUSTER_OK)
        return;
    for (size_t i = 0; i < list.count; i++)
        ports_print(folder, list.names[i], before, out);
    fs_list_release(&list);
}

/* A bridge, a container's end of a pair and the like have no device below them; veth is kept when asked for.
 */
static bool is_wanted(const char *folder, const char *name, const char *interface)
{
    char path[FS_PATH_MAX];
    if (interface != NULL && strchr(interface, '/') == NULL)
        return strcmp(interface, name) == 0;
    return snprintf(path, sizeof path, "%s/%s/device", folder, name) < (int)sizeof path && fs_exists(path);
}

static void interfaces_print(const char *system, const char *interface, size_t before, struct text *out)
{
    char folder[FS_PATH_MAX], state[VALUE_SIZE], type[VALUE_SIZE], speed[VALUE_SIZE];
    struct fs_list list;
    if (fs_path_join(folder, system, "class/net", NULL) != MUSTER_OK ||
        fs_list_read(folder, &list, NULL) != MUSTER_OK)
        return;
    for (size_t i = 0; i < list.count; i++) {
        value_read(folder, list.names[i], "operstate", state);
        value_read(folder, list.names[i], "type", type);
        value_read(folder, list.names[i], "speed", speed);
        int kind = atoi(type);
        if (strcmp(state, "up") != 0 || !is_wanted(folder, list.names[i], interface))
            continue;
        if (speed[0] == '-')
            speed[0] = '\0';
        if (kind == TYPE_INFINIBAND)
            item_print(out, before, "IP over InfiniBand", list.names[i], speed, " Mb/s");
        else if (kind == TYPE_ETHERNET)
            item_print(out, before, "Ethernet", list.names[i], speed, " Mb/s");
    }
    fs_list_release(&list);
}

void network_print(const char *system, const char *interface, struct text *out)
{
    size_t before = out->length;
    devices_print(system, before, out);
    interfaces_print(system, interface, before, out);
    if (out->length == before)
        text_print(out, "none that is up");
}
