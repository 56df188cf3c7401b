/* SPDX-License-Identifier: MIT
 *
 * The state of one test, made new for each.
 */
#include "tests/coordinator/hf_case.h"

#include "base/alloc.h"
#include "tests/coordinator/ckpt_fixture.h"

#include <check.h>
#include <string.h>

struct hf_case hf;

static const char *const models[HF_CASE_MODELS] = {
    "type: gpt, num_layers: 2, hidden_size: 8, num_heads: 2, ffn_hidden_size: 12, vocab_size: 11",
    "type: gpt, num_layers: 1, hidden_size: 8, num_heads: 2, ffn_hidden_size: 12, vocab_size: 11, "
    "tie_embeddings: false",
    "type: llama, num_layers: 2, hidden_size: 8, num_heads: 4, num_kv_heads: 2, ffn_hidden_size: 12, "
    "vocab_size: 11, tie_embeddings: false",
    "type: llama, num_layers: 1, hidden_size: 8, num_heads: 4, num_kv_heads: 1, ffn_hidden_size: 12, "
    "vocab_size: 11, tie_embeddings: true, rope_base: 500000",
};

void hf_case_setup(void)
{
    hf.live_before = alloc_live_count();
    ck_assert(ckpt_fixture_folder(hf.dir));
    text_init(&hf.out);
    text_init(&hf.problems);
    hf.err = (struct muster_error){.status = MUSTER_OK};
    hf.model = (struct model_ckpt){.job = NULL};
}

void hf_case_teardown(void)
{
    model_ckpt_release(&hf.model);
    text_release(&hf.out);
    text_release(&hf.problems);
    ck_assert_int_eq(fs_remove_tree(hf.dir, NULL), MUSTER_OK);
    ck_assert_int_eq(alloc_live_count(), hf.live_before);
}

const char *hf_case_path(const char *name)
{
    static char paths[8][FS_PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];
    ck_assert_int_eq(fs_path_join(path, hf.dir, name, NULL), MUSTER_OK);
    return path;
}

void hf_case_expect(enum muster_status status, enum muster_status expected, const char *words)
{
    ck_assert_msg(status == expected, "%s: %s\n%s", muster_status_name(status), hf.err.text,
                  hf.problems.data);
    ck_assert_msg(strstr(hf.err.text, words) != NULL || strstr(hf.problems.data, words) != NULL,
                  "\"%s\" is not in: %s\n%s", words, hf.err.text, hf.problems.data);
}

void hf_case_export(const char *from, const char *to, enum dtype dtype)
{
    const struct ckpt_export_options options = {
        .format = CKPT_EXPORT_HF, .dtype = dtype, .output = hf_case_path(to)};
    ck_assert_msg(ckpt_command_export(hf_case_path(from), &options, &hf.out, &hf.err) == MUSTER_OK, "%s",
                  hf.err.text);
}

enum muster_status hf_case_import(const char *from, const char *to)
{
    text_clear(&hf.problems);
    return ckpt_command_import(hf_case_path(from), hf.model.job, &hf.model.config,
                               to != NULL ? hf_case_path(to) : NULL, &hf.out, &hf.problems, &hf.err);
}

void hf_case_prepare(int which)
{
    model_ckpt_release(&hf.model);
    model_ckpt_init(&hf.model, models[which]);
    model_ckpt_write(&hf.model, hf_case_path("ckpt"), 7, 3);
    hf_case_export("ckpt", "hf", DTYPE_F32);
}

json_t *hf_case_config(void)
{
    json_t *root = json_load_file(hf_case_path("hf/config.json"), 0, NULL);
    ck_assert_ptr_nonnull(root);
    return root;
}
