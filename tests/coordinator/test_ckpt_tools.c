/* SPDX-License-Identifier: MIT
 *
 * inspect, diff, prune and the npz export, on the small states of ckpt_fixture.h and on a small real model.
 */
#include "coordinator/ckpt/ckpt_tools.h"

#include "base/alloc.h"
#include "coordinator/ckpt/npz_write.h"
#include "tests/coordinator/ckpt_case.h"
#include "tests/coordinator/model_ckpt.h"
#include "tests/suite.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char small_gpt[] = "type: gpt, num_layers: 1, hidden_size: 8, num_heads: 2, vocab_size: 11";

static void write_fixture(const char *folder, int writers)
{
    char path[FS_PATH_MAX];
    ck_assert_msg(ckpt_fixture_write(&here.fixture, folder, writers, true, path, &here.err) == MUSTER_OK,
                  "%s", here.err.text);
}

static void expect_error(enum muster_status status, enum muster_status expected, const char *words)
{
    ck_assert_int_eq(status, expected);
    ck_assert_msg(strstr(here.err.text, words) != NULL, "\"%s\" is not in: %s", words, here.err.text);
}

/* ---- ls ---- */

/* A checkpoint of step 20 by three ranks on a "node", less one of its shards. */
static void node_write(const struct model_ckpt *model, const char *node, int without)
{
    char folder[128], shard[64];
    snprintf(folder, sizeof folder, "nodes/%s/step-000000020", node);
    model_ckpt_write(model, ckpt_case_path(folder), 20, 3);
    ckpt_format_shard(shard, without, 3);
    snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "/%s", shard);
    ck_assert_int_eq(fs_remove_tree(ckpt_case_path(folder), NULL), MUSTER_OK);
}

START_TEST(ls_shows_what_the_nodes_hold_and_whether_it_is_enough)
{
    struct model_ckpt model;
    model_ckpt_init(&model, small_gpt);
    alloc_free(model.job->checkpoint.local_dir);
    model.job->checkpoint.local_dir = alloc_text(ckpt_case_path("nodes/%h-%r"));
    node_write(&model, "a-0", 2);
    node_write(&model, "b-1", 0);
    model_ckpt_write(&model, ckpt_case_path("nodes/elsewhere/step-000000020"), 20, 3);
    struct text yaml;
    text_init(&yaml);
    ck_assert_int_eq(job_write_yaml(model.job, &yaml, &here.err), MUSTER_OK);
    ck_assert_int_eq(fs_folder_create(ckpt_case_path("run"), &here.err), MUSTER_OK);
    ck_assert_int_eq(fs_file_write(ckpt_case_path("run/job.yaml"), yaml.data, yaml.length, &here.err),
                     MUSTER_OK);
    text_release(&yaml);
    ck_assert_int_eq(ckpt_command_ls(ckpt_case_path("run"), &here.out, &here.err),
                     MUSTER_OK); /* nothing shared yet */
    ck_assert_ptr_eq(strstr(here.out.data, "LOCAL COPY "), here.out.data);
    ckpt_case_expect("/nodes/a-0/step-000000020          20 ");
    ckpt_case_expect("    2 of 3  complete with the others here\n");
    ck_assert_ptr_null(strstr(here.out.data, "elsewhere"));
    model_ckpt_write(&model, ckpt_case_path("run/checkpoints/step-000000010"), 10, 1);
    ck_assert_int_eq(fs_remove_tree(ckpt_case_path("run/job.yaml"), NULL), MUSTER_OK);
    ck_assert_int_eq(
        fs_remove_tree(ckpt_case_path("nodes/b-1/step-000000020/shard-00002-of-00003.safetensors"), NULL),
        MUSTER_OK);
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_ls(ckpt_case_path("run"), &here.out, &here.err),
                     MUSTER_OK); /* the job from the checkpoint */
    ckpt_case_expect("step-000000010          10 ");
    ckpt_case_expect("    1 of 3  incomplete: 1 of its shards are in no folder in reach\n");
    model_ckpt_release(&model);
}
END_TEST

