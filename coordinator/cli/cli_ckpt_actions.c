/* SPDX-License-Identifier: MIT
 *
 * The words of `muster ckpt inspect | diff | prune | export | import`; the work is in coordinator/ckpt/.
 */
#include "coordinator/cli/cli_ckpt.h"

#include <string.h>

#include "coordinator/ckpt/ckpt_tools.h"
#include "coordinator/cli/cli_job.h"

bool cli_ckpt_begin(struct cli_ckpt_action *action, struct cli *cli, const struct cli_option *options,
                    int option_count, int argc, char **argv, int operand_count, const char *operand)
{
    action->cli = cli;
    text_init(&action->text);
    return cli_options_parse(cli, options, option_count, argc, argv, &action->operands, &action->exit_code) &&
           cli_operands_count(cli, &action->operands, operand_count, operand_count, operand,
                              &action->exit_code);
}

int cli_ckpt_end(struct cli_ckpt_action *action, enum muster_status status)
{
    return cli_finish(action->cli, status, &action->err, &action->text);
}

static bool option_is_given(struct cli_ckpt_action *action, const char *value, const char *what)
{
    if (value != NULL)
        return true;
    muster_error_set(&action->err, MUSTER_ERR_BAD_INPUT, "%s is missing", what);
    action->exit_code = cli_fail_usage(action->cli, &action->err);
    return false;
}

/* The index of `word` among the names, or -1 after saying which there are. */
static int name_find(struct cli_ckpt_action *action, const char *option, const char *word,
                     const char *const *names, int count, const char *all)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(word, names[i]) == 0)
            return i;
    }
    muster_error_set(&action->err, MUSTER_ERR_BAD_INPUT, "%s: \"%.100s\" is none of %s", option, word, all);
    action->exit_code = cli_fail_usage(action->cli, &action->err);
    return -1;
}

/* inspect */

static const char inspect_usage[] =
    "usage: muster ckpt inspect PATH [--tensors] [--json]\n"
    "\n"
    "Tells what a checkpoint holds: step, tokens, hashes, numerics, writers, sizes. PATH is a checkpoint, or "
    "a\n"
    "run or folder of checkpoints, whose newest is taken. Nothing is verified: muster ckpt verify does "
    "that.\n"
    "\n"
    "      --tensors  read the data too: shape, least, greatest, mean and root mean square of every tensor,\n"
    "                 and how many of its elements are not numbers (NaN) or infinite\n"
    "      --json     for a program\n"
    "  -h, --help     this text\n"
    "\n"
    "example:\n"
    "  muster ckpt inspect out/quickstart --tensors\n"
    "\n"
    "exit codes: 0 done, 1 the checkpoint is damaged, 2 there is none\n";

static int inspect_run(struct cli *cli, int argc, char **argv)
{
    struct ckpt_inspect_options inspect = {.tensors = false};
    const struct cli_option options[] = {
        {.name = "tensors", .kind = CLI_OPTION_FLAG, .value = &inspect.tensors},
        {.name = "json", .kind = CLI_OPTION_FLAG, .value = &inspect.json},
    };
    struct cli_ckpt_action action;
    if (!cli_ckpt_begin(&action, cli, options, 2, argc, argv, 1, "the checkpoint"))
        return action.exit_code;
    return cli_ckpt_end(&action,
                        ckpt_command_inspect(action.operands.items[0], &inspect, &action.text, &action.err));
}

const struct cli_verb cli_ckpt_inspect = {
    .name = "ckpt inspect", .summary = "what is in a checkpoint", .usage = inspect_usage, .run = inspect_run};

/* diff */

static const char diff_usage[] =
    "usage: muster ckpt diff A B [--tolerance X]\n"
    "\n"
    "Compares two checkpoints (or the newest of two runs), however many ranks wrote each: the tensors that\n"
    "differ, with the largest absolute and relative difference, and the keys in which the two jobs differ.\n"
    "\n"
    "      --tolerance X  elements whose absolute or relative difference is at most X count as equal\n"
    "                     (0: every bit must be the same)\n"
    "  -h, --help         this text\n"
    "\n"
    "example:\n"
    "  muster ckpt diff out/one-rank out/four-ranks\n"
    "\n"
    "exit codes: 0 the states are equal (job keys do not count), 1 they differ or a checkpoint is damaged, "
    "2 there is\nno checkpoint\n";

