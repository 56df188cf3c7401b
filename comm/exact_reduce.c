/* SPDX-License-Identifier: MIT
 *
 * Two ways to the same sum. On host memory host_reduce.h does it all, with the adds of the tree. On device
 * memory the bucket goes by in pieces: a piece of every node travels to the owner, where the communicator
 * adds all of them in one launch (sum_f32). Where they are too many for one, sums take the place of what was
 * received. That always works: two nodes of one rank's block are never added to each other (the block would
 * hold their parent instead), so every sum has a term that came from another rank.
 */
#include "comm/exact_reduce.h"

#include "base/alloc.h"
#include "base/ops.h"
#include "comm/host_reduce.h"

/* What one launch adds. The sum becomes the result, or takes the place of a piece that was received. */
struct device_sum {
    int out;                  /* the node in whose place, or SUM_RESULT */
    int node[TREE_TERMS_MAX]; /* of each term */
    struct tree_terms terms;  /* sources are set per piece */
};
enum { SUM_RESULT = -1 };

struct exact_reduce {
    struct comm *comm;
    int node_count;           /* nodes of all ranks, which tile the leaves */
    int node_count_max;       /* of one rank: so many exchanges a piece takes */
    int *node_first;          /* [size + 1] number of each rank's first node */
    struct host_reduce *host; /* on host memory; then nothing of what follows */
    struct device_sum *sums;  /* [sum_count], in order */
    int sum_count;
    float **source;    /* [node_count] the piece of each node, set per piece */
    const void **send; /* [size], as the next three: arguments of comm_exchange */
    void **receive;
    int64_t *send_bytes, *receive_bytes;
};

static bool node_is_foreign(const struct exact_reduce *reduce, int node)
{
    int rank = reduce->comm->rank;
    return node < reduce->node_first[rank] || node >= reduce->node_first[rank + 1];
}

/* A sum that is written down from `begin` of the text on; `place` is one of its nodes, where there are
 * several one that was received. */
struct operand {
    int begin, term_count, place;
};

/* A launch for text[0 … length), unless that is a single node. */
static void sum_add(struct exact_reduce *reduce, const int *text, int length, int out)
{
    if (length == 1 && out != SUM_RESULT)
        return;
    struct device_sum *sum = &reduce->sums[reduce->sum_count++];
    int term_count = 0;
    sum->out = out;
    sum->terms.length = length;
    for (int i = 0; i < length; i++) {
        if (text[i] >= 0)
            sum->node[term_count] = text[i];
        sum->terms.program[i] = (int8_t)(text[i] >= 0 ? term_count++ : -1);
    }
}

/* Cuts the postfix program into launches: two operands that are too many for one are made sums first, and
 * what follows reads them where they are put. */
static void sums_compile(struct exact_reduce *reduce, const int *program, int length, struct operand *stack,
                         int *text)
{
    int depth = 0, end = 0;
    for (int i = 0; i < length; i++) {
        if (program[i] >= 0) {
            stack[depth++] = (struct operand){end, 1, program[i]};
            text[end++] = program[i];
            continue;
        }
        struct operand *b = &stack[--depth], *a = &stack[depth - 1];
        if (a->term_count + b->term_count > TREE_TERMS_MAX) {
            sum_add(reduce, text + a->begin, b->begin - a->begin, a->place);
            sum_add(reduce, text + b->begin, end - b->begin, b->place);
            text[a->begin] = a->place;
            text[a->begin + 1] = b->place;
            end = a->begin + 2;
            a->term_count = b->term_count = 1;
        }
        text[end++] = -1;
        a->term_count += b->term_count;
        a->place = node_is_foreign(reduce, a->place) ? a->place : b->place;
    }
    sum_add(reduce, text, end, SUM_RESULT);
}

/* Each pair that is too many leaves two nodes of at least TREE_TERMS_MAX + 1. */
static size_t sums_max(int node_count)
{
    return 2 * (size_t)(node_count / (TREE_TERMS_MAX - 1)) + 1;
}

static enum muster_status no_memory(const struct comm *comm, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "exact reduce: no memory for the tables of %d ranks",
                            comm->size);
}

/* How many nodes each rank brings, from the recipe in which every rank is a host of its own. */
static void nodes_count(struct exact_reduce *reduce, const struct reduce_recipe *recipe)
{
    for (int r = 0; r < reduce->comm->size; r++) {
        int count = recipe->input_first[r + 1] - recipe->input_first[r];
        reduce->node_first[r + 1] = recipe->input_first[r + 1];
        reduce->node_count_max = count > reduce->node_count_max ? count : reduce->node_count_max;
    }
    reduce->node_count = recipe->input_count;
}

