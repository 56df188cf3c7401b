/* SPDX-License-Identifier: MIT
 *
 * A bucket goes by in rounds, each about a piece of every owner's range, small enough for a slot of shared
 * memory and the cache. In a round every rank writes into its slot what the other ranks of its host speak
 * for, all meet, speakers add and send, owners add. The speaker for an owner on the same host is the owner;
 * for the others the work is shared out by the owner's place on its host, so all ranks of a host talk to
 * other hosts, each for its share.
 *
 * Within a slot, the piece of input k for owner q begins (k · ranks + q) · piece floats into it.
 */
#include "comm/host_reduce.h"

#include <string.h>

#include "base/alloc.h"
#include "comm/combine.h"
#include "comm/local.h"

/* SHARED_PIECE: what the ranks of a host write in a round stays in the cache (measured best of 16384 to
 * 262144 on two ranks). MEMORY_FLOATS: of an outbox, at most. */
enum { PIECE_ALIGN = 16, SHARED_PIECE = 65536, MEMORY_FLOATS = 4 << 20 };

struct host_reduce {
    struct comm *comm;
    struct reduce_recipe recipe;
    bool meets;              /* some host has several ranks, which add first */
    bool shared;             /* mine has */
    int host;                /* mine, in the recipe's numbers */
    int *host_of;            /* [ranks] */
    int *host_ranks;         /* [ranks] by host, then by number */
    int *place_of;           /* [ranks] number among the ranks of its host */
    int *host_first;         /* [hosts + 1] into host_ranks */
    int64_t piece;           /* floats */
    int output_count;        /* of my host */
    struct combine *outputs; /* [output_count] */
    struct combine total;    /* over inputs of my host and outputs of the others */
    const float **operands;  /* [inputs + outputs] */
    float *outbox;           /* what I send as a speaker, one round */
    const void **send;       /* [ranks], as the next three: arguments of comm_exchange */
    void **receive;
    int64_t *send_bytes, *receive_bytes;
};

struct reduce_hosts host_reduce_hosts(const struct comm *comm, int *table)
{
    for (int r = 0; r < comm->size; r++)
        table[r] = comm->local ? comm->node_of[r] : r;
    return (struct reduce_hosts){.rank_count = comm->size,
                                 .host_count = comm->local ? comm->node_count : comm->size,
                                 .host_of = table};
}

static int host_size(const struct host_reduce *reduce, int host)
{
    return reduce->host_first[host + 1] - reduce->host_first[host];
}

/* Who of `host` adds and sends what owner q gets. */
static int speaker_of(const struct host_reduce *reduce, int host, int q)
{
    if (reduce->host_of[q] == host)
        return q;
    return reduce->host_ranks[reduce->host_first[host] + reduce->place_of[q] % host_size(reduce, host)];
}

static bool speaks_abroad(const struct host_reduce *reduce, int q)
{
    return reduce->host_of[q] != reduce->host && speaker_of(reduce, reduce->host, q) == reduce->comm->rank;
}

static int input_count_of(const struct host_reduce *reduce, int rank)
{
    return reduce->recipe.input_first[rank + 1] - reduce->recipe.input_first[rank];
}

