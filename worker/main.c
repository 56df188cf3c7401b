/* SPDX-License-Identifier: MIT
 *
 * muster-worker: one rank. `mpirun -n 8 muster-worker job.yaml` trains without the coordinator process too.
 * Here, and only here, errors are printed and the process exits.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "comm/comm.h"
#include "worker/measure/bench_comm.h"
#include "worker/doctor/doctor.h"
#include "worker/fault_point.h"
#include "worker/generate.h"
#include "worker/measure/measure.h"
#include "worker/watch/start_watch.h"
#include "worker/trainer.h"

static int worker_usage(FILE *out, int code)
{
    fputs("usage: mpirun -n RANKS muster-worker JOB.yaml [--set KEY=VALUE]... [--resume auto|never|FOLDER] "
          "[--own-first] [--instruction-set NAME] [--allow-change KEY,...]\n"
          "       muster-worker --generate PATH [--prompt TEXT] [--tokens N] [--temperature T] [--top-k K] "
          "[--seed S]\n"
          "       mpirun -n RANKS muster-worker --doctor [--floor GB_PER_S] [JOB.yaml [--set KEY=VALUE]...]\n"
          "\n"
          "One rank of a training run. Usually started by `muster run`. With --own-first, what the run has "
          "saved "
          "since goes before what --resume says.\n"
          "example: mpirun -n 2 muster-worker configs/quickstart.yaml\n"
          "exit codes: 0 done, 1 failed, 2 bad input, 75 stopped with a checkpoint (the same command "
          "continues), 76 ended because another rank is lost\n",
          out);
    return code;
}

static int worker_generate(int argc, char **argv)
{
    struct generate_options options = {
        .prompt = "", .token_count = 200, .temperature = 0.8, .top_k = 0, .seed = 1};
    options.path = argc > 2 ? argv[2] : NULL;
    double number = 0.0;
    for (int i = 3; i + 1 < argc; i += 2) {
        bool ok = true;
        if (!strcmp(argv[i], "--prompt"))
            options.prompt = argv[i + 1];
        else if (!strcmp(argv[i], "--tokens"))
            ok = text_parse_int64(argv[i + 1], &options.token_count) && options.token_count >= 0;
        else if (!strcmp(argv[i], "--temperature"))
            ok = text_parse_double(argv[i + 1], &options.temperature);
        else if (!strcmp(argv[i], "--top-k"))
            ok = text_parse_int64(argv[i + 1], &options.top_k);
        else if (!strcmp(argv[i], "--seed") && (ok = text_parse_double(argv[i + 1], &number)))
            options.seed = (uint64_t)number;
        else
            ok = false;
        if (!ok)
            return worker_usage(stderr, MUSTER_EXIT_BAD_INPUT);
    }
    if (!options.path || argc % 2 == 0)
        return worker_usage(stderr, MUSTER_EXIT_BAD_INPUT);
    struct text out;
    struct muster_error err = {0};
    text_init(&out);
    enum muster_status status = generate_run(&options, &out, &err);
    if (!status) {
        fwrite(out.data, 1, out.length, stdout);
        fputc('\n', stdout);
        if (fflush(stdout) != 0)
            status = muster_error_set_errno(&err, errno, "write the output");
    }
    if (status)
        fprintf(stderr, "muster-worker: %s\n", err.text);
    text_release(&out);
    return muster_status_exit_code(status);
}

/* What `muster bench comm` starts. */
static int worker_bench_comm(int argc, char **argv)
{
    struct bench_comm_options options = {.min_bytes = 1 << 10, .max_bytes = 64 << 20, .hierarchy = true};
    struct muster_error err = {0};
    struct comm *comm = NULL;
    enum muster_status status = bench_comm_parse(argc, argv, &options, &err);
    if (!status)
        status = comm_mpi_create(&comm, &err);
    if (!status)
        status = bench_comm_run(comm, &options, stdout, &err);
    bool shared = status == MUSTER_ERR_BAD_INPUT;
    if (status && (!shared || !comm || comm->rank == 0))
        fprintf(stderr, "muster-worker: %s\n", err.text);
    if (status && comm && !shared)
        comm_abort(comm, muster_status_exit_code(status));
    comm_destroy(comm);
    return muster_status_exit_code(status);
}

/* What `muster bench machine` starts: --measure FILE cpu|cuda full|brief, then --measure-link FILE as two
 * ranks. */
