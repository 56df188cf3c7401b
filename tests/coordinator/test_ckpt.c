/* SPDX-License-Identifier: MIT
 *
 * Checkpoints without ranks: what is written comes back, and nothing that is not exactly what was written is
 * ever believed. The damage tests are exhaustive on a tiny checkpoint: every byte, every length.
 */
#include "coordinator/ckpt/ckpt.h"

#include "base/alloc.h"
#include "tests/coordinator/ckpt_fixture.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static char folder[FS_PATH_MAX];
static struct ckpt_fixture fixture;
static struct muster_error err;
static int64_t live_before;

static void setup(void)
{
    live_before = alloc_live_count();
    ck_assert(ckpt_fixture_folder(dir));
    ckpt_fixture_init(&fixture, 42);
    err = (struct muster_error){.status = MUSTER_OK};
}

static void teardown(void)
{
    alloc_fail_nth(0);
    ck_assert_int_eq(fs_remove_tree(dir, NULL), MUSTER_OK);
    ck_assert_int_eq(alloc_live_count(), live_before);
}

static void write_checkpoint(int writers)
{
    ck_assert_msg(ckpt_fixture_write(&fixture, dir, writers, true, folder, &err) == MUSTER_OK, "%s",
                  err.text);
}

static struct ckpt *open_checkpoint(void)
{
    struct ckpt *ckpt = NULL;
    ck_assert_msg(ckpt_open(folder, &ckpt, &err) == MUSTER_OK, "%s", err.text);
    return ckpt;
}

/* Opens and verifies; the first bad status. */
static enum muster_status judge(void)
{
    struct ckpt *ckpt = NULL;
    enum muster_status status = ckpt_open(folder, &ckpt, &err);
    if (status == MUSTER_OK)
        status = ckpt_verify(ckpt, &err);
    ckpt_close(ckpt);
    return status;
}

static const char *in_folder(const char *name)
{
    static char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_path_join(path, folder, name, NULL), MUSTER_OK);
    return path;
}

static const char *shard_path(int writer, int writers)
{
    char name[64];
    ckpt_format_shard(name, writer, writers);
    return in_folder(name);
}

static void must_be_corrupt(const char *must_name, const char *what)
{
    enum muster_status status = judge();
    ck_assert_msg(status == MUSTER_ERR_CORRUPT, "%s of %s gave %s", what, must_name,
                  muster_status_name(status));
    ck_assert_msg(strstr(err.text, must_name) != NULL, "%s: \"%s\" does not name %s", what, err.text,
                  must_name);
}

/* Writing and reading. */

START_TEST(every_range_reads_back_as_written_whatever_the_number_of_writers)
{
    for (int writers = 1; writers <= 5; writers++) { /* with 5 some pieces are empty */
        write_checkpoint(writers);
        struct ckpt *ckpt = open_checkpoint();
        ck_assert_int_eq(ckpt_shard_count(ckpt), writers);
        for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++) {
            for (int begin = 0; begin <= CKPT_FIXTURE_FLAT; begin++) {
                for (int end = begin; end <= CKPT_FIXTURE_FLAT; end++) {
                    float out[CKPT_FIXTURE_FLAT + 1];
                    memset(out, 0x5a, sizeof out);
                    ck_assert_int_eq(ckpt_read(ckpt, kind, begin, end, out, &err), MUSTER_OK);
                    ck_assert_mem_eq(out, &fixture.stored[kind][begin],
                                     (size_t)(end - begin) * sizeof(float));
                    ck_assert_mem_eq(&out[end - begin], "\x5a\x5a\x5a\x5a", 4);
                }
            }
        }
        ckpt_close(ckpt);
        ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    }
}
END_TEST

