/* SPDX-License-Identifier: MIT
 *
 * From a graph to something that runs: the library's heuristics name engines, and the first whose plan can be
 * made is kept. Building one takes about half a second, so plans are kept for the life of the back end. All
 * descriptors of a plan live as long as it.
 */
#include "kernels/cuda/cuda_sdpa.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"

enum { SDPA_ENGINES_MAX = 8 };

struct cuda_sdpa_plan {
    struct cuda_sdpa_graph graph;
    cudnnBackendDescriptor_t execution;
    int64_t workspace_bytes, engine;
};

cudnnBackendDescriptor_t cuda_sdpa_make(struct cuda_sdpa_graph *g, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t made = NULL;
    if (g->result == CUDNN_STATUS_SUCCESS && g->made_count == SDPA_DESCRIPTORS_MAX)
        g->result = CUDNN_STATUS_INTERNAL_ERROR;
    if (g->result == CUDNN_STATUS_SUCCESS)
        g->result = cudnnBackendCreateDescriptor(type, &made);
    if (g->result != CUDNN_STATUS_SUCCESS)
        return NULL;
    g->made[g->made_count++] = made;
    return made;
}

void cuda_sdpa_set(struct cuda_sdpa_graph *g, cudnnBackendDescriptor_t descriptor,
                   cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                   const void *values)
{
    if (g->result == CUDNN_STATUS_SUCCESS)
        g->result = cudnnBackendSetAttribute(descriptor, name, type, count, values);
}

void cuda_sdpa_finalise(struct cuda_sdpa_graph *g, cudnnBackendDescriptor_t descriptor)
{
    if (g->result == CUDNN_STATUS_SUCCESS)
        g->result = cudnnBackendFinalize(descriptor);
}

static cudnnBackendDescriptor_t plan_graph(struct cuda_sdpa_graph *g, cudnnHandle_t handle)
{
    cuda_sdpa_graph_fill(g);
    cudnnBackendDescriptor_t graph = cuda_sdpa_make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    cuda_sdpa_set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->operation_count,
                  g->operation);
    if (handle != NULL)
        cuda_sdpa_set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    cuda_sdpa_finalise(g, graph);
    return graph;
}

/* Engine configurations of one kind of heuristics into `engines`; their number. */
static int64_t plan_engines(struct cuda_sdpa_graph *g, cudnnBackendDescriptor_t graph,
                            cudnnBackendDescriptor_t device, cudnnBackendHeurMode_t mode,
                            cudnnBackendDescriptor_t engines[SDPA_ENGINES_MAX])
{
    int64_t count = 0;
    cudnnBackendDescriptor_t heuristics = cuda_sdpa_make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cuda_sdpa_set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                  &graph);
    cuda_sdpa_set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (device != NULL)
        cuda_sdpa_set(g, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                      &device);
    cuda_sdpa_finalise(g, heuristics);
    for (int i = 0; i < SDPA_ENGINES_MAX; i++)
        engines[i] = cuda_sdpa_make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (g->result == CUDNN_STATUS_SUCCESS)
        g->result =
            cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                     SDPA_ENGINES_MAX, &count, engines);
    return count;
}

static int64_t plan_engine_number(cudnnBackendDescriptor_t configuration)
{
    cudnnBackendDescriptor_t engine = NULL;
    int64_t count = 0, number = -1;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS)
        return -1;
    if (cudnnBackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &count, &engine) != CUDNN_STATUS_SUCCESS ||
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count,
                                 &number) != CUDNN_STATUS_SUCCESS)
        number = -1;
    (void)cudnnBackendDestroyDescriptor(engine);
    return number;
}

/* Makes the plan of one engine, where it can. That sums keep their order is the graph's doing
 * (cuda_sdpa_graph.c): the library's notes do not tell the two forms apart, its code does (test_cuda_sdpa.c).
 */
