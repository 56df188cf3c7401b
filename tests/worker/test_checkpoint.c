/* SPDX-License-Identifier: MIT
 *
 * Saving and loading by ranks: run on 1, 2 and 3. Every scenario in which one rank fails alone must give all
 * ranks the same answer and leave the older checkpoints alone. Everything is tried with loads by way of other
 * memory and with loads straight into the state. A kill is tried at every collective of a save,
 * in a child process with a communicator that dies on command.
 */
#include "worker/checkpoint/checkpoint.h"

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "comm/host.h"
#include "tests/comm/mpi_check.h"
#include "tests/coordinator/ckpt_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct comm *comm;
static char dir[64];
static struct ckpt_fixture fixture;
static struct ckpt_piece pieces[CKPT_FIXTURE_PIECES];
static struct muster_error err;
static struct hash128 state;
static int64_t live_before;
static bool staged;

static void use_step(int64_t step)
{
    ckpt_fixture_init(&fixture, step);
    ckpt_fixture_pieces(&fixture, comm->rank, comm->size, pieces);
}

static void setup(void)
{
    live_before = alloc_live_count();
    mpi_check(comm->rank != 0 || ckpt_fixture_folder(dir));
    mpi_check_ok(comm_broadcast(comm, dir, sizeof dir, 0, &err), err);
    use_step(100);
}

static void teardown(void)
{
    alloc_fail_nth(0);
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(comm->rank != 0 || fs_remove_tree(dir, NULL) == MUSTER_OK);
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(alloc_live_count() == live_before);
}

static enum muster_status save_on(struct comm *c, struct ckpt_fixture *what, const struct ckpt_piece *mine,
                                  int keep_last)
{
    const struct checkpoint_options options = {.dir = dir, .keep = {.keep_last = keep_last}};
    return checkpoint_save(c, &options, &what->layout, &what->identity, mine, CKPT_FIXTURE_PIECES, &state,
                           &err);
}

static enum muster_status save(int keep_last)
{
    return save_on(comm, &fixture, pieces, keep_last);
}

static void save_step(int64_t step)
{
    use_step(step);
    mpi_check_ok(save(3), err);
}

/* Loads into arrays full of rubbish; -1 when there is no checkpoint. */
static enum muster_status load(const char *folder, int64_t *step)
{
    static struct ckpt_fixture other;
    struct ckpt_piece staging[CKPT_FIXTURE_PIECES];
    struct checkpoint_progress progress;
    memset(fixture.state, 0x5a, sizeof fixture.state);
    memset(other.state, 0x33, sizeof other.state);
    ckpt_fixture_pieces(&other, comm->rank, comm->size, staging);
    const struct checkpoint_job job = {.hash = fixture.identity.job};
    const struct checkpoint_wanted wanted = {&fixture.layout,     &job,  pieces, staged ? staging : NULL,
                                             CKPT_FIXTURE_PIECES, staged};
    enum muster_status status = checkpoint_load(comm, dir, folder, NULL, &wanted, &progress, &err);
    *step = progress.step;
    if (status == MUSTER_OK && *step >= 0)
        mpi_check(progress.tokens_seen == 10 * *step && progress.loss_scale.scale == 1024.0 &&
                  progress.loss_scale.good_steps == *step);
    return status;
}

/* What is in my pieces must be the state of `step`, padding included. */
static void pieces_must_be(int64_t step)
{
    static struct ckpt_fixture expected;
    ckpt_fixture_init(&expected, step);
    for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++) {
        for (int i = 0; i < CKPT_FIXTURE_PIECES; i++)
            mpi_check(memcmp(pieces[i].data[kind], expected.stored[kind] + pieces[i].begin,
                             (size_t)(pieces[i].end - pieces[i].begin) * sizeof(float)) == 0);
    }
}

static void pieces_must_be_untouched(void)
{
    for (size_t i = 0; i < sizeof fixture.state; i++)
        mpi_check(((const unsigned char *)fixture.state)[i] == 0x5a);
}

static void load_must_give(int64_t step)
{
    int64_t found;
    mpi_check_ok(load(NULL, &found), err);
    mpi_check(found == step);
    if (step >= 0)
        pieces_must_be(step);
    else
        pieces_must_be_untouched();
}

