/* SPDX-License-Identifier: MIT
 *
 * What the guides say, held against the programs: commands have the verbs and options that --help knows, keys
 * are keys of a job, and the messages that CLUSTER.md explains are ones that the sources can print.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job_fields.h"
#include "tests/coordinator/program.h"
#include "tests/suite.h"

enum {
    FILE_BYTES_MAX = 1 << 24,
    LITERAL_MAX = 8192,
    SPAN_MAX = 600,
    WORD_MIN = 5,
    FRAGMENT_MIN = 8,
    ANYTHING = 1
};

static char *read_source(const char *path)
{
    char whole[FS_PATH_MAX], *bytes = NULL;
    size_t count;
    struct muster_error err = {0};
    ck_assert_msg(fs_path_join(whole, getenv("MUSTER_SOURCE"), path, &err) == MUSTER_OK, "%s", err.text);
    ck_assert_msg(fs_file_read(whole, FILE_BYTES_MAX, &bytes, &count, &err) == MUSTER_OK, "%s", err.text);
    return bytes;
}

/* Calls `each` for the files of a folder of the sources, and of the folders in it, that end so. */
static void each_file(const char *folder, const char *ending,
                      void (*each)(const char *path, char *content, void *context), void *context)
{
    char whole[FS_PATH_MAX], path[FS_PATH_MAX];
    struct fs_list list;
    snprintf(whole, sizeof whole, "%s/%s", getenv("MUSTER_SOURCE"), folder);
    ck_assert_int_eq(fs_list_read(whole, &list, NULL), MUSTER_OK);
    for (size_t i = 0; i < list.count; i++) {
        size_t length = strlen(list.names[i]), ending_length = strlen(ending);
        ck_assert_int_eq(fs_path_join(path, folder, list.names[i], NULL), MUSTER_OK);
        ck_assert_int_eq(fs_path_join(whole, getenv("MUSTER_SOURCE"), path, NULL), MUSTER_OK);
        if (fs_is_folder(whole)) {
            each_file(path, ending, each, context);
        } else if (length > ending_length && strcmp(list.names[i] + length - ending_length, ending) == 0) {
            char *content = read_source(path);
            each(path, content, context);
            alloc_free(content);
        }
    }
    fs_list_release(&list);
}

/* ---- messages ---- */

/* The texts of C sources one after the other, each ended by a zero byte, with ANYTHING for a conversion. */
static struct text literals;

/* A conversion's end, from behind its '%'. */
static const char *conversion_skip(const char *at)
{
    at += strspn(at, "-+ #0123456789.*");
    at += strspn(at, "hlzjt");
    return *at != '\0' ? at + 1 : at;
}

/* One text with what stands right behind it joined on; returns its end. */
static const char *literal_take(const char *at)
{
    char literal[LITERAL_MAX], ready[LITERAL_MAX];
    size_t length = 0, count = 0;
    while (*at == '"') {
        for (at++; *at != '"' && *at != '\0'; at++) {
            if (*at == '\\')
                at++;
            if (length < sizeof literal - 2)
                literal[length++] = at[-1] == '\\' && *at == 'n' ? '\n' : *at;
        }
        at += *at == '"';
        at += strspn(at, " \t\n");
        if (strncmp(at, "PRI", 3) == 0) {
            literal[length++] = 'd';
            at += strcspn(at, " \t\n\"");
            at += strspn(at, " \t\n");
        }
    }
    literal[length] = '\0';
    for (const char *from = literal; *from != '\0';) {
        bool converts = from[0] == '%' && from[1] != '%';
        ready[count++] = converts ? ANYTHING : *from;
        from = converts ? conversion_skip(from + 1) : from + 1 + (from[0] == '%');
    }
    ready[count++] = '\0';
    text_append(&literals, ready, count);
    return at;
}

static void literals_take(const char *path, char *content, void *context)
{
    (void)path;
    (void)context;
    for (const char *at = content; *at != '\0';) {
        if (strncmp(at, "/*", 2) == 0) {
            const char *end = strstr(at + 2, "*/");
            at = end != NULL ? end + 2 : at + strlen(at);
        } else if (*at == '\'') {
            at += at[1] == '\\' ? 4 : 3;
        } else if (*at == '"') {
            at = literal_take(at);
        } else {
            at++;
        }
    }
}

