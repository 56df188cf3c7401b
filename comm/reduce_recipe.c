/* SPDX-License-Identifier: MIT
 *
 * Pure tables: no communication and no data. Outputs are numbered in the order of the final sum (for the tree
 * from the first leaf to the last).
 */
#include "comm/reduce_recipe.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/tree.h"

static enum muster_status no_memory(struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the tables of a reduction");
}

/* Room for at most `inputs` inputs and as many outputs. */
static enum muster_status tables_create(struct reduce_recipe *recipe, const struct reduce_hosts *hosts,
                                        size_t inputs, struct muster_error *err)
{
    *recipe = (struct reduce_recipe){.rank_count = hosts->rank_count, .host_count = hosts->host_count};
    recipe->input_first = alloc_zeroed((size_t)hosts->rank_count + 1, sizeof(int));
    recipe->host_output_count = alloc_zeroed((size_t)hosts->host_count, sizeof(int));
    recipe->output_host = alloc_zeroed(inputs, sizeof(int));
    recipe->output_place = alloc_zeroed(inputs, sizeof(int));
    recipe->program = alloc_zeroed(2 * inputs, sizeof(int));
    recipe->program_first = alloc_zeroed(inputs + 1, sizeof(int));
    recipe->final = alloc_zeroed(2 * inputs, sizeof(int));
    bool complete = recipe->input_first && recipe->host_output_count && recipe->output_host &&
                    recipe->output_place && recipe->program && recipe->program_first && recipe->final;
    return complete ? MUSTER_OK : no_memory(err);
}

void reduce_recipe_release(struct reduce_recipe *recipe)
{
    alloc_free(recipe->input_first);
    alloc_free(recipe->host_output_count);
    alloc_free(recipe->output_host);
    alloc_free(recipe->output_place);
    alloc_free(recipe->program);
    alloc_free(recipe->program_first);
    alloc_free(recipe->final);
    *recipe = (struct reduce_recipe){0};
}

/* An output of `host`, whose program of `length` entries was written at program_first[output_count]. */
static void output_add(struct reduce_recipe *recipe, int host, int length)
{
    int o = recipe->output_count++;
    recipe->output_host[o] = host;
    recipe->output_place[o] = recipe->host_output_count[host]++;
    recipe->program_first[o + 1] = recipe->program_first[o] + length;
}

/* The nodes of all ranks in order. */
static enum muster_status inputs_list(struct reduce_recipe *recipe, int leaves, const int *block_begin,
                                      struct tree_node *inputs, struct muster_error *err)
{
    for (int r = 0; r < recipe->rank_count; r++) {
        int begin = block_begin[r], end = block_begin[r + 1];
        int count = tree_block_nodes(leaves, begin, end, inputs + recipe->input_count);
        if (begin > end || (begin < end && count == 0))
            return muster_error_set(err, MUSTER_ERR_INTERNAL,
                                    "exact reduce: rank %d has the block [%d, %d) of %d leaves", r, begin,
                                    end, leaves);
        recipe->input_count += count;
        recipe->input_first[r + 1] = recipe->input_count;
    }
    return MUSTER_OK;
}

/* Ranks [first, end) are neighbours on one host: what the tree adds among them becomes outputs, listed in
 * `outputs`. */
static void run_add(struct reduce_recipe *recipe, int host, int leaves, struct tree_node block,
                    const struct tree_node *inputs, int input, struct tree_node *outputs)
{
    struct tree_node *node = outputs + recipe->output_count;
    int count = tree_block_nodes(leaves, block.begin, block.end, node);
    for (int k = 0; k < count; k++) {
        int *program = recipe->program + recipe->program_first[recipe->output_count];
        int length = tree_node_program(node[k], inputs + input, recipe->input_count - input, program);
        for (int i = 0; i < length; i++)
            program[i] += program[i] >= 0 ? input : 0;
        input += (length + 1) / 2;
        output_add(recipe, host, length);
    }
}

enum muster_status reduce_recipe_tree(struct reduce_recipe *recipe, const struct reduce_hosts *hosts,
                                      int leaves, const int *block_begin, struct muster_error *err)
{
    size_t room = (size_t)hosts->rank_count * TREE_BLOCK_NODES_MAX;
    struct tree_node *inputs = alloc_zeroed(2 * room, sizeof(*inputs)), *outputs = inputs + room;
    enum muster_status status = tables_create(recipe, hosts, room, err);
    if (!inputs)
        status = no_memory(err);
    if (!status)
        status = inputs_list(recipe, leaves, block_begin, inputs, err);
    for (int first = 0, end; first < hosts->rank_count && !status; first = end) {
        int host = hosts->host_of[first];
        for (end = first + 1; end < hosts->rank_count && hosts->host_of[end] == host;)
            end++;
        struct tree_node block = {block_begin[first], block_begin[end]};
        run_add(recipe, host, leaves, block, inputs, recipe->input_first[first], outputs);
    }
    if (!status && tree_combine_program(leaves, outputs, recipe->output_count, recipe->final) == 0)
        status = muster_error_set(err, MUSTER_ERR_INTERNAL, "exact reduce: the blocks do not cover %d leaves",
                                  leaves);
    alloc_free(inputs);
    if (status)
        reduce_recipe_release(recipe);
    return status;
}

enum muster_status reduce_recipe_plain(struct reduce_recipe *recipe, const struct reduce_hosts *hosts,
                                       struct muster_error *err)
{
    enum muster_status status = tables_create(recipe, hosts, (size_t)hosts->rank_count, err);
    if (status) {
        reduce_recipe_release(recipe);
        return status;
    }
    recipe->input_count = hosts->rank_count;
    for (int r = 0; r <= hosts->rank_count; r++)
        recipe->input_first[r] = r;
    int final_length = 0;
    for (int host = 0; host < hosts->host_count; host++) {
        int *program = recipe->program + recipe->program_first[recipe->output_count], length = 0;
        for (int r = 0; r < hosts->rank_count; r++) {
            if (hosts->host_of[r] != host)
                continue;
            program[length++] = r;
            if (length > 1)
                program[length++] = -1;
        }
        recipe->final[final_length++] = recipe->output_count;
        if (host > 0)
            recipe->final[final_length++] = -1;
        output_add(recipe, host, length);
    }
    return MUSTER_OK;
}

int reduce_recipe_expand(const struct reduce_recipe *recipe, int host, int *program)
{
    int length = 0;
    for (int i = 0; i < 2 * recipe->output_count - 1; i++) {
        int o = recipe->final[i];
        if (o < 0) {
            program[length++] = -1;
        } else if (recipe->output_host[o] != host) {
            program[length++] = recipe->input_count + o;
        } else {
            int entries = recipe->program_first[o + 1] - recipe->program_first[o];
            memcpy(program + length, recipe->program + recipe->program_first[o],
                   (size_t)entries * sizeof(int));
            length += entries;
        }
    }
    return length;
}