static const char *path_of(int64_t step, const char *name)
{
    static char path[FS_PATH_MAX];
    char folder[FS_PATH_MAX], step_name[64];
    ckpt_format_step(step_name, step);
    mpi_check(fs_path_join(folder, dir, step_name, NULL) == MUSTER_OK);
    mpi_check(fs_path_join(path, folder, name, NULL) == MUSTER_OK);
    return path;
}

/* Only on rank 0, between barriers: what happens to the files. */
#define on_rank_0(action)                                                                                    \
    do {                                                                                                     \
        mpi_check_ok(comm_barrier(comm, &err), err);                                                         \
        if (comm->rank == 0) {                                                                               \
            action;                                                                                          \
        }                                                                                                    \
        mpi_check_ok(comm_barrier(comm, &err), err);                                                         \
    } while (0)

static void damage(int64_t step, int writer)
{
    char shard[64];
    ckpt_format_shard(shard, writer, comm->size);
    on_rank_0(mpi_check(ckpt_fixture_flip(path_of(step, shard), -1, 0x10)));
}

static int folder_count(void)
{
    struct fs_list list;
    mpi_check(fs_list_read(dir, &list, NULL) == MUSTER_OK);
    int count = (int)list.count;
    fs_list_release(&list);
    return count;
}

static char *log_text;

static void log_begin(void)
{
    if (comm->rank == 0) {
        char path[FS_PATH_MAX];
        mpi_check(fs_path_join(path, dir, "log", NULL) == MUSTER_OK);
        mpi_check_ok(log_file_open(path, 0, &err), err);
    }
    log_console_level_set(LOG_ERROR);
}

/* What rank 0 logged since log_begin; the others see "". */
static void log_must_hold(const char *words)
{
    log_console_level_set(LOG_WARN);
    if (comm->rank != 0)
        return;
    char path[FS_PATH_MAX];
    size_t bytes;
    log_file_close();
    mpi_check(fs_path_join(path, dir, "log", NULL) == MUSTER_OK);
    mpi_check_ok(fs_file_read(path, 1 << 20, &log_text, &bytes, &err), err);
    if (strstr(log_text, words) == NULL)
        fprintf(stderr, "the log does not hold \"%s\":\n%s", words, log_text);
    mpi_check(strstr(log_text, words) != NULL);
    alloc_free(log_text);
    mpi_check(fs_remove_tree(path, NULL) == MUSTER_OK);
}

START_TEST(what_the_ranks_save_they_load_again)
{
    save_step(100);
    mpi_check(hash_equal(state, ckpt_fixture_hash(&fixture)));
    load_must_give(100);
    struct hash128 again;
    mpi_check_ok(checkpoint_state_hash(comm, &fixture.layout, 100, pieces, CKPT_FIXTURE_PIECES, &again, &err),
                 err);
    mpi_check(hash_equal(again, state));
}
END_TEST

START_TEST(a_checkpoint_of_any_number_of_writers_loads_on_this_many_ranks)
{
    char folder[FS_PATH_MAX];
    for (int writers = 1; writers <= 5; writers++) {
        use_step(10 * writers);
        on_rank_0(mpi_check_ok(ckpt_fixture_write(&fixture, dir, writers, true, folder, &err), err));
        load_must_give(10 * writers);
    }
}
END_TEST

START_TEST(nothing_there_means_step_minus_one_and_untouched_pieces)
{
    load_must_give(-1);
    on_rank_0(mpi_check(rmdir(dir) == 0));
    load_must_give(-1);
}
END_TEST

START_TEST(a_damaged_newest_is_passed_over_with_its_reason)
{
    save_step(100);
    save_step(200);
    damage(200, comm->size - 1);
    log_begin();
    load_must_give(100);
    log_must_hold("are not what was written: CRC32C");
}
END_TEST

