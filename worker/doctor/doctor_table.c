/* SPDX-License-Identifier: MIT
 *
 * A check is a function that prints one line. Red is what stops a run or spoils it in silence; a note is what
 * a person should know.
 */
#include "worker/doctor/doctor_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum doctor_colour { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_RED };

struct table {
    const struct doctor_case *given;
    struct text *out;
    int red_count;
};

static const double clock_note_s = 0.1, clock_red_s = 2.0;
static const double write_note_bytes_per_s = 50e6;
static const int64_t shared_bytes_a_rank = 8 << 20; /* a rank's segment is 4 MiB */

static void line_print(struct table *table, enum doctor_colour colour, const char *what, const char *remedy,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

static void line_print(struct table *table, enum doctor_colour colour, const char *what, const char *remedy,
                       const char *format, ...)
{
    static const char *const colours[] = {"ok", "note", "RED"};
    char found[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found, sizeof found, format, arguments);
    va_end(arguments);
    text_print(table->out, "%-5s %-16s %s\n", colours[colour], what, found);
    if (colour != DOCTOR_OK && remedy != NULL)
        text_print(table->out, "%-5s %-16s   -> %s\n", "", "", remedy);
    table->red_count += colour == DOCTOR_RED;
}

static void ranks_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    line_print(table, DOCTOR_OK, "MPI", NULL, "%d rank%s on %d host%s see each other, over %s",
               given->rank_count, given->rank_count == 1 ? "" : "s", given->node_count,
               given->node_count == 1 ? "" : "s", given->transport);
}

static void programs_check(struct table *table)
{
    const struct doctor_facts *facts = table->given->facts;
    for (int rank = 1; rank < table->given->rank_count; rank++) {
        if (hash_equal(facts[rank].program, facts[0].program))
            continue;
        line_print(table, DOCTOR_RED, "programs", "install the same build of muster on every host",
                   "rank %d on %s runs another muster-worker than rank 0 on %s", rank, facts[rank].host,
                   facts[0].host);
        return;
    }
    line_print(table, DOCTOR_OK, "programs", NULL, "every rank runs the same muster-worker");
}

/* The first rank that has another version of this part than rank 0; -1 when all are alike. */
static int version_odd(const struct table *table, enum doctor_part part)
{
    const struct doctor_facts *facts = table->given->facts;
    for (int rank = 1; rank < table->given->rank_count; rank++) {
        if (strcmp(facts[rank].versions.text[part], facts[0].versions.text[part]) != 0)
            return rank;
    }
    return -1;
}

static void version_differs(struct table *table, enum doctor_part part, int rank)
{
    const struct doctor_facts *odd = &table->given->facts[rank], *first = table->given->facts;
    const char *name = doctor_part_name(part), *blank = name[0] != '\0' ? " " : "";
    const char *has = odd->versions.text[part], *other = first->versions.text[part];
    line_print(table, part == DOCTOR_DRIVER ? DOCTOR_NOTE : DOCTOR_RED, "versions",
               part == DOCTOR_DRIVER ? "it may work; the same driver everywhere is one question less"
                                     : "load the same modules, or the same container, on every host",
               "rank %d on %s has %s%s%s, rank 0 on %s %s", rank, odd->host, name, blank,
               has[0] != '\0' ? has : "none", first->host, other[0] != '\0' ? other : "none");
}

/* What one host has otherwise than another fails late, or computes other bits. */
static void versions_check(struct table *table)
{
    const struct doctor_versions *first = &table->given->facts[0].versions;
    char all[DOCTOR_PART_COUNT * (DOCTOR_VERSION_SIZE + 16)] = "";
    bool differ = false;
    for (int part = 0; part < DOCTOR_PART_COUNT; part++) {
        size_t used = strlen(all);
        const char *name = doctor_part_name(part);
        int odd = version_odd(table, part);
        if (odd >= 0)
            version_differs(table, part, odd);
        else if (first->text[part][0] != '\0')
            snprintf(all + used, sizeof all - used, "%s%s%s%s", used > 0 ? ", " : "", name,
                     name[0] != '\0' ? " " : "", first->text[part]);
        differ |= odd >= 0;
    }
    if (all[0] != '\0')
        line_print(table, DOCTOR_OK, "versions", NULL, "%s%s", differ ? "alike: " : "", all);
}