static void hosts_sort(struct host_reduce *reduce)
{
    int at = 0;
    for (int host = 0; host < reduce->recipe.host_count; host++) {
        for (int r = 0; r < reduce->comm->size; r++)
            if (reduce->host_of[r] == host) {
                reduce->place_of[r] = at - reduce->host_first[host];
                reduce->host_ranks[at++] = r;
            }
        reduce->host_first[host + 1] = at;
    }
    reduce->host = reduce->host_of[reduce->comm->rank];
    reduce->meets = reduce->recipe.host_count < reduce->comm->size;
    reduce->shared = host_size(reduce, reduce->host) > 1;
    reduce->output_count = reduce->recipe.host_output_count[reduce->host];
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The same on every rank: a round's pieces fit a half of a slot, and the outbox, whatever rank it is. Without
 * hosts of several ranks and with one input a rank there is neither. */
static int64_t piece_choose(const struct host_reduce *reduce, int64_t piece_max)
{
    int inputs_max = 1, size = reduce->comm->size;
    int64_t piece = piece_max;
    for (int r = 0; r < size; r++)
        inputs_max = input_count_of(reduce, r) > inputs_max ? input_count_of(reduce, r) : inputs_max;
    int64_t pieces = (int64_t)size * inputs_max;
    if (reduce->meets)
        piece =
            min_i64(min_i64(piece, SHARED_PIECE), COMM_LOCAL_HALF_BYTES / (int64_t)sizeof(float) / pieces);
    if (reduce->meets || inputs_max > 1)
        piece = min_i64(piece, MEMORY_FLOATS / pieces);
    return piece < PIECE_ALIGN ? PIECE_ALIGN : piece / PIECE_ALIGN * PIECE_ALIGN;
}

static enum muster_status no_memory(const struct comm *comm, struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "reduce: no memory for the tables of %d ranks",
                            comm->size);
}

static enum muster_status sums_create(struct host_reduce *reduce, struct muster_error *err)
{
    const struct reduce_recipe *recipe = &reduce->recipe;
    int operand_count = recipe->input_count + recipe->output_count;
    int *program = alloc_zeroed(2 * (size_t)operand_count, sizeof(*program));
    if (!program)
        return no_memory(reduce->comm, err);
    enum muster_status status = combine_init(
        &reduce->total, program, reduce_recipe_expand(recipe, reduce->host, program), operand_count, err);
    alloc_free(program);
    for (int o = 0, mine = 0; o < recipe->output_count && !status; o++) {
        const int *of = recipe->program + recipe->program_first[o];
        if (recipe->output_host[o] == reduce->host)
            status =
                combine_init(&reduce->outputs[mine++], of,
                             recipe->program_first[o + 1] - recipe->program_first[o], operand_count, err);
    }
    return status;
}

/* Room for what I send in a round. */
static enum muster_status outbox_create(struct host_reduce *reduce, struct muster_error *err)
{
    int64_t owners = 0;
    for (int q = 0; q < reduce->comm->size; q++)
        owners += speaks_abroad(reduce, q);
    if (!reduce->shared && reduce->output_count <= 1)
        owners = 0; /* sent from where it is */
    int64_t floats = owners * reduce->output_count * reduce->piece;
    reduce->outbox = alloc_aligned((size_t)floats * sizeof(float), 64);
    return reduce->outbox ? MUSTER_OK : no_memory(reduce->comm, err);
}

static enum muster_status tables_create(struct host_reduce *reduce, struct muster_error *err)
{
    size_t size = (size_t)reduce->comm->size, hosts = (size_t)reduce->recipe.host_count;
    reduce->host_of = alloc_zeroed(size, sizeof(int));
    reduce->host_ranks = alloc_zeroed(size, sizeof(int));
    reduce->place_of = alloc_zeroed(size, sizeof(int));
    reduce->host_first = alloc_zeroed(hosts + 1, sizeof(int));
    reduce->operands = alloc_zeroed((size_t)reduce->recipe.input_count + (size_t)reduce->recipe.output_count,
                                    sizeof(*reduce->operands));
    reduce->send = alloc_zeroed(size, sizeof(*reduce->send));
    reduce->receive = alloc_zeroed(size, sizeof(*reduce->receive));
    reduce->send_bytes = alloc_zeroed(size, sizeof(int64_t));
    reduce->receive_bytes = alloc_zeroed(size, sizeof(int64_t));
    if (!reduce->host_of || !reduce->host_ranks || !reduce->place_of || !reduce->host_first ||
        !reduce->operands || !reduce->send || !reduce->receive || !reduce->send_bytes ||
        !reduce->receive_bytes)
        return no_memory(reduce->comm, err);
    host_reduce_hosts(reduce->comm, reduce->host_of);
    hosts_sort(reduce);
    reduce->outputs = alloc_zeroed((size_t)reduce->output_count, sizeof(*reduce->outputs));
    return reduce->outputs ? MUSTER_OK : no_memory(reduce->comm, err);
}