START_TEST(data_without_the_recorded_state_hash_are_refused)
{
    int64_t step;
    char folder[FS_PATH_MAX];
    fixture.stored[2][40] += 1.0f; /* what the hash is taken of, not what is written */
    on_rank_0(mpi_check_ok(ckpt_fixture_write(&fixture, dir, 2, true, folder, &err), err));
    use_step(100);
    log_begin();
    mpi_check(load(NULL, &step) == MUSTER_ERR_CORRUPT && step == -1);
    log_must_hold("do not have the state hash");
    if (staged)
        pieces_must_be_untouched();
}
END_TEST

START_TEST(a_save_that_was_killed_before_its_manifest_is_passed_over_with_its_reason)
{
    char folder[FS_PATH_MAX];
    save_step(100);
    use_step(200);
    on_rank_0({
        pid_t child = fork();
        if (child == 0) {
            ckpt_fixture_write(&fixture, dir, 3, false, folder, &err);
            _exit(9);
        }
        mpi_check(waitpid(child, NULL, 0) == child);
    });
    log_begin();
    load_must_give(100);
    log_must_hold("the save was never finished");
    save_step(200); /* over the rubbish of three writers */
    load_must_give(200);
    mpi_check(!fs_exists(path_of(200, "shard-00001-of-00003.safetensors")) || comm->size == 3);
}
END_TEST

START_TEST(checkpoints_that_are_all_damaged_stop_the_start)
{
    int64_t step;
    save_step(100);
    save_step(200);
    damage(100, 0);
    damage(200, 0);
    log_begin();
    mpi_check(load(NULL, &step) == MUSTER_ERR_CORRUPT);
    mpi_check(step == -1 && strstr(err.text, "2 damaged") != NULL);
    pieces_must_be_untouched();
    log_must_hold("step-000000100");
}
END_TEST

START_TEST(a_named_folder_is_loaded_or_refused_but_never_replaced_by_another)
{
    int64_t step;
    char folder[FS_PATH_MAX];
    save_step(100);
    save_step(200);
    strcpy(folder, path_of(100, ""));
    mpi_check_ok(load(folder, &step), err);
    mpi_check(step == 100);
    pieces_must_be(100);
    damage(100, 0);
    mpi_check(load(folder, &step) == MUSTER_ERR_CORRUPT && step == -1);
    pieces_must_be_untouched();
    mpi_check(load(path_of(300, ""), &step) == MUSTER_ERR_BAD_INPUT);
}
END_TEST

START_TEST(a_checkpoint_of_another_job_is_bad_input_that_says_what_differs)
{
    int64_t step;
    save_step(100);
    fixture.tensors[0].shape[0] = 4;
    fixture.tensors[0].shape[1] = 5;
    mpi_check(load(NULL, &step) == MUSTER_ERR_BAD_INPUT);
    mpi_check(strstr(err.text, "wte [5, 4]") != NULL && strstr(err.text, "wte [4, 5]") != NULL);
    pieces_must_be_untouched();
    use_step(100);
    fixture.layout.kinds[1] = "momentum";
    mpi_check(load(NULL, &step) == MUSTER_ERR_BAD_INPUT && strstr(err.text, "adam_m") != NULL);
    use_step(100);
    fixture.layout.tensor_count = 3;
    mpi_check(load(NULL, &step) == MUSTER_ERR_BAD_INPUT && strstr(err.text, "4 tensors") != NULL);
    use_step(100);
    fixture.layout.chunk_elements = 4;
    mpi_check(load(NULL, &step) == MUSTER_ERR_BAD_INPUT && strstr(err.text, "chunks of 8") != NULL);
    use_step(100);
    fixture.identity.job.low++;
    mpi_check(load(NULL, &step) == MUSTER_ERR_BAD_INPUT && strstr(err.text, "job hash") != NULL);
}
END_TEST

/* Saving over what is there. */

static ino_t manifest_inode(int64_t step)
{
    struct stat info;
    mpi_check(stat(path_of(step, CKPT_MANIFEST_NAME), &info) == 0);
    return info.st_ino;
}

START_TEST(the_same_state_at_the_same_step_is_not_written_again)
{
    save_step(100);
    ino_t before = manifest_inode(100);
    struct hash128 first = state;
    save_step(100);
    mpi_check(manifest_inode(100) == before && hash_equal(state, first));
}
END_TEST

