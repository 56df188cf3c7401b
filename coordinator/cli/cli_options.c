/* SPDX-License-Identifier: MIT
 *
 * Why not getopt_long: it prints by itself, keeps global state, and guesses at abbreviated names, where a
 * misspelt option should be met with the right one.
 */
#include "coordinator/cli/cli_options.h"

#include <string.h>

enum { OPTIONS_MAX = 16 };

static const struct cli_option help_option = {.name = "help", .letter = 'h', .kind = CLI_OPTION_FLAG};

struct parsing {
    const struct cli_option *options;
    int count;
    char **argv;
    int argc, at;
    bool help;
};

static const struct cli_option *option_by_name(const struct parsing *parsing, const char *name, size_t length)
{
    for (int i = 0; i < parsing->count; i++) {
        const char *candidate = parsing->options[i].name;
        if (strlen(candidate) == length && memcmp(candidate, name, length) == 0)
            return &parsing->options[i];
    }
    return length == 4 && memcmp(name, "help", 4) == 0 ? &help_option : NULL;
}

static const struct cli_option *option_by_letter(const struct parsing *parsing, char letter)
{
    for (int i = 0; i < parsing->count; i++) {
        if (parsing->options[i].letter == letter)
            return &parsing->options[i];
    }
    return letter == help_option.letter ? &help_option : NULL;
}

static enum muster_status option_unknown(const struct parsing *parsing, const char *word, size_t name_length,
                                         struct muster_error *err)
{
    const char *names[OPTIONS_MAX + 1];
    char name[64];
    size_t count = 0;
    for (int i = 0; i < parsing->count && count < OPTIONS_MAX; i++)
        names[count++] = parsing->options[i].name;
    names[count++] = help_option.name;
    const char *near = NULL;
    if (word[1] == '-' && name_length < sizeof name) {
        memcpy(name, word + 2, name_length);
        name[name_length] = '\0';
        near = text_nearest(name, names, count);
    }
    if (near != NULL)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "unknown option %s; did you mean --%s?", word,
                                near);
    if (memchr(word, '.', 2 + name_length) != NULL && option_by_name(parsing, "set", 3) != NULL)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                "unknown option %s; a key of the job is set by --set KEY=VALUE", word);
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "unknown option %s", word);
}

static enum muster_status option_store(const struct cli_option *option, const char *value,
                                       struct muster_error *err)
{
    double number = 0;
    int64_t integer = 0;
    switch (option->kind) {
    case CLI_OPTION_FLAG:
        *(bool *)option->value = true;
        return MUSTER_OK;
    case CLI_OPTION_TEXT:
        *(const char **)option->value = value;
        return MUSTER_OK;
    case CLI_OPTION_SET:
        if (!job_settings_add(option->value, value))
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "more than %d --%s; write a job file",
                                    JOB_SETTINGS_MAX, option->name);
        return MUSTER_OK;
    case CLI_OPTION_INT:
        if (!text_parse_int64(value, &integer) || (double)integer < option->min ||
            (double)integer > option->max)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "--%s: \"%s\" is not a whole number from %.0f to %.0f", option->name,
                                    value, option->min, option->max);
        *(int64_t *)option->value = integer;
        return MUSTER_OK;
    case CLI_OPTION_NUMBER:
        break;
    }
    if (!text_parse_double(value, &number) || number < option->min || number > option->max)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--%s: \"%s\" is not a number from %g to %g",
                                option->name, value, option->min, option->max);
    *(double *)option->value = number;
    return MUSTER_OK;
}

