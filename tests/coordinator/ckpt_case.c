/* SPDX-License-Identifier: MIT
 *
 * Plain fixtures of Check; with assertions, unlike ckpt_fixture.c.
 */
#include "tests/coordinator/ckpt_case.h"

#include <check.h>
#include <string.h>

#include "base/alloc.h"

struct ckpt_case here;

void ckpt_case_setup(void)
{
    here.live_before = alloc_live_count();
    ck_assert(ckpt_fixture_folder(here.dir));
    text_init(&here.out);
    here.err = (struct muster_error){.status = MUSTER_OK};
}

void ckpt_case_teardown(void)
{
    text_release(&here.out);
    ck_assert_int_eq(fs_remove_tree(here.dir, NULL), MUSTER_OK);
    ck_assert_int_eq(alloc_live_count(), here.live_before);
}

const char *ckpt_case_path(const char *name)
{
    static char paths[4][FS_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    ck_assert_int_eq(fs_path_join(path, here.dir, name, NULL), MUSTER_OK);
    return path;
}

void ckpt_case_add(int64_t step, bool commit)
{
    char folder[FS_PATH_MAX];
    ckpt_fixture_init(&here.fixture, step);
    ck_assert_msg(ckpt_fixture_write(&here.fixture, here.dir, 2, commit, folder, &here.err) == MUSTER_OK,
                  "%s", here.err.text);
}

bool ckpt_case_has(int64_t step)
{
    char name[64];
    ckpt_format_step(name, step);
    return fs_exists(ckpt_case_path(name));
}

void ckpt_case_expect(const char *words)
{
    ck_assert_msg(strstr(here.out.data, words) != NULL, "\"%s\" is not in:\n%s", words, here.out.data);
}