START_TEST(the_same_state_over_a_damaged_copy_is_written_again)
{
    save_step(100);
    ino_t before = manifest_inode(100);
    damage(100, comm->size - 1);
    log_begin();
    save_step(100);
    log_must_hold("replacing");
    mpi_check(manifest_inode(100) != before);
    load_must_give(100);
    mpi_check(folder_count() == 1);
}
END_TEST

static void last_rank_limit(bool on)
{
    static struct rlimit before;
    if (comm->rank != comm->size - 1)
        return;
    if (on)
        mpi_check(getrlimit(RLIMIT_FSIZE, &before) == 0);
    struct rlimit limit = before;
    limit.rlim_cur = on ? 300 : before.rlim_cur;
    signal(SIGXFSZ, on ? SIG_IGN : SIG_DFL);
    mpi_check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

START_TEST(a_rank_that_cannot_write_fails_the_save_on_all_and_nothing_else)
{
    char shard[64], rank[32];
    ckpt_format_shard(shard, comm->size - 1, comm->size);
    snprintf(rank, sizeof rank, "rank %d: ", comm->size - 1);
    save_step(100);
    use_step(200);
    last_rank_limit(true);
    memset(&state, 0, sizeof state);
    enum muster_status status = save(3);
    last_rank_limit(false);
    mpi_check(status == MUSTER_ERR_IO);
    mpi_check(strstr(err.text, shard) != NULL && (comm->size == 1 || strstr(err.text, rank) == err.text));
    mpi_check(hash_equal(state, ckpt_fixture_hash(&fixture)));
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(folder_count() == 1);
    load_must_give(100);
}
END_TEST

START_TEST(another_state_at_the_same_step_replaces_it_and_a_failed_one_does_not)
{
    save_step(100);
    log_begin();
    for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++)
        fixture.state[kind][0] += 1.0f;
    last_rank_limit(true);
    enum muster_status status = save(3);
    last_rank_limit(false);
    mpi_check(status == MUSTER_ERR_IO);
    load_must_give(100);
    use_step(100);
    for (int kind = 0; kind < CKPT_FIXTURE_KINDS; kind++)
        fixture.state[kind][0] += 1.0f;
    mpi_check_ok(save(3), err);
    log_must_hold("another state of the same step");
    struct hash128 changed = state;
    int64_t step;
    mpi_check_ok(load(NULL, &step), err);
    mpi_check_ok(checkpoint_state_hash(comm, &fixture.layout, 100, pieces, CKPT_FIXTURE_PIECES, &state, &err),
                 err);
    mpi_check(hash_equal(state, changed) && !hash_equal(state, ckpt_fixture_hash(&fixture)));
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(folder_count() == 1);
}
END_TEST

START_TEST(a_replacement_cut_short_gives_back_what_it_was_to_replace)
{
    char from[FS_PATH_MAX], aside[FS_PATH_MAX];
    save_step(100);
    save_step(200);
    mpi_check(fs_path_join(from, dir, "step-000000200", NULL) == MUSTER_OK);
    mpi_check(fs_path_join(aside, dir, ".aside-step-000000200", NULL) == MUSTER_OK);
    on_rank_0({
        mpi_check_ok(fs_rename(from, aside, &err), err);
        mpi_check_ok(fs_folder_create(from, &err), err);
        mpi_check_ok(fs_file_write(path_of(200, "shard"), "x", 1, &err), err);
    });
    load_must_give(200);
    mpi_check(!fs_exists(aside) && !fs_exists(path_of(200, "shard")));
    on_rank_0(mpi_check_ok(fs_folder_create(aside, &err), err));
    load_must_give(200); /* the replacement was committed: what is aside goes */
    mpi_check(!fs_exists(aside));
}
END_TEST

START_TEST(pieces_that_do_not_tile_the_state_are_never_committed)
{
    if (comm->rank == 0)
        pieces[0].end -= CKPT_FIXTURE_CHUNK;
    if (comm->rank == 0 && pieces[0].end < pieces[0].begin)
        pieces[1].end -= CKPT_FIXTURE_CHUNK;
    mpi_check(save(3) == MUSTER_ERR_INTERNAL && strstr(err.text, "by no rank") != NULL);
    use_step(100);
    if (comm->rank == comm->size - 1)
        pieces[1] = pieces[0]; /* as many chunks as there should be, but some twice */
    mpi_check(save(3) == MUSTER_ERR_INTERNAL && strstr(err.text, "by two ranks") != NULL);
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(folder_count() == 0);
}
END_TEST

