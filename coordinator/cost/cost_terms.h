/* SPDX-License-Identifier: MIT
 *
 * The terms that a prediction is added up from: arithmetic of an operation (cost_compute.c) and time on links
 * (cost_comm.c). Formulas, each in one place; docs/COST_MODEL.md says them in words.
 */
#ifndef MUSTER_COORDINATOR_COST_TERMS_H
#define MUSTER_COORDINATOR_COST_TERMS_H

#include "coordinator/cost/cost.h"

/** What one rank does in a second, once the job's precision and the host's load are known. */
struct cost_rates {
    double matrix, attention_forward, attention_backward; /* FLOP/s */
    double rows, activation, stream;                      /* bytes/s */
    double operation_s;
    int64_t attention_block;
};

/** BAD_INPUT when the profile knows no rate of matrix products in the plan's precision. */
enum muster_status cost_rates_find(const struct plan *plan, const struct machine_profile *profile,
                                   const struct cost_cluster *cluster, struct cost_rates *out,
                                   struct muster_error *err);

/** One execution of an operation. */
double cost_operation_seconds(const struct cost_rates *rates, const struct graph *graph,
                              const struct graph_op *op);

/** Passes over `bytes` of large arrays. */
double cost_stream_seconds(const struct cost_rates *rates, double bytes);

/** How the ranks of a cluster reach each other, assumed efficiency applied. */
struct cost_route {
    int ranks, hosts, ranks_per_host;
    struct machine_link inside, network;
};

/** BAD_INPUT when ranks share a host or hosts a job, and the profile has no link for that. */
enum muster_status cost_route_find(const struct machine_profile *profile, const struct cost_cluster *cluster,
                                   struct cost_route *out, struct muster_error *err);

/**
 * A reduce-scatter or all-gather of `bytes` over a ring: each rank passes W - 1 blocks of bytes / W on.
 * Between hosts all rings together have the adapters of a host.
 */
double cost_ring_seconds(const struct cost_route *route, double bytes);

/**
 * Every rank sends `bytes` to every other rank in `rounds` rounds. Inside a host and between hosts messages
 * travel at the same time; the ranks of a host share its adapters.
 */
double cost_exchange_seconds(const struct cost_route *route, double bytes, double rounds);

/**
 * The reduce-scatter of ranks on host memory (comm/host_reduce.h): every rank leaves `near` bytes for each
 * other rank of its host, then each host sends `far` bytes for each rank elsewhere, in `rounds` rounds.
 */
double cost_combine_seconds(const struct cost_route *route, double near, double far, double rounds);

/** An all-gather of `bytes` in all that are few: its latency, over a tree, and the bytes once. */
double cost_small_gather_seconds(const struct cost_route *route, double bytes);

#endif
