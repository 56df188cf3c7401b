/* SPDX-License-Identifier: MIT
 *
 * A YAML document as a tree of texts with the place each stands at. Knows nothing about jobs.
 */
#ifndef MUSTER_COORDINATOR_JOB_YAML_H
#define MUSTER_COORDINATOR_JOB_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "coordinator/job/job_issue.h"

enum { JOB_YAML_BYTES_MAX = 1 << 20, JOB_YAML_DEPTH_MAX = 32, JOB_YAML_NODES_MAX = 10000 };

enum job_node_kind {
    JOB_NODE_SCALAR,
    JOB_NODE_SEQUENCE,
    JOB_NODE_MAPPING,
    JOB_NODE_REFUSED /* an alias: already reported, has no value */
};

struct job_node {
    enum job_node_kind kind;
    struct job_place place;
    char *text; /* a scalar's value, else NULL */
    bool plain; /* a scalar without quotes: may be a number or a truth value */
    char *key;  /* the key, when this is a value of a mapping; unique within it */
    struct job_place key_place;
    struct job_node *first, *last, *next; /* children in the order of the file */
};

/**
 * Parses one document. Every violation is added to `issues`; *root is the tree without the refused parts, or
 * NULL when syntax, a limit or an empty file left nothing to look at. \param setting  the word of a command
 * line that the text is from, which must outlive the tree; NULL for a file \return NO_MEMORY or OK.
 */
enum muster_status job_yaml_parse(const char *yaml, size_t bytes, const char *setting,
                                  struct job_issues *issues, struct job_node **root,
                                  struct muster_error *err);

/** The node, its children and its texts; takes NULL. */
void job_node_destroy(struct job_node *node);

/** One child more, the last; owned by the parent from now on. */
void job_node_append(struct job_node *parent, struct job_node *child);

/** A scalar that stands for no value: nothing, ~ or null, without quotes. */
bool job_node_is_null(const struct job_node *node);

#endif