START_TEST(old_checkpoints_go_but_a_given_up_future_does_not_push_out_the_new_one)
{
    for (int step = 1; step <= 5; step++)
        save_step(step);
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(folder_count() == 3 && fs_exists(path_of(3, "")));
    on_rank_0(mpi_check(mkdir(path_of(3, "../.aside-step-000000099"), 0700) == 0));
    use_step(2); /* as after resuming from step 1 because the others were refused */
    mpi_check_ok(save(2), err);
    mpi_check_ok(comm_barrier(comm, &err), err);
    mpi_check(fs_exists(path_of(2, "")) && folder_count() == 4);
}
END_TEST

START_TEST(a_rank_short_of_memory_at_any_point_is_heard_by_all)
{
    int64_t step;
    bool passed = staged; /* how a load will be makes no difference to a save */
    log_console_level_set(LOG_ERROR);
    save_step(100);
    for (int64_t n = 1; !passed; n++) {
        use_step(100);
        on_rank_0(mpi_check(fs_remove_tree(path_of(100, ""), NULL) == MUSTER_OK));
        int64_t live = alloc_live_count();
        if (comm->rank == comm->size - 1)
            alloc_fail_nth(n);
        enum muster_status status = save(3);
        alloc_fail_nth(0);
        passed = status == MUSTER_OK && n > 100;
        mpi_check(alloc_live_count() == live);
        mpi_check(status == MUSTER_OK || status == MUSTER_ERR_NO_MEMORY || status == MUSTER_ERR_BAD_INPUT);
    }
    passed = false;
    for (int64_t n = 1; !passed; n++) {
        int64_t live = alloc_live_count();
        if (comm->rank == comm->size - 1)
            alloc_fail_nth(n);
        enum muster_status status = load(NULL, &step);
        alloc_fail_nth(0);
        passed = status == MUSTER_OK && n > 30;
        mpi_check(alloc_live_count() == live);
        mpi_check(status == MUSTER_OK || status == MUSTER_ERR_NO_MEMORY);
    }
    log_console_level_set(LOG_WARN);
    pieces_must_be(100);
}
END_TEST

/* A communicator of one rank that kills its process at the n-th collective. */

struct mortal {
    struct comm base;
    int calls_left;
};

static enum muster_status mortal_step(struct comm *c)
{
    struct mortal *mortal = (struct mortal *)c;
    if (mortal->calls_left-- == 0)
        _exit(9);
    return MUSTER_OK;
}

static enum muster_status mortal_broadcast(struct comm *c, void *data, int64_t bytes, int root,
                                           struct muster_error *e)
{
    (void)data, (void)bytes, (void)root, (void)e;
    return mortal_step(c);
}

static enum muster_status mortal_all_gather(struct comm *c, void *all, const int64_t *counts,
                                            struct muster_error *e)
{
    (void)all, (void)counts, (void)e;
    return mortal_step(c);
}

static enum muster_status mortal_all_reduce(struct comm *c, float *data, int64_t count,
                                            struct muster_error *e)
{
    (void)data, (void)count, (void)e;
    return mortal_step(c);
}

static const struct comm_ops mortal_ops = {.name = "mortal",
                                           .broadcast = mortal_broadcast,
                                           .all_gather = mortal_all_gather,
                                           .all_reduce_f32 = mortal_all_reduce,
                                           .begin_after = comm_host_order,
                                           .end_before = comm_host_order};

