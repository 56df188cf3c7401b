/* SPDX-License-Identifier: MIT
 *
 * Data files from nowhere good. The first byte picks format and window, the second how much of the rest is
 * the label file of images; both files live in memory. Whatever opens must then read to its end without a
 * surprise.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "coordinator/data/dataset.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_SIZE_MAX = 1 << 16, SAMPLES_MAX = 64, SEQ_MAX = 8 };

static int file_make(const uint8_t *data, size_t bytes, char path[32])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static void samples_read(const struct dataset *dataset)
{
    static int32_t inputs[SEQ_MAX], targets[SEQ_MAX];
    static float pixels[INPUT_SIZE_MAX];
    const struct dataset_info *info = dataset_info(dataset);
    struct muster_error err;
    if (info->sample_count < 1 || info->format == JOB_DATA_AUTO)
        abort();
    for (int64_t i = 0; i < SAMPLES_MAX && i < info->sample_count; i++) {
        int64_t index = i % 2 == 0 ? i / 2 : info->sample_count - 1 - i / 2;
        enum muster_status status = MUSTER_OK;
        if (info->format != JOB_DATA_IDX)
            status = dataset_read_tokens(dataset, 0, index, 50257, inputs, targets, &err);
        else if (info->input_size <= INPUT_SIZE_MAX)
            status = dataset_read_image(dataset, 0, index, 10, pixels, targets, &err);
        if (status != MUSTER_OK && status != MUSTER_ERR_CORRUPT)
            abort();
        if (status == MUSTER_OK && (targets[0] < 0 || targets[0] >= 50257))
            abort();
    }
}

static void dataset_try(const struct job_sources *sources, enum job_data_format format, int64_t seq_len)
{
    struct dataset *dataset = NULL;
    struct muster_error err;
    struct text text;
    text_init(&text);
    if (dataset_open(sources, format, seq_len, &dataset, &err) == MUSTER_OK) {
        samples_read(dataset);
        if (dataset_describe(sources, format, seq_len, &text, &err) != MUSTER_OK)
            abort();
    }
    dataset_close(dataset);
    text_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    enum job_data_format format = (enum job_data_format)(data[0] % (JOB_DATA_IDX + 1));
    int64_t seq_len = 1 + data[0] / 16 % SEQ_MAX;
    size_t label_bytes = data[1] < bytes - 2 ? data[1] : bytes - 2;
    char path[32], labels[32];
    bool has_labels = format == JOB_DATA_IDX || (format == JOB_DATA_AUTO && data[1] > 0);
    if (!has_labels)
        label_bytes = 0;
    int64_t live = alloc_live_count();
    int fd = file_make(data + 2 + label_bytes, bytes - 2 - label_bytes, path);
    int labels_fd = file_make(data + 2, label_bytes, labels);
    struct job_source source = {.path = path, .labels = has_labels ? labels : NULL};
    struct job_sources sources = {&source, 1};
    dataset_try(&sources, format, seq_len);
    close(fd);
    close(labels_fd);
    if (alloc_live_count() != live)
        abort();
    return 0;
}