START_TEST(an_opened_checkpoint_says_what_was_saved)
{
    write_checkpoint(2);
    struct ckpt *ckpt = open_checkpoint();
    const struct ckpt_layout *layout = ckpt_layout(ckpt);
    ck_assert_int_eq(ckpt_step(ckpt), 42);
    ck_assert_int_eq(ckpt_tokens_seen(ckpt), 420);
    ck_assert(hash_equal(ckpt_job_hash(ckpt), fixture.identity.job));
    ck_assert(hash_equal(ckpt_recorded_state_hash(ckpt), ckpt_fixture_hash(&fixture)));
    ck_assert_str_eq(ckpt_job_yaml(ckpt), fixture.identity.job_yaml);
    ck_assert_str_eq(ckpt_numerics(ckpt), "ref");
    ck_assert_int_eq(ckpt_total_bytes(ckpt), fs_file_size(shard_path(0, 2)) + fs_file_size(shard_path(1, 2)));
    ck_assert_int_eq(layout->tensor_count, CKPT_FIXTURE_TENSORS);
    ck_assert_mem_eq(layout->tensors, fixture.tensors, sizeof fixture.tensors);
    ck_assert_str_eq(layout->kinds[2], "adam_v");
    ck_assert_int_eq(ckpt_read(ckpt, 3, 0, 1, NULL, &err), MUSTER_ERR_INTERNAL);
    ck_assert_int_eq(ckpt_read(ckpt, 0, 0, CKPT_FIXTURE_FLAT + 1, NULL, &err), MUSTER_ERR_INTERNAL);
    ckpt_close(ckpt);
}
END_TEST

START_TEST(what_decides_about_bad_steps_comes_back_to_the_last_bit)
{
    write_checkpoint(1);
    struct ckpt *ckpt = open_checkpoint();
    ck_assert(!ckpt_health(ckpt).known);
    ckpt_close(ckpt);
    fixture.identity.health = (struct ckpt_health){true, 1.0 / 3.0, 1e-300 / 7.0, 40, 2, 1, 6, 9, 1};
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    write_checkpoint(2);
    ckpt = open_checkpoint();
    struct ckpt_health health = ckpt_health(ckpt);
    ck_assert(health.known && health.mean == 1.0 / 3.0 && health.variance == 1e-300 / 7.0);
    ck_assert_int_eq(health.seen, 40);
    ck_assert_int_eq(health.skipped, 2);
    ck_assert_int_eq(health.rollbacks, 1);
    ck_assert_int_eq(health.data_offset, 6);
    ck_assert_int_eq(health.bad_step, 9);
    ck_assert_int_eq(health.tries, 1);
    ckpt_close(ckpt);
    fixture.identity.health.data_offset = -1; /* what could not be read again is not committed */
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    ck_assert_int_eq(ckpt_fixture_write(&fixture, dir, 1, true, folder, &err), MUSTER_ERR_INTERNAL);
}
END_TEST

START_TEST(what_was_trained_on_comes_back)
{
    fixture.identity.data = (struct ckpt_data){true, 345, 7, {UINT64_MAX, 2}};
    write_checkpoint(1);
    struct ckpt *ckpt = open_checkpoint();
    struct ckpt_data data = ckpt_data(ckpt);
    ck_assert(data.known && hash_equal(data.hash, fixture.identity.data.hash));
    ck_assert_int_eq(data.sample_count, 345);
    ck_assert_int_eq(data.file_count, 7);
    ckpt_close(ckpt);
    fixture.identity.data.file_count = 0; /* nothing is trained on no file */
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    ck_assert_int_eq(ckpt_fixture_write(&fixture, dir, 1, true, folder, &err), MUSTER_ERR_INTERNAL);
}
END_TEST

START_TEST(an_older_launch_can_not_commit)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_path_join(path, dir, "epoch", &err), MUSTER_OK);
    ck_assert_int_eq(fs_file_write(path, "5\n", 2, &err), MUSTER_OK);
    fixture.identity.fence = (struct ckpt_fence){dir, 4};
    ck_assert_int_eq(ckpt_fixture_write(&fixture, dir, 1, true, folder, &err), MUSTER_ERR_FENCED);
    ck_assert(!fs_exists(in_folder(CKPT_MANIFEST_NAME)));
    fixture.identity.fence.epoch = 5;
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    write_checkpoint(1);
    ck_assert_int_eq(judge(), MUSTER_OK);
}
END_TEST