static int worker_measure(int argc, char **argv)
{
    struct muster_error err = {0};
    struct comm *comm = NULL;
    enum muster_status status = MUSTER_ERR_BAD_INPUT;
    if (argc == 5 && !strcmp(argv[1], "--measure")) {
        status = measure_machine(argv[2], !strcmp(argv[3], "cuda"), !strcmp(argv[4], "brief"), &err);
    } else if (argc == 3 && !strcmp(argv[1], "--measure-link")) {
        status = comm_mpi_create(&comm, &err);
        if (!status)
            status = measure_add_link(comm, argv[2], &err);
    } else {
        return worker_usage(stderr, MUSTER_EXIT_BAD_INPUT);
    }
    if (status)
        fprintf(stderr, "muster-worker: %s\n", err.text);
    comm_destroy(comm);
    return muster_status_exit_code(status);
}

static bool worker_parse(int argc, char **argv, struct trainer_options *options)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--resume") && i + 1 < argc)
            options->resume = argv[++i];
        else if (!strcmp(argv[i], "--own-first"))
            options->own_first = true;
        else if (!strcmp(argv[i], "--allow-change") && i + 1 < argc)
            options->allow_changes = argv[++i];
        else if (!strcmp(argv[i], "--set") && i + 1 < argc &&
                 job_settings_add(&options->settings, argv[i + 1]))
            i++;
        else if (!strcmp(argv[i], "--instruction-set") && i + 1 < argc)
            options->instruction_set = argv[++i];
        else if (argv[i][0] != '-' && !options->job_path)
            options->job_path = argv[i];
        else
            return false;
    }
    return options->job_path != NULL;
}

/* Errors every rank has alike end the job quietly after rank 0 has spoken; one rank's own error takes all the
 * others with it. A number that went wrong is the same on all ranks to the last bit. */
static bool worker_error_is_shared(enum muster_status status, const struct muster_error *err)
{
    return status == MUSTER_OK || status == MUSTER_ERR_CANCELLED || status == MUSTER_ERR_NUMERIC ||
           (status == MUSTER_ERR_BAD_INPUT && err->agreed);
}

/* From watching threads: whatever the others are stuck in must not matter. */
static void worker_end(int exit_code)
{
    _exit(exit_code);
}

static void worker_lost(const char *text)
{
    fprintf(stderr, "muster-worker: %s\n", text);
    worker_end(MUSTER_EXIT_LOST);
}

/* NCCL sees that a rank is gone before that rank's other connections end, and a GPU that was reading its
 * neighbour's memory faults then: both wait for news of others, and who merely lost one waits longer than who
 * may have failed by itself. */
static double worker_doubt_s(enum muster_status status)
{
    return status == MUSTER_ERR_PEER ? 3.0 : status == MUSTER_ERR_INTERNAL ? 1.0 : 0.0;
}

/* A failed rank's release may wait for ever, for a GPU whose operation never ends. */
enum { RELEASE_S = 8 };

static void *worker_end_late(void *exit_code)
{
    struct timespec left = {.tv_sec = RELEASE_S};
    while (nanosleep(&left, &left) != 0)
        continue;
    worker_end(*(int *)exit_code);
    return NULL;
}

/* What went wrong on this rank, to the person and to the other ranks; \param shared  all ranks say the same
 */
static void worker_tell(const struct comm *comm, bool shared, enum muster_status status,
                        const struct muster_error *err, struct watchdog *watchdog)
{
    char host[64] = "";
    if (shared && comm->rank != 0)
        return;
    gethostname(host, sizeof host - 1);
    if (comm->size > 1 && !shared)
        fprintf(stderr, "muster-worker: rank %d (%s): %s\n", comm->rank, host, err->text);
    else
        fprintf(stderr, "muster-worker: %s\n", err->text);
    log_console_level_set(LOG_SILENT); /* already said; the log file keeps it */
    log_error("%s: %s", muster_status_name(status), err->text);
    if (!shared)
        watchdog_failed(watchdog, err->text);
    fflush(NULL);
}

