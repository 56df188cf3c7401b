/* SPDX-License-Identifier: MIT
 *
 * The same numbers three times: a table, CSV, and gnuplot. The gnuplot program holds its data itself, so that
 * it can be kept and drawn again; nothing of a job's text but a few kinds of characters gets into it.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/cluster/scale.h"

static bool has_prediction(const struct scale *scale)
{
    bool has = false;
    for (int i = 0; i < scale->count; i++)
        has |= scale->points[i].predicted_ms > 0;
    return has;
}

static bool is_metered(const struct scale_point *point)
{
    return point->joules >= 0 && point->steps_run > 0;
}

static double joules_a_step(const struct scale_point *point)
{
    return point->joules / (double)point->steps_run;
}

static void row_print(const struct scale_point *point, struct text *out)
{
    char spread[48], joules[24] = "-", predicted[40] = "-";
    if (point->step.count == 0) {
        text_print(out, "%6d %9lld  not measured\n", point->ranks, (long long)point->samples);
        return;
    }
    snprintf(spread, sizeof spread, "%.1f (%.1f to %.1f)", point->median_ms, point->low_ms, point->high_ms);
    if (is_metered(point))
        snprintf(joules, sizeof joules, "%.2f", joules_a_step(point));
    if (point->predicted_ms > 0)
        snprintf(predicted, sizeof predicted, "%.1f ms (%+.0f%%)", point->predicted_ms,
                 100 * (point->predicted_ms / point->median_ms - 1));
    text_print(out, "%6d %9lld %28s %10.1f %9.2f %9.0f%% %12.1f %9s %19s\n", point->ranks,
               (long long)point->samples, spread, point->rate, point->speedup, 100 * point->efficiency,
               point->exposed_ms, joules, predicted);
}

void scale_print(const struct scale *scale, struct text *out)
{
    int steps = 0;
    for (int i = 0; i < scale->count; i++)
        steps = scale->points[i].step.count > steps ? scale->points[i].step.count : steps;
    text_print(out, "%s scaling of %s: medians over %d steps, in brackets the middle half of them\n",
               scale->weak ? "weak" : "strong", scale->name, steps);
    text_print(out, "%6s %9s %28s %10s %9s %10s %12s %9s %19s\n", "ranks", "samples", "ms a step",
               "samples/s", "speed-up", "efficiency", "waiting, ms", "J/step", "predicted");
    for (int i = 0; i < scale->count; i++)
        row_print(&scale->points[i], out);
    text_print(out, "waiting: what of the reduction was not hidden behind computation, on rank 0\n"
                    "J/step: of this host's processors where they are metered and the run was here alone, "
                    "starts included\n");
}

void scale_print_csv(const struct scale *scale, struct text *out)
{
    text_print(out,
               "scaling,ranks,samples,steps,step_ms_median,step_ms_p25,step_ms_p75,samples_per_s,speedup,"
               "efficiency,exposed_ms_median,joules_per_step,predicted_ms\n");
    for (int i = 0; i < scale->count; i++) {
        const struct scale_point *point = &scale->points[i];
        text_print(out, "%s,%d,%lld,%d,%.3f,%.3f,%.3f,%.3f,%.4f,%.4f,%.3f,", scale->weak ? "weak" : "strong",
                   point->ranks, (long long)point->samples, point->step.count, point->median_ms,
                   point->low_ms, point->high_ms, point->rate, point->speedup, point->efficiency,
                   point->exposed_ms);
        if (is_metered(point))
            text_print(out, "%.3f", joules_a_step(point));
        text_print(out, ",");
        if (point->predicted_ms > 0)
            text_print(out, "%.3f", point->predicted_ms);
        text_print(out, "\n");
    }
}

static void title_print(const struct scale *scale, const char *what, struct text *out)
{
    text_print(out, "set title '%s, ", what);
    for (const char *at = scale->name; *at != '\0'; at++)
        text_print(out, "%c", isalnum((unsigned char)*at) || strchr("-_. ", *at) != NULL ? *at : '_');
    text_print(out, " (%s scaling)' noenhanced\n", scale->weak ? "weak" : "strong");
}

/* A point without a prediction has none in the picture either. */
static void data_print(const struct scale *scale, struct text *out)
{
    const struct scale_point *first = &scale->points[0];
    text_print(out, "# ranks speedup ideal median low high waiting ideal_ms predicted\n$data << END\n");
    for (int i = 0; i < scale->count; i++) {
        const struct scale_point *point = &scale->points[i];
        double ideal = (double)point->ranks / first->ranks;
        if (point->step.count == 0)
            continue;
        text_print(out, "%d %.6g %.6g %.6g %.6g %.6g %.6g %.6g ", point->ranks, point->speedup, ideal,
                   point->median_ms, point->low_ms, point->high_ms, point->exposed_ms,
                   scale->weak ? first->median_ms : first->median_ms / ideal);
        if (point->predicted_ms > 0)
            text_print(out, "%.6g\n", point->predicted_ms);
        else
            text_print(out, "NaN\n");
    }
    text_print(out, "END\n");
}

static const char common[] =
    "set terminal svg size 720,460 dynamic font 'sans-serif,13' background '#ffffff'\n"
    "set border 3 lc '#555555'\n"
    "set tics nomirror out textcolor '#333333'\n"
    "set grid ytics lc '#dddddd' lt 1 lw 0.6\n"
    "set logscale x 2\n"
    "set xlabel 'ranks'\n"
    "set offsets graph 0.06, graph 0.06, 0, 0\n"
    "set key top left reverse Left samplen 2 noenhanced\n";

static void ranks_tics_print(const struct scale *scale, struct text *out)
{
    text_print(out, "set xtics (");
    for (int i = 0; i < scale->count; i++)
        text_print(out, "%s'%d' %d", i > 0 ? ", " : "", scale->points[i].ranks, scale->points[i].ranks);
    text_print(out, ")\n");
}

void scale_print_gnuplot(const struct scale *scale, enum scale_plot plot, struct text *out)
{
    data_print(scale, out);
    text_append(out, common, strlen(common));
    ranks_tics_print(scale, out);
    if (plot == SCALE_PLOT_SPEEDUP) {
        title_print(scale, "Speed-up", out);
        text_print(out,
                   "set logscale y 2\n"
                   "set ylabel 'times as fast as the fewest ranks'\n"
                   "plot $data using 1:3 with lines lc '#999999' dt 2 lw 1.5 title 'ideal', \\\n"
                   "     '' using 1:2:($2*$4/$6):($2*$4/$5) with yerrorlines lc '#0b6ea8' pt 7 ps 0.7 lw 2 "
                   "title 'measured: median, middle half'\n");
        return;
    }
    title_print(scale, "Time of a step", out);
    text_print(
        out, "set yrange [0:*]\n"
             "set offsets graph 0.06, graph 0.06, graph 0.25, 0\n"
             "set ylabel 'ms'\n"
             "plot $data using 1:8 with lines lc '#999999' dt 2 lw 1.5 title 'ideal', \\\n"
             "     '' using 1:4:5:6 with yerrorlines lc '#0b6ea8' pt 7 ps 0.7 lw 2 "
             "title 'step: median, middle half', \\\n"
             "     '' using 1:7 with linespoints lc '#c2571a' pt 5 ps 0.6 lw 2 title 'of it waiting for the "
             "reduction'");
    if (has_prediction(scale))
        text_print(out, ", \\\n     '' using 1:9 with points lc '#3b8f3e' pt 2 lw 2 title 'predicted'");
    text_print(out, "\n");
}
