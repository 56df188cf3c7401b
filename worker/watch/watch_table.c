/* SPDX-License-Identifier: MIT
 *
 * See watch_table.h.
 */
#include "worker/watch/watch_table.h"

#include <string.h>

#include "base/alloc.h"
#include "worker/watch/rank_progress.h"

enum { FIRST_REPORT_S = 60 }; /* the others' threads start a moment later */

/* A step in progress may stand still at one place for as long as four whole steps take. What has no measure
 * (the first step, a checkpoint on a slow disk) gets its own limit. */
static const double steps_allowed = 4.0;

double watch_allowance(int phase, double step_s, double timeout_s, double unmeasured_s)
{
    bool in_step = phase >= RANK_PHASE_DATA && phase <= RANK_PHASE_UPDATE;
    double wanted = in_step && step_s > 0.0 ? steps_allowed * step_s : unmeasured_s;
    return wanted > timeout_s ? wanted : timeout_s;
}

enum muster_status watch_table_init(struct watch_table *table, int count, int own, int watcher,
                                    double silence_s, double now_s, struct muster_error *err)
{
    *table = (struct watch_table){.count = count,
                                  .own = own,
                                  .is_watcher = own == watcher,
                                  .silence_s = silence_s,
                                  .looked_s = now_s,
                                  .returned_s = -1.0,
                                  .ranks = alloc_zeroed((size_t)count, sizeof *table->ranks)};
    if (table->ranks == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to watch %d ranks", count);
    for (int rank = 0; rank < count; rank++) {
        struct watch_rank *entry = &table->ranks[rank];
        entry->heard_s = entry->moved_s = now_s;
        entry->report.allowance_s = FIRST_REPORT_S;
        entry->report.block = -1;
        entry->watched = own == watcher || rank == watcher || rank == own;
    }
    return MUSTER_OK;
}

void watch_table_release(struct watch_table *table)
{
    alloc_free(table->ranks);
    table->ranks = NULL;
}

static bool report_moved(const struct watch_report *before, const struct watch_report *now)
{
    return before->step != now->step || before->collective != now->collective ||
           before->moves != now->moves || before->phase != now->phase;
}

void watch_table_report(struct watch_table *table, int rank, const struct watch_report *report, double now_s)
{
    struct watch_rank *entry = &table->ranks[rank];
    if (report_moved(&entry->report, report))
        entry->moved_s = now_s;
    entry->report = *report;
    entry->heard_s = now_s;
}

void watch_table_left(struct watch_table *table, int rank)
{
    table->ranks[rank].left = true;
}

void watch_table_died(struct watch_table *table, int rank)
{
    table->ranks[rank].died = !table->ranks[rank].left;
}

void watch_table_look(struct watch_table *table, double now_s)
{
    double away_s = now_s - table->looked_s;
    table->looked_s = now_s;
    if (away_s < WATCH_AWAY_MS * 1e-3)
        return;
    if (away_s >= table->silence_s)
        table->returned_s = now_s;
    for (int rank = 0; rank < table->count; rank++) {
        struct watch_rank *entry = &table->ranks[rank];
        entry->heard_s = entry->heard_s + away_s < now_s ? entry->heard_s + away_s : now_s;
        entry->moved_s = entry->moved_s + away_s < now_s ? entry->moved_s + away_s : now_s;
    }
}

static bool is_present(const struct watch_rank *entry)
{
    return entry->watched && !entry->left && !entry->died;
}

static void verdict_add(struct watch_verdict *verdict, enum watch_finding finding, int rank, double time_s)
{
    if (verdict->count++ > 0)
        return;
    verdict->finding = finding;
    verdict->rank = rank;
    verdict->time_s = time_s;
}

/* Within a step: computing, then reducing, then what comes after. */
static int stage_of(const struct watch_report *report)
{
    bool computes = report->phase >= RANK_PHASE_DATA && report->phase <= RANK_PHASE_BACKWARD;
    return computes ? RANK_PHASE_DATA : report->phase;
}

/* Negative when `a` has got less far than `b`. */
static int report_compare(const struct watch_report *a, const struct watch_report *b)
{
    if (a->step != b->step)
        return a->step < b->step ? -1 : 1;
    if (stage_of(a) != stage_of(b))
        return stage_of(a) < stage_of(b) ? -1 : 1;
    return (a->collective > b->collective) - (a->collective < b->collective);
}

/* The report of one of those that have got least far; NULL when nobody is there. */
static const struct watch_report *least_far(const struct watch_table *table, int *present)
{
    const struct watch_report *least = NULL;
    *present = 0;
    for (int rank = 0; rank < table->count; rank++) {
        const struct watch_rank *entry = &table->ranks[rank];
        if (!is_present(entry))
            continue;
        ++*present;
        if (least == NULL || report_compare(&entry->report, least) < 0)
            least = &entry->report;
    }
    return least;
}

/* Everybody that the others wait for must have stood still too long: one that moves is only slow. */
static struct watch_verdict judge_standing(const struct watch_table *table, double now_s)
{
    struct watch_verdict verdict = {.rank = -1};
    int present, behind = 0;
    const struct watch_report *least = least_far(table, &present);
    for (int rank = 0; rank < table->count; rank++) {
        const struct watch_rank *entry = &table->ranks[rank];
        if (!is_present(entry) || report_compare(&entry->report, least) > 0)
            continue;
        behind++;
        double still_s = now_s - entry->moved_s;
        if (still_s > entry->report.allowance_s)
            verdict_add(&verdict, WATCH_STANDS_STILL, rank, still_s);
    }
    if (verdict.count < behind)
        return (struct watch_verdict){.rank = -1};
    if (verdict.count == present && present > 1) {
        verdict.finding = WATCH_ALL_STAND_STILL;
        verdict.rank = -1;
    }
    return verdict;
}

struct watch_verdict watch_table_judge(const struct watch_table *table, double now_s)
{
    struct watch_verdict verdict = {.rank = -1};
    for (int rank = 0; rank < table->count; rank++) {
        const struct watch_rank *entry = &table->ranks[rank];
        if (entry->died)
            verdict_add(&verdict, WATCH_DIED, rank, now_s - entry->heard_s);
    }
    bool was_away = table->returned_s >= 0.0 && now_s - table->returned_s < table->silence_s;
    if (verdict.count > 0 && was_away)
        return (struct watch_verdict){WATCH_LEFT_BEHIND, table->own, 1, 0.0};
    for (int rank = 0; rank < table->count && verdict.finding != WATCH_DIED; rank++) {
        const struct watch_rank *entry = &table->ranks[rank];
        if (rank != table->own && is_present(entry) && now_s - entry->heard_s > table->silence_s)
            verdict_add(&verdict, WATCH_SILENT, rank, now_s - entry->heard_s);
    }
    return verdict.count > 0 || !table->is_watcher ? verdict : judge_standing(table, now_s);
}
