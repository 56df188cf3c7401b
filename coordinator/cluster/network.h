/* SPDX-License-Identifier: MIT
 *
 * Which network this host has, in a line for a person: a run that fell back from InfiniBand to Ethernet
 * should be seen at its start and not in its speed.
 */
#ifndef MUSTER_COORDINATOR_NETWORK_H
#define MUSTER_COORDINATOR_NETWORK_H

#include "base/text.h"

/**
 * Adds "InfiniBand mlx5_0 (200 Gb/sec (4X HDR))", "Ethernet eth0 (10000 Mb/s)" and the like, with commas
 * between: active ports and interfaces that are up, loopback and virtual bridges left out; "none" when there
 * is nothing. \param system     where the kernel describes its devices: "/sys" \param interface  only this
 * one and the InfiniBand ports; NULL or an address range: all
 */
void network_print(const char *system, const char *interface, struct text *out);

#endif