/* How many characters of the fragment are the text's own, when it is a part of what the text can become; -1
 * when it is not. */
static int part_of(const char *fragment, const char *text)
{
    size_t rows = strlen(fragment) + 1, columns = strlen(text) + 1;
    int *best = alloc_zeroed(rows * columns, sizeof *best), found = -1;
    ck_assert_ptr_nonnull(best);
    for (size_t i = rows; i-- > 0;) {
        for (size_t j = columns; j-- > 0;) {
            int here = i + 1 == rows ? 0 : -1;
            if (i + 1 < rows && j + 1 < columns && text[j] == ANYTHING) {
                int skip = best[i * columns + j + 1], take = best[(i + 1) * columns + j];
                here = skip > take ? skip : take;
            } else if (i + 1 < rows && j + 1 < columns && text[j] == fragment[i]) {
                int rest = best[(i + 1) * columns + j + 1];
                here = rest >= 0 ? rest + 1 : -1;
            }
            best[i * columns + j] = here;
            if (i == 0 && here > found)
                found = here;
        }
    }
    alloc_free(best);
    return found;
}

/* Whether the text has one of the fragment's long words: cheap, and false for nearly all. */
static bool shares_a_word(const char *fragment, const char *text)
{
    char word[64];
    for (const char *at = fragment; *at != '\0';) {
        size_t length = 0;
        while (isalpha((unsigned char)at[length]))
            length++;
        if (length >= WORD_MIN && length < sizeof word) {
            memcpy(word, at, length);
            word[length] = '\0';
            if (strstr(text, word) != NULL)
                return true;
        }
        at += length > 0 ? length : 1;
    }
    return false;
}

static bool is_printed(const char *fragment)
{
    const char *end = literals.data + literals.length;
    for (const char *text = literals.data; text < end; text += strlen(text) + 1) {
        if (shares_a_word(fragment, text) && 2 * part_of(fragment, text) >= (int)strlen(fragment))
            return true;
    }
    return false;
}

/* A message of the guide: its pieces between "…" are all printed. Behind one that is not ours stands whose.
 */
static void message_check(char *message, const char *behind)
{
    static const char *const others[] = {" (ssh)", " (Slurm)", " (Open MPI)", " (system)"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strncmp(behind, others[i], strlen(others[i])) == 0)
            return;
    }
    for (char *piece = message; piece != NULL;) {
        char *gap = strstr(piece, "…");
        if (gap != NULL)
            *gap = '\0';
        if (strlen(piece) >= FRAGMENT_MIN)
            ck_assert_msg(is_printed(piece), "no program prints \"%s\"", piece);
        piece = gap != NULL ? gap + strlen("…") : NULL;
    }
}

START_TEST(every_message_that_is_explained_is_one_that_a_program_prints)
{
    static const char *const folders[] = {"base", "comm", "coordinator", "worker"};
    char *guide = read_source("docs/CLUSTER.md"), *rest = NULL;
    int count = 0;
    text_init(&literals);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        each_file(folders[i], ".c", literals_take, NULL);
    char *table = strstr(guide, "\n| message |"), *end = table != NULL ? strstr(table, "\n\n") : NULL;
    ck_assert(table != NULL && end != NULL);
    *end = '\0';
    for (char *row = strtok_r(table, "\n", &rest); row != NULL; row = strtok_r(NULL, "\n", &rest)) {
        char *column = strstr(row, " | ");
        if (column != NULL)
            *column = '\0';
        for (char *open = strchr(row, '`'); open != NULL;) {
            char *close = strchr(open + 1, '`');
            ck_assert_msg(close != NULL, "%s", row);
            *close = '\0';
            message_check(open + 1, close + 1);
            count++;
            open = strchr(close + 1, '`');
        }
    }
    ck_assert_int_gt(count, 15);
    alloc_free(guide);
    text_release(&literals);
}
END_TEST

/* ---- commands and keys ---- */

