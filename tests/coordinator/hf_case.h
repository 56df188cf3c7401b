/* SPDX-License-Identifier: MIT
 *
 * What the tests of Hugging Face folders share: four small models, a folder for each test, and one way to
 * export and import.
 */
#ifndef MUSTER_TESTS_HF_CASE_H
#define MUSTER_TESTS_HF_CASE_H

#include <jansson.h>

#include "coordinator/ckpt/ckpt_tools.h"
#include "tests/coordinator/model_ckpt.h"

/* Tied and untied of both families; all sizes differ. */
enum { HF_CASE_MODELS = 4, HF_CASE_WIDTH = 8, HF_CASE_FFN = 12, HF_CASE_VOCAB = 11 };

/* Of the test that runs. */
struct hf_case {
    char dir[FS_PATH_MAX];
    struct model_ckpt model;
    struct muster_error err;
    struct text out, problems;
    int64_t live_before;
};
extern struct hf_case hf;

/** Fixture of a test case; the end compares the number of live blocks with the beginning. */
void hf_case_setup(void);
void hf_case_teardown(void);

/** A path in the test's folder; eight at a time stay valid. */
const char *hf_case_path(const char *name);

/** The status, and words that must be in the error or among the problems. */
void hf_case_expect(enum muster_status status, enum muster_status expected, const char *words);

/** dir/ckpt of model `which`, exported to dir/hf. */
void hf_case_prepare(int which);

void hf_case_export(const char *from, const char *to, enum dtype dtype);

/** For the prepared model's job; `to` NULL: where the job says. */
enum muster_status hf_case_import(const char *from, const char *to);

/** dir/hf/config.json; the caller releases it. */
json_t *hf_case_config(void);

#endif
