/* SPDX-License-Identifier: MIT
 *
 * A small program that saves, for tests that fail it, stop it, or write down what it does. One rank without
 * transport and the small state of ckpt_fixture.h.
 *
 * "faults DIR" makes two saves, one (or two) with io_shim's fault, and checks what must hold after it. "count
 * DIR" does the same and prints how often each call is made in the third save, and how that ended. "many DIR
 * N" saves 1 to N, verifies after each what is there, and then prints "acknowledged STEP", at once. "record
 * DIR" saves, saves the same step again, replaces one, and marks what is acknowledged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "tests/coordinator/ckpt_fixture.h"
#include "tests/faults/io_shim.h"
#include "worker/checkpoint/checkpoint.h"

static struct comm *comm;
static const char *dir;
static struct ckpt_fixture fixture;
static struct muster_error err;
static struct checkpoint_verified verified;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    printf("VIOLATION: %s (last error: %s)\n", what, err.text);
    exit(1);
}

static enum muster_status save(int64_t step)
{
    struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
    struct hash128 hash;
    const struct checkpoint_options options = {.dir = dir, .keep = {.keep_last = 2}, .verified = &verified};
    err = (struct muster_error){.status = MUSTER_OK};
    ckpt_fixture_init(&fixture, step);
    ckpt_fixture_pieces(&fixture, 0, 1, pieces);
    enum muster_status status = checkpoint_save(comm, &options, &fixture.layout, &fixture.identity, pieces,
                                                CKPT_FIXTURE_PIECES, &hash, &err);
    if (status == MUSTER_OK)
        must(hash_equal(hash, ckpt_fixture_hash(&fixture)), "the state hash of an acknowledged save");
    return status;
}

/* What loads is at least as new as `step`: a save that failed after its commit may be there, whole. */
static void newest_must_be(int64_t step)
{
    static struct ckpt_fixture loaded;
    struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
    struct checkpoint_progress progress;
    ckpt_fixture_init(&loaded, step);
    ckpt_fixture_pieces(&loaded, 0, 1, pieces);
    memset(loaded.state, 0x5a, sizeof loaded.state);
    const struct checkpoint_job job = {.hash = loaded.identity.job};
    const struct checkpoint_wanted wanted = {&loaded.layout, &job, pieces, NULL, CKPT_FIXTURE_PIECES, false};
    enum muster_status status = checkpoint_load(comm, dir, NULL, NULL, &wanted, &progress, &err);
    must(status == MUSTER_OK && progress.step >= step, "the newest acknowledged checkpoint loads");
    ckpt_fixture_init(&fixture, progress.step);
    must(memcmp(loaded.state, fixture.stored, sizeof fixture.stored) == 0, "it loads what was saved");
}

static int verified_count(void)
{
    struct ckpt_catalogue catalogue;
    int count = 0;
    must(ckpt_catalogue_read(dir, &catalogue, &err) == MUSTER_OK, "the folder can be listed");
    for (int i = 0; i < catalogue.count; i++) {
        char folder[FS_PATH_MAX];
        struct ckpt *ckpt = NULL;
        must(fs_path_join(folder, dir, catalogue.entries[i].folder, &err) == MUSTER_OK, "a path");
        count += ckpt_open(folder, &ckpt, &err) == MUSTER_OK && ckpt_verify(ckpt, &err) == MUSTER_OK;
        ckpt_close(ckpt);
    }
    ckpt_catalogue_release(&catalogue);
    return count;
}

/* A save that may fail: if so with a reason that names a file, and the older checkpoint is the newest. */
static int64_t save_under_fault(int64_t step, int64_t newest)
{
    enum muster_status status = save(step);
    if (status != MUSTER_OK) {
        must(status == MUSTER_ERR_IO || status == MUSTER_ERR_NO_SPACE, "a failed save says IO or NO_SPACE");
        must(strstr(err.text, dir) != NULL, "the reason names the file");
    }
    return status == MUSTER_OK ? step : newest;
}

static void faults(bool counts)
{
    static const char *const names[IO_CALLS] = {"open",   "write", "fsync",     "close",
                                                "rename", "mkdir", "fallocate", "ftruncate"};
    must(io_shim_arm != NULL, "io_shim is loaded");
    must(save(100) == MUSTER_OK && save(200) == MUSTER_OK, "saves without a fault");
    io_shim_arm(1);
    int64_t newest = save_under_fault(300, 200);
    for (int i = 0; i < IO_CALLS && counts; i++)
        printf("%s %d\n", names[i], io_shim_count((enum io_call)i));
    if (counts)
        puts(newest == 300 ? "acknowledged" : "failed");
    newest = save_under_fault(310, newest);
    io_shim_arm(0);
    newest_must_be(newest);
    must(verified_count() >= 2, "two verified checkpoints are left");
    must(save(400) == MUSTER_OK, "the next save works");
    newest_must_be(400);
    must(verified_count() >= 2, "two verified checkpoints are left after the next save");
}

static void many(int64_t count)
{
    for (int64_t step = 1; step <= count; step++) {
        must(save(step) == MUSTER_OK, "a save");
        must(step == 1 || verified_count() == 2, "exactly the two newest are left");
        printf("acknowledged %lld\n", (long long)step);
        fflush(stdout);
    }
}

static void mark(int64_t step)
{
    if (io_shim_mark != NULL)
        io_shim_mark(step);
}

static void record(void)
{
    for (int64_t step = 10; step <= 60; step += 10) {
        must(save(step) == MUSTER_OK, "a save");
        mark(step);
        if (step == 30)
            must(save(30) == MUSTER_OK, "the same step again");
    }
}

int main(int argc, char **argv)
{
    log_console_level_set(LOG_SILENT);
    if (argc < 3 || comm_loopback_create(&comm, &err) != MUSTER_OK)
        return 2;
    dir = argv[2];
    if (strcmp(argv[1], "faults") == 0 || strcmp(argv[1], "count") == 0)
        faults(argv[1][0] == 'c');
    else if (strcmp(argv[1], "many") == 0 && argc == 4)
        many(atoll(argv[3]));
    else if (strcmp(argv[1], "record") == 0)
        record();
    else
        return 2;
    comm_destroy(comm);
    return 0;
}