enum muster_status host_reduce_create(struct comm *comm, struct reduce_recipe *recipe, int64_t piece_max,
                                      struct host_reduce **out, struct muster_error *err)
{
    *out = NULL;
    struct host_reduce *reduce = alloc_zeroed(1, sizeof(*reduce));
    if (!reduce) {
        reduce_recipe_release(recipe);
        return no_memory(comm, err);
    }
    reduce->comm = comm;
    reduce->recipe = *recipe;
    *recipe = (struct reduce_recipe){0};
    enum muster_status status = tables_create(reduce, err);
    if (!status)
        status = sums_create(reduce, err);
    if (!status) {
        reduce->piece = piece_choose(reduce, piece_max);
        status = outbox_create(reduce, err);
    }
    if (status) {
        host_reduce_destroy(reduce);
        return status;
    }
    *out = reduce;
    return MUSTER_OK;
}

void host_reduce_destroy(struct host_reduce *reduce)
{
    if (!reduce)
        return;
    for (int o = 0; o < reduce->output_count && reduce->outputs; o++)
        combine_release(&reduce->outputs[o]);
    combine_release(&reduce->total);
    reduce_recipe_release(&reduce->recipe);
    alloc_free(reduce->host_of);
    alloc_free(reduce->host_ranks);
    alloc_free(reduce->place_of);
    alloc_free(reduce->host_first);
    alloc_free(reduce->outputs);
    alloc_free(reduce->operands);
    alloc_free(reduce->outbox);
    alloc_free(reduce->send);
    alloc_free(reduce->receive);
    alloc_free(reduce->send_bytes);
    alloc_free(reduce->receive_bytes);
    alloc_free(reduce);
}

int64_t host_reduce_receive_count(const struct host_reduce *reduce, int64_t owned_count_max)
{
    int foreign = reduce->recipe.output_count - reduce->output_count;
    return foreign * min_i64(owned_count_max, reduce->piece);
}

/* One round: the piece of every owner's range that begins `first` floats into it. */
struct round {
    float *const *inputs;
    const int64_t *owned_begin;
    int64_t first;
};

static int64_t round_count(const struct host_reduce *reduce, const struct round *round, int q)
{
    int64_t left = round->owned_begin[q + 1] - round->owned_begin[q] - round->first;
    return left < 0 ? 0 : min_i64(left, reduce->piece);
}

static int64_t slot_offset(const struct host_reduce *reduce, int k, int q)
{
    return ((int64_t)k * reduce->comm->size + q) * reduce->piece;
}

/* Into my slot: what other ranks of my host speak for. */
static void round_publish(struct host_reduce *reduce, const struct round *round)
{
    struct comm *comm = reduce->comm;
    float *slot = (float *)(void *)comm_local_slot(comm, comm->local_rank);
    for (int q = 0; q < comm->size; q++) {
        int64_t bytes = round_count(reduce, round, q) * (int64_t)sizeof(float);
        if (bytes == 0 || speaker_of(reduce, reduce->host, q) == comm->rank)
            continue;
        for (int k = 0; k < input_count_of(reduce, comm->rank); k++) {
            memcpy(slot + slot_offset(reduce, k, q), round->inputs[k] + round->owned_begin[q] + round->first,
                   (size_t)bytes);
            comm->bytes_sent += bytes;
        }
    }
}

/* The inputs of my host's ranks for owner q as operands. */
static void operands_set(struct host_reduce *reduce, const struct round *round, int q)
{
    const struct comm *comm = reduce->comm;
    for (int i = 0; i < host_size(reduce, reduce->host); i++) {
        int r = reduce->host_ranks[reduce->host_first[reduce->host] + i];
        const float **operand = reduce->operands + reduce->recipe.input_first[r];
        for (int k = 0; k < input_count_of(reduce, r); k++)
            operand[k] = r == comm->rank
                             ? round->inputs[k] + round->owned_begin[q] + round->first
                             : (const float *)(void *)comm_local_slot(comm, i) + slot_offset(reduce, k, q);
    }
}

