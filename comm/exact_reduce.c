/* SPDX-License-Identifier: MIT
 *
 * The exact reduce-scatter goes through a bucket in pieces: a piece of every node travels to the owner, who
 * adds it at once, while it is still in the cache, in rows small enough for the first-level cache. The adds
 * above the ranks' nodes are compiled once into steps on operands, so that two nodes are one pass over
 * memory. The tree alone fixes the order of the adds of an element; pieces and rows only group elements.
 *
 * On device memory the communicator adds (add_f32), whole pieces at a time, and the sums take the place of
 * what was received. That always works: two nodes of one rank's block are never added to each other (the
 * block would hold their parent instead), so every add has an operand that came from another rank.
 */
#include "comm/exact_reduce.h"

#include <string.h>

#include "base/alloc.h"
#include "base/ops.h"

enum { ROW_FLOATS = 2048 };

/* out = a + b. Operands below node_count are nodes, from there on scratch rows; OPERAND_MINE is the result.
 * On device memory there are no scratch rows: out is a node whose piece was received, and is overwritten. */
struct combine_step {
    int out, a, b;
};
enum { OPERAND_MINE = -1 };

struct exact_reduce {
    struct comm *comm;
    int node_count;     /* nodes of all ranks, which tile the leaves */
    int node_count_max; /* of one rank: so many exchanges a piece takes */
    int *node_first;    /* [size + 1] number of each rank's first node */
    int scratch_count;
    float *scratch;             /* [scratch_count][ROW_FLOATS]; none on device memory */
    struct combine_step *steps; /* [node_count - 1] */
    float **source;             /* [node_count] the piece of each node, set per piece */
    const void **send;          /* [size], as the next three: arguments of comm_exchange */
    void **receive;
    int64_t *send_bytes, *receive_bytes;
};

/* Gives the adds of the postfix program their operands; returns how many scratch rows they need. */
static int steps_compile(struct combine_step *steps, int node_count, const int *program, int length,
                         int *stack)
{
    int depth = 0, step_count = 0, scratch_used = 0, scratch_count = 0;
    for (int i = 0; i < length; i++) {
        if (program[i] >= 0) {
            stack[depth++] = program[i];
            continue;
        }
        int b = stack[--depth], a = stack[--depth];
        /* scratch rows are a stack too: operands in scratch are its top */
        scratch_used -= (a >= node_count) + (b >= node_count);
        int out = i == length - 1 ? OPERAND_MINE : node_count + scratch_used;
        if (out != OPERAND_MINE)
            scratch_used++;
        if (scratch_used > scratch_count)
            scratch_count = scratch_used;
        steps[step_count++] = (struct combine_step){.out = out, .a = a, .b = b};
        stack[depth++] = out;
    }
    return scratch_count;
}

static bool node_is_foreign(const struct exact_reduce *reduce, int node)
{
    int rank = reduce->comm->rank;
    return node < reduce->node_first[rank] || node >= reduce->node_first[rank + 1];
}

/* The same for device memory: a sum takes the place of one of its operands. */
static void steps_compile_in_place(struct exact_reduce *reduce, const int *program, int length, int *stack)
{
    int depth = 0, step_count = 0;
    for (int i = 0; i < length; i++) {
        if (program[i] >= 0) {
            stack[depth++] = program[i];
            continue;
        }
        int b = stack[--depth], a = stack[--depth];
        int place = node_is_foreign(reduce, a) ? a : b;
        int out = i == length - 1 ? OPERAND_MINE : place;
        reduce->steps[step_count++] = (struct combine_step){.out = out, .a = a, .b = b};
        stack[depth++] = place;
    }
}

static enum muster_status no_memory(const struct comm *comm, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "exact reduce: no memory for the tables of %d ranks",
                            comm->size);
}

/* The nodes of all ranks in order, and their number in node_first; `nodes` has room for all. */
static enum muster_status nodes_list(struct exact_reduce *reduce, int leaves, const int *block_begin,
                                     struct tree_node *nodes, struct muster_error *err)
{
    int size = reduce->comm->size;
    for (int r = 0; r < size; r++) {
        int begin = block_begin[r], end = block_begin[r + 1];
        int count = tree_block_nodes(leaves, begin, end, nodes + reduce->node_count);
        if (begin > end || (begin < end && count == 0))
            return muster_error_set(err, MUSTER_ERR_INTERNAL,
                                    "exact reduce: rank %d has the block [%d, %d)"
                                    " of %d leaves",
                                    r, begin, end, leaves);
        reduce->node_count += count;
        reduce->node_first[r + 1] = reduce->node_count;
        if (count > reduce->node_count_max)
            reduce->node_count_max = count;
    }
    return MUSTER_OK;
}