START_TEST(a_local_copy_whose_manifest_is_damaged_says_so)
{
    struct model_ckpt model;
    model_ckpt_init(&model, small_gpt);
    alloc_free(model.job->checkpoint.local_dir);
    model.job->checkpoint.local_dir = alloc_text(ckpt_case_path("nodes/n[1]"));
    model_ckpt_write(&model, ckpt_case_path("run/checkpoints/step-000000010"), 10, 1);
    model_ckpt_write(&model, ckpt_case_path("nodes/n[1]/step-000000010"), 10, 1);
    model_ckpt_write(&model, ckpt_case_path("nodes/n[1]/step-000000020"), 20, 1);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("nodes/n[1]/step-000000020/MANIFEST.json"), 50, 1));
    ck_assert_int_eq(ckpt_command_ls(ckpt_case_path("run"), &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect("/nodes/n[1]/step-000000020          20           -         -  ");
    ckpt_case_expect("do not match the hash");
    ckpt_case_expect("1 of 1  complete\n");
    model_ckpt_release(&model);
}
END_TEST

/* ---- inspect ---- */

START_TEST(inspect_tells_the_facts_of_the_newest_checkpoint)
{
    const struct ckpt_inspect_options options = {.tensors = false};
    ckpt_case_add(3, true);
    ckpt_case_add(7, true);
    ck_assert_int_eq(ckpt_command_inspect(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect("step        7\ntokens      70\n");
    ckpt_case_expect("numerics    ref\nkinds       param adam_m adam_v\n");
    ckpt_case_expect("tensors     4 with 44 elements of each kind; 20 of padding, chunks of 8\n");
    ckpt_case_expect("writers     2");
    ckpt_case_expect("shard-00001-of-00002.safetensors");
    ck_assert_ptr_null(strstr(here.out.data, "wte"));
    text_clear(&here.out);
    ck_assert_int_eq(ckpt_command_inspect(ckpt_case_path("step-000000003/"), &options, &here.out, &here.err),
                     MUSTER_OK);
    ckpt_case_expect("step        3\n");
}
END_TEST

/* The object of the list `tensors` with this kind and name. */
static json_t *row_of(json_t *root, const char *kind, const char *name)
{
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "tensors"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "kind")), kind) == 0 &&
            strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    ck_abort_msg("no %s/%s", kind, name);
    return NULL;
}

static double number_of(const json_t *row, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(row, key)), "%s is no number", key);
    return json_number_value(json_object_get(row, key));
}