/* The option word at `at` and its value, which may be the next word. */
static enum muster_status option_read(struct parsing *parsing, struct muster_error *err)
{
    const char *word = parsing->argv[parsing->at], *attached = NULL;
    const struct cli_option *option;
    bool is_long = word[1] == '-';
    size_t name_length = is_long ? strcspn(word + 2, "=") : 1;
    if (is_long) {
        option = option_by_name(parsing, word + 2, name_length);
        attached = word[2 + name_length] == '=' ? word + 3 + name_length : NULL;
    } else {
        option = option_by_letter(parsing, word[1]);
        bool as_mpirun = strcmp(word, "-np") == 0; /* who comes from mpirun writes -n so */
        attached = word[2] != '\0' && !as_mpirun ? word + 2 : NULL;
    }
    if (option == NULL)
        return option_unknown(parsing, word, name_length, err);
    if (option->kind == CLI_OPTION_FLAG && attached != NULL)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--%s takes no value", option->name);
    if (option == &help_option) {
        parsing->help = true;
        return MUSTER_OK;
    }
    if (option->kind != CLI_OPTION_FLAG && attached == NULL) {
        if (parsing->at + 1 >= parsing->argc)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "--%s needs a value", option->name);
        attached = parsing->argv[++parsing->at];
    }
    return option_store(option, attached, err);
}

bool cli_options_parse(struct cli *cli, const struct cli_option *options, int count, int argc, char **argv,
                       struct cli_operands *operands, int *exit_code)
{
    struct parsing parsing = {.options = options, .count = count, .argv = argv, .argc = argc, .at = 1};
    struct muster_error err = {.status = MUSTER_OK};
    enum muster_status status = MUSTER_OK;
    bool dashes = false;
    *operands = (struct cli_operands){.items = argv + 1};
    for (; parsing.at < argc && status == MUSTER_OK && !parsing.help; parsing.at++) {
        char *word = argv[parsing.at];
        if (!dashes && strcmp(word, "--") == 0)
            dashes = true;
        else if (!dashes && word[0] == '-' && word[1] != '\0')
            status = option_read(&parsing, &err);
        else
            operands->items[operands->count++] = word;
        if (!dashes)
            operands->count_before_dashes = operands->count;
    }
    *exit_code = MUSTER_EXIT_DONE;
    if (status != MUSTER_OK)
        *exit_code = cli_fail_usage(cli, &err);
    else if (parsing.help)
        fputs(cli->verb->usage, cli->out);
    return status == MUSTER_OK && !parsing.help;
}

char *const *cli_operands_split(struct cli_operands *operands, int *count)
{
    *count = operands->count - operands->count_before_dashes;
    operands->count = operands->count_before_dashes;
    return operands->items + operands->count;
}

int cli_action_find(struct cli *cli, int argc, char **argv, const char *const *names, int count,
                    int *exit_code)
{
    struct muster_error err;
    struct cli_operands operands;
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word != NULL && word[0] == '-' && !cli_options_parse(cli, NULL, 0, argc, argv, &operands, exit_code))
        return -1;
    for (int i = 0; word != NULL && i < count; i++) {
        if (strcmp(word, names[i]) == 0)
            return i;
    }
    const char *near = word != NULL ? text_nearest(word, names, (size_t)count) : NULL;
    if (near != NULL)
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "unknown action \"%s\"; did you mean %s?", word, near);
    else if (word != NULL)
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "unknown action \"%s\"", word);
    else
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "an action is missing");
    *exit_code = cli_fail_usage(cli, &err);
    return -1;
}

bool cli_operands_count(struct cli *cli, const struct cli_operands *operands, int min, int max,
                        const char *what, int *exit_code)
{
    struct muster_error err;
    if (operands->count >= min && operands->count <= max)
        return true;
    const char *odd = operands->count > max ? operands->items[max] : "";
    if (operands->count < min)
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "%s is missing", what);
    else if (odd[strspn(odd, "abcdefghijklmnopqrstuvwxyz_.")] == '=' &&
             strstr(cli->verb->usage, "--set ") != NULL)
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT,
                         "\"%s\" is one word too many; a key of the job is set by --set %s", odd, odd);
    else
        muster_error_set(&err, MUSTER_ERR_BAD_INPUT, "\"%s\" is one word too many", odd);
    *exit_code = cli_fail_usage(cli, &err);
    return false;
}