/* True when the child lived to the end of its save. */
static bool save_in_child(struct ckpt_fixture *what, int calls)
{
    int outcome;
    pid_t child = fork();
    mpi_check(child >= 0);
    if (child == 0) {
        struct mortal mortal = {.base = {.ops = &mortal_ops, .size = 1}, .calls_left = calls};
        struct ckpt_piece all[CKPT_FIXTURE_PIECES];
        ckpt_fixture_pieces(what, 0, 1, all);
        enum muster_status status = save_on(&mortal.base, what, all, 3);
        _exit(status == MUSTER_OK ? 0 : 1);
    }
    mpi_check(waitpid(child, &outcome, 0) == child);
    mpi_check(WIFEXITED(outcome) && (WEXITSTATUS(outcome) == 0 || WEXITSTATUS(outcome) == 9));
    return WEXITSTATUS(outcome) == 0;
}

START_TEST(a_kill_at_any_collective_leaves_the_older_or_the_newer_checkpoint_whole)
{
    static struct ckpt_fixture newer;
    char folder[FS_PATH_MAX];
    int32_t lived = 0, committed = 0;
    ckpt_fixture_init(&newer, 200);
    on_rank_0(mpi_check_ok(ckpt_fixture_write(&fixture, dir, 1, true, folder, &err), err));
    log_console_level_set(LOG_ERROR);
    for (int calls = 0; !lived; calls++) {
        on_rank_0({
            lived = save_in_child(&newer, calls);
            committed = fs_exists(path_of(200, CKPT_MANIFEST_NAME));
        });
        mpi_check_ok(comm_broadcast(comm, &lived, sizeof lived, 0, &err), err);
        mpi_check_ok(comm_broadcast(comm, &committed, sizeof committed, 0, &err), err);
        mpi_check(!lived || committed);
        load_must_give(committed ? 200 : 100);
        mpi_check(calls < 100);
        if (committed)
            on_rank_0(mpi_check(fs_remove_tree(path_of(200, ""), NULL) == MUSTER_OK));
    }
    log_console_level_set(LOG_WARN);
    mpi_check(committed);
}
END_TEST

static void comm_begin(void)
{
    staged = false;
    mpi_check_ok(comm_mpi_create(&comm, &err), err);
}

static void comm_begin_staged(void)
{
    comm_begin();
    staged = true;
}

static void comm_end(void)
{
    comm_destroy(comm);
}

static TCase *case_create(const char *name, void (*begin)(void))
{
    TCase *tcase = tcase_create(name);
    tcase_add_unchecked_fixture(tcase, begin, comm_end);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_the_ranks_save_they_load_again);
    tcase_add_test(tcase, a_checkpoint_of_any_number_of_writers_loads_on_this_many_ranks);
    tcase_add_test(tcase, nothing_there_means_step_minus_one_and_untouched_pieces);
    tcase_add_test(tcase, a_damaged_newest_is_passed_over_with_its_reason);
    tcase_add_test(tcase, data_without_the_recorded_state_hash_are_refused);
    tcase_add_test(tcase, checkpoints_that_are_all_damaged_stop_the_start);
    tcase_add_test(tcase, a_named_folder_is_loaded_or_refused_but_never_replaced_by_another);
    tcase_add_test(tcase, a_rank_short_of_memory_at_any_point_is_heard_by_all);
    return tcase;
}

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = case_create("checkpoint", comm_begin);
    tcase_add_test(tcase, a_save_that_was_killed_before_its_manifest_is_passed_over_with_its_reason);
    tcase_add_test(tcase, a_checkpoint_of_another_job_is_bad_input_that_says_what_differs);
    tcase_add_test(tcase, the_same_state_at_the_same_step_is_not_written_again);
    tcase_add_test(tcase, the_same_state_over_a_damaged_copy_is_written_again);
    tcase_add_test(tcase, a_rank_that_cannot_write_fails_the_save_on_all_and_nothing_else);
    tcase_add_test(tcase, another_state_at_the_same_step_replaces_it_and_a_failed_one_does_not);
    tcase_add_test(tcase, a_replacement_cut_short_gives_back_what_it_was_to_replace);
    tcase_add_test(tcase, pieces_that_do_not_tile_the_state_are_never_committed);
    tcase_add_test(tcase, old_checkpoints_go_but_a_given_up_future_does_not_push_out_the_new_one);
    tcase_add_test(tcase, a_kill_at_any_collective_leaves_the_older_or_the_newer_checkpoint_whole);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, case_create("checkpoint, staged", comm_begin_staged));
    return mpi_check_run(suite);
}
