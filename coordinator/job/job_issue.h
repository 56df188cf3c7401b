/* SPDX-License-Identifier: MIT
 *
 * What is to be said about a job file, collected in any order and reported by line. Everything wrong with a
 * file is collected before anything is said; a file wrong in hundreds of places is cut short.
 */
#ifndef MUSTER_COORDINATOR_JOB_ISSUE_H
#define MUSTER_COORDINATOR_JOB_ISSUE_H

#include <stdbool.h>

#include "coordinator/job/job.h"

enum { JOB_ISSUES_MAX = 100, JOB_SHOWN_SIZE = 72 };

/** Counted from 1; line 0 = the file as a whole. */
struct job_place {
    int line, column;
    const char *setting; /* the word of a command line it stands in; NULL = in the file */
};

struct job_issue {
    struct job_place place;
    char *text;
};

struct job_issue_list {
    struct job_issue items[JOB_ISSUES_MAX];
    int stored, count; /* count goes on where stored stops */
};

/** Zeroed to begin with. */
struct job_issues {
    struct job_issue_list errors, notes;
    bool failed; /* no memory for one of them */
};

void job_issues_error(struct job_issues *issues, struct job_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void job_issues_note(struct job_issues *issues, struct job_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void job_issues_release(struct job_issues *issues);

/** Writes "path:line:col: text" lines sorted by place into the cleared report; behind them those of settings,
 * "--set key=value: text". */
void job_issues_report(struct job_issues *issues, const char *path, struct job_report *report);

/** Text from a file as a message may show it: quoted, control characters as '?', cut with "...". */
void job_text_show(char out[JOB_SHOWN_SIZE], const char *text);

/** The same without the quotes. */
void job_word_show(char out[JOB_SHOWN_SIZE], const char *text);

/** Valid UTF-8 without control characters, line separators and byte order marks. */
bool job_text_is_printable(const char *text);

#endif