static void option_check(const char *path, const char *verb, const char *word, const struct text *help)
{
    char name[64], option[80];
    size_t length = strcspn(word, "=.,;:)");
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    snprintf(option, sizeof option, "%s%s", name, name[1] == '-' ? "" : ",");
    ck_assert_msg(strstr(help->data, option) != NULL, "%s: muster %s has no %s", path, verb, name);
}

/* "muster VERB WORD…" up to a comment or the launcher's own words. */
static void command_check(const char *path, char *command)
{
    char program[FS_PATH_MAX], *rest = NULL;
    strtok_r(command, " ", &rest);
    const char *verb = strtok_r(NULL, " ", &rest);
    if (verb == NULL || !islower((unsigned char)verb[0]) || strchr(verb, ':') != NULL)
        return; /* a placeholder, or what the verb says */
    struct program_result result;
    char *first = strtok_r(NULL, " ", &rest); /* may be an action, with a help of its own */
    bool is_word = first != NULL && islower((unsigned char)first[0]);
    snprintf(program, sizeof program, "%s/muster", getenv("MUSTER_BIN"));
    program_run(&result, (const char *const[]){program, verb, is_word ? first : "--help", "--help", NULL});
    ck_assert_msg(result.exit_code == 0, "%s: muster %s %s is no verb", path, verb, is_word ? first : "");
    for (char *word = first; word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (word[0] == '#' || word[0] == '|' || strcmp(word, "--") == 0)
            break;
        if (word[0] == '-' && isalpha((unsigned char)word[1 + (word[1] == '-')]))
            option_check(path, verb, word, &result.out);
    }
    program_release(&result);
}

/* A span of code that begins like a key of a job. */
static void key_check(const char *path, const char *span)
{
    char section[JOB_KEY_SIZE], key[JOB_KEY_SIZE], spaced[JOB_KEY_SIZE + 2];
    size_t first = strspn(span, "abcdefghijklmnopqrstuvwxyz"), second = 0;
    if (span[first] == '.')
        second = strspn(span + first + 1, "abcdefghijklmnopqrstuvwxyz_0123456789");
    char behind = span[first + 1 + second];
    if (second == 0 || first >= sizeof section || second >= sizeof key || strchr(": =", behind) == NULL)
        return;
    snprintf(section, sizeof section, "%.*s", (int)first, span);
    snprintf(key, sizeof key, "%.*s", (int)second, span + first + 1);
    snprintf(spaced, sizeof spaced, " %s ", key); /* a file's ending? */
    if (job_section_find(section) != NULL && strstr(" c h bin json safetensors ", spaced) == NULL)
        ck_assert_msg(job_field_find(section, key) >= 0, "%s: `%s` is no key of a job", path, span);
}

static void span_check(const char *path, const char *span)
{
    char copy[SPAN_MAX];
    if (strlen(span) >= sizeof copy)
        return;
    strcpy(copy, span);
    if (strncmp(span, "muster ", 7) == 0)
        command_check(path, copy);
    else
        key_check(path, span);
}

/* Lines of blocks, and spans between single backquotes. */
static void guide_check(const char *path, char *content, void *context)
{
    bool block = false;
    char *rest = NULL;
    (*(int *)context)++;
    for (char *line = strtok_r(content, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        line += strspn(line, " ");
        if (strncmp(line, "```", 3) == 0) {
            block = !block;
        } else if (block) {
            const char *from = strncmp(line, "build/bin/", 10) == 0 ? line + 10 : line;
            if (strncmp(from, "muster ", 7) == 0)
                span_check(path, from);
        } else {
            for (char *open = strchr(line, '`'), *close;
                 open != NULL && (close = strchr(open + 1, '`')) != NULL; open = strchr(close + 1, '`')) {
                *close = '\0';
                span_check(path, open + 1);
            }
        }
    }
}

START_TEST(every_command_and_every_key_in_a_guide_exists)
{
    int count = 0;
    char *readme = read_source("README.md");
    guide_check("README.md", readme, &count);
    alloc_free(readme);
    each_file("docs", ".md", guide_check, &count);
    ck_assert_int_gt(count, 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("guides");
    TCase *cases = tcase_create("guides");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, every_message_that_is_explained_is_one_that_a_program_prints);
    tcase_add_test(cases, every_command_and_every_key_in_a_guide_exists);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
