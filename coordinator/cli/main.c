/* SPDX-License-Identifier: MIT
 *
 * muster: the coordinator. This file is the table of verbs and what is said without one; each verb is a
 * file of its own (cli_VERB.c). No MPI and no CUDA are linked: it starts in a millisecond on a login node.
 */
#include <string.h>

#include "coordinator/cli/cli.h"

static const struct cli_verb *const verbs[] = {
    &cli_verb_check, &cli_verb_plan, &cli_verb_run,    &cli_verb_submit,   &cli_verb_status, &cli_verb_cancel,
    &cli_verb_ckpt,  &cli_verb_data, &cli_verb_doctor, &cli_verb_generate, &cli_verb_scale,  &cli_verb_bench,
};
enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static int usage(FILE *out, int exit_code)
{
    fputs("usage: muster VERB …\n"
          "\n"
          "Trains neural networks on many machines; the result does not depend on how many.\n"
          "\n",
          out);
    for (int i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\n"
          "  muster VERB --help   what a verb takes, with an example\n"
          "  muster --version\n"
          "\n"
          "example:\n"
          "  muster run configs/quickstart.yaml -n 2\n"
          "\n"
          "exit codes: 0 done, 1 failed, 2 bad input, 75 stopped with a checkpoint (the same command "
          "continues)\n",
          out);
    return exit_code;
}

static int verb_unknown(const char *word, FILE *err)
{
    const char *names[VERB_COUNT];
    for (int i = 0; i < VERB_COUNT; i++)
        names[i] = verbs[i]->name;
    const char *near = text_nearest(word, names, VERB_COUNT);
    fprintf(err, "muster: unknown %s \"%s\"", word[0] == '-' ? "option" : "verb", word);
    if (near != NULL)
        fprintf(err, "; did you mean %s?", near);
    fputs("\nTry: muster --help\n", err);
    return MUSTER_EXIT_BAD_INPUT;
}

int main(int argc, char **argv)
{
    struct cli cli = {.out = stdout, .err = stderr};
    if (argc < 2)
        return usage(stderr, MUSTER_EXIT_BAD_INPUT);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout, MUSTER_EXIT_DONE);
    if (strcmp(argv[1], "--version") == 0) {
        puts("muster " MUSTER_VERSION);
        return MUSTER_EXIT_DONE;
    }
    bool help = strcmp(argv[1], "help") == 0; /* `muster help VERB`, as people say it elsewhere */
    char option[] = "--help", *words[] = {argc > 2 ? argv[2] : NULL, option, NULL};
    if (help && argc == 2)
        return usage(stdout, MUSTER_EXIT_DONE);
    const char *name = help ? argv[2] : argv[1];
    for (int i = 0; i < VERB_COUNT; i++) {
        if (strcmp(name, verbs[i]->name) != 0)
            continue;
        cli.verb = verbs[i];
        return help ? cli.verb->run(&cli, 2, words) : cli.verb->run(&cli, argc - 1, argv + 1);
    }
    return verb_unknown(name, stderr);
}