/* My host's outputs for owner q: where they are, or added up in `outbox`, whose rest is returned. */
static float *outputs_make(struct host_reduce *reduce, const struct round *round, int q, float *outbox)
{
    int64_t count = round_count(reduce, round, q);
    operands_set(reduce, round, q);
    reduce->send_bytes[q] = reduce->output_count * count * (int64_t)sizeof(float);
    if (!reduce->shared && reduce->output_count == 1) {
        reduce->send[q] = round->inputs[0] + round->owned_begin[q] + round->first;
        return outbox;
    }
    reduce->send[q] = outbox;
    for (int o = 0; o < reduce->output_count; o++, outbox += count)
        combine_run(&reduce->outputs[o], reduce->operands, outbox, count);
    return outbox;
}

/* The outputs of the other hosts, each host's from its speaker for me. */
static void receive_prepare(struct host_reduce *reduce, const struct round *round, float *receive)
{
    const struct reduce_recipe *recipe = &reduce->recipe;
    int64_t count = round_count(reduce, round, reduce->comm->rank);
    for (int host = 0; host < recipe->host_count; host++) {
        if (host == reduce->host)
            continue;
        int speaker = speaker_of(reduce, host, reduce->comm->rank);
        reduce->receive[speaker] = receive;
        reduce->receive_bytes[speaker] = recipe->host_output_count[host] * count * (int64_t)sizeof(float);
        for (int o = 0; o < recipe->output_count; o++)
            if (recipe->output_host[o] == host)
                reduce->operands[recipe->input_count + o] = receive + recipe->output_place[o] * count;
        receive += recipe->host_output_count[host] * count;
    }
}

static enum muster_status round_talk(struct host_reduce *reduce, const struct round *round, float *receive,
                                     struct muster_error *err)
{
    size_t size = (size_t)reduce->comm->size;
    float *outbox = reduce->outbox;
    memset(reduce->send_bytes, 0, size * sizeof(int64_t));
    memset(reduce->receive_bytes, 0, size * sizeof(int64_t));
    for (int q = 0; q < reduce->comm->size; q++)
        if (speaks_abroad(reduce, q))
            outbox = outputs_make(reduce, round, q, outbox);
    receive_prepare(reduce, round, receive);
    return comm_exchange(reduce->comm, reduce->send, reduce->send_bytes, reduce->receive,
                         reduce->receive_bytes, err);
}

static enum muster_status round_run(struct host_reduce *reduce, const struct round *round, float *mine,
                                    float *receive, struct muster_error *err)
{
    struct comm *comm = reduce->comm;
    enum muster_status status = MUSTER_OK;
    if (reduce->shared)
        round_publish(reduce, round);
    if (reduce->meets)
        status = comm_local_barrier(comm, err);
    if (!status && reduce->recipe.host_count > 1)
        status = round_talk(reduce, round, receive, err);
    int64_t count = round_count(reduce, round, comm->rank);
    if (!status && count > 0) {
        operands_set(reduce, round, comm->rank);
        combine_run(&reduce->total, reduce->operands, mine + round->first, count);
    }
    if (reduce->meets)
        comm_local_turn(comm);
    return status;
}

enum muster_status host_reduce_run(struct host_reduce *reduce, float *const *inputs,
                                   const int64_t *owned_begin, float *mine, float *receive,
                                   struct muster_error *err)
{
    int64_t owned_count_max = 0;
    for (int r = 0; r < reduce->comm->size; r++) {
        int64_t count = owned_begin[r + 1] - owned_begin[r];
        owned_count_max = count > owned_count_max ? count : owned_count_max;
    }
    enum muster_status status = MUSTER_OK;
    struct round round = {.inputs = inputs, .owned_begin = owned_begin};
    for (; round.first < owned_count_max && !status; round.first += reduce->piece)
        status = round_run(reduce, &round, mine, receive, err);
    return status;
}
