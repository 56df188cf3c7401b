/* SPDX-License-Identifier: MIT
 *
 * Bits of a checkpoint's files turn over: in the MANIFEST and the headers one in every byte
 * (MUSTER_CAMPAIGN=1: every bit), in the payload of shards of several blocks MUSTER_PAYLOAD_FLIPS random ones
 * (2000). Each is found, the file named, and what a loader falls back to is the older checkpoint. test_ckpt.c
 * has truncations and exchanged files.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/coordinator/ckpt_fixture.h"
#include "tests/suite.h"

enum { WRITERS = 3, FLAT = 1 << 19, PIECES = 2 };

static char dir[64], folder[FS_PATH_MAX];
static struct ckpt_fixture fixture;
static struct muster_error err;
static int64_t found_count;

static void setup(void)
{
    ck_assert(ckpt_fixture_folder(dir));
    found_count = 0;
}

static void teardown(void)
{
    ck_assert_int_eq(fs_remove_tree(dir, NULL), MUSTER_OK);
}

static bool verifies(void)
{
    struct ckpt *ckpt = NULL;
    bool good = ckpt_open(folder, &ckpt, &err) == MUSTER_OK && ckpt_verify(ckpt, &err) == MUSTER_OK;
    ckpt_close(ckpt);
    return good;
}

/* Turns one bit over, expects it to be found, turns it back. */
static void flip(int fd, const char *name, int64_t at, int bit)
{
    unsigned char byte;
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= (unsigned char)(1 << bit);
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    ck_assert_msg(!verifies(), "%s: bit %d of byte %" PRId64 " was not missed", name, bit, at);
    ck_assert_msg(err.status == MUSTER_ERR_CORRUPT && strstr(err.text, name) != NULL,
                  "%s: bit %d of byte %" PRId64 ": %s", name, bit, at, err.text);
    byte ^= (unsigned char)(1 << bit);
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    found_count++;
}

static int file_open(const char *name)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_path_join(path, folder, name, NULL), MUSTER_OK);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void flip_up_to(const char *name, int64_t end)
{
    bool all = getenv("MUSTER_CAMPAIGN") != NULL;
    int fd = file_open(name);
    for (int64_t at = 0; at < end; at++)
        for (int bit = all ? 0 : (int)(at % 8); bit <= (all ? 7 : (int)(at % 8)); bit++)
            flip(fd, name, at, bit);
    close(fd);
}

START_TEST(every_bit_of_manifest_and_headers_is_guarded)
{
    char name[64], path[FS_PATH_MAX];
    ckpt_fixture_init(&fixture, 100);
    ck_assert_int_eq(ckpt_fixture_write(&fixture, dir, WRITERS, true, folder, &err), MUSTER_OK);
    ck_assert_int_eq(fs_path_join(path, folder, CKPT_MANIFEST_NAME, NULL), MUSTER_OK);
    flip_up_to(CKPT_MANIFEST_NAME, fs_file_size(path));
    for (int writer = 0; writer < WRITERS; writer++) {
        struct ckpt *ckpt = NULL;
        int64_t begin, end;
        ck_assert_int_eq(ckpt_open(folder, &ckpt, &err), MUSTER_OK);
        ckpt_shard_span(ckpt, writer, &begin, &end);
        ckpt_close(ckpt);
        ckpt_format_shard(name, writer, WRITERS);
        flip_up_to(name, begin);
    }
    ck_assert(verifies());
    printf("%" PRId64 " bits of MANIFEST and headers, each found\n", found_count);
}
END_TEST

/* A checkpoint of two megabytes, so that payload lies in several blocks. */
static void large_write(void)
{
    float *data = alloc_zeroed(FLAT, sizeof *data);
    const struct ckpt_tensor tensor = {.name = "w", .dim_count = 1, .shape = {FLAT}, .count = FLAT};
    const struct ckpt_layout layout = {{"param"}, 1, &tensor, 1, FLAT, FLAT / 64};
    const struct ckpt_identity identity = {.step = 1, .job_yaml = "", .numerics = "", .writer_count = 1};
    const struct ckpt_piece piece = {0, FLAT, {data}};
    struct hash128 chunks[64];
    struct text record;
    ck_assert_ptr_nonnull(data);
    rng_uniform_fill(rng_key_make(5, 0, 0, 0), -1.0f, 1.0f, data, FLAT);
    text_init(&record);
    ck_assert_int_eq(fs_path_join(folder, dir, "step-000000001", NULL), MUSTER_OK);
    ck_assert_int_eq(fs_folder_create(folder, &err), MUSTER_OK);
    ck_assert_int_eq(ckpt_shard_write(folder, 0, 1, &layout, &piece, 1, &record, &err), MUSTER_OK);
    ck_assert_int_eq(ckpt_chunk_hashes(&layout, &piece, 1, chunks, &err), MUSTER_OK);
    ck_assert_int_eq(ckpt_manifest_write(folder, &layout, &identity, ckpt_state_hash(&layout, 1, chunks),
                                         (const char *const[]){record.data}, &err),
                     MUSTER_OK);
    text_release(&record);
    alloc_free(data);
}

START_TEST(random_bits_of_the_payload_are_guarded)
{
    const char *wanted = getenv("MUSTER_PAYLOAD_FLIPS");
    int64_t flips = wanted != NULL ? atoll(wanted) : 2000;
    char name[64];
    ckpt_format_shard(name, 0, 1);
    large_write();
    ck_assert(verifies());
    int fd = file_open(name);
    struct ckpt *ckpt = NULL;
    int64_t begin, end;
    ck_assert_int_eq(ckpt_open(folder, &ckpt, &err), MUSTER_OK);
    ckpt_shard_span(ckpt, 0, &begin, &end);
    ckpt_close(ckpt);
    for (int64_t i = 0; i < flips; i++) {
        uint64_t draw = hash_xxh3(&i, sizeof i).low;
        flip(fd, name, begin + (int64_t)(draw / 8 % (uint64_t)(end - begin)), (int)(draw % 8));
    }
    close(fd);
    ck_assert(verifies());
    printf("%" PRId64 " bits of payload, each found\n", found_count);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ckpt_damage");
    TCase *tcase = tcase_create("ckpt_damage");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_bit_of_manifest_and_headers_is_guarded);
    tcase_add_test(tcase, random_bits_of_the_payload_are_guarded);
    tcase_set_timeout(tcase, 0);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