static enum muster_status steps_create(struct exact_reduce *reduce, int leaves, const int *block_begin,
                                       struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    size_t room = (size_t)reduce->comm->size * TREE_BLOCK_NODES_MAX;
    struct tree_node *nodes = alloc_zeroed(room, sizeof(*nodes));
    int *program = alloc_zeroed(2 * room, sizeof(*program)), *stack = alloc_zeroed(room, sizeof(*stack));
    if (!nodes || !program || !stack) {
        status = no_memory(reduce->comm, err);
        goto out;
    }
    status = nodes_list(reduce, leaves, block_begin, nodes, err);
    if (status != MUSTER_OK)
        goto out;
    int length = tree_combine_program(leaves, nodes, reduce->node_count, program);
    if (length == 0) {
        status = muster_error_set(err, MUSTER_ERR_INTERNAL, "exact reduce: the blocks do not cover %d leaves",
                                  leaves);
        goto out;
    }
    reduce->steps = alloc_zeroed((size_t)reduce->node_count, sizeof(*reduce->steps));
    reduce->source = alloc_zeroed((size_t)reduce->node_count, sizeof(*reduce->source));
    if (!reduce->steps || !reduce->source) {
        status = no_memory(reduce->comm, err);
        goto out;
    }
    if (reduce->comm->ops->add_f32) {
        steps_compile_in_place(reduce, program, length, stack);
        goto out;
    }
    reduce->scratch_count = steps_compile(reduce->steps, reduce->node_count, program, length, stack);
    reduce->scratch = alloc_aligned((size_t)reduce->scratch_count * ROW_FLOATS * sizeof(float), 64);
    if (!reduce->scratch)
        status = no_memory(reduce->comm, err);
out:
    alloc_free(nodes);
    alloc_free(program);
    alloc_free(stack);
    return status;
}

enum muster_status exact_reduce_create(struct comm *comm, int leaves, const int *block_begin,
                                       struct exact_reduce **out, struct muster_error *err)
{
    *out = NULL;
    struct exact_reduce *reduce = alloc_zeroed(1, sizeof(*reduce));
    if (!reduce)
        return no_memory(comm, err);
    size_t size = (size_t)comm->size;
    reduce->comm = comm;
    reduce->node_first = alloc_zeroed(size + 1, sizeof(int));
    reduce->send = alloc_zeroed(size, sizeof(*reduce->send));
    reduce->receive = alloc_zeroed(size, sizeof(*reduce->receive));
    reduce->send_bytes = alloc_zeroed(size, sizeof(int64_t));
    reduce->receive_bytes = alloc_zeroed(size, sizeof(int64_t));
    bool complete =
        reduce->node_first && reduce->send && reduce->receive && reduce->send_bytes && reduce->receive_bytes;
    enum muster_status status =
        complete ? steps_create(reduce, leaves, block_begin, err) : no_memory(comm, err);
    if (status != MUSTER_OK) {
        exact_reduce_destroy(reduce);
        return status;
    }
    *out = reduce;
    return MUSTER_OK;
}

void exact_reduce_destroy(struct exact_reduce *reduce)
{
    if (!reduce)
        return;
    alloc_free(reduce->node_first);
    alloc_free(reduce->scratch);
    alloc_free(reduce->steps);
    alloc_free(reduce->source);
    alloc_free(reduce->send);
    alloc_free(reduce->receive);
    alloc_free(reduce->send_bytes);
    alloc_free(reduce->receive_bytes);
    alloc_free(reduce);
}

static int node_count_of(const struct exact_reduce *reduce, int rank)
{
    return reduce->node_first[rank + 1] - reduce->node_first[rank];
}

int exact_reduce_node_count(const struct exact_reduce *reduce)
{
    return node_count_of(reduce, reduce->comm->rank);
}

int64_t exact_reduce_receive_bytes(const struct exact_reduce *reduce, int64_t owned_count_max)
{
    return ops_receive_bytes(reduce->node_count - exact_reduce_node_count(reduce), owned_count_max);
}

/* Floats of the piece that begins at `first` of an owned range. */
static int64_t piece_count(int64_t owned_count, int64_t first)
{
    int64_t left = owned_count - first;
    return left < 0 ? 0 : left < OPS_REDUCE_PIECE ? left : OPS_REDUCE_PIECE;
}

/* Fills the arguments of one exchange: the piece of my k-th node goes to the owners, and the pieces of the
 * other ranks' k-th nodes come to `receive`. Returns the receive memory still free. */