static void plan_finish(struct cuda_sdpa_plan *plan, cudnnBackendDescriptor_t engine)
{
    struct cuda_sdpa_graph *g = &plan->graph;
    int64_t count = 0;
    cudnnBackendDescriptor_t execution = cuda_sdpa_make(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    cuda_sdpa_set(g, execution, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                  &engine);
    cuda_sdpa_finalise(g, execution);
    if (g->result == CUDNN_STATUS_SUCCESS)
        g->result = cudnnBackendGetAttribute(execution, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                             CUDNN_TYPE_INT64, 1, &count, &plan->workspace_bytes);
    if (g->result != CUDNN_STATUS_SUCCESS)
        return;
    plan->execution = execution;
    plan->engine = plan_engine_number(engine);
}

/* There is no engine for the shape on such a device, which every rank finds alike. Memory that ran out or a
 * library that is not whole is one rank's alone, whose bits would change if it went on with another engine.
 */
static bool plan_is_refusal(cudnnStatus_t result)
{
    return CUDNN_STATUS_CATEGORY(result) == CUDNN_STATUS_NOT_SUPPORTED &&
           result != CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER &&
           result != CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDART &&
           result != CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING &&
           result != CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE;
}

/* Leaves SUCCESS, a refusal or a failure as the graph's result. */
static void plan_choose(struct cuda_sdpa_plan *plan, cudnnBackendDescriptor_t graph,
                        cudnnBackendDescriptor_t device)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    struct cuda_sdpa_graph *g = &plan->graph;
    if (g->result != CUDNN_STATUS_SUCCESS)
        return;
    g->result = CUDNN_STATUS_NOT_SUPPORTED;
    for (size_t m = 0; m < sizeof modes / sizeof *modes && plan_is_refusal(g->result); m++) {
        cudnnBackendDescriptor_t engines[SDPA_ENGINES_MAX];
        g->result = CUDNN_STATUS_SUCCESS;
        int64_t count = plan_engines(g, graph, device, modes[m], engines);
        if (g->result == CUDNN_STATUS_SUCCESS)
            g->result = CUDNN_STATUS_NOT_SUPPORTED;
        for (int64_t i = 0; i < count && plan_is_refusal(g->result); i++) {
            g->result = CUDNN_STATUS_SUCCESS;
            plan_finish(plan, engines[i]);
        }
    }
}

static enum muster_status plan_say(const struct cuda_sdpa_plan *plan, const struct cuda_sdpa_shape *shape,
                                   struct muster_error *err)
{
    char reason[512] = "";
    const bool refused = plan_is_refusal(plan->graph.result);
    if (!refused)
        cudnnGetLastErrorString(reason, sizeof reason);
    return muster_error_set(err, refused ? MUSTER_ERR_UNSUPPORTED : MUSTER_ERR_INTERNAL,
                            "cuda: cuDNN %s %s attention for %" PRId64 " heads (%" PRId64
                            " kv) of width %" PRId64 " over %" PRId64 " positions: %s%s%.*s",
                            refused ? "has no" : "failed to plan", shape->backward ? "backward" : "forward",
                            shape->heads, shape->kv_heads, shape->head_width, shape->sequence,
                            cudnnGetErrorString(plan->graph.result), refused ? "" : ": ",
                            (int)strcspn(reason, "\n"), reason);
}

enum muster_status cuda_sdpa_plan_create(cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                                         const struct cuda_sdpa_shape *shape, struct cuda_sdpa_plan **out,
                                         struct muster_error *err)
{
    *out = NULL;
    struct cuda_sdpa_plan *plan = alloc_zeroed(1, sizeof *plan);
    if (plan == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "cuda: no memory for a plan of attention");
    plan->graph.shape = shape;
    plan->graph.next_name = 1000;
    cudnnBackendDescriptor_t graph = plan_graph(&plan->graph, handle);
    plan_choose(plan, graph, device);
    plan->graph.shape = NULL; /* the caller's */
    if (plan->execution != NULL) {
        *out = plan;
        return MUSTER_OK;
    }
    const enum muster_status status = plan_say(plan, shape, err);
    cuda_sdpa_plan_destroy(plan);
    return status;
}

void cuda_sdpa_plan_destroy(struct cuda_sdpa_plan *plan)
{
    if (plan == NULL)
        return;
    for (int i = plan->graph.made_count - 1; i >= 0; i--)
        (void)cudnnBackendDestroyDescriptor(plan->graph.made[i]);
    alloc_free(plan);
}

int64_t cuda_sdpa_plan_workspace_bytes(const struct cuda_sdpa_plan *plan)
{
    return plan->workspace_bytes;
}

int64_t cuda_sdpa_plan_engine(const struct cuda_sdpa_plan *plan)
{
    return plan->engine;
}

static cudnnStatus_t plan_pack(const struct cuda_sdpa_pack *pack, cudnnBackendDescriptor_t variant)
{
    cudnnStatus_t result = cudnnBackendSetAttribute(variant, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                                    CUDNN_TYPE_INT64, pack->count, pack->name);
    if (result == CUDNN_STATUS_SUCCESS)
        result = cudnnBackendSetAttribute(variant, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
                                          pack->count, pack->pointer);
    if (result == CUDNN_STATUS_SUCCESS)
        result = cudnnBackendSetAttribute(variant, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                                          &pack->workspace);
    return result == CUDNN_STATUS_SUCCESS ? cudnnBackendFinalize(variant) : result;
}

cudnnStatus_t cuda_sdpa_plan_run(const struct cuda_sdpa_plan *plan, cudnnHandle_t handle,
                                 const struct cuda_sdpa_pack *pack)
{
    cudnnBackendDescriptor_t variant = NULL;
    cudnnStatus_t result = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &variant);
    if (result != CUDNN_STATUS_SUCCESS)
        return result;
    result = plan_pack(pack, variant);
    if (result == CUDNN_STATUS_SUCCESS)
        result = cudnnBackendExecute(handle, plan->execution, variant);
    (void)cudnnBackendDestroyDescriptor(variant);
    return result;
}
