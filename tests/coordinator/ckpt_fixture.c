/* SPDX-License-Identifier: MIT
 *
 * No assertions here, so that programs under mpirun, where a failed assertion must end all ranks, can use it.
 */
#include "tests/coordinator/ckpt_fixture.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS_MAX = 16, CHUNKS = CKPT_FIXTURE_FLAT / CKPT_FIXTURE_CHUNK };

static const struct ckpt_tensor tensors[CKPT_FIXTURE_TENSORS] = {
    {.name = "wte", .dim_count = 2, .shape = {5, 4}, .offset = 0, .count = 20},
    {.name = "h.0/attn@bias", .dim_count = 1, .shape = {3}, .offset = 24, .count = 3},
    {.name = "scale", .dim_count = 0, .offset = 32, .count = 1},
    {.name = "head", .dim_count = 3, .shape = {2, 2, 5}, .offset = 40, .count = 20},
};

/* Tests that were killed could not clean up behind themselves: what nobody has touched for a day goes. */
static void leftovers_remove(void)
{
    glob_t found;
    struct stat info;
    if (glob("/dev/shm/muster-ckpt-*", GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        if (stat(found.gl_pathv[i], &info) == 0 && time(NULL) - info.st_mtime > 24 * 3600)
            fs_remove_tree(found.gl_pathv[i], NULL);
    globfree(&found);
}

bool ckpt_fixture_folder(char path[64])
{
    leftovers_remove();
    strcpy(path, "/dev/shm/muster-ckpt-XXXXXX");
    if (mkdtemp(path) != NULL)
        return true;
    strcpy(path, "/tmp/muster-ckpt-XXXXXX");
    return mkdtemp(path) != NULL;
}

void ckpt_fixture_init(struct ckpt_fixture *fixture, int64_t step)
{
    memset(fixture, 0, sizeof *fixture);
    memcpy(fixture->tensors, tensors, sizeof tensors);
    fixture->layout = (struct ckpt_layout){.kinds = {"param", "adam_m", "adam_v"},
                                           .kind_count = CKPT_FIXTURE_KINDS,
                                           .tensors = fixture->tensors,
                                           .tensor_count = CKPT_FIXTURE_TENSORS,
                                           .flat_count = CKPT_FIXTURE_FLAT,
                                           .chunk_elements = CKPT_FIXTURE_CHUNK};
    fixture->identity = (struct ckpt_identity){.step = step,
                                               .job = {1, 2},
                                               .job_yaml = "name: \"tiny\"\nseed: 1 # ünïcode\n",
                                               .numerics = "ref",
                                               .writer_count = 1,
                                               .tokens_seen = 10 * step,
                                               .loss_scale = {1024.0, step}};
    for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++) {
        struct rng_key key = rng_key_make(7, (uint64_t)step, (uint64_t)kind, 0);
        rng_uniform_fill(key, -1.0f, 1.0f, fixture->state[kind], CKPT_FIXTURE_FLAT);
        for (int i = 0; i < CKPT_FIXTURE_TENSORS; i++)
            memcpy(&fixture->stored[kind][tensors[i].offset], &fixture->state[kind][tensors[i].offset],
                   (size_t)tensors[i].count * sizeof(float));
    }
}

void ckpt_fixture_pieces(struct ckpt_fixture *fixture, int writer, int writers,
                         struct ckpt_piece pieces[CKPT_FIXTURE_PIECES])
{
    for (int i = 0; i < CKPT_FIXTURE_PIECES; i++) {
        int half = CHUNKS / 2, base = i == 0 ? half : 0;
        pieces[i].begin = (base + half * writer / writers) * CKPT_FIXTURE_CHUNK;
        pieces[i].end = (base + half * (writer + 1) / writers) * CKPT_FIXTURE_CHUNK;
        for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++)
            pieces[i].data[kind] = fixture->state[kind] + pieces[i].begin;
    }
}

struct hash128 ckpt_fixture_hash(const struct ckpt_fixture *fixture)
{
    uint64_t words[1 + 2 * CKPT_FIXTURE_KINDS * CHUNKS];
    size_t count = 0;
    words[count++] = (uint64_t)fixture->identity.step;
    for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++) {
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            struct hash128 hash = hash_xxh3(&fixture->stored[kind][chunk * CKPT_FIXTURE_CHUNK],
                                            CKPT_FIXTURE_CHUNK * sizeof(float));
            words[count++] = hash.low;
            words[count++] = hash.high;
        }
    }
    return hash_xxh3(words, count * sizeof words[0]);
}

enum muster_status ckpt_fixture_write(struct ckpt_fixture *fixture, const char *dir, int writers, bool commit,
                                      char folder[FS_PATH_MAX], struct muster_error *err)
{
    char step[64];
    struct text records[WRITERS_MAX];
    const char *texts[WRITERS_MAX];
    int written = 0;
    ckpt_format_step(step, fixture->identity.step);
    enum muster_status status = fs_path_join(folder, dir, step, err);
    if (status == MUSTER_OK)
        status = fs_folder_create(folder, err);
    for (; written < writers && status == MUSTER_OK; written++) {
        struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
        ckpt_fixture_pieces(fixture, written, writers, pieces);
        text_init(&records[written]);
        status = ckpt_shard_write(folder, written, writers, &fixture->layout, pieces, CKPT_FIXTURE_PIECES,
                                  &records[written], err);
        texts[written] = records[written].data;
    }
    fixture->identity.writer_count = writers;
    if (status == MUSTER_OK && commit)
        status = ckpt_manifest_write(folder, &fixture->layout, &fixture->identity, ckpt_fixture_hash(fixture),
                                     texts, err);
    for (int i = 0; i < written; i++)
        text_release(&records[i]);
    return status;
}

bool ckpt_fixture_flip(const char *path, int64_t at, unsigned char mask)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t offset = at < 0 ? (off_t)(fs_file_size(path) + at) : (off_t)at;
    bool done = fd >= 0 && pread(fd, &byte, 1, offset) == 1;
    byte ^= mask;
    done = done && pwrite(fd, &byte, 1, offset) == 1;
    if (fd >= 0)
        close(fd);
    return done;
}
