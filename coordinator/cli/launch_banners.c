/* SPDX-License-Identifier: MIT
 *
 * A banner is what stands between two rows of dashes. It is held until its end is seen, and given out whole
 * unless the table knows it. From a known banner only the lines in the table are taken out: should a rank's
 * words have slipped in between, they stay.
 */
#include "coordinator/cli/launch_banners.h"

#include <string.h>

enum { DASHES_MIN = 40, BANNER_BYTES_MAX = 16384, LINE_BYTES_MAX = 65536 };

/* How lines begin that mpirun writes about an end which is explained elsewhere; prterun is that of 5.0. */
static const char *const known_lines[] = {
    "Primary job  terminated normally, but ",
    "a non-zero exit code. Per user-direction, the job has been aborted.",
    "mpirun detected that one or more processes exited with non-zero status",
    "the job to be terminated. The first process to do so was:",
    "  Process name: [[",
    "  Exit code:    ",
    "mpirun noticed that process rank ",
    "MPI_ABORT was invoked on rank ",
    "with errorcode ",
    "NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.",
    "You may or may not see output from other processes, depending on",
    "exactly when Open MPI kills them.",
    "prterun detected that one or more processes exited with non-zero status",
    "thus causing the job to be terminated. The first process to do so was:",
    "   Process name: [prterun-",
    "   Exit code:    ",
    "prterun noticed that process rank ",
    "signal ",
    "  Proc: [[",
    "  Errorcode: ",
    "\"abort\". This may have caused other processes in the application to be",
    "terminated by signals sent by prterun (as reported here).",
};

/* A host is gone. What 5.0 returns then may be 0. */
static const char host_lost[] = "PRTE has lost communication with a remote daemon.";

/* How lines begin with which mpirun, or MPI in a rank, refuses a start as it was asked for. */
static const char *const refusals[] = {
    "mpirun: Error: ",
    "There are not enough slots available in the system",
    "There are no allocated resources for the application",
    "All nodes which are allocated for this job are already filled",
    "Some of the requested hosts are not included in the current allocation",
    "At least one of the requested hosts is not included in the current allocation",
    "The specified mapping policy is not recognized",
    "The specified ranking policy is not recognized",
    "The specified binding policy is not recognized",
    "Conflicting directives for ",
    "Open RTE was unable to open the hostfile",
    "A requested component was not found, or was unable to be opened.",
    "At least one pair of MPI processes are unable to reach each other",
    "mpirun was unable to find the specified executable file",
    "mpirun was unable to launch the specified application as it could not",
    "prterun was unable to find the specified executable file",
    "prterun was unable to launch the specified application as it could not",
    "ssh: Could not resolve hostname ",
    "srun: unrecognized option ",
};

/* Single lines: its counts of repeated banners, and that it does what it was asked to. */
static const char *const known_remarks[] = {
    "mpirun: Forwarding signal ",
    "sent help message help-mpi-api.txt / mpi-abort",
    "Set MCA parameter \"orte_base_help_aggregate\" to 0",
};

static bool starts_with(const char *line, const char *start)
{
    return strncmp(line, start, strlen(start)) == 0;
}

static bool line_is_dashes(const char *line)
{
    size_t dashes = strspn(line, "-");
    return dashes >= DASHES_MIN && line[dashes] == '\n';
}

/* "prterun has exited due to process rank 1 with PID 0 on node n1 calling", and in the next line: "abort".
 * Where it goes on in another way, it is about a rank that nobody else explains. */
static bool line_is_of_abort(const char *line)
{
    int end = 0;
    (void)sscanf(line, "prterun has exited due to process rank %*d with PID %*d on node %*s calling\n%n",
                 &end);
    return end > 0;
}

static bool line_is_known(const char *line)
{
    if (line_is_of_abort(line))
        return true;
    for (size_t i = 0; i < sizeof known_lines / sizeof known_lines[0]; i++) {
        if (starts_with(line, known_lines[i]))
            return true;
    }
    return false;
}

static bool line_is_remark(const char *line)
{
    for (size_t i = 0; i < sizeof known_remarks / sizeof known_remarks[0]; i++) {
        const char *place = strstr(line, known_remarks[i]);
        if (place == line || (place != NULL && line[0] == '['))
            return true;
    }
    return false;
}

static void write_out(struct launch_banners *banners, const char *bytes, size_t length)
{
    fwrite(bytes, 1, length, banners->out);
}

static void note_killed_rank(struct launch_banners *banners, const char *line)
{
    int rank;
    char host[sizeof banners->host];
    if (sscanf(line, "%*[a-z] noticed that process rank %d with PID %*d on node %63s exited on", &rank,
               host) == 2) {
        banners->rank = rank;
        memcpy(banners->host, host, sizeof host);
    }
}

/* The line, or its first sentence. */
static void note_refusal(struct launch_banners *banners, const char *line)
{
    if (banners->refusal[0] != '\0')
        return;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (!starts_with(line, refusals[i]))
            continue;
        const char *stop = strstr(line, ".  ");
        size_t length = strcspn(line, "\r\n");
        length = stop != NULL && (size_t)(stop - line) < length ? (size_t)(stop - line) : length;
        snprintf(banners->refusal, sizeof banners->refusal, "%.*s", (int)length, line);
        return;
    }
}

/* The banner's end, or the end of all input: nothing is held any more. */
static void banner_give(struct launch_banners *banners)
{
    const char *line = banners->banner.data, *end = line + banners->banner.length;
    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline != NULL ? newline + 1 : end) - line);
        bool drop = banners->known && (line_is_known(line) || line_is_dashes(line) || line[0] == '\n');
        if (!drop)
            write_out(banners, line, length);
        line += length;
    }
    text_clear(&banners->banner);
    banners->in_banner = banners->known = false;
}

static void line_take(struct launch_banners *banners, const char *line, size_t length)
{
    bool dashes = line_is_dashes(line);
    note_refusal(banners, line);
    if (!banners->in_banner && !dashes) {
        if (!line_is_remark(line))
            write_out(banners, line, length);
        return;
    }
    bool ends = banners->in_banner && dashes;
    text_append(&banners->banner, line, length);
    banners->in_banner = true;
    banners->host_lost |= starts_with(line, host_lost);
    if (line_is_known(line)) {
        banners->known = true;
        note_killed_rank(banners, line);
    }
    if (ends || banners->banner.failed || banners->banner.length > BANNER_BYTES_MAX)
        banner_give(banners);
}

void launch_banners_init(struct launch_banners *banners, FILE *out)
{
    *banners = (struct launch_banners){.out = out, .rank = -1};
    text_init(&banners->line);
    text_init(&banners->banner);
}

void launch_banners_feed(struct launch_banners *banners, const char *bytes, size_t length)
{
    while (length > 0) {
        const char *newline = memchr(bytes, '\n', length);
        size_t taken = newline != NULL ? (size_t)(newline - bytes) + 1 : length;
        text_append(&banners->line, bytes, taken);
        if (banners->line.failed)
            write_out(banners, bytes, taken);
        if (newline != NULL || banners->line.length > LINE_BYTES_MAX) {
            line_take(banners, banners->line.data, banners->line.length);
            text_clear(&banners->line);
        }
        bytes += taken;
        length -= taken;
    }
    fflush(banners->out);
}

void launch_banners_finish(struct launch_banners *banners)
{
    if (banners->line.length > 0)
        line_take(banners, banners->line.data, banners->line.length);
    banner_give(banners);
    fflush(banners->out);
    text_release(&banners->line);
    text_release(&banners->banner);
}
