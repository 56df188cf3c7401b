/* SPDX-License-Identifier: MIT
 *
 * `muster bench comm`: has ranks time every collective. Numbers are checked here, so that a wrong one is told
 * before anything is started; the ranks print the table themselves.
 */
#include "coordinator/cli/cli_bench.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/cli/cli_options.h"

enum { NUMBER_TEXT = 24 };

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
    char min[NUMBER_TEXT], max[NUMBER_TEXT], iterations[NUMBER_TEXT];
    snprintf(min, sizeof min, "%" PRId64, words->min_bytes);
    snprintf(max, sizeof max, "%" PRId64, words->max_bytes);
    snprintf(iterations, sizeof iterations, "%" PRId64, words->iterations);
    const char *const argv[] = {"--bench-comm",
                                "--min",
                                min,
                                "--max",
                                max,
                                "--iterations",
                                iterations,
                                "--backend",
                                words->backend,
                                "--hierarchy",
                                words->hierarchy,
                                "--format",
                                words->json  ? "json"
                                : words->csv ? "csv"
                                             : "table",
                                NULL};
    return cli_bench_start(cli, (int)words->ranks, words->hostfile, argv);
}

int cli_bench_comm(struct cli *cli, int argc, char **argv)
{
    struct comm_words words = {
        .ranks = 2, .min_bytes = 1 << 10, .max_bytes = 64 << 20, .backend = "mpi", .hierarchy = "auto"};
    const struct cli_option options[] = {
        {.name = "ranks",
         .letter = 'n',
         .kind = CLI_OPTION_INT,
         .value = &words.ranks,
         .min = 1,
         .max = 65536},
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
