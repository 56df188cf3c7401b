/* SPDX-License-Identifier: MIT
 *
 * Both outputs are read as they come, so that a program with much to say on one never waits for the other.
 */
#include "tests/coordinator/program.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"

static char folder[64], folder_before[FS_PATH_MAX];

static void read_all(int fds[2], struct text *texts[2])
{
    char chunk[4096];
    for (int open = 2; open > 0;) {
        struct pollfd events[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
        ck_assert_int_gt(poll(events, 2, -1), 0);
        for (int i = 0; i < 2; i++) {
            if (!events[i].revents)
                continue;
            ssize_t got = read(fds[i], chunk, sizeof chunk);
            if (got > 0) {
                text_append(texts[i], chunk, (size_t)got);
                continue;
            }
            close(fds[i]);
            fds[i] = -1;
            open--;
        }
    }
}

void program_run(struct program_result *result, const char *const *words)
{
    program_run_to(result, -1, words);
}

void program_run_to(struct program_result *result, int out_fd, const char *const *words)
{
    int out[2], err[2], status;
    text_init(&result->out);
    text_init(&result->err);
    ck_assert(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(out_fd >= 0 ? out_fd : out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        execv(words[0], (char **)words);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    read_all((int[2]){out[0], err[0]}, (struct text *[2]){&result->out, &result->err});
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    result->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void program_muster(struct program_result *result, int exit_code, const char *const *words)
{
    char program[FS_PATH_MAX];
    const char *argv[PROGRAM_WORDS_MAX] = {program};
    snprintf(program, sizeof program, "%s/muster", getenv("MUSTER_BIN"));
    for (int i = 0; words[i] != NULL; i++)
        argv[i + 1] = words[i];
    program_release(result);
    program_run(result, argv);
    ck_assert_msg(result->exit_code == exit_code, "%s: exit code %d instead of %d, said:\n%s%s", words[0],
                  result->exit_code, exit_code, result->out.data, result->err.data);
}

void program_release(struct program_result *result)
{
    text_release(&result->out);
    text_release(&result->err);
}

void program_folder_enter(void)
{
    ck_assert_ptr_nonnull(getcwd(folder_before, sizeof folder_before));
    strcpy(folder, "/tmp/muster-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

void program_folder_leave(void)
{
    ck_assert_int_eq(chdir(folder_before), 0);
    ck_assert_int_eq(fs_remove_tree(folder, NULL), MUSTER_OK);
}

void program_expect(const struct text *text, const char *words)
{
    ck_assert_msg(strstr(text->data, words) != NULL, "\"%s\" is not in:\n%s", words, text->data);
}

void program_write(const char *path, const char *content)
{
    ck_assert_int_eq(fs_file_write(path, content, strlen(content), NULL), MUSTER_OK);
}

void program_copy(const char *from, const char *to)
{
    char *bytes;
    size_t count;
    ck_assert_int_eq(fs_file_read(from, 256 << 20, &bytes, &count, NULL), MUSTER_OK);
    ck_assert_int_eq(fs_file_write(to, bytes, count, NULL), MUSTER_OK);
    ck_assert_int_eq(chmod(to, 0700), 0);
    alloc_free(bytes);
}
