/* SPDX-License-Identifier: MIT
 *
 * The ways run one after the other at each size, so that all meet the same state of the machine. Between GPUs
 * a call returns before its work is done: the clock stops after comm_end_before, which waits for all of it.
 * Values are tiny, so that sums of sums stay finite.
 */
#include "worker/measure/bench_comm.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "comm/exact_reduce.h"
#include "worker/device/device.h"

enum { SIZE_FACTOR = 4, WARM_UP = 2, ITERATIONS_MIN = 3, ITERATIONS_MAX = 1000, TIMEOUT_S = 600 };
static const double enough_s = 0.2;

/* One run of the program: where the buffers are, and one size's cut of them. */
struct bench {
    struct comm *host, *comm; /* comm: what is measured; may be host */
    struct device device;
    struct kernels *kernels;
    struct exact_reduce *exact;
    int64_t floats;                      /* of the size in hand */
    int64_t *owned_begin;                /* [size + 1] */
    int64_t *counts, *bytes, *out_bytes; /* [size] a rank's share; the last without mine */
    const void **send;                   /* [size] */
    void **receive;                      /* [size] */
    int64_t data_bytes, receive_bytes;
    float *data, *apart, *room; /* the buffer, a second one, and what the exact reduction receives in */
    FILE *out;
    int row_count;
};

static enum muster_status all_reduce_call(struct bench *b, struct muster_error *err)
{
    return comm_all_reduce_f32(b->comm, b->data, b->floats, err);
}

static enum muster_status reduce_scatter_call(struct bench *b, struct muster_error *err)
{
    return comm_reduce_scatter_f32(b->comm, b->data, b->counts, b->data + b->owned_begin[b->comm->rank], err);
}

static enum muster_status exact_call(struct bench *b, struct muster_error *err)
{
    return exact_reduce_run(b->exact, &b->data, b->owned_begin, b->data + b->owned_begin[b->comm->rank],
                            b->room, err);
}

static enum muster_status all_gather_call(struct bench *b, struct muster_error *err)
{
    return comm_all_gather(b->comm, b->data, b->bytes, err);
}

static enum muster_status broadcast_call(struct bench *b, struct muster_error *err)
{
    return comm_broadcast(b->comm, b->data, b->floats * (int64_t)sizeof(float), 0, err);
}

static enum muster_status exchange_call(struct bench *b, struct muster_error *err)
{
    int64_t mine = b->counts[b->comm->rank] * (int64_t)sizeof(float);
    for (int r = 0; r < b->comm->size; r++) {
        b->send[r] = b->data + b->owned_begin[r];
        b->receive[r] = b->apart + r * b->counts[b->comm->rank];
        b->out_bytes[r] = mine;
    }
    return comm_exchange(b->comm, b->send, b->bytes, b->receive, b->out_bytes, err);
}

/* busbw = algbw · bus_times, and for n ranks (n-1)/n of that where bus_share is set. */
static const struct way {
    const char *name;
    enum muster_status (*call)(struct bench *b, struct muster_error *err);
    double bus_times;
    bool bus_share;
} ways[] = {
    {"all_reduce", all_reduce_call, 2, true},      {"reduce_scatter", reduce_scatter_call, 1, true},
    {"exact_reduce_scatter", exact_call, 1, true}, {"all_gather", all_gather_call, 1, true},
    {"broadcast", broadcast_call, 1, false},       {"exchange", exchange_call, 1, true},
};
enum { WAY_COUNT = sizeof ways / sizeof ways[0] };

static bool word_choose(const char *word, const char *first, const char *second, bool *is_first)
{
    *is_first = !strcmp(word, first);
    return *is_first || !strcmp(word, second);
}

static bool format_choose(const char *word, enum bench_comm_format *format)
{
    static const char *const names[] = {
        [BENCH_COMM_TABLE] = "table", [BENCH_COMM_JSON] = "json", [BENCH_COMM_CSV] = "csv"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(word, names[i])) {
            *format = (enum bench_comm_format)i;
            return true;
        }
    return false;
}

/* What follows "NAME=" in `word`; NULL when it is about something else. */
static const char *value_of(const char *word, const char *name)
{
    size_t length = strlen(name);
    return !strncmp(word, name, length) && word[length] == '=' ? word + length + 1 : NULL;
}

static bool word_take(const char *word, struct bench_comm_options *options)
{
    const char *value;
    if ((value = value_of(word, "--min")) != NULL)
        return text_parse_int64(value, &options->min_bytes) && options->min_bytes >= 4;
    if ((value = value_of(word, "--max")) != NULL)
        return text_parse_int64(value, &options->max_bytes) && options->max_bytes >= 4;
    if ((value = value_of(word, "--iterations")) != NULL)
        return text_parse_int64(value, &options->iterations) && options->iterations >= 0;
    if ((value = value_of(word, "--backend")) != NULL)
        return word_choose(value, "nccl", "mpi", &options->on_gpu);
    if ((value = value_of(word, "--hierarchy")) != NULL)
        return word_choose(value, "auto", "off", &options->hierarchy);
    value = value_of(word, "--format");
    return value != NULL && format_choose(value, &options->format);
}

