/* SPDX-License-Identifier: MIT
 *
 * Values are read strictly: a number in quotes is a text, and a truth value is one of six words. What is
 * refused is shown as it was read, since YAML's own guesses are what usually went wrong.
 */
#include "coordinator/job/job_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

enum { TEXT_BYTES_MAX = 2048 };

/* Whole numbers up to here are exact in a double. */
static const double whole_max = 9007199254740992.0;

static void *value_place(const struct job_field *field, void *base)
{
    return (char *)base + field->offset;
}

void job_number_format(char out[JOB_NUMBER_SIZE], double value)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, JOB_NUMBER_SIZE, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    char *exponent = strchr(out, 'e');
    if (fabs(value) < 1e15 && value == floor(value)) {
        snprintf(out, JOB_NUMBER_SIZE, "%.0f", value);
    } else if (exponent != NULL && strchr(out, '.') == NULL) {
        memmove(exponent + 2, exponent, strlen(exponent) + 1);
        memcpy(exponent, ".0", 2);
    }
}

void job_value_range(const struct job_field *field, char *out, size_t size)
{
    char min[JOB_NUMBER_SIZE], max[JOB_NUMBER_SIZE];
    bool above = (field->flags & JOB_FIELD_ABOVE_MIN) != 0, below = (field->flags & JOB_FIELD_BELOW_MAX) != 0;
    if (field->max <= 0) {
        out[0] = '\0';
        return;
    }
    job_number_format(min, field->min);
    job_number_format(max, field->max);
    if (above || below)
        snprintf(out, size, "%s %s and %s %s", above ? "above" : "at least", min, below ? "below" : "at most",
                 max);
    else
        snprintf(out, size, "from %s to %s", min, max);
}

static enum muster_status range_check(const struct job_field *field, double value, const char *text,
                                      struct muster_error *problem)
{
    bool low = value < field->min || (value <= field->min && (field->flags & JOB_FIELD_ABOVE_MIN));
    bool high = value > field->max || (value >= field->max && (field->flags & JOB_FIELD_BELOW_MAX));
    if (field->max <= 0 || (!low && !high))
        return MUSTER_OK;
    char range[2 * JOB_NUMBER_SIZE + 32], shown[JOB_SHOWN_SIZE];
    job_value_range(field, range, sizeof range);
    job_text_show(shown, text);
    return muster_error_set(problem, MUSTER_ERR_BAD_INPUT, "must be %s, but is %s", range, shown);
}

/* What stands at a node, for "expected …, read …". */
static void node_show(const struct job_node *node, char out[JOB_SHOWN_SIZE + 32])
{
    char shown[JOB_SHOWN_SIZE];
    if (node->kind == JOB_NODE_SEQUENCE) {
        snprintf(out, JOB_SHOWN_SIZE + 32, "a list");
    } else if (node->kind == JOB_NODE_MAPPING) {
        snprintf(out, JOB_SHOWN_SIZE + 32, "a mapping of keys");
    } else if (job_node_is_null(node)) {
        snprintf(out, JOB_SHOWN_SIZE + 32, "nothing");
    } else {
        job_text_show(shown, node->text);
        snprintf(out, JOB_SHOWN_SIZE + 32, "%s%s", node->plain ? "" : "the text ", shown);
    }
}

static enum muster_status type_error(const char *expected, const struct job_node *node,
                                     struct muster_error *problem)
{
    char read[JOB_SHOWN_SIZE + 32];
    node_show(node, read);
    return muster_error_set(problem, MUSTER_ERR_BAD_INPUT, "expected %s, read %s", expected, read);
}

/* A zero before other digits makes a number octal in some YAML readers and decimal in others. */
static bool number_is_ambiguous(const char *text)
{
    text += *text == '-' || *text == '+';
    return text[0] == '0' && ((text[1] >= '0' && text[1] <= '9') || text[1] == '_');
}

static bool int_parse(const char *text, int64_t *value)
{
    double real;
    if (text_parse_int64(text, value))
        return true;
    if (!text_parse_double(text, &real) || real != floor(real) || fabs(real) > whole_max)
        return false;
    *value = (int64_t)real;
    return true;
}