static int worker_train(struct trainer_options *options)
{
    struct muster_error err = {0};
    struct comm *comm = NULL;
    struct text report;
    text_init(&report);
    bool finished = false, training = false;
    struct watchdog *watchdog = NULL;
    struct trainer *trainer = NULL;
    options->end = worker_end;
    options->watchdog = &watchdog;
    options->report = &report;
    options->finished = &finished;
    options->training = &training;
    struct start_watch watch;
    start_watch_begin(&watch, worker_lost);
    enum muster_status status = comm_mpi_create(&comm, &err);
    start_watch_end(&watch);
    if (status) {
        fprintf(stderr, "muster-worker: %s\n", err.text);
        return muster_status_exit_code(status);
    }
    if (comm->rank != 0)
        log_console_level_set(LOG_SILENT); /* warnings of all ranks are alike: one speaks */
    fault_point_collectives(comm);
    status = trainer_run(comm, options, &trainer, &err);
    int code = muster_status_exit_code(status);
    if (status == MUSTER_ERR_NO_MEMORY && training)
        code = MUSTER_EXIT_FAILED;
    if (report.length > 0)
        fputs(report.data, stderr);
    text_release(&report);
    bool shared = finished || worker_error_is_shared(status, &err);
    pthread_t late;
    if (!shared)
        watchdog_await(watchdog, worker_doubt_s(status));
    if (status)
        worker_tell(comm, shared, status, &err, watchdog);
    if (!shared && pthread_create(&late, NULL, worker_end_late, &code) == 0)
        pthread_detach(late);
    trainer_destroy(trainer);
    if (!shared)
        comm_abort(comm, code);
    watchdog_comms_set(watchdog, NULL, NULL);
    fault_point("finalize");
    comm_destroy(comm);
    watchdog_destroy(watchdog);
    return code;
}

/* --doctor [--floor GB_PER_S] [JOB.yaml]; 2 = a line is red. */
static int worker_doctor(int argc, char **argv)
{
    struct doctor_options options = {.floor_gb_per_s = 0.0};
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--floor") && i + 1 < argc) {
            if (!text_parse_double(argv[++i], &options.floor_gb_per_s))
                return worker_usage(stderr, MUSTER_EXIT_BAD_INPUT);
        } else if (!strcmp(argv[i], "--set") && i + 1 < argc) {
            if (!job_settings_add(&options.settings, argv[++i]))
                return worker_usage(stderr, MUSTER_EXIT_BAD_INPUT);
        } else {
            options.job_path = argv[i];
        }
    }
    struct muster_error err = {0};
    struct comm *comm = NULL;
    struct text out;
    int red_count = 0;
    text_init(&out);
    enum muster_status status = comm_mpi_create(&comm, &err);
    if (!status && comm->rank != 0)
        log_console_level_set(LOG_SILENT);
    if (!status)
        status = doctor_run(comm, &options, &out, &red_count, &err);
    if (!status && comm->rank == 0)
        fputs(out.data, stdout);
    text_release(&out);
    if (status)
        fprintf(stderr, "muster-worker: %s\n", err.text);
    if (status && comm)
        comm_abort(comm, MUSTER_EXIT_FAILED);
    comm_destroy(comm);
    return status || red_count > 0 ? MUSTER_EXIT_BAD_INPUT : MUSTER_EXIT_DONE;
}

int main(int argc, char **argv)
{
    double launched_s = clock_seconds();
    if (argc > 1 && !strcmp(argv[1], "--help"))
        return worker_usage(stdout, MUSTER_EXIT_DONE);
    if (argc > 1 && !strcmp(argv[1], "--generate"))
        return worker_generate(argc, argv);
    if (argc > 1 && !strcmp(argv[1], "--doctor"))
        return worker_doctor(argc, argv);
    if (argc > 1 && !strcmp(argv[1], "--bench-comm"))
        return worker_bench_comm(argc - 1, argv + 1);
    if (argc > 1 && !strncmp(argv[1], "--measure", 9))
        return worker_measure(argc, argv);
    struct stop_signal stop;
    stop_signal_init(&stop);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write, not the end */
    struct trainer_options options = {.stop = &stop, .launched_s = launched_s};
    const char *live = getenv("MUSTER_LIVE");
    options.live = live && !strcmp(live, "1");
    if (!worker_parse(argc, argv, &options))
        return worker_usage(stderr, MUSTER_EXIT_BAD_INPUT);
    struct muster_error err = {0};
    if (fault_point_init(&err)) {
        fprintf(stderr, "muster-worker: %s\n", err.text);
        return muster_status_exit_code(err.status);
    }
    fault_point("startup");
    return worker_train(&options);
}
