/* SPDX-License-Identifier: MIT
 *
 * Which cores a rank's threads run on: those near its GPU, as hwloc knows the machine, shared out among the
 * ranks whose GPUs hang on the same part of it. A launcher or batch system that bound the rank already is
 * obeyed.
 */
#ifndef MUSTER_WORKER_PLACEMENT_H
#define MUSTER_WORKER_PLACEMENT_H

#include <stdbool.h>

#include "base/error.h"

/** Room for the text of a set of processors, such as "0-15,64-79". */
enum { PLACEMENT_TEXT = 256 };

struct placement;

/** Reads this machine, or the machine that hwloc wrote to `xml_path` (for tests). */
enum muster_status placement_create(const char *xml_path, struct placement **out, struct muster_error *err);
void placement_destroy(struct placement *placement);

/**
 * The allowed processors near a PCI device.
 * \param pci_bus_id  "0000:3b:00.0"
 * \param cores       [PLACEMENT_TEXT]
 * \return UNSUPPORTED when the machine has no such device or does not say where it is
 */
enum muster_status placement_near(const struct placement *placement, const char *pci_bus_id, char *cores,
                                  struct muster_error *err);

/**
 * Part number `part` of `parts` of `cores`, in whole cores and in order; all of them when there are fewer
 * cores than parts. `share` [PLACEMENT_TEXT] may be `cores`.
 */
enum muster_status placement_share(const struct placement *placement, const char *cores, int part, int parts,
                                   char *share, struct muster_error *err);

/** Keeps this process, and every thread it starts later, on `cores`. *bound is false, and nothing is done,
 * where the process may not use the whole machine: somebody bound it before. */
enum muster_status placement_bind(const struct placement *placement, const char *cores, bool *bound,
                                  struct muster_error *err);

#endif
