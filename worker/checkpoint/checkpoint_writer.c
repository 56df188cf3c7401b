/* SPDX-License-Identifier: MIT
 *
 * Two threads, one save at a time, one state that moves idle -> copying -> writing -> done -> idle. The first
 * thread copies, which training may have to wait for; the second saves, in what time training leaves: on a
 * machine that is busy with steps it has a low priority, on one that waits for it it has all. The threads
 * make no decision that another rank would have to share: that is left to the votes of the save they call.
 */
#include "worker/checkpoint/checkpoint_writer.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "worker/fault_point.h"

enum { WRITER_THREADS = 2, WRITER_NICE = 15 };

enum writer_state { WRITER_IDLE, WRITER_COPYING, WRITER_WRITING, WRITER_DONE };

struct checkpoint_writer {
    struct checkpoint_writer_options options;
    pthread_t threads[WRITER_THREADS];
    int thread_count; /* that run */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum writer_state state; /* under the lock, as `leave` and `outcome` */
    bool leave;
    double started_s;
    struct ckpt_identity identity;
    char *job_yaml, *numerics;
    struct checkpoint_outcome outcome;
};

static void writer_enter(struct checkpoint_writer *writer, enum writer_state state)
{
    pthread_mutex_lock(&writer->lock);
    writer->state = state;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
}

/* Waits for this state; false when the thread is to end and no save is in flight. */
static bool writer_await(struct checkpoint_writer *writer, enum writer_state state)
{
    pthread_mutex_lock(&writer->lock);
    while (writer->state != state &&
           !(writer->leave && (writer->state == WRITER_IDLE || writer->state == WRITER_DONE)))
        pthread_cond_wait(&writer->changed, &writer->lock);
    bool work = writer->state == state;
    pthread_mutex_unlock(&writer->lock);
    return work;
}

static void *writer_copy_run(void *argument)
{
    struct checkpoint_writer *writer = argument;
    const struct checkpoint_writer_options *options = &writer->options;
    while (writer_await(writer, WRITER_COPYING)) {
        checkpoint_pieces_copy(options->pieces, options->copies, options->piece_count, options->kind_count);
        fault_point("ckpt_copy");
        writer->outcome = (struct checkpoint_outcome){.step = writer->identity.step,
                                                      .copied_s = clock_seconds() - writer->started_s};
        writer_enter(writer, WRITER_WRITING);
    }
    return NULL;
}

/* Backs the copies with memory before the first save needs it, their content untouched: fresh pages can take
 * longer than a step. Where the kernel does not know how, that first copy does it. */
static void copies_back(const struct checkpoint_writer_options *options)
{
#ifdef MADV_POPULATE_WRITE
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < options->piece_count && options->copies != options->pieces; i++) {
        const struct ckpt_piece *piece = &options->copies[i];
        for (int kind = 0; kind < options->kind_count && piece->end > piece->begin; kind++) {
            uintptr_t begin = ((uintptr_t)piece->data[kind] + page - 1) / page * page;
            uintptr_t end = (uintptr_t)(piece->data[kind] + (piece->end - piece->begin)) / page * page;
            if (begin < end && madvise((void *)begin, end - begin, MADV_POPULATE_WRITE) != 0)
                return;
        }
    }
#else
    (void)options;
#endif
}

static void *writer_save_run(void *argument)
{
    struct checkpoint_writer *writer = argument;
    const struct checkpoint_writer_options *options = &writer->options;
    struct checkpoint_outcome *outcome = &writer->outcome;
    setpriority(PRIO_PROCESS, 0,
                WRITER_NICE); /* on Linux of this thread alone; without it all is only slower */
    copies_back(options);
    while (writer_await(writer, WRITER_WRITING)) {
        outcome->status = options->save(options->save_context, &writer->identity, options->copies,
                                        &outcome->state_hash, &outcome->err);
        outcome->duration_s = clock_seconds() - writer->started_s;
        writer_enter(writer, WRITER_DONE);
    }
    return NULL;
}

enum muster_status checkpoint_writer_create(const struct checkpoint_writer_options *options,
                                            struct checkpoint_writer **out, struct muster_error *err)
{
    *out = NULL;
    struct checkpoint_writer *writer = alloc_zeroed(1, sizeof *writer);
    if (!writer)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the checkpoint writer");
    writer->options = *options;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    static void *(*const runs[WRITER_THREADS])(void *) = {writer_copy_run, writer_save_run};
    for (; writer->thread_count < WRITER_THREADS; writer->thread_count++) {
        int code =
            pthread_create(&writer->threads[writer->thread_count], NULL, runs[writer->thread_count], writer);
        if (code != 0) {
            checkpoint_writer_destroy(writer);
            return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no thread to write checkpoints: %s",
                                    strerror(code));
        }
    }
    *out = writer;
    return MUSTER_OK;
}

void checkpoint_writer_destroy(struct checkpoint_writer *writer)
{
    if (!writer)
        return;
    pthread_mutex_lock(&writer->lock);
    writer->leave = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    for (int i = 0; i < writer->thread_count; i++)
        pthread_join(writer->threads[i], NULL);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
    alloc_free(writer->job_yaml);
    alloc_free(writer->numerics);
    alloc_free(writer);
}

enum muster_status checkpoint_writer_start(struct checkpoint_writer *writer,
                                           const struct ckpt_identity *identity, struct muster_error *err)
{
    alloc_free(writer->job_yaml);
    alloc_free(writer->numerics);
    writer->job_yaml = alloc_text(identity->job_yaml);
    writer->numerics = alloc_text(identity->numerics);
    if (!writer->job_yaml || !writer->numerics)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to begin a checkpoint");
    writer->identity = *identity;
    writer->identity.job_yaml = writer->job_yaml;
    writer->identity.numerics = writer->numerics;
    writer->started_s = clock_seconds();
    writer_enter(writer, WRITER_COPYING);
    return MUSTER_OK;
}

static enum writer_state writer_state_of(struct checkpoint_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    enum writer_state state = writer->state;
    pthread_mutex_unlock(&writer->lock);
    return state;
}

bool checkpoint_writer_running(struct checkpoint_writer *writer)
{
    enum writer_state state = writer_state_of(writer);
    return state == WRITER_COPYING || state == WRITER_WRITING;
}

void checkpoint_writer_release_state(struct checkpoint_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    while (writer->state == WRITER_COPYING)
        pthread_cond_wait(&writer->changed, &writer->lock);
    pthread_mutex_unlock(&writer->lock);
}

bool checkpoint_writer_take(struct checkpoint_writer *writer, bool wait, struct checkpoint_outcome *outcome)
{
    pthread_mutex_lock(&writer->lock);
    while (wait && (writer->state == WRITER_COPYING || writer->state == WRITER_WRITING))
        pthread_cond_wait(&writer->changed, &writer->lock);
    bool done = writer->state == WRITER_DONE;
    if (done) {
        *outcome = writer->outcome;
        writer->state = WRITER_IDLE;
    }
    pthread_mutex_unlock(&writer->lock);
    return done;
}
