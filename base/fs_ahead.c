/* SPDX-License-Identifier: MIT
 *
 * A ring of buffers between one thread that fills and one that uses. A request is a run of wanted blocks that
 * lie side by side. Direct reads need whole blocks of the device, so a request's length is rounded up; a file
 * system that refuses them is read through the page cache from then on.
 */
#include "base/fs_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

enum { SLOT_COUNT = 3, ALIGNMENT = 4096 };

/* A run of blocks: the user's while it is `full`, else the reading thread's. */
struct slot {
    unsigned char *data;
    int64_t first, count; /* blocks; count 0: the end */
    bool full;
    struct muster_error failure; /* status not OK: this is how the request ended */
};

struct fs_ahead {
    struct fs_ahead_plan plan;
    int64_t block_count;
    int fd;
    bool direct;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool leave; /* under lock, as `full` of the slots */
    struct slot slots[SLOT_COUNT];
    int using;     /* the user's slot */
    int64_t taken; /* blocks of it that were handed out */
};

static bool direct_switch(struct fs_ahead *ahead, bool on)
{
    int flags = fcntl(ahead->fd, F_GETFL);
    bool done = flags >= 0 && fcntl(ahead->fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
    ahead->direct = on && done;
    return done;
}

static enum muster_status run_read(struct fs_ahead *ahead, const struct slot *slot, struct muster_error *err)
{
    int64_t begin = slot->first * ahead->plan.block_bytes,
            end = begin + slot->count * ahead->plan.block_bytes;
    end = end < ahead->plan.file_bytes ? end : ahead->plan.file_bytes;
    for (int64_t at = begin; at < end;) {
        int64_t ask = end - at;
        if (ahead->direct)
            ask = (ask + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        ssize_t got = pread(ahead->fd, slot->data + (at - begin), (size_t)ask, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EINVAL && ahead->direct && direct_switch(ahead, false))
            continue;
        if (got < 0)
            return muster_error_set_errno(err, errno, "read %s at byte %" PRId64, ahead->plan.path, at);
        if (got == 0)
            return muster_error_set(err, MUSTER_ERR_CORRUPT, "%s ends at byte %" PRId64, ahead->plan.path,
                                    at);
        at += got;
        if (at < end && at % ALIGNMENT != 0 && ahead->direct)
            direct_switch(ahead, false);
    }
    return MUSTER_OK;
}

/* The next run of wanted blocks from `from` on. */
static void run_find(const struct fs_ahead *ahead, int64_t from, struct slot *slot)
{
    int64_t most = FS_AHEAD_BYTES / ahead->plan.block_bytes;
    while (from < ahead->block_count && !ahead->plan.wanted[from])
        from++;
    slot->first = from;
    slot->count = 0;
    while (slot->count < most && from + slot->count < ahead->block_count &&
           ahead->plan.wanted[from + slot->count])
        slot->count++;
}

/* Waits for the slot to be full or not; false when the user is gone. */
static bool slot_await(struct fs_ahead *ahead, const struct slot *slot, bool full)
{
    pthread_mutex_lock(&ahead->lock);
    while (slot->full != full && !ahead->leave)
        pthread_cond_wait(&ahead->changed, &ahead->lock);
    bool stay = !ahead->leave;
    pthread_mutex_unlock(&ahead->lock);
    return stay;
}

static void slot_give(struct fs_ahead *ahead, struct slot *slot, bool full)
{
    pthread_mutex_lock(&ahead->lock);
    slot->full = full;
    pthread_cond_signal(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
}

static void *reader_run(void *argument)
{
    struct fs_ahead *ahead = argument;
    int64_t next = 0;
    for (int i = 0; slot_await(ahead, &ahead->slots[i], false); i = (i + 1) % SLOT_COUNT) {
        struct slot *slot = &ahead->slots[i];
        run_find(ahead, next, slot);
        next = slot->first + slot->count;
        slot->failure.status = MUSTER_OK;
        bool goes_on = slot->count > 0 && run_read(ahead, slot, &slot->failure) == MUSTER_OK;
        slot_give(ahead, slot, true);
        if (!goes_on)
            break;
    }
    return NULL;
}

static enum muster_status reader_start(struct fs_ahead *ahead, struct muster_error *err)
{
    const struct fs_ahead_plan *plan = &ahead->plan;
    ahead->fd = open(plan->path, O_RDONLY | O_CLOEXEC);
    if (ahead->fd < 0)
        return muster_error_set_errno(err, errno, "open %s", plan->path);
    if (plan->direct)
        direct_switch(ahead, true);
    int64_t bytes = (plan->file_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    bytes = bytes < FS_AHEAD_BYTES ? bytes : FS_AHEAD_BYTES;
    for (int i = 0; i < SLOT_COUNT; i++) {
        ahead->slots[i].data = alloc_aligned((size_t)bytes, ALIGNMENT);
        if (!ahead->slots[i].data)
            return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to read %s", plan->path);
    }
    if (ahead->block_count <= 1) { /* nothing to be ahead of */
        reader_run(ahead);
        return MUSTER_OK;
    }
    int code = pthread_create(&ahead->thread, NULL, reader_run, ahead);
    ahead->started = code == 0;
    return ahead->started ? MUSTER_OK
                          : muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no thread to read %s: %s",
                                             plan->path, strerror(code));
}

enum muster_status fs_ahead_open(const struct fs_ahead_plan *plan, struct fs_ahead **out,
                                 struct muster_error *err)
{
    struct muster_error local;
    *out = NULL;
    struct fs_ahead *ahead = alloc_zeroed(1, sizeof *ahead);
    if (!ahead)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to read %s", plan->path);
    ahead->plan = *plan;
    ahead->block_count = (plan->file_bytes + plan->block_bytes - 1) / plan->block_bytes;
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->changed, NULL);
    enum muster_status status = reader_start(ahead, err ? err : &local);
    if (status) {
        fs_ahead_close(ahead);
        return status;
    }
    *out = ahead;
    return MUSTER_OK;
}

enum muster_status fs_ahead_next(struct fs_ahead *ahead, int64_t *index, const void **data, int64_t *bytes,
                                 struct muster_error *err)
{
    struct slot *slot = &ahead->slots[ahead->using];
    slot_await(ahead, slot, true);
    if (!slot->failure.status && slot->count > 0 && ahead->taken == slot->count) {
        ahead->taken = 0;
        ahead->using = (ahead->using + 1) % SLOT_COUNT;
        slot_give(ahead, slot, false);
        slot = &ahead->slots[ahead->using];
        slot_await(ahead, slot, true);
    }
    if (slot->failure.status)
        return muster_error_set(err, slot->failure.status, "%s", slot->failure.text);
    *index = -1;
    if (slot->count == 0)
        return MUSTER_OK;
    const struct fs_ahead_plan *plan = &ahead->plan;
    int64_t left = plan->file_bytes - (slot->first + ahead->taken) * plan->block_bytes;
    *index = slot->first + ahead->taken;
    *data = slot->data + ahead->taken * plan->block_bytes;
    *bytes = left < plan->block_bytes ? left : plan->block_bytes;
    ahead->taken++;
    return MUSTER_OK;
}

void fs_ahead_close(struct fs_ahead *ahead)
{
    if (!ahead)
        return;
    pthread_mutex_lock(&ahead->lock);
    ahead->leave = true;
    pthread_cond_signal(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
    if (ahead->started)
        pthread_join(ahead->thread, NULL);
    for (int i = 0; i < SLOT_COUNT; i++)
        alloc_free(ahead->slots[i].data);
    if (ahead->fd >= 0)
        close(ahead->fd);
    pthread_cond_destroy(&ahead->changed);
    pthread_mutex_destroy(&ahead->lock);
    alloc_free(ahead);
}