static float *exchange_prepare(struct exact_reduce *reduce, int k, float *const *nodes,
                               const int64_t *owned_begin, int64_t first, float *receive)
{
    int rank = reduce->comm->rank, size = reduce->comm->size;
    int64_t count = piece_count(owned_begin[rank + 1] - owned_begin[rank], first);
    for (int r = 0; r < size; r++) {
        int64_t peer_count = piece_count(owned_begin[r + 1] - owned_begin[r], first);
        bool sends = peer_count > 0 && k < node_count_of(reduce, rank);
        bool receives = count > 0 && k < node_count_of(reduce, r);
        float *from = sends ? nodes[k] + owned_begin[r] + first : NULL;
        reduce->send[r] = from;
        reduce->send_bytes[r] = sends ? peer_count * (int64_t)sizeof(float) : 0;
        reduce->receive[r] = receive;
        reduce->receive_bytes[r] = receives ? count * (int64_t)sizeof(float) : 0;
        if (receives)
            reduce->source[reduce->node_first[r] + k] = r == rank ? from : receive;
        if (receives && r != rank)
            receive += count;
    }
    return receive;
}

/* One exchange moves one node of every rank, because nodes lie in separate buffers. */
static enum muster_status piece_exchange(struct exact_reduce *reduce, float *const *nodes,
                                         const int64_t *owned_begin, int64_t first, float *receive,
                                         struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int k = 0; k < reduce->node_count_max && status == MUSTER_OK; k++) {
        receive = exchange_prepare(reduce, k, nodes, owned_begin, first, receive);
        if (reduce->comm->size > 1)
            status = comm_exchange(reduce->comm, reduce->send, reduce->send_bytes, reduce->receive,
                                   reduce->receive_bytes, err);
    }
    return status;
}

/* `out` may be the same memory as `a` or `b`. */
static void row_add(float *out, const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
}

static const float *operand_row(const struct exact_reduce *reduce, int operand, int64_t at)
{
    if (operand < reduce->node_count)
        return reduce->source[operand] + at;
    return reduce->scratch + (int64_t)(operand - reduce->node_count) * ROW_FLOATS;
}

static void piece_combine(struct exact_reduce *reduce, float *mine, int64_t count)
{
    if (reduce->node_count == 1 && mine != reduce->source[0])
        memmove(mine, reduce->source[0], (size_t)count * sizeof(float));
    for (int64_t at = 0; at < count; at += ROW_FLOATS) {
        int64_t row = count - at < ROW_FLOATS ? count - at : ROW_FLOATS;
        for (int s = 0; s < reduce->node_count - 1; s++) {
            const struct combine_step *step = &reduce->steps[s];
            float *out = mine + at;
            if (step->out != OPERAND_MINE)
                out = reduce->scratch + (int64_t)(step->out - reduce->node_count) * ROW_FLOATS;
            row_add(out, operand_row(reduce, step->a, at), operand_row(reduce, step->b, at), row);
        }
    }
}

/* The same on device memory: a whole piece an add. */
static enum muster_status piece_combine_in_place(struct exact_reduce *reduce, float *mine, int64_t count,
                                                 struct muster_error *err)
{
    struct comm *comm = reduce->comm;
    enum muster_status status = MUSTER_OK;
    if (reduce->node_count == 1 && mine != reduce->source[0])
        status = comm->ops->add_f32(comm, mine, reduce->source[0], NULL, count, err);
    for (int s = 0; s < reduce->node_count - 1 && status == MUSTER_OK; s++) {
        const struct combine_step *step = &reduce->steps[s];
        float *out = step->out == OPERAND_MINE ? mine : reduce->source[step->out];
        status = comm->ops->add_f32(comm, out, reduce->source[step->a], reduce->source[step->b], count, err);
    }
    return status;
}

enum muster_status exact_reduce_run(struct exact_reduce *reduce, float *const *nodes,
                                    const int64_t *owned_begin, float *mine, void *receive,
                                    struct muster_error *err)
{
    int rank = reduce->comm->rank;
    int64_t owned_count_max = 0, owned_count = owned_begin[rank + 1] - owned_begin[rank];
    for (int r = 0; r < reduce->comm->size; r++) {
        int64_t count = owned_begin[r + 1] - owned_begin[r];
        if (owned_begin[r] < 0 || count < 0)
            return muster_error_set(err, MUSTER_ERR_INTERNAL,
                                    "exact reduce: rank %d owns [%lld, %lld) of the bucket", r,
                                    (long long)owned_begin[r], (long long)owned_begin[r + 1]);
        if (count > owned_count_max)
            owned_count_max = count;
    }
    for (int64_t first = 0; first < owned_count_max; first += OPS_REDUCE_PIECE) {
        enum muster_status status = piece_exchange(reduce, nodes, owned_begin, first, receive, err);
        int64_t count = piece_count(owned_count, first);
        if (status == MUSTER_OK && count > 0 && reduce->comm->ops->add_f32)
            status = piece_combine_in_place(reduce, mine + first, count, err);
        else if (status == MUSTER_OK && count > 0)
            piece_combine(reduce, mine + first, count);
        if (status != MUSTER_OK)
            return status;
    }
    return MUSTER_OK;
}