START_TEST(the_state_hash_is_that_of_its_definition_for_any_pieces)
{
    enum { CHUNKS = CKPT_FIXTURE_FLAT / CKPT_FIXTURE_CHUNK, ALL = CHUNKS * CKPT_FIXTURE_KINDS };
    struct hash128 expected = ckpt_fixture_hash(&fixture), from_files, part[ALL], all[ALL];
    for (int writers = 1; writers <= 3; writers++) {
        for (int writer = 0; writer < writers; writer++) {
            struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
            int next = 0;
            ckpt_fixture_pieces(&fixture, writer, writers, pieces);
            ck_assert_int_eq(ckpt_chunk_hashes(&fixture.layout, pieces, CKPT_FIXTURE_PIECES, part, &err),
                             MUSTER_OK);
            for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++) {
                for (int i = 0; i < CKPT_FIXTURE_PIECES; i++) {
                    for (int64_t at = pieces[i].begin; at < pieces[i].end; at += CKPT_FIXTURE_CHUNK)
                        all[kind * CHUNKS + at / CKPT_FIXTURE_CHUNK] = part[next++];
                }
            }
        }
        ck_assert(hash_equal(ckpt_state_hash(&fixture.layout, 42, all), expected));
        write_checkpoint(writers);
        struct ckpt *ckpt = open_checkpoint();
        ck_assert_int_eq(ckpt_hash(ckpt, &from_files, &err), MUSTER_OK);
        ck_assert(hash_equal(from_files, expected));
        ckpt_close(ckpt);
        ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
    }
    ck_assert(!hash_equal(ckpt_state_hash(&fixture.layout, 43, all), expected));
    struct ckpt_piece crooked = {.begin = 4, .end = 8, .data = {fixture.state[0]}};
    ck_assert_int_eq(ckpt_chunk_hashes(&fixture.layout, &crooked, 1, part, &err), MUSTER_ERR_INTERNAL);
}
END_TEST

START_TEST(a_writer_without_pieces_writes_a_valid_shard)
{
    write_checkpoint(5);
    struct ckpt *ckpt = open_checkpoint();
    for (int i = 0; i < 5; i++)
        ck_assert_msg(ckpt_shard_verify(ckpt, i, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(ckpt_verify(ckpt, &err), MUSTER_OK);
    ckpt_close(ckpt);
    ck_assert_int_eq(fs_file_size(shard_path(0, 5)) % 64, 0); /* a header and nothing else */
}
END_TEST

/* Damage. */

static const struct {
    const char *what;
    unsigned char mask;
} flips[] = {
    {"bit 0", 0x01}, {"the case bit", 0x20}, {"bit 7", 0x80}, {"all bits", 0xff}, {"newline to space", 0x2a}};

static void flip_every_byte(const char *path, const char *name)
{
    int64_t bytes = fs_file_size(path);
    ck_assert_int_gt(bytes, 100);
    for (int64_t at = 0; at < bytes; at++) {
        for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
            ck_assert(ckpt_fixture_flip(path, at, flips[i].mask));
            must_be_corrupt(name, flips[i].what);
            ck_assert(ckpt_fixture_flip(path, at, flips[i].mask));
        }
    }
}

START_TEST(a_change_of_any_byte_of_any_file_is_found_and_the_file_named)
{
    write_checkpoint(2);
    flip_every_byte(in_folder(CKPT_MANIFEST_NAME), CKPT_MANIFEST_NAME);
    flip_every_byte(shard_path(0, 2), "shard-00000-of-00002.safetensors");
    flip_every_byte(shard_path(1, 2), "shard-00001-of-00002.safetensors");
    ck_assert_msg(judge() == MUSTER_OK, "%s", err.text);
}
END_TEST

/* The file at every length below its own, and longer by one byte. */
static void cut_at_every_length(const char *path, const char *name)
{
    char *data = NULL;
    size_t bytes = 0;
    ck_assert_int_eq(fs_file_read(path, 1 << 20, &data, &bytes, NULL), MUSTER_OK);
    for (size_t length = bytes; length-- > 0;) {
        ck_assert_int_eq(truncate(path, (off_t)length), 0);
        must_be_corrupt(name, "truncation");
    }
    for (int extra = 0; extra < 2; extra++) {
        FILE *file = fopen(path, "wb");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
        ck_assert(extra == 0 || fwrite("\n", 1, 1, file) == 1);
        ck_assert_int_eq(fclose(file), 0);
        if (extra == 1)
            must_be_corrupt(name, "extension");
        else
            ck_assert_int_eq(judge(), MUSTER_OK);
    }
    ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
    alloc_free(data);
}

START_TEST(any_truncation_or_extension_of_any_file_is_found)
{
    write_checkpoint(2);
    cut_at_every_length(in_folder(CKPT_MANIFEST_NAME), CKPT_MANIFEST_NAME);
    cut_at_every_length(shard_path(0, 2), "shard-00000-of-00002.safetensors");
    cut_at_every_length(shard_path(1, 2), "shard-00001-of-00002.safetensors");
}
END_TEST

START_TEST(a_missing_file_is_named)
{
    write_checkpoint(2);
    ck_assert_int_eq(unlink(shard_path(1, 2)), 0);
    must_be_corrupt("shard-00001-of-00002.safetensors is missing", "removal");
    ck_assert_int_eq(unlink(in_folder(CKPT_MANIFEST_NAME)), 0);
    must_be_corrupt("has no " CKPT_MANIFEST_NAME, "removal");
}
END_TEST

START_TEST(a_shard_that_changes_after_opening_is_corrupt_not_a_crash)
{
    float out[CKPT_FIXTURE_FLAT];
    write_checkpoint(1);
    struct ckpt *ckpt = open_checkpoint();
    int64_t bytes = fs_file_size(shard_path(0, 1));
    ck_assert_int_eq(truncate(shard_path(0, 1), (off_t)bytes + 1), 0);
    ck_assert_int_eq(ckpt_shard_verify(ckpt, 0, &err), MUSTER_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "bytes long"));
    ck_assert_int_eq(truncate(shard_path(0, 1), 100), 0);
    ck_assert_int_eq(ckpt_read(ckpt, 0, 0, CKPT_FIXTURE_FLAT, out, &err), MUSTER_ERR_CORRUPT);
    ck_assert_int_eq(ckpt_shard_verify(ckpt, 0, &err), MUSTER_ERR_CORRUPT);
    ck_assert_int_eq(unlink(shard_path(0, 1)), 0);
    ck_assert_int_eq(ckpt_shard_verify(ckpt, 0, &err), MUSTER_ERR_CORRUPT);
    ckpt_close(ckpt);
}
END_TEST

