/* SPDX-License-Identifier: MIT
 *
 * A key that the file gives by another of its names is found by its field, so that a setting never stands
 * beside what it replaces.
 */
#include "coordinator/job/job_settings.h"

#include <string.h>

#include "base/alloc.h"
#include "coordinator/job/job_fields.h"

/* A word in its parts. */
struct setting {
    const char *word, *value;
    char section[JOB_KEY_SIZE], key[JOB_KEY_SIZE]; /* section "" = the top level */
};

bool job_settings_add(struct job_settings *settings, const char *word)
{
    if (settings->count == JOB_SETTINGS_MAX)
        return false;
    settings->words[settings->count++] = word;
    return true;
}

/* False for what is no setting, which is said. */
static bool setting_split(struct setting *setting, const char *word, struct job_issues *issues)
{
    const struct job_place place = {.setting = word};
    const char *equals = strchr(word, '=');
    const char *dot = equals != NULL ? memchr(word, '.', (size_t)(equals - word)) : NULL;
    const char *key = dot != NULL ? dot + 1 : word;
    if (equals == NULL || equals == key || dot == word) {
        job_issues_error(issues, place, "expected KEY=VALUE, such as train.max_steps=100");
        return false;
    }
    size_t section_length = dot != NULL ? (size_t)(dot - word) : 0, key_length = (size_t)(equals - key);
    if (section_length >= sizeof setting->section || key_length >= sizeof setting->key) {
        job_issues_error(issues, place, "unknown key");
        return false;
    }
    *setting = (struct setting){.word = word, .value = equals + 1};
    memcpy(setting->section, word, section_length);
    memcpy(setting->key, key, key_length);
    if (section_length > 0 || job_section_find(setting->key) == NULL)
        return true;
    job_issues_error(issues, place, "%s is a section: set its keys one by one, as %s.KEY=VALUE", setting->key,
                     setting->key);
    return false;
}

static enum muster_status no_memory(struct muster_error *err)
{
    return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for what the command line sets");
}

/* The section's mapping, made where the file has none; *parent NULL when the file's is something else, about
 * which job_read has its own words. */
static enum muster_status section_open(struct job_node *root, const struct setting *setting,
                                       struct job_node **parent, struct muster_error *err)
{
    const struct job_section *section = job_section_find(setting->section);
    struct job_node *node = root->kind == JOB_NODE_MAPPING ? root->first : NULL;
    *parent = root->kind == JOB_NODE_MAPPING ? root : NULL;
    if (setting->section[0] == '\0' || *parent == NULL)
        return MUSTER_OK;
    while (node != NULL && strcmp(node->key, setting->section) != 0 &&
           (section == NULL || job_section_find(node->key) != section))
        node = node->next;
    if (node == NULL) {
        node = alloc_zeroed(1, sizeof *node);
        char *key = alloc_text(setting->section);
        if (node == NULL || key == NULL) {
            alloc_free(node);
            alloc_free(key);
            return no_memory(err);
        }
        const struct job_place place = {.setting = setting->word};
        *node = (struct job_node){.kind = JOB_NODE_MAPPING, .place = place, .key = key, .key_place = place};
        job_node_append(root, node);
    } else if (job_node_is_null(node)) {
        alloc_free(node->text);
        node->text = NULL;
        node->kind = JOB_NODE_MAPPING;
    }
    *parent = node->kind == JOB_NODE_MAPPING ? node : NULL;
    return MUSTER_OK;
}

/* Takes the value that stands for the same field out of the mapping. */
static void value_remove(struct job_node *parent, const struct setting *setting)
{
    const struct job_section *section = job_section_find(setting->section);
    const char *name = section != NULL ? section->name : setting->section;
    int field = job_field_find(name, setting->key);
    struct job_node *before = NULL, *node = parent->first;
    while (node != NULL && strcmp(node->key, setting->key) != 0 &&
           (field < 0 || job_field_find(name, node->key) != field)) {
        before = node;
        node = node->next;
    }
    if (node == NULL)
        return;
    if (before != NULL)
        before->next = node->next;
    else
        parent->first = node->next;
    if (parent->last == node)
        parent->last = before;
    job_node_destroy(node);
}

static enum muster_status setting_apply(const struct setting *setting, struct job_node *root,
                                        struct job_issues *issues, struct muster_error *err)
{
    struct job_node *value = NULL, *parent;
    enum muster_status status =
        job_yaml_parse(setting->value, strlen(setting->value), setting->word, issues, &value, err);
    if (status != MUSTER_OK || value == NULL) {
        job_node_destroy(value);
        return status;
    }
    status = section_open(root, setting, &parent, err);
    value->key = alloc_text(setting->key);
    value->key_place = value->place;
    if (status == MUSTER_OK && value->key == NULL)
        status = no_memory(err);
    if (status != MUSTER_OK || parent == NULL) {
        job_node_destroy(value);
        return status;
    }
    value_remove(parent, setting);
    job_node_append(parent, value);
    return MUSTER_OK;
}

enum muster_status job_settings_apply(const struct job_settings *settings, struct job_node *root,
                                      struct job_issues *issues, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int i = 0; i < settings->count && status == MUSTER_OK; i++) {
        struct setting setting;
        if (setting_split(&setting, settings->words[i], issues))
            status = setting_apply(&setting, root, issues, err);
    }
    return status;
}