static int diff_run(struct cli *cli, int argc, char **argv)
{
    double tolerance = 0;
    const struct cli_option options[] = {
        {.name = "tolerance", .kind = CLI_OPTION_NUMBER, .value = &tolerance, .max = 1e300},
    };
    struct cli_ckpt_action action;
    bool equal = false;
    if (!cli_ckpt_begin(&action, cli, options, 1, argc, argv, 2, "a checkpoint"))
        return action.exit_code;
    int exit_code =
        cli_ckpt_end(&action, ckpt_command_diff(action.operands.items[0], action.operands.items[1], tolerance,
                                                &equal, &action.text, &action.err));
    return exit_code == MUSTER_EXIT_DONE && !equal ? MUSTER_EXIT_FAILED : exit_code;
}

const struct cli_verb cli_ckpt_diff = {
    .name = "ckpt diff", .summary = "how two checkpoints differ", .usage = diff_usage, .run = diff_run};

/* prune */

static const char prune_usage[] =
    "usage: muster ckpt prune DIR --keep-last N [--keep-every K] [--keep-best B] [--dry-run]\n"
    "\n"
    "Removes old checkpoints of a run or folder. Those that stay are read and verified before anything goes; "
    "one\n"
    "that does not verify does not count. Two verified ones always stay.\n"
    "\n"
    "      --keep-last N   the newest N stay (at least 2)\n"
    "      --keep-every K  so do all whose step is a multiple of K (0: none)\n"
    "      --keep-best B   so do the B with the lowest validation loss (0)\n"
    "      --dry-run       only tell what would go\n"
    "  -h, --help          this text\n"
    "\n"
    "example:\n"
    "  muster ckpt prune out/quickstart --keep-last 3 --keep-every 1000 --dry-run\n"
    "\n"
    "exit codes: 0 done, 1 failed, or one that should stay does not verify, 2 there are no checkpoints\n";

static int prune_run(struct cli *cli, int argc, char **argv)
{
    struct ckpt_prune_options prune = {.keep_last = 0};
    const struct cli_option options[] = {
        {.name = "keep-last", .kind = CLI_OPTION_INT, .value = &prune.keep_last, .min = 2, .max = 1e9},
        {.name = "keep-every", .kind = CLI_OPTION_INT, .value = &prune.keep_every, .max = 1e15},
        {.name = "keep-best", .kind = CLI_OPTION_INT, .value = &prune.keep_best, .max = 1000000},
        {.name = "dry-run", .kind = CLI_OPTION_FLAG, .value = &prune.dry_run},
    };
    struct cli_ckpt_action action;
    if (!cli_ckpt_begin(&action, cli, options, 4, argc, argv, 1, "the folder") ||
        !option_is_given(&action, prune.keep_last > 0 ? "" : NULL, "--keep-last N"))
        return action.exit_code;
    return cli_ckpt_end(&action,
                        ckpt_command_prune(action.operands.items[0], &prune, &action.text, &action.err));
}

const struct cli_verb cli_ckpt_prune = {
    .name = "ckpt prune", .summary = "remove old checkpoints", .usage = prune_usage, .run = prune_run};

/* export */

static const char export_usage[] =
    "usage: muster ckpt export PATH --format hf|npz|h5 --output WHERE [--dtype fp32|bf16]\n"
    "\n"
    "Writes the weights of a checkpoint, which is verified first, for other programs. PATH is a checkpoint, "
    "or a\n"
    "run or folder of checkpoints, whose newest is taken. WHERE must not be there yet.\n"
    "\n"
    "  -f, --format F   hf: a folder for transformers (gpt as GPT2LMHeadModel, llama as LlamaForCausalLM);\n"
    "                   npz: one file for numpy.load, muster's own names; h5: the same as HDF5, where muster "
    "was\n"
    "                   built with it\n"
    "  -o, --output W   the folder or file\n"
    "      --dtype T    fp32, or bf16 with hf (fp32)\n"
    "  -h, --help       this text\n"
    "\n"
    "example:\n"
    "  muster ckpt export out/quickstart --format hf --output quickstart-hf\n"
    "\n"
    "exit codes: 0 done, 1 failed, or the checkpoint is damaged, 2 there is none, or the options are wrong\n";