START_TEST(shards_swapped_between_two_checkpoints_are_found)
{
    char other[FS_PATH_MAX], mine[FS_PATH_MAX], theirs[FS_PATH_MAX], name[64];
    ckpt_fixture_init(&fixture, 41);
    write_checkpoint(2);
    memcpy(other, folder, sizeof other);
    ckpt_fixture_init(&fixture, 42);
    write_checkpoint(2);
    ckpt_format_shard(name, 1, 2);
    ck_assert_int_eq(fs_path_join(mine, folder, name, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_path_join(theirs, other, name, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_file_size(mine), fs_file_size(theirs));
    ck_assert_int_eq(rename(theirs, mine), 0);
    must_be_corrupt(name, "another checkpoint's shard in place");
}
END_TEST

enum { LARGE_FLAT = 1 << 20 };

/* A checkpoint of one tensor and one shard of five blocks, in `folder`. */
static void large_write(float *data)
{
    struct ckpt_tensor tensor = {.name = "w", .dim_count = 1, .shape = {LARGE_FLAT}, .count = LARGE_FLAT};
    struct ckpt_layout layout = {{"param"}, 1, &tensor, 1, LARGE_FLAT, LARGE_FLAT / 4};
    struct ckpt_piece piece = {0, LARGE_FLAT, {data}};
    struct ckpt_identity identity = {.step = 1, .writer_count = 1};
    struct hash128 hashes[4];
    struct text record;
    text_init(&record);
    snprintf(folder, sizeof folder, "%s", dir);
    ck_assert_int_eq(ckpt_shard_write(folder, 0, 1, &layout, &piece, 1, &record, &err), MUSTER_OK);
    ck_assert_int_eq(ckpt_chunk_hashes(&layout, &piece, 1, hashes, &err), MUSTER_OK);
    const char *records[] = {record.data};
    ck_assert_msg(ckpt_manifest_write(folder, &layout, &identity, ckpt_state_hash(&layout, 1, hashes),
                                      records, &err) == MUSTER_OK,
                  "%s", err.text);
    ck_assert_msg(judge() == MUSTER_OK, "%s", err.text);
    text_release(&record);
}

START_TEST(damage_is_placed_to_the_block)
{
    float *data = alloc_zeroed(LARGE_FLAT, sizeof *data);
    large_write(data);
    ck_assert(ckpt_fixture_flip(shard_path(0, 1), (2 << 20) + 5, 4));
    must_be_corrupt("bytes 2097152..3145727", "flip");
    ck_assert(ckpt_fixture_flip(shard_path(0, 1), -1, 4)); /* the first bad block is named, not the last */
    must_be_corrupt("bytes 2097152..3145727", "flip");
    ck_assert(ckpt_fixture_flip(shard_path(0, 1), (2 << 20) + 5, 4));
    must_be_corrupt("bytes 4194304..", "flip");
    alloc_free(data);
}
END_TEST

START_TEST(a_reader_reads_and_checks_the_blocks_it_wants_and_no_others)
{
    enum { BEGIN = LARGE_FLAT / 2, END = LARGE_FLAT / 4 * 3 };
    float *data = alloc_zeroed(LARGE_FLAT, sizeof *data), *found = alloc_zeroed(END - BEGIN, sizeof *found);
    struct ckpt_piece piece = {BEGIN, END, {found}};
    struct ckpt *ckpt = NULL;
    for (int64_t i = 0; i < LARGE_FLAT; i++)
        data[i] = (float)i;
    large_write(data);
    ck_assert_int_eq(ckpt_open(folder, &ckpt, &err), MUSTER_OK);
    ck_assert(ckpt_fixture_flip(shard_path(0, 1), (1 << 20) + 5, 4));
    ck_assert_msg(ckpt_pieces_read(ckpt, &piece, 1, false, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_int_eq(memcmp(found, data + BEGIN, (END - BEGIN) * sizeof *found), 0);
    ck_assert_int_eq(ckpt_header_verify(ckpt, 0, &err), MUSTER_OK);
    ck_assert(
        ckpt_fixture_flip(shard_path(0, 1), 3 << 20, 1)); /* the last of the piece is behind the header */
    ck_assert_int_eq(ckpt_pieces_read(ckpt, &piece, 1, true, &err), MUSTER_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "bytes 3145728..4194303"));
    ck_assert(ckpt_fixture_flip(shard_path(0, 1), 5000, 1)); /* behind the header, in its block */
    ck_assert_int_eq(ckpt_header_verify(ckpt, 0, &err), MUSTER_ERR_CORRUPT);
    ckpt_close(ckpt);
    alloc_free(found);
    alloc_free(data);
}
END_TEST

START_TEST(data_that_does_not_have_the_recorded_state_hash_is_refused)
{
    struct text record;
    struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
    struct hash128 wrong = {5, 6};
    text_init(&record);
    snprintf(folder, sizeof folder, "%s", dir);
    ckpt_fixture_pieces(&fixture, 0, 1, pieces);
    ck_assert_int_eq(
        ckpt_shard_write(folder, 0, 1, &fixture.layout, pieces, CKPT_FIXTURE_PIECES, &record, &err),
        MUSTER_OK);
    const char *records[] = {record.data};
    ck_assert_int_eq(ckpt_manifest_write(folder, &fixture.layout, &fixture.identity, wrong, records, &err),
                     MUSTER_OK);
    must_be_corrupt("state hash", "a wrong state hash");
    text_release(&record);
}
END_TEST

/* A MANIFEST changed by somebody who also computed its hash. */

/* Replaces `from` by `to` in the MANIFEST's text and writes it with the hash it then has. */
static void manifest_forge(const char *text, const char *from, const char *to)
{
    char digits[HASH_TEXT_SIZE];
    struct text forged;
    const char *at = strstr(text, from), *end = strstr(text, "\"manifest_xxh3\"");
    ck_assert_msg(at != NULL && at < end, "no %s in the MANIFEST", from);
    text_init(&forged);
    text_append(&forged, text, (size_t)(at - text));
    text_append(&forged, to, strlen(to));
    text_append(&forged, at + strlen(from), (size_t)(end - at) - strlen(from));
    hash_format(hash_xxh3(forged.data, forged.length), digits);
    text_print(&forged, "\"manifest_xxh3\": \"%s\"\n}\n", digits);
    FILE *file = fopen(in_folder(CKPT_MANIFEST_NAME), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(forged.data, 1, forged.length, file), forged.length);
    ck_assert_int_eq(fclose(file), 0);
    text_release(&forged);
}

/* not inlined: gcc 12 at -O3 takes the returned block for the local that held its address */
__attribute__((noinline)) static char *manifest_text(void)
{
    char *text = NULL;
    size_t bytes = 0;
    ck_assert_int_eq(fs_file_read(in_folder(CKPT_MANIFEST_NAME), 1 << 20, &text, &bytes, NULL), MUSTER_OK);
    return text;
}

static const struct {
    const char *from, *to, *complaint;
} forgeries[] = {
    {"\"step\": 42", "\"step\": 42 ", NULL}, /* harmless: shows that the forging itself works */
    {"\"version\": 1", "\"version\": 2", "version 2"},
    {"muster-checkpoint", "other-checkpoint", "other-checkpoint"},
    {"\"step\": 42", "\"step\": -1", "step -1"},
    {"\"step\": 42", "\"step\": 42, \"step\": 42", "duplicate"},
    {"\"step\": 42", "\"step\": 99999999999999999999", "too big"},
    {"\"step\": 42", "\"stop\": 42", "step"},
    {"\"step\": 42", "\"step\": \"42\"", "step"},
    {"\"step\": 42", "\"step\": 42, \"extra\": 1", "extra"},
    {"\"step\": 42", "\"step\": [[[[[[[[]]]]]]]]", "deeper"},
    {"\"writer_count\": 2", "\"writer_count\": 3", "shards"},
    {"\"writer_count\": 2", "\"writer_count\": 0", "writers"},
    {"\"param\"", "\"adam_m\"", "two kinds"},
    {"\"param\"", "\"pa/ram\"", "kind 0"},
    {"\"param\", ", "", "inside a tensor"},
    {"\"flat_count\": 64", "\"flat_count\": 63", "chunks"},
    {"\"flat_count\": 64", "\"flat_count\": 56", "head"},
    {"\"chunk_elements\": 8", "\"chunk_elements\": 0", "chunks"},
    {"\"block_bytes\": 1048576", "\"block_bytes\": 1", "blocks"},
    {"\"wte\"", "\"head\"", "two tensors"},
    {"\"wte\"", "\"\"", "tensor 0"},
    {"[5, 4]", "[5, 5]", "overlaps"},
    {"[5, 4]", "[5, -4]", "shape"},
    {"[5, 4]", "[4294967296, 4294967296]", "shape"},
    {"[5, 4]", "[5, 4, 1, 1, 1]", "too long"},
    {"[5, 4]", "[5, 3]", "inside a tensor"},
    {"\"offset\": 24", "\"offset\": 19", "overlaps"},
    {"shard-00000-of-00002", "shard-00001-of-00002", "is called"},
    {"shard-00000-of-00002", "../../../../etc/passwd", "is called"},
    {"\"bytes\": ", "\"bytes\": 1", "bytes"},
    {"\"header_bytes\": ", "\"header_bytes\": 1", "header"},
    {"\"xxh3\": \"", "\"xxh3\": \"0", "malformed"},
    {"\"crc32c\": \"", "\"crc32c\": \"0", "malformed"},
    {"[0, 0, 0, 16]", "[0, 0, 0, 15]", "slices fill"},
    {"[0, 0, 0, 16]", "[0, 0, 0, 21]", "inside a tensor"},
    {"[0, 0, 0, 16]", "[0, 0, 1, 16]", "element 0 is in no shard"},
    {"[0, 0, 0, 16]", "[1, 0, 0, 16]", "in no shard, or in two"},
    {"[0, 0, 0, 16]", "[0, 9, 0, 16]", "inside a tensor"},
    {"[0, 0, 0, 16]", "[3, 0, 0, 16]", "inside a tensor"},
    {"[0, 0, 0, 16]", "[0, 0, 0]", "inside a tensor"},
};

START_TEST(a_manifest_with_a_valid_hash_is_still_not_believed)
{
    write_checkpoint(2);
    char *text = manifest_text();
    for (size_t i = 0; i < sizeof forgeries / sizeof forgeries[0]; i++) {
        manifest_forge(text, forgeries[i].from, forgeries[i].to);
        if (forgeries[i].complaint == NULL) {
            ck_assert_msg(judge() == MUSTER_OK, "%s", err.text);
            continue;
        }
        must_be_corrupt(forgeries[i].complaint, forgeries[i].to);
        ck_assert_msg(strstr(err.text, CKPT_MANIFEST_NAME) != NULL, "\"%s\" does not name the MANIFEST",
                      err.text);
    }
    alloc_free(text);
}
END_TEST

START_TEST(a_header_that_disagrees_with_the_manifest_is_found)
{
    write_checkpoint(2);
    char *text = manifest_text();
    manifest_forge(text, "\"adam_v\"", "\"adam_w\""); /* everything fits but the names in the shards */
    must_be_corrupt("header entry adam_v/scale@0 is not the MANIFEST's adam_w/scale@0", "another kind");
    alloc_free(text);
}
END_TEST

START_TEST(the_hash_of_a_whole_shard_is_compared_too)
{
    char now[] = "\"xxh3\": \"?", other[] = "\"xxh3\": \"0";
    write_checkpoint(2);
    char *text = manifest_text();
    const char *stored = strstr(text, "\"xxh3\": \"");
    ck_assert_ptr_nonnull(stored);
    now[sizeof now - 2] = stored[sizeof now - 2];
    other[sizeof other - 2] = now[sizeof now - 2] == '0' ? '1' : '0';
    manifest_forge(text, now, other);
    must_be_corrupt("its XXH3-128 is not the MANIFEST's", "another digit");
    alloc_free(text);
}
END_TEST

/* Refusing to write what could not be read. */

START_TEST(a_manifest_that_would_not_open_is_never_committed)
{
    struct text record;
    struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
    text_init(&record);
    snprintf(folder, sizeof folder, "%s", dir);
    ckpt_fixture_pieces(&fixture, 0, 1, pieces);
    ck_assert_int_eq(ckpt_shard_write(folder, 0, 1, &fixture.layout, pieces, 1, &record, &err), MUSTER_OK);
    const char *records[] = {record.data};
    struct hash128 hash = {1, 1};
    ck_assert_int_eq(ckpt_manifest_write(folder, &fixture.layout, &fixture.identity, hash, records, &err),
                     MUSTER_ERR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.text, "param/wte: element 0 is in no shard"));
    text_clear(&record);
    ck_assert_int_eq(ckpt_shard_write(folder, 0, 1, &fixture.layout, pieces, 2, &record, &err), MUSTER_OK);
    records[0] = record.data;
    fixture.identity.job_yaml = "\xff\xfe";
    ck_assert_int_eq(ckpt_manifest_write(folder, &fixture.layout, &fixture.identity, hash, records, &err),
                     MUSTER_ERR_BAD_INPUT);
    fixture.identity.job_yaml = "";
    ck_assert(ckpt_fixture_flip(shard_path(0, 1), 0, 1));
    ck_assert_int_eq(unlink(shard_path(0, 1)), 0);
    ck_assert_int_eq(ckpt_manifest_write(folder, &fixture.layout, &fixture.identity, hash, records, &err),
                     MUSTER_ERR_INTERNAL);
    ck_assert(!fs_exists(in_folder(CKPT_MANIFEST_NAME)));
    text_release(&record);
}
END_TEST

START_TEST(a_layout_that_breaks_its_promises_is_not_written)
{
    struct text record;
    struct ckpt_piece piece = {0, CKPT_FIXTURE_FLAT, {fixture.state[0], fixture.state[1], fixture.state[2]}};
    text_init(&record);
    fixture.tensors[1].offset = 19;
    ck_assert_int_eq(ckpt_shard_write(dir, 0, 1, &fixture.layout, &piece, 1, &record, &err),
                     MUSTER_ERR_INTERNAL);
    ckpt_fixture_init(&fixture, 42);
    piece.end = CKPT_FIXTURE_FLAT + 1;
    ck_assert_int_eq(ckpt_shard_write(dir, 0, 1, &fixture.layout, &piece, 1, &record, &err),
                     MUSTER_ERR_INTERNAL);
    piece.end = CKPT_FIXTURE_FLAT;
    ck_assert_int_eq(ckpt_shard_write(dir, 1, 1, &fixture.layout, &piece, 1, &record, &err),
                     MUSTER_ERR_INTERNAL);
    ck_assert_uint_eq(record.length, 0);
    text_release(&record);
}
END_TEST

/* A machine that is too small. */

static void folder_must_hold(size_t expected)
{
    struct fs_list list;
    ck_assert_int_eq(fs_list_read(folder, &list, NULL), MUSTER_OK);
    ck_assert_uint_eq(list.count, expected);
    fs_list_release(&list);
}

START_TEST(a_file_size_limit_is_an_io_error_and_leaves_nothing_behind)
{
    struct rlimit before, low;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = before;
    low.rlim_cur = 500;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    enum muster_status status = ckpt_fixture_write(&fixture, dir, 1, true, folder, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    ck_assert_int_eq(status, MUSTER_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "shard-00000-of-00001.safetensors"));
    ck_assert_ptr_nonnull(strstr(err.text, strerror(EFBIG)));
    folder_must_hold(0);
}
END_TEST

/* In the child: 0 as it should be, 77 where a private tmpfs cannot be had. */
static int full_disk_child(void)
{
    enum { FLAT = 1 << 16 };
    static float data[FLAT];
    struct ckpt_tensor tensor = {.name = "w", .dim_count = 1, .shape = {FLAT}, .count = FLAT};
    struct ckpt_layout layout = {{"param"}, 1, &tensor, 1, FLAT, FLAT};
    struct ckpt_piece piece = {0, FLAT, {data}};
    struct text record;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", dir, "tmpfs", 0, "size=128k") != 0)
        return 77;
    text_init(&record);
    enum muster_status status = ckpt_shard_write(dir, 0, 1, &layout, &piece, 1, &record, &err);
    text_release(&record);
    struct fs_list list;
    if (fs_list_read(dir, &list, NULL) != MUSTER_OK || list.count != 0)
        return 3;
    return status == MUSTER_ERR_NO_SPACE && strstr(err.text, "needs 256") != NULL &&
                   strstr(err.text, "128.00 KiB are free") != NULL
               ? 0
               : 1;
}

START_TEST(a_full_disk_says_how_much_was_needed)
{
    int state;
    pid_t child = fork();
    if (child == 0)
        _exit(full_disk_child());
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_msg(WIFEXITED(state) && (WEXITSTATUS(state) == 0 || WEXITSTATUS(state) == 77), "%d", state);
}
END_TEST

START_TEST(memory_short_at_any_point_is_reported_and_leaks_nothing)
{
    write_checkpoint(2);
    int64_t live = alloc_live_count();
    bool passed = false;
    for (int64_t n = 1; !passed; n++) {
        alloc_fail_nth(n);
        enum muster_status status = judge();
        passed = status == MUSTER_OK;
        ck_assert_msg(passed || status == MUSTER_ERR_NO_MEMORY, "call %lld: %s", (long long)n, err.text);
        ck_assert_int_eq(alloc_live_count(), live);
    }
    alloc_fail_nth(0);
    passed = false;
    for (int64_t n = 1; !passed; n++) {
        ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
        alloc_fail_nth(n);
        enum muster_status status = ckpt_fixture_write(&fixture, dir, 2, true, folder, &err);
        passed = status == MUSTER_OK;
        ck_assert_msg(passed || status == MUSTER_ERR_NO_MEMORY || status == MUSTER_ERR_BAD_INPUT,
                      "call %lld: %s", (long long)n, err.text);
        ck_assert_int_eq(alloc_live_count(), live);
    }
    alloc_fail_nth(0);
    ck_assert_int_eq(judge(), MUSTER_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ckpt");
    TCase *tcase = tcase_create("ckpt");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_range_reads_back_as_written_whatever_the_number_of_writers);
    tcase_add_test(tcase, an_opened_checkpoint_says_what_was_saved);
    tcase_add_test(tcase, what_decides_about_bad_steps_comes_back_to_the_last_bit);
    tcase_add_test(tcase, what_was_trained_on_comes_back);
    tcase_add_test(tcase, an_older_launch_can_not_commit);
    tcase_add_test(tcase, the_state_hash_is_that_of_its_definition_for_any_pieces);
    tcase_add_test(tcase, a_writer_without_pieces_writes_a_valid_shard);
    tcase_add_test(tcase, a_change_of_any_byte_of_any_file_is_found_and_the_file_named);
    tcase_add_test(tcase, any_truncation_or_extension_of_any_file_is_found);
    tcase_add_test(tcase, a_missing_file_is_named);
    tcase_add_test(tcase, a_shard_that_changes_after_opening_is_corrupt_not_a_crash);
    tcase_add_test(tcase, shards_swapped_between_two_checkpoints_are_found);
    tcase_add_test(tcase, damage_is_placed_to_the_block);
    tcase_add_test(tcase, a_reader_reads_and_checks_the_blocks_it_wants_and_no_others);
    tcase_add_test(tcase, data_that_does_not_have_the_recorded_state_hash_is_refused);
    tcase_add_test(tcase, a_manifest_with_a_valid_hash_is_still_not_believed);
    tcase_add_test(tcase, a_header_that_disagrees_with_the_manifest_is_found);
    tcase_add_test(tcase, the_hash_of_a_whole_shard_is_compared_too);
    tcase_add_test(tcase, a_manifest_that_would_not_open_is_never_committed);
    tcase_add_test(tcase, a_layout_that_breaks_its_promises_is_not_written);
    tcase_add_test(tcase, a_file_size_limit_is_an_io_error_and_leaves_nothing_behind);
    tcase_add_test(tcase, a_full_disk_says_how_much_was_needed);
    tcase_add_test(tcase, memory_short_at_any_point_is_reported_and_leaks_nothing);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