static void clocks_check(struct table *table)
{
    const struct doctor_facts *facts = table->given->facts;
    int worst = 0;
    for (int rank = 1; rank < table->given->rank_count; rank++) {
        if (fabs(facts[rank].clock_ahead_s) > fabs(facts[worst].clock_ahead_s))
            worst = rank;
    }
    double ahead_s = facts[worst].clock_ahead_s;
    enum doctor_colour colour = DOCTOR_OK;
    if (fabs(ahead_s) >= clock_note_s)
        colour = fabs(ahead_s) >= clock_red_s ? DOCTOR_RED : DOCTOR_NOTE;
    if (colour == DOCTOR_OK)
        line_print(table, colour, "clocks", NULL, "equal to within %.0f ms", 1e3 * fabs(ahead_s) + 1.0);
    else
        line_print(table, colour, "clocks", "start chrony or ntpd on every host",
                   "%s (rank %d) is %.2f s %s rank 0", facts[worst].host, worst, fabs(ahead_s),
                   ahead_s > 0 ? "ahead of" : "behind");
}

static void job_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    if (given->job_problem != NULL)
        line_print(table, DOCTOR_RED, "job", "muster check shows every error with its place", "%s",
                   given->job_problem);
    else if (given->has_job)
        line_print(table, DOCTOR_OK, "job", NULL, "good");
}

static void data_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    if (!given->has_job || given->job_problem != NULL)
        return;
    for (int rank = 0; rank < given->rank_count; rank++) {
        if (given->facts[rank].data_reason[0] == '\0')
            continue;
        line_print(table, DOCTOR_RED, "data", "put the data where every host sees it under the same name",
                   "rank %d on %s: %s", rank, given->facts[rank].host, given->facts[rank].data_reason);
        return;
    }
    line_print(table, DOCTOR_OK, "data", NULL, "every rank can open all files");
}

static void folder_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    for (int rank = 0; rank < given->rank_count; rank++) {
        const struct doctor_facts *facts = &given->facts[rank];
        if (facts->folder_reason[0] != '\0') {
            line_print(table, DOCTOR_RED, "run folder", "choose an output_dir that every rank may write to",
                       "rank %d on %s: %s", rank, facts->host, facts->folder_reason);
            return;
        }
        if (!facts->sees_folder) {
            line_print(table, DOCTOR_RED, "run folder",
                       "checkpoints need one folder for all ranks: a shared file system as output_dir",
                       "rank %d on %s does not see what rank 0 writes to %s", rank, facts->host,
                       given->folder);
            return;
        }
    }
    line_print(table, DOCTOR_OK, "run folder", NULL, "%s is the same for every rank", given->folder);
}

static void space_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    int64_t free_bytes = -1, needed = given->checkpoint_bytes * given->checkpoint_count;
    double slowest = 0.0;
    char has[32], needs[32], speed[32];
    for (int rank = 0; rank < given->rank_count; rank++) {
        const struct doctor_facts *facts = &given->facts[rank];
        if (!facts->is_writer || facts->write_bytes_per_s <= 0.0)
            continue;
        slowest = slowest <= 0.0 || facts->write_bytes_per_s < slowest ? facts->write_bytes_per_s : slowest;
        if (free_bytes < 0 || (facts->folder_free_bytes >= 0 && facts->folder_free_bytes < free_bytes))
            free_bytes = facts->folder_free_bytes;
    }
    if (free_bytes < 0 || slowest <= 0.0)
        return; /* told as the run folder's fault */
    text_format_bytes(has, sizeof has, free_bytes);
    text_format_bytes(needs, sizeof needs, needed);
    text_format_bytes(speed, sizeof speed, (int64_t)slowest);
    if (free_bytes < needed)
        line_print(table, DOCTOR_RED, "free space", "make room, or lower checkpoint.keep_last",
                   "%s free, but %" PRId64 " checkpoints take %s", has, given->checkpoint_count, needs);
    else
        line_print(table, DOCTOR_OK, "free space", NULL, "%s%s%s", has,
                   needed > 0 ? "; checkpoints take " : "", needed > 0 ? needs : "");
    line_print(table, slowest < write_note_bytes_per_s ? DOCTOR_NOTE : DOCTOR_OK, "write speed",
               "checkpoints will take long: a faster file system, or a larger checkpoint.save_interval",
               "%s a second and host, synced", speed);
}

