/* SPDX-License-Identifier: MIT
 *
 * Where gnuplot is not installed its programs are kept, so that the pictures can be made elsewhere.
 */
#include <stdio.h>

#include "base/subprocess.h"
#include "coordinator/cli/cli_scale.h"

enum { GNUPLOT_MS = 60000 };

static enum muster_status file_write(const struct cli_scale *s, const char *ending, const struct text *text,
                                     struct text *said, struct muster_error *err)
{
    char name[64], path[FS_PATH_MAX];
    snprintf(name, sizeof name, "%s%s", s->weak ? "weak" : "strong", ending);
    enum muster_status status = fs_path_join(path, s->folder, name, err);
    if (status == MUSTER_OK)
        status = fs_file_write(path, text->data, text->length, err);
    if (status == MUSTER_OK && said != NULL)
        text_print(said, "  %s\n", path);
    return status;
}

/* Without gnuplot the program for it is kept, and that is said. */
static enum muster_status plot_write(const struct cli_scale *s, enum scale_plot plot, const char *name,
                                     struct text *said, struct muster_error *err)
{
    char program[64], path[FS_PATH_MAX], ending[40];
    struct text text;
    struct subprocess process;
    text_init(&text);
    scale_print_gnuplot(&s->scale, plot, &text);
    snprintf(ending, sizeof ending, "-%s.gnuplot", name);
    snprintf(program, sizeof program, "%s%s", s->weak ? "weak" : "strong", ending);
    enum muster_status status = file_write(s, ending, &text, NULL, err);
    if (status == MUSTER_OK)
        status = fs_path_join(path, s->folder, program, err);
    text_release(&text);
    if (status != MUSTER_OK)
        return status;
    const char *words[] = {"gnuplot", path, NULL};
    subprocess_init(&process, words);
    status = subprocess_run(&process, GNUPLOT_MS, err);
    snprintf(ending, sizeof ending, "-%s.svg", name);
    if (status == MUSTER_OK) {
        status = file_write(s, ending, &process.out, said, err);
    } else if (status == MUSTER_ERR_UNSUPPORTED) {
        text_print(said, "  %s (gnuplot is not installed: no picture)\n", path);
        status = MUSTER_OK;
    }
    subprocess_release(&process);
    return status;
}

int cli_scale_report(struct cli_scale *s)
{
    struct muster_error err;
    struct text said, csv;
    text_init(&said);
    text_init(&csv);
    scale_summarise(&s->scale);
    scale_print(&s->scale, &said);
    scale_print_csv(&s->scale, &csv);
    enum muster_status status = file_write(s, ".csv", &csv, &said, &err);
    if (status == MUSTER_OK)
        status = plot_write(s, SCALE_PLOT_SPEEDUP, "speedup", &said, &err);
    if (status == MUSTER_OK)
        status = plot_write(s, SCALE_PLOT_TIME, "time", &said, &err);
    int written = cli_write(s->cli, &said);
    text_release(&said);
    text_release(&csv);
    return status == MUSTER_OK ? written : cli_fail(s->cli, &err);
}
