/* SPDX-License-Identifier: MIT
 *
 * `muster bench comm`: has ranks time every collective. Numbers are checked here, so that a wrong one is told
 * before anything is started; the ranks print the table themselves.
 */
#include "coordinator/cli/cli_bench.h"

#include <inttypes.h>
#include <string.h>

#include "coordinator/cli/cli_options.h"

static const char comm_usage[] =
    "usage: muster bench comm [-n RANKS] [--min BYTES] [--max BYTES] [--iterations N] [--backend mpi|nccl]\n"
    "                         [--hierarchy auto|off] [--hostfile FILE] [--json | --csv]\n"
    "\n"
    "Times every collective, each size four times the one before, in the columns of nccl-tests: algbw is\n"
    "bytes over time, busbw what a link would have to carry for it. exact_reduce_scatter is what a step "
    "uses.\n"
    "\n"
    "  -n, --ranks N              how many ranks (2)\n"
    "      --min, --max BYTES     of the whole buffer (1024 to 67108864)\n"
    "      --iterations N         timed together (as many as fill a fifth of a second)\n"
    "      --backend mpi|nccl     between processes, or between GPUs (mpi)\n"
    "      --hierarchy auto|off   over MPI: whether the ranks of a host add first (auto)\n"
    "      --hostfile FILE        hosts as mpirun reads them\n"
    "      --json, --csv          for programs\n"
    "  -h, --help                 this text\n"
    "\n"
    "example:\n"
    "  muster bench comm -n 2 --max 500000000\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 the options are wrong\n";

struct comm_words {
    int64_t ranks, min_bytes, max_bytes, iterations;
    const char *backend, *hierarchy, *hostfile;
    bool json, csv;
};

static bool word_is(const char *word, const char *first, const char *second)
{
    return strcmp(word, first) == 0 || strcmp(word, second) == 0;
}

static enum muster_status words_check(const struct comm_words *words, struct muster_error *err)
{
    if (!word_is(words->backend, "mpi", "nccl"))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--backend: \"%.32s\" is neither mpi nor nccl",
                                words->backend);
    if (!word_is(words->hierarchy, "auto", "off"))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--hierarchy: \"%.32s\" is neither auto nor off",
                                words->hierarchy);
    if (words->min_bytes > words->max_bytes)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--min %" PRId64 " is above --max %" PRId64,
                                words->min_bytes, words->max_bytes);
    if (words->json && words->csv)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--json and --csv exclude each other");
    return MUSTER_OK;
}

static int words_run(struct cli *cli, const struct comm_words *words)
{
    enum { WORD_COUNT = 6, WORD_BYTES = 64 };
    char word[WORD_COUNT][WORD_BYTES];
    snprintf(word[0], WORD_BYTES, "--min=%" PRId64, words->min_bytes);
    snprintf(word[1], WORD_BYTES, "--max=%" PRId64, words->max_bytes);
    snprintf(word[2], WORD_BYTES, "--iterations=%" PRId64, words->iterations);
    snprintf(word[3], WORD_BYTES, "--backend=%.32s", words->backend);
    snprintf(word[4], WORD_BYTES, "--hierarchy=%.32s", words->hierarchy);
    snprintf(word[5], WORD_BYTES, "--format=%s", words->json ? "json" : words->csv ? "csv" : "table");
    const char *const argv[] = {"--bench-comm", word[0], word[1], word[2], word[3], word[4], word[5], NULL};
    return cli_bench_start(cli, (int)words->ranks, words->hostfile, false, argv);
}

static int comm_run(struct cli *cli, int argc, char **argv)
{
    struct comm_words words = {
        .ranks = 2, .min_bytes = 1 << 10, .max_bytes = 64 << 20, .backend = "mpi", .hierarchy = "auto"};
    const struct cli_option options[] = {
        CLI_OPTION_RANKS(&words.ranks),
        {.name = "min", .kind = CLI_OPTION_INT, .value = &words.min_bytes, .min = 4, .max = 1e12},
        {.name = "max", .kind = CLI_OPTION_INT, .value = &words.max_bytes, .min = 4, .max = 1e12},
        {.name = "iterations", .kind = CLI_OPTION_INT, .value = &words.iterations, .min = 0, .max = 1e6},
        {.name = "backend", .kind = CLI_OPTION_TEXT, .value = &words.backend},
        {.name = "hierarchy", .kind = CLI_OPTION_TEXT, .value = &words.hierarchy},
        {.name = "hostfile", .kind = CLI_OPTION_TEXT, .value = &words.hostfile},
        {.name = "json", .kind = CLI_OPTION_FLAG, .value = &words.json},
        {.name = "csv", .kind = CLI_OPTION_FLAG, .value = &words.csv},
    };
    struct cli_operands operands;
    struct muster_error err = {.status = MUSTER_OK};
    int exit_code;
    if (!cli_options_parse(cli, options, sizeof options / sizeof options[0], argc, argv, &operands,
                           &exit_code) ||
        !cli_operands_count(cli, &operands, 0, 0, "no operand", &exit_code))
        return exit_code;
    if (words_check(&words, &err) != MUSTER_OK)
        return cli_fail_usage(cli, &err);
    return words_run(cli, &words);
}

const struct cli_verb cli_bench_comm = {
    .name = "bench comm",
    .summary = "time every collective",
    .usage = comm_usage,
    .run = comm_run,
};
