/* SPDX-License-Identifier: MIT
 *
 * See comm_case.h. All of these end with comm_end_before, which communicators on device memory need before
 * anybody looks.
 */
#include "tests/comm/comm_case.h"

#include <string.h>

#include "base/alloc.h"
#include "tests/comm/mpi_check.h"

enum { FLOATS_MAX = 4096 };

int64_t pair_bytes(int r, int s)
{
    return (r * 7 + s * 3) % 11 * 5;
}

unsigned char pair_byte(int r, int s, int64_t i)
{
    return (unsigned char)(r * 31 + s * 17 + (int)i);
}

static void *biased(const void *pointer, uintptr_t bias)
{
    return (void *)((uintptr_t)pointer + bias);
}

static void calls_end(struct comm *c)
{
    struct muster_error err = {0};
    mpi_check_ok(comm_end_before(c, NULL, &err), err);
}

void broadcast_check(struct comm *c, uintptr_t device_bias)
{
    struct muster_error err = {0};
    for (int root = 0; root < c->size; root++)
        for (int bytes = 0; bytes <= 41; bytes++) {
            unsigned char data[42];
            for (int i = 0; i < 42; i++)
                data[i] = c->rank == root ? (unsigned char)(i + root) : 255;
            mpi_check_ok(comm_broadcast(c, biased(data, device_bias), bytes, root, &err), err);
            calls_end(c);
            for (int i = 0; i < 42; i++)
                mpi_check(data[i] == (i < bytes || c->rank == root ? i + root : 255));
        }
}

/* Trials 0 to 3 have uneven and empty blocks, 4 uneven ones, 5 equal ones, 6 only empty ones. */
static int64_t gather_bytes(int trial, int r)
{
    return trial == 6 ? 0 : trial == 5 ? 12 : (r * 13 + trial * 7) % 5 * 10 + (trial == 4 ? 3 : 0);
}

void all_gather_check(struct comm *c, uintptr_t device_bias)
{
    struct muster_error err = {0};
    for (int trial = 0; trial < 7; trial++) {
        unsigned char all[COMM_CASE_RANKS_MAX * 64];
        int64_t counts[COMM_CASE_RANKS_MAX], total = 0;
        memset(all, 255, sizeof(all));
        for (int r = 0; r < c->size; r++) {
            counts[r] = gather_bytes(trial, r);
            for (int64_t i = 0; i < counts[r] && r == c->rank; i++)
                all[total + i] = pair_byte(r, trial, i);
            total += counts[r];
        }
        mpi_check_ok(comm_all_gather(c, biased(all, device_bias), counts, &err), err);
        calls_end(c);
        for (int64_t r = 0, at = 0; r < c->size; r++)
            for (int64_t i = 0; i < counts[r]; i++)
                mpi_check(all[at++] == pair_byte((int)r, trial, i));
        mpi_check(all[total] == 255);
    }
}

void exchange_check(struct comm *c, uintptr_t device_bias)
{
    struct muster_error err = {0};
    static unsigned char out[COMM_CASE_RANKS_MAX][64], in[COMM_CASE_RANKS_MAX][64];
    const void *send[COMM_CASE_RANKS_MAX];
    void *receive[COMM_CASE_RANKS_MAX];
    int64_t send_bytes[COMM_CASE_RANKS_MAX], receive_bytes[COMM_CASE_RANKS_MAX], sent = 0;
    memset(in, 255, sizeof(in));
    for (int r = 0; r < c->size; r++) {
        send_bytes[r] = pair_bytes(c->rank, r);
        receive_bytes[r] = pair_bytes(r, c->rank);
        for (int64_t i = 0; i < send_bytes[r]; i++)
            out[r][i] = pair_byte(c->rank, r, i);
        send[r] = send_bytes[r] > 0 ? biased(out[r], device_bias) : NULL;
        receive[r] = biased(in[r], device_bias);
        sent += r == c->rank ? 0 : send_bytes[r];
    }
    int64_t calls = alloc_call_count(), sequence = c->sequence, sent_before = c->bytes_sent;
    for (int again = 0; again < 3; again++)
        mpi_check_ok(comm_exchange(c, send, send_bytes, receive, receive_bytes, &err), err);
    calls_end(c);
    mpi_check(alloc_call_count() == calls);
    mpi_check(c->sequence == sequence + 3 && c->bytes_sent == sent_before + 3 * sent);
    for (int r = 0; r < c->size; r++)
        for (int64_t i = 0; i < 64; i++)
            mpi_check(in[r][i] == (r != c->rank && i < receive_bytes[r] ? pair_byte(r, c->rank, i) : 255));
}

