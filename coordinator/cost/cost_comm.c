/* SPDX-License-Identifier: MIT
 *
 * Time on links, by the usual alpha-beta formulas (Thakur, Rabenseifner, Gropp, "Optimization of Collective
 * Communication Operations in MPICH", 2005, sections 4 and 5), with two levels: links inside a host, and a
 * host's network adapters, which its ranks share.
 */
#include "coordinator/cost/cost_terms.h"

static struct machine_link link_of(const struct machine_profile *profile, const struct machine_link *link)
{
    return (struct machine_link){link->latency_s, link->bandwidth * profile->efficiency.link};
}

enum muster_status cost_route_find(const struct machine_profile *profile, const struct cost_cluster *cluster,
                                   struct cost_route *out, struct muster_error *err)
{
    bool direct = profile->device == MACHINE_CUDA && profile->device_link.bandwidth > 0.0;
    *out = (struct cost_route){
        .ranks = cluster->hosts * cluster->ranks_per_host,
        .hosts = cluster->hosts,
        .ranks_per_host = cluster->ranks_per_host,
        .inside = link_of(profile, direct ? &profile->device_link : &profile->host),
        .network = link_of(profile, &profile->network),
    };
    if (cluster->ranks_per_host > 1 && out->inside.bandwidth <= 0.0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "machine profile %s has no link between the ranks of a host (host.bandwidth)",
                                profile->name);
    if (cluster->hosts > 1 && out->network.bandwidth <= 0.0)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "machine profile %s has no link between hosts (network.bandwidth)",
                                profile->name);
    return MUSTER_OK;
}

double cost_ring_seconds(const struct cost_route *route, double bytes)
{
    double latency = route->inside.latency_s, bandwidth = route->inside.bandwidth;
    if (route->ranks == 1)
        return 0.0;
    if (route->hosts > 1) {
        bool narrower = route->ranks_per_host == 1 || route->network.bandwidth < bandwidth;
        latency = route->network.latency_s;
        bandwidth = narrower ? route->network.bandwidth : bandwidth;
    }
    double passes = (double)(route->ranks - 1);
    return passes * (latency + bytes / (double)route->ranks / bandwidth);
}

double cost_exchange_seconds(const struct cost_route *route, double bytes, double rounds)
{
    double inside = (double)(route->ranks_per_host - 1), outside = (double)(route->ranks - 1) - inside;
    double latency = inside * route->inside.latency_s + outside * route->network.latency_s;
    double near = 0.0, far = 0.0;
    if (inside > 0.0)
        near = inside * bytes / route->inside.bandwidth;
    if (outside > 0.0)
        far = (double)route->ranks_per_host * outside * bytes / route->network.bandwidth;
    return rounds * latency + (near > far ? near : far);
}

double cost_combine_seconds(const struct cost_route *route, double near, double far, double rounds)
{
    double inside = (double)(route->ranks_per_host - 1), outside = (double)(route->ranks - 1) - inside;
    double seconds = 0.0;
    if (inside > 0.0)
        seconds += rounds * route->inside.latency_s + inside * near / route->inside.bandwidth;
    if (outside > 0.0)
        seconds += rounds * (double)(route->hosts - 1) * route->network.latency_s +
                   outside * far / route->network.bandwidth;
    return seconds;
}

double cost_small_gather_seconds(const struct cost_route *route, double bytes)
{
    double latency = 0.0;
    if (route->ranks == 1)
        return 0.0;
    const struct machine_link *link = route->hosts > 1 ? &route->network : &route->inside;
    for (int reached = 1; reached < route->ranks; reached *= 2)
        latency += link->latency_s;
    return latency + bytes / link->bandwidth;
}