START_TEST(inspect_computes_the_numbers_of_every_tensor_and_counts_what_is_not_finite)
{
    const struct ckpt_inspect_options options = {.tensors = true, .json = true};
    ckpt_fixture_init(&here.fixture, 5);
    float *bias = here.fixture.state[1] + 24;
    bias[0] = -3.0f, bias[1] = 4.0f, bias[2] = NAN;
    here.fixture.state[2][32] = -INFINITY;
    memcpy(here.fixture.stored, here.fixture.state, sizeof here.fixture.state);
    memset(here.fixture.stored[0] + 20, 0, 0);
    for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++) {
        memset(&here.fixture.stored[kind][20], 0, 4 * sizeof(float));
        memset(&here.fixture.stored[kind][27], 0, 5 * sizeof(float));
        memset(&here.fixture.stored[kind][33], 0, 7 * sizeof(float));
        memset(&here.fixture.stored[kind][60], 0, 4 * sizeof(float));
    }
    write_fixture(here.dir, 3);
    ck_assert_int_eq(ckpt_command_inspect(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    json_t *root = json_loads(here.out.data, 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq((int)json_array_size(json_object_get(root, "tensors")), 12);
    ck_assert_int_eq((int)number_of(root, "step"), 5);
    ck_assert_int_eq((int)number_of(root, "writers"), 3);
    const json_t *row = row_of(root, "adam_m", "h.0/attn@bias");
    ck_assert_double_eq(number_of(row, "min"), -3);
    ck_assert_double_eq(number_of(row, "max"), 4);
    ck_assert_double_eq(number_of(row, "mean"), 0.5);
    ck_assert_double_eq(number_of(row, "rms"), sqrt(12.5));
    ck_assert_int_eq((int)number_of(row, "nan_count"), 1);
    ck_assert_int_eq((int)number_of(row, "count"), 3);
    row = row_of(root, "adam_v", "scale");
    ck_assert(json_is_null(json_object_get(row, "min")) && json_is_null(json_object_get(row, "rms")));
    ck_assert_int_eq((int)number_of(row, "inf_count"), 1);
    ck_assert_int_eq((int)json_array_size(json_object_get(row, "shape")), 0);
    json_decref(root);
}
END_TEST

START_TEST(inspect_shows_the_same_as_a_table)
{
    const struct ckpt_inspect_options options = {.tensors = true};
    ckpt_case_add(5, true);
    ck_assert_int_eq(ckpt_command_inspect(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect("KIND      TENSOR         SHAPE");
    ckpt_case_expect("adam_v    head           [2, 2, 5]       F32            20");
    ckpt_case_expect("param     scale          []              F32             1");
}
END_TEST

START_TEST(what_is_no_checkpoint_is_not_inspected)
{
    const struct ckpt_inspect_options options = {.tensors = true};
    expect_error(ckpt_command_inspect(ckpt_case_path("nowhere"), &options, &here.out, &here.err),
                 MUSTER_ERR_BAD_INPUT, "is not a folder");
    expect_error(ckpt_command_inspect(here.dir, &options, &here.out, &here.err), MUSTER_ERR_BAD_INPUT,
                 "there is no committed checkpoint");
    ckpt_case_add(5, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000005/MANIFEST.json"), 50, 1));
    expect_error(ckpt_command_inspect(ckpt_case_path("step-000000005"), &options, &here.out, &here.err),
                 MUSTER_ERR_CORRUPT, "do not match the hash");
}
END_TEST

/* ---- diff ---- */

START_TEST(the_same_state_is_equal_however_many_ranks_wrote_it)
{
    bool equal = false;
    ckpt_fixture_init(&here.fixture, 5);
    write_fixture(ckpt_case_path("a"), 1);
    write_fixture(ckpt_case_path("b"), 3);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(equal);
    ckpt_case_expect("equal: step 5, 4 tensors of 3 kinds, to the last bit\n");
}
END_TEST

START_TEST(differences_are_named_with_their_size_and_a_tolerance_forgives_them)
{
    bool equal = true;
    ckpt_fixture_init(&here.fixture, 5);
    here.fixture.state[2][41] = here.fixture.stored[2][41] = 2.0f;
    write_fixture(ckpt_case_path("a"), 1);
    here.fixture.state[2][41] = here.fixture.stored[2][41] = 1.5f;
    write_fixture(ckpt_case_path("b"), 2);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(!equal);
    ck_assert_str_eq(here.out.data,
                     "adam_v/head: 1 of 20 elements differ, by at most 0.5 (absolute) and 0.25 (relative)\n");
    text_clear(&here.out);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0.25, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(equal);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0.2, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(!equal);
}
END_TEST

START_TEST(a_nan_differs_from_a_number_whatever_the_tolerance_and_not_from_itself)
{
    bool equal = true;
    ckpt_fixture_init(&here.fixture, 5);
    here.fixture.state[0][0] = here.fixture.stored[0][0] = NAN;
    write_fixture(ckpt_case_path("a"), 1);
    write_fixture(ckpt_case_path("b"), 2);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(equal);
    here.fixture.state[0][0] = here.fixture.stored[0][0] = 1.0f;
    write_fixture(ckpt_case_path("c"), 2);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("c"), 1e300, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(!equal);
    ckpt_case_expect("param/wte: 1 of 20 elements differ, by at most inf");
}
END_TEST

START_TEST(steps_kinds_names_and_shapes_are_compared)
{
    bool equal = true;
    ckpt_fixture_init(&here.fixture, 5);
    write_fixture(ckpt_case_path("a"), 1);
    here.fixture.identity.step = 6;
    strcpy(here.fixture.tensors[3].name, "tail");
    here.fixture.tensors[0].shape[0] = 4;
    here.fixture.tensors[0].shape[1] = 5;
    here.fixture.layout.kinds[2] = "other";
    write_fixture(ckpt_case_path("b"), 1);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(!equal);
    ckpt_case_expect("step 5, 6\n");
    ckpt_case_expect("kind adam_v only in ");
    ckpt_case_expect("kind other only in ");
    ckpt_case_expect("tensor wte has another shape\n");
    ckpt_case_expect("tensor head only in ");
    ckpt_case_expect("tensor tail only in ");
    ck_assert_ptr_null(strstr(here.out.data, "elements differ"));
}
END_TEST

START_TEST(changed_job_keys_are_listed_and_do_not_count)
{
    bool equal = false;
    struct model_ckpt model;
    model_ckpt_init(&model, small_gpt);
    model_ckpt_write(&model, ckpt_case_path("a"), 4, 1);
    model.job->optimizer.lr = 0.002;
    model.job->logging.interval = 77;
    model_ckpt_write(&model, ckpt_case_path("b"), 4, 2);
    model_ckpt_release(&model);
    ck_assert_int_eq(
        ckpt_command_diff(ckpt_case_path("a"), ckpt_case_path("b"), 0, &equal, &here.out, &here.err),
        MUSTER_OK);
    ck_assert(equal);
    ckpt_case_expect("job optimizer.lr: 0.001, 0.002 (shapes the result)\n");
    ckpt_case_expect("job logging.interval: ");
    ckpt_case_expect(", 77\n");
    ck_assert_ptr_null(strstr(here.out.data, "model."));
}
END_TEST

/* ---- prune ---- */

START_TEST(prune_removes_what_the_policy_does_not_want_and_says_what_it_frees)
{
    struct ckpt_prune_options options = {.keep_last = 2, .keep_every = 20, .dry_run = true};
    for (int64_t step = 10; step <= 60; step += 10)
        ckpt_case_add(step, true);
    ck_assert_int_eq(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect("step-000000010  would go");
    ckpt_case_expect("would be freed; 4 verified checkpoints stay\n");
    ck_assert(ckpt_case_has(10) && ckpt_case_has(30));
    text_clear(&here.out);
    options.dry_run = false;
    ck_assert_int_eq(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect("step-000000030  removed");
    ckpt_case_expect("KiB freed; 4 verified checkpoints stay\n");
    ck_assert(!ckpt_case_has(10) && ckpt_case_has(20) && !ckpt_case_has(30) && ckpt_case_has(40) &&
              ckpt_case_has(50) && ckpt_case_has(60));
}
END_TEST

START_TEST(a_damaged_checkpoint_does_not_count_among_those_that_stay)
{
    const struct ckpt_prune_options options = {.keep_last = 2};
    for (int64_t step = 10; step <= 50; step += 10)
        ckpt_case_add(step, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000050/shard-00000-of-00002.safetensors"), -1, 1));
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000030/shard-00001-of-00002.safetensors"), -1, 1));
    expect_error(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_ERR_CORRUPT,
                 "2 checkpoints in");
    ckpt_case_expect("step-000000050  BAD");
    ckpt_case_expect("step-000000030  BAD");
    ck_assert(ckpt_case_has(50)); /* newer than every good one: for a person to look at */
    ck_assert(ckpt_case_has(40) && !ckpt_case_has(30) && ckpt_case_has(20) && !ckpt_case_has(10));
}
END_TEST

START_TEST(two_or_fewer_good_ones_are_left_alone)
{
    const struct ckpt_prune_options options = {.keep_last = 2};
    expect_error(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_ERR_BAD_INPUT,
                 "there are no checkpoints");
    ckpt_case_add(10, true);
    ckpt_case_add(20, true);
    ckpt_case_add(30, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000010/shard-00000-of-00002.safetensors"), -1, 1));
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000020/shard-00000-of-00002.safetensors"), -1, 1));
    ck_assert_int_eq(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_ERR_CORRUPT);
    ck_assert(ckpt_case_has(10) && ckpt_case_has(20) && ckpt_case_has(30));
    ckpt_case_expect("1 verified checkpoints stay\n");
}
END_TEST

START_TEST(what_an_interrupted_prune_left_goes_with_the_next)
{
    struct ckpt_prune_options options = {.keep_last = 2, .dry_run = true};
    ckpt_case_add(10, true);
    ckpt_case_add(20, true);
    ckpt_case_add(30, true);
    ck_assert_int_eq(
        fs_rename(ckpt_case_path("step-000000010"), ckpt_case_path(".prune-step-000000010"), &here.err),
        MUSTER_OK);
    ck_assert_int_eq(fs_folder_create(ckpt_case_path(".aside-step-000000010"), &here.err), MUSTER_OK);
    ck_assert_int_eq(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect(".prune-step-000000010  would go");
    ck_assert(fs_exists(ckpt_case_path(".prune-step-000000010")));
    options.dry_run = false;
    ck_assert_int_eq(ckpt_command_prune(here.dir, &options, &here.out, &here.err), MUSTER_OK);
    ckpt_case_expect(".prune-step-000000010  removed");
    ck_assert(!fs_exists(ckpt_case_path(".prune-step-000000010")) &&
              fs_exists(ckpt_case_path(".aside-step-000000010")));
    ck_assert(ckpt_case_has(20) && ckpt_case_has(30));
}
END_TEST

/* ---- npz ---- */

static uint64_t field(const char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

/* The array's bytes behind a local header at `at`, its .npy header compared; size and CRC as stored there. */
static const char *entry_check(const char *at, bool zip64, const char *name, const char *shape,
                               const float *values, size_t count)
{
    char dict[128];
    ck_assert_int_eq(memcmp(at, "PK\x03\x04", 4), 0);
    size_t name_length = field(at + 26, 2), extra = field(at + 28, 2);
    ck_assert_uint_eq(name_length, strlen(name));
    ck_assert_int_eq(memcmp(at + 30, name, name_length), 0);
    uint64_t bytes = field(at + 22, 4);
    if (zip64) {
        ck_assert_uint_eq(bytes, UINT32_MAX);
        ck_assert_uint_eq(extra, 20);
        bytes = field(at + 30 + name_length + 4, 8);
    }
    const char *npy = at + 30 + name_length + extra;
    ck_assert_uint_eq(field(at + 14, 4), crc32(0, (const unsigned char *)npy, (uInt)bytes));
    ck_assert_int_eq(memcmp(npy, "\x93NUMPY\x01\x00", 8), 0);
    size_t header = 10 + field(npy + 8, 2);
    ck_assert_uint_eq(header % 64, 0);
    snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    ck_assert_int_eq(memcmp(npy + 10, dict, strlen(dict)), 0);
    ck_assert_int_eq(npy[header - 1], '\n');
    ck_assert_uint_eq(bytes, header + count * sizeof *values);
    ck_assert_int_eq(memcmp(npy + header, values, count * sizeof *values), 0);
    return npy + bytes;
}

static void npz_write(const char *path, int64_t zip64_from)
{
    static const float values[6] = {1, 2, 3, 4, 5, -6.5f};
    static const int64_t shape[] = {2, 3}, vector[] = {6};
    struct npz_writer writer;
    ck_assert_int_eq(npz_writer_open(&writer, path, 0, &here.err), MUSTER_OK);
    writer.zip64_from = zip64_from;
    ck_assert_int_eq(npz_writer_add(&writer, "a.b", shape, 2, values, 6, &here.err), MUSTER_OK);
    ck_assert_int_eq(npz_writer_add(&writer, "vector", vector, 1, values, 6, &here.err), MUSTER_OK);
    ck_assert_int_eq(npz_writer_add(&writer, "scalar", NULL, 0, values + 5, 1, &here.err), MUSTER_OK);
    ck_assert_int_eq(npz_writer_finish(&writer, &here.err), MUSTER_OK);
    npz_writer_abort(&writer);
}

START_TEST(an_npz_is_a_zip_of_plain_arrays_with_and_without_zip64)
{
    static const float values[6] = {1, 2, 3, 4, 5, -6.5f};
    for (int zip64 = 0; zip64 < 2; zip64++) {
        char *bytes;
        size_t size;
        npz_write(ckpt_case_path("w.npz"), zip64 ? 1 : UINT32_MAX);
        ck_assert_int_eq(fs_file_read(ckpt_case_path("w.npz"), 1 << 20, &bytes, &size, &here.err), MUSTER_OK);
        const char *at = entry_check(bytes, zip64, "a.b.npy", "(2, 3)", values, 6);
        at = entry_check(at, zip64, "vector.npy", "(6,)", values, 6);
        at = entry_check(at, zip64, "scalar.npy", "()", values + 5, 1);
        const char *end = bytes + size - 22;
        ck_assert_int_eq(memcmp(at, "PK\x01\x02", 4), 0);
        ck_assert_int_eq(memcmp(end, "PK\x05\x06", 4), 0);
        ck_assert_uint_eq(field(end + 10, 2), 3);
        uint64_t directory = field(end + 16, 4);
        if (zip64) {
            ck_assert_uint_eq(directory, UINT32_MAX);
            ck_assert_int_eq(memcmp(end - 20, "PK\x06\x07", 4), 0);
            const char *record = bytes + field(end - 20 + 8, 8);
            ck_assert_int_eq(memcmp(record, "PK\x06\x06", 4), 0);
            directory = field(record + 48, 8);
        }
        ck_assert_uint_eq(directory, (uint64_t)(at - bytes));
        alloc_free(bytes);
    }
}
END_TEST

START_TEST(export_to_npz_holds_the_weights_under_their_names)
{
    const struct ckpt_export_options options = {.format = CKPT_EXPORT_NPZ, .output = ckpt_case_path("w.npz")};
    char *bytes;
    size_t size;
    ckpt_fixture_init(&here.fixture, 5);
    write_fixture(here.dir, 3);
    ck_assert_msg(ckpt_command_export(here.dir, &options, &here.out, &here.err) == MUSTER_OK, "%s",
                  here.err.text);
    ckpt_case_expect(": 4 tensors, ");
    ck_assert_int_eq(fs_file_read(options.output, 1 << 20, &bytes, &size, &here.err), MUSTER_OK);
    const char *at = entry_check(bytes, false, "wte.npy", "(5, 4)", here.fixture.stored[0], 20);
    at = entry_check(at, false, "h.0/attn@bias.npy", "(3,)", here.fixture.stored[0] + 24, 3);
    at = entry_check(at, false, "scale.npy", "()", here.fixture.stored[0] + 32, 1);
    entry_check(at, false, "head.npy", "(2, 2, 5)", here.fixture.stored[0] + 40, 20);
    alloc_free(bytes);
}
END_TEST

START_TEST(a_damaged_checkpoint_is_not_exported_and_nothing_is_overwritten)
{
    struct ckpt_export_options options = {.format = CKPT_EXPORT_NPZ, .output = ckpt_case_path("w.npz")};
    ckpt_case_add(5, true);
    ck_assert(ckpt_fixture_flip(ckpt_case_path("step-000000005/shard-00000-of-00002.safetensors"), -1, 1));
    expect_error(ckpt_command_export(here.dir, &options, &here.out, &here.err), MUSTER_ERR_CORRUPT, "CRC32C");
    ck_assert(!fs_exists(options.output));
    ck_assert_int_eq(fs_file_write(options.output, "mine", 4, &here.err), MUSTER_OK);
    expect_error(ckpt_command_export(here.dir, &options, &here.out, &here.err), MUSTER_ERR_BAD_INPUT,
                 "already there");
    ck_assert_int_eq((int)fs_file_size(options.output), 4);
    options.dtype = DTYPE_BF16;
    options.output = ckpt_case_path("other.npz");
    expect_error(ckpt_command_export(here.dir, &options, &here.out, &here.err), MUSTER_ERR_UNSUPPORTED,
                 "--dtype bf16");
}
END_TEST

START_TEST(export_to_hdf5_writes_a_file_or_says_that_it_was_not_built_in)
{
    const struct ckpt_export_options options = {.format = CKPT_EXPORT_H5, .output = ckpt_case_path("w.h5")};
    char *bytes;
    size_t size;
    ckpt_case_add(5, true);
    enum muster_status status = ckpt_command_export(here.dir, &options, &here.out, &here.err);
    if (status == MUSTER_ERR_UNSUPPORTED) {
        expect_error(status, MUSTER_ERR_UNSUPPORTED, "built without HDF5");
        ck_assert(!fs_exists(options.output));
        return;
    }
    ck_assert_msg(status == MUSTER_OK, "%s", here.err.text);
    ck_assert_int_eq(fs_file_read(options.output, 1 << 20, &bytes, &size, &here.err), MUSTER_OK);
    ck_assert_int_eq(memcmp(bytes, "\x89HDF\r\n\x1a\n", 8), 0);
    ck_assert_ptr_nonnull(memmem(bytes, size, here.fixture.stored[0], 20 * sizeof(float)));
    alloc_free(bytes);
}
END_TEST

static TCase *case_create(const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, ckpt_case_setup, ckpt_case_teardown);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("ckpt tools");
    TCase *ls = case_create("ls"), *inspect = case_create("inspect"), *diff = case_create("diff"),
          *prune = case_create("prune"), *npz = case_create("npz");
    tcase_add_test(inspect, inspect_tells_the_facts_of_the_newest_checkpoint);
    tcase_add_test(inspect, inspect_computes_the_numbers_of_every_tensor_and_counts_what_is_not_finite);
    tcase_add_test(inspect, inspect_shows_the_same_as_a_table);
    tcase_add_test(inspect, what_is_no_checkpoint_is_not_inspected);
    tcase_add_test(diff, the_same_state_is_equal_however_many_ranks_wrote_it);
    tcase_add_test(ls, ls_shows_what_the_nodes_hold_and_whether_it_is_enough);
    tcase_add_test(ls, a_local_copy_whose_manifest_is_damaged_says_so);
    tcase_add_test(diff, differences_are_named_with_their_size_and_a_tolerance_forgives_them);
    tcase_add_test(diff, a_nan_differs_from_a_number_whatever_the_tolerance_and_not_from_itself);
    tcase_add_test(diff, steps_kinds_names_and_shapes_are_compared);
    tcase_add_test(diff, changed_job_keys_are_listed_and_do_not_count);
    tcase_add_test(prune, prune_removes_what_the_policy_does_not_want_and_says_what_it_frees);
    tcase_add_test(prune, a_damaged_checkpoint_does_not_count_among_those_that_stay);
    tcase_add_test(prune, two_or_fewer_good_ones_are_left_alone);
    tcase_add_test(prune, what_an_interrupted_prune_left_goes_with_the_next);
    tcase_add_test(npz, an_npz_is_a_zip_of_plain_arrays_with_and_without_zip64);
    tcase_add_test(npz, export_to_npz_holds_the_weights_under_their_names);
    tcase_add_test(npz, a_damaged_checkpoint_is_not_exported_and_nothing_is_overwritten);
    tcase_add_test(npz, export_to_hdf5_writes_a_file_or_says_that_it_was_not_built_in);
    suite_add_tcase(suite, ls);
    suite_add_tcase(suite, inspect);
    suite_add_tcase(suite, diff);
    suite_add_tcase(suite, prune);
    suite_add_tcase(suite, npz);
    return suite_run(suite);
}