static int export_run(struct cli *cli, int argc, char **argv)
{
    static const char *const formats[] = {"hf", "npz", "h5"}, *const dtypes[] = {"fp32", "bf16"};
    struct ckpt_export_options export = {.output = NULL};
    const char *format = NULL, *dtype = "fp32";
    const struct cli_option options[] = {
        {.name = "format", .letter = 'f', .kind = CLI_OPTION_TEXT, .value = &format},
        {.name = "output", .letter = 'o', .kind = CLI_OPTION_TEXT, .value = &export.output},
        {.name = "dtype", .kind = CLI_OPTION_TEXT, .value = &dtype},
    };
    struct cli_ckpt_action action;
    if (!cli_ckpt_begin(&action, cli, options, 3, argc, argv, 1, "the checkpoint") ||
        !option_is_given(&action, format, "--format hf|npz|h5") ||
        !option_is_given(&action, export.output, "--output"))
        return action.exit_code;
    int format_index = name_find(&action, "--format", format, formats, 3, "hf, npz, h5");
    int dtype_index = format_index < 0 ? -1 : name_find(&action, "--dtype", dtype, dtypes, 2, "fp32, bf16");
    if (dtype_index < 0)
        return action.exit_code;
    export.format = (enum ckpt_export_format)format_index;
    export.dtype = dtype_index == 1 ? DTYPE_BF16 : DTYPE_F32;
    return cli_ckpt_end(&action,
                        ckpt_command_export(action.operands.items[0], &export, &action.text, &action.err));
}

const struct cli_verb cli_ckpt_export = {
    .name = "ckpt export", .summary = "weights for other programs", .usage = export_usage, .run = export_run};

/* import */

static const char import_usage[] =
    "usage: muster ckpt import HF_FOLDER --job JOB.yaml [--output CHECKPOINT]\n"
    "\n"
    "Makes a Hugging Face model (GPT-2 or Llama; safetensors, fp32, bf16 or fp16, in one file or in shards) "
    "the\n"
    "start of a job: a checkpoint of step 0 with its weights and an optimizer that begins from zeros. Every "
    "key\n"
    "and tensor that does not fit the job is told; then nothing is written.\n"
    "\n"
    "  -j, --job JOB     the job; its model must have the same sizes (a larger vocabulary gets rows of "
    "zeros)\n"
    "  -o, --output C    the folder of the checkpoint, for checkpoint.resume (step 0 in the job's own "
    "folder,\n"
    "                    which muster run takes up by itself)\n"
    "  -h, --help        this text\n"
    "\n"
    "example:\n"
    "  muster ckpt import models/gpt2 --job configs/gpt2-124m.yaml\n"
    "  muster run configs/gpt2-124m.yaml -n 2\n"
    "\n"
    "exit codes: 0 done, 1 failed, or the files are damaged, 2 the model does not fit the job\n";

static int import_run(struct cli *cli, int argc, char **argv)
{
    const char *job_path = NULL, *output = NULL;
    const struct cli_option options[] = {
        {.name = "job", .letter = 'j', .kind = CLI_OPTION_TEXT, .value = &job_path},
        {.name = "output", .letter = 'o', .kind = CLI_OPTION_TEXT, .value = &output},
    };
    struct cli_ckpt_action action;
    struct cli_job job;
    struct text problems;
    if (!cli_ckpt_begin(&action, cli, options, 2, argc, argv, 1, "the Hugging Face folder") ||
        !option_is_given(&action, job_path, "--job JOB.yaml"))
        return action.exit_code;
    int exit_code = cli_job_open(cli, job_path, NULL, CLI_JOB_DATA_NEEDED, cli->err, &job);
    if (exit_code == MUSTER_EXIT_DONE) {
        text_init(&problems);
        enum muster_status status = ckpt_command_import(action.operands.items[0], job.job, &job.config,
                                                        output, &action.text, &problems, &action.err);
        fputs(problems.data, cli->err);
        text_release(&problems);
        exit_code = cli_ckpt_end(&action, status);
    }
    cli_job_release(&job);
    return exit_code;
}

const struct cli_verb cli_ckpt_import = {.name = "ckpt import",
                                         .summary = "a model as the start of a job",
                                         .usage = import_usage,
                                         .run = import_run};