static enum muster_status device_create(struct exact_reduce *reduce, const struct reduce_recipe *recipe,
                                        struct muster_error *err)
{
    size_t size = (size_t)reduce->comm->size, nodes = (size_t)reduce->node_count;
    struct operand *stack = alloc_zeroed(nodes, sizeof(*stack));
    int *text = alloc_zeroed(2 * nodes, sizeof(*text));
    reduce->sums = alloc_zeroed(sums_max(reduce->node_count), sizeof(*reduce->sums));
    reduce->source = alloc_zeroed(nodes, sizeof(*reduce->source));
    reduce->send = alloc_zeroed(size, sizeof(*reduce->send));
    reduce->receive = alloc_zeroed(size, sizeof(*reduce->receive));
    reduce->send_bytes = alloc_zeroed(size, sizeof(int64_t));
    reduce->receive_bytes = alloc_zeroed(size, sizeof(int64_t));
    enum muster_status status = MUSTER_OK;
    if (!stack || !text || !reduce->sums || !reduce->source || !reduce->send || !reduce->receive ||
        !reduce->send_bytes || !reduce->receive_bytes)
        status = no_memory(reduce->comm, err);
    else
        sums_compile(reduce, recipe->final, 2 * recipe->output_count - 1, stack, text);
    alloc_free(stack);
    alloc_free(text);
    return status;
}

/* The recipe's hosts are the machine's where ranks share memory; each rank is its own for device memory. */
static enum muster_status tables_create(struct exact_reduce *reduce, int leaves, const int *block_begin,
                                        struct muster_error *err)
{
    struct reduce_recipe recipe;
    struct comm *comm = reduce->comm;
    int *host_of = alloc_zeroed((size_t)comm->size, sizeof(*host_of));
    reduce->node_first = alloc_zeroed((size_t)comm->size + 1, sizeof(int));
    if (!host_of || !reduce->node_first) {
        alloc_free(host_of);
        return no_memory(comm, err);
    }
    struct reduce_hosts hosts = host_reduce_hosts(comm, host_of);
    enum muster_status status = reduce_recipe_tree(&recipe, &hosts, leaves, block_begin, err);
    if (!status) {
        nodes_count(reduce, &recipe);
        if (comm->ops->sum_f32)
            status = device_create(reduce, &recipe, err);
        else
            status = host_reduce_create(comm, &recipe, OPS_REDUCE_PIECE, &reduce->host, err);
        reduce_recipe_release(&recipe);
    }
    alloc_free(host_of);
    return status;
}

enum muster_status exact_reduce_create(struct comm *comm, int leaves, const int *block_begin,
                                       struct exact_reduce **out, struct muster_error *err)
{
    *out = NULL;
    struct exact_reduce *reduce = alloc_zeroed(1, sizeof(*reduce));
    if (!reduce)
        return no_memory(comm, err);
    reduce->comm = comm;
    enum muster_status status = tables_create(reduce, leaves, block_begin, err);
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
    host_reduce_destroy(reduce->host);
    alloc_free(reduce->node_first);
    alloc_free(reduce->sums);
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
    return ops_receive_bytes(reduce->node_count - exact_reduce_node_count(reduce), owned_count_max,
                             reduce->host == NULL);
}

/* Floats of the piece that begins at `first` of an owned range. */
static int64_t piece_count(int64_t owned_count, int64_t first)
{
    int64_t left = owned_count - first;
    return left < 0 ? 0 : left < OPS_REDUCE_DEVICE_PIECE ? left : OPS_REDUCE_DEVICE_PIECE;
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

/* A whole piece a launch, as a rule; the sum of a single node may be where it is. */
static enum muster_status piece_combine(struct exact_reduce *reduce, float *mine, int64_t count,
                                        struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int s = 0; s < reduce->sum_count && status == MUSTER_OK; s++) {
        struct device_sum *sum = &reduce->sums[s];
        float *out = sum->out == SUM_RESULT ? mine : reduce->source[sum->out];
        for (int term = 0; term <= sum->terms.length / 2; term++)
            sum->terms.source[term] = reduce->source[sum->node[term]];
        if (sum->terms.length > 1 || out != sum->terms.source[0])
            status = reduce->comm->ops->sum_f32(reduce->comm, out, &sum->terms, count, err);
    }
    return status;
}

static enum muster_status device_run(struct exact_reduce *reduce, float *const *nodes,
                                     const int64_t *owned_begin, int64_t owned_count_max, float *mine,
                                     void *receive, struct muster_error *err)
{
    int rank = reduce->comm->rank;
    enum muster_status status = MUSTER_OK;
    for (int64_t first = 0; first < owned_count_max && !status; first += OPS_REDUCE_DEVICE_PIECE) {
        int64_t count = piece_count(owned_begin[rank + 1] - owned_begin[rank], first);
        status = piece_exchange(reduce, nodes, owned_begin, first, receive, err);
        if (!status && count > 0)
            status = piece_combine(reduce, mine + first, count, err);
    }
    return status;
}

enum muster_status exact_reduce_run(struct exact_reduce *reduce, float *const *nodes,
                                    const int64_t *owned_begin, float *mine, void *receive,
                                    struct muster_error *err)
{
    int64_t owned_count_max = 0;
    for (int r = 0; r < reduce->comm->size; r++) {
        int64_t count = owned_begin[r + 1] - owned_begin[r];
        if (owned_begin[r] < 0 || count < 0)
            return muster_error_set(err, MUSTER_ERR_INTERNAL,
                                    "exact reduce: rank %d owns [%lld, %lld) of the bucket", r,
                                    (long long)owned_begin[r], (long long)owned_begin[r + 1]);
        if (count > owned_count_max)
            owned_count_max = count;
    }
    if (reduce->host)
        return host_reduce_run(reduce->host, nodes, owned_begin, mine, receive, err);
    return device_run(reduce, nodes, owned_begin, owned_count_max, mine, receive, err);
}
