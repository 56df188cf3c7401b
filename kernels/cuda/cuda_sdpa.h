/* SPDX-License-Identifier: MIT
 *
 * Causal attention by cuDNN, inside: graphs and plans (what the rest calls is in cuda_attention.h). Plans can
 * also be built without a GPU, for a described device: that is how they are tested.
 */
#ifndef MUSTER_KERNELS_CUDA_SDPA_H
#define MUSTER_KERNELS_CUDA_SDPA_H

#include <cudnn.h>

#include "kernels/cuda/cuda_attention.h"

/** The names of a graph's tensors in a variant pack; the last three are numbers in host memory. */
enum {
    SDPA_Q = 1,
    SDPA_K,
    SDPA_V,
    SDPA_Y,
    SDPA_LSE,
    SDPA_DY,
    SDPA_DQ,
    SDPA_DK,
    SDPA_DV,
    SDPA_ROW_SUMS, /* backward: work, [batch, heads, sequence] fp32 */
    SDPA_SCALE,
    SDPA_MINUS_INFINITY,
    SDPA_ONE,
    SDPA_NAMES
};

/** All heads of some sequences of packed rows, or some of one's; all of one type, compared as bytes. */
struct cuda_sdpa_shape {
    int64_t dtype, backward;
    int64_t batch, sequence, heads, kv_heads, head_width;
    int64_t qkv_stride, y_stride; /* elements from token to token */
};

/** Bytes that the log-sum-exp and the row sums of every slice are aligned to: a slice starts at any head. */
static inline int64_t cuda_sdpa_rows_alignment(const struct cuda_sdpa_shape *s)
{
    return s->sequence % 4 == 0 ? 16 : 4;
}

enum { SDPA_OPERATIONS_MAX = 32, SDPA_DESCRIPTORS_MAX = 160 };

/** A graph being put together: every descriptor made, and which of them are its operations. The first failure
 * is kept, and what follows it does nothing. */
struct cuda_sdpa_graph {
    const struct cuda_sdpa_shape *shape;
    cudnnBackendDescriptor_t made[SDPA_DESCRIPTORS_MAX], operation[SDPA_OPERATIONS_MAX];
    int made_count, operation_count;
    int64_t next_name;
    cudnnStatus_t result;
};

/** A new descriptor, owned by the graph; NULL after a failure. */
cudnnBackendDescriptor_t cuda_sdpa_make(struct cuda_sdpa_graph *g, cudnnBackendDescriptorType_t type);
void cuda_sdpa_set(struct cuda_sdpa_graph *g, cudnnBackendDescriptor_t descriptor,
                   cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                   const void *values);
void cuda_sdpa_finalise(struct cuda_sdpa_graph *g, cudnnBackendDescriptor_t descriptor);

/** Adds the operations of the shape's direction to the graph (cuda_sdpa_graph.c). */
void cuda_sdpa_graph_fill(struct cuda_sdpa_graph *g);

struct cuda_sdpa_plan;

/**
 * \param handle  of the device, or NULL with `device` describing one (a DEVICEPROP descriptor)
 * \return UNSUPPORTED, with the library's reason, where it has no engine for the shape on such a device;
 * INTERNAL where it failed otherwise
 */
enum muster_status cuda_sdpa_plan_create(cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                                         const struct cuda_sdpa_shape *shape, struct cuda_sdpa_plan **out,
                                         struct muster_error *err);
/** Takes NULL. */
void cuda_sdpa_plan_destroy(struct cuda_sdpa_plan *plan);
int64_t cuda_sdpa_plan_workspace_bytes(const struct cuda_sdpa_plan *plan);
/** The engine's number among the library's for such graphs; -1 where it does not say. */
int64_t cuda_sdpa_plan_engine(const struct cuda_sdpa_plan *plan);

/** Which memory is which tensor. */
struct cuda_sdpa_pack {
    int64_t count;
    int64_t name[SDPA_NAMES];
    void *pointer[SDPA_NAMES];
    void *workspace;
};

cudnnStatus_t cuda_sdpa_plan_run(const struct cuda_sdpa_plan *plan, cudnnHandle_t handle,
                                 const struct cuda_sdpa_pack *pack);

#endif