static enum muster_status int_read(const struct job_field *field, const struct job_node *node, void *base,
                                   struct muster_error *problem)
{
    int64_t value;
    double real;
    if (node->plain && !number_is_ambiguous(node->text) && text_parse_double(node->text, &real) &&
        real == floor(real) && fabs(real) > whole_max &&
        range_check(field, real, node->text, problem) != MUSTER_OK)
        return MUSTER_ERR_BAD_INPUT;
    if (!node->plain || number_is_ambiguous(node->text) || !int_parse(node->text, &value))
        return type_error("a whole number", node, problem);
    enum muster_status status = range_check(field, (double)value, node->text, problem);
    if (status == MUSTER_OK)
        memcpy(value_place(field, base), &value, sizeof value);
    return status;
}

static enum muster_status real_read(const struct job_field *field, const struct job_node *node, void *base,
                                    struct muster_error *problem)
{
    double value;
    if (!node->plain || number_is_ambiguous(node->text) || !text_parse_double(node->text, &value))
        return type_error("a finite number", node, problem);
    enum muster_status status = range_check(field, value, node->text, problem);
    value = value == 0 ? 0 : value; /* no negative zero: equal jobs hash equal */
    if (status == MUSTER_OK)
        memcpy(value_place(field, base), &value, sizeof value);
    return status;
}

static enum muster_status duration_read(const struct job_field *field, const struct job_node *node,
                                        void *base, struct muster_error *problem)
{
    double value;
    if (!node->plain || number_is_ambiguous(node->text) || !text_parse_duration(node->text, &value))
        return type_error("a length of time such as 90, 45m or 1h30m", node, problem);
    enum muster_status status = range_check(field, value, node->text, problem);
    if (status == MUSTER_OK)
        memcpy(value_place(field, base), &value, sizeof value);
    return status;
}

static enum muster_status bool_read(const struct job_field *field, const struct job_node *node, void *base,
                                    struct muster_error *problem)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6 && node->plain; i++) {
        if (strcasecmp(node->text, words[i]) == 0) {
            bool value = i % 2 == 1;
            memcpy(value_place(field, base), &value, sizeof value);
            return MUSTER_OK;
        }
    }
    return type_error("true or false", node, problem);
}

static enum muster_status enum_read(const struct job_field *field, const struct job_node *node, void *base,
                                    struct muster_error *problem)
{
    char allowed[160] = "", shown[JOB_SHOWN_SIZE];
    int count = 0;
    for (; field->names[count] != NULL; count++) {
        if (strcmp(field->names[count], node->text) == 0) {
            memcpy(value_place(field, base), &count, sizeof count);
            return MUSTER_OK;
        }
        size_t length = strlen(allowed);
        snprintf(allowed + length, sizeof allowed - length, "%s%s", count > 0 ? ", " : "",
                 field->names[count]);
    }
    job_text_show(shown, node->text);
    const char *near = text_nearest(node->text, field->names, (size_t)count);
    if (near != NULL)
        return muster_error_set(problem, MUSTER_ERR_BAD_INPUT,
                                "unknown value %s; did you mean %s? Allowed: %s", shown, near, allowed);
    return muster_error_set(problem, MUSTER_ERR_BAD_INPUT, "unknown value %s; allowed: %s", shown, allowed);
}

static enum muster_status text_read(const struct job_field *field, const struct job_node *node, void *base,
                                    struct muster_error *problem)
{
    if (node->text[0] == '\0')
        return muster_error_set(problem, MUSTER_ERR_BAD_INPUT, "must not be empty");
    if (strlen(node->text) > TEXT_BYTES_MAX)
        return muster_error_set(problem, MUSTER_ERR_BAD_INPUT, "longer than %d bytes", TEXT_BYTES_MAX);
    if (!job_text_is_printable(node->text))
        return muster_error_set(problem, MUSTER_ERR_BAD_INPUT, "has a line break or control character in it");
    char *copy = alloc_text(node->text), **place = value_place(field, base);
    if (copy == NULL)
        return muster_error_set(problem, MUSTER_ERR_NO_MEMORY, "read a job: out of memory");
    alloc_free(*place);
    *place = copy;
    return MUSTER_OK;
}