static void memory_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    int tightest = 0;
    char has[32], needs[32];
    for (int rank = 1; rank < given->rank_count; rank++) {
        const struct doctor_facts *facts = &given->facts[rank], *least = &given->facts[tightest];
        if (facts->memory_bytes / facts->local_size < least->memory_bytes / least->local_size)
            tightest = rank;
    }
    const struct doctor_facts *facts = &given->facts[tightest];
    if (facts->memory_bytes < 0)
        return;
    int64_t share = facts->memory_bytes / facts->local_size;
    text_format_bytes(has, sizeof has, share);
    text_format_bytes(needs, sizeof needs, given->rank_bytes);
    if (given->rank_bytes > share)
        line_print(table, DOCTOR_RED, "memory",
                   "fewer ranks a host, a smaller micro_batch_size, or recompute: full",
                   "%s: %s free for each of %d ranks, but a rank takes %s", facts->host, has,
                   facts->local_size, needs);
    else
        line_print(table, DOCTOR_OK, "memory", NULL, "%s free for each rank%s%s", has,
                   given->rank_bytes > 0 ? "; a rank takes " : "", given->rank_bytes > 0 ? needs : "");
    if (facts->shared_bytes >= 0 && facts->shared_bytes < shared_bytes_a_rank * facts->local_size)
        line_print(table, DOCTOR_RED, "shared memory", "enlarge /dev/shm (docker: --shm-size, or --ipc=host)",
                   "%s: /dev/shm is too small for %d ranks", facts->host, facts->local_size);
}

static void device_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    if (given->device_problem != NULL)
        line_print(table, DOCTOR_RED, "devices", "one rank per GPU: as many ranks a host as it has GPUs",
                   "%s", given->device_problem);
    else if (given->device != NULL)
        line_print(table, DOCTOR_OK, "devices", NULL, "%s", given->device);
}

static void bandwidth_check(struct table *table)
{
    const struct doctor_case *given = table->given;
    char speed[32], floor[32];
    if (given->rank_count < 2)
        return;
    text_format_bytes(speed, sizeof speed, (int64_t)given->bandwidth_bytes_per_s);
    text_format_bytes(floor, sizeof floor, (int64_t)given->floor_bytes_per_s);
    line_print(table, given->bandwidth_bytes_per_s < given->floor_bytes_per_s ? DOCTOR_RED : DOCTOR_OK,
               "all-reduce",
               "is it the right network? cluster.interface chooses one; --floor says what is enough",
               "%s a second and rank%s%s", speed,
               given->bandwidth_bytes_per_s < given->floor_bytes_per_s ? ", below the floor of " : "",
               given->bandwidth_bytes_per_s < given->floor_bytes_per_s ? floor : "");
}

int doctor_table_print(const struct doctor_case *given, struct text *out)
{
    static void (*const checks[])(struct table *) = {
        ranks_check,  programs_check, versions_check, clocks_check, job_check,       data_check,
        folder_check, space_check,    memory_check,   device_check, bandwidth_check,
    };
    struct table table = {.given = given, .out = out};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        checks[i](&table);
    return table.red_count;
}