void reduce_scatter_check(struct comm *c, uintptr_t device_bias)
{
    struct muster_error err = {0};
    for (int trial = 0; trial < 6; trial++) { /* the last two with equal blocks */
        static float data[FLOATS_MAX], apart[64];
        int64_t counts[COMM_CASE_RANKS_MAX], total = 0, my_begin = 0;
        for (int r = 0; r < c->size; r++) {
            counts[r] = trial < 4 ? (r * 5 + trial * 3) % 7 : 6;
            my_begin = r == c->rank ? total : my_begin;
            total += counts[r];
        }
        for (int64_t i = 0; i < total; i++)
            data[i] = (float)(i * 10 + c->rank);
        float *mine = trial % 2 ? data + my_begin : apart;
        mpi_check_ok(
            comm_reduce_scatter_f32(c, biased(data, device_bias), counts, biased(mine, device_bias), &err),
            err);
        calls_end(c);
        for (int64_t i = 0; i < counts[c->rank]; i++)
            mpi_check(mine[i] == (float)((my_begin + i) * 10 * c->size + c->size * (c->size - 1) / 2));
    }
}

void all_reduce_check(struct comm *c, uintptr_t device_bias)
{
    struct muster_error err = {0};
    for (int count = 0; count <= 23; count++) {
        float data[24];
        for (int i = 0; i < 24; i++)
            data[i] = (float)(i * 100 + c->rank);
        mpi_check_ok(comm_all_reduce_f32(c, biased(data, device_bias), count, &err), err);
        calls_end(c);
        for (int i = 0; i < count; i++)
            mpi_check(data[i] == (float)(i * 100 * c->size + c->size * (c->size - 1) / 2));
        mpi_check(data[23] == (float)(2300 + c->rank));
    }
}

/* Longer than what a host's shared memory, a piece and a short message hold. */
void long_sums_check(struct comm *c)
{
    struct muster_error err = {0};
    int64_t count = 1100003, counts[COMM_CASE_RANKS_MAX], begin = 0;
    float *data = alloc_zeroed((size_t)count, sizeof(float));
    mpi_check(data != NULL);
    for (int again = 0; again < 2; again++) {
        for (int64_t i = 0; i < count; i++)
            data[i] = (float)(i % 1000 + c->rank);
        mpi_check_ok(comm_all_reduce_f32(c, data, count, &err), err);
        for (int64_t i = 0; i < count; i++)
            mpi_check(data[i] == (float)(i % 1000 * c->size + c->size * (c->size - 1) / 2));
    }
    for (int r = 0; r < c->size; r++)
        counts[r] = (count / 3 + r) * (int64_t)sizeof(float) / (c->size + r) / 4 * 4;
    for (int r = 0; r < c->rank; r++)
        begin += counts[r] / 4;
    for (int64_t i = 0; i < counts[c->rank] / 4; i++)
        data[begin + i] = (float)(i + c->rank);
    mpi_check_ok(comm_all_gather(c, data, counts, &err), err);
    const float *at = data;
    for (int r = 0; r < c->size; at += counts[r++] / 4)
        for (int64_t i = 0; i < counts[r] / 4; i++)
            mpi_check(at[i] == (float)(i + r));
    alloc_free(data);
}

void collectives_check(struct comm *c, uintptr_t device_bias)
{
    struct muster_error err = {0};
    mpi_check_ok(comm_begin_after(c, NULL, &err), err);
    broadcast_check(c, device_bias);
    all_gather_check(c, device_bias);
    exchange_check(c, device_bias);
    reduce_scatter_check(c, device_bias);
    all_reduce_check(c, device_bias);
    mpi_check_ok(comm_barrier(c, &err), err);
}