enum muster_status bench_comm_parse(int argc, char **argv, struct bench_comm_options *options,
                                    struct muster_error *err)
{
    for (int i = 1; i < argc; i++)
        if (!word_take(argv[i], options))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "bench comm: %.64s is not understood",
                                    argv[i]);
    return MUSTER_OK;
}

static enum muster_status tables_create(struct bench *b, struct muster_error *err)
{
    size_t size = (size_t)b->host->size;
    int *block_begin = alloc_zeroed(size + 1, sizeof *block_begin);
    b->owned_begin = alloc_zeroed(size + 1, sizeof *b->owned_begin);
    b->counts = alloc_zeroed(size, sizeof *b->counts);
    b->bytes = alloc_zeroed(size, sizeof *b->bytes);
    b->out_bytes = alloc_zeroed(size, sizeof *b->out_bytes);
    b->send = alloc_zeroed(size, sizeof *b->send);
    b->receive = alloc_zeroed(size, sizeof *b->receive);
    enum muster_status status = MUSTER_OK;
    if (!block_begin || !b->owned_begin || !b->counts || !b->bytes || !b->out_bytes || !b->send ||
        !b->receive)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for the tables of %d ranks",
                                  b->host->size);
    for (int r = 0; r <= b->host->size && !status; r++)
        block_begin[r] = r;
    if (!status)
        status = exact_reduce_create(b->comm, b->host->size, block_begin, &b->exact, err);
    alloc_free(block_begin);
    return status;
}

static enum muster_status buffers_create(struct bench *b, int64_t max_bytes, struct muster_error *err)
{
    int64_t share = max_bytes / (int64_t)sizeof(float) / b->host->size + 1;
    void *blocks[3] = {NULL};
    b->data_bytes = max_bytes + b->host->size * (int64_t)sizeof(float);
    b->receive_bytes = exact_reduce_receive_bytes(b->exact, share) + (int64_t)sizeof(float);
    const int64_t bytes[3] = {b->data_bytes, b->data_bytes, b->receive_bytes};
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < 3 && !status; i++) {
        status = kernels_memory_allocate(b->kernels, bytes[i], &blocks[i], err);
        if (!status)
            status = kernels_fill_zero(b->kernels, blocks[i], bytes[i], err);
    }
    b->data = blocks[0];
    b->apart = blocks[1];
    b->room = blocks[2];
    return status ? status : kernels_synchronise(b->kernels, err);
}

/* The back end and communicator of the job file that says no more than this. */
static enum muster_status bench_open(struct bench *b, const struct bench_comm_options *options,
                                     struct muster_error *err)
{
    char gpus[] = "local";
    struct job job = {.device = options->on_gpu ? JOB_DEVICE_CUDA : JOB_DEVICE_CPU};
    job.parallel.gpus = gpus;
    job.comm.backend = options->on_gpu ? JOB_COMM_NCCL : JOB_COMM_MPI;
    job.comm.timeout_s = TIMEOUT_S;
    comm_timeout_set(b->host, TIMEOUT_S * 1000);
    struct comm *device_comm = NULL;
    enum muster_status status = comm_mpi_hierarchy_set(b->host, options->hierarchy, err);
    if (!status)
        status = device_choose(&job, b->host, &b->device, err);
    if (!status)
        status = device_kernels_create(&b->device, &job, 1, NULL, &b->kernels, err);
    if (!status)
        status = device_comm_create(&b->device, &job, b->host, b->kernels, &device_comm, err);
    b->comm = device_comm ? device_comm : b->host;
    if (!status)
        status = tables_create(b, err);
    return status ? status : buffers_create(b, options->max_bytes, err);
}

static void bench_close(struct bench *b)
{
    exact_reduce_destroy(b->exact);
    if (b->kernels) {
        kernels_memory_free(b->kernels, b->data, b->data_bytes);
        kernels_memory_free(b->kernels, b->apart, b->data_bytes);
        kernels_memory_free(b->kernels, b->room, b->receive_bytes);
    }
    if (b->comm != b->host)
        comm_destroy(b->comm);
    kernels_destroy(b->kernels);
    alloc_free(b->owned_begin);
    alloc_free(b->counts);
    alloc_free(b->bytes);
    alloc_free(b->out_bytes);
    alloc_free(b->send);
    alloc_free(b->receive);
}

static void size_set(struct bench *b, int64_t bytes)
{
    b->floats = bytes / (int64_t)sizeof(float);
    for (int r = 0; r < b->host->size; r++) {
        b->owned_begin[r + 1] = b->floats * (r + 1) / b->host->size;
        b->counts[r] = b->owned_begin[r + 1] - b->owned_begin[r];
        b->bytes[r] = b->counts[r] * (int64_t)sizeof(float);
    }
}

