/* SPDX-License-Identifier: MIT
 *
 * A device's neighbours are the processors of the nearest object above it in hwloc's tree that has any: the
 * package or the NUMA node whose PCI root it hangs on.
 */
#include "worker/device/placement.h"

#include <errno.h>
#include <hwloc.h>
#include <string.h>

#include "base/alloc.h"

struct placement {
    hwloc_topology_t topology;
};

enum muster_status placement_create(const char *xml_path, struct placement **out, struct muster_error *err)
{
    *out = NULL;
    struct placement *placement = alloc_zeroed(1, sizeof *placement);
    if (!placement || hwloc_topology_init(&placement->topology) != 0) {
        alloc_free(placement);
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the map of the machine");
    }
    bool read =
        hwloc_topology_set_io_types_filter(placement->topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) == 0 &&
        (!xml_path || hwloc_topology_set_xml(placement->topology, xml_path) == 0) &&
        hwloc_topology_load(placement->topology) == 0;
    if (!read) {
        placement_destroy(placement);
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "hwloc cannot read the machine: %s",
                                strerror(errno));
    }
    *out = placement;
    return MUSTER_OK;
}

void placement_destroy(struct placement *placement)
{
    if (!placement)
        return;
    hwloc_topology_destroy(placement->topology);
    alloc_free(placement);
}

static enum muster_status placement_write(hwloc_const_bitmap_t set, char *cores, struct muster_error *err)
{
    if (hwloc_bitmap_list_snprintf(cores, PLACEMENT_TEXT, set) >= PLACEMENT_TEXT)
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "the list of processors is too long");
    return MUSTER_OK;
}

/* Release with hwloc_bitmap_free. */
static enum muster_status placement_read(const char *cores, hwloc_bitmap_t *set, struct muster_error *err)
{
    *set = hwloc_bitmap_alloc();
    if (!*set)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a list of processors");
    if (hwloc_bitmap_list_sscanf(*set, cores) == 0 && !hwloc_bitmap_iszero(*set))
        return MUSTER_OK;
    hwloc_bitmap_free(*set);
    return muster_error_set(err, MUSTER_ERR_INTERNAL, "'%s' is no list of processors", cores);
}

enum muster_status placement_near(const struct placement *placement, const char *pci_bus_id, char *cores,
                                  struct muster_error *err)
{
    hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(placement->topology, pci_bus_id);
    hwloc_obj_t near = device ? hwloc_get_non_io_ancestor_obj(placement->topology, device) : NULL;
    if (!near || !near->cpuset || hwloc_bitmap_iszero(near->cpuset))
        return muster_error_set(err, MUSTER_ERR_UNSUPPORTED,
                                "the machine does not say which cores are near %s", pci_bus_id);
    return placement_write(near->cpuset, cores, err);
}

enum muster_status placement_share(const struct placement *placement, const char *cores, int part, int parts,
                                   char *share, struct muster_error *err)
{
    hwloc_topology_t topology = placement->topology;
    hwloc_bitmap_t set = NULL, chosen = NULL;
    enum muster_status status = placement_read(cores, &set, err);
    if (status)
        return status;
    int count = hwloc_get_nbobjs_inside_cpuset_by_type(topology, set, HWLOC_OBJ_CORE);
    bool all = count < parts;
    chosen = hwloc_bitmap_alloc();
    if (!chosen) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a list of processors");
        goto out;
    }
    for (int i = all ? 0 : part * count / parts; i < (all ? count : (part + 1) * count / parts); i++) {
        hwloc_obj_t core = hwloc_get_obj_inside_cpuset_by_type(topology, set, HWLOC_OBJ_CORE, (unsigned)i);
        hwloc_bitmap_or(chosen, chosen, core->cpuset);
    }
    status = placement_write(hwloc_bitmap_iszero(chosen) ? set : chosen, share, err);
out:
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(chosen);
    return status;
}

enum muster_status placement_bind(const struct placement *placement, const char *cores, bool *bound,
                                  struct muster_error *err)
{
    hwloc_topology_t topology = placement->topology;
    hwloc_bitmap_t set = NULL, now = NULL;
    *bound = false;
    enum muster_status status = placement_read(cores, &set, err);
    if (status)
        return status;
    now = hwloc_bitmap_alloc();
    if (!now) {
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a list of processors");
        goto out;
    }
    bool narrowed = hwloc_get_cpubind(topology, now, HWLOC_CPUBIND_PROCESS) != 0 ||
                    !hwloc_bitmap_isincluded(hwloc_topology_get_allowed_cpuset(topology), now);
    if (narrowed)
        goto out;
    *bound = hwloc_set_cpubind(topology, set, HWLOC_CPUBIND_PROCESS) == 0;
    if (!*bound)
        status = muster_error_set(err, MUSTER_ERR_UNSUPPORTED, "cannot bind to the cores %s: %s", cores,
                                  strerror(errno));
out:
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(now);
    return status;
}
