/* SPDX-License-Identifier: MIT
 *
 * See nccl_fault.h. The variable is read at every call, so that one process can try many faults.
 */
#include "tests/comm/nccl_standin/nccl_fault.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULTS_MAX = 4 };

struct plan {
    enum fault_kind kind;
    char call[32];
    int at, result;
    int seen;
};

static struct plan plans[FAULTS_MAX];
static int plan_count;
static char current[256];

static bool prefix_take(const char **text, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strncmp(*text, prefix, length) != 0)
        return false;
    *text += length;
    return true;
}

static void plan_read(const char *text)
{
    struct plan plan = {.kind = FAULT_RETURN, .at = 1};
    if (prefix_take(&text, "async:"))
        plan.kind = FAULT_ASYNC;
    else if (prefix_take(&text, "late:"))
        plan.kind = FAULT_LATE;
    else if (prefix_take(&text, "hang:"))
        plan.kind = FAULT_HANG;
    else if (prefix_take(&text, "die:"))
        plan.kind = FAULT_DIE;
    int fields = sscanf(text, "%31[A-Za-z]:%d:%d", plan.call, &plan.at, &plan.result);
    if (fields < (plan.kind == FAULT_HANG || plan.kind == FAULT_DIE ? 2 : 3) || plan_count == FAULTS_MAX) {
        fprintf(stderr, "MUSTER_NCCL_STANDIN_FAIL: cannot read '%s'\n", text);
        abort();
    }
    plans[plan_count++] = plan;
}

static void plans_refresh(void)
{
    const char *text = getenv("MUSTER_NCCL_STANDIN_FAIL");
    const char *only = getenv("MUSTER_NCCL_STANDIN_RANK"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char copy[sizeof(current)], *rest = NULL;
    text = text && !(only && rank && strcmp(only, rank) != 0) ? text : "";
    if (strcmp(text, current) == 0)
        return;
    snprintf(current, sizeof(current), "%s", text);
    snprintf(copy, sizeof(copy), "%s", text);
    plan_count = 0;
    for (char *one = strtok_r(copy, ";", &rest); one; one = strtok_r(NULL, ";", &rest))
        plan_read(one);
}

struct fault fault_take(const char *call)
{
    struct fault fault = {FAULT_NONE, ncclSuccess};
    plans_refresh();
    for (int i = 0; i < FAULTS_MAX && i < plan_count; i++)
        if (strcmp(plans[i].call, call) == 0 && ++plans[i].seen == plans[i].at)
            fault = (struct fault){plans[i].kind, (ncclResult_t)plans[i].result};
    if (fault.kind == FAULT_DIE)
        raise(SIGKILL);
    return fault;
}