enum muster_status job_value_read(const struct job_field *field, const struct job_node *node, void *base,
                                  struct muster_error *problem)
{
    static const char *const expected[] = {
        [JOB_FIELD_INT] = "a whole number", [JOB_FIELD_REAL] = "a finite number",
        [JOB_FIELD_BOOL] = "true or false", [JOB_FIELD_ENUM] = "one word",
        [JOB_FIELD_TEXT] = "a text",        [JOB_FIELD_DURATION] = "a length of time",
    };
    static enum muster_status (*const read[])(const struct job_field *, const struct job_node *, void *,
                                              struct muster_error *) = {
        [JOB_FIELD_INT] = int_read,   [JOB_FIELD_REAL] = real_read, [JOB_FIELD_BOOL] = bool_read,
        [JOB_FIELD_ENUM] = enum_read, [JOB_FIELD_TEXT] = text_read, [JOB_FIELD_DURATION] = duration_read,
    };
    if (node->kind != JOB_NODE_SCALAR || job_node_is_null(node))
        return type_error(expected[field->type], node, problem);
    return read[field->type](field, node, base, problem);
}

enum muster_status job_value_reset(const struct job_field *field, void *base, struct muster_error *problem)
{
    static const size_t sizes[] = {[JOB_FIELD_INT] = sizeof(int64_t),
                                   [JOB_FIELD_REAL] = sizeof(double),
                                   [JOB_FIELD_DURATION] = sizeof(double),
                                   [JOB_FIELD_BOOL] = sizeof(bool),
                                   [JOB_FIELD_ENUM] = sizeof(int)};
    char *place = value_place(field, base);
    if (field->fallback != NULL) {
        char fallback[64];
        snprintf(fallback, sizeof fallback, "%s", field->fallback);
        struct job_node node = {.kind = JOB_NODE_SCALAR, .text = fallback, .plain = true};
        return job_value_read(field, &node, base, problem);
    }
    if (field->type == JOB_FIELD_TEXT) {
        char **text = (char **)(void *)place;
        alloc_free(*text);
        *text = NULL;
    } else if (field->type != JOB_FIELD_SOURCES && field->type != JOB_FIELD_TEXTS) {
        memset(place, 0, sizes[field->type]);
    }
    return MUSTER_OK;
}

void job_value_format(const struct job_field *field, const void *base, char out[JOB_NUMBER_SIZE])
{
    const char *place = (const char *)base + field->offset;
    int64_t whole;
    double real;
    bool truth;
    out[0] = '\0';
    switch (field->type) {
    case JOB_FIELD_INT:
        memcpy(&whole, place, sizeof whole);
        snprintf(out, JOB_NUMBER_SIZE, "%lld", (long long)whole);
        break;
    case JOB_FIELD_REAL:
    case JOB_FIELD_DURATION:
        memcpy(&real, place, sizeof real);
        job_number_format(out, real);
        break;
    case JOB_FIELD_BOOL:
        memcpy(&truth, place, sizeof truth);
        snprintf(out, JOB_NUMBER_SIZE, "%s", truth ? "true" : "false");
        break;
    case JOB_FIELD_ENUM:
        snprintf(out, JOB_NUMBER_SIZE, "%s", field->names[job_field_enum(field, base)]);
        break;
    case JOB_FIELD_TEXT:
    case JOB_FIELD_SOURCES:
    case JOB_FIELD_TEXTS:
        break;
    }
}

void job_value_print(const struct job_field *field, const void *base, struct text *out)
{
    if (field->type != JOB_FIELD_TEXT) {
        char number[JOB_NUMBER_SIZE];
        job_value_format(field, base, number);
        text_print(out, "%s", number);
        return;
    }
    const char *text = *(char *const *)(const void *)((const char *)base + field->offset);
    text_append(out, "\"", 1);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            text_append(out, "\\", 1);
        text_append(out, text, 1);
    }
    text_append(out, "\"", 1);
}