/* The longest of the ranks' times. */
static enum muster_status slowest(struct comm *host, double *seconds, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    double mine = *seconds;
    for (int r = 0; r < host->size && !status; r++) {
        double theirs = mine;
        status = comm_broadcast(host, &theirs, sizeof theirs, r, err);
        *seconds = theirs > *seconds ? theirs : *seconds;
    }
    return status;
}

/* Seconds of so many calls together, all beginning at once. */
static enum muster_status calls_time(struct bench *b, const struct way *way, int64_t iterations,
                                     double *seconds, struct muster_error *err)
{
    void *stream = kernels_stream(b->kernels);
    enum muster_status status = comm_begin_after(b->comm, stream, err);
    if (!status)
        status = comm_barrier(b->comm, err);
    double begin = clock_seconds();
    for (int64_t i = 0; i < iterations && !status; i++)
        status = way->call(b, err);
    if (!status)
        status = comm_end_before(b->comm, stream, err);
    *seconds = clock_seconds() - begin;
    return status ? status : slowest(b->host, seconds, err);
}

static void row_print(struct bench *b, const struct bench_comm_options *options, const struct way *way,
                      int64_t iterations, double seconds)
{
    double bytes = (double)(b->floats * (int64_t)sizeof(float)), size = b->host->size;
    double algbw = bytes / seconds / 1e9;
    double busbw = algbw * way->bus_times * (way->bus_share ? (size - 1) / size : 1.0);
    if (options->format == BENCH_COMM_JSON)
        fprintf(b->out,
                "%s{\"operation\": \"%s\", \"bytes\": %.0f, \"iterations\": %lld, \"time_us\": %.3f, "
                "\"algbw\": %.4f, \"busbw\": %.4f}",
                b->row_count ? ",\n" : "[", way->name, bytes, (long long)iterations, seconds * 1e6, algbw,
                busbw);
    else if (options->format == BENCH_COMM_CSV)
        fprintf(b->out, "%s,%.0f,%lld,%.3f,%.4f,%.4f\n", way->name, bytes, (long long)iterations,
                seconds * 1e6, algbw, busbw);
    else
        fprintf(b->out, "%-22s %12.0f %6lld %14.1f %10.2f %10.2f\n", way->name, bytes, (long long)iterations,
                seconds * 1e6, algbw, busbw);
    fflush(b->out);
    b->row_count++;
}

/* Warm-up, as many iterations as the first of them suggest, and the line. */
static enum muster_status way_measure(struct bench *b, const struct bench_comm_options *options,
                                      const struct way *way, struct muster_error *err)
{
    double seconds;
    int64_t iterations = options->iterations;
    enum muster_status status = calls_time(b, way, WARM_UP, &seconds, err);
    if (iterations == 0) {
        iterations = (int64_t)(enough_s * WARM_UP / seconds);
        iterations = iterations < ITERATIONS_MIN   ? ITERATIONS_MIN
                     : iterations > ITERATIONS_MAX ? ITERATIONS_MAX
                                                   : iterations;
    }
    if (!status)
        status = calls_time(b, way, iterations, &seconds, err);
    if (!status && b->host->rank == 0)
        row_print(b, options, way, iterations, seconds / (double)iterations);
    return status;
}

static void head_print(struct bench *b, const struct bench_comm_options *options)
{
    if (options->format == BENCH_COMM_CSV)
        fprintf(b->out, "operation,bytes,iterations,time_us,algbw_gb_s,busbw_gb_s\n");
    if (options->format == BENCH_COMM_TABLE)
        fprintf(b->out, "%d rank%s on %d host%s over %s%s\n%-22s %12s %6s %14s %10s %10s\n", b->host->size,
                b->host->size == 1 ? "" : "s", b->host->node_count, b->host->node_count == 1 ? "" : "s",
                comm_transport(b->comm), b->comm->local ? ", hosts add first" : "", "operation", "bytes",
                "times", "time, us", "algbw GB/s", "busbw GB/s");
}

enum muster_status bench_comm_run(struct comm *comm, const struct bench_comm_options *options, FILE *out,
                                  struct muster_error *err)
{
    struct bench b = {.host = comm, .comm = comm, .out = out};
    enum muster_status status = bench_open(&b, options, err);
    if (!status && comm->rank == 0)
        head_print(&b, options);
    for (int64_t bytes = options->min_bytes; bytes <= options->max_bytes && !status; bytes *= SIZE_FACTOR) {
        size_set(&b, bytes);
        for (int way = 0; way < WAY_COUNT && !status; way++)
            status = way_measure(&b, options, &ways[way], err);
    }
    if (comm->rank == 0 && options->format == BENCH_COMM_JSON)
        fprintf(out, "%s]\n", b.row_count ? "" : "[");
    if (status)
        comm_give_up(b.comm);
    bench_close(&b);
    return status;
}
